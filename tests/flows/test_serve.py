"""``onecard serve`` as a process: it answers, drains on SIGTERM, and ends with code 0."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message

ONECARD = [sys.executable, "-c", "from connector.cli.main import main; main()"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port: int) -> Sip2Client:
    for _ in range(200):
        try:
            return Sip2Client("127.0.0.1", port)
        except OSError:
            signal.sigtimedwait([], 0.1)
    raise AssertionError("the server did not come up")


def test_serve_answers_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    subprocess.run([*ONECARD, "init", "lib"], cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "lib"
    port = free_port()
    process = subprocess.Popen(
        [*ONECARD, "serve"],
        cwd=folder,
        env={**os.environ, "ONECARD_SIP2__PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with wait_for(port) as client:
            password = (folder / "kiosk-1.password").read_text().strip()
            assert client.login("kiosk-1", password)
            answer = client.exchange(Message("99", {"status_code": "0"}, []))
            assert (answer.code, answer.fixed["online"]) == ("98", "Y")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "service.stopping" in out + err
    assert "Traceback" not in out + err


def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    subprocess.run([*ONECARD, "init", "lib"], cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = str(sock.getsockname()[1])
        done = subprocess.run(
            [*ONECARD, "serve", "--only", "sip2"],
            cwd=tmp_path / "lib",
            env={**os.environ, "ONECARD_SIP2__PORT": taken},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert taken in done.stderr
    assert "Traceback" not in done.stderr
