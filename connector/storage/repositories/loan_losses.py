"""Items that are lost, claimed as returned, found again or settled (scenario 43).

Nothing here asks an ILS, and no money is counted. Rules (decision 6): a lost item and one that is
claimed as returned keep their place in the quota; settling frees it; the library of the item has a
task until then, which ends by itself when the item is brought back.
"""

from __future__ import annotations

from datetime import datetime

from connector.domain.ids import ItemId, LoanId
from connector.domain.loan import ItemPosition, Loan, LoanState, can_move
from connector.ports.ledger import Place, Verb
from connector.ports.tasks import TaskKind
from connector.storage.repositories.loan_journal import change_loan, note_fact, note_move, put_item
from connector.storage.repositories.loan_outcomes import require_loan
from connector.storage.repositories.loan_rows import LoanRow
from connector.storage.repositories.tasks import finish_about, open_task
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["LoanLosses", "note_found"]

_VERBS = {
    LoanState.LOST: Verb.LOSE,
    LoanState.CLAIMED_RETURNED: Verb.CLAIM,
    LoanState.OPEN: Verb.FIND,
}


def note_found(unit: UnitOfWork, row: LoanRow, outcome: str, *, actor: str) -> None:
    """End the task about a lost item, when its loan ends or goes on."""
    if row.loan.state is LoanState.LOST:
        finish_about(
            unit,
            row.loan.item.owner,
            TaskKind.LOST_ITEM,
            about=row.loan.loan_id,
            outcome=outcome,
            actor=actor,
        )


class LoanLosses:
    """The part of the ledger that staff move by hand."""

    _work: UnitOfWorkFactory

    @retry_once
    def record_loss(
        self, loan_id: LoanId, state: LoanState, place: Place, *, actor: str
    ) -> Loan | None:
        """Move a loan to ``lost``, ``claimed_returned`` or back to ``open``; None = it may not."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state is state:
                return row.loan
            if state not in _VERBS or not can_move(row.loan.state, state):
                return None
            note_found(unit, row, state.value, actor=actor)
            change_loan(unit, loan_id, state=state.value, renewal_until=None)
            position = ItemPosition.LOST if state is LoanState.LOST else ItemPosition.ON_LOAN
            _put(unit, row.loan.item, position, row, unit.now)
            note_move(unit, _VERBS[state], place, row, state, message=f"loan.{state.value}")
            _audit(unit, row, state, actor)
            if state is LoanState.LOST:
                open_task(
                    unit,
                    row.loan.item.owner,
                    TaskKind.LOST_ITEM,
                    about=loan_id,
                    detail={"loan": loan_id, "item": str(row.loan.item)},
                    actor=actor,
                )
            return require_loan(unit, loan_id).loan

    @retry_once
    def record_compensated(self, loan_id: LoanId, place: Place, *, actor: str) -> Loan | None:
        """The library settled a lost item: ``lost`` → ``compensated`` → ``closed``; None = the
        loan is not lost.
        """
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state is LoanState.CLOSED:
                return row.loan
            if row.loan.state is not LoanState.LOST:
                return None
            note_found(unit, row, "compensated", actor=actor)
            for state in (LoanState.COMPENSATED, LoanState.CLOSED):
                change_loan(unit, loan_id, state=state.value, closed_at=place.at)
                _audit(unit, row, state, actor)
            if row.counted_at is not None:
                note_fact(unit, Verb.COMPENSATE, place, row)
            _put(unit, row.loan.item, ItemPosition.WITHDRAWN, row, unit.now)
            note_move(
                unit, Verb.COMPENSATE, place, row, LoanState.CLOSED, message="loan.compensated"
            )
            return require_loan(unit, loan_id).loan


def _put(
    unit: UnitOfWork, item: ItemId, position: ItemPosition, row: LoanRow, since: datetime
) -> None:
    put_item(
        unit,
        item,
        position,
        holder=row.loan.lender,
        branch=None,
        since=since,
        loan_id=row.loan.loan_id,
    )


def _audit(unit: UnitOfWork, row: LoanRow, state: LoanState, actor: str) -> None:
    unit.audit(
        f"loan.set_{state.value}",
        actor=actor,
        subject=row.loan.loan_id,
        institution=row.loan.lender,
    )
