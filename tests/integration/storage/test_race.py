"""Scenario 11: two processes race for the last place, 200 times, and one of them gets it each time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from connector.domain.loan import LoanState

ROOT = Path(__file__).parents[3]
ROUNDS = 200
LIMIT = 8


def test_s11_two_processes_race_for_the_last_place(scene, store_url, tmp_path):
    patron_id = scene.person()
    for number in range(LIMIT - 1):
        scene.lend(patron_id, f"KEPT{number}")
    command = [
        sys.executable,
        "-m",
        "tests.support.racer",
        store_url,
        str(tmp_path / "onecard.key"),
        patron_id,
        str(LIMIT),
    ]
    racers = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(2)
    ]
    outcomes: Counter[tuple[str, ...]] = Counter()
    winners: Counter[int] = Counter()
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for number in range(ROUNDS):
            for index, racer in enumerate(racers if number % 2 else racers[::-1]):
                racer.stdin.write(f"RACE{number}-{index}\n")
                racer.stdin.flush()
            answers = [racer.stdout.readline().strip() for racer in racers]
            won = [i for i, answer in enumerate(answers) if answer != "NoPlace"]
            outcomes[tuple(sorted("NoPlace" if i not in won else "Asked" for i in range(2)))] += 1
            assert len(scene.ledger.list_unclosed(patron_id)) == LIMIT
            for index in won:
                winners[index] += 1
                loan = scene.ledger.record_refused(answers[index], scene.place(), reason="test")
                assert loan.state is LoanState.REFUSED
    finally:
        for racer in racers:
            racer.stdin.close()
            racer.wait(timeout=20)
            racer.stdout.close()
    assert outcomes == {("Asked", "NoPlace"): ROUNDS}
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(winners) == 2, "one process won every round: they did not race"


def test_two_processes_race_for_one_item(scene, store_url, tmp_path):
    patrons = [scene.person("S1"), scene.person("S2")]
    racers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.racer",
                store_url,
                str(tmp_path / "onecard.key"),
                patron_id,
                "1000",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for patron_id in patrons
    ]
    outcomes: Counter[tuple[str, ...]] = Counter()
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for number in range(ROUNDS):
            for racer in racers if number % 2 else racers[::-1]:
                racer.stdin.write(f"RACE{number}\n")
                racer.stdin.flush()
            answers = [racer.stdout.readline().strip() for racer in racers]
            kinds = sorted("TakenByOther" if a == "TakenByOther" else "Asked" for a in answers)
            outcomes[tuple(kinds)] += 1
    finally:
        for racer in racers:
            racer.stdin.close()
            racer.wait(timeout=20)
            racer.stdout.close()
    assert outcomes == {("Asked", "TakenByOther"): ROUNDS}
    assert sum(len(scene.ledger.list_unclosed(patron_id)) for patron_id in patrons) == ROUNDS
