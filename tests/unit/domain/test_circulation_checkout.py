"""decide_checkout, decide_checkin and due dates: every reason, and what holds for every input."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.circulation import (
    Decision,
    Quota,
    Reason,
    decide_checkin,
    decide_checkout,
    due_at,
    is_overdue,
    local_day,
)
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.item import Classification, LanguageClass, Shelving
from connector.domain.patron import PatronStanding, StandingState
from connector.domain.policy import STUDENT, LoanPolicy

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 9, 10, 2, 30, tzinfo=UTC)
CHINESE = Classification(LanguageClass.CHINESE, Shelving.OPEN_SHELF, "language")
FOREIGN = replace(CHINESE, language=LanguageClass.FOREIGN)
UNKNOWN = replace(CHINESE, language=LanguageClass.UNKNOWN)
PUPIL = PatronStanding(
    PatronId("p"), "student", StandingState.ACTIVE, InstitutionId("FD"), "card", IlsPatronId("FD1")
)


NONE = Quota(0, 0)


def checkout(policy=STUDENT, *, standing=PUPIL, quota=NONE, item=CHINESE, **more):
    given_ = {"collection": "children", "unsuitable": False, "now": NOW, "zone": ZONE}
    return decide_checkout(policy, standing=standing, quota=quota, item=item, **(given_ | more))


@pytest.mark.parametrize(
    ("quota", "item", "reason", "limit"),
    [
        (Quota(7, 0), CHINESE, None, None),
        (Quota(8, 0), CHINESE, Reason.ITEM_LIMIT, 8),
        (Quota(9, 0), CHINESE, Reason.ITEM_LIMIT, 8),
        (Quota(5, 2), FOREIGN, None, None),
        (Quota(5, 3), FOREIGN, Reason.FOREIGN_LIMIT, 3),
        (Quota(5, 3), CHINESE, None, None),
        (Quota(5, 3), UNKNOWN, None, None),
        (Quota(8, 3), FOREIGN, Reason.ITEM_LIMIT, 8),
    ],
)
def test_limits(quota, item, reason, limit):
    """A26."""
    verdict = checkout(quota=quota, item=item)
    assert (verdict.permitted, verdict.reason, verdict.limit) == (reason is None, reason, limit)
    assert verdict.policy_version == STUDENT.version


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (replace(PUPIL, state=StandingState.WITHDRAWN), Reason.CONSENT_WITHDRAWN),
        (replace(PUPIL, state=StandingState.BLOCKED), Reason.CARD_BLOCKED),
        (replace(PUPIL, account_kind="exchanged"), Reason.CARD_EXCHANGED),
        (replace(PUPIL, state=StandingState.INACTIVE), Reason.CARD_INACTIVE),
        (replace(PUPIL, state=StandingState.EXPIRED), Reason.CARD_EXPIRED),
        (replace(PUPIL, expires=date(2026, 9, 9)), Reason.CARD_EXPIRED),
        (replace(PUPIL, expires=date(2026, 9, 10)), None),
        (replace(PUPIL, violations=2), None),
    ],
)
def test_card(standing, reason):
    assert checkout(standing=standing).reason is reason


@pytest.mark.parametrize(
    ("shelving", "reason"),
    [
        (Shelving.OPEN_SHELF, None),
        (Shelving.CLOSED_STACK, Reason.CLOSED_STACK),
        (Shelving.REFERENCE, Reason.REFERENCE_ONLY),
        (Shelving.UNKNOWN, Reason.CLOSED_STACK),
    ],
)
def test_open_shelves_only(shelving, reason):
    """A27, scenario 36."""
    assert checkout(item=replace(CHINESE, shelving=shelving)).reason is reason


def test_collections():
    """A32: adult novels are allowed, other collections are not."""
    assert checkout(collection="adult").permitted
    assert checkout(collection="").permitted
    assert checkout(collection="archive").reason is Reason.COLLECTION_BARRED
    assert checkout(replace(STUDENT, collections=frozenset()), collection="archive").permitted


def test_unsuitable():
    assert checkout(unsuitable=True).reason is Reason.UNSUITABLE
    assert checkout(replace(STUDENT, lend_unsuitable=True), unsuitable=True).permitted


def test_overdue_items_bar_checkouts_only_where_configured():
    """Decision 12."""
    assert checkout(quota=Quota(2, 0, overdue=1)).permitted
    barred = checkout(replace(STUDENT, overdue_bars="card"), quota=Quota(2, 0, overdue=1))
    assert (barred.reason, barred.limit) == (Reason.OVERDUE_ITEMS, 1)
    assert checkout(replace(STUDENT, overdue_bars="card"), quota=Quota(2, 0)).permitted


def test_due_date_is_the_end_of_the_thirtieth_day():
    """A33, decision 11."""
    assert checkout().due == datetime(2026, 10, 10, 15, 59, 59, tzinfo=UTC)


def test_late_evening_counts_as_the_library_s_day():
    late = datetime(2026, 9, 10, 15, 58, tzinfo=UTC)
    assert checkout(now=late).due == datetime(2026, 10, 10, 15, 59, 59, tzinfo=UTC)
    assert checkout(now=late + timedelta(minutes=5)).due == datetime(
        2026, 10, 11, 15, 59, 59, tzinfo=UTC
    )


def test_closed_days_extend_only_where_configured():
    def closed(day):
        return day in {date(2026, 10, 10), date(2026, 10, 11)}

    assert local_day(checkout(is_closed=closed).due, ZONE) == date(2026, 10, 10)
    extended = checkout(replace(STUDENT, closed_days="extend"), is_closed=closed)
    assert local_day(extended.due, ZONE) == date(2026, 10, 12)


def test_a_library_that_is_always_closed_gets_a_date_all_the_same():
    due = due_at(NOW, 30, ZONE, is_closed=lambda _: True)
    assert local_day(due, ZONE) == date(2026, 10, 10) + timedelta(days=366)


def test_refuse_forgets_the_due_date():
    refused = Decision(permitted=True, due=NOW, policy_version="v").refuse(
        Reason.PLUGIN_REFUSED, detail="x"
    )
    assert refused == Decision(
        permitted=False, reason=Reason.PLUGIN_REFUSED, policy_version="v", detail="x"
    )


def test_overdue_by_the_library_s_day():
    """Scenario 19."""
    due = datetime(2026, 9, 10, 3, 0, tzinfo=UTC)
    assert not is_overdue(due, datetime(2026, 9, 10, 15, 58, tzinfo=UTC), ZONE)
    assert is_overdue(due, datetime(2026, 9, 10, 16, 3, tzinfo=UTC), ZONE)
    assert not is_overdue(None, NOW, ZONE)


@pytest.mark.parametrize(
    ("owners", "loan_owner", "expected"),
    [
        ({"A"}, None, "A"),
        ({"B"}, None, "B"),
        (set(), None, "A"),
        ({"A", "B"}, None, None),
        ({"A", "B"}, "B", "B"),
        (set(), "B", "B"),
        ({"B", "C"}, None, None),
    ],
)
def test_owner_of_a_return(owners, loan_owner, expected):
    """Scenario 18."""
    assert decide_checkin(frozenset(owners), local="A", loan_owner=loan_owner) == expected


policies = st.builds(
    LoanPolicy,
    category=st.just("student"),
    version=st.just("v"),
    effective_from=st.just(date(2026, 9, 1)),
    max_items=st.integers(0, 20),
    max_foreign_items=st.integers(0, 10),
    loan_days=st.integers(0, 90),
    overdue_bars=st.sampled_from(["item", "card"]),
    closed_days=st.sampled_from(["ignore", "extend"]),
    lend_unsuitable=st.booleans(),
)
items = st.builds(
    Classification, st.sampled_from(LanguageClass), st.sampled_from(Shelving), st.just("language")
)
standings = st.builds(
    replace,
    st.just(PUPIL),
    state=st.sampled_from(StandingState),
    expires=st.none() | st.dates(date(2025, 1, 1), date(2030, 1, 1)),
    violations=st.integers(0, 3),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- zone given beside
zones = st.sampled_from(
    [ZoneInfo(z) for z in ("Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York")]
)


@given(
    policy=policies,
    standing=standings,
    total=st.integers(0, 20),
    foreign=st.integers(0, 10),
    overdue=st.integers(0, 3),
    item=items,
    collection=st.sampled_from(["", "children", "archive"]),
    unsuitable=st.booleans(),
    now=moments,
    zone=zones,
    weekdays=st.frozensets(st.integers(0, 6), max_size=6),
)
def test_what_holds_for_every_checkout(
    policy, standing, total, foreign, overdue, item, collection, unsuitable, now, zone, weekdays
):
    verdict = decide_checkout(
        policy,
        standing=standing,
        quota=Quota(total, foreign, overdue),
        item=item,
        collection=collection,
        unsuitable=unsuitable,
        now=now,
        zone=zone,
        is_closed=lambda day: day.weekday() in weekdays,
    )
    assert verdict.permitted == (verdict.reason is None)
    assert verdict.permitted == (verdict.due is not None)
    assert verdict.policy_version == "v"
    if verdict.due is not None:
        assert total < policy.max_items
        assert item.language is not LanguageClass.FOREIGN or foreign < policy.max_foreign_items
        assert item.shelving is Shelving.OPEN_SHELF
        assert standing.state is StandingState.ACTIVE
        assert verdict.due >= now
        day = local_day(verdict.due, zone)
        assert day >= local_day(now, zone) + timedelta(days=policy.loan_days)
        if policy.closed_days == "ignore":
            assert day == local_day(now, zone) + timedelta(days=policy.loan_days)
        else:
            assert day.weekday() not in weekdays


@given(
    now=moments,
    zone=zones,
    until_due=st.timedeltas(timedelta(days=-4), timedelta(days=4)),
)
def test_overdue_is_a_matter_of_calendar_days(now, zone, until_due):
    due = now + until_due
    assert is_overdue(due, now, zone) == (local_day(now, zone) > local_day(due, zone))


@given(now=moments, zone=zones, days=st.integers(0, 400))
def test_due_is_never_before_now_and_never_overdue_on_its_day(now, zone, days):
    due = due_at(now, days, zone)
    assert due >= now
    assert due.utcoffset() == timedelta(0)
    assert not is_overdue(due, due, zone)
    assert is_overdue(due, due + timedelta(seconds=1), zone)


@given(
    st.lists(st.sampled_from([CHINESE, FOREIGN, UNKNOWN]), max_size=30),
    st.integers(0, 12),
    st.integers(0, 6),
)
def test_borrowing_one_after_the_other_never_passes_a_limit(wanted, limit, foreign_limit):
    policy = replace(STUDENT, max_items=limit, max_foreign_items=foreign_limit)
    total = foreign = 0
    for item in wanted:
        if checkout(policy, quota=Quota(total, foreign), item=item).permitted:
            total += 1
            foreign += item.language is LanguageClass.FOREIGN
    assert total <= limit
    assert foreign <= foreign_limit
