"""The ledger port: who has what in the whole network, and the one atomic step that takes a place in
the quota.

Nothing here stores; ``connector.storage`` does for a standalone library, a hub will for an edge.
Rules: decisions 2, 6–9 —

- permit and loan are one row; at most one unclosed row per item;
- T1 (``ask``) counts and inserts under one lock and commits before the ILS is asked;
- T2 (every other writing method) moves the row and writes event, fact, position, outbox and audit
  in one transaction;
- every write is conditional on the row's state, so that a repeat or a late thread changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from connector.domain.circulation import Quota
from connector.domain.ids import (
    BranchId,
    IlsPatronId,
    InstitutionId,
    ItemId,
    LoanId,
    PatronId,
    TerminalId,
)
from connector.domain.item import LanguageClass
from connector.domain.loan import Loan, LoanOrigin, LoanState
from connector.ports.deferred import Deferral

__all__ = [
    "Adoption",
    "AlreadyHere",
    "AskLoan",
    "Asked",
    "ClaimedRenewal",
    "Ledger",
    "NoPlace",
    "Place",
    "Reconciliation",
    "Renewed",
    "Returned",
    "TakenByOther",
    "Verb",
]


class Verb(StrEnum):
    """What happened, for events and facts."""

    CHECKOUT = "checkout"
    RENEW = "renew"
    CHECKIN = "checkin"
    RETURN_WITHOUT_LOAN = "return_without_loan"
    ADOPT = "adopt"
    CLOSE = "close"
    SUPERSEDE = "supersede"
    DISPUTE = "dispute"
    REFUSE = "refuse"
    WOULD_REFUSE = "would_refuse"
    LOSE = "lose"
    CLAIM = "claim"
    FIND = "find"
    COMPENSATE = "compensate"


@dataclass(frozen=True, slots=True)
class Place:
    """Where and by what machine something happened, for events and statistics (decision 24).

    Attributes:
        local_date: the calendar day in the library's zone.
        kind: terminal kind: selfcheck, bookdrop, sorter, desk, mobile; empty for our own worker.
        test: a rehearsal, not to be counted.
    """

    institution: InstitutionId
    at: datetime
    local_date: date
    branch: BranchId | None = None
    terminal: TerminalId | None = None
    kind: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class AskLoan:
    """The request of T1.

    Attributes:
        limit, foreign_limit: None = do not check (observe mode, or a forced off-line item).
        uncounted: items that the ILS counts but cannot list, on top of the ledger's rows (decision
            9, last rule).
        expires_at: when an unanswered row becomes ``unknown``.
        over_limit: record that it was let through above the limit (decision 14).
        supersede: a stale loan of the item, seen in the ILS to be over: it is closed in the same
            transaction (decision 2).
        away_limit: the ILS is away, and the patron may have so many loans that it was not told of;
            None = it is not away.
    """

    patron_id: PatronId
    item: ItemId
    lender: InstitutionId
    ils_patron: IlsPatronId
    language: LanguageClass
    place: Place
    expires_at: datetime
    limit: int | None
    foreign_limit: int | None
    uncounted: int = 0
    policy_version: str = ""
    clc_class: str = ""
    origin: LoanOrigin = LoanOrigin.GATEWAY
    over_limit: bool = False
    supersede: LoanId | None = None
    away_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A place was taken: the row is committed as ``asked``."""

    loan: Loan


@dataclass(frozen=True, slots=True)
class AlreadyHere:
    """The same patron has an unclosed row for the same item; nothing was written."""

    loan: Loan


@dataclass(frozen=True, slots=True)
class TakenByOther:
    """Another patron has an unclosed row for the item; nothing was written."""

    loan: Loan


@dataclass(frozen=True, slots=True)
class NoPlace:
    """The limit is reached; nothing was written. ``foreign`` and ``away`` tell which limit."""

    quota: Quota
    foreign: bool
    away: bool = False


@dataclass(frozen=True, slots=True)
class Adoption:
    """A loan that only the ILS knows, to be taken into the ledger (decision 9)."""

    item: ItemId
    language: LanguageClass
    due: datetime | None
    renewals: int
    lent_at: datetime | None
    origin: LoanOrigin = LoanOrigin.DESK
    clc_class: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The ILS shows a later due date or a higher renewal count than the ledger."""

    loan_id: LoanId
    due: datetime | None
    renewals: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What one read of the ILS says about a patron's loans in that ILS.

    Attributes:
        as_of: when that read began. A loan closed in the ledger at or after this moment is not
            adopted again, and a row asked at or after it is not closed: the read is older.
        adopt: loans to add; one whose item another patron holds in the ledger supersedes that row.
        returned: rows that an item read confirmed as gone from the ILS.
    """

    patron_id: PatronId
    lender: InstitutionId
    ils_patron: IlsPatronId
    as_of: datetime
    adopt: Sequence[Adoption] = ()
    returned: Sequence[LoanId] = ()
    renewed: Sequence[Renewed] = ()

    def __bool__(self) -> bool:
        return bool(self.adopt or self.returned or self.renewed)


@dataclass(frozen=True, slots=True)
class Returned:
    """What ``record_return`` did: the loans it closed (usually none or one)."""

    closed: tuple[Loan, ...]


@dataclass(frozen=True, slots=True)
class ClaimedRenewal:
    """A renewal that was claimed, and nobody has written how it ended.

    Attributes:
        until: when the claim ended: some seconds after the ILS was asked.
    """

    loan: Loan
    until: datetime


class Ledger(Protocol):
    """Unclosed and past loans of enrolled patrons, and the positions of items."""

    def list_unclosed(self, patron_id: PatronId) -> tuple[Loan, ...]:
        """Return the patron's unclosed loans in the whole network, oldest first."""
        ...

    def find_unclosed(self, item: ItemId) -> Loan | None:
        """Return the unclosed loan of an item."""
        ...

    def find_by_barcode(self, barcode: str) -> tuple[Loan, ...]:
        """Return unclosed loans of all items with this barcode, whoever owns them (scenario 18)."""
        ...

    def fetch_loan(self, loan_id: LoanId) -> Loan | None:
        """Return one loan, closed or not."""
        ...

    def reconcile(self, changes: Reconciliation, place: Place) -> tuple[Loan, ...]:
        """Apply what the ILS showed, in one transaction; return the patron's unclosed loans
        afterwards.
        """
        ...

    def ask(self, request: AskLoan) -> Asked | AlreadyHere | TakenByOther | NoPlace:
        """T1: take a place in the quota, atomically (decisions 7, 8)."""
        ...

    def record_open(
        self,
        loan_id: LoanId,
        place: Place,
        *,
        due: datetime | None,
        due_mismatch: bool = False,
        disputed: bool = False,
        renewals: int | None = None,
        defer: Deferral | None = None,
    ) -> Loan:
        """T2, done: ``asked | unknown | disputed`` → ``open`` (or ``disputed``: the kiosk was told
        no, scenario 13).

        A loan counts in the statistics when it becomes ``open``, once.

        Args:
            defer: the ILS has not heard of it; committed together with the loan.
        """
        ...

    def record_refused(
        self, loan_id: LoanId, place: Place, *, reason: str, ils_code: str = ""
    ) -> Loan:
        """T2, refused by the ILS: ``asked | unknown`` → ``refused``; the place is free again."""
        ...

    def record_unknown(self, loan_id: LoanId) -> Loan:
        """T2, no answer: ``asked`` → ``unknown``; the place stays taken."""
        ...

    def ask_renewal(self, loan_id: LoanId, *, renewals: int, until: datetime) -> bool:
        """Claim the next renewal of an open loan, atomically and committed, before the ILS is
        asked.

        Returns False when the loan is not open (or disputed), has another renewal count than
        ``renewals``, or when there is a claim. A claim ends by ``record_renewal`` or by
        ``release_renewal``; one that is there after ``until`` has no known outcome, and is settled
        before there may be another: no renewal is made twice.
        """
        ...

    def release_renewal(self, loan_id: LoanId, *, until: datetime | None = None) -> None:
        """Give up the claim: the ILS refused, was never asked, or has not renewed.

        Args:
            until: only the claim that ends then; None = whichever there is.
        """
        ...

    def record_renewal(
        self,
        loan_id: LoanId,
        place: Place,
        *,
        due: datetime | None,
        renewals: int,
        due_mismatch: bool = False,
    ) -> Loan:
        """Write a renewal of an open loan."""
        ...

    def record_return(
        self,
        item: ItemId,
        place: Place,
        *,
        returned_at: datetime,
        owner_branch: str = "",
        language: LanguageClass = LanguageClass.UNKNOWN,
        defer: Deferral | None = None,
        asked: InstitutionId | None = None,
    ) -> Returned:
        """Close the item's unclosed loan, whoever brought it, and write its position; no loan is
        fine (scenario 23).

        A return dated before the loan began closes nothing, and the ILS is not to hear of it.

        Args:
            defer: the ILS has not heard of it; committed together with the return. A repeat of a
                return that waits already changes nothing.
            asked: whose ILS was to be asked about it (``defer_question``): that is not needed any
                more.
        """
        ...

    def record_loss(
        self, loan_id: LoanId, state: LoanState, place: Place, *, actor: str
    ) -> Loan | None:
        """A person says that the item is ``lost``, ``claimed_returned``, or still ``open``; None =
        the loan may not move there. The place stays taken; the owner of a lost item gets a task.
        """
        ...

    def record_compensated(self, loan_id: LoanId, place: Place, *, actor: str) -> Loan | None:
        """The library settled a lost item: the loan is closed and the place free; None = it is not
        lost.
        """
        ...

    def defer_question(
        self, item: ItemId, place: Place, deferral: Deferral, *, occurred_at: datetime
    ) -> None:
        """Commit that the ILS is to be asked what became of a return, without closing anything.

        ``record_return`` takes the question back.
        """
        ...

    def drop_question(self, institution: InstitutionId, item: ItemId) -> None:
        """Take such a question back: the ILS has not taken the item, and knows that it has not."""
        ...

    def find_last_change(self, item: ItemId) -> datetime | None:
        """Return when the item last moved, as far as the ledger knows; None = it never did."""
        ...

    def record_supersede(self, loan_id: LoanId, place: Place) -> None:
        """The ILS shows the item with another patron: close the stale row."""
        ...

    def record_event(
        self,
        verb: Verb,
        place: Place,
        *,
        patron_id: PatronId | None,
        item: ItemId | None,
        reason: str,
        policy_version: str = "",
        ils_verdict: str = "",
    ) -> None:
        """Write an event that moves no loan: a refusal by policy, a would-be refusal in observe
        mode, a pass-through.
        """
        ...

    def expire_asked(self, now: datetime) -> int:
        """Turn ``asked`` rows past their time into ``unknown``; return how many."""
        ...

    def lease_unknown(
        self, lender: InstitutionId, now: datetime, *, lease: timedelta, limit: int = 50
    ) -> tuple[Loan, ...]:
        """Lease ``unknown`` rows for settlement; another worker does not see them until the lease
        ends.
        """
        ...

    def note_absent(self, loan_id: LoanId, now: datetime) -> Loan:
        """Settlement heard "not on loan": remember the first time."""
        ...

    def list_unsettled(self, lender: InstitutionId) -> tuple[Loan, ...]:
        """Return loans that are asked, unknown or disputed, oldest first."""
        ...

    def lease_renewals(
        self, lender: InstitutionId, now: datetime, *, lease: timedelta, limit: int = 50
    ) -> tuple[ClaimedRenewal, ...]:
        """Lease claims that are past their time, as ``lease_unknown`` does."""
        ...

    def list_claims(self, lender: InstitutionId) -> tuple[ClaimedRenewal, ...]:
        """Return every renewal that is claimed, past its time or not, oldest first."""
        ...

    def note_unrenewed(self, loan_id: LoanId, now: datetime) -> Loan:
        """Settlement saw the loan as it was before a claimed renewal: remember the first time."""
        ...

    def forget_absent(self, lender: InstitutionId, *, loan_id: LoanId | None = None) -> None:
        """The ILS was away: earlier answers "not on loan" and "not renewed" do not count (decision
        7).

        Args:
            loan_id: only of this loan did it not tell.
        """
        ...
