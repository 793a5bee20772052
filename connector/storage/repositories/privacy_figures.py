"""The figures of the yearly report on personal data (``connector.ports.privacy``).

Nothing here gives out a value of a person. Rule: birth dates are opened one at a time, and only for
whoever counts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime

from sqlalchemy import Connection, Table, case, func, literal, or_, select

from connector.domain.ids import InstitutionId
from connector.ports.privacy import ActionCount, FeedAge, HeldChild, OldKeys, OpenTasks
from connector.storage import tables
from connector.storage.crypto import Keyring
from connector.storage.repositories.retention import has_unclosed_loan
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredFigures"]

_PERSON = tables.person
_PAGE = 500
_ADULTS = ("liaison",)


class StoredFigures:
    """The part of ``PrivacyStore`` that counts."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def find_last_action(self, action: str, *, until: datetime | None = None) -> datetime | None:
        """Return when the audit log last saw an action, not counting entries after ``until``."""
        table = tables.audit
        query = select(table.c.at).where(table.c.action == action).order_by(table.c.at.desc())
        if until is not None:
            query = query.where(table.c.at <= until)
        with self._work.database.read() as connection:
            at: datetime | None = connection.scalar(query.limit(1))
        return at

    def count_people(self, institution: InstitutionId) -> int:
        """Count the people of a library who are not erased."""
        query = (
            select(func.count())
            .select_from(_PERSON)
            .where(_PERSON.c.institution == institution, _PERSON.c.erased_at.is_(None))
        )
        with self._work.database.read() as connection:
            return connection.scalar(query) or 0

    def find_first_person(self) -> datetime | None:
        """Return when the oldest person of the register was added."""
        with self._work.database.read() as connection:
            at: datetime | None = connection.scalar(select(func.min(_PERSON.c.created_at)))
        return at

    def list_children(self) -> Iterator[HeldChild]:
        """Return every child who is held, opened one at a time."""
        key = tables.person_key
        query = (
            select(
                _PERSON.c.person_id,
                _PERSON.c.institution,
                _PERSON.c.stage,
                _PERSON.c.state,
                _PERSON.c.birth_date,
                key.c.wrapped,
            )
            .join(key, key.c.person_id == _PERSON.c.person_id)
            .where(_PERSON.c.erased_at.is_(None), _PERSON.c.category.not_in(_ADULTS))
            .order_by(_PERSON.c.person_id)
            .limit(_PAGE)
        )
        last = ""
        while True:
            with self._work.database.read() as connection:
                rows = connection.execute(query.where(_PERSON.c.person_id > last)).all()
            for row in rows:
                birth_date = _read_birth_date(
                    self._work.keyring, row.person_id, row.wrapped, row.birth_date
                )
                yield HeldChild(row.institution, row.stage, row.state, birth_date)
            if len(rows) < _PAGE:
                return
            last = rows[-1].person_id

    def count_actions(self, since: datetime, until: datetime) -> tuple[ActionCount, ...]:
        """Count the audit log from ``since`` up to ``until``."""
        table = tables.audit
        # Of these the detail tells what kind it was; to group others by ids tells nothing.
        is_told = or_(table.c.action.startswith("consent."), table.c.action.startswith("pupils."))
        detail = case((is_told, table.c.detail), else_=literal("{}"))
        grouped = (
            select(table.c.action, table.c.actor, detail.label("detail"))
            .where(table.c.at >= since, table.c.at < until)
            .subquery()
        )
        columns = (grouped.c.action, grouped.c.actor, grouped.c.detail)
        query = select(*columns, func.count()).group_by(*columns).order_by(*columns)
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        counts: dict[tuple[str, str, str], int] = {}
        for action, actor, text, count in rows:
            place = (action, actor, _scope_of(json.loads(text)))
            counts[place] = counts.get(place, 0) + count
        return tuple(ActionCount(*place, count) for place, count in counts.items())

    def count_old_keys(self) -> OldKeys:
        """Count what hangs on old keys."""
        active = self._work.keyring.active

        def count(connection: Connection, table: Table) -> int:
            query = select(func.count()).select_from(table).where(table.c.key_id != active)
            return connection.scalar(query) or 0

        with self._work.database.read() as connection:
            return OldKeys(
                people=count(connection, tables.person_key),
                identifiers=count(connection, tables.identifier),
                refusals=count(connection, tables.refusal),
            )

    def list_feeds(self) -> tuple[FeedAge, ...]:
        """Return the roster feeds that ever ran."""
        table = tables.feed_state
        query = select(table.c.institution, table.c.name, table.c.last_ok_at)
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.institution, table.c.name)).all()
        return tuple(FeedAge(*row) for row in rows)

    def count_open_tasks(self, before: datetime) -> tuple[OpenTasks, ...]:
        """Count tasks that were opened before a moment and are not done."""
        table = tables.task
        query = (
            select(table.c.kind, func.count(), func.min(table.c.opened_at))
            .where(table.c.done_at.is_(None), table.c.opened_at < before)
            .group_by(table.c.kind)
            .order_by(table.c.kind)
        )
        with self._work.database.read() as connection:
            return tuple(OpenTasks(*row) for row in connection.execute(query))

    def count_closings(self, before: datetime) -> int:
        """Count people whose account was to be closed before a moment and still has loans."""
        query = (
            select(func.count())
            .select_from(_PERSON)
            .where(
                _PERSON.c.closing != "",
                _PERSON.c.erased_at.is_(None),
                _PERSON.c.closing_at < before,
                has_unclosed_loan(),
            )
        )
        with self._work.database.read() as connection:
            return connection.scalar(query) or 0


def _scope_of(detail: Mapping[str, object]) -> str:
    marks = (mark for mark in ("full", "elsewhere") if detail.get(mark))
    return str(detail.get("scope") or next(marks, ""))


def _read_birth_date(
    keyring: Keyring, person_id: str, wrapped: bytes, sealed: bytes | None
) -> date | None:
    if sealed is None:
        return None
    cipher = keyring.open_person(person_id, wrapped)
    return date.fromisoformat(cipher.open("person", "birth_date", sealed))
