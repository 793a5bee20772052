"""Clocks of terminals in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector.domain.ids import TerminalId
from connector.ports.terminals import TerminalClock

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


def clock(terminal: str, seconds: int, at: datetime = NOW) -> TerminalClock:
    return TerminalClock(TerminalId(terminal), timedelta(seconds=seconds), at)


def test_last_measurement_of_each_terminal_is_kept(store):
    assert list(store.terminal_clocks.list_clocks()) == []
    store.terminal_clocks.save_clocks([clock("k2", -90), clock("k1", 5)])
    later = NOW + timedelta(days=1)
    store.terminal_clocks.save_clocks([clock("k1", 3), clock("k1", 600, later)])
    store.terminal_clocks.save_clocks([])
    assert list(store.terminal_clocks.list_clocks()) == [clock("k1", 600, later), clock("k2", -90)]
