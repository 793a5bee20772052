"""Tasks for the staff in the database (``connector.ports.tasks.TaskStore``).

Nothing here decides what is a task. Rule: ``dedupe`` is the kind and what it is about while the
task is open, and gets the task's own id when it is done, so that the same may be opened again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select, update

from connector.domain.ids import InstitutionId, PatronId
from connector.ports.tasks import StaffTask, TaskKind
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredTasks", "finish_about", "open_task"]

_TASK = tables.task
_SHORTEST_PREFIX = 8


def open_task(
    unit: UnitOfWork,
    institution: str,
    kind: TaskKind,
    *,
    about: str,
    patron_id: str | None = None,
    detail: Mapping[str, str | int] | None = None,
    actor: str,
) -> bool:
    """Open a task within a unit of work, unless the same one is open."""
    task_id = str(uuid.uuid4())
    opened = unit.insert_or_ignore(
        _TASK,
        {
            "task_id": task_id,
            "institution": institution,
            "kind": kind.value,
            "dedupe": _dedupe(institution, kind, about),
            "person_id": patron_id,
            "detail": json.dumps(dict(detail or {}), sort_keys=True, separators=(",", ":")),
            "opened_by": actor,
            "opened_at": unit.now,
        },
    )
    if opened:
        unit.audit(
            "task.opened",
            actor=actor,
            subject=task_id,
            detail={"kind": kind.value},
            institution=institution,
        )
    return opened


class StoredTasks:
    """The tasks in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def open_task(
        self,
        institution: InstitutionId,
        kind: TaskKind,
        *,
        about: str,
        patron_id: PatronId | None = None,
        detail: Mapping[str, str | int] | None = None,
        actor: str,
    ) -> bool:
        """Open a task unless the same one is open; say whether it is new."""
        with self._work.begin() as unit:
            return open_task(
                unit,
                institution,
                kind,
                about=about,
                patron_id=patron_id,
                detail=detail,
                actor=actor,
            )

    def list_tasks(
        self,
        institution: InstitutionId,
        *,
        kind: TaskKind | None = None,
        include_done: bool = False,
    ) -> tuple[StaffTask, ...]:
        """Return tasks, oldest first."""
        query = select(_TASK).where(_TASK.c.institution == institution)
        if kind is not None:
            query = query.where(_TASK.c.kind == kind.value)
        if not include_done:
            query = query.where(_TASK.c.done_at.is_(None))
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(_TASK.c.opened_at, _TASK.c.task_id)).all()
        return tuple(_task(row) for row in rows)

    def find_task(self, task_id: str) -> StaffTask | None:
        """Return one task, by its id or the first eight or more characters of it."""
        if len(task_id) < _SHORTEST_PREFIX:
            return None
        query = select(_TASK).where(_TASK.c.task_id.startswith(task_id, autoescape=True)).limit(2)
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        return _task(rows[0]) if len(rows) == 1 else None

    @retry_once
    def finish_task(self, task_id: str, *, outcome: str, actor: str) -> bool:
        """Note that it is done; say whether it was open."""
        with self._work.begin() as unit:
            return _finish(unit, _TASK.c.task_id == task_id, outcome=outcome, actor=actor)

    @retry_once
    def finish_about(
        self, institution: InstitutionId, kind: TaskKind, *, about: str, outcome: str, actor: str
    ) -> bool:
        """Note that the task about something is done, if there is one that is open."""
        with self._work.begin() as unit:
            return finish_about(unit, institution, kind, about=about, outcome=outcome, actor=actor)


def finish_about(
    unit: UnitOfWork, institution: str, kind: TaskKind, *, about: str, outcome: str, actor: str
) -> bool:
    """End the open task about something within a unit of work; say whether there was one."""
    same = _TASK.c.dedupe == _dedupe(institution, kind, about)
    return _finish(unit, same, outcome=outcome, actor=actor)


def _finish(unit: UnitOfWork, which: Any, *, outcome: str, actor: str) -> bool:
    row = unit.connection.execute(select(_TASK).where(which, _TASK.c.done_at.is_(None))).first()
    if row is None:
        return False
    changed = unit.connection.execute(
        update(_TASK)
        .where(_TASK.c.task_id == row.task_id, _TASK.c.done_at.is_(None))
        .values(done_by=actor, done_at=unit.now, outcome=outcome, dedupe=row.task_id)
    ).rowcount
    if changed:
        unit.audit(
            "task.done",
            actor=actor,
            subject=row.task_id,
            detail={"kind": row.kind, "outcome": outcome},
            institution=row.institution,
        )
    return bool(changed)


def _dedupe(institution: str, kind: TaskKind, about: str) -> str:
    return f"{institution}/{kind.value}/{about}"


def _task(row: Row[Any]) -> StaffTask:
    return StaffTask(
        task_id=row.task_id,
        institution=InstitutionId(row.institution),
        kind=TaskKind(row.kind),
        patron_id=None if row.person_id is None else PatronId(row.person_id),
        opened_by=row.opened_by,
        opened_at=row.opened_at,
        detail=json.loads(row.detail),
        done_by=row.done_by,
        done_at=row.done_at,
        outcome=row.outcome,
    )
