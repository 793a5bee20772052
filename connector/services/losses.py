"""Lost items: what a person of the library says about a loan (scenario 43).

Nothing here counts money, and nothing is decided by code. Rules (decision 6) —

- a lost item keeps its quota place, and counts as a violation, until the library has settled it;
- it is settled in the library's own system first: while the ILS still lists the loan, it would be
  taken over again at the next exchange;
- an item that turns up is simply returned, or goes on being on loan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.domain.loan import Loan, LoanState
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.ledger import Ledger, Place

__all__ = ["LossOutcome", "LossService"]

_log = get_logger(__name__)


class LossOutcome(StrEnum):
    """What became of it."""

    DONE = "done"
    WRONG_STATE = "wrong_state"
    STILL_IN_ILS = "still_in_ils"


@dataclass(frozen=True, slots=True)
class LossService:
    """Losses at every library of the process."""

    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    ledger: Ledger
    now: Clock

    def declare(self, loan: Loan, state: LoanState, *, actor: str) -> LossOutcome:
        """Say that the item is ``lost``, ``claimed_returned``, or after all still ``open``."""
        moved = self.ledger.record_loss(loan.loan_id, state, self._place(loan), actor=actor)
        return self._report(moved, state)

    def settle(self, loan: Loan, *, actor: str) -> LossOutcome:
        """Say that the library has settled a lost item; its place in the quota is free again.

        Raises:
            AdapterError: the ILS cannot be asked whether it still lists the loan.
        """
        adapter = self.adapters.get(loan.lender)
        if (
            loan.state is LoanState.LOST
            and adapter is not None
            and Capability.FETCH_ITEM_LOAN in adapter.capabilities
        ):
            found = adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron)
            if found is not None and found.patron in {None, loan.ils_patron}:
                return LossOutcome.STILL_IN_ILS
        moved = self.ledger.record_compensated(loan.loan_id, self._place(loan), actor=actor)
        return self._report(moved, LoanState.COMPENSATED)

    def _report(self, moved: Loan | None, state: LoanState) -> LossOutcome:
        if moved is None:
            return LossOutcome.WRONG_STATE
        _log.info("loan.declared", loan_id=moved.loan_id, outcome=state.value)
        return LossOutcome.DONE

    def _place(self, loan: Loan) -> Place:
        now = self.now()
        library = self.libraries[loan.lender]
        return Place(institution=loan.lender, at=now, local_date=library.today(now))
