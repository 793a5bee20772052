"""Conflicts that the database itself raises: storage tries once more, and loses and doubles nothing.

A trigger fails as often as the test says. It counts outside the transaction (a sequence on
PostgreSQL, a function of ours on SQLite), so that the second attempt meets another count.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import event

from connector.domain.enrolment import ApplicationState, Route
from connector.domain.ids import Identifier, IlsPatronId, PatronId
from connector.domain.item import LanguageClass
from connector.domain.loan import LoanState
from connector.errors import StorageConflict
from connector.ports.enrolment import NewApplication, School
from connector.ports.ledger import Adoption, Asked, Reconciliation
from connector.ports.store import PersonalData
from connector.storage.store import Store
from tests.integration.storage.conftest import LIBRARY, Scene

_POSTGRESQL = """
CREATE SEQUENCE attempts;
CREATE FUNCTION be_in_the_way() RETURNS trigger AS $$
BEGIN
  IF nextval('attempts') <= {times} THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'; END IF;
  RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER in_the_way BEFORE {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION be_in_the_way();
"""
_SQLITE = """
CREATE TRIGGER in_the_way BEFORE {verb} ON {table} WHEN count_attempt() <= {times}
BEGIN SELECT RAISE(ABORT, 'in the way'); END
"""


@pytest.fixture
def obstruct(store: Store) -> Callable[..., None]:
    """Return what makes the next writes of a table fail."""
    attempts = itertools.count(1)

    def prepare(connection: sqlite3.Connection, _record: object = None) -> None:
        connection.create_function("count_attempt", 0, lambda: next(attempts))

    def obstruct(verb: str, table: str, *, times: int = 1, code: str = "40001") -> None:
        if store.database.is_sqlite:
            event.listen(store.database.engine, "connect", prepare)
            store.database.engine.dispose()
        sql = _SQLITE if store.database.is_sqlite else _POSTGRESQL
        with store.database.write() as connection:
            connection.exec_driver_sql(sql.format(verb=verb, table=table, times=times, code=code))

    return obstruct


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_place_is_taken_once_although_the_first_attempt_failed(
    scene: Scene, obstruct: Callable[..., None], code: str
) -> None:
    patron = scene.person()
    obstruct("INSERT", "loan", code=code)
    asked = scene.ledger.ask(scene.request(patron, "B1"))
    assert isinstance(asked, Asked)
    assert [loan.state for loan in scene.ledger.list_unclosed(patron)] == [LoanState.ASKED]


def test_an_outcome_is_written_once_although_the_first_attempt_failed(
    scene: Scene, obstruct: Callable[..., None]
) -> None:
    patron = scene.person()
    asked = scene.ledger.ask(scene.request(patron, "B1"))
    assert isinstance(asked, Asked)
    obstruct("INSERT", "circulation_fact")
    loan = scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=scene.clock())
    assert loan.state is LoanState.OPEN
    assert scene.facts() == ["checkout"]
    assert scene.events() == ["checkout"]
    assert scene.messages() == ["loan.opened"]
    assert scene.store.audit.verify()[0]


def test_a_return_is_written_once_although_the_first_attempt_failed(
    scene: Scene, obstruct: Callable[..., None]
) -> None:
    patron = scene.person()
    scene.lend(patron, "B1")
    obstruct("INSERT", "event")
    returned = scene.ledger.record_return(
        scene.item("B1"), scene.place(), returned_at=scene.clock()
    )
    assert [loan.state for loan in returned.closed] == [LoanState.RETURNED]
    assert scene.facts() == ["checkout", "checkin"]


def test_a_second_conflict_is_told_and_leaves_nothing_behind(
    scene: Scene, obstruct: Callable[..., None]
) -> None:
    patron = scene.person()
    obstruct("INSERT", "loan", times=2)
    with pytest.raises(StorageConflict):
        scene.ledger.ask(scene.request(patron, "B1"))
    assert scene.ledger.list_unclosed(patron) == ()
    assert isinstance(scene.ledger.ask(scene.request(patron, "B1")), Asked)


def test_people_and_applications_are_entered_once(
    scene: Scene, obstruct: Callable[..., None]
) -> None:
    obstruct("INSERT", "identifier")
    people = scene.store.people
    patron = people.add_person(
        PersonalData(name="李明"), [Identifier("card", "S9")], home=LIBRARY, category="student"
    )
    assert people.find_person([Identifier("card", "S9")]) == patron
    assert scene.rows("SELECT COUNT(*) FROM person") == [(1,)]
    assert scene.rows("SELECT COUNT(*) FROM audit WHERE action = 'person.added'") == [(1,)]


def _application(scene: Scene, patron: PatronId) -> str:
    school = scene.store.enrolment.save_school(School("", LIBRARY, "s1", "一小"))
    new = NewApplication(
        patron_id=patron, institution=LIBRARY, school_id=school.school_id, route=Route.BATCH
    )
    entered = scene.store.enrolment.add_application(new, actor="clerk", now=scene.clock())
    return entered.application_id


def test_an_application_moves_once_although_the_first_attempt_failed(
    scene: Scene, obstruct: Callable[..., None]
) -> None:
    application = _application(scene, scene.person())
    obstruct("UPDATE", "application")
    assert scene.store.enrolment.move_application(
        application,
        ApplicationState.ENTERED,
        ApplicationState.SCHOOL_REVIEWED,
        actor="teacher",
        now=scene.clock(),
    )


_SLOWLY = """
CREATE FUNCTION take_your_time() RETURNS trigger AS $$
BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER slowly BEFORE UPDATE ON loan FOR EACH ROW EXECUTE FUNCTION take_your_time();
"""
"""Each holds its first loan long enough for the other to hold his: without a second attempt one of
the two dies of the deadlock.
"""


def test_two_patrons_who_have_swapped_their_items_are_reconciled_at_once(
    scene: Scene, open_second: Callable[[], Store]
) -> None:
    first, second = scene.person("S1"), scene.person("S2")
    had = {first: scene.lend(first, "B1"), second: scene.lend(second, "B2")}
    if not scene.store.database.is_sqlite:
        with scene.store.database.write() as connection:
            connection.exec_driver_sql(_SLOWLY)
    other = open_second()
    failures: list[Exception] = []
    gate = threading.Barrier(2)

    def follow(store: Store, patron: PatronId, barcode: str) -> None:
        now = scene.clock()
        taken = Adoption(scene.item(barcode), LanguageClass.CHINESE, now, 0, now)
        changes = Reconciliation(
            patron, LIBRARY, IlsPatronId("S"), now, (taken,), (had[patron].loan_id,), ()
        )
        try:
            gate.wait()
            store.ledger.reconcile(changes, scene.place())
        except Exception as err:  # noqa: BLE001 - the thread's failure is the test's
            failures.append(err)

    threads = [
        threading.Thread(target=follow, args=(scene.store, first, "B2")),
        threading.Thread(target=follow, args=(other, second, "B1")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert failures == []
    open_loans = {loan.item.barcode for who in had for loan in scene.ledger.list_unclosed(who)}
    assert open_loans <= {"B1", "B2"}
    assert {scene.ledger.fetch_loan(loan.loan_id).state for loan in had.values()} <= {
        LoanState.RETURNED,
        LoanState.SUPERSEDED,
    }
