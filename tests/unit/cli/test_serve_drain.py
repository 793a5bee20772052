"""``onecard serve`` told to end while kiosks are connected, plainly and over TLS, and one of them
waits for a library system that hangs.

Real processes and sockets; the embedded library system hangs because somebody else writes to its
database.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from tests.support.certificates import Authority

NOON = "20261121    120000"
STATUS = Message("99", {"status_code": "0"}, [])


@pytest.fixture
def folder(installation, patron, lend):
    """An installation with TLS and metrics on free ports, and a pupil with a loan."""
    lend("B1")
    certificate, key, _ = Authority(installation, "tls").issue("gateway", names=("127.0.0.1",))
    path = installation / "onecard.toml"
    text = path.read_text("utf-8").replace("port = 6001", "port = 0")
    path.write_text(
        f"{text}\n[metrics]\nenabled = true\nport = 0\n"
        f'[sip2.tls]\nport = 0\ncert_file = "{certificate}"\nkey_file = "{key}"\n',
        "utf-8",
    )
    return installation


@contextmanager
def serving(folder, drain_s=8):
    command = [sys.executable, "-m", "connector.cli", "--config", str(folder / "onecard.toml")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [*command, "serve", "--only", "sip2", "--drain", str(drain_s)],
            stderr=subprocess.PIPE,
            stdout=log,
            text=True,
        ) as process,
    ):
        try:
            ports = {}
            while len(ports) < 3:
                line = process.stderr.readline()
                assert line, f"it ended with {process.wait()}"
                if found := re.match(r"(.+?) on (?:http://)?127\.0\.0\.1:(\d+)", line):
                    ports[found.group(1)] = int(found.group(2))
            yield process, ports
        finally:
            process.kill()
            process.stderr.read()


def kiosk(folder, port, tls=None):
    client = Sip2Client("127.0.0.1", port, timeout_s=30, tls=tls)
    assert client.login("kiosk-1", (folder / "kiosk-1.password").read_text().strip())
    return client


def page(ports, path):
    try:
        with urlopen(f"http://127.0.0.1:{ports['Metrics']}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as err:
        with err:
            return err.code, err.read().decode()


@contextmanager
def hanging_ils(folder):
    """Let nobody write to the embedded library system."""
    (path,) = folder.glob("**/local*.db") or folder.glob("**/ils*.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def takes_nobody(port):
    """Refused, or accepted by the system and closed at once."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            return sock.recv(1) == b""
    except OSError:
        return True


def checkin(client, answers):
    fixed = {"no_block": "N", "transaction_date": NOON, "return_date": NOON}
    answers.append(client.exchange(Message("09", fixed, [("AP", ""), ("AB", "B1")])))


def test_drain_answers_what_is_under_way_and_says_so(folder):
    tls = ssl.create_default_context(cafile=folder / "tls.pem")
    with serving(folder) as (process, ports):
        status, body = page(ports, "/readyz")
        assert (status, json.loads(body)["ready"]) == (200, True)
        over_tls = kiosk(folder, ports["SIP2 over TLS"], tls)
        idle_tls = kiosk(folder, ports["SIP2 over TLS"], tls)
        plain = kiosk(folder, ports["SIP2"])
        assert plain.exchange(STATUS).code == "98"
        assert "onecard_sip2_connections 3.0" in page(ports, "/metrics")[1]
        answers = []
        with hanging_ils(folder):
            thread = threading.Thread(target=checkin, args=(over_tls, answers))
            thread.start()
            time.sleep(0.3)  # the request has to be with the library system
            process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 10
            while page(ports, "/readyz")[0] != 503:
                assert time.monotonic() < until
            assert json.loads(page(ports, "/readyz")[1])["checks"]["draining"] is True
            assert page(ports, "/healthz") == (200, "ok\n")
            assert takes_nobody(ports["SIP2"])
            for client in (plain, idle_tls):
                assert client._socket.recv(1) == b""  # a proper end, over TLS too
            assert thread.is_alive()
        thread.join(20)
        assert [answer.code for answer in answers] == ["10"]
        assert answers[0].fixed["ok"] == "1"
        for client in (plain, idle_tls, over_tls):
            client.close()
        process.stderr.read()
        assert process.wait(20) == 0
    assert "Traceback" not in (folder / "log").read_text()


def test_drain_ends_though_the_library_system_stays_locked(folder):
    with serving(folder, drain_s=3) as (process, ports):
        client = kiosk(folder, ports["SIP2"])
        answers = []
        with hanging_ils(folder):
            thread = threading.Thread(target=checkin, args=(client, answers))
            thread.start()
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            thread.join(25)
            assert [answer.code for answer in answers] == ["10"]  # its own pair, at the latest
            process.stderr.read()
            assert process.wait(25) == 0
        client.close()
