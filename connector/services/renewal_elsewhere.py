"""Renewals made in an OPAC or at a desk, where the ILS lists loans without due dates (SIP2).

Nothing here renews. Rules (decision 9, scenario 20) —

- there the due date of the item, read for the renewal anyway, is all that shows one;
- whose loan it is, is asked before anything is written: an item that was returned and lent again
  has a later date, too.
"""

from __future__ import annotations

from dataclasses import replace

from connector.domain.loan import Loan
from connector.ports.ils import Capability
from connector.ports.ledger import Reconciliation, Renewed
from connector.services.desk import CirculationDesk, Exchange
from connector.services.facts import ItemView, PatronView
from connector.services.renewal_signs import is_later_day

__all__ = ["compare_due_date"]


def compare_due_date(
    desk: CirculationDesk, exchange: Exchange, view: PatronView, row: Loan, item: ItemView
) -> tuple[Loan, PatronView]:
    """Return the loan and the patron as they are after a renewal that was made elsewhere, written
    if there was one.

    Raises:
        AdapterError: the ILS cannot be asked.
    """
    lender = desk.libraries[row.lender]
    capabilities = desk.adapters[lender.code].capabilities
    due = item.record.due if item.record is not None else None
    if Capability.LOAN_DUE_DATES in capabilities or due is None:
        return row, view
    if row.due is not None and not is_later_day(due, row.due, lender):
        return row, view
    if Capability.FETCH_ITEM_LOAN in capabilities:
        now_with = desk.facts.fetch_item_loan(row)
        if now_with is None or now_with.patron not in {None, row.ils_patron}:
            return row, view
    seen = Renewed(row.loan_id, due, row.renewals + (row.due is not None))
    changes = Reconciliation(
        row.patron_id, lender.code, row.ils_patron, view.facts.as_of, renewed=(seen,)
    )
    loans = desk.ledger.reconcile(changes, exchange.place)
    row = next((loan for loan in loans if loan.loan_id == row.loan_id), row)
    return row, replace(view, loans=loans)
