"""Grades, classes and who is in them, in the database (``connector.ports.schools.SchoolStore``).

Nothing here decides who moves where; calendars, liaisons and campaigns are in ``school_year``.
Rules: every method is one unit of work, audited with ids and codes; a membership is ended, never
changed or removed, and a person has one that is open (scenario 27).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, exists, insert, select, update

from connector.domain.ids import InstitutionId, PatronId
from connector.domain.school import grade_name
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import School
from connector.ports.schools import ClassMember, Grade, Membership, SchoolClass
from connector.storage import tables
from connector.storage.repositories.rows import fetch_row
from connector.storage.repositories.school_year import StoredSchoolYear, in_chunks
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["StoredClasses"]

_GRADE = tables.grade
_CLASS = tables.school_class
_MEMBER = tables.class_membership


class StoredClasses(StoredSchoolYear):
    """``SchoolStore`` on SQLite or PostgreSQL."""

    # --- grades and classes

    @retry_once
    def save_grade(self, grade: Grade, *, actor: str) -> Grade:
        """Add a grade, or change the one of the same school and level; return it as stored."""
        key = {"school_id": grade.school_id, "level": grade.level}
        values = {
            "name": grade.name,
            "disabled": grade.disabled,
            "sort_order": grade.sort_order,
            "remark": grade.remark,
        }
        fresh = {"grade_id": str(uuid.uuid4()), "institution": grade.institution}
        with self._work.begin() as unit:
            if not unit.insert_or_ignore(_GRADE, fresh | key | values):
                unit.connection.execute(update(_GRADE).filter_by(**key).values(**values))
            row = unit.connection.execute(select(_GRADE).filter_by(**key)).one()
            unit.audit(
                "grade.saved", actor=actor, subject=row.grade_id, institution=row.institution
            )
        return _grade(row)

    def list_grades(self, school_id: str) -> tuple[Grade, ...]:
        """Return a school's grades by sort order, then level."""
        query = (
            select(_GRADE)
            .where(_GRADE.c.school_id == school_id)
            .order_by(_GRADE.c.sort_order, _GRADE.c.level)
        )
        with self._work.database.read() as connection:
            return tuple(_grade(row) for row in connection.execute(query))

    @retry_once
    def remove_grade(self, grade_id: str, *, actor: str) -> None:
        """Remove a grade; ``StorageConflict`` when it has classes."""
        with self._work.begin() as unit:
            row = fetch_row(unit, _GRADE, grade_id=grade_id)
            _require_unused(unit, select(_CLASS.c.class_id).where(_CLASS.c.grade_id == grade_id))
            unit.connection.execute(delete(_GRADE).where(_GRADE.c.grade_id == grade_id))
            unit.audit("grade.removed", actor=actor, subject=grade_id, institution=row.institution)

    @retry_once
    def save_class(self, school_class: SchoolClass, *, actor: str) -> SchoolClass:
        """Add a class, or change the one with the same id, else of the same grade and name.

        Raises:
            StorageConflict: a class that has an id gets the name of another.
        """
        key = {"grade_id": school_class.grade_id, "name": school_class.name}
        values = {
            "disabled": school_class.disabled,
            "sort_order": school_class.sort_order,
            "remark": school_class.remark,
        }
        fresh = {"class_id": str(uuid.uuid4()), "institution": school_class.institution}
        with self._work.begin() as unit:
            if school_class.class_id:
                same = _CLASS.c.class_id == school_class.class_id
                taken = select(_CLASS.c.class_id).filter_by(**key).where(~same)
                if unit.connection.scalar(taken) is not None:
                    raise StorageConflict("class_name_taken")
                unit.connection.execute(update(_CLASS).where(same).values(**key, **values))
            elif not unit.insert_or_ignore(_CLASS, fresh | key | values):
                unit.connection.execute(update(_CLASS).filter_by(**key).values(**values))
            wanted = _classes().where(
                _CLASS.c.grade_id == school_class.grade_id, _CLASS.c.name == school_class.name
            )
            row = unit.connection.execute(wanted).one_or_none()
            if row is None:
                raise NotFound("class")
            unit.audit(
                "class.saved", actor=actor, subject=row.class_id, institution=row.institution
            )
        return _class(row)

    def list_classes(self, school_id: str) -> tuple[SchoolClass, ...]:
        """Return a school's classes by level, sort order and name."""
        query = _classes().where(_GRADE.c.school_id == school_id)
        with self._work.database.read() as connection:
            found = [_class(row) for row in connection.execute(query)]
        return tuple(sorted(found, key=_class_order))

    @retry_once
    def remove_class(self, class_id: str, *, actor: str) -> None:
        """Remove a class; ``StorageConflict`` when anybody is or was in it."""
        with self._work.begin() as unit:
            row = fetch_row(unit, _CLASS, class_id=class_id)
            _require_unused(
                unit, select(_MEMBER.c.membership_id).where(_MEMBER.c.class_id == class_id)
            )
            unit.connection.execute(delete(_CLASS).where(_CLASS.c.class_id == class_id))
            unit.audit("class.removed", actor=actor, subject=class_id, institution=row.institution)

    @retry_once
    def ensure_class(self, school: School, level: int, name: str, *, actor: str) -> SchoolClass:
        """Return the class, added with its grade where it is missing."""
        wanted = _classes().where(
            _GRADE.c.school_id == school.school_id, _GRADE.c.level == level, _CLASS.c.name == name
        )
        with self._work.database.read() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is not None:
            return _class(row)
        with self._work.begin() as unit:
            key = {"school_id": school.school_id, "level": level}
            unit.insert_or_ignore(
                _GRADE,
                {
                    "grade_id": str(uuid.uuid4()),
                    "institution": school.institution,
                    "name": grade_name(level),
                    **key,
                },
            )
            grade = unit.connection.execute(select(_GRADE).filter_by(**key)).one()
            unit.insert_or_ignore(
                _CLASS,
                {
                    "class_id": str(uuid.uuid4()),
                    "institution": school.institution,
                    "grade_id": grade.grade_id,
                    "name": name,
                },
            )
            row = unit.connection.execute(wanted).one()
            unit.audit(
                "class.saved", actor=actor, subject=row.class_id, institution=row.institution
            )
        return _class(row)

    @retry_once
    def remove_school(self, school: School, *, actor: str) -> None:
        """Remove a school with its empty grades and classes.

        Raises:
            StorageConflict: a batch, an application, a pupil or a liaison belongs to it.
        """
        school_id = school.school_id
        with self._work.begin() as unit:
            fetch_row(unit, tables.school, school_id=school_id)
            for table in (tables.batch, tables.application, _MEMBER, tables.liaison):
                _require_unused(
                    unit, select(table.c.institution).where(table.c.school_id == school_id)
                )
            grades = select(_GRADE.c.grade_id).where(_GRADE.c.school_id == school_id)
            unit.connection.execute(delete(_CLASS).where(_CLASS.c.grade_id.in_(grades)))
            for table in (_GRADE, tables.school):
                unit.connection.execute(delete(table).where(table.c.school_id == school_id))
            unit.connection.execute(
                delete(tables.school_calendar).where(
                    tables.school_calendar.c.institution == school.institution,
                    tables.school_calendar.c.school_code == school.code,
                )
            )
            unit.audit(
                "school.removed", actor=actor, subject=school_id, institution=school.institution
            )

    # --- memberships

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
        found.sort(key=lambda each: (*_class_order(each.school_class), each.patron_id))
        return tuple(found)

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
    known = set(
        unit.connection.scalars(
            select(_CLASS.c.class_id)
            .join(_GRADE, _GRADE.c.grade_id == _CLASS.c.grade_id)
            .where(_GRADE.c.school_id == school.school_id)
        )
    )
    if not known.issuperset(places.values()):
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
    for patron_id, class_id in moving:
        unit.audit(
            "membership.begun",
            actor=actor,
            subject=patron_id,
            detail={"class": class_id, "year": school_year},
            institution=school.institution,
        )
    return len(moving)


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


def _require_unused(unit: UnitOfWork, query: Select[Any]) -> None:
    if unit.connection.execute(query.limit(1)).first() is not None:
        raise StorageConflict("in_use")


def _classes() -> Select[Any]:
    return select(_CLASS, _GRADE.c.school_id, _GRADE.c.level).join(
        _GRADE, _GRADE.c.grade_id == _CLASS.c.grade_id
    )


def _members() -> Select[Any]:
    return (
        _classes()
        .add_columns(_MEMBER.c.person_id, _MEMBER.c.school_year)
        .join(_MEMBER, _MEMBER.c.class_id == _CLASS.c.class_id)
    )


def _class_order(school_class: SchoolClass) -> tuple[int, int, int, str]:
    """Order class 2 before class 10."""
    name = school_class.name
    number = int(name) if name.isascii() and name.isdigit() else 0
    return school_class.level, school_class.sort_order, number, name


def _grade(row: Row[Any]) -> Grade:
    return Grade(
        grade_id=row.grade_id,
        institution=InstitutionId(row.institution),
        school_id=row.school_id,
        level=row.level,
        name=row.name,
        disabled=row.disabled,
        sort_order=row.sort_order,
        remark=row.remark,
    )


def _class(row: Row[Any]) -> SchoolClass:
    return SchoolClass(
        class_id=row.class_id,
        institution=InstitutionId(row.institution),
        school_id=row.school_id,
        grade_id=row.grade_id,
        level=row.level,
        name=row.name,
        disabled=row.disabled,
        sort_order=row.sort_order,
        remark=row.remark,
    )


def _member(row: Row[Any]) -> ClassMember:
    return ClassMember(PatronId(row.person_id), _class(row), row.school_year)
