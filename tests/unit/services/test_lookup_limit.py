"""How often one machine may ask about people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector.services.lookup_limit import LookupLimit


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment


def test_so_many_a_minute_for_each_terminal() -> None:
    clock = Clock()
    limit = LookupLimit(clock, per_minute=3, per_day=100)
    assert [limit.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert limit.take("b")
    clock.moment += timedelta(seconds=59)
    assert not limit.take("a")
    clock.moment += timedelta(seconds=1)
    assert limit.take("a"), "what was not answered does not count"


def test_so_many_a_day() -> None:
    clock = Clock()
    limit = LookupLimit(clock, per_minute=2, per_day=5)
    taken = 0
    for _ in range(10):
        taken += limit.take("a")
        clock.moment += timedelta(minutes=2)
    assert taken == 5
    clock.moment += timedelta(days=1)
    assert limit.take("a")
