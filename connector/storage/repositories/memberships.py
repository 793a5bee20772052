"""Who is in which class, in the database: placed, ended, moved to another school.

Nothing here decides who moves where. Rules: a membership is ended, never changed or removed, and a
person has one that is open (scenario 27); nobody goes back to an earlier school year.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, Select, exists, insert, select, update

from connector.domain.ids import PatronId
from connector.domain.school import stage_of
from connector.errors import NotFound
from connector.ports.enrolment import School
from connector.ports.schools import ClassMember, Membership
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.class_rows import class_order, read_class, select_classes
from connector.storage.repositories.rows import in_chunks
from connector.storage.repositories.school_year import StoredSchoolYear
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["StoredMemberships", "place"]

_GRADE = tables.grade
_CLASS = tables.school_class
_MEMBER = tables.class_membership


class StoredMemberships(StoredSchoolYear):
    """The part of ``SchoolStore`` that is about pupils in classes."""

    @retry_once
    def place_pupils(
        self,
        school: School,
        places: Mapping[PatronId, str],
        *,
        school_year: int,
        on: date,
        reason: str,
        actor: str,
    ) -> int:
        """Put pupils into classes (patron → class id); return how many moved.

        Raises:
            NotFound: a class is not the school's.
        """
        if not places:
            return 0
        with self._work.begin() as unit:
            return place(
                unit, school, places, school_year=school_year, on=on, reason=reason, actor=actor
            )

    @retry_once
    def end_memberships(
        self, patrons: Collection[PatronId], *, on: date, reason: str, actor: str
    ) -> int:
        """End the open memberships of pupils with the day ``on``; return how many ended."""
        with self._work.begin() as unit:
            found = _open_memberships(unit, sorted(patrons))
            _end(unit, list(found.values()), last_day=on, reason=reason, actor=actor)
        return len(found)

    def list_members(
        self, school_id: str, *, class_id: str | None = None
    ) -> tuple[ClassMember, ...]:
        """Return who is in the school's classes now, class by class."""
        query = _members().where(_MEMBER.c.school_id == school_id, _MEMBER.c.until.is_(None))
        if class_id is not None:
            query = query.where(_MEMBER.c.class_id == class_id)
        with self._work.database.read() as connection:
            found = [_member(row) for row in connection.execute(query)]
        found.sort(key=lambda each: (*class_order(each.school_class), each.patron_id))
        return tuple(found)

    def list_member_years(self, school_id: str) -> frozenset[int]:
        """Return the school years that the school's pupils are in a class for now."""
        query = select(_MEMBER.c.school_year).distinct()
        query = query.where(_MEMBER.c.school_id == school_id, _MEMBER.c.until.is_(None))
        with self._work.database.read() as connection:
            return frozenset(connection.scalars(query))

    def find_memberships(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, ClassMember]:
        """Return the present classes of these pupils; who has none is left out."""
        found: dict[PatronId, ClassMember] = {}
        with self._work.database.read() as connection:
            for chunk in in_chunks(patrons):
                query = _members().where(_MEMBER.c.person_id.in_(chunk), _MEMBER.c.until.is_(None))
                for row in connection.execute(query):
                    member = _member(row)
                    found[member.patron_id] = member
        return found

    def list_finished(self, school_id: str) -> frozenset[PatronId]:
        """Return who has finished the school, or left it, and is in no class now."""
        again = _MEMBER.alias()
        query = select(_MEMBER.c.person_id).where(
            _MEMBER.c.school_id == school_id,
            _MEMBER.c.reason == "left",
            ~exists().where(again.c.person_id == _MEMBER.c.person_id, again.c.until.is_(None)),
        )
        with self._work.database.read() as connection:
            return frozenset(PatronId(found) for found in connection.scalars(query))

    def list_history(self, patron_id: PatronId) -> tuple[Membership, ...]:
        """Return every membership of a pupil, oldest first."""
        query = (
            select(_MEMBER)
            .where(_MEMBER.c.person_id == patron_id)
            .order_by(_MEMBER.c.since, _MEMBER.c.until.is_(None), _MEMBER.c.until)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Membership(
                patron_id=PatronId(row.person_id),
                school_id=row.school_id,
                class_id=row.class_id,
                school_year=row.school_year,
                since=row.since,
                until=row.until,
                reason=row.reason,
            )
            for row in rows
        )

    @retry_once
    def transfer_pupil(
        self,
        patron_id: PatronId,
        school: School,
        class_id: str | None,
        *,
        school_year: int,
        on: date,
        actor: str,
        batch: tuple[str, int] | None = None,
    ) -> bool:
        """Move a pupil and his open application to another school of the library, all at once.

        Args:
            class_id: his class there; None = he is in none until the new school says so.
            batch: id and row of the batch of the new school that names him; None = he is in no
                batch, since the old one is the old school's.

        Returns:
            Whether the application was at another school until now.

        Raises:
            NotFound: he has no open application, or the class is not the school's.
        """
        table = tables.application
        with self._work.begin() as unit:
            row = unit.connection.execute(
                select(table)
                .where(
                    table.c.person_id == patron_id,
                    table.c.institution == school.institution,
                    table.c.state.not_in(["refused", "withdrawn"]),
                )
                .with_for_update()
            ).one_or_none()
            if row is None:
                raise NotFound("application")
            if row.school_id == school.school_id:
                return False
            batch_id, batch_row = batch or (None, None)
            unit.connection.execute(
                update(table)
                .where(table.c.application_id == row.application_id)
                .values(
                    school_id=school.school_id,
                    class_text="",
                    batch_id=batch_id,
                    batch_row=batch_row,
                    updated_at=unit.now,
                )
            )
            if school.stage is not None:
                person_rows.change_person(unit, patron_id, stage=school.stage.value)
            found = _open_memberships(unit, [patron_id])
            _end(
                unit,
                list(found.values()),
                last_day=on - timedelta(days=1),
                reason="transferred",
                actor=actor,
            )
            if class_id is not None:
                place(
                    unit,
                    school,
                    {patron_id: class_id},
                    school_year=school_year,
                    on=on,
                    reason="transferred",
                    actor=actor,
                )
            unit.audit(
                "enrolment.transferred",
                actor=actor,
                subject=patron_id,
                detail={"from": row.school_id or "", "to": school.school_id},
                institution=school.institution,
            )
        return True


def place(
    unit: UnitOfWork,
    school: School,
    places: Mapping[PatronId, str],
    *,
    school_year: int,
    on: date,
    reason: str,
    actor: str,
) -> int:
    """Put pupils into classes within a unit of work; return how many moved."""
    levels = {
        row.class_id: row.level
        for row in unit.connection.execute(
            select_classes().where(_GRADE.c.school_id == school.school_id)
        )
    }
    if not levels.keys() >= set(places.values()):
        raise NotFound("class")
    present = _open_memberships(unit, sorted(places))
    moving = [
        (patron_id, class_id)
        for patron_id, class_id in places.items()
        if (row := present.get(patron_id)) is None
        or row.school_id != school.school_id
        or (row.class_id != class_id and row.school_year == school_year)
        or row.school_year < school_year
    ]
    ending = [present[patron_id] for patron_id, _ in moving if patron_id in present]
    _end(unit, ending, last_day=on - timedelta(days=1), reason=reason, actor=actor)
    fresh = [
        {
            "membership_id": str(uuid.uuid4()),
            "institution": school.institution,
            "person_id": patron_id,
            "school_id": school.school_id,
            "class_id": class_id,
            "school_year": school_year,
            "since": on,
        }
        for patron_id, class_id in moving
    ]
    if fresh:
        unit.connection.execute(insert(_MEMBER), fresh)
        _note_stages(
            unit,
            {
                patron_id: stage_of(levels[class_id], school.system).value
                for patron_id, class_id in moving
            },
        )
    for patron_id, class_id in moving:
        unit.audit(
            "membership.begun",
            actor=actor,
            subject=patron_id,
            detail={"class": class_id, "year": school_year},
            institution=school.institution,
        )
    return len(moving)


def _note_stages(unit: UnitOfWork, stages: Mapping[PatronId, str]) -> None:
    """Write the stage that people's grade belongs to, for the policy and the statistics."""
    person = tables.person
    for stage in set(stages.values()):
        for chunk in in_chunks([each for each in stages if stages[each] == stage]):
            unit.connection.execute(
                update(person)
                .where(person.c.person_id.in_(chunk), person.c.stage != stage)
                .values(stage=stage, updated_at=unit.now)
            )


def _open_memberships(unit: UnitOfWork, patrons: Sequence[PatronId]) -> dict[PatronId, Row[Any]]:
    found: dict[PatronId, Row[Any]] = {}
    for chunk in in_chunks(patrons):
        query = (
            select(_MEMBER)
            .where(_MEMBER.c.person_id.in_(chunk), _MEMBER.c.until.is_(None))
            .order_by(_MEMBER.c.person_id)
            .with_for_update()
        )
        found |= {PatronId(row.person_id): row for row in unit.connection.execute(query)}
    return found


def _end(
    unit: UnitOfWork, rows: Sequence[Row[Any]], *, last_day: date, reason: str, actor: str
) -> None:
    """End memberships with ``last_day``; one that began later ends on its first day."""
    for chunk in in_chunks(rows):
        ids = [row.membership_id for row in chunk]
        of_these = _MEMBER.c.membership_id.in_(ids)
        for began, until in (
            (_MEMBER.c.since <= last_day, last_day),
            (_MEMBER.c.since > last_day, _MEMBER.c.since),
        ):
            unit.connection.execute(
                update(_MEMBER).where(of_these, began).values(until=until, reason=reason)
            )
    for row in rows:
        unit.audit(
            "membership.ended",
            actor=actor,
            subject=row.person_id,
            detail={"class": row.class_id, "reason": reason},
            institution=row.institution,
        )


def _members() -> Select[Any]:
    return (
        select_classes()
        .add_columns(_MEMBER.c.person_id, _MEMBER.c.school_year)
        .join(_MEMBER, _MEMBER.c.class_id == _CLASS.c.class_id)
    )


def _member(row: Row[Any]) -> ClassMember:
    return ClassMember(PatronId(row.person_id), read_class(row), row.school_year)
