"""Grades and classes in the database (``connector.ports.schools.SchoolStore``).

Nothing here knows who is in a class; ``memberships`` does. Rules: every method is one unit of work,
audited with ids and codes; what was used is not removed (A45, A46).
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Row, Select, delete, select, update

from connector.domain.ids import InstitutionId
from connector.domain.school import grade_name
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import School
from connector.ports.schools import Grade, SchoolClass
from connector.storage import tables
from connector.storage.repositories.class_rows import class_order, read_class, select_classes
from connector.storage.repositories.memberships import StoredMemberships
from connector.storage.repositories.rows import fetch_row
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["StoredClasses"]

_GRADE = tables.grade
_CLASS = tables.school_class
_MEMBER = tables.class_membership


class StoredClasses(StoredMemberships):
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
            wanted = select_classes().where(
                _CLASS.c.grade_id == school_class.grade_id, _CLASS.c.name == school_class.name
            )
            row = unit.connection.execute(wanted).one_or_none()
            if row is None:
                raise NotFound("class")
            unit.audit(
                "class.saved", actor=actor, subject=row.class_id, institution=row.institution
            )
        return read_class(row)

    def list_classes(self, school_id: str) -> tuple[SchoolClass, ...]:
        """Return a school's classes by level, sort order and name."""
        query = select_classes().where(_GRADE.c.school_id == school_id)
        with self._work.database.read() as connection:
            found = [read_class(row) for row in connection.execute(query)]
        return tuple(sorted(found, key=class_order))

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
        wanted = select_classes().where(
            _GRADE.c.school_id == school.school_id, _GRADE.c.level == level, _CLASS.c.name == name
        )
        with self._work.database.read() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is not None:
            return read_class(row)
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
        return read_class(row)

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


def _require_unused(unit: UnitOfWork, query: Select[Any]) -> None:
    if unit.connection.execute(query.limit(1)).first() is not None:
        raise StorageConflict("in_use")


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
