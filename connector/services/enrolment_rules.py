"""One library's rules of enrolment, as values that bootstrap fills from the settings.

Nothing here decides. Rules: A36 (the library numbers the cards), decisions 19–21.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from connector.domain.card import CardRange
from connector.domain.enrolment import RowContext
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.ports.enrolment import School
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

    @classmethod
    def from_settings(
        cls, settings: EnrolmentSettings, institution: InstitutionId, zone: ZoneInfo
    ) -> EnrolmentRules:
        """Return the rules that ``[enrolment]`` gives a library.

        Raises:
            ConfigurationError: the card range is impossible.
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
        )

    def today(self, now: datetime) -> date:
        """Return the calendar day in the library's zone."""
        return now.astimezone(self.zone).date()

    def row_context(self, now: datetime, school: School) -> RowContext:
        """Return what the rows of a school's roster are checked against."""
        return RowContext(self.today(now), school.stage, self.districts)

    def expiry(self, now: datetime) -> date | None:
        """Return the last day of a card that is activated now."""
        if self.valid_years is None:
            return None
        today = self.today(now)
        day = 28 if (today.month, today.day) == (2, 29) else today.day
        return today.replace(year=today.year + self.valid_years, day=day)
