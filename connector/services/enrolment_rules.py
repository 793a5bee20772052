"""One library's rules of enrolment, as values that bootstrap fills from the settings.

Nothing here decides. Rules: A36 (the library numbers the cards), decisions 19–21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from connector.domain.card import CardRange
from connector.domain.consent import ConsentRules, ConsentTerms
from connector.domain.enrolment import RowContext
from connector.domain.ids import InstitutionId
from connector.domain.school import SchoolSystem, last_day_of_stage, school_year_of
from connector.enrolment.consent_texts import list_widening
from connector.errors import ConfigurationError
from connector.ports.enrolment import School
from connector.ports.schools import ClassMember
from connector.settings import EnrolmentSettings

__all__ = ["EnrolmentRules"]


@dataclass(frozen=True, slots=True)
class EnrolmentRules:
    """What one library's programme says.

    Attributes:
        category: patron category of a student card, for the ILS and for the policy (A23).
        consent_text_version, undertaking_version: the texts that guardians are shown now (A22).
        valid_years: how long a card is valid from its activation; None = without end.
        districts: counties that the programme serves; empty = any.
        ask_again_after_refusal: a roster row may ask again where a guardian refused (scenario 5).
        numbers_for_ils: kinds of numbers that the ILS is given, so that its own desk finds the
            pupil by them (A11); empty = none, the connector alone resolves them.
        unanswered_for: how long an application waits for its guardian's answer; None = for ever.
        pin_digits: length of the random PIN.
        widened_in: versions of the consent text that agree to more than the one before.
        consent_at_fourteen: a guardian consents anew when the child turns 14 (scenario 7).
        drop_percent: a complete roster that misses more pupils of a school closes nobody at once.
        grace_days: how long after the end of his stage a pupil's card stays valid.
    """

    institution: InstitutionId
    zone: ZoneInfo
    cards: CardRange = field(default_factory=CardRange)
    category: str = "student"
    consent_text_version: str = "2026-09"
    undertaking_version: str = "2026-09"
    valid_years: int | None = 6
    districts: frozenset[str] = frozenset()
    ask_again_after_refusal: bool = False
    numbers_for_ils: frozenset[str] = frozenset({"id_card"})
    home_branch: str = ""
    unanswered_for: timedelta | None = timedelta(days=180)
    pin_digits: int = 6
    widened_in: tuple[str, ...] = ()
    consent_at_fourteen: bool = False
    grace_days: int = 90
    drop_percent: float = 5

    @classmethod
    def from_settings(
        cls, settings: EnrolmentSettings, institution: InstitutionId, zone: ZoneInfo
    ) -> EnrolmentRules:
        """Return the rules that ``[enrolment]`` gives a library.

        Raises:
            ConfigurationError: the card range is impossible, or the folder of own texts is not
                there or holds what is not a text.
        """
        numbers = settings.cards
        try:
            cards = CardRange(numbers.prefix, numbers.first, numbers.last, numbers.digits)
        except ValueError as err:
            raise ConfigurationError(f"[enrolment.cards]: {err}.", "Change that table.") from err
        return cls(
            institution=institution,
            zone=zone,
            cards=cards,
            category=settings.category,
            consent_text_version=settings.consent_text_version,
            undertaking_version=settings.undertaking_version,
            valid_years=settings.valid_years,
            districts=settings.districts,
            ask_again_after_refusal=settings.ask_again_after_refusal,
            numbers_for_ils=settings.numbers_for_ils,
            unanswered_for=timedelta(days=settings.purge_unanswered_days),
            widened_in=list_widening(settings.consent_texts),
            consent_at_fourteen=settings.consent_at_fourteen,
            grace_days=settings.grace_days,
            drop_percent=settings.drop_percent,
        )

    @property
    def consent_terms(self) -> ConsentTerms:
        """The text that guardians are shown now."""
        return ConsentTerms(self.consent_text_version, self.widened_in)

    @property
    def consent_rules(self) -> ConsentRules:
        """What the programme asks of a consent beyond the law."""
        return ConsentRules(self.zone, self.consent_at_fourteen)

    def today(self, now: datetime) -> date:
        """Return the calendar day in the library's zone."""
        return now.astimezone(self.zone).date()

    def row_context(
        self, now: datetime, school: School, school_year: int | None = None
    ) -> RowContext:
        """Return what the rows of a school's roster are checked against.

        Args:
            school_year: by the school's calendar; None = by the day.
        """
        return RowContext(self.today(now), school.stage, self.districts, school.system, school_year)

    def expiry(
        self,
        now: datetime,
        level: int | None = None,
        system: SchoolSystem | None = None,
        school_year: int | None = None,
    ) -> date | None:
        """Return the last day of a card that is opened now.

        It is the end of the pupil's stage and some days of grace where his level is known, else
        ``valid_years`` from today; so it is too where that end has passed.

        Args:
            level: the pupil's, in ``school_year`` (this one by default).
        """
        today = self.today(now)
        if level is not None:
            year = school_year_of(today) if school_year is None else school_year
            end = last_day_of_stage(level, system or SchoolSystem.SIX_THREE, year)
            if end >= today:
                return end + timedelta(days=self.grace_days)
        if self.valid_years is None:
            return None
        day = 28 if (today.month, today.day) == (2, 29) else today.day
        return today.replace(year=today.year + self.valid_years, day=day)

    def expiry_for(
        self, now: datetime, member: ClassMember | None, schools: Mapping[str, School]
    ) -> date | None:
        """Return the last day of the card of a pupil in a class; None = in no class.

        Args:
            schools: by id.
        """
        if member is None:
            return self.expiry(now)
        school = schools.get(member.school_class.school_id)
        return self.expiry(
            now,
            level=member.school_class.level,
            system=school.system if school else None,
            school_year=member.school_year,
        )
