"""Taking over what a read of the ILS showed: loans made elsewhere, returns, renewals.

Nothing here reads the ILS. Rules (decision 9) —

- a row whose state moved at or after the read began is newer than the read and is left alone;
- a loan taken over counts in the statistics under the verb ``adopt``, with its origin;
- everything of one read is written in one transaction, and a repeat of it changes nothing.
"""

from __future__ import annotations

import uuid

from connector.domain.ids import ItemId
from connector.domain.loan import ItemPosition, Loan, LoanState
from connector.ports.ledger import Adoption, Place, Reconciliation, Renewed, Verb
from connector.storage.repositories.loan_asking import insert_loan, lock_quota
from connector.storage.repositories.loan_journal import change_loan, note_fact, note_move, put_item
from connector.storage.repositories.loan_outcomes import renew_row, require_loan
from connector.storage.repositories.loan_returns import close_row, supersede_row
from connector.storage.repositories.loan_rows import LoanRow, lock_item, lock_loan, read_own
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["LoanReconciling"]

_LENT = frozenset({LoanState.OPEN, LoanState.DISPUTED})
_NEWER = "SELECT 1 FROM loan WHERE owner = ? AND barcode = ? AND changed_at >= ? LIMIT 1"


class LoanReconciling:
    """The part of the ledger that follows the ILS."""

    _work: UnitOfWorkFactory

    @retry_once
    def reconcile(self, changes: Reconciliation, place: Place) -> tuple[Loan, ...]:
        """Apply what the ILS showed; return the patron's unclosed loans afterwards."""
        with self._work.begin() as unit:
            lock_quota(unit, changes.patron_id, place.institution)
            for loan_id in changes.returned:
                row = lock_loan(unit, loan_id)
                if row is not None and _is_own(row, changes):
                    _close_returned(unit, row, changes, place)
            for renewed in changes.renewed:
                row = lock_loan(unit, renewed.loan_id)
                if row is not None and _is_own(row, changes):
                    _renew(unit, row, renewed, place)
            for adoption in changes.adopt:
                _adopt(unit, adoption, changes, place)
            return read_own(unit, changes.patron_id)


def _is_own(row: LoanRow, changes: Reconciliation) -> bool:
    return (
        row.loan.patron_id == changes.patron_id
        and row.loan.lender == changes.lender
        and row.loan.state in _LENT
    )


def _close_returned(unit: UnitOfWork, row: LoanRow, changes: Reconciliation, place: Place) -> None:
    if row.changed_at >= changes.as_of:
        return
    if not close_row(unit, row, LoanState.RETURNED, closed_at=place.at):
        return
    if row.counted_at is not None:
        note_fact(unit, Verb.CLOSE, place, row, returner=changes.lender)
    _rest(unit, row.loan.item, changes, place)
    note_move(
        unit,
        Verb.CLOSE,
        place,
        row,
        LoanState.RETURNED,
        message="loan.returned",
        reason="gone_from_ils",
    )


def _rest(unit: UnitOfWork, item: ItemId, changes: Reconciliation, place: Place) -> None:
    at_owner = item.owner == changes.lender
    put_item(
        unit,
        item,
        ItemPosition.AT_OWNER if at_owner else ItemPosition.AT_HOLDER,
        holder=changes.lender,
        branch=None,
        since=place.at,
    )


def _renew(unit: UnitOfWork, row: LoanRow, renewed: Renewed, place: Place) -> None:
    if renew_row(
        unit, row, place, due=renewed.due, renewals=renewed.renewals, reason="seen_in_ils"
    ):
        return
    later = renewed.due is not None and (row.loan.due is None or renewed.due > row.loan.due)
    if later and renewed.renewals == row.loan.renewals:
        change_loan(unit, row.loan.loan_id, due=renewed.due)


def _adopt(unit: UnitOfWork, adoption: Adoption, changes: Reconciliation, place: Place) -> None:
    item = adoption.item
    if unit.fetch(_NEWER, (item.owner, item.barcode, unit.moment(changes.as_of))):
        return
    present = lock_item(unit, item)
    if present is not None:
        if present.loan.patron_id == changes.patron_id or present.loan.state is LoanState.ASKED:
            return
        if not supersede_row(unit, present, place):
            return
    loan_id = str(uuid.uuid4())
    inserted = insert_loan(
        unit,
        {
            "loan_id": loan_id,
            "person_id": changes.patron_id,
            "owner": item.owner,
            "barcode": item.barcode,
            "institution": changes.lender,
            "ils_patron": changes.ils_patron,
            "state": LoanState.OPEN.value,
            "language": adoption.language.value,
            "clc_class": adoption.clc_class,
            "origin": adoption.origin.value,
            "asked_at": unit.now,
            "expires_at": unit.now,
            "opened_at": adoption.lent_at,
            "due": adoption.due,
            "renewals": adoption.renewals,
            "counted_at": unit.now,
            "test": place.test,
        },
    )
    if not inserted:
        return
    row = require_loan(unit, loan_id)
    note_fact(unit, Verb.ADOPT, place, row)
    put_item(
        unit,
        item,
        ItemPosition.ON_LOAN,
        holder=changes.lender,
        branch=None,
        since=adoption.lent_at or place.at,
        loan_id=loan_id,
    )
    note_move(
        unit,
        Verb.ADOPT,
        place,
        row,
        LoanState.OPEN,
        message="loan.opened",
        reason=adoption.origin.value,
    )
