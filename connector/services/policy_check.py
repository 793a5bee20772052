"""Compares an ILS's own loan rules with the policy, before readers find out (scenario 31).

Nothing here asks an ILS or changes one. Rules: the policy decides, but the ILS has the last word on
the wire, so a rule of the ILS that is stricter, or a date that it computes otherwise, is a
mismatch; a more generous rule is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.domain.policy import LoanPolicy
from connector.ports.ils import LoanRule

__all__ = ["Mismatch", "compare_rules"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: which rule of the ILS, which setting, and both values."""

    category: str
    item_type: str
    setting: str
    ils: str
    policy: str

    def __str__(self) -> str:
        rule = f"{self.category}/{self.item_type}"
        return f"{rule}: {self.setting} is {self.ils}, the policy says {self.policy}"


def compare_rules(
    policy: LoanPolicy, rules: Sequence[LoanRule], *, obeys_due_dates: bool
) -> tuple[Mismatch, ...]:
    """Return where the ILS's rules for the policy's category do not let the policy work.

    Args:
        rules: a category or item type of ``*`` applies to all; an item type that may not be lent at
            all
            (``max_items`` 0) is the library's own choice and no mismatch.
        obeys_due_dates: the adapter has SET_DUE_DATE, so that the ILS's own periods do not matter.
    """
    found: list[Mismatch] = []
    for rule in rules:
        if rule.category not in ("*", policy.category) or rule.max_items == 0:
            continue
        differences: list[tuple[str, object, object]] = []
        if rule.max_items is not None and rule.max_items < policy.max_items:
            differences.append(("max_items", rule.max_items, policy.max_items))
        if rule.max_renewals is not None and rule.max_renewals < policy.max_renewals:
            differences.append(("max_renewals", rule.max_renewals, policy.max_renewals))
        if not obeys_due_dates:
            if rule.loan_days is not None and rule.loan_days != policy.loan_days:
                differences.append(("loan_days", rule.loan_days, policy.loan_days))
            if rule.renewal_days is not None and rule.renewal_days != policy.renewal_days:
                differences.append(("renewal_days", rule.renewal_days, policy.renewal_days))
            if rule.renewal_from == "due":
                differences.append(("renewal_from", "due", "today"))
        found += [
            Mismatch(rule.category, rule.item_type, setting, str(ils), str(wanted))
            for setting, ils, wanted in differences
        ]
    return tuple(found)
