"""Tasks about outcomes that no ILS can tell: one per loan, closed when the loan is settled.

Nothing here asks an ILS. Rules: a task that a person has finished without settling the loan is not
opened again; ``onecard ledger unknown`` and ``doctor`` still name the loan.
"""

from __future__ import annotations

from connector.domain.ids import InstitutionId, LoanId
from connector.domain.loan import Loan, LoanState
from connector.ports.ledger import Ledger
from connector.ports.tasks import TaskKind, TaskStore

__all__ = ["UnsettledTasks"]

_WORKER = "worker"
_PENDING = frozenset({LoanState.ASKED, LoanState.UNKNOWN})


class UnsettledTasks:
    """The tasks of every library of the process."""

    def __init__(self, tasks: TaskStore, ledger: Ledger) -> None:
        self._tasks = tasks
        self._ledger = ledger

    def open(self, loan: Loan) -> None:
        """Ask a person how a checkout ended, or a renewal of a loan that is open; once."""
        about = _about(loan)
        everything = self._tasks.list_tasks(
            loan.lender, kind=TaskKind.UNKNOWN_OUTCOME, include_done=True
        )
        if any(task.detail.get("about") == about for task in everything):
            return
        self._tasks.open_task(
            loan.lender,
            TaskKind.UNKNOWN_OUTCOME,
            about=about,
            patron_id=loan.patron_id,
            detail={
                "about": about,
                "loan": loan.loan_id,
                "what": "checkout" if loan.state in _PENDING else "renewal",
            },
            actor=_WORKER,
        )

    def finish(self, loan: Loan, outcome: str, *, actor: str) -> None:
        """End the task about a loan that a person has settled."""
        self._tasks.finish_about(
            loan.lender,
            TaskKind.UNKNOWN_OUTCOME,
            about=_about(loan),
            outcome=outcome,
            actor=actor,
        )

    def close_settled(self, code: InstitutionId) -> None:
        """End the tasks about loans that were settled meanwhile, by whatever way."""
        tasks = self._tasks.list_tasks(code, kind=TaskKind.UNKNOWN_OUTCOME)
        if not tasks:
            return
        claimed = {claim.loan.loan_id for claim in self._ledger.list_claims(code)}
        for task in tasks:
            what, loan_id = task.detail.get("what"), str(task.detail.get("loan", ""))
            if what not in {"checkout", "renewal"}:
                continue
            loan = self._ledger.fetch_loan(LoanId(loan_id))
            if loan is None:
                outcome = "gone"
            elif what == "checkout" and loan.state not in _PENDING:
                outcome = loan.state.value
            elif what == "renewal" and loan.loan_id not in claimed:
                outcome = "settled"
            else:
                continue
            self._tasks.finish_task(task.task_id, outcome=outcome, actor=_WORKER)


def _about(loan: Loan) -> str:
    """Return what makes it the same question: a later renewal of the same loan is another one."""
    return f"{loan.loan_id}:{loan.state.value}:{loan.renewals}"
