"""What happened at a kiosk while the ILS was away, until the ILS has been told.

Nothing here stores or talks to an ILS. Rules: decisions 4, 7, 9 and 17; scenarios 15, 16, 37 —

- a row is committed together with what the ledger knows of the event, before the kiosk hears "yes";
- rows of one library are told in their order; a row waits for every earlier one of its item, and
  for no other;
- what was sent and not answered is asked about before it is told again;
- a row holds codes and times, and names a person only through its loan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from connector.domain.ids import (
    BranchId,
    IlsPatronId,
    InstitutionId,
    ItemId,
    LoanId,
    PatronId,
    TerminalId,
)

if TYPE_CHECKING:
    from connector.ports.ledger import Place

__all__ = [
    "LENT_TO_OTHER",
    "OUTDATED",
    "UNRESOLVED",
    "Backlog",
    "Deferral",
    "DeferredState",
    "DeferredStore",
    "DeferredVerb",
    "DeferredWork",
]


OUTDATED = "outdated"
"""Reason of an upload that was older than the item's last change: it was never carried out."""

LENT_TO_OTHER = "lent_to_other"
"""Reason of a conflict: the ILS says that somebody else has the item."""


class DeferredVerb(StrEnum):
    """What the ILS is to hear."""

    CHECKOUT = "checkout"
    CHECKIN = "checkin"
    CONFIRM_RETURN = "confirm_return"
    """Nothing: it is only asked whether a return that it was sent has taken effect."""


class DeferredState(StrEnum):
    """How far it is: ``waiting → done | skipped | conflict | dropped``.

    ``skipped`` and ``conflict`` wait for a person, who ends them as done or dropped, or has them
    tried again.
    """

    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"
    """The item changed in the ILS after the event: it was not told."""
    CONFLICT = "conflict"
    """The ILS says otherwise, or refused."""
    DROPPED = "dropped"


UNRESOLVED = frozenset({DeferredState.WAITING, DeferredState.SKIPPED, DeferredState.CONFLICT})
"""States in which ILS and ledger may differ about the item, and on purpose."""


@dataclass(frozen=True, slots=True)
class Deferral:
    """How an event of the ledger is to be told to the ILS later.

    Attributes:
        institution: whose ILS.
        sent_at: when it was told and did not answer; None = it was not told.
        not_before: until then somebody waits for the ILS's answer; None = nobody does.
    """

    institution: InstitutionId
    verb: DeferredVerb
    sent_at: datetime | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeferredWork:
    """One event that an ILS is still to hear of.

    Attributes:
        loan_id, patron_id, ils_patron: of the loan that began or ended; None for people whom we did
            not enrol, and after an erasure.
        occurred_at: when it happened at the kiosk; aware, UTC.
        reason: why it is where it is: ``lent_to_other``, ``renewed``, a code of the ILS.
        sent_at: it was told and no answer came; the ILS is asked before it is told again.
        first_absent_at: since when the ILS answers that it has not taken effect (decision 7).
        attempts: how often it went wrong for this row alone.
        done_by: who ended it: ``worker`` or a person.
    """

    seq: int
    institution: InstitutionId
    verb: DeferredVerb
    item: ItemId
    occurred_at: datetime
    recorded_at: datetime
    state: DeferredState
    loan_id: LoanId | None = None
    patron_id: PatronId | None = None
    ils_patron: IlsPatronId | None = None
    branch: BranchId | None = None
    terminal: TerminalId | None = None
    kind: str = ""
    reason: str = ""
    sent_at: datetime | None = None
    first_absent_at: datetime | None = None
    attempts: int = 0
    tried_at: datetime | None = None
    done_at: datetime | None = None
    done_by: str = ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits at one library.

    Attributes:
        waiting: events that the ILS is still to hear of.
        conflicts: events that wait for a person.
        oldest: when the first that waits was recorded.
        untried_since: the same of those that did not fail for themselves.
        owners: owner of the item → how many events wait.
    """

    institution: InstitutionId
    waiting: int = 0
    conflicts: int = 0
    oldest: datetime | None = None
    untried_since: datetime | None = None
    owners: Mapping[InstitutionId, int] | None = None


class DeferredStore(Protocol):
    """The queue of each library; ``Ledger.record_return`` and ``record_open`` add to it."""

    def lease_next(self, institution: InstitutionId, *, lease: timedelta) -> DeferredWork | None:
        """Lease the first row that may be told now; None = there is none.

        A row may be told when it waits, is not leased or put off, and no earlier row of its item
        waits.
        """
        ...

    def mark_sent(self, work: DeferredWork, *, lease: timedelta) -> bool:
        """Commit that the ILS is being told, before it is, and lease the row anew.

        Returns:
            False when the row is not ours any more: ended by a person, or leased by another process
            because we took too long; then the ILS must not be told.
        """
        ...

    def release(self, seq: int, *, was_sent: bool) -> None:
        """Give a row back; ``was_sent`` False = the ILS did not get it."""
        ...

    def put_off(self, seq: int, *, until: datetime, failed: bool, reason: str = "") -> None:
        """Leave a row alone until then; ``failed`` counts an attempt."""
        ...

    def note_absent(self, seq: int) -> datetime:
        """Remember when the ILS first answered that it has not taken effect; return that moment."""
        ...

    def forget_absent(self, institution: InstitutionId) -> None:
        """The ILS was away: such answers do not count any more."""
        ...

    def finish(
        self,
        seq: int,
        state: DeferredState,
        *,
        reason: str = "",
        due: datetime | None = None,
        due_mismatch: bool = False,
        facts: Mapping[str, str | int] | None = None,
        refused: bool = False,
    ) -> None:
        """End a row that waits, with a task for staff where a person must look, in one transaction.

        Args:
            refused: the ILS answered "no": it counts as not sent, should a person try it again.
            due, due_mismatch: what the ILS made of a checkout, for its loan.
            facts: what the ILS says instead: codes and times, for the task.
        """
        ...

    def list_outdated(
        self,
        item: ItemId,
        place: Place,
        deferral: Deferral,
        *,
        occurred_at: datetime,
        patron_id: PatronId | None = None,
    ) -> None:
        """Add a row that is skipped from the beginning, with its task; a repeat adds nothing.

        Args:
            patron_id: an enrolled patron who is concerned, for the task.
        """
        ...

    def resolve(self, seq: int, state: DeferredState, *, actor: str, reason: str) -> bool:
        """A person ends a row, or has it tried again (``waiting``); say whether it waited for one.

        A row that still waits for the ILS may be dropped.
        """
        ...

    def find_work(self, seq: int) -> DeferredWork | None:
        """Return one row."""
        ...

    def list_unresolved(
        self, institution: InstitutionId | None = None, *, limit: int = 1000
    ) -> tuple[DeferredWork, ...]:
        """Return what waits for the ILS or for a person, in order."""
        ...

    def find_unresolved(
        self, institution: InstitutionId, items: Sequence[ItemId]
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS does not know of these items, in order."""
        ...

    def find_unheard(
        self, institution: InstitutionId, items: Sequence[ItemId], *, at: datetime
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS did not know of these items at a moment, in order."""
        ...

    def list_of_patron(
        self, institution: InstitutionId, patron_id: PatronId
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS does not know of this patron's loans."""
        ...

    def list_told(self, item: ItemId, *, since: datetime) -> tuple[DeferredWork, ...]:
        """Return what the ILSs were told of an item since then."""
        ...

    def is_waiting(self, institution: InstitutionId, item: ItemId) -> bool:
        """Say whether anything about the item waits for this ILS; asked at every exchange."""
        ...

    def list_backlogs(self) -> tuple[Backlog, ...]:
        """Return the queue of every library that has one."""
        ...
