"""Removing what is older than its time (``connector.ports.privacy``).

Nothing here knows how long what is kept; the settings do. Rules —

- each call removes one lot in one audited transaction, so that a run that was killed goes on where
  it stopped;
- a loan that is not closed keeps its person, however old it is;
- of the audit log only whole chains go, when their last entry is older, and each from its end:
  what stays verifies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    true,
    tuple_,
    update,
)

from connector.domain.ids import PatronId
from connector.domain.loan import UNCLOSED
from connector.errors import StorageConflict
from connector.ports.privacy import Due, RetentionRule
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.erasing import erase_rows
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["IS_UNCLOSED", "StoredRetention", "has_unclosed_loan"]

_LOAN, _EVENT, _PERSON, _AUDIT = tables.loan, tables.event, tables.person, tables.audit
_LOAN_ENDED: ColumnElement[datetime] = func.coalesce(_LOAN.c.closed_at, _LOAN.c.changed_at)
IS_UNCLOSED: ColumnElement[bool] = _LOAN.c.state.in_([state.value for state in UNCLOSED])
"""The condition on a row of ``loan``."""


def has_unclosed_loan() -> ColumnElement[bool]:
    """Return the condition on a row of ``person``."""
    return exists().where(_LOAN.c.person_id == _PERSON.c.person_id, IS_UNCLOSED)


@dataclass(frozen=True, slots=True)
class _Overdue:
    """Which rows of a table are older than a moment."""

    table: Table
    since: ColumnElement[datetime]
    condition: ColumnElement[bool]
    order: tuple[ColumnElement[Any], ...] = ()

    def keys(self, limit: int) -> Select[Any]:
        """Return the keys of some of them."""
        key = self.table.primary_key.columns
        return select(*key).where(self.condition).order_by(*self.order).limit(limit)


class StoredRetention:
    """The part of ``PrivacyStore`` that removes what is older."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def count_due(self, rule: RetentionRule, before: datetime) -> Due:
        """Count what is older."""
        overdue = _overdue(rule, before)
        query = (
            select(func.count(), func.min(overdue.since))
            .select_from(overdue.table)
            .where(overdue.condition)
        )
        with self._work.database.read() as connection:
            count, oldest = connection.execute(query).one()
            of = 0
            if count:
                population = _population(rule, overdue.table)
                whole = select(func.count()).select_from(overdue.table).where(population)
                of = connection.scalar(whole) or 0
        return Due(rule, count, oldest, of)

    def overwrite_deleted(self) -> bool:
        """Overwrite what was deleted, where the database keeps it; say whether it was done."""
        try:
            return self._work.database.overwrite_deleted()
        except StorageConflict:
            return False

    @retry_once
    def remove_due(self, rule: RetentionRule, before: datetime, *, limit: int, actor: str) -> int:
        """Remove up to ``limit`` of what is older; return how many."""
        with self._work.begin() as unit:
            removed = _remove(unit, rule, before, limit, actor)
            if removed:
                detail = {"rule": rule.value, "count": removed}
                unit.audit("retention.removed", actor=actor, detail=detail)
        return removed


def _overdue(rule: RetentionRule, before: datetime) -> _Overdue:
    if rule is RetentionRule.LOANS:
        return _Overdue(_LOAN, _LOAN_ENDED, and_(not_(IS_UNCLOSED), before > _LOAN_ENDED))
    if rule is RetentionRule.EVENTS:
        kept_loan = exists().where(
            _LOAN.c.loan_id == _EVENT.c.loan_id, or_(IS_UNCLOSED, before <= _LOAN_ENDED)
        )
        is_old = and_(_EVENT.c.person_id.is_not(None), _EVENT.c.at < before)
        return _Overdue(_EVENT, _EVENT.c.at, and_(is_old, not_(kept_loan)))
    if rule is RetentionRule.CLOSED_PEOPLE:
        is_closed = and_(
            _PERSON.c.closing != "",
            _PERSON.c.closing_step == "",
            _PERSON.c.closing_at < before,
            _PERSON.c.erased_at.is_(None),
        )
        return _Overdue(_PERSON, _PERSON.c.closing_at, and_(is_closed, not_(has_unclosed_loan())))
    if rule is RetentionRule.ERASED_PEOPLE:
        is_named = or_(
            exists().where(_LOAN.c.person_id == _PERSON.c.person_id),
            exists().where(_EVENT.c.person_id == _PERSON.c.person_id),
        )
        return _Overdue(
            _PERSON, _PERSON.c.erased_at, and_(_PERSON.c.erased_at < before, not_(is_named))
        )
    if rule is RetentionRule.AUDIT:
        later = _AUDIT.alias()
        is_living = exists().where(later.c.chain_id == _AUDIT.c.chain_id, later.c.at >= before)
        # From the end of a chain: what is left of it verifies when the run is killed between.
        order = (_AUDIT.c.chain_id, _AUDIT.c.seq.desc())
        return _Overdue(_AUDIT, _AUDIT.c.at, and_(_AUDIT.c.at < before, not_(is_living)), order)
    table, column = {
        RetentionRule.REFUSALS: (tables.refusal, tables.refusal.c.refused_at),
        RetentionRule.OUTBOX: (tables.outbox, tables.outbox.c.sent_at),
        RetentionRule.DEFERRED: (tables.deferred, tables.deferred.c.done_at),
        RetentionRule.PAYMENTS: (tables.payment, tables.payment.c.settled_at),
        RetentionRule.TASKS: (tables.task, tables.task.c.done_at),
    }[rule]
    return _Overdue(table, column, column < before)


def _population(rule: RetentionRule, table: Table) -> ColumnElement[bool]:
    """Return the condition on what a rule is about, old or not."""
    if rule is RetentionRule.EVENTS:
        return table.c.person_id.is_not(None)
    if rule is RetentionRule.CLOSED_PEOPLE:
        return table.c.erased_at.is_(None)
    return true()


def _remove(unit: UnitOfWork, rule: RetentionRule, before: datetime, limit: int, actor: str) -> int:
    overdue = _overdue(rule, before)
    # SQLite has the whole database; elsewhere nobody may change what was looked at.
    query = overdue.keys(limit).with_for_update(of=overdue.table, skip_locked=True)
    keys = [tuple(row) for row in unit.connection.execute(query).all()]
    if not keys:
        return 0
    columns = list(overdue.table.primary_key.columns)
    chosen = (
        columns[0].in_([key[0] for key in keys])
        if len(columns) == 1
        else tuple_(*columns).in_(keys)
    )
    if rule is RetentionRule.CLOSED_PEOPLE:
        for (person_id,) in keys:
            home = person_rows.home_of(unit, PatronId(person_id))
            erase_rows(unit, PatronId(person_id))
            unit.audit(
                "person.erased",
                actor=actor,
                subject=person_id,
                detail={"reason": "retention"},
                institution=home,
            )
    elif rule is RetentionRule.EVENTS:
        unit.connection.execute(update(_EVENT).where(chosen).values(person_id=None))
    else:
        if rule is RetentionRule.LOANS:
            loans = [key[0] for key in keys]
            unit.connection.execute(
                update(_EVENT).where(_EVENT.c.loan_id.in_(loans)).values(person_id=None)
            )
        unit.connection.execute(delete(overdue.table).where(chosen))
    return len(keys)
