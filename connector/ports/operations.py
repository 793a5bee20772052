"""What operators want to know of our own database: that it answers, and what stands open in it.

Nothing here is about a person. Rule: counts by library and state, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from connector.domain.ids import InstitutionId

__all__ = ["OpenCount", "Operations", "StoreState"]


@dataclass(frozen=True, slots=True)
class OpenCount:
    """How much stands open; ``kind``: ``loan``, ``deferred`` or ``payment``, ``state``: its own."""

    institution: InstitutionId
    kind: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class StoreState:
    """The database at one moment.

    Attributes:
        is_current: its tables are those of this release, or a newer one's.
        open: nothing for what does not stand open.
    """

    is_current: bool
    open: tuple[OpenCount, ...] = ()


class Operations(Protocol):
    """What the metrics and the readiness check ask."""

    def read_state(self) -> StoreState:
        """Look at the database now.

        Raises:
            StorageUnavailable: it cannot be reached.
        """
        ...
