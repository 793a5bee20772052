"""``onecard serve`` follows its settings file: terminals, words and networks, without a restart."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from tests.support.certificates import Authority

ONECARD = [sys.executable, "-c", "from connector.cli.main import main; main()"]
STATUS = Message("99", {"status_code": "0", "protocol_version": "2.00"}, [])
POLICY = "\n[policy.student]\n"
SECOND = '\n[[sip2.terminals]]\nlogin = "kiosk-2"\npassword_file = "kiosk-1.password"\n'


class Served:
    """A real ``onecard serve`` over an installation of its own, and its log."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.file = self.folder / "onecard.toml"
        text = self.file.read_text("utf-8").replace(POLICY, f"\n{more}{POLICY}")
        self.file.write_text(text, "utf-8")
        self.password = (self.folder / "kiosk-1.password").read_text().strip()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self.process = subprocess.Popen(
            [*ONECARD, "serve", "--only", "sip2"],
            cwd=self.folder,
            env={**os.environ, "ONECARD_SIP2__PORT": str(self.port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("sip2.server_started")
        for _ in range(200 if more else 0):
            if "over TLS on" in "".join(self.lines):
                break
            time.sleep(0.05)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, event: str, *, after: int = 0) -> dict[str, object]:
        """Return the first log line of an event."""
        for _ in range(600):
            for line in self.lines[after:]:
                if f'"{event}"' in line:
                    found: dict[str, object] = json.loads(line)
                    return found
            assert self.process.poll() is None, "".join(self.lines)
            time.sleep(0.05)
        raise AssertionError(f"no {event} in:\n" + "".join(self.lines))

    def change(self, old: str, new: str, *, hup: bool = True, event: str) -> dict[str, object]:
        """Change the file, and wait until the program has seen it."""
        text = self.file.read_text("utf-8")
        assert old in text
        at = len(self.lines)
        self.file.write_text(text.replace(old, new, 1), "utf-8")
        if hup:
            self.process.send_signal(signal.SIGHUP)
        return self.wait_for(event, after=at)

    def log_in(self, login: str = "kiosk-1", profile: WireProfile | None = None) -> Sip2Client:
        client = Sip2Client("127.0.0.1", self.port, profile=profile)
        assert client.login(login, self.password)
        return client

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(30) == 0, "".join(self.lines)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that nobody has used."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([*ONECARD, "init", "lib"], cwd=folder, check=True, capture_output=True)
    return folder / "lib"


@pytest.fixture
def installation(fresh: Path, tmp_path: Path) -> Path:
    return shutil.copytree(fresh, tmp_path / "lib")


@pytest.fixture
def served(installation: Path) -> Iterator[Served]:
    one = Served(installation)
    yield one
    one.stop()
    text = "".join(one.lines)
    assert "Traceback" not in text
    assert one.password not in text


def test_terminals_words_and_networks_are_taken_over(served: Served) -> None:
    kiosk = served.log_in()
    assert kiosk.exchange(STATUS).get("AN") == "main"

    line = served.change('location = "main"', 'location = "hall"', event="settings.reloaded")
    assert (line["created"], line["updated"], line["closed"]) == (0, 1, 0)
    assert kiosk.exchange(STATUS).get("AN") == "hall"

    added = served.change(POLICY, SECOND + POLICY, event="settings.reloaded")
    assert added["created"] == 1
    second = served.log_in("kiosk-2")

    ask = Message("11", {"transaction_date": " " * 18}, [("AO", ""), ("AA", ""), ("AB", "")])
    assert kiosk.exchange(ask).get("AF") == "请求不完整"
    words = '\n[sip2.messages.zh]\nbad_request = "请重试"\n'
    served.change(POLICY, words + POLICY, event="settings.reloaded")
    assert kiosk.exchange(ask).get("AF") == "请重试"

    removed = served.change(SECOND, "\n", event="settings.reloaded")
    assert removed["closed"] == 1
    for _ in range(100):
        if not second.is_open:
            break
        time.sleep(0.05)
    assert not second.is_open
    with Sip2Client("127.0.0.1", served.port) as client:
        assert not client.login("kiosk-2", served.password)

    served.change(
        "port = 6001", 'port = 6001\nallow_from = ["192.0.2.0/24"]', event="settings.reloaded"
    )
    for _ in range(100):
        if not kiosk.is_open:
            break
        time.sleep(0.05)
    assert not kiosk.is_open
    kiosk.close()
    second.close()


def test_a_mistake_in_the_file_changes_nothing(served: Served) -> None:
    kiosk = served.log_in()
    refused = served.change(
        'location = "main"', 'loction = "s3cret-value"', event="settings.reload_refused"
    )
    assert "location" in str(refused["remedy"])
    assert "s3cret-value" not in "".join(served.lines)
    assert kiosk.exchange(STATUS).get("AN") == "main"
    served.log_in().close()
    served.change('loction = "s3cret-value"', 'location = "hall"', event="settings.reloaded")
    assert kiosk.exchange(STATUS).get("AN") == "hall"
    kiosk.close()


def test_what_needs_a_restart_is_named(served: Served) -> None:
    line = served.change(
        "# idle_timeout_s = 900", "idle_timeout_s = 901", event="settings.restart_needed"
    )
    assert line["setting"] == "sip2.idle_timeout_s"


def test_a_change_is_seen_without_a_signal(served: Served) -> None:
    kiosk = served.log_in()
    served.change('location = "main"', 'location = "hall"', hup=False, event="settings.reloaded")
    assert kiosk.exchange(STATUS).get("AN") == "hall"
    kiosk.close()


def test_a_new_password_is_seen_and_ends_the_old_one(served: Served) -> None:
    kiosk = served.log_in()
    at = len(served.lines)
    (served.folder / "kiosk-1.password").write_text("another-password\n")
    served.wait_for("settings.reloaded", after=at)
    for _ in range(100):
        if not kiosk.is_open:
            break
        time.sleep(0.05)
    assert not kiosk.is_open
    kiosk.close()
    with Sip2Client("127.0.0.1", served.port) as client:
        assert not client.login("kiosk-1", served.password)
        assert client.login("kiosk-1", "another-password")


def test_many_signals_do_not_end_it(served: Served) -> None:
    """As early as can be; ``served`` looks at the exit code."""
    for _ in range(5):
        served.process.send_signal(signal.SIGHUP)
    served.log_in().close()


def test_another_encoding_counts_at_the_next_login(served: Served) -> None:
    kiosk = served.log_in()
    served.change('# encoding = "utf-8"', 'encoding = "gb18030"', event="settings.reloaded")
    assert kiosk.exchange(STATUS).get("AM") == "我的图书馆"
    kiosk.close()
    with served.log_in(profile=WireProfile(encoding="gb18030")) as again:
        assert again.exchange(STATUS).get("AM") == "我的图书馆"


def test_a_renewed_certificate_is_shown_from_then_on(installation: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    certificate, key, first = authority.issue("localhost", names=("localhost",))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    tls = f'[sip2.tls]\nport = {port}\ncert_file = "{certificate}"\nkey_file = "{key}"\n'
    served = Served(installation, more=tls)
    context = ssl.create_default_context(cafile=authority.file)

    def fingerprint() -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()

    try:
        assert fingerprint() == first
        at = len(served.lines)
        _, _, second = authority.issue("localhost", names=("localhost",))  # the same files
        served.process.send_signal(signal.SIGHUP)
        served.wait_for("settings.reloaded", after=at)
        assert fingerprint() == second != first
        at = len(served.lines)
        key.write_text("no key")
        served.process.send_signal(signal.SIGHUP)
        served.wait_for("settings.reload_refused", after=at)
        assert fingerprint() == second
    finally:
        served.stop()
