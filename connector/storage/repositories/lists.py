"""Lists of a school's pupils and of what was done about them (``connector.ports.lists.ListStore``).

Nothing here writes or opens personal data. Rule (scenario 35): whoever has an open application
elsewhere, or a later one, is no longer this school's pupil, whatever the old rows say.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, or_, select

from connector.domain.class_names import ClassName
from connector.domain.enrolment import CLOSED_STATES, ApplicationState
from connector.domain.ids import InstitutionId, PatronId
from connector.ports.lists import ListedApplication
from connector.ports.store import AuditEntry
from connector.storage import tables
from connector.storage.repositories.application_rows import read_application
from connector.storage.repositories.people_in_bulk import in_pieces
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredLists"]

_S = ApplicationState
_APPLICATION = tables.application
_BATCH = tables.batch
_AUDIT = tables.audit
_CLOSED = [state.value for state in CLOSED_STATES]
_PAST_SCHOOL = frozenset(
    {_S.SCHOOL_REVIEWED, _S.LIBRARY_APPROVED, _S.ACTIVATING, _S.ACTIVE, _S.EXISTING_CARD}
)
_PAST_LIBRARY = _PAST_SCHOOL - {_S.SCHOOL_REVIEWED}


class StoredLists:
    """``ListStore`` on SQLite or PostgreSQL."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._database = work.database

    def list_present(
        self,
        institution: InstitutionId,
        *,
        school_id: str | None = None,
        patrons: Collection[PatronId] | None = None,
    ) -> tuple[ListedApplication, ...]:
        """Return the present applications at a library, by school, batch and row."""
        table = _APPLICATION
        query = (
            select(table, _BATCH.c.number)
            .outerjoin(_BATCH, _BATCH.c.batch_id == table.c.batch_id)
            .where(table.c.institution == institution, _is_present())
            .order_by(
                table.c.school_id,
                _BATCH.c.number,
                table.c.batch_row,
                table.c.entered_at,
                table.c.application_id,
            )
        )
        if school_id is not None:
            query = query.where(table.c.school_id == school_id)
        pieces = [None] if patrons is None else list(in_pieces(patrons))
        found: list[ListedApplication] = []
        with self._database.read() as connection:
            for piece in pieces:
                part = query if piece is None else query.where(table.c.person_id.in_(piece))
                found += [_listed(row) for row in connection.execute(part)]
        return tuple(found)

    def list_places(
        self,
        institution: InstitutionId,
        *,
        school_year: int | None = None,
        patrons: Collection[PatronId] | None = None,
    ) -> Mapping[PatronId, tuple[str, ClassName]]:
        """Return school id and class of the pupils of a library."""
        member, room, grade = tables.class_membership, tables.school_class, tables.grade
        query = (
            select(member.c.person_id, member.c.school_id, grade.c.level, room.c.name)
            .join(room, room.c.class_id == member.c.class_id)
            .join(grade, grade.c.grade_id == room.c.grade_id)
            .where(member.c.institution == institution)
            .order_by(member.c.since, member.c.until.is_(None))
        )
        if school_year is None:
            query = query.where(member.c.until.is_(None))
        else:
            query = query.where(member.c.school_year == school_year)
        pieces = [None] if patrons is None else list(in_pieces(patrons))
        found: dict[PatronId, tuple[str, ClassName]] = {}
        with self._database.read() as connection:
            for piece in pieces:
                part = query if piece is None else query.where(member.c.person_id.in_(piece))
                for row in connection.execute(part):
                    place = (row.school_id, ClassName(row.level, row.name))
                    found[PatronId(row.person_id)] = place
        return found

    def search_log(
        self,
        institution: InstitutionId,
        *,
        school_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        action: str = "",
        limit: int = 500,
    ) -> tuple[AuditEntry, ...]:
        """Return what was done about a school, the newest first."""
        column = _AUDIT.c
        query = select(_AUDIT).where(column.institution.in_([institution, ""]))
        if school_id is not None:
            query = query.where(_is_about(school_id))
        query = query.order_by(column.at.desc(), column.chain_id, column.seq.desc()).limit(limit)
        if since is not None:
            query = query.where(column.at >= since)
        if until is not None:
            query = query.where(column.at < until)
        if action.endswith("."):
            query = query.where(column.action.startswith(action, autoescape=True))
        elif action:
            query = query.where(column.action == action)
        with self._database.read() as connection:
            return tuple(_entry(row) for row in connection.execute(query))


def _is_about(school_id: str) -> ColumnElement[bool]:
    """Say that an entry is about a school, a batch of it, or a pupil whom it has now."""
    column = _AUDIT.c
    at_school = and_(_APPLICATION.c.school_id == school_id, _is_present())
    return or_(
        column.subject == school_id,
        column.subject.in_(select(_APPLICATION.c.person_id).where(at_school)),
        column.subject.in_(select(_APPLICATION.c.application_id).where(at_school)),
        column.subject.in_(select(_BATCH.c.batch_id).where(_BATCH.c.school_id == school_id)),
        column.detail.contains(f'"school":"{school_id}"', autoescape=True),
    )


def _is_present() -> ColumnElement[bool]:
    """Say that an application is the person's open one, or the last where none is open."""
    table, other = _APPLICATION, _APPLICATION.alias()
    later = or_(
        other.c.entered_at > table.c.entered_at,
        and_(
            other.c.entered_at == table.c.entered_at,
            other.c.application_id > table.c.application_id,
        ),
    )
    replaced = exists().where(
        other.c.person_id == table.c.person_id,
        or_(other.c.state.not_in(_CLOSED), later),
        other.c.application_id != table.c.application_id,
    )
    return or_(table.c.state.not_in(_CLOSED), ~replaced)


def _listed(row: Row[Any]) -> ListedApplication:
    state = ApplicationState(row.state)
    return ListedApplication(
        application=read_application(row),
        reviewed=row.school_reviewed_at is not None or state in _PAST_SCHOOL,
        approved=row.library_approved_at is not None or state in _PAST_LIBRARY,
        batch=row.number or "",
    )


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        chain_id=row.chain_id,
        seq=row.seq,
        at=row.at,
        institution=row.institution,
        action=row.action,
        actor=row.actor,
        subject=row.subject,
        detail=json.loads(row.detail),
    )
