"""Schools and import batches in the database.

Nothing here reads a roster. Rules: every method is one unit of work; a batch keeps counts and
problem codes, never a value from the sheet.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from connector.domain.enrolment import ApplicationState, RowProblem, SchoolStage
from connector.domain.ids import InstitutionId
from connector.domain.school import SchoolSystem
from connector.ports.enrolment import Batch, RowOutcome, School
from connector.storage import tables
from connector.storage.repositories.batch_rows import (
    OUTCOMES,
    add_batch,
    read_batch,
    write_problems,
)
from connector.storage.repositories.rows import fetch_row
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredSchools"]


class StoredSchools:
    """The part of ``EnrolmentStore`` that is about schools and their batches."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    # --- schools

    @retry_once
    def save_school(self, school: School) -> School:
        """Add a school, or change the one with the same code; return it as stored."""
        values = {
            "name": school.name,
            "stage": school.stage.value if school.stage else "",
            "entry_mode": school.entry_mode,
            "review_individual": school.review_individual,
            "disabled": school.disabled,
            "system": school.system.value,
            "create_classes": school.create_classes,
            "sort_order": school.sort_order,
            "remark": school.remark,
        }
        key = {"institution": school.institution, "code": school.code}
        with self._units.begin() as unit:
            fresh = {"school_id": str(uuid.uuid4()), "created_at": unit.now, **key, **values}
            if not unit.insert_or_ignore(tables.school, fresh):
                unit.connection.execute(update(tables.school).filter_by(**key).values(**values))
            row = unit.connection.execute(select(tables.school).filter_by(**key)).one()
        return _school(row)

    def find_school(self, institution: InstitutionId, code: str) -> School | None:
        """Return the school with a code."""
        query = select(tables.school).filter_by(institution=institution, code=code)
        with self._units.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _school(row)

    def list_schools(self, institution: InstitutionId) -> tuple[School, ...]:
        """Return the library's schools by code."""
        query = select(tables.school).filter_by(institution=institution)
        with self._units.database.read() as connection:
            rows = connection.execute(query.order_by(tables.school.c.code)).all()
        return tuple(_school(row) for row in rows)

    # --- batches

    @retry_once
    def open_batch(
        self,
        school: School,
        *,
        layout: str,
        rows: int,
        source_digest: str,
        actor: str,
        now: datetime,
    ) -> Batch:
        """Add an empty batch under the next number: year and a count."""
        with self._units.begin() as unit:
            row = add_batch(
                unit,
                school,
                layout=layout,
                rows=rows,
                source_digest=source_digest,
                actor=actor,
                now=now,
            )
        return read_batch(row)

    @retry_once
    def close_batch(
        self,
        batch_id: str,
        *,
        counts: Mapping[RowOutcome, int],
        problems: Sequence[RowProblem],
        now: datetime,
    ) -> Batch:
        """Write the outcome of the import."""
        del now
        table = tables.batch
        with self._units.begin() as unit:
            unit.connection.execute(
                update(table)
                .where(table.c.batch_id == batch_id)
                .values(
                    state="imported",
                    problems=write_problems(problems),
                    **{outcome.value: counts.get(outcome, 0) for outcome in OUTCOMES},
                )
            )
            row = fetch_row(unit, table, batch_id=batch_id)
            unit.audit(
                "enrolment.import_ended",
                actor=row.created_by,
                subject=batch_id,
                detail={outcome.value: counts.get(outcome, 0) for outcome in OUTCOMES},
                institution=row.institution,
            )
        return read_batch(row)

    def list_batches(
        self, institution: InstitutionId, *, school_id: str | None = None
    ) -> tuple[Batch, ...]:
        """Return batches, newest first."""
        table = tables.batch
        query = select(table).where(table.c.institution == institution)
        if school_id is not None:
            query = query.where(table.c.school_id == school_id)
        with self._units.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.number.desc())).all()
        return tuple(read_batch(row) for row in rows)

    def find_batch(self, institution: InstitutionId, number: str) -> Batch | None:
        """Return the batch with a number."""
        query = select(tables.batch).filter_by(institution=institution, number=number)
        with self._units.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else read_batch(row)

    def count_states(self, batch_id: str) -> Mapping[ApplicationState, int]:
        """Return how many of a batch's applications are in which state (A43)."""
        table = tables.application
        query = (
            select(table.c.state, func.count())
            .where(table.c.batch_id == batch_id)
            .group_by(table.c.state)
        )
        with self._units.database.read() as connection:
            return {ApplicationState(state): n for state, n in connection.execute(query)}


def _school(row: Row[Any]) -> School:
    return School(
        school_id=row.school_id,
        institution=InstitutionId(row.institution),
        code=row.code,
        name=row.name,
        stage=SchoolStage(row.stage) if row.stage else None,
        entry_mode=row.entry_mode,
        review_individual=row.review_individual,
        disabled=row.disabled,
        system=SchoolSystem(row.system),
        create_classes=row.create_classes,
        sort_order=row.sort_order,
        remark=row.remark,
    )
