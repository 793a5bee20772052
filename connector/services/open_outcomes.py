"""Everything whose outcome is not certain, in one list, and what a person has seen of it.

Nothing here asks by itself; ``settlement`` does. Rules (decisions 7 and 10) —

- nothing stays open silently: checkouts, renewals and payments are listed with their age, and the
  doctor names what is older than an hour;
- a person's word is written with his login and a code; it is refused where the ILS says the
  opposite, or where the ILS may still do what it was asked a moment ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.library import Library
from connector.domain.loan import IlsLoan, Loan, LoanState
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.ledger import ClaimedRenewal, Ledger, Place
from connector.ports.payments import Payment, PaymentStore
from connector.ports.store import AuditLog
from connector.ports.tasks import TaskStore
from connector.services.renewal_signs import Since, compare_loan
from connector.services.unsettled import UnsettledTasks

__all__ = ["HandOutcome", "OpenKind", "OpenOutcome", "OpenOutcomes", "Verdict"]

_log = get_logger(__name__)


class OpenKind(StrEnum):
    """What is open."""

    CHECKOUT = "checkout"
    RENEWAL = "renewal"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class OpenOutcome:
    """One thing whose outcome is not certain.

    Attributes:
        state: of the loan or payment; of a renewal ``claimed``.
        since: when the ILS was asked, at least to within seconds.
    """

    kind: OpenKind
    state: str
    institution: InstitutionId
    since: datetime
    terminal: TerminalId | None
    loan: Loan | None = None
    payment: Payment | None = None


class Verdict(StrEnum):
    """What a person has seen."""

    LENT = "lent"
    NOT_LENT = "not-lent"
    RENEWED = "renewed"
    NOT_RENEWED = "not-renewed"


class HandOutcome(StrEnum):
    """What became of a person's word."""

    DONE = "done"
    WRONG_STATE = "wrong_state"
    TOO_SOON = "too_soon"
    """The ILS may still apply it: a live one was seen doing so a minute after its "no"."""
    ILS_SAYS_OTHERWISE = "ils_says_otherwise"


@dataclass(frozen=True, slots=True)
class OpenOutcomes:
    """The open outcomes of every library of the process.

    Attributes:
        apart: how long the ILS may take to apply what it did not answer.
        margin: how long after the ILS was asked the claim of a renewal ends.
    """

    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    ledger: Ledger
    payments: PaymentStore
    tasks: TaskStore
    audit: AuditLog
    now: Clock
    apart: timedelta = timedelta(seconds=180)
    margin: timedelta = timedelta(seconds=20)

    def list_open(self, institution: InstitutionId | None = None) -> tuple[OpenOutcome, ...]:
        """Return what is open, oldest first."""
        found: list[OpenOutcome] = []
        for code in self.libraries if institution is None else (institution,):
            found += [
                OpenOutcome(
                    OpenKind.CHECKOUT, loan.state.value, code, loan.asked_at, loan.terminal, loan
                )
                for loan in self.ledger.list_unsettled(code)
            ]
            found += [
                OpenOutcome(
                    OpenKind.RENEWAL, "claimed", code, claim.until - self.margin, None, claim.loan
                )
                for claim in self.ledger.list_claims(code)
            ]
            found += [
                OpenOutcome(
                    OpenKind.PAYMENT,
                    payment.state.value,
                    code,
                    payment.asked_at,
                    payment.terminal,
                    payment=payment,
                )
                for payment in self.payments.list_payments(institution=code)
            ]
        return tuple(sorted(found, key=lambda each: each.since))

    def settle(
        self, loan: Loan, verdict: Verdict, *, reason: str, actor: str, force: bool = False
    ) -> HandOutcome:
        """Write what a person has seen of a checkout or of a claimed renewal.

        Args:
            reason: a code.
            force: although the ILS says the opposite, or may still do it.
        """
        claim = next(
            (one for one in self.ledger.list_claims(loan.lender) if _is_about(one, loan)), None
        )
        if not _may_settle(loan, claim, verdict):
            return HandOutcome.WRONG_STATE
        now = self.now()
        asked_at = loan.asked_at if claim is None else claim.until - self.margin
        says_no = verdict in {Verdict.NOT_LENT, Verdict.NOT_RENEWED}
        if says_no and not force and now - asked_at < self.apart:
            return HandOutcome.TOO_SOON
        now_with, is_told = self._ask(loan)
        if is_told and not force and self._is_opposite(loan, verdict, now_with):
            return HandOutcome.ILS_SAYS_OTHERWISE
        self.audit.append(
            "loan.settled",
            actor=actor,
            subject=loan.loan_id,
            detail={"as": verdict.value, "reason": reason, "forced": int(force)},
            institution=loan.lender,
        )
        self._write(loan, claim, verdict, due=now_with.due if now_with is not None else None)
        UnsettledTasks(self.tasks, self.ledger).finish(loan, verdict.value, actor=actor)
        _log.info("loan.settled", loan_id=loan.loan_id, outcome=verdict.value)
        return HandOutcome.DONE

    def _ask(self, loan: Loan) -> tuple[IlsLoan | None, bool]:
        """Return who has the item by the ILS, and whether it could be asked."""
        adapter = self.adapters[loan.lender]
        if Capability.FETCH_ITEM_LOAN not in adapter.capabilities:
            return None, False
        try:
            return adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron), True
        except AdapterError as err:
            _log.warning("settlement.ils_away", institution=loan.lender, error=type(err).__name__)
            return None, False

    def _is_opposite(self, loan: Loan, verdict: Verdict, now_with: IlsLoan | None) -> bool:
        has_it = now_with is not None and now_with.patron == loan.ils_patron
        is_clear = now_with is None or now_with.patron is not None
        since = compare_loan(loan, now_with, self.libraries[loan.lender])
        match verdict:
            case Verdict.LENT:
                return is_clear and not has_it
            case Verdict.NOT_LENT:
                return has_it
            case Verdict.RENEWED:
                return since is Since.AS_BEFORE
            case Verdict.NOT_RENEWED:
                return since is Since.RENEWED

    def _write(
        self, loan: Loan, claim: ClaimedRenewal | None, verdict: Verdict, *, due: datetime | None
    ) -> None:
        library = self.libraries[loan.lender]
        match verdict:
            case Verdict.LENT:
                self.ledger.record_open(loan.loan_id, _place(loan, library, loan.asked_at), due=due)
            case Verdict.NOT_LENT if loan.state is LoanState.DISPUTED:
                now = self.now()
                here = Place(loan.lender, now, library.today(now))
                self.ledger.record_return(loan.item, here, returned_at=now)
            case Verdict.NOT_LENT:
                place = _place(loan, library, loan.asked_at)
                self.ledger.record_refused(loan.loan_id, place, reason="settled_by_hand")
            case Verdict.RENEWED if claim is not None:
                at = claim.until - self.margin
                self.ledger.record_renewal(
                    loan.loan_id,
                    Place(loan.lender, at, library.today(at)),
                    due=due,
                    renewals=loan.renewals + 1,
                )
            case _:
                self.ledger.release_renewal(loan.loan_id)


def _is_about(claim: ClaimedRenewal, loan: Loan) -> bool:
    return claim.loan.loan_id == loan.loan_id


def _may_settle(loan: Loan, claim: ClaimedRenewal | None, verdict: Verdict) -> bool:
    if verdict in {Verdict.RENEWED, Verdict.NOT_RENEWED}:
        return claim is not None
    return loan.state in {LoanState.UNKNOWN, LoanState.DISPUTED}


def _place(loan: Loan, library: Library, at: datetime) -> Place:
    return Place(
        institution=loan.lender,
        at=at,
        local_date=library.today(at),
        branch=loan.branch,
        terminal=loan.terminal,
    )
