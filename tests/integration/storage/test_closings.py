"""Closings in the database: what ends at once, who claims what, and when it is listed."""

from datetime import date, timedelta

import pytest
from sqlalchemy import event

from connector.domain.closing import ClosingReason, ClosingStep
from connector.domain.enrolment import ApplicationState, Route, SchoolStage
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import NewApplication, School

LIBRARY = InstitutionId("FDX")
OTHER = InstitutionId("WZX")
TODAY = date(2026, 11, 21)
R = ClosingReason


@pytest.fixture
def pupil(store, scene, clock):
    """Enter a pupil with a card at two libraries and an open application."""
    school = store.enrolment.save_school(School("", LIBRARY, "s1", "一小", SchoolStage.PRIMARY))

    def enter(card="S1"):
        patron_id = scene.person(card, id_card=f"N{card}")
        store.people.set_account(patron_id, OTHER, IlsPatronId(f"V{card}"), kind="visiting")
        new = NewApplication(patron_id, LIBRARY, school.school_id, Route.BATCH)
        store.enrolment.add_application(new, actor="clerk", now=clock())
        return patron_id

    return enter


def begin(store, patron_id, reason=R.LEFT):
    return store.closings.begin_closing(patron_id, reason, today=TODAY, actor="staff")


def due(store, clock):
    return store.closings.list_closings(LIBRARY, clock())


def test_everything_but_the_loans_ends_at_once(store, scene, pupil, clock):
    patron_id = pupil()
    scene.lend(patron_id, "1")
    assert begin(store, patron_id)
    assert store.people.find_standing(patron_id, LIBRARY).state is StandingState.EXPIRED
    application = store.enrolment.find_application(patron_id)
    assert (application.state, application.reason) == (ApplicationState.WITHDRAWN, "left")
    assert len(store.ledger.list_unclosed(patron_id)) == 1
    (closing,) = due(store, clock)
    assert (closing.reason, closing.step, closing.has_loans) == (R.LEFT, ClosingStep.BEGUN, True)
    assert closing.accounts == ((LIBRARY, "S1"), (OTHER, "VS1"))
    assert scene.rows("SELECT action FROM audit WHERE action = 'closing.begun'")


def test_beginning_twice_changes_nothing(store, pupil, clock):
    patron_id = pupil()
    assert begin(store, patron_id)
    before = store.closings.find_closing(patron_id)
    assert not begin(store, patron_id)
    assert store.closings.find_closing(patron_id) == before


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        (R.LEFT, R.CONSENT_WITHDRAWN, R.CONSENT_WITHDRAWN),
        (R.EXPIRED, R.ERASURE_REQUESTED, R.ERASURE_REQUESTED),
        (R.CONSENT_WITHDRAWN, R.LEFT, R.CONSENT_WITHDRAWN),
        (R.LEFT, R.EXPIRED, R.LEFT),
    ],
)
def test_the_stronger_reason_stays(store, pupil, first, second, wins):
    patron_id = pupil()
    begin(store, patron_id, first)
    begin(store, patron_id, second)
    assert store.closings.find_closing(patron_id).reason is wins
    state = store.people.find_standing(patron_id, LIBRARY).state
    assert state is (StandingState.WITHDRAWN if wins.erases else StandingState.EXPIRED)


def test_one_worker_gets_a_closing(store, pupil, clock):
    patron_id = pupil()
    begin(store, patron_id)
    (seen,) = due(store, clock)
    assert store.closings.claim_closing(seen, until=clock() + timedelta(minutes=2))
    assert not store.closings.claim_closing(seen, until=clock() + timedelta(minutes=2))
    assert due(store, clock) == ()
    clock.advance(minutes=3)
    assert [each.patron_id for each in due(store, clock)] == [patron_id]


def test_who_waits_for_books_is_due_when_the_last_is_back(store, scene, pupil, clock):
    patron_id = pupil()
    scene.lend(patron_id, "1")
    begin(store, patron_id)
    store.closings.put_off(patron_id, ClosingStep.WAITING, until=clock() + timedelta(hours=6))
    assert due(store, clock) == ()
    store.ledger.record_return(scene.item("1"), scene.place(), returned_at=clock())
    (closing,) = due(store, clock)
    assert store.closings.claim_closing(closing, until=clock() + timedelta(minutes=2))
    assert due(store, clock) == ()


def test_done_only_without_loans_and_accounts(store, scene, pupil, clock):
    patron_id = pupil()
    scene.lend(patron_id, "1")
    begin(store, patron_id)
    assert not store.closings.finish_closing(patron_id, actor="worker")
    store.ledger.record_return(scene.item("1"), scene.place(), returned_at=clock())
    store.closings.drop_account(patron_id, LIBRARY, actor="worker")
    assert not store.closings.finish_closing(patron_id, actor="worker")
    store.closings.drop_account(patron_id, OTHER, actor="worker")
    began = store.closings.find_closing(patron_id).since
    assert store.closings.finish_closing(patron_id, actor="worker")
    assert store.closings.find_closing(patron_id) is None
    assert due(store, clock) == ()
    ((closing, ended),) = scene.rows("SELECT closing, closing_at FROM person")
    assert closing == "left"
    assert str(ended) > str(began)


def test_who_came_back_is_closed_again(store, pupil, clock):
    patron_id = pupil()
    begin(store, patron_id)
    for library in (LIBRARY, OTHER):
        store.closings.drop_account(patron_id, library, actor="worker")
    assert store.closings.finish_closing(patron_id, actor="worker")
    school = store.enrolment.find_school(LIBRARY, "s1")
    new = NewApplication(patron_id, LIBRARY, school.school_id, Route.BATCH)
    store.enrolment.add_application(new, actor="clerk", now=clock())
    assert begin(store, patron_id)
    assert store.closings.find_closing(patron_id).step is ClosingStep.BEGUN


def test_taking_a_person_back(store, pupil, clock):
    patron_id = pupil()
    assert not store.closings.end_closing(patron_id, actor="staff")
    begin(store, patron_id)
    assert store.closings.end_closing(patron_id, actor="staff")
    assert store.closings.find_closing(patron_id) is None


def test_an_erased_person_has_no_closing(store, pupil, clock):
    patron_id = pupil()
    begin(store, patron_id, R.CONSENT_WITHDRAWN)
    store.people.erase_person(patron_id, actor="worker")
    assert due(store, clock) == ()
    assert store.closings.find_closing(patron_id) is None
    with pytest.raises(NotFound):
        begin(store, patron_id)


def test_nobody_with_books_is_erased(store, scene, pupil):
    patron_id = pupil()
    scene.lend(patron_id, "1")
    begin(store, patron_id, R.CONSENT_WITHDRAWN)
    with pytest.raises(StorageConflict, match="unclosed_loans"):
        store.people.erase_person(patron_id, actor="worker")


def test_a_sweep_reads_the_closings_and_nothing_else(store, pupil, clock):
    """It runs every 15 s over every pupil that there is."""
    if not store.database.is_sqlite:
        pytest.skip("SQLite tells its plan in one line")
    patron_id = pupil()
    begin(store, patron_id)
    statements = []

    def note(connection, cursor, statement, parameters, context, many):
        statements.append((statement, parameters))

    event.listen(store.database._reader, "before_cursor_execute", note)
    assert len(due(store, clock)) == 1
    statement, parameters = statements[0]
    plan = store.database.fetch(f"EXPLAIN QUERY PLAN {statement}", parameters)
    assert "ix_person_closing" in str(plan[0])
    assert not [row for row in plan if str(row[3]).startswith("SCAN")]
