"""New keys while a self-check machine is being served by another process: nobody becomes a stranger."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from connector.bootstrap import build
from connector.cli.demo_story import Kiosk
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import PatronInput
from connector.ports.store import PersonalData
from connector.settings import load_settings
from connector.sip2.client import Sip2Client
from connector.storage.crypto import CHECK_EVERY_S, Keyring
from connector.storage.key_rotation import KeyRotation
from connector.storage.store import open_store

ONECARD = [sys.executable, "-c", "from connector.cli.main import main; main()"]
LIB, CARD = InstitutionId("LIB"), IlsPatronId("S00000012")
ID_NUMBER = "500230201503010015"


def enrol(folder: Path) -> None:
    """Enrol one pupil whose identity number only our own database knows."""
    app = build(load_settings(folder / "onecard.toml"))
    try:
        people = app.store.people
        patron_id = people.add_person(
            PersonalData(name="张小明", id_number=ID_NUMBER),
            [Identifier("card", CARD), Identifier("id_card", ID_NUMBER)],
            home=LIB,
            category="student",
            state=StandingState.ACTIVE,
        )
        app.adapters[LIB].upsert_patron(
            PatronInput(
                external_id=patron_id, card=CARD, name="张小明", category="student",
                expires=date(2099, 1, 1),
            )
        )  # fmt: skip
        people.set_account(patron_id, LIB, CARD)
    finally:
        app.close()


def rotate(folder: Path) -> None:
    """Rotate as the command does, with shorter waits; a server looks at the key file each second."""
    settings = load_settings(folder / "onecard.toml")
    key_file = settings.store.key_file
    store = open_store(settings.store.url, key_file)
    try:
        KeyRotation(store, key_file, settle_s=1.5 * CHECK_EVERY_S).rotate(
            actor="librarian", progress=lambda _done, _total: None
        )
    finally:
        store.close()


def wait_for(port: int) -> Sip2Client:
    for _ in range(200):
        try:
            return Sip2Client("127.0.0.1", port)
        except OSError:
            signal.sigtimedwait([], 0.1)
    raise AssertionError("the server did not come up")


def test_pupil_is_known_at_the_machine_before_during_and_after_a_rotation(tmp_path: Path) -> None:
    subprocess.run([*ONECARD, "init", "lib"], cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "lib"
    enrol(folder)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = subprocess.Popen(
        [*ONECARD, "serve"],
        cwd=folder,
        env={**os.environ, "ONECARD_SIP2__PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with wait_for(port) as client:
            assert client.login("kiosk-1", (folder / "kiosk-1.password").read_text().strip())
            kiosk = Kiosk(client, lambda: datetime.now(UTC), ZoneInfo("Asia/Shanghai"))
            stranger = kiosk.information("500230201503010023")
            assert stranger.get("BL") != "Y", "a number that nobody has is told apart"
            assert kiosk.information(ID_NUMBER).get("BL") == "Y"
            for _ in range(2):
                rotating = threading.Thread(target=rotate, args=(folder,))
                rotating.start()
                asked = 0
                while rotating.is_alive():
                    assert kiosk.information(ID_NUMBER).get("BL") == "Y"
                    asked += 1
                assert asked > 5
                assert kiosk.information(ID_NUMBER).get("BL") == "Y"
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0
    assert len(Keyring.load(folder / "onecard.key").key_ids) == 3
