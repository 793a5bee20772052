"""Closings under way in the database (``connector.ports.closing.ClosingStore``).

Nothing here asks an ILS or erases. Rules: what ends at the beginning ends in one transaction; a
closing is claimed by the moment at which it was due, so that of two workers one gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    text,
    update,
)

from connector.domain.closing import ClosingReason, ClosingStep, is_stronger, standing_after
from connector.domain.enrolment import CLOSED_STATES, ApplicationState
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.ports.closing import Closing
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.loan_rows import UNCLOSED_SQL
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredClosings"]

_PERSON = tables.person.c
_ACCOUNT = tables.ils_account.c
_APPLICATION = tables.application.c
_CLOSED = [state.value for state in CLOSED_STATES]

_has_loans: ColumnElement[bool] = exists(
    select(tables.loan.c.loan_id).where(
        tables.loan.c.person_id == _PERSON.person_id, text(f"loan.{UNCLOSED_SQL}")
    )
)
_was_opened: ColumnElement[bool] = or_(
    exists(select(_ACCOUNT.person_id).where(_ACCOUNT.person_id == _PERSON.person_id)),
    exists(
        select(_APPLICATION.application_id).where(
            _APPLICATION.person_id == _PERSON.person_id, _APPLICATION.activating_at.is_not(None)
        )
    ),
)
_attempt_until = (
    select(func.max(_APPLICATION.lease_until))
    .where(_APPLICATION.person_id == _PERSON.person_id)
    .scalar_subquery()
)
_CLOSING = select(
    _PERSON.person_id,
    _PERSON.institution,
    _PERSON.closing,
    _PERSON.closing_step,
    _PERSON.closing_at,
    _PERSON.closing_next_at,
    _has_loans.label("has_loans"),
    _was_opened.label("was_opened"),
    _attempt_until.label("attempt_until"),
).where(text("person.closing_step <> ''"), _PERSON.erased_at.is_(None))


class StoredClosings:
    """``ClosingStore`` on SQLite or PostgreSQL."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work
        self._database = work.database

    @retry_once
    def begin_closing(
        self, patron_id: PatronId, reason: ClosingReason, *, today: date, actor: str
    ) -> bool:
        """End everything that a person has at the library, except his loans, at once."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            known, is_done = _reason_of(unit, patron_id)
            withdrew = _withdraw_application(unit, patron_id, reason, actor)
            ended = _end_membership(unit, patron_id, reason, today)
            begins = is_stronger(reason, known) or (is_done and withdrew)
            if begins:
                person_rows.change_person(
                    unit,
                    patron_id,
                    state=standing_after(reason).value,
                    closing=reason.value,
                    closing_at=unit.now,
                    closing_step=ClosingStep.BEGUN.value,
                    closing_next_at=unit.now,
                )
                unit.audit(
                    "closing.begun",
                    actor=actor,
                    subject=patron_id,
                    detail={"reason": reason.value},
                    institution=home,
                )
            return begins or ended or withdrew

    def list_closings(
        self, home: InstitutionId, now: datetime, *, limit: int = 200
    ) -> tuple[Closing, ...]:
        """Return closings with something to do now, those that waited longest first."""
        settled = and_(_PERSON.closing_step == ClosingStep.WAITING.value, not_(_has_loans))
        query = (
            _CLOSING.where(_PERSON.institution == home)
            .where(or_(_PERSON.closing_next_at <= now, settled))
            .order_by(_PERSON.closing_next_at, _PERSON.person_id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return _closings(connection, connection.execute(query).all())

    def find_closing(self, patron_id: PatronId) -> Closing | None:
        """Return a person's closing unless it is done."""
        query = _CLOSING.where(_PERSON.person_id == patron_id)
        with self._database.read() as connection:
            found = _closings(connection, connection.execute(query).all())
        return found[0] if found else None

    @retry_once
    def claim_closing(self, closing: Closing, *, until: datetime) -> bool:
        """Take a closing for oneself until a moment; False when another worker was faster."""
        waits = closing.step is ClosingStep.WAITING
        step = ClosingStep.CLOSING if waits else closing.step
        with self._work.begin() as unit:
            claimed = unit.connection.execute(
                update(tables.person)
                .where(_PERSON.person_id == closing.patron_id)
                .where(_PERSON.closing == closing.reason.value)
                .where(_PERSON.closing_step == closing.step.value)
                .where(_PERSON.closing_next_at == closing.next_at)
                .values(closing_step=step.value, closing_next_at=until)
            )
            return claimed.rowcount == 1

    @retry_once
    def put_off(self, patron_id: PatronId, step: ClosingStep, *, until: datetime) -> None:
        """Note how far a closing is, and when to look again."""
        with self._work.begin() as unit:
            unit.connection.execute(
                update(tables.person)
                .where(_PERSON.person_id == patron_id, text("closing_step <> ''"))
                .values(closing_step=step.value, closing_next_at=until)
            )

    @retry_once
    def drop_account(self, patron_id: PatronId, institution: InstitutionId, *, actor: str) -> None:
        """Note that the person's account in one ILS is closed."""
        with self._work.begin() as unit:
            dropped = unit.connection.execute(
                delete(tables.ils_account).where(
                    _ACCOUNT.person_id == patron_id, _ACCOUNT.institution == institution
                )
            )
            if dropped.rowcount:
                unit.audit(
                    "account.closed", actor=actor, subject=patron_id, institution=institution
                )

    @retry_once
    def finish_closing(self, patron_id: PatronId, *, actor: str) -> bool:
        """Note that every account is closed, for a person who is kept; say whether it was so."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            has_account = exists(
                select(_ACCOUNT.person_id).where(_ACCOUNT.person_id == _PERSON.person_id)
            )
            finished = unit.connection.execute(
                update(tables.person)
                .where(_PERSON.person_id == patron_id, text("closing_step <> ''"))
                .where(not_(_has_loans), not_(has_account))
                .values(closing_step="", closing_next_at=None, closing_at=unit.now)
            ).rowcount
            if finished:
                unit.audit("closing.done", actor=actor, subject=patron_id, institution=home)
            return bool(finished)

    @retry_once
    def end_closing(self, patron_id: PatronId, *, actor: str) -> bool:
        """Take the person back; say whether he was being closed."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            if _reason_of(unit, patron_id)[0] is None:
                return False
            person_rows.change_person(
                unit,
                patron_id,
                closing="",
                closing_at=None,
                closing_step="",
                closing_next_at=None,
            )
            unit.audit("closing.ended", actor=actor, subject=patron_id, institution=home)
            return True


def _withdraw_application(
    unit: UnitOfWork, patron_id: PatronId, reason: ClosingReason, actor: str
) -> bool:
    """Close the open application; its lease stays, for it tells of an attempt under way."""
    closed = unit.connection.execute(
        update(tables.application)
        .where(_APPLICATION.person_id == patron_id, _APPLICATION.state.not_in(_CLOSED))
        .values(
            state=ApplicationState.WITHDRAWN.value,
            reason=reason.value,
            closed_by=actor,
            closed_at=unit.now,
            updated_at=unit.now,
        )
        .returning(_APPLICATION.application_id, _APPLICATION.institution)
    ).all()
    for application_id, institution in closed:
        unit.audit(
            "enrolment.withdrawn",
            actor=actor,
            subject=patron_id,
            detail={"application": application_id, "reason": reason.value},
            institution=institution,
        )
    return bool(closed)


def _end_membership(
    unit: UnitOfWork, patron_id: PatronId, reason: ClosingReason, today: date
) -> bool:
    table = tables.class_membership
    ended = unit.connection.execute(
        update(table)
        .where(table.c.person_id == patron_id, table.c.until.is_(None))
        .values(until=today, reason=reason.value)
    )
    return bool(ended.rowcount)


def _reason_of(unit: UnitOfWork, patron_id: PatronId) -> tuple[ClosingReason | None, bool]:
    """Return why a person is closed, and whether it is done."""
    query = select(_PERSON.closing, _PERSON.closing_step).where(_PERSON.person_id == patron_id)
    closing, step = unit.connection.execute(query).one()
    return (ClosingReason(closing) if closing else None), not step


def _closings(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Closing, ...]:
    accounts: dict[str, list[tuple[InstitutionId, IlsPatronId]]] = {}
    query = (
        select(_ACCOUNT.person_id, _ACCOUNT.institution, _ACCOUNT.ils_patron)
        .where(_ACCOUNT.person_id.in_([row.person_id for row in rows]))
        .order_by(_ACCOUNT.institution)
    )
    for person_id, institution, ils_patron in connection.execute(query) if rows else ():
        accounts.setdefault(person_id, []).append(
            (InstitutionId(institution), IlsPatronId(ils_patron))
        )
    return tuple(
        Closing(
            patron_id=PatronId(row.person_id),
            home=InstitutionId(row.institution),
            reason=ClosingReason(row.closing),
            step=ClosingStep(row.closing_step),
            since=row.closing_at,
            next_at=row.closing_next_at,
            has_loans=bool(row.has_loans),
            was_opened=bool(row.was_opened),
            attempt_until=row.attempt_until,
            accounts=tuple(accounts.get(row.person_id, ())),
        )
        for row in rows
    )
