"""The gateway as a real process (``onecard serve``) in front of a SIP2 ILS, to be killed at a chosen moment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.errors import LocalProtocolError, RemoteProtocolError
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from tests.support.fault_matrix import CAPS, ILS_SETTINGS
from tests.support.sip2_ils import CODE
from tests.support.sip2_ils import PASSWORD as ILS_PASSWORD
from tests.support.world import PASSWORD, write_settings

ROOT = Path(__file__).parents[2]


class GatewayProcess:
    """``onecard serve`` over the store of a folder, with the shipped deadlines; a context manager that starts it."""

    def __init__(self, folder: Path, ils_port: int) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "ils.password").write_text(ILS_PASSWORD, encoding="utf-8")
        values = {"adapter": "sip2", "port": ils_port, **ILS_SETTINGS}
        table = ", ".join(f"{key} = {_toml_value(value)}" for key, value in values.items())
        text = write_settings((CODE,), library=f"ils = {{ {table} }}", sip2=CAPS)
        store = f'[store]\nurl = "sqlite:///{folder}/store.db"\nkey_file'
        (folder / "onecard.toml").write_text(
            text.replace("[store]\nkey_file", store), encoding="utf-8"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start it, on the same port; return when it answers."""
        environment: Mapping[str, str] = {
            **os.environ,
            "ONECARD_SIP2__PORT": str(self.port),
            f"ONECARD_TERMINAL_KIOSK_{CODE.replace('-', '_')}_PASSWORD": PASSWORD,
        }
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "connector.cli", "--config", "onecard.toml", "serve"],
                cwd=self.folder,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            if self._process.poll() is not None:
                raise AssertionError((self.folder / "gateway.log").read_text("utf-8"))
            try:
                self.kiosk().close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the gateway did not come up")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=30)
        self._process = None

    def kiosk(self, *, timeout_s: float = 30.0) -> Sip2Client:
        """Return a machine that has logged in."""
        client = Sip2Client("127.0.0.1", self.port, timeout_s=timeout_s)
        assert client.login(f"kiosk-{CODE}", PASSWORD)
        return client


class Waiting(threading.Thread):
    """A kiosk that has sent a request and waits; ``answer`` is None when its connection ended without one."""

    def __init__(self, client: Sip2Client, request: Message) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._request = request
        self.answer: Message | None = None
        self.start()

    def run(self) -> None:
        with self._client:
            try:
                self.answer = self._client.exchange(self._request)
            except (TimeoutError, RemoteProtocolError, LocalProtocolError):
                self.answer = None


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _toml_value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
