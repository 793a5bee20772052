"""School years, grades and stages: which level a pupil is in, and when he leaves the school.

Nothing here stores, or reads how a school writes its classes (``class_names`` does). Rules
(A45, facts: the school year is 1 September to 31 August) —

- a grade is a level: −2, −1, 0 for the three kindergarten years, 1 to 12 for school;
- the 6-3 system has six primary and three junior years, the 5-4 system five and four;
- a school year is named by the calendar year in which it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum

__all__ = [
    "FIRST_LEVEL",
    "LAST_LEVEL",
    "SchoolStage",
    "SchoolSystem",
    "grade_name",
    "last_day_of_school_year",
    "last_day_of_stage",
    "level_of_entry",
    "levels_of",
    "school_year_of",
    "stage_of",
]

FIRST_LEVEL = -2
LAST_LEVEL = 12

_YEAR_BEGINS = (9, 1)


class SchoolStage(StrEnum):
    """What kind of school it is."""

    KINDERGARTEN = "kindergarten"
    PRIMARY = "primary"
    JUNIOR = "junior"
    SENIOR = "senior"


class SchoolSystem(StrEnum):
    """How the nine years of compulsory school are divided: 六三制 or 五四制."""

    SIX_THREE = "6-3"
    FIVE_FOUR = "5-4"


_STAGES: Mapping[SchoolSystem, Mapping[SchoolStage, tuple[int, int]]] = {
    SchoolSystem.SIX_THREE: {
        SchoolStage.KINDERGARTEN: (-2, 0),
        SchoolStage.PRIMARY: (1, 6),
        SchoolStage.JUNIOR: (7, 9),
        SchoolStage.SENIOR: (10, 12),
    },
    SchoolSystem.FIVE_FOUR: {
        SchoolStage.KINDERGARTEN: (-2, 0),
        SchoolStage.PRIMARY: (1, 5),
        SchoolStage.JUNIOR: (6, 9),
        SchoolStage.SENIOR: (10, 12),
    },
}

_NAMES: Mapping[int, tuple[str, str]] = {
    -2: ("小班", "Nursery class"),
    -1: ("中班", "Middle class"),
    0: ("大班", "Reception class"),
    **{
        level: (f"{'一二三四五六七八九'[level - 1]}年级", f"Grade {level}")
        for level in range(1, 10)
    },
    10: ("高一", "Grade 10"),
    11: ("高二", "Grade 11"),
    12: ("高三", "Grade 12"),
}


def school_year_of(day: date) -> int:
    """Return the school year that a day belongs to: 2026 for 1 September 2026 and after."""
    return day.year if (day.month, day.day) >= _YEAR_BEGINS else day.year - 1


def last_day_of_school_year(school_year: int) -> date:
    """Return 31 August of the year after."""
    return date(school_year + 1, 8, 31)


def levels_of(stage: SchoolStage | None, system: SchoolSystem) -> range:
    """Return the levels that a school of this stage has; all of them when the stage is not told."""
    if stage is None:
        return range(FIRST_LEVEL, LAST_LEVEL + 1)
    first, last = _STAGES[system][stage]
    return range(first, last + 1)


def stage_of(level: int, system: SchoolSystem) -> SchoolStage:
    """Return the stage of a level; ``ValueError`` for a level that does not exist."""
    for stage, (first, last) in _STAGES[system].items():
        if first <= level <= last:
            return stage
    raise ValueError("no such level")


def grade_name(level: int, language: str = "zh") -> str:
    """Return what a level is called, in Chinese or English."""
    return _NAMES[level][language.startswith("en")]


def level_of_entry(
    entry_year: int, stage: SchoolStage, system: SchoolSystem, school_year: int
) -> int | None:
    """Return the level in which those are who entered the stage in a year, None when they left."""
    first, last = _STAGES[system][stage]
    level = first + school_year - entry_year
    return level if first <= level <= last else None


def last_day_of_stage(level: int, system: SchoolSystem, school_year: int) -> date:
    """Return the day on which those who are now in ``level`` finish their stage."""
    _, last = _STAGES[system][stage_of(level, system)]
    return last_day_of_school_year(school_year + last - level)
