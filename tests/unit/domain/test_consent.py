"""Whether a consent holds: answers, texts that widen, and the day on which a child turns 14."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from connector.domain.consent import (
    Consent,
    ConsentRules,
    ConsentTerms,
    ConsentVerdict,
    decide_consent,
)
from connector.domain.enrolment import ConsentScope
from connector.domain.ids import PatronId

V = ConsentVerdict
SHANGHAI = ZoneInfo("Asia/Shanghai")
GIVEN_AT = datetime(2026, 9, 10, 2, 0, tzinfo=UTC)
TODAY = date(2026, 11, 21)


def said(scope=ConsentScope.CARD, *, version="2026-09", given=True, at=GIVEN_AT, withdrawn=None):
    return Consent(PatronId("p1"), scope, version, given, at, withdrawn)


def decide(*consents, birth=date(2015, 3, 1), today=TODAY, widened=(), current="2026-09", **more):
    rules = ConsentRules(SHANGHAI, at_fourteen=more.pop("at_fourteen", False))
    return decide_consent(
        consents,
        birth_date=birth,
        today=today,
        text=ConsentTerms(current, widened),
        rules=rules,
        **more,
    )


def test_answers():
    assert decide() is V.NO_ANSWER
    assert decide(said()) is V.HOLDS
    assert decide(said(given=False)) is V.REFUSED
    assert decide(said(withdrawn=GIVEN_AT)) is V.WITHDRAWN


def test_a_consent_holds_for_its_own_scope_only():
    assert decide(said(ConsentScope.ONLINE)) is V.NO_ANSWER
    assert decide(said(), scope=ConsentScope.NETWORK_CITY) is V.NO_ANSWER
    assert decide(said(ConsentScope.ONLINE), scope=ConsentScope.ONLINE) is V.HOLDS


@pytest.mark.parametrize(
    ("signed", "current", "widened", "verdict"),
    [
        ("2026-09", "2027-09", (), V.HOLDS),
        ("2026-09", "2027-09", ("2027-09",), V.OUTDATED),
        ("2027-09", "2027-09", ("2027-09",), V.HOLDS),
        ("2026-09", "2028-09", ("2027-09",), V.OUTDATED),
        ("2027-09", "2028-09", ("2027-09",), V.HOLDS),
        ("2026-09", "2026-09", ("2027-09",), V.HOLDS),
        ("2027-09", "2026-09", ("2027-09",), V.HOLDS),
        ("2026-09", "2026-09", ("2026-09",), V.HOLDS),
    ],
    ids=[
        "reworded", "widened", "signed the wide one", "widened in between", "widened before",
        "the wide one is not in force", "signed a newer one", "the first one widens",
    ],
)  # fmt: skip
def test_a_text_that_widens_asks_again(signed, current, widened, verdict):
    assert decide(said(version=signed), current=current, widened=widened) is verdict


@pytest.mark.parametrize(
    ("birth", "given_at", "today", "verdict"),
    [
        (date(2012, 11, 22), GIVEN_AT, date(2026, 11, 21), V.HOLDS),
        (date(2012, 11, 22), GIVEN_AT, date(2026, 11, 22), V.TURNED_FOURTEEN),
        (date(2012, 2, 29), datetime(2026, 2, 27, tzinfo=UTC), date(2026, 2, 28), V.HOLDS),
        (date(2012, 2, 29), datetime(2026, 2, 27, tzinfo=UTC), date(2026, 3, 1), V.TURNED_FOURTEEN),
        (date(2012, 2, 29), datetime(2026, 3, 1, tzinfo=UTC), date(2026, 3, 2), V.HOLDS),
        # 23:59 and 00:00 of the library's day, both 21 November in UTC
        (date(2012, 11, 22), datetime(2026, 11, 21, 15, 59, tzinfo=UTC), date(2026, 11, 23),
         V.TURNED_FOURTEEN),
        (date(2012, 11, 22), datetime(2026, 11, 21, 16, 0, tzinfo=UTC), date(2026, 11, 23),
         V.HOLDS),
        (date(2010, 1, 1), GIVEN_AT, TODAY, V.HOLDS),
        (None, GIVEN_AT, TODAY, V.HOLDS),
    ],
    ids=[
        "the day before", "the birthday", "28 February", "1 March", "given at 14",
        "given at 13 y 364 d", "given at midnight of the birthday", "given long after",
        "no birth date",
    ],
)  # fmt: skip
def test_a_consent_given_under_fourteen(birth, given_at, today, verdict):
    consent = said(at=given_at)
    assert decide(consent, birth=birth, today=today, at_fourteen=True) is verdict
    assert decide(consent, birth=birth, today=today) is V.HOLDS


def test_which_verdicts_ask_again():
    assert {verdict for verdict in V if verdict.must_be_renewed} == {
        V.OUTDATED,
        V.TURNED_FOURTEEN,
    }
