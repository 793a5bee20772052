"""What the rows of one roster are checked against: birth dates, districts, classes.

Nothing here reads a row; ``roster_row`` does. Rules: what depends on the day, the school and the
programme is worked out once for all rows, and so is each class and district that a roster names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeVar

from connector.domain.cell_text import is_odd_text, read_text
from connector.domain.class_names import parse_class_name
from connector.domain.school import SchoolStage, SchoolSystem, school_year_of

__all__ = ["ClassCells", "RowContext", "RowRules", "day_number"]


@dataclass(frozen=True, slots=True)
class RowContext:
    """What a row is checked against.

    Attributes:
        today: the day in the library's zone.
        stage: None = the age is not checked against it.
        districts: counties that the programme serves; empty = any.
        school_year: in which the roster is written; None = that of ``today``.
        rules: follows from the others.
    """

    today: date
    stage: SchoolStage | None = None
    districts: frozenset[str] = frozenset()
    system: SchoolSystem = SchoolSystem.SIX_THREE
    school_year: int | None = None
    rules: RowRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", RowRules(self))


_AGES: Mapping[SchoolStage, tuple[int, int]] = {
    SchoolStage.KINDERGARTEN: (2, 7),
    SchoolStage.PRIMARY: (5, 15),
    SchoolStage.JUNIOR: (10, 18),
    SchoolStage.SENIOR: (13, 22),
}
"""Completed years that a pupil of a stage may have, with a margin for early and late entry."""

_ADULT: Final = 18
_NO_PUPIL: Final = 23
_AGE_OF_LEVEL_0: Final = 5
"""Completed years of who begins the last kindergarten year on 1 September; level 1 begins at 6."""
_YOUNGER: Final = 1
_OLDER: Final = 3

_TENTH = re.compile(r"[0-9]{1,2}\.1")
_DISTRICT_ENDINGS = ("自治县", "区", "县", "市")
_LARGEST_CACHE: Final = 2000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ClassCells:
    """What the class and grade columns of a row say: text, level, class; codes of what is wrong."""

    text: str
    level: int | None = None
    label: str = ""
    note: tuple[str, str] | None = None
    problems: tuple[tuple[str, str], ...] = ()


class RowRules:
    """What is worked out once for all rows of a roster: birth dates, districts, classes met."""

    def __init__(self, context: RowContext) -> None:
        self.context = context
        self.today = today = context.today
        self.year = school_year_of(today) if context.school_year is None else context.school_year
        stage = context.stage
        limit = _NO_PUPIL if stage in {None, SchoolStage.SENIOR} else _ADULT
        self.last_adult = day_number(today, limit)
        """Who was born on that day or before is an adult."""
        self.stage_births = None if stage is None else _births(today, *_AGES[stage])
        self._served = frozenset(_short_district(name) for name in context.districts)
        self._classes: dict[tuple[object, object], ClassCells] = {}
        self._districts: dict[str, str] = {}
        self._births: dict[int, range] = {}

    def births_of_level(self, level: int) -> range:
        """Return the birth dates that fit a level, as numbers like 20150301."""
        births = self._births.get(level)
        if births is None:
            age = level + _AGE_OF_LEVEL_0
            day = date(self.year, 9, 1)
            births = self._births[level] = _births(day, age - _YOUNGER, age + _OLDER)
        return births

    def check_district(self, district: str) -> str:
        """Return a problem code, empty for a district that the programme serves."""
        code = self._districts.get(district)
        if code is None:
            if not district:
                code = "district_missing"
            elif self._served and _short_district(district) not in self._served:
                code = "district_unknown"
            else:
                code = ""
            _keep(self._districts, district, code)
        return code

    def read_class(self, raw: object, raw_grade: object) -> ClassCells:
        """Return what the two cells say; the same texts are read only once."""
        if not isinstance(raw, str | None) or not isinstance(raw_grade, str | None):
            return self._read_class(raw, raw_grade)
        found = self._classes.get((raw, raw_grade))
        if found is None:
            found = self._read_class(raw, raw_grade)
            _keep(self._classes, (raw, raw_grade), found)
        return found

    def _read_class(self, raw: object, raw_grade: object) -> ClassCells:
        text, grade = read_text(raw), read_text(raw_grade)
        wrong = [
            (column, "text_format")
            for column, written in (("class_name", text), ("grade", grade))
            if is_odd_text(written)
        ]
        whole = text if text.startswith(grade) else grade + text
        if not wrong and is_odd_text(whole):
            wrong = [("class_name", "text_format")]
        if wrong or not whole:
            return ClassCells(whole, problems=tuple(wrong))
        if isinstance(raw, float) and _TENTH.fullmatch(text):
            return ClassCells(whole, note=("class_name", "class_digits_lost"))
        found = parse_class_name(
            text,
            stage=self.context.stage,
            system=self.context.system,
            school_year=self.year,
            grade=grade,
        )
        if found is None:
            return ClassCells(whole, note=("class_name" if text else "grade", "class_unclear"))
        return ClassCells(whole, found.level, found.name)


def _keep(cache: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remember what was worked out, until a roster has strangely many different texts."""
    if len(cache) >= _LARGEST_CACHE:
        cache.clear()
    cache[key] = value


def day_number(day: date, years_ago: int = 0) -> int:
    """Return a day as a number like 20150301; such numbers compare as days do."""
    return (day.year - years_ago) * 10000 + day.month * 100 + day.day


def _births(day: date, youngest: int, oldest: int) -> range:
    """Return the birth dates of who has completed so many years on a day (see ``age_on``)."""
    return range(day_number(day, oldest + 1) + 1, day_number(day, youngest) + 1)


def _short_district(name: str) -> str:
    for ending in _DISTRICT_ENDINGS:
        if len(name) > len(ending) + 1 and name.endswith(ending):
            return name.removesuffix(ending)
    return name
