"""Full work against pysip2's trivial handler: our server, gateway, store and embedded ILS.

Run: python benchmarks/bench_gateway.py [--rounds 2] [--seconds 1.0]
Each connection is a kiosk with a pupil of its own who has five items; every request resolves the
card, reads the patron from the ILS, compares the loans with the ledger, and applies the policy.
Closed loop, AY and AZ on; servers and load generator are processes of their own; rounds alternate,
medians count. pysip2 answers constants: the ratio says what a whole exchange costs beside a codec.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench_checkouts import CODE, add_worker, exchange, open_application
from bench_server import ANSWERS, serve_pysip2

from adapters.local.adapter import SPEC
from connector import log
from connector.ports.ils import AdapterContext
from connector.settings import LogSettings
from connector.sip2.pool import BoundedPool
from connector.sip2.server import Sip2Server
from connector.sip2.terminal import Terminal

KIOSKS = 50
LOANS = 5
BODIES = {
    "23": "23019{stamp}AOFDX|AA{card}|AC|AD|",
    "63": "63019{stamp}  Y       AOFDX|AA{card}|",
}


async def serve_ours(workers: int) -> None:
    log.configure(LogSettings(level="error"), stream=open(os.devnull, "w"))  # noqa: ASYNC230, SIM115, PTH123
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        context = AdapterContext(CODE, "Asia/Shanghai", temporary, lambda: datetime.now(UTC))
        ils = SPEC.build(SPEC.settings.model_validate({"path": "ils.db"}), context)
        app = open_application(folder, f"sqlite:///{folder}/store.db", ils)
        for kiosk in range(KIOSKS):
            add_worker(app, f"K{kiosk:02}")
            for number in range(LOANS):
                app.circulation.checkout(exchange(app, f"K{kiosk:02}", number))
        terminal = Terminal("bench", CODE)  # type: ignore[arg-type]
        pools = {CODE: BoundedPool(workers, queued=2 * KIOSKS)}
        server = Sip2Server(
            app.gateway, executor_for=pools.__getitem__, anonymous=lambda _peer: terminal
        )
        await server.start("127.0.0.1", 0)
        print(server.port, flush=True)
        await asyncio.Event().wait()


def frame(code: str, kiosk: int, number: int) -> bytes:
    """Return one request; no two are alike, so that nobody answers from a memory of repeats."""
    stamp = f"20261121    {number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}"
    body = BODIES[code].format(stamp=stamp, card=f"PK{kiosk:02}")
    head = f"{body}AY{number % 10}AZ".encode()
    return head + b"%04X\r" % (-sum(head) & 0xFFFF)


def run_load(port: int, code: str, connections: int, seconds: float) -> tuple[float, float]:
    """Return requests per second and the 99th percentile in milliseconds."""
    selector = selectors.DefaultSelector()
    for kiosk in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, [kiosk, 0, b"", 0.0])
    expected, times = ANSWERS[code], []
    for key in selector.get_map().values():
        key.data[3] = time.perf_counter()
        key.fileobj.sendall(frame(code, key.data[0], 0))
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        for key, _ in selector.select(1):
            state = key.data
            state[2] += key.fileobj.recv(65536)
            if state[2][-1:] != b"\r":
                continue
            if state[2][:2] != expected or b"|BLY|" not in state[2]:
                raise RuntimeError(f"unexpected answer {state[2][:2]!r}")
            now = time.perf_counter()
            times.append(now - state[3])
            state[1:] = [state[1] + 1, b"", now]
            key.fileobj.sendall(frame(code, state[0], state[1]))
    passed = time.perf_counter() - started
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    times.sort()
    return len(times) / passed, times[int(len(times) * 0.99)] * 1000


def start(*words: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())  # type: ignore[union-attr]


def measure(port: int, code: str, connections: int, seconds: float) -> list[float]:
    words = ["--load", json.dumps([port, code, connections, seconds])]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        theirs = options.serve == "pysip2"
        asyncio.run(serve_pysip2() if theirs else serve_ours(int(options.serve)))
        return
    if options.load:
        print(json.dumps(run_load(*options.load)))
        return
    print("\n### Full work on the embedded ILS against pysip2 answering constants\n")
    print("| message | connections | threads | ours/s | p99 ms | pysip2/s | ratio |")
    print("|---|---|---|---|---|---|---|")
    theirs, their_port = start("--serve", "pysip2")
    try:
        for workers in options.workers:
            ours, our_port = start("--serve", str(workers))
            try:
                for code in BODIES:
                    for connections in (1, KIOSKS):
                        _print_row(code, connections, workers, our_port, their_port, options)
            finally:
                _end(ours)
    finally:
        _end(theirs)


def _print_row(code, connections, workers, our_port, their_port, options) -> None:
    mine, other = [], []
    for _ in range(options.rounds):
        mine.append(measure(our_port, code, connections, options.seconds))
        other.append(measure(their_port, code, connections, options.seconds))
    rate = statistics.median(each[0] for each in mine)
    p99 = statistics.median(each[1] for each in mine)
    peer = statistics.median(each[0] for each in other)
    print(
        f"| {code} | {connections} | {workers} | {rate:,.0f} | {p99:.1f} | {peer:,.0f} "
        f"| **{rate / peer:.2f}** |",
        flush=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
