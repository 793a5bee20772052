"""Settlement: find out what became of checkouts whose outcome is unknown, by asking the ILS.

Nothing here lends. Rules: decisions 7 and 10; scenarios 12–14 —

- an ``asked`` row that outlives its time becomes ``unknown`` and keeps its quota place;
- the ILS shows the item with the patron: the loan is real; the kiosk was told no, so it is
  ``disputed``;
- "not on loan" twice, at least 180 s apart, with the ILS answering in between: the place is
  released. A live ILS was seen applying a checkout a minute after it had answered "no";
- an ILS that cannot be asked, whatever its adapter raises, makes earlier "not on loan" answers
  worthless, and keeps no other library waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.domain.loan import Loan
from connector.errors import StorageConflict, StorageUnavailable
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.ledger import Ledger, Place

__all__ = ["Settlement", "SettlementReport"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """What one run did with the rows it leased."""

    opened: int = 0
    released: int = 0
    waiting: int = 0
    unreachable: int = 0

    def __add__(self, other: SettlementReport) -> SettlementReport:
        return SettlementReport(
            self.opened + other.opened,
            self.released + other.released,
            self.waiting + other.waiting,
            self.unreachable + other.unreachable,
        )


class Settlement:
    """Runs at start and every 15 s in the process that hosts the libraries; several may run at
    once.

    Args:
        apart: how long two "not on loan" answers must lie apart.
        lease: how long a row belongs to the worker that took it.
    """

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        ledger: Ledger,
        now: Clock,
        apart: timedelta = timedelta(seconds=180),
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        self._libraries = libraries
        self._adapters = adapters
        self._ledger = ledger
        self._now = now
        self._apart = apart
        self._lease = lease

    def run_once(self) -> SettlementReport:
        """Settle what can be settled now, in every library."""
        self._ledger.expire_asked(self._now())
        total = SettlementReport()
        for code in self._libraries:
            total += self._settle_library(code)
        return total

    def _settle_library(self, code: InstitutionId) -> SettlementReport:
        adapter = self._adapters[code]
        report = SettlementReport()
        if Capability.FETCH_ITEM_LOAN not in adapter.capabilities:
            return report
        for loan in self._ledger.lease_unknown(code, self._now(), lease=self._lease):
            try:
                report += self._settle(adapter, loan)
            except (StorageConflict, StorageUnavailable):
                raise
            except Exception as err:  # noqa: BLE001 - one adapter must not keep other libraries waiting
                self._ledger.forget_absent(code)
                _log.warning("settlement.ils_away", institution=code, error=type(err).__name__)
                return report + SettlementReport(unreachable=1)
        return report

    def _settle(self, adapter: IlsAdapter, loan: Loan) -> SettlementReport:
        now_with = adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron)
        if now_with is not None and now_with.patron is None:
            return SettlementReport(waiting=1)
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
