"""Decision 18: our own database fails while kiosks and the ILS go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.loan import LoanState
from connector.sip2.codec import Message
from tests.support.world import World


@contextmanager
def broken(world: World, *names: str) -> Iterator[None]:
    """Take tables away, as a failed restore would, and put them back."""
    database = world.app.store.database
    with database.write() as connection:
        for table in names:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO gone_{table}")
    try:
        yield
    finally:
        with database.write() as connection:
            for table in names:
                connection.exec_driver_sql(f"ALTER TABLE gone_{table} RENAME TO {table}")


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
    world.app.replay.run_all()
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


EVERYTHING = ("identifier", "loan", "event", "payment", "deferred", "mode_switch")
SITES = {
    "enforce": ({}, ""),
    "enforce, open": ({}, 'store_failure = "open"'),
    "observe": ({"KOHA-A": "observe"}, ""),
    "bypass": ({"KOHA-A": "bypass"}, ""),
}
POLITELY_REFUSED = {
    "enforce": {"11", "29", "65", "37"},
    "enforce, open": {"37"},
    "observe": set(),
    "bypass": set(),
}
"""What the page ``docs/how-to/go-live.md`` says of our database being down."""


def ask_everything(world: World) -> dict[str, Message]:
    """Send every request once; the pupil has B1, B3 and a fee."""
    kiosk = world.kiosk()
    world.clock.advance(seconds=1)
    patron = ("AA", "S1")
    return {
        "63": kiosk.information("S1"),
        "23": kiosk.ask("23", {"language": "000"}, patron),
        "17": kiosk.item("B1"),
        "11": kiosk.checkout("S1", "B2"),
        "29": kiosk.renew("S1", "B1"),
        "65": kiosk.ask("65", {}, patron),
        "15": kiosk.ask("15", {"hold_mode": "+"}, patron, ("AB", "X1")),
        "37": kiosk.ask(
            "37",
            {"fee_type": "01", "payment_type": "00", "currency": "CNY"},
            patron,
            ("BV", "1.00"),
            ("BK", "T-1"),
        ),
        "01": kiosk.ask("01", {"card_retained": "N"}, patron, ("AL", "")),
        "25": kiosk.ask("25", {}, patron),
        "19": kiosk.ask("19", {}, ("AB", "B1"), ("CH", "x")),
        "09": kiosk.checkin("B3"),
        "35": kiosk.ask("35", {}, patron),
    }


def is_yes(answer: Message) -> bool:
    for name in ("ok", "payment_accepted", "item_properties_ok", "end_session"):
        if name in answer.fixed:
            return answer.fixed[name] in {"1", "Y"}
    return answer.code == "18" or answer.get("BL") == "Y"


@pytest.mark.parametrize("site", list(SITES))
def test_every_message_has_its_documented_answer(make_world, site: str) -> None:
    modes, library = SITES[site]
    world: World = make_world(
        modes=modes,
        library=library,
        terminal='permissions = ["block_patron", "enable_patron", "item_status"]',
    )
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2", "B3", "X1")
    ils = world.ils("KOHA-A")
    ils.charge_fee(IlsPatronId("S1"), Decimal("5.00"))
    ils.new_patron("X9")
    ils.desk_checkout("X9", "X1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    assert kiosk.checkout("S1", "B3").fixed["ok"] == "1"
    world.clock.advance(days=2)
    with broken(world, *EVERYTHING):
        answers = ask_everything(world)
    refused = {code for code, answer in answers.items() if not is_yes(answer)}
    assert refused == POLITELY_REFUSED[site]
    for code in refused:
        assert answers[code].get("AF"), code
    assert ils.count_calls("checkout") == 2 + ("11" not in refused)
    assert ils.count_calls("pay_fee") == ("37" not in refused)
    assert (Barcode("B3") in ils.stock.loans) is False
    assert kiosk.information("S1").get("BL") == "Y", "and it is back"
