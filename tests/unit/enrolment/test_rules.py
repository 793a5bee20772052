"""Rules of enrolment out of the settings."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from connector.domain.card import CardRange
from connector.domain.enrolment import SchoolStage
from connector.domain.identity import age_on
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.ports.enrolment import School
from connector.services.enrolment_rules import EnrolmentRules
from connector.settings import EnrolmentSettings


def rules(**tables):
    settings = EnrolmentSettings.model_validate(tables)
    return EnrolmentRules.from_settings(settings, InstitutionId("FD"), ZoneInfo("Asia/Shanghai"))


def test_settings_become_rules():
    found = rules(
        cards={"prefix": "FD", "first": 10, "last": 99, "digits": 4},
        category="pupil",
        valid_years=3,
        districts=["丰都县"],
        consent_text_version="2026-10",
    )
    assert found.cards == CardRange("FD", 10, 99, 4)
    assert (found.category, found.valid_years, found.consent_text_version) == (
        "pupil",
        3,
        "2026-10",
    )
    assert found.districts == {"丰都县"}
    assert found.numbers_for_ils == {"id_card"}


def test_an_impossible_range_is_a_mistake_in_the_settings():
    with pytest.raises(ConfigurationError, match=r"\[enrolment.cards\]"):
        rules(cards={"prefix": "fd-"})


def test_a_pupil_is_as_old_as_the_library_s_calendar_says():
    """Scenario 7: 13 years and 364 days in UTC, 14 in UTC+8."""
    moment = datetime(2026, 9, 9, 16, 30, tzinfo=UTC)
    school = School("1", InstitutionId("FD"), "j1", "一中", SchoolStage.JUNIOR)
    context = rules().row_context(moment, school)
    assert (context.today, context.stage) == (date(2026, 9, 10), SchoolStage.JUNIOR)
    assert age_on(date(2012, 9, 10), context.today) == 14
    assert age_on(date(2012, 9, 10), moment.date()) == 13
