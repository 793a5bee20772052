"""``onecard serve`` follows its settings file: terminals, words and networks, without a restart.

The server, its files and its sockets are real. It runs in this process, and in one of its own where
the program's start and end count.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from connector.bootstrap import Application, build
from connector.cli import serve
from connector.cli.main import cli
from connector.cli.reload import reloading
from connector.log import configure
from connector.settings import load_settings
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.server import Sip2Server
from connector.sip2.terminal import WireProfile
from tests.support.certificates import Authority
from tests.support.gateway_process import free_port

STATUS = Message("99", {"status_code": "0", "protocol_version": "2.00"}, [])
POLICY = "\n[policy.student]\n"
SECOND = '\n[[sip2.terminals]]\nlogin = "kiosk-2"\npassword_file = "kiosk-1.password"\n'


class Served:
    """The files of a server that runs, its port and its log.

    Attributes:
        pid: who takes the signals.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "onecard.toml"
        self.log = folder / "log"
        self.log.touch()
        self.password_file = folder / "kiosk-1.password"
        self.password = self.password_file.read_text("utf-8").strip()
        self.port = free_port()
        self.pid = os.getpid()
        self.replace("\nport = 6001", f"\nport = {self.port}")

    @property
    def lines(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()

    def wait_for(self, event: str, *, after: int = 0) -> dict[str, object]:
        """Return the first log line of an event."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for line in self.lines[after:]:
                if f'"{event}"' in line:
                    found: dict[str, object] = json.loads(line)
                    return found
            time.sleep(0.02)
        raise AssertionError(f"no {event} in:\n" + "\n".join(self.lines))

    def replace(self, old: str, new: str) -> None:
        text = self.file.read_text("utf-8")
        assert old in text
        self.file.write_text(text.replace(old, new, 1), "utf-8")

    def change(self, old: str, new: str, *, hup: bool = True, event: str) -> dict[str, object]:
        """Change the file, and wait until the program has seen it."""
        at = len(self.lines)
        self.replace(old, new)
        if hup:
            self.hang_up()
        return self.wait_for(event, after=at)

    def wait_for_signals(self) -> None:
        """Let the file be read again at a signal, and at nothing else."""
        self.replace("[sip2]\n", "[sip2]\nwatch_settings = false\n")

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def log_in(self, login: str = "kiosk-1", profile: WireProfile | None = None) -> Sip2Client:
        client = Sip2Client("127.0.0.1", self.port, profile=profile)
        assert client.login(login, self.password)
        return client

    def check_log(self) -> None:
        text = self.log.read_text("utf-8")
        assert "Traceback" not in text
        assert "settings.reload_failed" not in text
        assert self.password not in text


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that nobody has used."""
    folder = tmp_path_factory.mktemp("fresh") / "lib"
    assert CliRunner().invoke(cli, ["init", str(folder)]).exit_code == 0
    return folder


@pytest.fixture
def served(fresh: Path, tmp_path: Path) -> Served:
    return Served(shutil.copytree(fresh, tmp_path / "lib"))


Script = Callable[[], None]


@pytest.fixture
def while_serving(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a script beside the server, which has the main thread, for it takes the signals."""
    often = functools.partial(reloading, every_s=0.05)
    monkeypatch.setattr(serve, "reloading", often)

    async def main(script: Script) -> None:
        with closing(build(load_settings(served.file))) as app:
            async with serve.listening(app, 1.0, served.file):
                await asyncio.to_thread(script)

    def run(script: Script, *, watch: bool = False) -> None:
        if not watch:
            served.wait_for_signals()
        with served.log.open("w", encoding="utf-8", buffering=1) as log:
            configure(stream=log)
            before = signal.getsignal(signal.SIGHUP)
            try:
                asyncio.run(main(script))
            finally:
                signal.signal(signal.SIGHUP, before)
                structlog.reset_defaults()
        served.check_log()

    return run


def wait_until_closed(client: Sip2Client) -> None:
    until = time.monotonic() + 10
    while client.is_open:
        assert time.monotonic() < until
        time.sleep(0.02)
    client.close()


def test_terminals_words_and_networks_are_taken_over(served: Served, while_serving) -> None:
    def script() -> None:
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
        wait_until_closed(second)
        with Sip2Client("127.0.0.1", served.port) as client:
            assert not client.login("kiosk-2", served.password)

        network = '[sip2]\nallow_from = ["192.0.2.0/24"]\n'
        served.change("[sip2]\n", network, event="settings.reloaded")
        wait_until_closed(kiosk)

    while_serving(script)


def test_a_mistake_in_the_file_changes_nothing(served: Served, while_serving) -> None:
    def script() -> None:
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

    while_serving(script)


def test_what_needs_a_restart_is_named(served: Served, while_serving) -> None:
    def script() -> None:
        line = served.change(
            "# idle_timeout_s = 900", "idle_timeout_s = 901", event="settings.restart_needed"
        )
        assert line["setting"] == "sip2.idle_timeout_s"

    while_serving(script)


def test_a_change_is_seen_without_a_signal(served: Served, while_serving) -> None:
    def script() -> None:
        kiosk = served.log_in()
        served.change(
            'location = "main"', 'location = "hall"', hup=False, event="settings.reloaded"
        )
        assert kiosk.exchange(STATUS).get("AN") == "hall"
        kiosk.close()

    while_serving(script, watch=True)


def test_a_new_password_is_seen_and_ends_the_old_one(served: Served, while_serving) -> None:
    def script() -> None:
        kiosk = served.log_in()
        at = len(served.lines)
        served.password_file.write_text("another-password\n")
        served.wait_for("settings.reloaded", after=at)
        wait_until_closed(kiosk)
        with Sip2Client("127.0.0.1", served.port) as client:
            assert not client.login("kiosk-1", served.password)
            assert client.login("kiosk-1", "another-password")

    while_serving(script, watch=True)


def test_another_encoding_counts_at_the_next_login(served: Served, while_serving) -> None:
    def script() -> None:
        kiosk = served.log_in()
        served.change('# encoding = "utf-8"', 'encoding = "gb18030"', event="settings.reloaded")
        assert kiosk.exchange(STATUS).get("AM") == "我的图书馆"
        kiosk.close()
        with served.log_in(profile=WireProfile(encoding="gb18030")) as again:
            assert again.exchange(STATUS).get("AM") == "我的图书馆"

    while_serving(script)


def test_a_renewed_certificate_is_shown_from_then_on(
    served: Served, while_serving, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "ca")
    certificate, key, first = authority.issue("localhost", names=("localhost",))
    port = free_port()
    tls = f'\n[sip2.tls]\nport = {port}\ncert_file = "{certificate}"\nkey_file = "{key}"\n'
    served.replace(POLICY, tls + POLICY)
    context = ssl.create_default_context(cafile=authority.file)

    def fingerprint() -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()

    def script() -> None:
        assert fingerprint() == first
        at = len(served.lines)
        _, _, second = authority.issue("localhost", names=("localhost",))  # the same files
        served.hang_up()
        served.wait_for("settings.reloaded", after=at)
        assert fingerprint() == second != first
        at = len(served.lines)
        key.write_text("no key")
        served.hang_up()
        served.wait_for("settings.reload_refused", after=at)
        assert fingerprint() == second

    while_serving(script)


@pytest.mark.parametrize("steps", range(8))
def test_a_signal_just_before_the_end_does_not_keep_it(served: Served, steps: int) -> None:
    """The end comes so many steps of the event loop after the signal."""

    async def serve_shortly(app: Application) -> None:
        async with reloading(app, served.file, Sip2Server(app.gateway)):
            os.kill(os.getpid(), signal.SIGHUP)
            for _ in range(steps):
                await asyncio.sleep(0)

    async def main() -> None:
        with closing(build(load_settings(served.file))) as app:
            task = asyncio.create_task(serve_shortly(app))
            done, _ = await asyncio.wait({task}, timeout=10)
            task.cancel()
            assert done

    before = signal.getsignal(signal.SIGHUP)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGHUP, before)


def test_many_signals_do_not_end_the_program(served: Served) -> None:
    """As early as can be, and while it serves; it ends with code 0 when it is told to."""
    served.wait_for_signals()
    with (
        served.log.open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "connector.cli", "serve", "--only", "sip2"],
            cwd=served.file.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            served.wait_for("sip2.server_started")
            served.pid = process.pid
            for _ in range(5):
                served.hang_up()
            kiosk = served.log_in()
            served.change('location = "main"', 'location = "hall"', event="settings.reloaded")
            assert kiosk.exchange(STATUS).get("AN") == "hall"
            for _ in range(5):
                served.hang_up()
            kiosk.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, "\n".join(served.lines)
        finally:
            process.kill()
    served.check_log()
