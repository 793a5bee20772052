"""The ILS's own loan rules against the policy (scenario 31)."""

import pytest

from connector.domain.policy import STUDENT
from connector.ports.ils import LoanRule
from connector.services.policy_check import compare_rules

FITTING = LoanRule("student", "*", 30, 8, 1, 30, "today")


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (FITTING, []),
        (LoanRule("*", "*", 30, 20, 3, 30, "today"), []),
        (LoanRule("student", "book"), []),
        (LoanRule("student", "*", 30, 7, 1, 30, "today"), ["max_items"]),
        (LoanRule("student", "*", 30, 8, 0, 30, "today"), ["max_renewals"]),
        (LoanRule("student", "*", 21, 8, 1, 30, "today"), ["loan_days"]),
        (LoanRule("student", "*", 30, 8, 1, 14, "today"), ["renewal_days"]),
        (LoanRule("student", "*", 30, 8, 1, 30, "due"), ["renewal_from"]),
        (LoanRule("adult", "*", 21, 1, 0, 1, "due"), []),
        (LoanRule("*", "reference", 0, 0, 0, 0, "due"), []),
        (LoanRule("*", "*", 21, 1, 0, 1, "due"), ["max_items", "max_renewals", "loan_days", "renewal_days", "renewal_from"]),
    ],
)  # fmt: skip
def test_stricter_or_different_rules_are_found(rule, settings):
    found = compare_rules(STUDENT, [rule], obeys_due_dates=False)
    assert [mismatch.setting for mismatch in found] == settings


def test_periods_do_not_matter_where_the_ils_obeys_our_due_dates():
    rule = LoanRule("student", "*", 21, 8, 1, 14, "due")
    assert compare_rules(STUDENT, [rule], obeys_due_dates=True) == ()


def test_mismatch_says_both_values():
    (mismatch,) = compare_rules(STUDENT, [LoanRule("student", "book", 21)], obeys_due_dates=False)
    assert str(mismatch) == "student/book: loan_days is 21, the policy says 30"
