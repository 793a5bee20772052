"""``onecard serve`` as a process: it answers, drains on SIGTERM, and ends with code 0."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
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


def test_the_worker_removes_who_never_got_an_answer(tmp_path: Path) -> None:
    subprocess.run([*ONECARD, "init", "lib"], cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "lib"
    (folder / "roster.csv").write_text(
        "身份证号,姓名,家长电话\n500230201503010015,王小明,13900000001\n", "utf-8"
    )
    for words in (["school", "add", "s1", "一小"], ["import", "roster.csv", "--school", "s1"]):
        subprocess.run([*ONECARD, "enrol", *words], cwd=folder, check=True, capture_output=True)
    with closing(sqlite3.connect(folder / "onecard.db")) as database:
        database.execute("UPDATE application SET entered_at = '2020-01-01T00:00:00.000000+00:00'")
        database.commit()
    process = subprocess.Popen(
        [*ONECARD, "serve", "--only", "worker"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while "applications.purged" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    with closing(sqlite3.connect(folder / "onecard.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM person").fetchone() == (0,)
