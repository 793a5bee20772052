"""Imports of rosters and many people at once, on SQLite and PostgreSQL."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from connector.domain.enrolment import ApplicationState, Route, RowProblem, SchoolStage
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.errors import StorageConflict
from connector.ports.enrolment import NewApplication, RowOutcome, School, Valve
from connector.ports.rosters import (
    ApplicationChange,
    LeaverState,
    NewPerson,
    RosterTask,
    RowWrite,
)
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.storage import tables

LIBRARY = InstitutionId("FDX")
S = ApplicationState


@pytest.fixture
def school(store):
    return store.enrolment.save_school(School("", LIBRARY, "s1", "一小", SchoolStage.PRIMARY))


def begin(store, school, **more):
    values = {
        "layout": "a49",
        "rows": 3,
        "source_digest": "d",
        "source": "roster",
        "complete": False,
        "campaign_id": None,
        "actor": "clerk",
    }
    return store.rosters.begin_import(school, **(values | more))


def row(school, batch, number, *, kind="id_card"):
    return RowWrite(
        person=NewPerson(LIBRARY, "student", "primary"),
        data=PersonalData("丁一一", id_number=number if kind == "id_card" else ""),
        identifiers=(Identifier(kind, number),),
        enter=NewApplication(
            PatronId(""), LIBRARY, school.school_id, Route.BATCH, batch.batch_id, 2, on_roster=True
        ),
    )


def take(store, batch, writes, taken, **more):
    counts = {RowOutcome.CREATED: taken}
    return store.rosters.take_rows(
        batch, writes, taken_rows=taken, counts=counts, problems=(), actor="clerk", **more
    )


def count(store, table):
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_rows_and_their_count_are_written_together(store, school):
    batch = begin(store, school)
    batch, patrons = take(store, batch, [row(school, batch, "1"), row(school, batch, "2")], 2)
    assert len(set(patrons)) == 2
    found = store.enrolment.find_batch(LIBRARY, batch.number)
    assert (found.taken_rows, found.counts[RowOutcome.CREATED]) == (2, 2)
    with pytest.raises(StorageConflict):
        take(store, batch, [row(school, batch, "3"), row(school, batch, "1")], 4)
    assert store.people.find_person([Identifier("id_card", "3")]) is None
    assert store.enrolment.find_batch(LIBRARY, batch.number) == found
    assert count(store, tables.application) == 2


def test_an_import_goes_on_only_from_where_it_is(store, school):
    batch = begin(store, school)
    first, _ = take(store, batch, [row(school, batch, "1")], 1)
    with pytest.raises(StorageConflict, match="import_running"):
        take(store, batch, [row(school, batch, "2")], 1)
    assert store.people.find_person([Identifier("id_card", "2")]) is None
    problem = RowProblem("id_length", 4, "id_number")
    second, _ = store.rosters.take_rows(
        first,
        (),
        taken_rows=2,
        counts={RowOutcome.CREATED: 1, RowOutcome.INVALID: 1},
        problems=[problem],
        actor="clerk",
    )
    ended = store.rosters.end_import(second)
    assert (ended.state, ended.problems, ended.taken_rows) == ("imported", (problem,), 2)
    with pytest.raises(StorageConflict, match="import_running"):
        take(store, second, (), 3)


def test_an_import_is_known_again_by_content_and_purpose(store, school):
    first = begin(store, school)
    assert store.rosters.find_import(school, "d", complete=False, campaign_id=None) == first
    assert store.rosters.find_import(school, "d", complete=True, campaign_id=None) is None
    assert store.rosters.find_import(school, "d", complete=False, campaign_id="c") is None
    assert store.rosters.find_import(school, "e", complete=False, campaign_id=None) is None
    second = begin(store, school)
    assert store.rosters.find_import(school, "d", complete=False, campaign_id=None) == second
    assert (first.number, second.number) == ("2026-0001", "2026-0002")


def test_an_application_is_changed_only_as_it_was_seen(store, school, clock):
    batch = begin(store, school)
    batch, (patron,) = take(store, batch, [row(school, batch, "1")], 1)
    application = store.enrolment.find_application(patron)
    change = ApplicationChange(
        application.application_id, S.ENTERED, "四年级", "丰都", "willing", on_roster=True
    )
    write = RowWrite(patron_id=patron, data=PersonalData("丁一一", phone="13"), change=change)
    batch, _ = take(store, batch, [write], 2)
    assert store.enrolment.find_application(patron).willing == "willing"
    store.enrolment.move_application(
        application.application_id, S.ENTERED, S.SCHOOL_REVIEWED, actor="t", now=clock()
    )
    with pytest.raises(StorageConflict, match="application_moved"):
        take(store, batch, [replace(write, data=PersonalData("丁一一", phone="14"))], 3)
    assert store.people.fetch_personal(patron).phone == "13"


def test_who_was_erased_meanwhile_is_not_written(store, school, clock):
    batch = begin(store, school)
    batch, (patron,) = take(store, batch, [row(school, batch, "1")], 1)
    store.enrolment.erase_applicant(patron, actor="x", now=clock())
    with pytest.raises(StorageConflict, match="person_gone"):
        take(store, batch, [RowWrite(patron_id=patron, data=PersonalData("丁一一"))], 2)


def test_a_row_opens_its_task_once(store, school):
    batch = begin(store, school)
    batch, (patron,) = take(store, batch, [row(school, batch, "1")], 1)
    told = RowWrite(
        patron_id=patron,
        tasks=(RosterTask(TaskKind.TWO_SCHOOLS, patron, patron, {"school": "s1"}),),
    )
    for taken in (2, 3):
        batch, _ = take(store, batch, [told], taken)
    (task,) = store.tasks.list_tasks(LIBRARY)
    assert (task.kind, task.patron_id) == (TaskKind.TWO_SCHOOLS, patron)


def test_many_people_are_found_at_once(store, school, clock):
    batch = begin(store, school)
    numbers = [f"N{n}" for n in range(1100)]
    writes = [row(school, batch, number) for number in numbers[:600]]
    batch, patrons = take(store, batch, writes, 600)
    asked = [Identifier("id_card", number) for number in numbers]
    found = store.people.find_people(asked)
    assert [found[identifier] for identifier in asked[:600]] == list(patrons)
    assert len(found) == 600
    assert store.people.find_people([Identifier("student_no", "N1")]) == {}
    data = store.people.fetch_personal_many([*patrons, PatronId("nobody")])
    assert [data[patron].id_number for patron in patrons] == numbers[:600]
    applications = store.enrolment.find_applications(patrons)
    assert set(applications) == set(patrons)
    one = applications[patrons[0]]
    store.enrolment.move_application(
        one.application_id, S.ENTERED, S.WITHDRAWN, actor="x", now=clock(), reason="left"
    )
    assert store.enrolment.find_applications(patrons[:1])[patrons[0]].reason == "left"
    again = NewApplication(patrons[0], LIBRARY, school.school_id, Route.BATCH)
    opened = store.enrolment.add_application(again, actor="x", now=clock())
    assert store.enrolment.find_applications(patrons[:1]) == {patrons[0]: opened}


def test_who_refused_and_who_has_no_number(store, school, clock):
    batch = begin(store, school)
    batch, (with_number, without) = take(
        store, batch, [row(school, batch, "1"), row(school, batch, "L1", kind="student_no")], 2
    )
    assert store.rosters.list_unnumbered(school) == (without,)
    assert store.rosters.knows_student_numbers()
    number = Identifier("id_card", "1")
    asked = [number, Identifier("id_card", "2")]
    assert store.rosters.find_refused(asked, LIBRARY) == frozenset()
    store.enrolment.erase_applicant(with_number, refused=[number], actor="x", now=clock())
    assert store.rosters.find_refused(asked, LIBRARY) == {number}
    assert store.rosters.find_refused(asked, InstitutionId("WZX")) == frozenset()


def test_leavers_keep_their_number_and_are_decided_once(store, school, clock):
    batch = begin(store, school, complete=True)
    batch, patrons = take(store, batch, [row(school, batch, str(n)) for n in range(3)], 3)
    held = store.rosters.propose_leavers(batch, patrons, valve=Valve.HELD, actor="x")
    assert (held.missing, held.valve) == (3, Valve.HELD)
    assert store.rosters.propose_leavers(batch, patrons[:1], valve=Valve.NONE, actor="x") == held
    assert store.rosters.list_held(school) == (held,)
    store.enrolment.erase_applicant(patrons[0], actor="x", now=clock())
    second, third = store.rosters.list_leavers(batch.batch_id)
    assert [(each.serial, each.patron_id) for each in (second, third)] == [
        (2, patrons[1]),
        (3, patrons[2]),
    ]
    assert store.rosters.decide_leaver(second, LeaverState.LEFT, actor="x")
    assert not store.rosters.decide_leaver(second, LeaverState.KEPT, actor="x")
    assert store.rosters.keep_named(school, patrons, except_batch=batch.batch_id, actor="x") == 0
    assert store.rosters.keep_named(school, patrons, except_batch="other", actor="x") == 1
    states = [leaver.state for leaver in store.rosters.list_leavers(batch.batch_id)]
    assert states == [LeaverState.LEFT, LeaverState.KEPT]
    assert store.rosters.set_valve(batch.batch_id, Valve.CONFIRMED, actor="x")
    assert not store.rosters.set_valve(batch.batch_id, Valve.CONFIRMED, actor="x")
    assert store.rosters.list_held(school) == ()


def test_steps_of_a_batch_are_counted(store, school, clock):
    batch = begin(store, school)
    batch, patrons = take(store, batch, [row(school, batch, str(n)) for n in range(3)], 3)
    assert store.rosters.count_steps(LIBRARY) == {batch.batch_id: (0, 3, 0)}
    assert store.rosters.count_steps(InstitutionId("WZX")) == {}
    application = store.enrolment.find_application(patrons[0])
    change = ApplicationChange(
        application.application_id, S.ENTERED, "", "", "unwilling", on_roster=True
    )
    store.rosters.write_row(LIBRARY, RowWrite(patron_id=patrons[0], change=change), actor="x")
    assert store.rosters.count_steps(LIBRARY) == {batch.batch_id: (0, 2, 1)}
