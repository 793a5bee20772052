"""Imports of rosters in the database (``connector.ports.rosters.RosterStore``).

Nothing here judges a row; leavers are in ``leavers``. Rules —

- rows, the tasks that they give rise to and the count of what is taken are one unit of work, so
  that an import that was killed goes on exactly where it was;
- an import goes on only from where its caller saw it: of two at once, one is refused;
- an application is changed only as it was seen.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, case, exists, func, select, update

from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
    ConsentScope,
    RowProblem,
    StudentRecord,
)
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import Batch, RowOutcome, School
from connector.ports.rosters import ApplicationChange, ListedPupil, RowWrite
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.application_rows import enter_application
from connector.storage.repositories.batch_rows import add_batch, read_batch, write_problems
from connector.storage.repositories.leavers import StoredLeavers
from connector.storage.repositories.people_in_bulk import in_pieces
from connector.storage.repositories.rows import fetch_row
from connector.storage.repositories.tasks import open_task
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["StoredRosters"]

_BATCH = tables.batch
_APPLICATION = tables.application
_WAITING = (
    ApplicationState.ENTERED,
    ApplicationState.SCHOOL_REVIEWED,
    ApplicationState.LIBRARY_APPROVED,
)
_LISTED = (
    "SELECT p.data_digest, a.application_id, p.person_id, a.batch_id, a.class_text, a.district, "
    "a.willing, m.class_id, m.school_year FROM person p LEFT JOIN application a "
    "ON a.person_id = p.person_id AND a.state NOT IN ('refused', 'withdrawn') "
    "AND a.on_roster AND a.school_id = ? LEFT JOIN class_membership m "
    "ON m.person_id = p.person_id AND m.until IS NULL WHERE p.data_digest IN"
)
"""Outer joins, though inner ones would do: SQLite would begin with all applications of the school,
for every chunk of rows.
"""


class StoredRosters(StoredLeavers):
    """``RosterStore`` on SQLite or PostgreSQL."""

    @retry_once
    def begin_import(
        self,
        school: School,
        *,
        layout: str,
        rows: int,
        source_digest: str,
        source: str,
        complete: bool,
        campaign_id: str | None,
        actor: str,
    ) -> Batch:
        """Add an empty batch under the next number of the year."""
        with self._work.begin() as unit:
            row = add_batch(
                unit,
                school,
                layout=layout,
                rows=rows,
                source_digest=source_digest,
                actor=actor,
                now=unit.now,
                source=source,
                complete=complete,
                campaign_id=campaign_id,
            )
        return read_batch(row)

    def find_import(
        self, school: School, source_digest: str, *, complete: bool, campaign_id: str | None
    ) -> Batch | None:
        """Return the latest import of the same content for the same purpose."""
        query = (
            select(_BATCH)
            .where(_BATCH.c.school_id == school.school_id)
            .where(_BATCH.c.source_digest == source_digest, _BATCH.c.complete == complete)
            .where(_BATCH.c.campaign_id.is_not_distinct_from(campaign_id))
            .order_by(_BATCH.c.created_at.desc(), _BATCH.c.number.desc())
            .limit(1)
        )
        with self._work.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else read_batch(row)

    @retry_once
    def take_rows(
        self,
        batch: Batch,
        writes: Sequence[RowWrite],
        *,
        taken_rows: int,
        counts: Mapping[RowOutcome, int],
        problems: Sequence[RowProblem],
        actor: str,
    ) -> tuple[Batch, tuple[PatronId | None, ...]]:
        """Write rows, and how far the import is; return the batch and whom each row was about."""
        values: dict[str, Any] = {outcome.value: n for outcome, n in counts.items()}
        values["taken_rows"] = taken_rows
        if len(problems) != len(batch.problems):
            values["problems"] = write_problems(problems)
        with self._work.begin() as unit:
            moved = unit.connection.execute(
                update(_BATCH)
                .where(_BATCH.c.batch_id == batch.batch_id, _BATCH.c.state == "importing")
                .where(_BATCH.c.taken_rows == batch.taken_rows)
                .values(**values)
            ).rowcount
            if not moved:
                raise StorageConflict("import_running")
            patrons = tuple(_write_row(unit, batch.institution, write, actor) for write in writes)
        return (
            replace(batch, taken_rows=taken_rows, counts=dict(counts), problems=tuple(problems)),
            patrons,
        )

    @retry_once
    def write_row(
        self, institution: InstitutionId, write: RowWrite, *, actor: str
    ) -> PatronId | None:
        """Write one row that belongs to no batch; return whom it was about."""
        with self._work.begin() as unit:
            return _write_row(unit, institution, write, actor)

    @retry_once
    def end_import(self, batch: Batch) -> Batch:
        """Note that every row is taken and every leaver proposed."""
        with self._work.begin() as unit:
            unit.connection.execute(
                update(_BATCH).where(_BATCH.c.batch_id == batch.batch_id).values(state="imported")
            )
            row = fetch_row(unit, _BATCH, batch_id=batch.batch_id)
            ended = read_batch(row)
            unit.audit(
                "enrolment.import_ended",
                actor=row.created_by,
                subject=row.batch_id,
                detail={outcome.value: n for outcome, n in ended.counts.items()}
                | {"missing": row.missing},
                institution=row.institution,
            )
        return ended

    def count_steps(self, institution: InstitutionId) -> Mapping[str, tuple[int, int, int]]:
        """Return failed activations, pending consents and the unwilling, per batch id."""
        table, consent = _APPLICATION, tables.consent
        agreed = exists().where(
            consent.c.person_id == table.c.person_id,
            consent.c.scope == ConsentScope.CARD.value,
            consent.c.given_at.is_not(None),
            consent.c.withdrawn_at.is_(None),
        )
        has_failed = and_(table.c.error != "", table.c.state == ApplicationState.ACTIVATING.value)
        is_waiting = table.c.state.in_([state.value for state in _WAITING])
        is_unwilling = table.c.willing == "unwilling"
        query = (
            select(
                table.c.batch_id,
                func.sum(case((has_failed, 1), else_=0)),
                func.sum(case((and_(is_waiting, ~is_unwilling, ~agreed), 1), else_=0)),
                func.sum(case((and_(is_waiting, is_unwilling), 1), else_=0)),
            )
            .where(table.c.institution == institution, table.c.batch_id.is_not(None))
            .group_by(table.c.batch_id)
        )
        with self._work.database.read() as connection:
            return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(query)}

    def knows_student_numbers(self) -> bool:
        """Say whether anybody is known by a student number."""
        table = tables.identifier
        some = select(table.c.identifier_id).where(table.c.kind == "student_no")
        with self._work.database.read() as connection:
            return bool(connection.execute(select(exists(some))).scalar_one())

    def list_unnumbered(self, school: School) -> tuple[PatronId, ...]:
        """Return pupils of the school, not closed, who have no identity number (scenario 4)."""
        number = tables.identifier
        has_number = exists().where(
            number.c.person_id == _APPLICATION.c.person_id, number.c.kind == "id_card"
        )
        query = select(_APPLICATION.c.person_id).where(
            _APPLICATION.c.school_id == school.school_id,
            _APPLICATION.c.state.not_in([state.value for state in CLOSED_STATES]),
            ~has_number,
        )
        with self._work.database.read() as connection:
            return tuple(PatronId(found) for found in connection.execute(query).scalars())

    def find_listed(
        self, school: School, records: Sequence[StudentRecord]
    ) -> Mapping[int, ListedPupil]:
        """Return, by row, whose data is just what the row says."""
        numbered = [record for record in records if record.id_number is not None]
        digests = self._work.keyring.data_digests([*map(person_rows.record_text, numbered)])
        found: dict[int, ListedPupil] = {}
        twice = set()
        for piece in in_pieces(digests):
            marks = ", ".join("?" * len(piece))
            rows = self._work.database.fetch(f"{_LISTED} ({marks})", (school.school_id, *piece))
            for digest, application_id, *about in rows:
                row = numbered[digests[bytes(digest)]].row
                if row in found:
                    twice.add(row)
                elif application_id is not None:
                    found[row] = ListedPupil(*about)
        return {row: pupil for row, pupil in found.items() if row not in twice} if twice else found

    def find_refused(
        self, identifiers: Collection[Identifier], institution: InstitutionId
    ) -> frozenset[Identifier]:
        """Return the numbers of children whose guardian refused."""
        table = tables.refusal
        keyring = self._work.keyring
        with self._work.database.read() as connection:
            any_row = select(
                exists(select(table.c.digest).where(table.c.institution == institution))
            )
            if not connection.execute(any_row).scalar_one():
                return frozenset()
            digests = {
                digest: identifier
                for identifier in identifiers
                for _, digest in keyring.refusal_digests(identifier)
            }
            found: set[Identifier] = set()
            for piece in in_pieces(digests):
                query = select(table.c.digest).where(
                    and_(table.c.institution == institution, table.c.digest.in_(piece))
                )
                found.update(digests[bytes(d)] for d in connection.execute(query).scalars())
        return frozenset(found)


_OWN_SIDE = ("school", "batch", "row")
"""What the record of who did what tells of two schools: nothing about the other one."""


def _write_row(
    unit: UnitOfWork, institution: InstitutionId, write: RowWrite, actor: str
) -> PatronId | None:
    patron_id = write.patron_id
    if write.person is not None and write.data is not None:
        patron_id = person_rows.add_person(
            unit,
            write.data,
            write.identifiers,
            home=write.person.home,
            category=write.person.category,
            stage=write.person.stage,
        )
    elif patron_id is not None and (write.identifiers or write.data or write.enter):
        _join(unit, patron_id, write)
    if patron_id is not None and write.enter is not None:
        new = replace(write.enter, patron_id=patron_id)
        enter_application(unit, new, actor=actor, now=unit.now)
    if write.change is not None:
        _change(unit, write.change, actor)
    for task in write.tasks:
        if task.kind is TaskKind.TWO_SCHOOLS:
            unit.audit(
                "enrolment.two_schools",
                actor=actor,
                subject=patron_id or "",
                detail={key: task.detail[key] for key in _OWN_SIDE if key in task.detail},
                institution=institution,
            )
        open_task(
            unit,
            institution,
            task.kind,
            about=task.about,
            patron_id=task.patron_id,
            detail=task.detail,
            actor=actor,
        )
    return patron_id


def _join(unit: UnitOfWork, patron_id: PatronId, write: RowWrite) -> None:
    """Give a known person what the row brings; ``StorageConflict`` when he was erased meanwhile."""
    try:
        home = person_rows.home_of(unit, patron_id)
    except NotFound as err:
        raise StorageConflict("person_gone") from err
    for identifier in write.identifiers:
        person_rows.add_identifier(unit, patron_id, identifier, institution=home)
        unit.audit(
            "identifier.added",
            actor="register",
            subject=patron_id,
            detail={"kind": identifier.kind},
            institution=home,
        )
    if write.data is not None:
        wrapped = unit.connection.scalar(
            select(tables.person_key.c.wrapped).where(tables.person_key.c.person_id == patron_id)
        )
        if wrapped is None:
            raise StorageConflict("person_gone")
        cipher = unit.keyring.open_person(patron_id, wrapped)
        person_rows.change_person(
            unit, patron_id, **person_rows.seal_data(unit.keyring, cipher, write.data)
        )
        unit.audit("person.updated", actor="register", subject=patron_id, institution=home)


def _change(unit: UnitOfWork, change: ApplicationChange, actor: str) -> None:
    changed = unit.connection.execute(
        update(_APPLICATION)
        .where(_APPLICATION.c.application_id == change.application_id)
        .where(_APPLICATION.c.state == change.state.value)
        .values(
            class_text=change.class_name,
            district=change.district,
            willing=change.willing,
            on_roster=change.on_roster,
            provenance=json.dumps(dict(change.provenance), sort_keys=True, separators=(",", ":")),
            updated_at=unit.now,
        )
        .returning(_APPLICATION.c.person_id, _APPLICATION.c.institution)
    ).first()
    if changed is None:
        raise StorageConflict("application_moved")
    unit.audit(
        "enrolment.changed",
        actor=actor,
        subject=changed.person_id,
        detail={"application": change.application_id},
        institution=changed.institution,
    )
