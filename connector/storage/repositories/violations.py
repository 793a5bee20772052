"""Violations, set and lifted by people (``connector.ports.store.ViolationRegister``, A34).

Nothing here decides what a violation bars; how many bar a patron is part of his standing.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import insert, select, update

from connector.domain.ids import PatronId
from connector.errors import NotFound
from connector.ports.store import Violation
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredViolations"]


class StoredViolations:
    """Violations in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def add_violation(self, patron_id: PatronId, kind: str, *, set_by: str, now: datetime) -> str:
        """Record a violation and return its id; raises ``NotFound`` for an unknown patron."""
        violation_id = str(uuid.uuid4())
        person = tables.person.c
        with self._work.begin() as unit:
            home = unit.connection.scalar(
                select(person.institution).where(
                    person.person_id == patron_id, person.erased_at.is_(None)
                )
            )
            if home is None:
                raise NotFound("patron")
            unit.connection.execute(
                insert(tables.violation).values(
                    violation_id=violation_id,
                    person_id=patron_id,
                    institution=home,
                    kind=kind,
                    set_by=set_by,
                    set_at=now,
                )
            )
            unit.audit(
                "violation.added",
                actor=set_by,
                subject=violation_id,
                detail={"kind": kind, "person": patron_id},
                institution=home,
            )
        return violation_id

    @retry_once
    def lift_violation(self, violation_id: str, *, lifted_by: str, now: datetime) -> None:
        """Lift it; a repeat changes nothing. Raises ``NotFound``."""
        table = tables.violation
        with self._work.begin() as unit:
            found = unit.connection.execute(
                select(table.c.institution, table.c.lifted_at)
                .where(table.c.violation_id == violation_id)
                .with_for_update()
            ).first()
            if found is None:
                raise NotFound("violation")
            if found.lifted_at is not None:
                return
            unit.connection.execute(
                update(table)
                .where(table.c.violation_id == violation_id)
                .values(lifted_by=lifted_by, lifted_at=now)
            )
            unit.audit(
                "violation.lifted",
                actor=lifted_by,
                subject=violation_id,
                institution=found.institution,
            )

    def list_violations(self, patron_id: PatronId | None = None) -> tuple[Violation, ...]:
        """Return violations that are not lifted, oldest first."""
        table = tables.violation
        query = select(table).where(table.c.lifted_at.is_(None))
        if patron_id is not None:
            query = query.where(table.c.person_id == patron_id)
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.set_at, table.c.violation_id)).all()
        return tuple(
            Violation(row.violation_id, PatronId(row.person_id), row.kind, row.set_by, row.set_at)
            for row in rows
        )
