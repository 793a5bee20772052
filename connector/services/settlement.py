"""Settlement: find out what became of checkouts and renewals whose outcome is unknown, by asking
the ILS.

Nothing here lends or renews. Rules: decisions 7 and 10; scenarios 12–14 —

- an ``asked`` row that outlives its time becomes ``unknown`` and keeps its quota place;
- the ILS shows the item with the patron: the loan is real; the kiosk was told no, so it is
  ``disputed``;
- "not on loan" twice, at least 180 s apart, with the ILS answering in between: the place is
  released. A live ILS was seen applying a checkout a minute after it had answered "no";
- a renewal was made when the ILS shows a later day or a higher count; the loan as it was before,
  twice as far apart: it was not, and may be made anew;
- an ILS that cannot be asked, whatever its adapter raises, makes earlier "not on loan" answers
  worthless; each library is settled by itself and keeps no other waiting, and one item that the
  ILS stumbles over keeps no other item waiting;
- what no ILS can tell is a task for staff, once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial

from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.domain.loan import Loan
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    StorageConflict,
    StorageUnavailable,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.ledger import ClaimedRenewal, Ledger, Place
from connector.ports.payments import PaymentStore
from connector.ports.tasks import TaskStore
from connector.services.renewal_signs import Since, compare_loan
from connector.services.unsettled import UnsettledTasks

__all__ = ["Settlement", "SettlementReport"]

_log = get_logger(__name__)

_TASK_AFTER = timedelta(hours=1)
"""How long an ILS may say nothing clear before a person is asked."""
_FAILURES_IN_A_ROW = 3
"""After so many different items it is the ILS that cannot be asked, not the item."""


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """What one run did with the rows it leased.

    Attributes:
        opened: loans that the ILS has.
        renewed, unrenewed: renewals that were made, and that were not.
        by_hand: what only a person can settle.
        payments: payments that nobody answered for.
        unreachable: libraries whose ILS cannot be asked, or is still being asked.
    """

    opened: int = 0
    released: int = 0
    renewed: int = 0
    unrenewed: int = 0
    waiting: int = 0
    by_hand: int = 0
    payments: int = 0
    unreachable: int = 0

    def __add__(self, other: SettlementReport) -> SettlementReport:
        names = [field.name for field in fields(self)]
        return SettlementReport(*(getattr(self, name) + getattr(other, name) for name in names))


class Settlement:
    """Runs at start and every 15 s in the process that hosts the libraries; several may run at
    once.

    Args:
        apart: how long two "not on loan" answers must lie apart.
        lease: how long a row belongs to the worker that took it.
        margin: how long after the ILS was asked the claim of a renewal ends.
        patience: how long one run waits for a library whose ILS hangs; the next run leaves it
            alone until it has come back.
    """

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        ledger: Ledger,
        payments: PaymentStore,
        tasks: TaskStore,
        now: Clock,
        apart: timedelta = timedelta(seconds=180),
        lease: timedelta = timedelta(seconds=10),
        margin: timedelta = timedelta(seconds=20),
        patience: timedelta = timedelta(seconds=30),
    ) -> None:
        self._libraries = libraries
        self._adapters = adapters
        self._ledger = ledger
        self._payments = payments
        self._tasks = UnsettledTasks(tasks, ledger)
        self._now = now
        self._apart = apart
        self._lease = lease
        self._margin = margin
        self._patience_s = patience.total_seconds()
        self._running: dict[InstitutionId, _Run] = {}
        self._turn = threading.Lock()

    def run_once(self) -> SettlementReport:
        """Settle what can be settled now, in every library."""
        now = self._now()
        total = SettlementReport(payments=self._payments.expire_asked(now))
        self._ledger.expire_asked(now)
        with self._turn:
            runs = [run for code in self._libraries if (run := self._begin(code)) is not None]
        for run in runs:
            run.join(self._patience_s)
            total += run.result()
        return total

    def _begin(self, code: InstitutionId) -> _Run | None:
        """Settle one library in a thread of its own; None = there is nothing to do."""
        before = self._running.get(code)
        if before is not None and before.is_alive():
            return None
        self._tasks.close_settled(code)
        now = self._now()
        loans = self._ledger.lease_unknown(code, now, lease=self._lease)
        claims = self._ledger.lease_renewals(code, now, lease=self._lease)
        if not loans and not claims:
            return None
        run = _Run(lambda: self._settle_library(code, loans, claims))
        self._running[code] = run
        run.start()
        return run

    def _settle_library(
        self, code: InstitutionId, loans: Sequence[Loan], claims: Sequence[ClaimedRenewal]
    ) -> SettlementReport:
        adapter = self._adapters[code]
        report = SettlementReport()
        if Capability.FETCH_ITEM_LOAN not in adapter.capabilities:
            for loan in (*loans, *(claim.loan for claim in claims)):
                self._tasks.open(loan)
            return SettlementReport(by_hand=len(loans) + len(claims))
        steps = [(loan, loan.asked_at, partial(self._settle, adapter, loan)) for loan in loans]
        steps += [
            (claim.loan, claim.until, partial(self._settle_renewal, adapter, claim))
            for claim in claims
        ]
        failures = 0
        for loan, since, step in steps:
            try:
                report += step()
                failures = 0
            except (StorageConflict, StorageUnavailable):
                raise
            except Exception as err:  # noqa: BLE001 - one adapter must not keep other libraries waiting
                failures += 1
                if failures >= _FAILURES_IN_A_ROW or not _is_about_it(err, adapter):
                    self._ledger.forget_absent(code)
                    _log.warning("settlement.ils_away", institution=code, error=type(err).__name__)
                    return report + SettlementReport(unreachable=1)
                self._ledger.forget_absent(code, loan_id=loan.loan_id)
                _log.warning("settlement.not_told", institution=code, error=type(err).__name__)
                report += self._wait(loan, since=since)
                if not isinstance(err, AdapterError):
                    report += SettlementReport(unreachable=1)
        return report

    def _settle(self, adapter: IlsAdapter, loan: Loan) -> SettlementReport:
        now_with = adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron)
        if now_with is not None and now_with.patron is None:
            return self._wait(loan, since=loan.asked_at)
        if now_with is not None and now_with.patron == loan.ils_patron:
            self._ledger.record_open(
                loan.loan_id,
                self._place(loan),
                due=now_with.due,
                disputed=True,
                renewals=now_with.renewals,
            )
            _log.info("loan.settled", loan_id=loan.loan_id, outcome="disputed")
            return SettlementReport(opened=1)
        now = self._now()
        if loan.first_absent_at is None:
            self._ledger.note_absent(loan.loan_id, now)
            return SettlementReport(waiting=1)
        if now - loan.first_absent_at < self._apart:
            return SettlementReport(waiting=1)
        self._ledger.record_refused(loan.loan_id, self._place(loan), reason="not_on_loan")
        _log.info("loan.settled", loan_id=loan.loan_id, outcome="released")
        return SettlementReport(released=1)

    def _settle_renewal(self, adapter: IlsAdapter, claim: ClaimedRenewal) -> SettlementReport:
        loan = claim.loan
        library = self._libraries[loan.lender]
        now_with = adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron)
        match compare_loan(loan, now_with, library):
            case Since.RENEWED:
                assert now_with is not None  # noqa: S101 - nothing else is a renewal
                at = claim.until - self._margin
                self._ledger.record_renewal(
                    loan.loan_id,
                    Place(loan.lender, at, library.today(at)),
                    due=now_with.due,
                    renewals=max(now_with.renewals or 0, loan.renewals + 1),
                )
                _log.info("renewal.settled", loan_id=loan.loan_id, outcome="renewed")
                return SettlementReport(renewed=1)
            case Since.UNCLEAR:
                return self._wait(loan, since=claim.until)
        now = self._now()
        if loan.first_absent_at is None:
            self._ledger.note_unrenewed(loan.loan_id, now)
            return SettlementReport(waiting=1)
        if now - loan.first_absent_at < self._apart:
            return SettlementReport(waiting=1)
        self._ledger.release_renewal(loan.loan_id, until=claim.until)
        _log.info("renewal.settled", loan_id=loan.loan_id, outcome="not_renewed")
        return SettlementReport(unrenewed=1)

    def _wait(self, loan: Loan, *, since: datetime) -> SettlementReport:
        """The ILS answers and says nothing clear: ask on, and after an hour a person."""
        if self._now() - since < _TASK_AFTER:
            return SettlementReport(waiting=1)
        self._tasks.open(loan)
        return SettlementReport(by_hand=1)

    def _place(self, loan: Loan) -> Place:
        """Return where the checkout was made: it is dated with the moment of the request."""
        library = self._libraries[loan.lender]
        return Place(
            institution=loan.lender,
            at=loan.asked_at,
            local_date=library.today(loan.asked_at),
            branch=loan.branch,
            terminal=loan.terminal,
        )


def _is_about_it(err: Exception, adapter: IlsAdapter) -> bool:
    """Say whether the ILS is there, and it was the item that it stumbled over."""
    is_away = isinstance(err, AdapterAuthFailed) or (
        isinstance(err, AdapterUnavailable) and not err.answered
    )
    if is_away:
        return False
    try:
        adapter.ping()
    except Exception:  # noqa: BLE001 - whatever an adapter raises
        return False
    return True


class _Run(threading.Thread):
    """One library being settled; a daemon, so that an ILS that hangs stops no process."""

    def __init__(self, work: Callable[[], SettlementReport]) -> None:
        super().__init__(name="settlement", daemon=True)
        self._work = work
        self._report = SettlementReport()
        self._error: Exception | None = None

    def run(self) -> None:
        """Settle."""
        try:
            self._report = self._work()
        except Exception as err:  # noqa: BLE001 - told by ``result``, in the caller's thread
            self._error = err

    def result(self) -> SettlementReport:
        """Return the report; of one that is not done, that its ILS cannot be asked."""
        if self.is_alive():
            return SettlementReport(unreachable=1)
        if self._error is not None:
            raise self._error
        return self._report
