"""500 kiosks at one process, and a library system that hangs beside one that works.

Run: python benchmarks/bench_many.py [--kiosks 500] [--seconds 6]
Library systems (the embedded one behind its own SIP2 server), gateway and load are processes of
their own; the log line is on. Each kiosk sends a status or a patron status every five seconds, a
hundred times as often as real ones do; then all ask for patron information at the same moment. A
library system hangs because its process is stopped.
"""

from __future__ import annotations

import argparse
import selectors
import time

from sip2_site import Kiosk, Site, quantile, run_closed_loop, running_site

EVERY_S = 5.0
NEIGHBOURS = 20


def run_open_loop(kiosks: list[Kiosk], seconds: float) -> list[float]:
    """Let every kiosk send now and then, spread over the time; give the times."""
    times: list[float] = []
    selector = selectors.DefaultSelector()
    for kiosk in kiosks:
        selector.register(kiosk.sock, selectors.EVENT_READ, kiosk)
    started = time.perf_counter()
    step = EVERY_S / len(kiosks)
    turn, waiting = 0, 0
    while waiting or turn * step < seconds:
        due = started + turn * step
        if turn * step < seconds and time.perf_counter() >= due:
            kiosks[turn % len(kiosks)].send("99" if turn % 3 == 0 else "23")
            turn += 1
            waiting += 1
            continue
        pause = max(0.0, due - time.perf_counter()) if turn * step < seconds else 30
        for key, _ in selector.select(pause):
            took = key.data.receive()
            if took is not None:
                times.append(took)
                waiting -= 1
    return times


def run_burst(kiosks: list[Kiosk], code: str) -> list[float]:
    """Let all ask at the same moment; give the times."""
    return run_closed_loop(kiosks, (code,), 0.0)[code]


def show(name: str, times: list[float], span_s: float | None = None) -> None:
    rate = "" if span_s is None else f"{len(times) / span_s:,.0f}"
    print(
        f"| {name} | {len(times)} | {rate} | {quantile(times, 0.5):.1f} "
        f"| {quantile(times, 0.99):.1f} | {max(times) * 1000:.0f} |",
        flush=True,
    )


def measure_many(site: Site, count: int, seconds: float) -> None:
    before = site.rss_mb()
    started = time.perf_counter()
    kiosks = [Kiosk(site.port, f"FDX-{number}", f"G{number:04}") for number in range(count)]
    opened_s = time.perf_counter() - started
    idle = site.rss_mb()
    cpu_s, began = site.cpu_s(), time.perf_counter()
    times = run_open_loop(kiosks, seconds)
    load = (site.cpu_s() - cpu_s) / (time.perf_counter() - began)
    show(f"{count} kiosks, one message each in {EVERY_S:.0f} s", times, seconds)
    for _ in range(2):
        began = time.perf_counter()
        times = run_burst(kiosks, "63")
        show(f"{count} kiosks at the same moment, 63", times, time.perf_counter() - began)
    after = site.rss_mb()
    print(
        f"\n{count} logins in {opened_s:.1f} s. Memory: {before:.0f} MB before, {idle:.0f} MB with "
        f"{count} connected, {after:.0f} MB after the load "
        f"({(after - before) * 1024 / count:.0f} kB for each kiosk at most). "
        f"Processor while they send: {load * 100:.0f} % of one core."
    )
    for kiosk in kiosks:
        kiosk.sock.close()


def measure_neighbours(site: Site, seconds: float) -> None:
    ours = [Kiosk(site.port, f"FDX-{n}", f"G{n:04}") for n in range(NEIGHBOURS)]
    theirs = [Kiosk(site.port, f"HUNG-{n}", f"G{n:04}") for n in range(NEIGHBOURS)]
    run_closed_loop(ours, ("63",), 0.5)
    run_closed_loop(theirs, ("63",), 0.2)
    calm = run_closed_loop(ours, ("63",), seconds)["63"]
    show(f"{NEIGHBOURS} kiosks, both library systems work", calm, seconds)
    with site.hung("HUNG"):
        for kiosk in theirs:
            kiosk.send("63")
        beside = run_closed_loop(ours, ("63",), seconds)["63"]
    show(f"{NEIGHBOURS} kiosks, the other library's system hangs", beside, seconds)
    ratio = quantile(beside, 0.99) / quantile(calm, 0.99)
    print(f"\np99 beside a system that hangs, against without: **{ratio:.2f}**.")
    for kiosk in (*ours, *theirs):
        kiosk.sock.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kiosks", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print("\n### Many kiosks at one process (ms)\n")
    print("| what | answers | per s | p50 | p99 | longest |\n|---|---|---|---|---|---|")
    with running_site(options.kiosks) as site:
        measure_many(site, options.kiosks, options.seconds)
    print("\n### A library system that hangs, and its neighbour (ms)\n")
    print("| what | answers | per s | p50 | p99 | longest |\n|---|---|---|---|---|---|")
    with running_site(NEIGHBOURS, codes=("FDX", "HUNG")) as site:
        measure_neighbours(site, options.seconds / 2)


if __name__ == "__main__":
    main()
