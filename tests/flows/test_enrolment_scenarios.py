"""Rosters by scenario (1 to 4, 26, 35) and the import that was killed, on both databases."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from click.testing import CliRunner
from stdnum.cn import ric

from connector.bootstrap import Application
from connector.cli.context import CliContext
from connector.cli.enrol import enrol
from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ApplicationState, ConsentScope, SchoolStage
from connector.domain.ids import Identifier, PatronId
from connector.domain.patron import StandingState
from connector.errors import ConfigurationError
from connector.ports.enrolment import Application as PupilApplication
from connector.ports.enrolment import RowOutcome, School, Valve
from connector.ports.rosters import LeaverState
from connector.ports.schools import Campaign
from connector.ports.tasks import TaskKind
from connector.services.roster import ImportReport
from tests.support.roster_kill import LIBRARY, NOW, find_school, open_library

ROOT = Path(__file__).parents[2]
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*", "学籍号"]
FAMILY = "丁戴孙李吴陆戚巴久石"
S = ApplicationState


def id_number(serial: int, birth: str = "20160301", area: str = "500230") -> str:
    first17 = f"{area}{birth}{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def pupil(serial: int, **changes: object) -> list[object]:
    cells: dict[str, object] = {
        "id": id_number(serial),
        "name": FAMILY[serial % 10] + "一二三四五六七八九十"[serial // 10 % 10] * 2,
        "phone": f"138000{serial:05}",
        "parent": "",
        "parent_phone": f"139000{serial:05}",
        "class": "四年级2班",
        "district": "丰都",
        "student_no": "",
    }
    return list((cells | changes).values())


def write_roster(
    path: Path, rows: Sequence[Sequence[object]], *, hidden: Sequence[Sequence[object]] = ()
) -> Path:
    """Write a real xlsx; the same rows give the same bytes."""
    book = xlsxwriter.Workbook(str(path))
    book.set_properties({"created": datetime(2026, 9, 1, tzinfo=UTC)})
    for name, lines in (("名册", rows), ("四年级3班", hidden)):
        if name == "名册" or lines:
            sheet = book.add_worksheet(name)
            for number, line in enumerate([HEADERS, *lines]):
                for position, cell in enumerate(line):
                    sheet.write(number, position, cell)
            if name != "名册":
                sheet.hide()
    book.close()
    return path


class Enrolment:
    """One library and what a test does with it."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.folder = folder
        self.moment = NOW
        self.app: Application = open_library(folder, store_url, lambda: self.moment)
        self.school = self.add_school("s1")
        self._files = 0

    def add_school(self, code: str, stage: SchoolStage = SchoolStage.PRIMARY) -> School:
        return self.app.enrolment.save_school(LIBRARY, code, f"学校{code}", stage=stage)

    def load(
        self,
        rows: Sequence[Sequence[object]],
        school: School | None = None,
        *,
        hidden: Sequence[Sequence[object]] = (),
        **more: Any,
    ) -> ImportReport:
        self._files += 1
        path = write_roster(self.folder / f"roster-{self._files}.xlsx", rows, hidden=hidden)
        return self.app.enrolment.import_roster(path, school or self.school, actor="clerk", **more)

    def applications(self, report: ImportReport) -> tuple[PupilApplication, ...]:
        assert report.batch is not None
        return self.app.enrolment.list_applications(report.batch)

    def open_cards(self, report: ImportReport) -> dict[int | None, str]:
        """Review, consent, approve and activate a batch; return card by row."""
        found = self.applications(report)
        self.app.enrolment.review(found, actor="teacher")
        found = self.applications(report)
        self.app.consents.record(found, [ConsentScope.CARD], evidence="folder 7", actor="teacher")
        self.app.enrolment.approve(found, actor="librarian")
        results = self.app.provisioning(LIBRARY).activate(
            self.applications(report), actor="librarian"
        )
        return {result.application.batch_row: result.card for result in results}

    def find(self, kind: str, number: str) -> PatronId | None:
        return self.app.store.people.find_person([Identifier(kind, number)])

    def tasks(self, kind: TaskKind) -> list[dict[str, Any]]:
        found = self.app.store.tasks.list_tasks(LIBRARY, kind=kind)
        return [{"patron": task.patron_id, **task.detail} for task in found]

    def command(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run ``onecard enrol`` against this application."""
        cli = CliContext(Path("none"))
        cli._app = self.app
        cli.__dict__["settings"] = self.app.settings
        return CliRunner().invoke(enrol, arguments, obj=cli, input=stdin)


@pytest.fixture
def here(tmp_path: Path, store_url: str) -> Iterator[Enrolment]:
    enrolment = Enrolment(tmp_path, store_url)
    yield enrolment
    enrolment.app.close()


def printed(result: Any) -> Any:
    """Return the JSON document that a command printed; the log goes before it here."""
    return json.loads(result.stdout.splitlines()[-1])


def outcomes(report: ImportReport) -> dict[str, int]:
    assert report.batch is None or report.repeated or report.batch.counts == report.counts
    assert sum(report.counts.values()) == len(report.roster.rows)
    return {outcome.value: n for outcome, n in report.counts.items() if n}


def codes(report: ImportReport) -> list[tuple[int, str, str]]:
    return [(problem.row, problem.column, problem.code) for problem in report.problems]


# --- scenario 1


def test_s01_two_schools_name_the_same_child(here: Enrolment) -> None:
    number = "50010220090908123X"
    first, second = (here.add_school(code, SchoolStage.JUNIOR) for code in ("j1", "j2"))
    child = pupil(23, id=number, **{"class": ""})
    cards = here.open_cards(here.load([child], first))
    for written in ("50010220090908123x", "5００10220090908123X "):
        report = here.load([[written, *child[1:]]], second)
        assert outcomes(report) == {"duplicate": 1}
        assert codes(report) == [(2, "id_number", "at_other_school")]
        for word in ("j1", "学校j1", number, cards[2]):
            assert word not in str(report.problems)
        assert not here.applications(report)
    patron = here.find("id_card", number)
    assert here.tasks(TaskKind.TWO_SCHOOLS) == [
        {"patron": patron, "school": "j2", "other_school": "j1", "batch": "2026-0002", "row": 2}
    ]
    application = here.app.enrolment.store.find_application(PatronId(str(patron)))
    assert application is not None
    assert (application.school_id, application.card) == (first.school_id, cards[2])
    listed = here.command("task", "list", "--lang", "zh")
    assert "两所学校" in listed.output
    audit = here.app.store.database.fetch("SELECT action FROM audit", ())
    assert ("tasks.shown",) in [tuple(row) for row in audit]
    (task,) = here.app.store.tasks.list_tasks(LIBRARY)
    assert here.command("task", "done", task.task_id[:8]).exit_code == 0
    assert not here.tasks(TaskKind.TWO_SCHOOLS)


# --- scenario 2


def test_s02_bad_numbers_are_told_without_the_number(here: Enrolment) -> None:
    right = id_number(1)
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    rows = [
        pupil(1, id=wrong),
        pupil(2, id=id_number(2, birth="20310101")),
        pupil(3, id=5.00230e17),
        pupil(4),
    ]
    path = write_roster(here.folder / "bad.xlsx", rows)
    result = here.command(
        "import", str(path), "--school", "s1", "--json", "--remarks", "--lang", "en"
    )
    assert result.exit_code == 1, result.output
    report = printed(result)
    assert (report["rows"], report["created"], report["invalid"]) == (4, 1, 3)
    assert [(p["cell"], p["code"]) for p in report["problems"]] == [
        ("A2", "id_check_digit"),
        ("A3", "id_birth_future"),
        ("A4", "id_digits_lost"),
    ]
    assert wrong not in result.output
    remarks = Path(report["remarks"])
    assert remarks.stat().st_mode & 0o777 == 0o600
    assert here.find("id_card", id_number(4)) is not None
    assert here.find("id_card", right) is None


# --- scenario 3


def test_s03_a_kindergarten_child_without_phone(here: Enrolment) -> None:
    young = here.add_school("k1", SchoolStage.KINDERGARTEN)
    rows = [
        pupil(1, id=id_number(1, birth="20220301"), phone="", **{"class": "小一班"}),
        pupil(2, id=id_number(2, birth="20220302"), phone="", parent_phone="", **{"class": ""}),
    ]
    report = here.load(rows, young)
    assert outcomes(report) == {"created": 1, "needs_guardian": 1}
    (application,) = here.applications(report)
    known = here.app.store.people.fetch_personal(application.patron_id)
    assert (known.phone, known.guardian_phone) == ("", "13900000001")
    member = here.app.store.schools.find_memberships([application.patron_id])
    at = member[application.patron_id].school_class
    assert (at.level, at.name) == (-2, "1班")


# --- scenario 4

TEMPORARY = "L500230201603019999"


def test_s04_the_number_comes_in_spring_and_card_and_loans_stay(here: Enrolment) -> None:
    child = pupil(1, id="", student_no=TEMPORARY, name="阿依·古丽")
    autumn = here.load([child])
    assert outcomes(autumn) == {"created": 1}
    cards = here.open_cards(autumn)
    patron = here.find("student_no", TEMPORARY)
    here.moment += timedelta(days=180)
    number = id_number(1)
    spring = here.load([pupil(1, student_no="G" + number, name="阿依• 古丽")])
    assert outcomes(spring) == {"updated": 1}
    for kind, value in (
        ("student_no", TEMPORARY),
        ("student_no", "G" + number),
        ("id_card", number),
        ("card", cards[2]),
    ):
        assert here.find(kind, value) == patron
    (application,) = here.applications(autumn)
    assert (application.state, application.card) == (S.ACTIVE, cards[2])
    standing = here.app.store.people.resolve([Identifier("id_card", number)], LIBRARY)
    assert standing is not None
    assert (standing.state, standing.ils_patron) == (StandingState.ACTIVE, cards[2])
    assert outcomes(here.load([pupil(1, name="阿依古丽")])) == {"unchanged": 1}


def test_s04_the_formal_number_alone_finds_who_has_its_identity_number(here: Enrolment) -> None:
    known = here.load([pupil(1)])
    formal = pupil(1, id="", student_no="G" + id_number(1))
    assert outcomes(here.load([formal])) == {"updated": 1}
    (application,) = here.applications(known)
    assert here.find("student_no", "G" + id_number(1)) == application.patron_id
    other = here.load([pupil(2, id="", student_no="G" + id_number(2))])
    assert outcomes(here.load([pupil(2)], here.add_school("s2"))) == {"duplicate": 1}
    assert len(here.applications(other)) == 1


@pytest.mark.parametrize("both_at_once", [True, False])
def test_s04_twins_are_for_a_person_to_decide(here: Enrolment, *, both_at_once: bool) -> None:
    """Two who fit one row, or two rows that fit one: nobody is guessed, nobody entered twice."""
    twins = [pupil(n, id="", student_no=f"{TEMPORARY[:-1]}{n}", name="丁一一") for n in (1, 2)]
    formal = [pupil(n, student_no="G" + id_number(n), name="丁一一") for n in (1, 2)]
    here.load(twins if both_at_once else twins[:1])
    spring = here.load(formal[:1] if both_at_once else formal)
    assert {code for _, _, code in codes(spring)} == {"ambiguous_match"}
    assert outcomes(spring) == {"held": len(spring.roster.rows)}
    assert here.find("id_card", id_number(1)) is None
    (task,) = here.tasks(TaskKind.AMBIGUOUS_MATCH)
    assert (task["school"], task["batch"]) == ("s1", "2026-0002")


def test_s04_one_child_twice_in_a_file_gets_no_second_account(here: Enrolment) -> None:
    rows = [pupil(1), pupil(1, id="", student_no=TEMPORARY)]
    report = here.load(rows)
    assert outcomes(report) == {"created": 1, "held": 1}
    assert outcomes(here.load(list(reversed(rows)))) == {"held": 1, "unchanged": 1}


# --- scenario 26


def open_school(here: Enrolment, pupils: int) -> tuple[list[list[object]], dict[Any, str]]:
    rows = [pupil(n, **{"class": f"四年级{1 + n % 2}班"}) for n in range(pupils)]
    return rows, here.open_cards(here.load(rows))


def state_of(here: Enrolment, serial: int) -> ApplicationState | None:
    patron = here.find("id_card", id_number(serial))
    found = here.app.enrolment.store.find_application(patron) if patron else None
    return found.state if found else None


def test_s26_a_hidden_sheet_closes_nobody_until_a_person_has_confirmed(here: Enrolment) -> None:
    rows, _ = open_school(here, 10)
    seen = [row for row in rows if "1班" in str(row[5])]
    unseen = [row for row in rows if "2班" in str(row[5])]
    report = here.load(seen, hidden=unseen, complete=True)
    assert report.batch is not None
    assert outcomes(report) == {"unchanged": 5}
    assert (report.batch.valve, report.missing) == (Valve.HELD, 5)
    assert {state_of(here, n) for n in range(10)} == {S.ACTIVE}
    (task,) = here.tasks(TaskKind.DROP_HELD)
    assert (task["batch"], task["missing"]) == (report.batch.number, 5)

    number = report.batch.number
    listed = printed(here.command("leavers", number, "--json", "--lang", "zh"))
    assert [row["number"] for row in listed] == [1, 2, 3, 4, 5]
    assert {row["decision"] for row in listed} == {"proposed"}
    assert id_number(1) not in str(listed)
    assert {row["class"] for row in listed} == {"四年级2班"}
    for _ in range(2):  # doing it again is harmless
        result = here.command("leavers", number, "--confirm", "--rows", "1,3", "--json")
        assert result.exit_code == 0, result.output
    assert printed(result) == {"batch": number, "left": 0, "kept": 0, "open": 3}
    gone = {n for n in range(10) if state_of(here, n) is not S.ACTIVE}
    assert gone == {1, 5}  # the first and the third of those who were on the hidden sheet
    strange = here.command("leavers", number, "--confirm", "--rows", "9")
    assert (strange.exit_code, "number 9" in strange.output) == (1, True)

    corrected = here.load([row for n, row in enumerate(rows) if n not in {1, 5}], complete=True)
    assert (corrected.missing, corrected.valve) == (0, Valve.NONE)
    settled = here.app.enrolment.find_batch(LIBRARY, number)
    assert settled.valve is Valve.CONFIRMED
    assert not here.tasks(TaskKind.DROP_HELD)
    assert {state_of(here, n) for n in range(10) if n not in {1, 5}} == {S.ACTIVE}


def test_s26_few_leavers_leave_at_once(here: Enrolment) -> None:
    """Whose card is open begins to be closed; whose was never opened is removed."""
    rows, cards = open_school(here, 38)
    more = [pupil(n) for n in (38, 39)]
    here.load(more)
    dry = here.load([*rows[1:], more[0]], complete=True, dry_run=True)
    assert (dry.missing, dry.valve) == (2, Valve.NONE)
    assert state_of(here, 0) is S.ACTIVE
    report = here.load([*rows[1:], more[0]], complete=True)
    assert (report.missing, report.valve) == (2, Valve.NONE)
    standing = here.app.store.people.resolve([Identifier("card", cards[2])], LIBRARY)
    assert standing is None or standing.state is StandingState.EXPIRED
    patron = here.find("id_card", id_number(0))
    if patron is not None:
        found = here.app.enrolment.store.find_application(patron)
        assert found is not None
        assert (found.state, found.reason) == (S.WITHDRAWN, ClosingReason.LEFT)
    assert here.find("id_card", id_number(39)) is None
    assert state_of(here, 38) is S.ENTERED
    assert {state_of(here, n) for n in range(1, 38)} == {S.ACTIVE}


def test_s26_a_row_that_was_not_read_may_be_the_missing_child(here: Enrolment) -> None:
    rows, _ = open_school(here, 30)
    wrong = [str(rows[0][0])[:-1] + "Y", *rows[0][1:]]
    bad_phone = [*rows[1][:2], "12", *rows[1][3:]]
    report = here.load([wrong, bad_phone, *rows[2:]], complete=True)
    assert outcomes(report) == {"invalid": 2, "unchanged": 28}
    assert (report.missing, report.valve) == (1, Valve.HELD)
    assert report.batch is not None
    ((leaver, _),) = here.app.enrolment.leavers.list_leavers(report.batch)
    assert leaver.patron_id == here.find("id_card", id_number(0))
    result = here.command("leavers", report.batch.number, "--dismiss", "--all")
    assert result.exit_code == 0, result.output
    batch = here.app.enrolment.find_batch(LIBRARY, report.batch.number)
    assert batch.valve is Valve.DISMISSED
    again = here.command("leavers", report.batch.number, "--confirm", "--all", "--json")
    assert printed(again)["left"] == 0
    assert state_of(here, 0) is S.ACTIVE


def test_s26_who_is_named_later_or_elsewhere_stays(here: Enrolment) -> None:
    rows, _ = open_school(here, 4)
    held = here.load(rows[:1], complete=True)
    assert held.batch is not None
    assert (held.missing, held.valve) == (3, Valve.HELD)
    here.load([[*rows[1][:2], rows[1][2], "家长", *rows[1][4:]]])
    states = {
        leaver.serial: leaver.state
        for leaver, _ in here.app.enrolment.leavers.list_leavers(held.batch)
    }
    assert states == {
        1: LeaverState.KEPT,
        2: LeaverState.PROPOSED,
        3: LeaverState.PROPOSED,
    }
    other = here.add_school("s2")
    patron = here.find("id_card", id_number(2))
    assert patron is not None
    here.app.enrolment.closer.begin(patron, ClosingReason.LEFT, actor="x")
    assert outcomes(here.load([rows[2]], other)) == {"created": 1}
    report = here.app.enrolment.leavers.confirm(held.batch, actor="librarian")
    assert (report.left, report.kept, report.open) == (1, 1, 0)
    assert state_of(here, 2) is S.ENTERED
    assert state_of(here, 3) is not S.ACTIVE


# --- scenario 35


def test_s35_what_a_school_sees_of_its_batch_is_masked_and_its_own(here: Enrolment) -> None:
    report = here.load([pupil(1), pupil(2)])
    assert report.batch is not None
    shown = here.command("show", report.batch.number)
    assert shown.exit_code == 0, shown.output
    assert "on roster" in shown.output
    for word in (id_number(1), "戴一一", "13800000001"):
        assert word not in shown.output
    rows = printed(here.command("show", report.batch.number, "--json"))
    assert {row["on_roster"] for row in rows} == {True}


# --- killed and run again


@pytest.mark.parametrize(
    ("method", "side", "count"),
    [("take_rows", "before", 1), ("take_rows", "after", 2), ("end_import", "before", 1)],
)
def test_an_import_that_was_killed_is_gone_on_with(
    tmp_path: Path, store_url: str, method: str, side: str, count: int
) -> None:
    here = Enrolment(tmp_path, store_url)
    rows = [pupil(n) for n in range(120)]
    rows += [pupil(5), pupil(1, id="500230"), pupil(120, phone="", parent_phone="")]
    path = write_roster(tmp_path / "big.xlsx", rows)
    here.app.close()
    arguments = [str(tmp_path), store_url, str(path), "part", method, side, str(count)]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.roster_kill", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    app = open_library(tmp_path, store_url)
    try:
        (waiting,) = app.enrolment.store.list_batches(LIBRARY)
        assert waiting.state == "importing"
        assert sum(waiting.counts.values()) == waiting.taken_rows
        report = app.enrolment.import_roster(path, find_school(app), actor="clerk")
        assert report.batch is not None
        assert (report.batch.number, report.batch.state) == (waiting.number, "imported")
        assert outcomes(report) == {
            "created": 120,
            "duplicate": 1,
            "invalid": 1,
            "needs_guardian": 1,
        }
        assert report.batch.problems == report.problems
        assert len({row for row, _, _ in codes(report)}) == 3
        applications = app.enrolment.list_applications(report.batch)
        assert len({a.patron_id for a in applications}) == len(applications) == 120
        members = app.store.schools.find_memberships([a.patron_id for a in applications])
        assert len(members) == 120
        again = app.enrolment.import_roster(path, find_school(app), actor="clerk")
        assert again.repeated
        assert app.store.audit.verify()
    finally:
        app.close()


def test_leavers_of_an_import_that_was_killed_leave_once(tmp_path: Path, store_url: str) -> None:
    here = Enrolment(tmp_path, store_url)
    rows, _ = open_school(here, 40)
    path = write_roster(tmp_path / "complete.xlsx", rows[2:])
    here.app.close()
    arguments = [str(tmp_path), store_url, str(path), "complete", "decide_leaver", "before", "1"]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.roster_kill", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    app = open_library(tmp_path, store_url)
    try:
        report = app.enrolment.import_roster(path, find_school(app), actor="clerk", complete=True)
        assert report.batch is not None
        assert (report.missing, report.valve, report.batch.state) == (2, Valve.NONE, "imported")
        assert outcomes(report) == {"unchanged": 38}
        leavers = app.enrolment.leavers.list_leavers(report.batch)
        assert {leaver.state for leaver, _ in leavers} == {LeaverState.LEFT}
        active = app.enrolment.store.list_applications(LIBRARY, states=[S.ACTIVE])
        assert len(active) == 38
    finally:
        app.close()


# --- classes, campaigns, willingness, single pupils


def test_a_pupil_moves_to_the_class_that_the_next_roster_tells(here: Enrolment) -> None:
    first = here.load([pupil(1), pupil(2)])
    here.open_cards(first)
    here.moment += timedelta(days=3)
    moved = here.load([pupil(1, **{"class": "四年级3班"}), pupil(2, **{"class": "四年级"})])
    assert outcomes(moved) == {"updated": 2}
    one, two = here.applications(first)
    classes = here.app.store.schools.find_memberships([one.patron_id, two.patron_id])
    assert classes[one.patron_id].school_class.name == "3班"
    assert classes[two.patron_id].school_class.name == "2班"
    history = here.app.store.schools.list_history(one.patron_id)
    assert [(each.until is None, each.reason) for each in history] == [(False, "moved"), (True, "")]


def test_a_school_that_keeps_its_classes_gets_no_new_one(here: Enrolment) -> None:
    from dataclasses import replace

    strict = here.app.enrolment.store.save_school(replace(here.school, create_classes=False))
    report = here.load([pupil(1)], strict)
    assert outcomes(report) == {"created": 1}
    assert [(note.row, note.code) for note in report.notes] == [(2, "class_unknown")]
    (application,) = here.applications(report)
    assert not here.app.store.schools.find_memberships([application.patron_id])
    assert application.class_name == "四年级2班"


def test_a_campaign_takes_its_grades_in_its_window(here: Enrolment) -> None:
    days = [(NOW + timedelta(days=n)).date() for n in (-5, 20)]
    here.app.store.schools.save_campaign(
        Campaign("", LIBRARY, "2026", "", 2026, *days, levels=frozenset({4})), actor="x"
    )
    known = here.load([pupil(3, id=id_number(3, birth="20170301"), **{"class": "三年级1班"})])
    rows = [
        pupil(1),
        pupil(2, id=id_number(2, birth="20170301"), **{"class": "三年级1班"}),
        pupil(3, id=id_number(3, birth="20170301"), **{"class": "三年级1班"}),
    ]
    report = here.load(rows, campaign="2026")
    assert outcomes(report) == {"created": 1, "held": 1, "unchanged": 1}
    assert codes(report) == [(3, "class_name", "grade_not_in_campaign")]
    (application,) = here.applications(report)
    assert report.batch is not None
    assert application.campaign_id == report.batch.campaign_id is not None
    assert here.applications(known)[0].campaign_id is None
    here.moment += timedelta(days=60)
    with pytest.raises(ConfigurationError, match="takes rosters from"):
        here.load(rows, campaign="2026")
    with pytest.raises(ConfigurationError, match="no campaign"):
        here.load(rows, campaign="2030")


def test_who_wants_no_card_is_entered_and_goes_no_further(here: Enrolment) -> None:
    path = here.folder / "willing.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    lines = [[*HEADERS, "是否办证"], [*pupil(1), "是"], [*pupil(2), "否"], [*pupil(3), ""]]
    for number, line in enumerate(lines):
        sheet.write_row(number, 0, line)
    book.close()
    report = here.app.enrolment.import_roster(path, here.school, actor="clerk")
    assert outcomes(report) == {"created": 3}
    applications = here.applications(report)
    assert [a.willing for a in applications] == ["willing", "unwilling", "no_answer"]
    assert here.app.enrolment.review(applications, actor="t").done == 2
    assert here.app.enrolment.approve(here.applications(report), actor="t").done == 2
    (progress,) = here.app.enrolment.list_progress(LIBRARY)
    assert (progress.unwilling, progress.pending, progress.failed) == (1, 2, 0)
    listed = printed(here.command("batches", "--json"))
    assert (listed[0]["pending"], listed[0]["unwilling"], listed[0]["state"]) == (2, 1, "imported")
    assert applications[0].on_roster
    assert applications[0].provenance["phone"] == "roster"


def test_a_reviewer_chooses_a_class_and_rejects_rows(here: Enrolment) -> None:
    report = here.load([pupil(n, **{"class": f"四年级{1 + n % 2}班"}) for n in range(6)])
    assert report.batch is not None
    number = report.batch.number
    assert "3 reviewed" in here.command("review", number, "--class", "4/2").output
    assert "0 reviewed" in here.command("review", number, "--class", "5").output
    bad = here.command("review", number, "--class", "four")
    assert (bad.exit_code, "LEVEL/NAME" in bad.output) == (2, True)
    rejected = here.command("review", number, "--reject", "--rows", "2", "--reason", "not_a_pupil")
    assert rejected.exit_code == 0, rejected.output
    states = {a.batch_row: (a.state, a.reason) for a in here.applications(report)}
    assert states[2] == (S.REFUSED, "not_a_pupil")
    assert [row for row, (state, _) in states.items() if state is S.SCHOOL_REVIEWED] == [3, 5, 7]
    assert here.command("review", number, "--reject").exit_code == 2


def test_one_pupil_is_entered_changed_and_taken_away(here: Enrolment) -> None:
    """A36 to A38, by the family's route."""
    child = {
        "name": "丁一一",
        "id_number": id_number(1),
        "guardian_phone": "13900000001",
        "class_name": "四年级2班",
    }
    entered = here.command("add", "--school", "s1", "-", "--json", stdin=json.dumps(child))
    assert entered.exit_code == 0, entered.output
    made = printed(entered)
    assert (made["outcome"], made["state"]) == ("created", "entered")
    assert id_number(1) not in entered.output
    application = here.app.enrolment.store.fetch_application(made["application"])
    assert application is not None
    assert (application.route, application.on_roster) == ("individual", False)
    assert application.provenance["name"] == "form"
    again = here.command("add", "--school", "s1", "-", "--json", stdin=json.dumps(child))
    assert (again.exit_code, printed(again)["outcome"]) == (0, "unchanged")
    elsewhere = here.add_school("s2")
    other = here.command("add", "--school", "s2", "-", "--json", stdin=json.dumps(child))
    assert printed(other)["outcome"] == "duplicate"
    assert elsewhere.code == here.tasks(TaskKind.TWO_SCHOOLS)[0]["school"]

    change = json.dumps({"phone": "13811112222", "class_name": "四年级3班"})
    edited = here.command("edit", made["application"], "-", stdin=change)
    assert edited.exit_code == 0, edited.output
    known = here.app.store.people.fetch_personal(application.patron_id)
    assert known.phone == "13811112222"
    at = here.app.store.schools.find_memberships([application.patron_id])
    assert at[application.patron_id].school_class.name == "3班"
    wrong = here.command("edit", made["application"], "-", stdin='{"phone": "12"}')
    assert (wrong.exit_code, "phone" in wrong.output.lower()) == (1, True)
    strange = here.command("edit", made["application"], "-", stdin='{"name": "李"}')
    assert isinstance(strange.exception, ConfigurationError)

    report = here.load([pupil(1, name="丁一一", **{"class": "四年级3班"})])
    assert outcomes(report) == {"updated": 1}
    now_on = here.app.enrolment.store.fetch_application(made["application"])
    assert now_on is not None
    assert now_on.on_roster
    assert here.app.enrolment.approve([now_on], actor="librarian").done == 1
    closed = here.command("edit", made["application"], "-", stdin=change)
    assert isinstance(closed.exception, ConfigurationError)
    removed = here.command("remove", made["application"], "--yes", "--json")
    assert printed(removed)["outcome"] == "removed"
    assert here.find("id_card", id_number(1)) is None


def test_the_steps_take_who_was_entered_one_by_one(here: Enrolment) -> None:
    """A08: by form the library approves at once, unless the school wants to review."""
    for number, code in ((1, "s1"), (2, "s2")):
        if code == "s2":
            here.app.enrolment.save_school(LIBRARY, code, "学校", review_individual=True)
        child = {"name": "丁一一", "id_number": id_number(number), "phone": "13900000001"}
        made = here.command("add", "--school", code, "-", stdin=json.dumps(child))
        assert made.exit_code == 0, made.output
    (one,) = printed(here.command("show", "form:s1", "--json"))
    assert (one["row"], one["on_roster"], one["state"]) == (None, False, "entered")
    assert one["application"] in here.command("show", one["application"]).output
    agreed = here.command("consent", one["application"], "--all", "--evidence", "folder 9")
    assert agreed.exit_code == 0, agreed.output
    approved = here.command("approve", "form:s1")
    assert (approved.exit_code, "1 approved" in approved.output) == (0, True)
    early = here.command("approve", "form:s2")
    assert (early.exit_code, "wait for the school" in early.output) == (1, True)
    assert "1 reviewed" in here.command("review", "form:s2").output
    assert here.command("approve", "form:s2").exit_code == 0
    assert here.command("approve", "form:s2", "--rows", "2").exit_code == 2
    assert "no school s9" in here.command("approve", "form:s9").output


def test_an_open_card_is_closed_not_removed(here: Enrolment) -> None:
    report = here.load([pupil(1)])
    assert report.batch is not None
    here.open_cards(report)
    removed = here.command("remove", report.batch.number, "--row", "2", "--yes", "--json")
    assert printed(removed)["outcome"] == "closing"
    assert state_of(here, 1) is S.WITHDRAWN


def test_a_school_of_rosters_takes_nobody_one_by_one(here: Enrolment) -> None:
    only = here.app.enrolment.save_school(LIBRARY, "b1", "学校", entry_mode="batch")
    with pytest.raises(ConfigurationError, match="one by one"):
        here.app.enrolment.individual(LIBRARY).enter(only, {"name": "丁一一"}, actor="x")


def test_counts_of_outcomes_are_all_there(here: Enrolment) -> None:
    report = here.load([pupil(1)])
    assert set(report.counts) == set(RowOutcome)
