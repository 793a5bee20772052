"""Decision 18: our own database fails while kiosks and the ILS go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from connector.domain.loan import LoanState
from tests.support.world import World


@contextmanager
def broken(world: World, table: str) -> Iterator[None]:
    """Take a table away, as a failed restore would, and put it back."""
    database = world.app.store.database
    with database.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO gone")
    try:
        yield
    finally:
        with database.write() as connection:
            connection.exec_driver_sql(f"ALTER TABLE gone RENAME TO {table}")


@pytest.mark.parametrize("table", ["identifier", "loan", "event"])
def test_returns_pass_and_checkouts_are_refused_politely(world: World, table: str) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    ils = world.ils("KOHA-A")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(minutes=1)
    with broken(world, table):
        refused = kiosk.checkout("S1", "B2")
        returned = kiosk.checkin("B1")
        shown = kiosk.information("S1")
    assert (refused.code, refused.fixed["ok"], refused.fixed["desensitize"]) == ("12", "0", "N")
    assert refused.get("AF")
    assert (returned.fixed["ok"], returned.fixed["resensitize"]) == ("1", "Y")
    assert (shown.code, shown.get("BL")) == ("64", "Y")
    assert "B1" not in ils.stock.loans
    world.clock.advance(minutes=5)
    world.app.settlement.run_once()
    assert kiosk.charged("S1") == (["B2"] if "B2" in ils.stock.loans else [])
    states = {loan.state for loan in world.app.store.ledger.list_unclosed(patron)}
    assert states <= {LoanState.UNKNOWN, LoanState.DISPUTED}


@pytest.mark.parametrize("table", ["identifier", "loan"])
def test_a_library_may_choose_that_the_ils_decides_alone(make_world, table: str) -> None:
    world: World = make_world(library='store_failure = "open"')
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    with broken(world, table):
        assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    assert world.ils("KOHA-A").count_calls("checkout") == 1
    world.clock.advance(minutes=1)
    assert kiosk.charged("S1") == ["B1"], "the loan is adopted when the database is back"
    assert len(world.app.store.ledger.list_unclosed(patron)) == 1


def test_observe_alters_nothing_even_then(make_world) -> None:
    world: World = make_world(modes={"KOHA-A": "observe"})
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    with broken(world, "identifier"):
        assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
        assert kiosk.renew("S1", "B1").fixed["ok"] == "1"
        assert kiosk.information("S1").get("BL") == "Y"
    assert world.ils("KOHA-A").count_calls("checkout") == 1


def test_an_ils_that_has_lent_is_not_asked_twice(world: World) -> None:
    """The database fails between the ILS's yes and our writing it: no second checkout, no lost loan."""
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    with broken(world, "circulation_fact"):
        assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    ils = world.ils("KOHA-A")
    assert ils.count_calls("checkout") == 1
    world.clock.advance(minutes=5)
    world.app.settlement.run_once()
    (loan,) = world.app.store.ledger.list_unclosed(patron)
    assert loan.state is LoanState.DISPUTED
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    assert ils.count_calls("checkout") == 1


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Hold the write lock of SQLite from outside, as a backup tool might."""
    other = sqlite3.connect(world.app.store.database.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_locked_database_keeps_no_return_from_being_accepted(make_world, store_url) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("PostgreSQL locks rows, not the database")
    world: World = make_world(sip2="answer_deadline_s = 10\nils_deadline_s = 8")
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(minutes=1)
    with locked(world):
        assert kiosk.checkin("B1").fixed["ok"] == "1"
        refused = kiosk.checkout("S1", "B2")
    assert refused.fixed["ok"] == "0"
    assert world.ils("KOHA-A").count_calls("checkout") == 1
    world.clock.advance(minutes=1)
    kiosk.information("S1")
    assert world.app.store.ledger.list_unclosed(patron) == ()


def test_a_database_file_that_was_taken_away_is_noticed(make_world, store_url) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("a file of SQLite")
    world: World = make_world()
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    file = world.app.store.database.file
    moved = file.rename(file.with_suffix(".moved"))
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    moved.rename(file)
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
