"""Which mode a library runs in, as a person has switched it (decision 18).

Nothing here stores or decides. Rule: a switch is never changed or removed; the next one replaces
it, so that who switched what and why stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from connector.domain.ids import InstitutionId
from connector.domain.library import Mode

__all__ = ["ModeStore", "ModeSwitch"]


@dataclass(frozen=True, slots=True)
class ModeSwitch:
    """One switch of one library.

    Attributes:
        mode: None = back to what the settings say.
        until: when it falls back by itself to what held before; None = until the next switch.
        reason: what the person wrote; never about a reader.
    """

    institution: InstitutionId
    mode: Mode | None
    since: datetime
    until: datetime | None
    actor: str
    reason: str

    def holds(self, now: datetime) -> bool:
        """Say whether it has not run out."""
        return self.until is None or now < self.until


class ModeStore(Protocol):
    """The switches of every library."""

    def list_switches(
        self, institution: InstitutionId | None = None, *, limit: int | None = None
    ) -> tuple[ModeSwitch, ...]:
        """Return switches, the latest first."""
        ...

    def list_in_force(self, now: datetime) -> tuple[ModeSwitch, ...]:
        """Return the switches that have not run out, the latest first; of each library none that
        is older than one without an end.
        """
        ...

    def record_switch(self, switch: ModeSwitch) -> None:
        """Write a switch, audited."""
        ...
