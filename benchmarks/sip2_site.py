"""A site for benchmarks: library systems that speak SIP2, and ``onecard serve`` in front of them,
each a process of its own. Not a benchmark itself.

Every kiosk has a terminal, a pupil (``G``… at the gateway, ``D``… straight at the library system)
and two books of his own, so that nobody waits for somebody else's item.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from adapters.local.adapter import SPEC
from connector.bootstrap import build
from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext, ItemInput, PatronInput
from connector.ports.store import PersonalData
from connector.settings import load_settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.testing.records import make_record

PASSWORD = "bench-secret"
ZONE = "Asia/Shanghai"


@dataclass
class Site:
    """What runs, and where."""

    gateway: subprocess.Popen[str]
    port: int
    ils_ports: dict[str, int]
    ils: dict[str, subprocess.Popen[str]]
    folder: Path

    def rss_mb(self) -> float:
        """Resident memory of the gateway."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def cpu_s(self) -> float:
        """Processor seconds that the gateway has used."""
        fields = Path(f"/proc/{self.gateway.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def hung(self, code: str) -> Iterator[None]:
        """Stop a library system's process, connections and all, as a hung one stands."""
        self.ils[code].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.ils[code].send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_site(
    kiosks: int, *, codes: Sequence[str] = ("FDX",), direct: int = 0, workers: int = 8
) -> Iterator[Site]:
    """Make everything anew in a temporary folder, run it, and take it away."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onecard-bench-")))
        (folder / "password").write_text(PASSWORD, "utf-8")
        ils, ports = {}, {}
        for code in codes:
            _fill_ils(folder, code, kiosks, direct)
            ils[code], ports[code] = _start_ils(stack, folder, code)
        _write_settings(folder, ports, kiosks, workers)
        _enrol(folder, codes, kiosks)
        gateway, port = _start_gateway(stack, folder)
        yield Site(gateway, port, ports, ils, folder)


def _fill_ils(folder: Path, code: str, kiosks: int, direct: int) -> None:
    context = AdapterContext(InstitutionId(code), ZONE, str(folder), lambda: datetime.now(UTC))
    desk = SPEC.build(SPEC.settings.model_validate({"path": f"{code}.db"}), context)
    for kind, count in (("G", kiosks), ("D", direct)):
        for number in range(count):
            card = f"{kind}{number:04}"
            desk.upsert_patron(
                PatronInput(card, IlsPatronId(card), "bench", "student", expires=date(2099, 1, 1))
            )
            bib = desk.add_bib(make_record("红楼梦"), "marc21")
            for copy in "AB":
                desk.add_item(bib, ItemInput(Barcode(f"I{card}{copy}")))
    desk.close()


def _start_ils(
    stack: contextlib.ExitStack, folder: Path, code: str
) -> tuple[subprocess.Popen[str], int]:
    words = ["--db", str(folder / f"{code}.db"), "--institution", code, "--login", "gateway"]
    process = subprocess.Popen(
        [sys.executable, "-m", "adapters.local.sip2_server", *words,
         "--password-file", str(folder / "password")],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    stack.callback(_end, process)
    return process, json.loads(process.stdout.readline())["port"]  # type: ignore[union-attr]


def _write_settings(folder: Path, ports: dict[str, int], kiosks: int, workers: int) -> None:
    head = (
        "[sip2]\nport = 0\nmax_connections = 2000\nmax_connections_per_address = 2000\n"
        f'workers = {workers}\nwatch_settings = false\n[log]\nlevel = "info"\nformat = "json"\n'
        "[policy.student]\neffective_from = 2020-01-01\n"
    )
    parts = [head]
    parts += [
        f'[[libraries]]\ncode = "{code}"\nname = "{code}"\n[libraries.ils]\nadapter = "sip2"\n'
        f'host = "127.0.0.1"\nport = {port}\nlogin = "gateway"\npassword_file = "password"\n'
        f"connections = {workers}\n"
        for code, port in ports.items()
    ]
    parts += [
        f'[[sip2.terminals]]\nlogin = "{code}-{number}"\nlibrary = "{code}"\n'
        'password_file = "password"\n'
        for code in ports
        for number in range(kiosks)
    ]
    (folder / "onecard.toml").write_text("\n".join(parts), "utf-8")


def _enrol(folder: Path, codes: Sequence[str], kiosks: int) -> None:
    settings = load_settings(folder / "onecard.toml")
    Keyring.generate().save(settings.store.key_file)
    upgrade_database(settings.store.url)
    app = build(settings)
    for number in range(kiosks):
        card = f"G{number:04}"
        person = app.store.people.add_person(
            PersonalData(name="bench"),
            [Identifier("card", card)],
            home=InstitutionId(codes[0]),
            category="student",
            state=StandingState.ACTIVE,
        )
        for code in codes:
            app.store.people.set_account(person, InstitutionId(code), IlsPatronId(card))
    app.close()


def _start_gateway(stack: contextlib.ExitStack, folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.cli", "--config", str(folder / "onecard.toml"),
         "serve", "--only", "sip2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    stack.callback(_end, process)
    for line in process.stderr:  # type: ignore[union-attr]
        if found := re.match(r"SIP2 on 127\.0\.0\.1:(\d+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # type: ignore[union-attr]
            return process, int(found[1])
    raise RuntimeError(f"onecard serve ended with {process.wait()}")


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ── kiosks ───────────────────────────────────────────────────────────────────────────────────────


def seal(text: str, number: int) -> bytes:
    """Return a frame with AY and AZ."""
    body = f"{text}AY{number % 10}AZ".encode()
    return body + b"%04X\r" % (-sum(body) & 0xFFFF)


def request(code: str, card: str, number: int) -> bytes:
    """Return one request; no two of a kiosk are alike, so that nobody takes one for a repeat."""
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d}    {number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}"
    return seal(
        {
            "23": f"23019{stamp}AO|AA{card}|AC|AD|",
            "63": f"63019{stamp}  Y       AO|AA{card}|AC|",
            "17": f"17{stamp}AO|ABI{card}B|AC|",
            "11": f"11NN{stamp}{'':18}AO|AA{card}|ABI{card}A|AC|",
            "09": f"09N{stamp}{stamp}AP|AO|ABI{card}A|AC|",
            "99": "9900802.00",
        }[code],
        number,
    )


_GOOD: dict[str, Callable[[bytes], bool]] = {
    "23": lambda answer: answer[:2] == b"24" and b"|BLY|" in answer,
    "63": lambda answer: answer[:2] == b"64" and b"|BLY|" in answer,
    "17": lambda answer: answer[:2] == b"18",
    "11": lambda answer: answer[:3] == b"121",
    "09": lambda answer: answer[:3] == b"101",
    "99": lambda answer: answer[:2] == b"98",
}


class Kiosk:
    """One connection, logged in."""

    def __init__(self, port: int, login: str, card: str) -> None:
        self.card = card
        self.number = 0
        self.code = ""
        self.sent_at = 0.0
        self.rest = b""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(seal(f"9300CN{login}|CO{PASSWORD}|", 0))
        while b"\r" not in self.rest:
            self.rest += self.sock.recv(4096)
        if self.rest[:3] != b"941":
            raise RuntimeError(f"login refused: {self.rest!r}")
        self.rest = b""

    def send(self, code: str) -> None:
        """Ask."""
        self.number += 1
        self.code = code
        data = request(code, self.card, self.number)
        self.sent_at = time.perf_counter()
        self.sock.sendall(data)

    def receive(self) -> float | None:
        """Take what has come; return the seconds when the answer is whole and good."""
        self.rest += self.sock.recv(65536)
        if self.rest[-1:] != b"\r":
            return None
        took = time.perf_counter() - self.sent_at
        answer, self.rest = self.rest, b""
        if not _GOOD[self.code](answer):
            raise RuntimeError(f"unexpected answer to {self.code}: {answer[:2]!r}{answer[2:3]!r}")
        return took


def run_closed_loop(
    kiosks: Sequence[Kiosk], codes: Sequence[str], seconds: float
) -> dict[str, list[float]]:
    """Let each kiosk ask the codes in turn, the next as soon as it is answered; give the times.

    Every kiosk ends with the last code, so that nothing stays on loan.
    """
    times: dict[str, list[float]] = {code: [] for code in codes}
    selector = selectors.DefaultSelector()
    for kiosk in kiosks:
        selector.register(kiosk.sock, selectors.EVENT_READ, kiosk)
        kiosk.send(codes[0])
    until = time.perf_counter() + seconds
    while selector.get_map():
        for key, _ in selector.select(30):
            kiosk = key.data
            took = kiosk.receive()
            if took is None:
                continue
            times[kiosk.code].append(took)
            after = (codes.index(kiosk.code) + 1) % len(codes)
            if after == 0 and time.perf_counter() >= until:
                selector.unregister(kiosk.sock)
            else:
                kiosk.send(codes[after])
    return times


def quantile(times: Sequence[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
