"""T1: taking a place in the quota, and claiming a renewal, before the ILS is asked.

Nothing here talks to an ILS or records its answer. Rules (decisions 7, 8) —

- counting and inserting happen under one lock: SQLite's write lock, on PostgreSQL the person's row
  in ``patron_quota``;
- one unclosed row per item is kept by a unique index, whoever asks;
- nothing is written unless the answer is ``Asked``, but for a stale loan that the caller names.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from connector.domain.circulation import Quota
from connector.domain.ids import LoanId
from connector.domain.item import LanguageClass
from connector.domain.loan import LoanState
from connector.errors import StorageConflict
from connector.ports.ledger import AlreadyHere, Asked, AskLoan, NoPlace, TakenByOther
from connector.storage import tables
from connector.storage.repositories.loan_journal import change_loan
from connector.storage.repositories.loan_returns import supersede_row
from connector.storage.repositories.loan_rows import UNCLOSED_SQL, lock_item, lock_loan
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["LoanAsking", "insert_loan", "lock_quota"]

_COUNT = (
    "SELECT COUNT(*), COALESCE(SUM(CASE WHEN language = 'foreign' THEN 1 ELSE 0 END), 0) "  # noqa: S608
    f"FROM loan WHERE person_id = ? AND {UNCLOSED_SQL}"
)
_COUNT_AWAY = (
    "SELECT COUNT(*) FROM loan WHERE person_id = ? AND origin = 'offline' "  # noqa: S608
    f"AND loan.{UNCLOSED_SQL} AND (loan.state IN ('asked', 'unknown') OR EXISTS "
    "(SELECT 1 FROM deferred WHERE deferred.loan_id = loan.loan_id "
    "AND deferred.verb = 'checkout' AND deferred.state = 'waiting'))"
)
"""Loans that were made without the ILS and that it has not heard of."""
_LOCK_QUOTA = "SELECT person_id FROM patron_quota WHERE person_id = ?"


def lock_quota(unit: UnitOfWork, patron_id: str, institution: str) -> None:
    """Keep others from counting this patron's loans until the commit."""
    if unit.is_sqlite or unit.fetch(_LOCK_QUOTA, (patron_id,), lock="patron_quota"):
        return
    row = {"person_id": patron_id, "institution": institution, "asked_at": unit.now}
    unit.insert_or_ignore(tables.patron_quota, row)
    unit.fetch(_LOCK_QUOTA, (patron_id,), lock="patron_quota")


def insert_loan(unit: UnitOfWork, values: dict[str, object]) -> bool:
    """Insert a loan unless its item has an unclosed one; say whether it went in."""
    return unit.insert_or_ignore(tables.loan, {"changed_at": unit.now} | values)


class LoanAsking:
    """The asking part of the ledger."""

    _work: UnitOfWorkFactory

    @retry_once
    def ask(self, request: AskLoan) -> Asked | AlreadyHere | TakenByOther | NoPlace:
        """Take a place in the quota, atomically."""
        item, place = request.item, request.place
        with self._work.begin() as unit:
            lock_quota(unit, request.patron_id, place.institution)
            present = lock_item(unit, item)
            if present is not None and present.loan.loan_id == request.supersede:
                present = None if supersede_row(unit, present, place) else present
            if present is not None:
                same = present.loan.patron_id == request.patron_id
                return AlreadyHere(present.loan) if same else TakenByOther(present.loan)
            refusal = _count_places(unit, request)
            if refusal is not None:
                return refusal
            loan_id = LoanId(str(uuid.uuid4()))
            inserted = insert_loan(
                unit,
                {
                    "loan_id": loan_id,
                    "person_id": request.patron_id,
                    "owner": item.owner,
                    "barcode": item.barcode,
                    "institution": request.lender,
                    "ils_patron": request.ils_patron,
                    "state": LoanState.ASKED.value,
                    "language": request.language.value,
                    "clc_class": request.clc_class,
                    "branch": place.branch,
                    "terminal": place.terminal,
                    "terminal_kind": place.kind,
                    "origin": request.origin.value,
                    "asked_at": unit.now,
                    "expires_at": request.expires_at,
                    "over_limit": request.over_limit,
                    "policy_version": request.policy_version,
                    "test": place.test,
                },
            )
            row = lock_loan(unit, loan_id) if inserted else lock_item(unit, item)
            if row is None:
                raise StorageConflict("item")
            return Asked(row.loan) if inserted else TakenByOther(row.loan)

    @retry_once
    def ask_renewal(self, loan_id: LoanId, *, renewals: int, until: datetime) -> bool:
        """Claim the next renewal of an open loan; False when it has no such state or claim."""
        with self._work.begin() as unit:
            row = lock_loan(unit, loan_id)
            if row is None or row.loan.state not in {LoanState.OPEN, LoanState.DISPUTED}:
                return False
            if row.loan.renewals != renewals:
                return False
            if row.renewal_until is not None:
                return False
            change_loan(unit, loan_id, renewal_until=until, first_absent_at=None, lease_until=None)
            return True

    @retry_once
    def release_renewal(self, loan_id: LoanId, *, until: datetime | None = None) -> None:
        """Give up the claim: the ILS refused, was never asked, or has not renewed."""
        with self._work.begin() as unit:
            row = lock_loan(unit, loan_id)
            if row is None or row.renewal_until is None:
                return
            if until is None or row.renewal_until == until:
                change_loan(
                    unit, loan_id, renewal_until=None, first_absent_at=None, lease_until=None
                )


def _count_places(unit: UnitOfWork, request: AskLoan) -> NoPlace | None:
    if request.away_limit is not None:
        (without_ils,) = unit.fetch(_COUNT_AWAY, (request.patron_id,))[0]
        if int(without_ils) >= request.away_limit:
            return NoPlace(Quota(total=int(without_ils), foreign=0), foreign=False, away=True)
    if request.limit is None and request.foreign_limit is None:
        return None
    rows, foreign = unit.fetch(_COUNT, (request.patron_id,))[0]
    quota = Quota(total=int(rows) + request.uncounted, foreign=int(foreign))
    if request.limit is not None and quota.total >= request.limit:
        return NoPlace(quota, foreign=False)
    if (
        request.foreign_limit is not None
        and request.language is LanguageClass.FOREIGN
        and quota.foreign >= request.foreign_limit
    ):
        return NoPlace(quota, foreign=True)
    return None
