"""Our server with a trivial handler against pysip2's, in one run: requests per second and ratios.

Run: python benchmarks/bench_server.py [--rounds 3] [--seconds 1.0] [--log]
Closed loop: each connection has one request outstanding; AY and AZ are on; the code of every answer
is looked at. Servers and load generator are processes of their own; rounds of both servers
alternate, medians count. Both handlers do no I/O and answer the same values. --log lets our server
write its line per exchange (to /dev/null); without it both servers log errors only.
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
import time

NOON = "20261121    120000"
BODIES = {
    "23": f"23019{NOON}AOMAIN|AAP0001234|AC|AD4711|",
    "63": f"63019{NOON}  Y       AOMAIN|AAP0001234|AD4711|",
    "11": f"11NN{NOON}{NOON}AOMAIN|AAP0001234|AB30001234|AC|",
}
ANSWERS = {"23": b"24", "63": b"64", "11": b"12"}
TITLES = [f"3{n:07} Dream of the Red Chamber {n}" for n in range(5)]


# ── servers ──────────────────────────────────────────────────────────────────────────────────────


async def serve_ours(with_log):
    import connector.log
    from connector.domain.ids import InstitutionId, TerminalId
    from connector.sip2.codec import Message
    from connector.sip2.server import Sip2Server
    from connector.sip2.terminal import Terminal

    class Options:
        level = "info" if with_log else "error"
        format = "json"

    sink = open(os.devnull, "w", encoding="utf-8")  # noqa: ASYNC230, SIM115, PTH123
    connector.log.configure(Options(), stream=sink)
    terminal = Terminal(TerminalId("bench"), InstitutionId("MAIN"))

    class Handler:
        def log_in(self, *_who):
            return terminal

        def refuse_late(self, *_what):
            return None

        def handle(self, request, _exchange):
            who = [("AO", request.get("AO")), ("AA", request.get("AA"))]
            if request.code == "23":
                fixed = {"patron_status": " " * 14, "language": "019", "transaction_date": NOON}
                return Message("24", fixed, [*who, ("AE", "Bench"), ("BL", "Y"), ("CQ", "Y")])
            if request.code == "63":
                fixed = {
                    "patron_status": " " * 14,
                    "language": "019",
                    "transaction_date": NOON,
                    "hold_count": "0000",
                    "overdue_count": "0000",
                    "charged_count": "0005",
                    "fine_count": "0000",
                    "recall_count": "0000",
                    "unavailable_hold_count": "0000",
                }
                fields = [*who, ("AE", "Bench"), ("BL", "Y"), ("CQ", "Y")]
                return Message("64", fixed, [*fields, *[("AU", title) for title in TITLES]])
            fixed = {
                "ok": "1",
                "renewal_ok": "N",
                "magnetic": "N",
                "desensitize": "Y",
                "transaction_date": NOON,
            }
            fields = [*who, ("AB", request.get("AB")), ("AJ", TITLES[0]), ("AH", "2026-12-21")]
            return Message("12", fixed, fields)

    server = Sip2Server(Handler(), anonymous=lambda _peer: terminal)
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def serve_pysip2():
    import pysip2

    app = pysip2.SIP2Server(institution_id="MAIN", encoding="utf-8")

    @app.route(pysip2.PATRON_STATUS)
    async def patron_status(request, _context):
        return pysip2.PatronStatusResponse(
            patron_status=" " * 14,
            language="019",
            transaction_date=NOON,
            institution_id=request.institution_id,
            patron_identifier=request.patron_identifier,
            personal_name="Bench",
            valid_patron="Y",
            valid_patron_password="Y",
        )

    @app.route(pysip2.PATRON_INFORMATION)
    async def patron_information(request, _context):
        return pysip2.PatronInformationResponse(
            patron_status=" " * 14,
            language="019",
            transaction_date=NOON,
            hold_items_count="0000",
            overdue_items_count="0000",
            charged_items_count="0005",
            fine_items_count="0000",
            recall_items_count="0000",
            unavailable_holds_count="0000",
            institution_id=request.institution_id,
            patron_identifier=request.patron_identifier,
            personal_name="Bench",
            valid_patron="Y",
            valid_patron_password="Y",
            charged_items=tuple(TITLES),
        )

    @app.route(pysip2.CHECKOUT)
    async def checkout(request, _context):
        return pysip2.CheckoutResponse(
            ok="1",
            renewal_ok="N",
            magnetic_media="N",
            desensitize="Y",
            transaction_date=NOON,
            institution_id=request.institution_id,
            patron_identifier=request.patron_identifier,
            item_identifier=request.item_identifier,
            title_identifier=TITLES[0],
            due_date="2026-12-21",
        )

    async with app.start() as port:
        print(port, flush=True)
        await asyncio.Event().wait()


# ── load ─────────────────────────────────────────────────────────────────────────────────────────


def make_frames(code, connection, count):
    """Frames that differ within and between runs: nobody may answer from a memory of repeats."""
    frames = []
    run = time.time_ns() // 1_000_000 % 10_000_000
    for number in range(count):
        body = BODIES[code].replace("P0001234", f"P{run:07}{connection:02}{number:06}")
        head = f"{body}AY{number % 10}AZ".encode()
        frames.append(head + b"%04X\r" % (-sum(head) & 0xFFFF))
    return frames


def run_load(port, code, connections, seconds):
    """Return requests per second."""
    selector = selectors.DefaultSelector()
    for number in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = make_frames(code, number, int(60_000 * seconds / connections))
        selector.register(sock, selectors.EVENT_READ, [frames, 0, b""])
    expected = ANSWERS[code]
    for key in selector.get_map().values():
        key.fileobj.sendall(key.data[0][0])
    done, started = 0, time.perf_counter()
    until = started + seconds
    while time.perf_counter() < until:
        for key, _ in selector.select(1):
            state = key.data
            data = state[2] + key.fileobj.recv(65536)
            if data[-1:] != b"\r":
                assert data, "the server closed the connection"
                state[2] = data
                continue
            assert data[:2] == expected, data[:2]
            state[1] += 1
            state[2] = b""
            done += 1
            key.fileobj.sendall(state[0][state[1]])
    passed = time.perf_counter() - started
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return done / passed


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def start(*words):
    process = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def measure(port, code, connections, seconds):
    words = ["--load", json.dumps([port, code, connections, seconds])]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--serve", choices=["ours", "pysip2"], help=argparse.SUPPRESS)
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve_ours(options.log) if options.serve == "ours" else serve_pysip2())
        return
    if options.load:
        print(run_load(*options.load))
        return
    ours, our_port = start("--serve", "ours", *(["--log"] if options.log else []))
    theirs, their_port = start("--serve", "pysip2")
    try:
        print("| message | connections | ours/s | pysip2/s | ratio |\n|---|---|---|---|---|")
        for code in BODIES:
            for connections in (1, 50):
                pairs = [
                    [
                        measure(port, code, connections, options.seconds)
                        for port in (our_port, their_port)
                    ]
                    for _ in range(options.rounds)
                ]
                mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
                print(
                    f"| {code} | {connections} | {mine:,.0f} | {other:,.0f} "
                    f"| **{mine / other:.2f}** |",
                    flush=True,
                )
    finally:
        for process in (ours, theirs):
            process.terminate()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    main()
