"""Which version of a policy applies, and the student policy as shipped."""

from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from connector.domain.item import Shelving
from connector.domain.policy import STUDENT, LoanPolicy, RenewalBar, select_policy

OLD = LoanPolicy("student", "v1", date(2025, 9, 1))
NEW = LoanPolicy("student", "v2", date(2026, 9, 1))
TEACHER = LoanPolicy("teacher", "t1", date(2020, 1, 1))


def test_the_student_policy_as_shipped():
    """A26, A27, A32-A34."""
    assert (STUDENT.max_items, STUDENT.max_foreign_items) == (8, 3)
    assert (STUDENT.loan_days, STUDENT.max_renewals, STUDENT.renewal_days) == (30, 1, 30)
    assert STUDENT.no_renewal_when == set(RenewalBar)
    assert STUDENT.loanable_shelving == {Shelving.OPEN_SHELF}
    assert STUDENT.collections == {"children", "adult"}
    assert not STUDENT.checkout_may_renew


def test_the_newest_version_in_force_applies():
    policies = [NEW, TEACHER, OLD]
    assert select_policy(policies, "student", date(2026, 8, 31)) is OLD
    assert select_policy(policies, "student", date(2026, 9, 1)) is NEW
    assert select_policy(policies, "teacher", date(2026, 9, 1)) is TEACHER
    assert select_policy(policies, "student", date(2025, 8, 31)) is None
    assert select_policy(policies, "adult", date(2026, 9, 1)) is None
    assert select_policy([], "student", date(2026, 9, 1)) is None


@given(days=st.lists(st.dates(), max_size=6), today=st.dates())
def test_no_version_applies_before_its_day(days, today):
    found = select_policy([replace(OLD, effective_from=day) for day in days], "student", today)
    past = [day for day in days if day <= today]
    assert (found.effective_from if found else None) == (max(past) if past else None)
