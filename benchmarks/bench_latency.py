"""What the gateway adds: the same load straight at a library system that speaks SIP2, and through
``onecard serve`` in front of it.

Run: python benchmarks/bench_latency.py [--rounds 2] [--seconds 1.0]
The library system is the embedded one behind its own SIP2 server. Library system, gateway and
load are three processes; the log line is on. Straight and through alternate; medians count.
"""

from __future__ import annotations

import argparse
import statistics

from sip2_site import Kiosk, Site, quantile, run_closed_loop, running_site

CONNECTIONS = (1, 50)
LOADS = (("23",), ("63",), ("17",), ("11", "09"))


def connect(site: Site, kind: str, count: int) -> list[Kiosk]:
    if kind == "through":
        return [Kiosk(site.port, f"FDX-{n}", f"G{n:04}") for n in range(count)]
    port = site.ils_ports["FDX"]
    return [Kiosk(port, "gateway", f"D{n:04}") for n in range(count)]


def medians(rounds: list[tuple[float, float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def measure(site: Site, count: int, options: argparse.Namespace) -> None:
    fleets = {kind: connect(site, kind, count) for kind in ("straight", "through")}
    for codes in LOADS:
        rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
        for fleet in fleets.values():
            run_closed_loop(fleet, codes, 0.2)
        for _ in range(options.rounds):
            for kind, fleet in fleets.items():
                for code, times in run_closed_loop(fleet, codes, options.seconds).items():
                    rate = len(times) / options.seconds
                    rows.setdefault((kind, code), []).append(
                        (quantile(times, 0.5), quantile(times, 0.99), rate)
                    )
        for code in codes:
            half, most, _ = (
                statistics.median(c) for c in zip(*rows["straight", code], strict=True)
            )
            our_half, our_most, rate = (
                statistics.median(c) for c in zip(*rows["through", code], strict=True)
            )
            print(
                f"| {code} | {count} | {half:.1f} | {our_half:.1f} | **{our_half / half:.1f}** "
                f"| {most:.1f} | {our_most:.1f} | **{our_most / most:.1f}** | {rate:,.0f} |",
                flush=True,
            )
    for fleet in fleets.values():
        for kiosk in fleet:
            kiosk.sock.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print("\n### Through the gateway against straight to a SIP2 library system (ms)\n")
    print(
        "| message | connections | p50 straight | p50 through | ratio "
        "| p99 straight | p99 through | ratio | through/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with running_site(max(CONNECTIONS), direct=max(CONNECTIONS)) as site:
        for count in CONNECTIONS:
            measure(site, count, options)


if __name__ == "__main__":
    main()
