"""How far the clocks of terminals are from ours, kept over a restart (decision 17).

Nothing here measures; ``connector.sip2.clocks`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from connector.domain.ids import TerminalId

__all__ = ["ClockStore", "TerminalClock"]


@dataclass(frozen=True, slots=True)
class TerminalClock:
    """One measurement.

    Attributes:
        offset: how far the terminal's clock is ahead of ours, in whole seconds.
    """

    terminal: TerminalId
    offset: timedelta
    measured_at: datetime


class ClockStore(Protocol):
    """The last measurement of every terminal."""

    def list_clocks(self) -> Sequence[TerminalClock]:
        """Return all of them, by terminal."""
        ...

    def save_clocks(self, clocks: Sequence[TerminalClock]) -> None:
        """Insert or replace."""
        ...
