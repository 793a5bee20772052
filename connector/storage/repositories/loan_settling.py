"""Rows without an answer: ageing, leasing, and what settlement hears about them.

Nothing here asks an ILS; ``connector.services.settlement`` does. Rules: decisions 7 and 10.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from connector.domain.ids import InstitutionId, LoanId
from connector.domain.loan import Loan, LoanState
from connector.ports.ledger import ClaimedRenewal
from connector.storage import tables
from connector.storage.engine import parse_moment
from connector.storage.repositories.loan_journal import change_loan
from connector.storage.repositories.loan_outcomes import require_loan
from connector.storage.repositories.loan_rows import COLUMNS, read_loan
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["LoanSettling"]

_LOAN = tables.loan.c
_LENT = (LoanState.OPEN.value, LoanState.DISPUTED.value)
_UNSETTLED = (
    f"SELECT {COLUMNS} FROM loan WHERE institution = ? "  # noqa: S608
    "AND state IN ('asked', 'unknown', 'disputed') ORDER BY asked_at, loan_id"
)
_CLAIMS = (
    f"SELECT {COLUMNS}, renewal_until FROM loan "  # noqa: S608
    "WHERE institution = ? AND renewal_until IS NOT NULL ORDER BY renewal_until, loan_id"
)


class LoanSettling:
    """The part of the ledger that settlement works with."""

    _work: UnitOfWorkFactory

    @retry_once
    def expire_asked(self, now: datetime) -> int:
        """Turn ``asked`` rows past their time into ``unknown``; return how many."""
        expired = (_LOAN.state == LoanState.ASKED.value) & (_LOAN.expires_at <= now)
        with self._work.database.read() as connection:
            if connection.execute(select(_LOAN.loan_id).where(expired).limit(1)).first() is None:
                return 0
        with self._work.begin() as unit:
            rows = unit.connection.execute(
                update(tables.loan)
                .where(expired)
                .values(state=LoanState.UNKNOWN.value, changed_at=unit.now)
                .returning(_LOAN.loan_id, _LOAN.institution)
            ).all()
            for loan_id, institution in rows:
                unit.audit("loan.unknown", actor="worker", subject=loan_id, institution=institution)
            return len(rows)

    @retry_once
    def lease_unknown(
        self, lender: InstitutionId, now: datetime, *, lease: timedelta, limit: int = 50
    ) -> tuple[Loan, ...]:
        """Lease ``unknown`` rows; another worker does not see them until the lease ends.

        Those that were left alone longest come first, so that rows which stay unknown for long
        keep nobody else waiting.
        """
        due = (
            (_LOAN.institution == lender)
            & (_LOAN.state == LoanState.UNKNOWN.value)
            & (_LOAN.lease_until.is_(None) | (_LOAN.lease_until <= now))
        )
        longest_left_alone = func.coalesce(_LOAN.lease_until, _LOAN.asked_at)
        waiting = select(_LOAN.loan_id).where(due).order_by(longest_left_alone).limit(limit)
        with self._work.database.read() as connection:
            if connection.execute(waiting.limit(1)).first() is None:
                return ()
        with self._work.begin() as unit:
            ids = unit.connection.scalars(waiting.with_for_update(skip_locked=True)).all()
            unit.connection.execute(
                update(tables.loan).where(_LOAN.loan_id.in_(ids)).values(lease_until=now + lease)
            )
            return tuple(require_loan(unit, loan_id).loan for loan_id in ids)

    def list_unsettled(self, lender: InstitutionId) -> tuple[Loan, ...]:
        """Return loans that are asked, unknown or disputed, oldest first."""
        return tuple(read_loan(row) for row in self._work.database.fetch(_UNSETTLED, (lender,)))

    @retry_once
    def lease_renewals(
        self, lender: InstitutionId, now: datetime, *, lease: timedelta, limit: int = 50
    ) -> tuple[ClaimedRenewal, ...]:
        """Lease claims of renewals that are past their time."""
        due = (
            (_LOAN.institution == lender)
            & _LOAN.state.in_(_LENT)
            & (_LOAN.renewal_until <= now)
            & (_LOAN.lease_until.is_(None) | (_LOAN.lease_until <= now))
        )
        longest_left_alone = func.coalesce(_LOAN.lease_until, _LOAN.renewal_until)
        waiting = select(_LOAN.loan_id).where(due).order_by(longest_left_alone).limit(limit)
        with self._work.database.read() as connection:
            if connection.execute(waiting.limit(1)).first() is None:
                return ()
        with self._work.begin() as unit:
            ids = unit.connection.scalars(waiting.with_for_update(skip_locked=True)).all()
            unit.connection.execute(
                update(tables.loan).where(_LOAN.loan_id.in_(ids)).values(lease_until=now + lease)
            )
            rows = [require_loan(unit, loan_id) for loan_id in ids]
            return tuple(
                ClaimedRenewal(row.loan, row.renewal_until)
                for row in rows
                if row.renewal_until is not None
            )

    def list_claims(self, lender: InstitutionId) -> tuple[ClaimedRenewal, ...]:
        """Return every renewal that is claimed, oldest first."""
        claims = []
        for row in self._work.database.fetch(_CLAIMS, (lender,)):
            until = parse_moment(row[-1])
            if until is not None:
                claims.append(ClaimedRenewal(read_loan(row), until))
        return tuple(claims)

    @retry_once
    def note_unrenewed(self, loan_id: LoanId, now: datetime) -> Loan:
        """Remember when settlement first saw the loan as it was before a claimed renewal."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.renewal_until is None or row.loan.first_absent_at is not None:
                return row.loan
            change_loan(unit, loan_id, first_absent_at=now)
            return require_loan(unit, loan_id).loan

    @retry_once
    def note_absent(self, loan_id: LoanId, now: datetime) -> Loan:
        """Remember when settlement first heard "not on loan"."""
        with self._work.begin() as unit:
            row = require_loan(unit, loan_id)
            if row.loan.state is not LoanState.UNKNOWN or row.loan.first_absent_at is not None:
                return row.loan
            change_loan(unit, loan_id, first_absent_at=now)
            return require_loan(unit, loan_id).loan

    @retry_once
    def forget_absent(self, lender: InstitutionId, *, loan_id: LoanId | None = None) -> None:
        """Forget earlier answers "not on loan" and "not renewed": the ILS was away since."""
        only = () if loan_id is None else (_LOAN.loan_id == loan_id,)
        # Two statements: each has a partial index.
        unsettled = (_LOAN.state == LoanState.UNKNOWN.value, _LOAN.renewal_until.is_not(None))
        with self._work.begin() as unit:
            for condition in unsettled:
                unit.connection.execute(
                    update(tables.loan)
                    .where(_LOAN.institution == lender, condition, *only)
                    .where(_LOAN.first_absent_at.is_not(None))
                    .values(first_absent_at=None)
                )
