from datetime import date

import pytest

from connector.domain.enrolment import SchoolStage
from connector.domain.school import (
    FIRST_LEVEL,
    LAST_LEVEL,
    SchoolSystem,
    grade_name,
    last_day_of_school_year,
    last_day_of_stage,
    level_of_entry,
    levels_of,
    school_year_of,
    stage_of,
)

SIX, FIVE = SchoolSystem.SIX_THREE, SchoolSystem.FIVE_FOUR


@pytest.mark.parametrize(
    ("day", "year"),
    [(date(2026, 8, 31), 2025), (date(2026, 9, 1), 2026), (date(2027, 1, 1), 2026)],
)
def test_a_school_year_begins_on_the_first_of_september(day, year):
    assert school_year_of(day) == year
    assert last_day_of_school_year(year) == date(year + 1, 8, 31)


@pytest.mark.parametrize(
    ("level", "six", "five"),
    [
        (-2, SchoolStage.KINDERGARTEN, SchoolStage.KINDERGARTEN),
        (0, SchoolStage.KINDERGARTEN, SchoolStage.KINDERGARTEN),
        (1, SchoolStage.PRIMARY, SchoolStage.PRIMARY),
        (5, SchoolStage.PRIMARY, SchoolStage.PRIMARY),
        (6, SchoolStage.PRIMARY, SchoolStage.JUNIOR),
        (9, SchoolStage.JUNIOR, SchoolStage.JUNIOR),
        (10, SchoolStage.SENIOR, SchoolStage.SENIOR),
    ],
)
def test_a_level_has_one_stage_per_system(level, six, five):
    assert stage_of(level, SIX) is six
    assert stage_of(level, FIVE) is five
    assert level in levels_of(six, SIX)


def test_a_level_that_does_not_exist_has_no_stage():
    with pytest.raises(ValueError, match="level"):
        stage_of(LAST_LEVEL + 1, SIX)


def test_a_school_of_several_stages_has_every_level():
    assert list(levels_of(None, SIX)) == list(range(FIRST_LEVEL, LAST_LEVEL + 1))


def test_each_intake_of_a_stage_has_its_level():
    for system in SchoolSystem:
        for stage in SchoolStage:
            for years, level in enumerate(levels_of(stage, system)):
                assert level_of_entry(2026 - years, stage, system, 2026) == level


def test_who_has_left_the_stage_has_no_level():
    assert level_of_entry(2019, SchoolStage.PRIMARY, SIX, 2026) is None
    assert level_of_entry(2027, SchoolStage.PRIMARY, SIX, 2026) is None


@pytest.mark.parametrize(
    ("level", "system", "day"),
    [
        (6, SIX, date(2027, 8, 31)),
        (3, SIX, date(2030, 8, 31)),
        (3, FIVE, date(2029, 8, 31)),
        (6, FIVE, date(2030, 8, 31)),
        (0, SIX, date(2027, 8, 31)),
    ],
)
def test_a_stage_ends_with_its_last_school_year(level, system, day):
    assert last_day_of_stage(level, system, 2026) == day


def test_every_level_has_a_name_in_both_languages():
    names = {
        grade_name(level, language)
        for level in range(FIRST_LEVEL, LAST_LEVEL + 1)
        for language in ("zh", "en")
    }
    assert len(names) == 30
    assert grade_name(3) == "三年级"
    assert grade_name(3, "en") == "Grade 3"
