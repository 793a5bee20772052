"""Where ledger and ILS differ on purpose: what an ILS that was away has not heard of yet.

Nothing here decides about a loan; ``facts`` does. Rules: decision 9 —

- a loan that came back at a machine meanwhile is not adopted again, until a person has said that
  the ILS is right;
- a loan that was made meanwhile is neither gone nor to be counted twice;
- what the ILS was told between its answer and now, its answer did not know either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from connector.domain.ids import ItemId, PatronId
from connector.domain.library import Library
from connector.domain.loan import IlsLoan, Loan
from connector.ports.deferred import (
    LENT_TO_OTHER,
    OUTDATED,
    DeferredStore,
    DeferredVerb,
    DeferredWork,
)

__all__ = ["Unheard", "is_returned"]


class Unheard:
    """Looks into the queues; without one there is nothing that an ILS has not heard of."""

    def __init__(self, deferred: DeferredStore | None) -> None:
        self._deferred = deferred

    def find(
        self, library: Library, items: Iterable[ItemId], *, at: datetime
    ) -> Mapping[ItemId, Sequence[DeferredWork]]:
        """Return what the library's ILS did not know of these items at a moment, by item."""
        wanted = sorted(items)
        if self._deferred is None or not wanted:
            return {}
        found: dict[ItemId, list[DeferredWork]] = {}
        for work in self._deferred.find_unheard(library.code, wanted, at=at):
            if work.reason != OUTDATED:
                found.setdefault(work.item, []).append(work)
        return found

    def count_elsewhere(
        self, charged: int, counted: Sequence[Loan], patron_id: PatronId, library: Library
    ) -> int:
        """Return how many loans an ILS counts that are not in the ledger.

        Of those that it has not heard of, a loan is not in its count, and a return still is.
        """
        here = {loan.loan_id for loan in counted if loan.lender == library.code}
        unheard: Sequence[DeferredWork] = ()
        if self._deferred is not None:
            unheard = self._deferred.list_of_patron(library.code, patron_id)
        lent = {work.loan_id for work in unheard if work.verb is DeferredVerb.CHECKOUT}
        returned = {
            work.loan_id
            for work in unheard
            if work.verb is DeferredVerb.CHECKIN and work.reason != LENT_TO_OTHER
        }
        return max(0, charged - len(here - lent) - len(returned - lent - here))


def is_returned(unheard: Sequence[DeferredWork], patron_id: PatronId, ils_loan: IlsLoan) -> bool:
    """Say whether this loan ended at a machine, and only the ILS does not know it yet."""
    began = ils_loan.checked_out_at
    return any(
        work.verb is DeferredVerb.CHECKIN
        and work.patron_id in {None, patron_id}
        and (began is None or began <= work.occurred_at)
        for work in unheard
    )
