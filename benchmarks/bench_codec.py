"""Our codec against pysip2's, in one run: parse and build, messages per second and ratios.

Run: python benchmarks/bench_codec.py [--rounds 7] [--seconds 0.2]
Rounds of both alternate, medians count; frames carry AY and AZ. pysip2 gets frames it can read.
"""

from __future__ import annotations

import argparse
import statistics
import time

import pysip2

from connector.sip2.codec import Message, decode, encode
from connector.sip2.terminal import WireProfile

PROFILE = WireProfile()
NOON = "20261121    120000"
WHO = [("AO", "MAIN"), ("AA", "P0001234")]
ITEMS = [("AU", f"3{n:07} 红楼梦 第{n}卷 人民文学出版社") for n in range(8)]
CASES = {
    "23 patron status": Message(
        "23", {"language": "019", "transaction_date": NOON}, [*WHO, ("AC", ""), ("AD", "4711")]
    ),
    "24 patron status response": Message(
        "24",
        {"patron_status": " " * 14, "language": "019", "transaction_date": NOON},
        [*WHO, ("AE", "张*"), ("BL", "Y"), ("CQ", "Y"), ("AF", "欢迎")],
    ),
    "11 checkout": Message(
        "11",
        {"sc_renewal_policy": "N", "no_block": "N", "transaction_date": NOON, "nb_due_date": NOON},
        [*WHO, ("AB", "30001234"), ("AC", ""), ("BO", "N")],
    ),
    "12 checkout response": Message(
        "12",
        {
            "ok": "1",
            "renewal_ok": "N",
            "magnetic": "N",
            "desensitize": "Y",
            "transaction_date": NOON,
        },
        [
            *WHO,
            ("AB", "30001234"),
            ("AJ", "红楼梦"),
            ("AH", "2026-12-21"),
            ("AF", "请于12月21日前归还"),
        ],
    ),
    "64 patron information, 8 items": Message(
        "64",
        {
            "patron_status": " " * 14,
            "language": "019",
            "transaction_date": NOON,
            **dict.fromkeys(
                [
                    "hold_count",
                    "overdue_count",
                    "fine_count",
                    "recall_count",
                    "unavailable_hold_count",
                ],
                "0000",
            ),
            "charged_count": "0008",
        },
        [*WHO, ("AE", "张*"), ("CB", "0008"), ("BL", "Y"), ("CQ", "Y"), *ITEMS],
    ),
}


def rate(function, seconds):
    count, started = 0, time.perf_counter()
    while True:
        for _ in range(100):
            function()
        count += 100
        passed = time.perf_counter() - started
        if passed >= seconds:
            return count / passed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    print(
        "| message | bytes | parse ours/s | parse pysip2/s | ratio "
        "| build ours/s | build pysip2/s | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, message in CASES.items():
        raw = encode(message, PROFILE, sequence="3", error_detection=True)
        body = raw[:-1]
        theirs = pysip2.decode_message(raw, encoding="utf-8").message
        ours_read = decode(body, PROFILE).message
        assert ours_read.fields == message.fields
        kinds = {
            "parse": lambda body=body: decode(body, PROFILE),
            "parse pysip2": lambda raw=raw: pysip2.decode_message(raw, encoding="utf-8"),
            "build": lambda m=message: encode(m, PROFILE, sequence="3", error_detection=True),
            "build pysip2": lambda m=theirs: pysip2.encode_message(
                m, sequence_number=3, checksum=True, encoding="utf-8"
            ),
        }
        rounds = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind, function in kinds.items():
                rounds[kind].append(rate(function, options.seconds))
        parse, parse_2, build, build_2 = (statistics.median(rounds[kind]) for kind in kinds)
        print(
            f"| {name} | {len(raw)} | {parse:,.0f} | {parse_2:,.0f} | **{parse / parse_2:.1f}** "
            f"| {build:,.0f} | {build_2:,.0f} | **{build / build_2:.1f}** |",
            flush=True,
        )


if __name__ == "__main__":
    main()
