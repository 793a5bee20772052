"""A batch as a row: how it is added and read, and how its problems are written.

Nothing here begins a transaction; ``schools`` and ``rosters`` do. Rule: a batch keeps counts and
problem codes, never a value from the sheet.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from connector.domain.enrolment import RowProblem
from connector.domain.ids import InstitutionId
from connector.errors import StorageConflict
from connector.ports.enrolment import Batch, RowOutcome, School, Valve
from connector.storage import tables
from connector.storage.repositories.rows import fetch_row
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["OUTCOMES", "add_batch", "read_batch", "write_problems"]

OUTCOMES = tuple(RowOutcome)


def add_batch(
    unit: UnitOfWork,
    school: School,
    *,
    layout: str,
    rows: int,
    source_digest: str,
    actor: str,
    now: datetime,
    source: str = "roster",
    complete: bool = False,
    campaign_id: str | None = None,
) -> Row[Any]:
    """Add an empty batch under the next number, year and a count; ``StorageConflict`` when another
    one took the number at this moment.
    """
    table = tables.batch
    prefix = f"{now:%Y}-"
    taken = unit.connection.execute(
        select(table.c.number).where(
            table.c.institution == school.institution, table.c.number.startswith(prefix)
        )
    ).scalars()
    serial = 1 + max((int(number.removeprefix(prefix)) for number in taken), default=0)
    values = {
        "batch_id": str(uuid.uuid4()),
        "institution": school.institution,
        "number": f"{prefix}{serial:04}",
        "school_id": school.school_id,
        "layout": layout,
        "source_digest": source_digest,
        "source": source,
        "complete": complete,
        "campaign_id": campaign_id,
        "state": "importing",
        "rows": rows,
        "created_by": actor,
        "created_at": now,
    }
    if not unit.insert_or_ignore(table, values):
        raise StorageConflict("batch_number")
    row = fetch_row(unit, table, batch_id=values["batch_id"])
    unit.audit(
        "enrolment.import_begun",
        actor=actor,
        subject=row.batch_id,
        detail={"school": school.code, "rows": rows},
        institution=school.institution,
    )
    return row


def read_batch(row: Row[Any]) -> Batch:
    """Return the batch in a row."""
    return Batch(
        batch_id=row.batch_id,
        number=row.number,
        institution=InstitutionId(row.institution),
        school_id=row.school_id,
        layout=row.layout,
        rows=row.rows,
        counts={outcome: getattr(row, outcome.value) for outcome in OUTCOMES},
        problems=tuple(
            RowProblem(problem["code"], problem["row"], problem["column"])
            for problem in json.loads(row.problems)
        ),
        source_digest=row.source_digest,
        created_by=row.created_by,
        created_at=row.created_at,
        state=row.state,
        source=row.source,
        complete=row.complete,
        missing=row.missing,
        valve=Valve(row.valve),
        taken_rows=row.taken_rows,
        campaign_id=row.campaign_id,
    )


def write_problems(problems: Iterable[RowProblem]) -> str:
    """Return problems as the column keeps them."""
    listed = [
        {"row": problem.row, "column": problem.column, "code": problem.code} for problem in problems
    ]
    return json.dumps(listed, separators=(",", ":"))
