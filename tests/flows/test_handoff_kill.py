"""``onecard enrol handoff`` killed with SIGKILL: no card lost or opened on a guess, no PIN left about."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from click.testing import CliRunner, Result

from connector.bootstrap import Application, build
from connector.cli.main import cli
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.settings import load_settings
from tests.support.id_numbers import id_number

LIB = InstitutionId("LIB")
ROOT = Path(__file__).parents[2]
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二", "孙三三"]
TABLE = """
[library.ils.handoff]
columns = { "card" = "card", "name" = "name", "pin" = "pin" }
"""
EXPORT = [
    ("StoredActivations.begin_activation:after", 2),
    ("PinFile.write:after", 2),
    ("StoredActivations.save_handoff:after", 3),
    ("PrivateFile.write:after", 4),
]
"""Of three pupils: the fourth write is that of the file itself."""
SLIPS = [
    ("StoredActivations.save_handoff:after", 3),
    ("SlipFolder.__exit__:before", 1),
]
CONFIRM = [
    ("StoredActivations.finish_activation:before", 2),
    ("StoredActivations.finish_activation:after", 2),
]


class Installation:
    """One library with three approved pupils, the batch of them, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spare = folder / "tmp"
        assert self._run("init", str(folder)).exit_code == 0
        self.spare.mkdir()
        with (folder / "onecard.toml").open("a", encoding="utf-8") as file:
            file.write(TABLE)
        self._run("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary")
        book = xlsxwriter.Workbook(str(folder / "roster.xlsx"))
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADERS)
        for serial, name in enumerate(NAMES):
            cells = (
                id_number(serial),
                name,
                f"138000{serial:05}",
                "家长甲",
                "",
                "三年级2班",
                "丰都",
            )
            sheet.write_row(serial + 1, 0, cells)
        book.close()
        roster = str(folder / "roster.xlsx")
        self.batch = self.tell("enrol", "import", roster, "--school", "s1")["batch"]
        self._run("enrol", "review", self.batch)
        self._run("enrol", "consent", self.batch, "--all", "--evidence", "folder 7")
        assert self._run("enrol", "approve", self.batch).exit_code == 0
        self.app: Application = build(load_settings(folder / "onecard.toml"))
        self.app.adapters[LIB].fetch_patron(IlsPatronId("nobody"))  # its database is there now

    def _run(self, *arguments: str) -> Result:
        config = ["--config", str(self.folder / "onecard.toml")]
        return CliRunner().invoke(cli, [*config, *arguments])

    def tell(self, *arguments: str) -> dict[str, Any]:
        done = self._run(*arguments, "--json")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def handoff(self, verb: str, *arguments: str) -> dict[str, int]:
        counts: dict[str, int] = self.tell("enrol", "handoff", verb, self.batch, *arguments)[
            "counts"
        ]
        return counts

    def kill(self, step: tuple[str, int], verb: str, *arguments: str) -> str:
        """Let a real process die at a step, and its lease run out; return what it printed."""
        where, count = step
        config = ["--config", str(self.folder / "onecard.toml")]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.handoff_kill", where, str(count), *config),
                *("enrol", "handoff", verb, self.batch, *arguments),
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self.spare)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -9, done.stdout + done.stderr
        with sqlite3.connect(self.folder / "onecard.db") as own:
            own.execute("UPDATE application SET lease_until = NULL")
        own.close()
        return done.stdout + done.stderr

    def applications(self):
        return self.app.store.enrolment.list_applications(LIB)

    def files(self) -> set[Path]:
        own = {".db-wal", ".db-shm"}
        return {p for p in self.folder.rglob("*") if p.is_file() and p.suffix not in own}

    def load(self, *files: Path) -> None:
        """Do what the library's staff do with the files: a card twice is told, not loaded twice."""
        for line in (line for path in files for line in read(path)):
            if not self.app.adapters[LIB].fetch_patron(IlsPatronId(line["card"])).valid:
                self.app.adapters[LIB].add_desk_patron(  # type: ignore[attr-defined]
                    line["card"], name=line["name"], category="student", pin=line["pin"]
                )


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.app.close()


def open_everybody(site: Installation, *files: Path) -> None:
    site.load(*files)
    site.handoff("confirm")
    cards = [one.card for one in site.applications()]
    assert [one.state for one in site.applications()] == [ApplicationState.ACTIVE] * 3
    assert len(set(cards)) == 3
    for card in cards:
        standing = site.app.store.people.find_by_account(IlsPatronId(card), LIB)
        assert standing is not None
        assert standing.state is StandingState.ACTIVE


@pytest.mark.parametrize("step", EXPORT, ids=str)
def test_an_export_that_is_killed_is_taken_up_again(
    site: Installation, step: tuple[str, int]
) -> None:
    before = site.files()
    first, pins = site.folder / "a.csv", site.folder / "a-pins.csv"
    said = site.kill(step, "export", "--out", str(first))
    left = site.files() - before
    assert left <= {first, pins}, "nothing but the two files that were asked for"
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600}
    assert list(site.spare.iterdir()) == []
    given = {line["card"]: line["pin"] for line in read(pins)}
    assert not any(pin in said for pin in given.values())
    assert not any(name in said for name in NAMES)
    lines = read(first)
    assert len(lines) in {0, 3}, "the file is there as a whole or not at all"
    assert {line["card"]: line["pin"] for line in lines} == (given if lines else {})
    taken = {one.application_id: one.card for one in site.applications() if one.card}

    second, third = site.folder / "b.csv", site.folder / "c.csv"
    counts = site.handoff("export", "--out", str(second))
    assert set(counts) <= {"handed_off", "handed_off_before"}
    files = [path for path in (first, second) if path.exists()]
    if not lines and counts.get("handed_off_before"):
        assert site.handoff("export", "--out", str(third), "--again") == {"handed_off": 3}
        files = [third]
    assert taken.items() <= {one.application_id: one.card for one in site.applications()}.items()
    open_everybody(site, *files)
    final = {line["card"]: line["pin"] for path in files for line in read(path)}
    ils = site.app.adapters[LIB]
    assert all(ils.verify_pin(IlsPatronId(card), pin) for card, pin in final.items())


@pytest.mark.parametrize("step", SLIPS, ids=str)
def test_slips_that_were_not_printed_are_printed_by_the_next_run(
    site: Installation, step: tuple[str, int]
) -> None:
    before = site.files()
    first, slips = site.folder / "a.csv", site.folder / "slips"
    site.kill(step, "export", "--out", str(first), "--slips", str(slips))
    left = site.files() - before
    (journal,) = slips.iterdir()
    assert left == {first, journal}
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600}
    assert list(site.spare.iterdir()) == []
    second = site.folder / "b.csv"
    document = site.tell(
        "enrol",
        "handoff",
        "export",
        site.batch,
        "--out",
        str(second),
        "--slips",
        str(slips),
        "--again",
    )
    assert document["counts"] == {"handed_off": 3}
    assert [Path(path).suffix for path in document["slips"]] == [".pdf"]
    assert not journal.exists()
    open_everybody(site, second)


@pytest.mark.parametrize("step", CONFIRM, ids=str)
def test_a_confirmation_that_is_killed_is_taken_up_again(
    site: Installation, step: tuple[str, int]
) -> None:
    out = site.folder / "a.csv"
    assert site.handoff("export", "--out", str(out)) == {"handed_off": 3}
    before = site.files()
    site.load(out)
    site.kill(step, "confirm")
    assert site.files() - before == set()
    opened = [one for one in site.applications() if one.state is ApplicationState.ACTIVE]
    assert len(opened) == 1 + step[0].endswith("finish_activation:after")
    for one in site.applications():
        standing = site.app.store.people.find_by_account(IlsPatronId(one.card), LIB)
        assert standing is not None
        assert (standing.state is StandingState.ACTIVE) == (one in opened)
    open_everybody(site)
