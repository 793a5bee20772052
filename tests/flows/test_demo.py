"""The demonstration, as a visitor runs it: every step comes out as the policy says, and it stays up.

Nothing here builds the demonstration by itself: the command is run as a process.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from connector.cli.sip2 import sip2
from connector.domain.identity import parse_identity_number
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from tests.support.store import START

DEMO = [sys.executable, "-m", "connector.cli", "demo"]
STAMP = "20261121    100000"


@pytest.fixture
def stay() -> Iterator:
    """Start a demonstration that stays up; it is ended by the test, or here."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DEMO, "--serve", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def test_every_step_of_the_story_comes_out_as_the_policy_says():
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [step["title"] for step in steps if not step["ok"]] == []
    said = {step["title"]: step["answer"] for step in steps}
    assert sum(title.endswith("of 8 is accepted") for title in said) == 8
    for refused in (
        "the ninth is refused",
        "the fourth foreign one is refused, with five out",
        "the second renewal is refused",
        "reserved by somebody: no renewal",
        "a closed-stack item is refused",
        "31 days after the checkout: overdue, no renewal",
        "the fourth foreign book is refused: the limit counts both libraries",
        "the ninth of both libraries is refused",
        "its system would renew again, the policy does not",
    ):
        assert " ok=0 " in said[refused], refused
    for accepted in (
        "ten days later: renewed to 30 days from today",
        "an ID card works as the card",
        "an adult passes through with a ninth book",
        "sent three times, counted once (charged 0001)",
        "the third foreign book, lent by the second",
        "renewed in the second library's own system",
        "brought back: the place is free",
        "so the next book is lent",
    ):
        assert " ok=1 " in said[accepted], accepted


def test_the_story_is_told_to_people_too(tmp_path):
    folder = tmp_path / "kept"
    done = subprocess.run(
        [*DEMO, "--dir", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 cards opened" in done.stdout
    assert "answers are what the policy says" in done.stdout
    assert (folder / "pupils.xlsx").exists()
    again = subprocess.run(
        [*DEMO, "--dir", str(folder)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert "is not empty" in again.stderr


def test_a_playground_says_where_it_is_and_lends(stay):
    process = stay("--json")
    ground = json.loads(process.stdout.readline())
    assert len(ground["libraries"]) == 2
    assert len({library["code"] for library in ground["libraries"]}) == 2
    assert len(ground["patrons"]) >= 6
    for patron in ground["patrons"]:
        assert parse_identity_number(patron["id_number"], today=START.date()).value
    for number, library in enumerate(ground["libraries"]):
        assert {"code", "name", "isil", "sip2"} <= library.keys()
        lend_at(library, ground, ground["patrons"][number * 2 : number * 2 + 2])
    assert end(process) == ""


def lend_at(library, ground, patrons):
    """Look at the stock of one library and borrow there as two pupils."""
    items = [item for item in ground["items"] if item["library"] == library["code"]]
    chinese = [item for item in items if item["loanable"] and item["language"] == "chi"]
    foreign = [item for item in items if item["loanable"] and item["language"] != "chi"]
    assert len(items) >= 60
    assert len(chinese) >= 12
    assert len(foreign) >= 6
    assert sum(not item["loanable"] for item in items) >= 2
    sip = library["sip2"]
    with Sip2Client(sip["host"], sip["port"]) as kiosk:
        assert kiosk.login(sip["login"], sip["password"], sip["location"])
        for patron, chosen in zip(patrons, (chinese, foreign), strict=True):
            who = [("AO", ""), ("AA", patron["card"]), ("AD", patron["pin"])]
            asked = kiosk.exchange(Message("63", {"transaction_date": STAMP}, who))
            assert (asked.fixed["charged_count"], asked.get("CQ")) == ("0000", "Y")
            what = [("AB", chosen[0]["barcode"]), ("AC", "")]
            lent = kiosk.exchange(Message("11", {"transaction_date": STAMP}, [*who, *what]))
            assert lent.fixed["ok"] == "1", lent
            again = kiosk.exchange(
                Message(
                    "11", {"transaction_date": STAMP}, [*who, ("AB", closed_of(items)["barcode"])]
                )
            )
            assert again.fixed["ok"] == "0", again


def closed_of(items):
    return next(item for item in items if not item["loanable"])


def test_a_playground_tells_people_a_command_that_works(stay):
    process = stay()
    lines = []
    while "Ctrl-C" not in "".join(lines):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        lines.append(line)
    start = lines[-1].index("onecard sip2 shell")
    words = shlex.split(lines[-1][start:].partition(" talks to it")[0])
    port = words[words.index("--port") + 1]
    assert f":{port}," in "".join(lines)
    sip2.commands["shell"].make_context("shell", words[3:])
    end(process)
