"""Scenario 36 in the database: what a roster, a consent and a failed activation leave in clear.

Every value of the sheet is one that can be looked for. All text columns of all tables are read.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from stdnum.cn import ric

from connector.domain.enrolment import ConsentScope, SchoolStage
from connector.domain.ids import InstitutionId
from connector.ports.ledger import Verb
from connector.testing.faults import Fault, FaultKind
from tests.support.full_person import read_texts
from tests.support.world import World

LIB = InstitutionId("KOHA-A")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
SHOWN = frozenset({"application.class_text", "application.district", "school_class.name"})
"""Where class and district may stand in clear: the work needs them, and erasing clears them."""


def id_number(serial: int, birth: str = "20150307") -> str:
    first17 = f"500230{birth}{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def pupil(serial: int, **changes: str) -> dict[str, str]:
    letter = "甲乙丙丁戊己庚辛"[serial]
    row = {
        "id": id_number(serial),
        "name": f"罕见{letter}名",
        "phone": f"1380000{serial:04}",
        "guardian": f"罕见{letter}长",
        "guardian_phone": f"1390000{serial:04}",
        "class": f"三年级{serial + 1}班",
        "district": f"罕见{letter}县",
    }
    return row | changes


ROWS = [
    pupil(0),
    pupil(1),
    pupil(2),  # its guardian refuses
    pupil(3),  # its guardian withdraws
    pupil(4, id=id_number(4)[:-1] + "A"),  # not a number
    pupil(5, phone="罕见电话"),
    pupil(6, id=id_number(0), name="罕见另名"),  # the same number, another name
    pupil(7, id="", name="=罕见公式()"),
]


def write_roster(path: Path) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        writer.writerows(row.values() for row in ROWS)
    return path


@pytest.fixture
def enrolled(world: World, tmp_path: Path) -> World:
    """Import, review, consent, refuse, withdraw, approve, and fail at activation in every way."""
    app, consents = world.app, world.app.consents
    school = app.enrolment.save_school(LIB, "s1", "示范小学", stage=SchoolStage.PRIMARY)
    roster = write_roster(tmp_path / "roster.csv")
    report = app.enrolment.import_roster(roster, school, actor="clerk")
    assert report.batch is not None
    found = app.enrolment.list_applications(report.batch)
    assert len(found) >= 3
    app.enrolment.review(found, actor="teacher")
    agreed = [application for application in found if application.batch_row != 4]
    consents.record(agreed, [ConsentScope.CARD], evidence="柜7第3夹", actor="teacher")
    consents.refuse([entry for entry in found if entry not in agreed], actor="teacher")
    app.enrolment.approve(agreed, actor="librarian")
    script = world.ils("KOHA-A").script
    told = f"{ROWS[0]['name']} {ROWS[0]['id']} exists"
    script.add(
        "upsert_patron",
        Fault(FaultKind.REFUSED, code="duplicate_card", message=told),
        Fault(FaultKind.UNEXPECTED, code="odd", message=told),
        Fault(FaultKind.NO_ANSWER),
    )
    list(app.provisioning(LIB).activate(agreed, actor="librarian"))
    list(app.provisioning(LIB).activate(agreed, actor="librarian"))
    consents.withdraw(agreed[-1:], ConsentScope.CARD, actor="teacher")
    app.closing.sweep(LIB)
    return world


def test_no_text_column_holds_a_value_of_the_sheet(enrolled: World) -> None:
    store = enrolled.app.store
    texts = list(read_texts(store))
    places = {place.partition(".")[0] for place, _ in texts}
    assert {"person", "application", "batch", "consent", "undertaking", "audit"} <= places
    for row in ROWS:
        for column, value in row.items():
            if not value:
                continue
            allowed = SHOWN if column in {"class", "district"} else frozenset()
            for place, text in texts:
                if place not in allowed:
                    assert value not in text, f"{place} holds the {column} of a pupil"
    birth_dates = {row["id"][6:14] for row in ROWS if row["id"]} | {"2015-03-07"}
    for place, text in texts:
        assert not any(birth in text for birth in birth_dates), f"{place} holds a birth date"


def test_what_may_be_in_clear_is_there_so_that_the_search_can_fail(enrolled: World) -> None:
    texts = list(read_texts(enrolled.app.store))
    assert any(place == "application.district" for place, text in texts if "罕见" in text)
    assert any(text == "柜7第3夹" for _, text in texts)


def test_file_of_the_database_holds_no_name_number_or_phone(
    enrolled: World, tmp_path: Path
) -> None:
    if not enrolled.app.store.database.is_sqlite:
        pytest.skip("the files of a PostgreSQL server are not ours to read")
    content = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert "示范小学".encode() in content
    for row in ROWS:
        for column in ("id", "name", "phone", "guardian", "guardian_phone"):
            if row[column]:
                assert row[column].encode() not in content, column


def test_an_event_and_a_task_hold_codes_only(enrolled: World) -> None:
    assert {verb.value for verb in Verb} >= {str(row["verb"]) for row in enrolled.rows("event")}
    for row in enrolled.rows("task"):
        assert "罕见" not in str(row["detail"]) + str(row["dedupe"])
