"""Liaisons in the database: who speaks for a school, or for the library (A21).

Nothing here knows a deadline. Rules: a liaison's name and phone are sealed like anybody's, and go
when another one is appointed.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Row, delete, select, update

from connector.domain.ids import InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import StorageConflict
from connector.ports.schools import Liaison
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredLiaisons"]

_CATEGORY = "liaison"
"""Category of an adult who speaks for a school; he is no reader."""


class StoredLiaisons:
    """The part of ``SchoolStore`` that is about liaisons."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def appoint_liaison(
        self,
        institution: InstitutionId,
        school_id: str | None,
        *,
        name: str,
        phone: str,
        actor: str,
    ) -> Liaison:
        """Appoint a liaison in place of the one before, whose data is erased."""
        table = tables.liaison
        with self._work.begin() as unit:
            self._lock_place(unit, institution, school_id)
            before = unit.connection.execute(
                select(table.c.liaison_id, table.c.person_id).where(
                    table.c.institution == institution,
                    table.c.school_id.is_(None)
                    if school_id is None
                    else table.c.school_id == school_id,
                    table.c.ended_at.is_(None),
                )
            ).all()
            for liaison_id, person_id in before:
                unit.connection.execute(
                    update(table).where(table.c.liaison_id == liaison_id).values(ended_at=unit.now)
                )
                _erase_liaison(unit, person_id, institution=institution, actor=actor)
            patron_id = person_rows.add_person(
                unit,
                PersonalData(name, phone=phone),
                (),
                home=institution,
                category=_CATEGORY,
            )
            values: dict[str, Any] = {
                "liaison_id": str(uuid.uuid4()),
                "institution": institution,
                "school_id": school_id,
                "person_id": patron_id,
                "appointed_by": actor,
                "appointed_at": unit.now,
            }
            unit.connection.execute(table.insert().values(**values))
            unit.audit(
                "liaison.appointed",
                actor=actor,
                subject=patron_id,
                detail={"school": school_id or ""},
                institution=institution,
            )
        return Liaison(
            liaison_id=values["liaison_id"],
            institution=institution,
            school_id=school_id,
            patron_id=patron_id,
            appointed_by=actor,
            appointed_at=values["appointed_at"],
            name=name,
            phone=phone,
        )

    @staticmethod
    def _lock_place(unit: UnitOfWork, institution: str, school_id: str | None) -> None:
        """Let one at a time appoint for the same school, or for the same library."""
        if school_id is not None:
            locked, key = tables.school, tables.school.c.school_id == school_id
        else:
            locked, key = tables.institution, tables.institution.c.institution == institution
        unit.connection.execute(select(locked).where(key).with_for_update()).all()

    def list_liaisons(self, institution: InstitutionId) -> tuple[Liaison, ...]:
        """Return the present liaisons, with name and phone; the library's own first."""
        table, person, key = tables.liaison, tables.person, tables.person_key
        query = (
            select(
                table, key.c.wrapped, *(person.c[name].label(name) for name in person_rows.FIELDS)
            )
            .join(person, person.c.person_id == table.c.person_id)
            .join(key, key.c.person_id == table.c.person_id)
            .where(table.c.institution == institution, table.c.ended_at.is_(None))
            .order_by(table.c.appointed_at)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        found = [self._liaison(row) for row in rows]
        return tuple(sorted(found, key=lambda each: each.school_id is not None))

    def _liaison(self, row: Row[Any]) -> Liaison:
        cipher = self._work.keyring.open_person(row.person_id, row.wrapped)
        data = person_rows.open_data(cipher, [getattr(row, name) for name in person_rows.FIELDS])
        return Liaison(
            liaison_id=row.liaison_id,
            institution=InstitutionId(row.institution),
            school_id=row.school_id,
            patron_id=PatronId(row.person_id),
            appointed_by=row.appointed_by,
            appointed_at=row.appointed_at,
            name=data.name,
            phone=data.phone,
        )


def _erase_liaison(unit: UnitOfWork, person_id: str, *, institution: str, actor: str) -> None:
    """Destroy the key and the sealed fields of a liaison who is no longer one."""
    loan = tables.loan
    if unit.connection.scalar(select(loan.c.loan_id).where(loan.c.person_id == person_id).limit(1)):
        raise StorageConflict("liaison_with_loans")
    for table in (tables.person_key, tables.identifier):
        unit.connection.execute(delete(table).where(table.c.person_id == person_id))
    person_rows.change_person(
        unit,
        PatronId(person_id),
        **dict.fromkeys(person_rows.DATA_COLUMNS),
        state=StandingState.WITHDRAWN.value,
        erased_at=unit.now,
    )
    unit.audit("person.erased", actor=actor, subject=person_id, institution=institution)
