"""Decision 17: what lies in a book drop in the morning was returned when the library closed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.world import World


@pytest.fixture
def drop(make_world) -> World:
    return make_world(
        terminal='kind = "bookdrop"\npermissions = ["checkout"]',
        library='closing_time = 17:30:00\nclosed_weekdays = ["monday"]',
    )


def test_a_night_return_is_dated_with_the_last_closing(drop: World) -> None:
    """Lent on Saturday, emptied on Tuesday morning: Sunday evening counts, Monday is closed."""
    drop.clock.set_local("2026-11-21 10:00")
    patron = drop.add_pupil("S1")
    drop.add_items("KOHA-A", "B1")
    kiosk = drop.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    drop.clock.set_local("2026-11-24 08:45")
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert drop.app.store.ledger.list_unclosed(patron) == ()
    (loan,) = drop.rows("loan")
    assert loan["closed_at"] == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_a_return_on_the_day_of_the_loan_is_not_dated_before_it(drop: World) -> None:
    drop.clock.set_local("2026-11-21 10:00")
    patron = drop.add_pupil("S1")
    drop.add_items("KOHA-A", "B1")
    kiosk = drop.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    drop.clock.set_local("2026-11-21 14:00")
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert drop.app.store.ledger.list_unclosed(patron) == ()
