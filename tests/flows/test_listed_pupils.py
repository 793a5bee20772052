"""A roster row that says what is known is recognised without opening anything, and no row else.

Whatever happened before: each row has the verdict that it has when everything is looked up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from sqlalchemy import select, update
from stdnum.cn import ric

from connector.bootstrap import Application as App
from connector.bootstrap import build
from connector.domain.enrolment import ApplicationState, SchoolStage
from connector.domain.ids import Identifier, InstitutionId
from connector.ports.enrolment import Application, RowOutcome, School
from connector.services.individual import EDITABLE_FIELDS
from connector.services.roster_judging import RowJudge
from connector.services.roster_verdicts import EDITABLE, Verdict
from connector.settings import parse_settings
from connector.storage import tables
from connector.storage.key_rotation import KeyRotation
from connector.storage.repositories.people_in_bulk import PeopleInBulk
from connector.testing.fake_ils import koha_a
from tests.support.world import SteppingClock, prepare_store, with_store

LIBRARY = InstitutionId("KOHA-A")
HEADERS = (
    "身份证号", "学籍号", "姓名", "联系电话", "家长姓名", "家长电话", "班级", "区县", "是否愿意办证",
)  # fmt: skip
CHILDREN = 10
CLASSES = ("三年级1班", "三年级2班", "三年级", "四年级1班", "")
S = ApplicationState


def id_number(serial: int) -> str:
    first17 = f"50023020{16 + serial % 2}0{1 + serial % 9}15{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def row(serial: int, **changes: str) -> list[str]:
    cells = {
        "id_number": id_number(serial),
        "student_no": "",
        "name": "王李张刘陈"[serial % 5] + "晓" + "江河湖"[serial % 3],
        "phone": f"138000{serial:05}",
        "guardian_name": "王李张刘陈"[serial % 5] + "家长",
        "guardian_phone": f"139000{serial:05}",
        "class_name": CLASSES[serial % 2],
        "district": "丰都",
        "willing": "",
    }
    return list((cells | changes).values())


class Desk:
    """An installation with two schools, and what its staff may do."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.clock = SteppingClock()
        self.ils: Any = koha_a(now=self.clock)
        parsed = parse_settings(
            '[store]\nkey_file = "onecard.key"\n[sip2]\nport = 0\n'
            f'[library]\ncode = "{LIBRARY}"\nname = "图书馆"\n'
            "[policy.student]\neffective_from = 2026-09-01\n",
            base_dir=folder,
        )
        self.settings = with_store(parsed, url)
        prepare_store(self.settings)
        self.app: App = build(self.settings, now=self.clock, adapters={LIBRARY: self.ils})
        self.verdicts: list[Verdict] = []
        self.schools = [
            self.app.enrolment.save_school(LIBRARY, code, code, stage=SchoolStage.PRIMARY)
            for code in ("s1", "s2")
        ]

    def load(self, rows: Sequence[Sequence[str]], school: School, **more: Any) -> Any:
        path = self.folder / "roster.xlsx"
        book = xlsxwriter.Workbook(str(path))
        sheet = book.add_worksheet()
        for number, cells in enumerate([HEADERS, *rows]):
            sheet.write_row(number, 0, [str(cell) for cell in cells])
        book.close()
        self.verdicts.clear()
        return self.app.enrolment.import_roster(path, school, actor="clerk", **more)

    def judge(self, rows: Sequence[Sequence[str]], school: School) -> tuple[Any, ...]:
        """Return everything that a dry run says of every row."""
        report = self.load(rows, school, dry_run=True, complete=True)
        each = [
            (
                verdict.row,
                verdict.outcome,
                tuple(verdict.problems),
                tuple(verdict.notes),
                verdict.patron_id,
                set(verdict.may_be),
                verdict.is_new_member,
                tuple(verdict.new_numbers),
            )
            for verdict in self.verdicts
        ]
        return each, report.counts, report.problems, report.notes, report.missing, report.valve

    def judge_opening_all(self, rows: Sequence[Sequence[str]], school: School) -> tuple[Any, ...]:
        """Return the same with every pupil's data opened and compared."""
        person = tables.person
        with self.app.store.work.begin() as unit:
            kept = unit.connection.execute(select(person.c.person_id, person.c.data_digest)).all()
            unit.connection.execute(update(person).values(data_digest=None))
        try:
            return self.judge(rows, school)
        finally:
            with self.app.store.work.begin() as unit:
                for person_id, digest in kept:
                    unit.connection.execute(
                        update(person)
                        .where(person.c.person_id == person_id)
                        .values(data_digest=digest)
                    )

    def applications(self) -> tuple[Application, ...]:
        return self.app.store.enrolment.list_applications(LIBRARY)


@pytest.fixture
def desk(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path, store_url)
    judge = RowJudge.judge

    def record(self: RowJudge, rows: Any) -> list[Verdict]:
        found = judge(self, rows)
        made.verdicts += found
        return found

    monkeypatch.setattr(RowJudge, "judge", record)
    yield made
    made.app.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return whose data rosters opened since the test began."""
    opened: list[str] = []
    fetch = PeopleInBulk.fetch_personal_many

    def record(self: PeopleInBulk, patrons: Any) -> Any:
        opened.extend(patrons)
        return fetch(self, patrons)

    monkeypatch.setattr(PeopleInBulk, "fetch_personal_many", record)
    return opened


def test_nothing_is_opened_of_who_is_known(desk: Desk, opened: list[str]) -> None:
    rows = [row(serial) for serial in range(CHILDREN)]
    school = desk.schools[0]
    desk.load(rows, school)
    report = desk.load(rows, school, dry_run=True)
    assert report.counts[RowOutcome.UNCHANGED] == CHILDREN
    assert opened == []
    changed = [row(0, phone="13811112222"), *rows[1:]]
    report = desk.load(changed, school, dry_run=True)
    assert (report.counts[RowOutcome.UPDATED], len(opened)) == (1, 1)


def test_nothing_is_opened_after_the_keys_rotated(desk: Desk, opened: list[str]) -> None:
    rows = [row(serial) for serial in range(CHILDREN)]
    desk.load(rows, desk.schools[0])
    store = desk.app.store
    rotation = KeyRotation(store, desk.settings.store.key_file, settle_s=0)
    old = store.keyring.active
    with store.database.read() as connection:
        before = set(connection.scalars(select(tables.person.c.data_digest)))
    rotation.rotate(actor="admin", progress=lambda done, total: None)
    with store.database.read() as connection:
        after = set(connection.scalars(select(tables.person.c.data_digest)))
    assert store.keyring.active != old
    assert len(after) == CHILDREN
    assert before.isdisjoint(after)
    report = desk.load(rows, desk.schools[0], dry_run=True)
    assert (report.counts[RowOutcome.UNCHANGED], opened) == (CHILDREN, [])


def test_digest_goes_with_the_data(desk: Desk) -> None:
    desk.load([row(0), row(1)], desk.schools[0])
    first, second = desk.applications()
    desk.app.store.people.erase_person(first.patron_id, actor="clerk")
    person = tables.person.c
    with desk.app.store.database.read() as connection:
        rows = connection.execute(select(person.person_id, person.data_digest))
        left = {found[0]: found[1] for found in rows}
    assert left.get(first.patron_id) is None
    assert left[second.patron_id] is not None


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_are_those_of_a_full_comparison(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    listed = 0
    for _ in range(12):
        chance.choice(ACTIONS)(desk, chance)
        rows, school = make_rows(chance), chance.choice(desk.schools)
        short = desk.judge(rows, school)
        listed += sum(v.outcome is RowOutcome.UNCHANGED and v.known is None for v in desk.verdicts)
        assert short == desk.judge_opening_all(rows, school)
        assert all(v.known is not None for v in desk.verdicts if v.outcome is RowOutcome.UNCHANGED)
    assert listed, "no row took the short way"


def make_rows(chance: random.Random) -> list[list[str]]:
    serials = chance.sample(range(CHILDREN), chance.randint(3, CHILDREN))
    serials += chance.sample(serials, chance.randint(0, 2))
    return [row(serial, **change(serial, chance)) for serial in serials]


def change(serial: int, chance: random.Random) -> dict[str, str]:
    if chance.random() < 0.6:
        return {}
    return chance.choice(
        (
            {"phone": "13811112222"},
            {"phone": ""},
            {"guardian_name": "", "guardian_phone": ""},
            {"name": row(serial)[2] + " "},
            {"name": "赵晓明"},
            {"class_name": chance.choice(CLASSES)},
            {"class_name": "樱花班"},
            {"district": "武隆"},
            {"willing": chance.choice(("是", "否", "?"))},
            {"student_no": "G" + id_number(serial)},
            {"student_no": "G" + id_number(serial + 1)},
            {"student_no": "G" + id_number(serial), "id_number": ""},
        )
    )


def load(desk: Desk, chance: random.Random) -> None:
    complete = chance.random() < 0.3
    desk.load(make_rows(chance), chance.choice(desk.schools), complete=complete)


def edit(desk: Desk, chance: random.Random) -> None:
    if found := [a for a in desk.applications() if a.state in EDITABLE]:
        key = chance.choice(EDITABLE_FIELDS)
        value = {
            "phone": "13822223333", "guardian_name": "王奶奶", "guardian_phone": "13933334444",
            "grade": "三年级", "class_name": "三年级2班", "district": "涪陵", "willing": "是",
        }[key]  # fmt: skip
        desk.app.enrolment.individual(LIBRARY).edit(
            chance.choice(found), {key: value}, actor="teacher"
        )


def advance(desk: Desk, chance: random.Random) -> None:
    found = chance.sample(desk.applications(), len(desk.applications()) // 2)
    desk.app.enrolment.review([a for a in found if a.state is S.ENTERED], actor="teacher")
    reviewed = [a for a in desk.applications() if a.state is S.SCHOOL_REVIEWED]
    desk.app.enrolment.approve(reviewed[:2], actor="librarian")


def end(desk: Desk, chance: random.Random) -> None:
    if found := [a for a in desk.applications() if a.state is S.ENTERED]:
        new = chance.choice((S.REFUSED, S.WITHDRAWN))
        reason = chance.choice(("left", "consent_withdrawn"))
        desk.app.store.enrolment.move_application(
            chance.choice(found).application_id, S.ENTERED, new,
            actor="x", now=desk.clock(), reason=reason,
        )  # fmt: skip


def move(desk: Desk, chance: random.Random) -> None:
    school = chance.choice(desk.schools)
    store = desk.app.store.schools
    here = [a.patron_id for a in desk.applications() if a.school_id == school.school_id]
    if not here or not (classes := store.list_classes(school.school_id)):
        return
    patron, school_class = chance.choice(here), chance.choice(classes)
    if chance.random() < 0.3:
        store.end_memberships([patron], on=desk.clock().date(), reason="left", actor="x")
    else:
        store.place_pupils(
            school, {patron: school_class.class_id},
            school_year=chance.choice((2026, 2027)), on=date(2026, 11, 22),
            reason="moved", actor="x",
        )  # fmt: skip


def disable(desk: Desk, chance: random.Random) -> None:
    store = desk.app.store.schools
    if classes := store.list_classes(chance.choice(desk.schools).school_id):
        found = chance.choice(classes)
        with desk.app.store.work.begin() as unit:
            table = tables.school_class
            unit.connection.execute(
                update(table)
                .where(table.c.class_id == found.class_id)
                .values(disabled=not found.disabled)
            )


def add_number(desk: Desk, chance: random.Random) -> None:
    """Give somebody's student number to him, or to somebody else."""
    serial = chance.randrange(CHILDREN)
    register = desk.app.store.people
    people = [register.find_person([Identifier("id_card", id_number(serial + n))]) for n in (0, 1)]
    number = Identifier("student_no", "G" + id_number(serial))
    if (person := chance.choice(people)) is not None and register.find_person([number]) is None:
        register.add_identifier(person, number)


def erase(desk: Desk, chance: random.Random) -> None:
    if found := desk.applications():
        desk.app.store.people.erase_person(chance.choice(found).patron_id, actor="clerk")


ACTIONS: tuple[Callable[[Desk, random.Random], None], ...] = (
    load, load, load, load, edit, edit, advance, end, move, move, disable, add_number, erase,
)  # fmt: skip
