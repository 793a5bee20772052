"""Does what an ILS says of a loan show that it was renewed since we last knew?

Nothing here reads or writes. Rules (decision 9, scenario 20) —

- a higher count or a due date on a later day is a renewal, whoever made it; hours do not count,
  since an ILS may tell the day only;
- an ILS that tells only due dates (SIP2) cannot show a renewal that moved nothing: one made on the
  day of the checkout, with equal periods. It counts as not made: the reader has gained nothing by
  it, and the ILS, which knows better, refuses another by itself.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from connector.domain.library import Library
from connector.domain.loan import IlsLoan, Loan

__all__ = ["Since", "compare_loan", "is_later_day"]


class Since(StrEnum):
    """What became of a loan since we last knew."""

    RENEWED = "renewed"
    AS_BEFORE = "as_before"
    """It is as it was, or no longer on loan to this patron."""
    UNCLEAR = "unclear"
    """The ILS tells neither a count nor a due date, or we know none to compare with."""


def compare_loan(loan: Loan, now_with: IlsLoan | None, library: Library) -> Since:
    """Compare a loan of the ledger with what the lending library's ILS says of the item."""
    if now_with is None or now_with.patron not in {None, loan.ils_patron}:
        return Since.AS_BEFORE
    if (now_with.renewals or 0) > loan.renewals or is_later_day(now_with.due, loan.due, library):
        return Since.RENEWED
    if now_with.renewals is None and (now_with.due is None or loan.due is None):
        return Since.UNCLEAR
    return Since.AS_BEFORE


def is_later_day(theirs: datetime | None, ours: datetime | None, library: Library) -> bool:
    """Say whether the ILS's due date lies on a later day than ours, in the library's zone."""
    return theirs is not None and ours is not None and library.today(theirs) > library.today(ours)
