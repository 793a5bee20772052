"""A class as rows: how it is selected with its school and level, and in which order it is shown.

Nothing here begins a transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, select

from connector.domain.ids import InstitutionId
from connector.ports.schools import SchoolClass
from connector.storage import tables

__all__ = ["class_order", "read_class", "select_classes"]


def select_classes() -> Select[Any]:
    """Return the query for classes with their school and level."""
    return select(tables.school_class, tables.grade.c.school_id, tables.grade.c.level).join(
        tables.grade, tables.grade.c.grade_id == tables.school_class.c.grade_id
    )


def read_class(row: Row[Any]) -> SchoolClass:
    """Return the class of a row of ``select_classes``."""
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


def class_order(school_class: SchoolClass) -> tuple[int, int, int, str]:
    """Order class 2 before class 10."""
    name = school_class.name
    number = int(name) if name.isascii() and name.isdigit() else 0
    return school_class.level, school_class.sort_order, number, name
