"""How far the clocks of terminals are from ours (``connector.ports.terminals.ClockStore``).

Nothing here measures. No person acts here, so that nothing is audited.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, insert, select

from connector.domain.ids import TerminalId
from connector.ports.terminals import TerminalClock
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredTerminalClocks"]

_CLOCK = tables.terminal_clock


class StoredTerminalClocks:
    """Clocks of terminals in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def list_clocks(self) -> Sequence[TerminalClock]:
        """Return all of them, by terminal."""
        with self._work.database.read() as connection:
            rows = connection.execute(select(_CLOCK).order_by(_CLOCK.c.terminal)).all()
        return [
            TerminalClock(
                TerminalId(row.terminal), timedelta(seconds=row.offset_s), row.measured_at
            )
            for row in rows
        ]

    @retry_once
    def save_clocks(self, clocks: Sequence[TerminalClock]) -> None:
        """Insert or replace."""
        latest = {clock.terminal: clock for clock in clocks}
        if not latest:
            return
        with self._work.begin() as unit:
            unit.connection.execute(delete(_CLOCK).where(_CLOCK.c.terminal.in_(list(latest))))
            unit.connection.execute(
                insert(_CLOCK),
                [
                    {
                        "terminal": clock.terminal,
                        "offset_s": round(clock.offset.total_seconds()),
                        "measured_at": clock.measured_at,
                    }
                    for clock in latest.values()
                ],
            )
