"""Tasks for the staff of a library: what a person has to decide or do.

Nothing here stores; ``connector.storage`` does. Rules: a task holds ids and codes only; one that is
open is not opened a second time; who did it and how it ended stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from connector.domain.ids import InstitutionId, PatronId

__all__ = ["StaffTask", "TaskKind", "TaskStore"]


class TaskKind(StrEnum):
    """What there is to do."""

    TWO_SCHOOLS = "two_schools"
    """A roster of another school names the pupil (scenario 1): transfer him, or keep him."""
    EXISTING_CARD = "existing_card"
    """The ILS has an account of the child already (scenario 40): exchange or link it."""
    DEPOSIT_REFUND = "deposit_refund"
    """The issuing library refunds the deposit of an exchanged card (A30, A31)."""
    AMBIGUOUS_MATCH = "ambiguous_match"
    """A roster row fits several pupils (scenario 4)."""
    DROP_HELD = "drop_held"
    """A roster names far fewer pupils than the school has (scenario 26)."""
    CLOSING_STUCK = "closing_stuck"
    """An account is to be closed, and the ILS says that something is still open."""
    LOST_ITEM = "lost_item"
    """An item of the library is lost; the library settles it (scenario 43)."""
    REMOVAL_HELD = "removal_held"
    """The worker would remove or close too much, or its clock jumped: a person confirms."""
    FEED_STALE = "feed_stale"
    """A roster feed has brought nothing for too long (A16)."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """The ILS cannot tell how a checkout, renewal or return ended: a person looks."""
    UNKNOWN_PAYMENT = "unknown_payment"
    """Nobody knows whether a payment reached the ILS; it is never sent again (SIP2 37)."""
    CHANGE_WANTED = "change_wanted"
    """Somebody at a registration machine wants a pupil's data changed (A37): ask him what."""
    AWAY_CONFLICT = "away_conflict"
    """What was done while the ILS was away does not fit what it says now."""


@dataclass(frozen=True, slots=True)
class StaffTask:
    """One task.

    Attributes:
        institution: whose staff it is addressed to.
        detail: ids and codes, such as ``school`` or ``batch``.
        outcome: short code of how it ended; empty while it is open.
    """

    task_id: str
    institution: InstitutionId
    kind: TaskKind
    patron_id: PatronId | None
    opened_by: str
    opened_at: datetime
    detail: Mapping[str, str | int] = field(default_factory=dict)
    done_by: str | None = None
    done_at: datetime | None = None
    outcome: str = ""


class TaskStore(Protocol):
    """Tasks of every library of the process."""

    def open_task(
        self,
        institution: InstitutionId,
        kind: TaskKind,
        *,
        about: str,
        patron_id: PatronId | None = None,
        detail: Mapping[str, str | int] | None = None,
        actor: str,
    ) -> bool:
        """Open a task unless the same one is open; say whether it is new.

        Args:
            about: what makes it the same task, such as an application id; an id, never a value.
        """
        ...

    def list_tasks(
        self,
        institution: InstitutionId,
        *,
        kind: TaskKind | None = None,
        include_done: bool = False,
    ) -> tuple[StaffTask, ...]:
        """Return tasks, oldest first."""
        ...

    def find_task(self, task_id: str) -> StaffTask | None:
        """Return one task, by its id or the first eight or more characters of it."""
        ...

    def finish_task(self, task_id: str, *, outcome: str, actor: str) -> bool:
        """Note that it is done; say whether it was open."""
        ...

    def finish_about(
        self, institution: InstitutionId, kind: TaskKind, *, about: str, outcome: str, actor: str
    ) -> bool:
        """Note that the task about something is done, if there is one that is open."""
        ...
