"""When a school year begins and ends at a school, by its calendar where it has one.

Nothing here stores. Rules: a school's own calendar goes before the library's, that before
1 September to 31 August; the days between two calendars belong to the year that ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from connector.domain.school import last_day_of_school_year, school_year_of
from connector.ports.enrolment import School
from connector.ports.schools import Calendar

__all__ = ["find_first_day", "find_last_day", "find_placing_year", "find_school_year"]


def find_school_year(calendars: Sequence[Calendar], school: School | None, today: date) -> int:
    """Return the school year that a day belongs to at a school; None = at the library."""
    usual = school_year_of(today)
    for year in (usual + 1, usual):
        if find_first_day(calendars, school, year) <= today:
            return year
    return usual - 1


def find_placing_year(
    calendars: Sequence[Calendar], school: School, today: date, years: Iterable[int]
) -> tuple[int, date]:
    """Return the school year for which pupils are put into classes now, and from which day.

    After a promotion in summer it is the new year, which has not begun.

    Args:
        years: school years that the school's pupils are in a class for.
    """
    year = max([find_school_year(calendars, school, today), *years])
    return year, max(today, find_first_day(calendars, school, year))


def find_first_day(calendars: Sequence[Calendar], school: School | None, school_year: int) -> date:
    """Return the day on which a school year begins."""
    calendar = _find(calendars, school, school_year)
    return date(school_year, 9, 1) if calendar is None else calendar.first_day


def find_last_day(calendars: Sequence[Calendar], school: School | None, school_year: int) -> date:
    """Return the day on which a school year ends."""
    calendar = _find(calendars, school, school_year)
    return last_day_of_school_year(school_year) if calendar is None else calendar.last_day


def _find(
    calendars: Sequence[Calendar], school: School | None, school_year: int
) -> Calendar | None:
    found = {
        calendar.school_code: calendar
        for calendar in calendars
        if calendar.school_year == school_year
    }
    return (found.get(school.code) if school is not None else None) or found.get("")
