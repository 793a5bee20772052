"""Closings under way, as the closing service needs them.

Nothing here stores; ``connector.storage`` does. Rule: the step is moved by whoever claimed it, so
that two workers do nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from connector.domain.closing import ClosingReason, ClosingStep
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId

__all__ = ["Closing", "ClosingStore"]


@dataclass(frozen=True, slots=True)
class Closing:
    """A person whose card is being closed.

    Attributes:
        home: the library that enrolled him.
        since: when it began.
        next_at: when to look at it again, whatever the ledger says.
        has_loans: the ledger has unclosed loans of him.
        was_opened: an account was made for him, or an attempt was begun.
        attempt_until: an activation may be under way until then; None = none.
        accounts: his accounts by library.
    """

    patron_id: PatronId
    home: InstitutionId
    reason: ClosingReason
    step: ClosingStep
    since: datetime
    next_at: datetime | None
    has_loans: bool
    was_opened: bool
    attempt_until: datetime | None = None
    accounts: tuple[tuple[InstitutionId, IlsPatronId], ...] = field(default=(), repr=False)


class ClosingStore(Protocol):
    """Closings of every library of the process; every method is one transaction, audited."""

    def begin_closing(
        self, patron_id: PatronId, reason: ClosingReason, *, today: date, actor: str
    ) -> bool:
        """End everything that a person has at the library, except his loans, at once.

        His state changes, his open application becomes ``withdrawn`` with the reason, and his place
        in a class ends today. Says whether anything changed: a weaker reason than the one that he
        is closed for changes only an application entered since.

        Raises:
            NotFound: there is no such person, or he is erased.
        """
        ...

    def list_closings(
        self, home: InstitutionId, now: datetime, *, limit: int = 200
    ) -> tuple[Closing, ...]:
        """Return closings with something to do now, those that waited longest first.

        One that waits for books is there when the last is settled, or when its time has come.
        """
        ...

    def find_closing(self, patron_id: PatronId) -> Closing | None:
        """Return a person's closing unless it is done."""
        ...

    def claim_closing(self, closing: Closing, *, until: datetime) -> bool:
        """Take a closing for oneself until a moment; False when another worker was faster."""
        ...

    def put_off(self, patron_id: PatronId, step: ClosingStep, *, until: datetime) -> None:
        """Note how far a closing is, and when to look again."""
        ...

    def drop_account(self, patron_id: PatronId, institution: InstitutionId, *, actor: str) -> None:
        """Note that the person's account in one ILS is closed."""
        ...

    def finish_closing(self, patron_id: PatronId, *, actor: str) -> bool:
        """Note that every account is closed, for a person who is kept; say whether it was so.

        False when he has unclosed loans or an account again.
        """
        ...

    def end_closing(self, patron_id: PatronId, *, actor: str) -> bool:
        """Take the person back: nothing is closed any more; say whether he was being closed."""
        ...
