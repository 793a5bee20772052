"""decide_renewal: A33, A34, decision 12, scenarios 19-21."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.circulation import Reason, decide_renewal, is_overdue, local_day
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import PatronStanding, StandingState
from connector.domain.policy import STUDENT, RenewalBar

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 9, 12, 2, 30, tzinfo=UTC)
DUE = datetime(2026, 10, 10, 15, 59, 59, tzinfo=UTC)
PUPIL = PatronStanding(
    PatronId("p"), "student", StandingState.ACTIVE, InstitutionId("FD"), "card", IlsPatronId("FD1")
)


def renewal(policy=STUDENT, **more):
    facts = {
        "standing": PUPIL,
        "due": DUE,
        "renewals": 0,
        "lent_at": NOW - timedelta(days=2),
        "reserved": False,
        "overdue_items": 0,
        "now": NOW,
        "zone": ZONE,
    }
    return decide_renewal(policy, **(facts | more))


def test_thirty_days_from_the_day_of_the_renewal():
    """Scenario 20: on day 2 it adds two days only."""
    assert renewal().due == datetime(2026, 10, 12, 15, 59, 59, tzinfo=UTC)


def test_closed_days_extend_a_renewal_where_configured():
    extended = renewal(
        replace(STUDENT, closed_days="extend"), is_closed=lambda day: day == date(2026, 10, 12)
    )
    assert local_day(extended.due, ZONE) == date(2026, 10, 13)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"renewals": 1}, Reason.RENEWED_ALREADY),
        ({"reserved": True}, Reason.ITEM_RESERVED),
        ({"standing": replace(PUPIL, violations=1)}, Reason.VIOLATION),
        ({"due": NOW - timedelta(days=1)}, Reason.ITEM_OVERDUE),
        ({"standing": replace(PUPIL, state=StandingState.BLOCKED)}, Reason.CARD_BLOCKED),
        ({"standing": replace(PUPIL, expires=date(2026, 9, 11))}, Reason.CARD_EXPIRED),
        ({"overdue_items": 2}, None),
        ({"due": None}, None),
        ({"lent_at": None}, None),
    ],
)
def test_bars(changes, reason):
    assert renewal(**changes).reason is reason


@pytest.mark.parametrize(
    ("bar", "changes"),
    [
        (RenewalBar.VIOLATION, {"standing": replace(PUPIL, violations=1)}),
        (RenewalBar.OVERDUE, {"due": NOW - timedelta(days=1)}),
        (RenewalBar.RESERVED, {"reserved": True}),
    ],
)
def test_each_bar_can_be_taken_out_of_the_policy(bar, changes):
    policy = replace(STUDENT, no_renewal_when=STUDENT.no_renewal_when - {bar})
    assert not renewal(**changes).permitted
    assert renewal(policy, **changes).permitted


def test_last_minute_of_the_due_date():
    """Scenario 19."""
    due = datetime(2026, 9, 10, 15, 59, 59, tzinfo=UTC)
    in_time = renewal(due=due, now=datetime(2026, 9, 10, 15, 58, tzinfo=UTC))
    assert local_day(in_time.due, ZONE) == date(2026, 10, 10)
    assert (
        renewal(due=due, now=datetime(2026, 9, 10, 16, 3, tzinfo=UTC)).reason is Reason.ITEM_OVERDUE
    )


def test_one_overdue_item_bars_the_card_where_configured():
    barred = renewal(replace(STUDENT, overdue_bars="card"), overdue_items=2)
    assert (barred.reason, barred.limit) == (Reason.OVERDUE_ITEMS, 2)


def test_some_days_must_pass_where_configured():
    policy = replace(STUDENT, min_days_before_renewal=7)
    early = renewal(policy)
    assert (early.reason, early.limit) == (Reason.RENEWAL_TOO_EARLY, 7)
    assert renewal(policy, lent_at=NOW - timedelta(days=7)).permitted
    assert renewal(policy, lent_at=None).permitted


@given(
    renewals=st.integers(0, 3),
    reserved=st.booleans(),
    violations=st.integers(0, 2),
    state=st.sampled_from(StandingState),
    due=st.none() | st.integers(-40, 40).map(lambda days: NOW + timedelta(days=days)),
    bars=st.frozensets(st.sampled_from(RenewalBar)),
    allowed=st.integers(0, 3),
    days=st.integers(0, 60),
)
def test_what_holds_for_every_renewal(
    renewals, reserved, violations, state, due, bars, allowed, days
):
    policy = replace(STUDENT, no_renewal_when=bars, max_renewals=allowed, renewal_days=days)
    verdict = renewal(
        policy,
        renewals=renewals,
        reserved=reserved,
        standing=replace(PUPIL, violations=violations, state=state),
        due=due,
    )
    assert verdict.permitted == (verdict.reason is None) == (verdict.due is not None)
    if verdict.due is not None:
        assert renewals < allowed
        assert state is StandingState.ACTIVE
        assert not (reserved and RenewalBar.RESERVED in bars)
        assert not (violations and RenewalBar.VIOLATION in bars)
        assert not (is_overdue(due, NOW, ZONE) and RenewalBar.OVERDUE in bars)
        assert verdict.due >= NOW
        assert local_day(verdict.due, ZONE) == local_day(NOW, ZONE) + timedelta(days=days)
