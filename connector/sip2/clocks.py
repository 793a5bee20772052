"""How far each terminal's clock is ahead of ours, measured from what it sends (decision 17).

Nothing here answers a terminal. Rules:

- the transaction date of an ordinary message is the terminal's "now"; that of an off-line upload
  (no block Y) is not, and a terminal that sends none has no known clock;
- measuring costs a request nothing: it is done twice a minute at most, and written later, by
  ``save``, when it has moved by more than a minute, or once a day;
- without the database, what was measured counts all the same;
- a measurement that is older than a week counts no more.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connector.domain.ids import TerminalId
from connector.errors import StorageConflict, StorageUnavailable
from connector.log import get_logger
from connector.ports.terminals import ClockStore, TerminalClock
from connector.sip2.codec import Message, parse_date
from connector.sip2.terminal import Terminal

__all__ = ["TerminalClocks"]

_log = get_logger(__name__)

_EVERY: Final = timedelta(seconds=30)
_MOVED: Final = timedelta(seconds=60)
_DAILY: Final = timedelta(days=1)
_OUTDATED: Final = timedelta(days=7)


class TerminalClocks:
    """Measures and remembers; called from many threads, each terminal's last one wins."""

    def __init__(self, store: ClockStore | None = None) -> None:
        self._store = store
        self._clocks: dict[TerminalId, TerminalClock] = {}
        self._saved: dict[TerminalId, TerminalClock] = {}

    def measure(self, terminal: Terminal, request: Message, now: datetime) -> None:
        """Compare the terminal's "now" with ours."""
        last = self._clocks.get(terminal.terminal_id)
        if last is not None and timedelta() <= now - last.measured_at < _EVERY:
            return
        stamp = request.fixed.get("transaction_date", "")
        if not stamp.strip() or request.fixed.get("no_block") == "Y":
            return
        told = parse_date(stamp, terminal.zone)
        if told is not None:
            offset = timedelta(seconds=round((told - now).total_seconds()))
            clock = TerminalClock(terminal.terminal_id, offset, now)
            self._clocks[terminal.terminal_id] = clock

    def find_offset(self, terminal: TerminalId, now: datetime) -> timedelta | None:
        """Return how far the terminal is ahead of us; None when nobody knows."""
        clock = self._clocks.get(terminal)
        if clock is None or now - clock.measured_at > _OUTDATED:
            return None
        return clock.offset

    def load(self) -> None:
        """Take up what was measured before the restart; nothing without the database."""
        if self._store is None:
            return
        try:
            found = {clock.terminal: clock for clock in self._store.list_clocks()}
        except (StorageUnavailable, StorageConflict) as err:
            _log.warning("clocks.not_read", error=type(err).__name__)
            return
        self._saved = found
        self._clocks = found | self._clocks

    def save(self) -> int:
        """Write what has moved or is a day old; return how many. Tried again at the next call."""
        if self._store is None:
            return 0
        due = [clock for clock in list(self._clocks.values()) if self._is_due(clock)]
        if not due:
            return 0
        try:
            self._store.save_clocks(due)
        except (StorageUnavailable, StorageConflict) as err:
            _log.warning("clocks.not_saved", error=type(err).__name__)
            return 0
        self._saved.update({clock.terminal: clock for clock in due})
        return len(due)

    def _is_due(self, clock: TerminalClock) -> bool:
        saved = self._saved.get(clock.terminal)
        return (
            saved is None
            or abs(clock.offset - saved.offset) > _MOVED
            or clock.measured_at - saved.measured_at >= _DAILY
        )
