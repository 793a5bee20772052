"""Loan policy as a value: limits, periods, bars, versions, and which one applies on a date.

Nothing here decides about one checkout; that is ``connector.domain.circulation``. Rules: A24–A34,
decisions 11 and 12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

from connector.domain.item import Shelving

__all__ = ["STUDENT", "LoanPolicy", "RenewalBar", "select_policy"]


class RenewalBar(StrEnum):
    """What keeps an item from being renewed (A34)."""

    OVERDUE = "overdue"
    RESERVED = "reserved"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class LoanPolicy:
    """One version of the policy of one patron category; every decision records ``version``.

    Attributes:
        max_items: all items together, in the whole network (A26).
        max_foreign_items: of these, foreign ones (A26).
        loan_days, renewal_days: calendar days in the library's zone (A33); a renewal counts from
            the day it is made.
        loanable_shelving: what may be lent (A27).
        collections: collections that may be lent; empty = all (A32).
        overdue_bars: ``item`` = an overdue item refuses its own renewal only; ``card`` = any
            overdue item refuses checkouts and renewals (decision 12).
        min_days_before_renewal: days after the checkout before a renewal is allowed; 0 = at once.
        closed_days: ``ignore`` or ``extend`` a due date that falls on a closed day; never shortened
            (decision 11).
        lend_unsuitable: lend items flagged as unsuitable for minors (C08, scenario 36).
        checkout_may_renew: a checkout of an item that the patron has already counts as a renewal
            (decision 12).
    """

    category: str
    version: str
    effective_from: date
    author: str = ""
    max_items: int = 8
    max_foreign_items: int = 3
    loan_days: int = 30
    max_renewals: int = 1
    renewal_days: int = 30
    no_renewal_when: frozenset[RenewalBar] = frozenset(RenewalBar)
    loanable_shelving: frozenset[Shelving] = frozenset({Shelving.OPEN_SHELF})
    collections: frozenset[str] = frozenset()
    overdue_bars: Literal["item", "card"] = "item"
    min_days_before_renewal: int = 0
    closed_days: Literal["ignore", "extend"] = "ignore"
    lend_unsuitable: bool = False
    checkout_may_renew: bool = False


STUDENT = LoanPolicy(
    category="student",
    version="student-2026-09-01",
    effective_from=date(2026, 9, 1),
    author="OneCard Connector",
    collections=frozenset({"children", "adult"}),
)
"""The student policy as shipped (A24–A34)."""


def select_policy(policies: Iterable[LoanPolicy], category: str, today: date) -> LoanPolicy | None:
    """Return the newest version of a category's policy that is in force on ``today``, or None."""
    in_force = [p for p in policies if p.category == category and p.effective_from <= today]
    return max(in_force, key=lambda p: p.effective_from, default=None)
