"""The ledger of a standalone library: the parts put together (``connector.ports.ledger.Ledger``).

Nothing here has a rule of its own: reading is ``loan_rows``, T1 ``loan_asking``, T2
``loan_outcomes`` and ``loan_returns``, what staff say ``loan_losses``, the rest
``loan_reconciling`` and ``loan_settling``.
"""

from __future__ import annotations

from connector.storage.repositories.loan_asking import LoanAsking
from connector.storage.repositories.loan_losses import LoanLosses
from connector.storage.repositories.loan_outcomes import LoanOutcomes
from connector.storage.repositories.loan_reconciling import LoanReconciling
from connector.storage.repositories.loan_returns import LoanReturns
from connector.storage.repositories.loan_rows import LoanReads
from connector.storage.repositories.loan_settling import LoanSettling
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredLedger"]


class StoredLedger(
    LoanReads, LoanAsking, LoanOutcomes, LoanReturns, LoanLosses, LoanReconciling, LoanSettling
):
    """Loans in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        super().__init__(work.database)
        self._work = work
