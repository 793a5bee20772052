"""T2: writing what the ILS answered to a checkout or a renewal.

Nothing here closes a loan that was open; that is ``loan_returns``. Rules (decisions 6, 7) —

- a move is made only from the states that the port names; from any other the row is returned as it
  is, so that a repeat or a late thread changes nothing;
- a loan enters the statistics when it becomes ``open``, once; a disputed one does not.
"""

from __future__ import annotations

from datetime import datetime

from connector.domain.ids import LoanId
from connector.domain.loan import ItemPosition, Loan, LoanState, can_move
from connector.errors import NotFound
from connector.ports.deferred import Deferral
from connector.ports.ledger import Place, Verb
from connector.storage.repositories.deferred_rows import add_work
from connector.storage.repositories.loan_journal import (
    change_loan,
    note_fact,
    note_move,
    put_item,
)
from connector.storage.repositories.loan_rows import LoanRow, lock_loan
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["LoanOutcomes", "renew_row", "require_loan"]

_PENDING = frozenset({LoanState.ASKED, LoanState.UNKNOWN})
_LENT = frozenset({LoanState.OPEN, LoanState.DISPUTED})


def require_loan(unit: UnitOfWork, loan_id: str) -> LoanRow:
    """Return a loan under lock; raises ``NotFound``."""
    row = lock_loan(unit, loan_id)
    if row is None:
        raise NotFound("loan")
    return row


class LoanOutcomes:
    """The part of the ledger that records the ILS's answers."""

    _work: UnitOfWorkFactory

    @retry_once
    def record_open(
        self,
        loan_id: LoanId,
        place: Place,
        *,
        due: datetime | None,
        due_mismatch: bool = False,
        disputed: bool = False,
        renewals: int | None = None,
        defer: Deferral | None = None,
    ) -> Loan:
        """Record a checkout that the ILS has done."""
        new = LoanState.DISPUTED if disputed else LoanState.OPEN
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            old = row.loan.state
            if old not in _PENDING | {LoanState.DISPUTED} or not can_move(old, new):
                return row.loan
            counts = new is LoanState.OPEN and row.counted_at is None
            change_loan(
                unit,
                loan_id,
                state=new.value,
                opened_at=row.loan.opened_at or place.at,
                due=due if due is not None else row.loan.due,
                due_mismatch=due_mismatch,
                renewals=row.loan.renewals if renewals is None else renewals,
                first_absent_at=None,
                lease_until=None,
                counted_at=unit.now if counts else row.counted_at,
            )
            if counts:
                note_fact(unit, Verb.CHECKOUT, place, row)
            put_item(
                unit,
                row.loan.item,
                ItemPosition.ON_LOAN,
                holder=place.institution,
                branch=place.branch,
                since=row.loan.opened_at or place.at,
                loan_id=loan_id,
            )
            verb = Verb.DISPUTE if disputed else Verb.CHECKOUT
            note_move(unit, verb, place, row, new, message="loan.opened")
            if defer is not None:
                add_work(unit, defer, row.loan.item, place, occurred_at=place.at, loan_id=loan_id)
            return require_loan(unit, loan_id).loan

    @retry_once
    def record_refused(
        self, loan_id: LoanId, place: Place, *, reason: str, ils_code: str = ""
    ) -> Loan:
        """Record a checkout that the ILS refused; the place is free again."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state not in _PENDING:
                return row.loan
            change_loan(
                unit,
                loan_id,
                state=LoanState.REFUSED.value,
                closed_at=unit.now,
                first_absent_at=None,
                lease_until=None,
            )
            note_move(
                unit,
                Verb.REFUSE,
                place,
                row,
                LoanState.REFUSED,
                reason=reason,
                ils_verdict=ils_code,
            )
            return require_loan(unit, loan_id).loan

    @retry_once
    def record_unknown(self, loan_id: LoanId) -> Loan:
        """Record that no answer came; the place stays taken."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state is not LoanState.ASKED:
                return row.loan
            change_loan(unit, loan_id, state=LoanState.UNKNOWN.value)
            unit.audit("loan.unknown", actor="worker", subject=loan_id, institution=row.loan.lender)
            return require_loan(unit, loan_id).loan

    @retry_once
    def record_renewal(
        self,
        loan_id: LoanId,
        place: Place,
        *,
        due: datetime | None,
        renewals: int,
        due_mismatch: bool = False,
    ) -> Loan:
        """Record a renewal; one that is known already only ends its claim."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state not in _LENT:
                return row.loan
            if not renew_row(
                unit, row, place, due=due, renewals=renewals, due_mismatch=due_mismatch
            ):
                change_loan(unit, loan_id, renewal_until=None, first_absent_at=None)
            return require_loan(unit, loan_id).loan


def renew_row(
    unit: UnitOfWork,
    row: LoanRow,
    place: Place,
    *,
    due: datetime | None,
    renewals: int,
    due_mismatch: bool = False,
    reason: str = "",
) -> bool:
    """Write a renewal that has a higher count than the row; say whether it had."""
    loan = row.loan
    if renewals <= loan.renewals:
        return False
    change_loan(
        unit,
        loan.loan_id,
        due=due if due is not None else loan.due,
        due_mismatch=due_mismatch,
        renewals=renewals,
        renewed_at=place.at,
        renewal_until=None,
        first_absent_at=None,
    )
    note_fact(unit, Verb.RENEW, place, row)
    note_move(
        unit,
        Verb.RENEW,
        place,
        row,
        loan.state,
        message="loan.renewed",
        key=f"loan.renewed:{renewals}",
        reason=reason,
    )
    return True
