"""What shows a renewal, and what does not (decision 9, scenario 20)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId, LoanId, PatronId
from connector.domain.item import LanguageClass
from connector.domain.library import Library
from connector.domain.loan import SOMEBODY_ELSE, IlsLoan, Loan, LoanState
from connector.services.renewal_signs import Since, compare_loan

LIB = InstitutionId("A")
LIBRARY = Library(LIB, "A", ZoneInfo("Asia/Shanghai"))
ME = IlsPatronId("S1")
DUE = datetime(2026, 12, 21, 15, 59, 59, tzinfo=UTC)
"""23:59:59 at the library."""


def ours(due: datetime | None = DUE, renewals: int = 0) -> Loan:
    return Loan(
        LoanId("l"),
        PatronId("p"),
        ItemId(LIB, Barcode("B1")),
        LIB,
        ME,
        LoanState.OPEN,
        LanguageClass.CHINESE,
        asked_at=DUE - timedelta(days=30),
        due=due,
        renewals=renewals,
    )


def theirs(
    due: datetime | None = DUE, renewals: int | None = None, patron: IlsPatronId | None = ME
) -> IlsLoan:
    return IlsLoan(Barcode("B1"), patron, due, renewals)


@pytest.mark.parametrize(
    ("loan", "seen", "since"),
    [
        (ours(), theirs(DUE + timedelta(days=1)), Since.RENEWED),
        (ours(), theirs(DUE + timedelta(seconds=1)), Since.RENEWED),
        (ours(), theirs(DUE - timedelta(hours=23)), Since.AS_BEFORE),
        (ours(), theirs(DUE - timedelta(days=1)), Since.AS_BEFORE),
        (ours(), theirs(), Since.AS_BEFORE),
        (ours(), theirs(renewals=1), Since.RENEWED),
        (ours(renewals=1), theirs(renewals=1), Since.AS_BEFORE),
        (ours(renewals=1), theirs(DUE + timedelta(days=9), renewals=1), Since.RENEWED),
        (ours(), theirs(None, renewals=0), Since.AS_BEFORE),
        (ours(), theirs(None), Since.UNCLEAR),
        (ours(None), theirs(), Since.UNCLEAR),
        (ours(None), theirs(renewals=1), Since.RENEWED),
        (ours(), theirs(DUE + timedelta(days=9), patron=None), Since.RENEWED),
        (ours(), theirs(DUE + timedelta(days=9), patron=SOMEBODY_ELSE), Since.AS_BEFORE),
        (ours(), theirs(DUE + timedelta(days=9), patron=IlsPatronId("X")), Since.AS_BEFORE),
        (ours(), None, Since.AS_BEFORE),
    ],
)
def test_a_later_day_or_a_higher_count_of_the_same_patron(
    loan: Loan, seen: IlsLoan | None, since: Since
) -> None:
    assert compare_loan(loan, seen, LIBRARY) is since
