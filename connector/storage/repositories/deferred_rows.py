"""Rows of the queue for an ILS that is away: how one is added with its event, and how it is read.

Nothing here changes a row; ``deferred`` does. Rule: a row is added in the transaction of the event
that it is about.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, insert, select, update

from connector.domain.ids import (
    Barcode,
    BranchId,
    IlsPatronId,
    InstitutionId,
    ItemId,
    LoanId,
    PatronId,
    TerminalId,
)
from connector.ports.deferred import Deferral, DeferredState, DeferredVerb, DeferredWork
from connector.ports.ledger import Place
from connector.storage import tables
from connector.storage.unit_of_work import UnitOfWork

__all__ = [
    "add_work",
    "drop_question",
    "ends_with_return",
    "of_item",
    "read_work",
    "release_question",
    "select_work",
]

_WORK = tables.deferred
_LOAN = tables.loan


def of_item(item: ItemId) -> ColumnElement[bool]:
    """Return the condition that a row is about an item."""
    return (_WORK.c.owner == item.owner) & (_WORK.c.barcode == item.barcode)


def ends_with_return(unit: UnitOfWork, institution: str, item: ItemId) -> bool:
    """Say whether the last that waits about an item is its return: a repeat adds nothing."""
    last = unit.connection.scalar(
        select(_WORK.c.verb)
        .where(_WORK.c.institution == institution, of_item(item))
        .where(_WORK.c.state == DeferredState.WAITING.value)
        .where(_WORK.c.verb != DeferredVerb.CONFIRM_RETURN.value)
        .order_by(_WORK.c.seq.desc())
        .limit(1)
    )
    return last == DeferredVerb.CHECKIN.value


def _is_question(institution: str, item: ItemId) -> ColumnElement[bool]:
    return (
        (_WORK.c.institution == institution)
        & of_item(item)
        & (_WORK.c.state == DeferredState.WAITING.value)
        & (_WORK.c.verb == DeferredVerb.CONFIRM_RETURN.value)
    )


def release_question(
    unit: UnitOfWork, institution: str, item: ItemId, *, not_before: datetime | None
) -> bool:
    """Say whether the ILS is to be asked already what became of the item's return, and from when
    on it may be.
    """
    found = unit.connection.execute(
        update(_WORK).where(_is_question(institution, item)).values(lease_until=not_before)
    )
    return found.rowcount > 0


def drop_question(unit: UnitOfWork, institution: str, item: ItemId) -> None:
    """Take the question back: its answer is known."""
    unit.connection.execute(delete(_WORK).where(_is_question(institution, item)))


def add_work(
    unit: UnitOfWork,
    deferral: Deferral,
    item: ItemId,
    place: Place,
    *,
    occurred_at: datetime,
    loan_id: str | None,
) -> int:
    """Add a row within the unit of work of its event; return its number."""
    seq = unit.connection.scalar(
        insert(_WORK)
        .values(
            institution=deferral.institution,
            verb=deferral.verb.value,
            owner=item.owner,
            barcode=item.barcode,
            loan_id=loan_id,
            occurred_at=occurred_at,
            recorded_at=unit.now,
            branch=place.branch,
            terminal=place.terminal,
            terminal_kind=place.kind,
            state=DeferredState.WAITING.value,
            sent_at=deferral.sent_at,
            lease_until=deferral.not_before,
        )
        .returning(_WORK.c.seq)
    )
    if deferral.verb is not DeferredVerb.CONFIRM_RETURN:  # every return asks, for a moment
        unit.audit(
            "deferred.added",
            actor=place.terminal or "worker",
            subject=loan_id or "",
            detail={"verb": deferral.verb.value},
            institution=deferral.institution,
        )
    assert seq is not None  # noqa: S101 - a row was inserted
    return int(seq)


def select_work() -> Select[Any]:
    """Return the query of whole rows, with whose loan it is."""
    return select(_WORK, _LOAN.c.person_id, _LOAN.c.ils_patron).outerjoin(
        _LOAN, _LOAN.c.loan_id == _WORK.c.loan_id
    )


def read_work(row: Row[Any]) -> DeferredWork:
    """Return a row of ``select_work`` as a value."""
    return DeferredWork(
        seq=row.seq,
        institution=InstitutionId(row.institution),
        verb=DeferredVerb(row.verb),
        item=ItemId(InstitutionId(row.owner), Barcode(row.barcode)),
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at,
        state=DeferredState(row.state),
        loan_id=None if row.loan_id is None else LoanId(row.loan_id),
        patron_id=None if row.person_id is None else PatronId(row.person_id),
        ils_patron=IlsPatronId(row.ils_patron) if row.ils_patron else None,
        branch=None if row.branch is None else BranchId(row.branch),
        terminal=None if row.terminal is None else TerminalId(row.terminal),
        kind=row.terminal_kind,
        reason=row.reason,
        sent_at=row.sent_at,
        first_absent_at=row.first_absent_at,
        attempts=row.attempts,
        tried_at=row.tried_at,
        done_at=row.done_at,
        done_by=row.done_by,
    )
