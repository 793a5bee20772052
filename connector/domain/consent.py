"""Whether a guardian's consent holds today, for one child and one scope.

Nothing here stores, or reads a text. Rules (decision 20, scenarios 5 and 7) —

- a consent holds for exactly the scope that was signed, and for what its text said: once a later
  text widens what is agreed to, the guardian is asked again;
- where the programme says so, what was signed for a child under 14 is signed anew at 14 (PIPL 31);
- ages are counted by the calendar day of the library, never of UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from connector.domain.enrolment import ConsentScope
from connector.domain.identity import age_on
from connector.domain.ids import PatronId

__all__ = [
    "AGE_OF_RENEWAL",
    "Consent",
    "ConsentRules",
    "ConsentTerms",
    "ConsentVerdict",
    "decide_consent",
]

AGE_OF_RENEWAL = 14
"""A child in the sense of PIPL 28 and 31 is younger."""


@dataclass(frozen=True, slots=True)
class Consent:
    """A guardian's latest answer for one scope.

    Attributes:
        evidence: where the signed form is kept; a reference, never a name.
        text_digest: SHA-256 of the text that was signed; empty in rows of the first release.
    """

    patron_id: PatronId
    scope: ConsentScope
    text_version: str
    given: bool
    recorded_at: datetime
    withdrawn_at: datetime | None = None
    evidence: str = field(default="", repr=False)
    text_digest: str = ""

    @property
    def holds(self) -> bool:
        """Whether the consent was given and not withdrawn."""
        return self.given and self.withdrawn_at is None


@dataclass(frozen=True, slots=True)
class ConsentTerms:
    """The text that guardians are shown now.

    Attributes:
        version: versions sort by age, as ``2026-09`` before ``2027-09``.
        widened_in: versions whose text agrees to more than the one before it.
    """

    version: str
    widened_in: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ConsentRules:
    """What the programme asks beyond the law.

    Attributes:
        at_fourteen: a consent given for a child under 14 ends on the 14th birthday.
    """

    zone: ZoneInfo
    at_fourteen: bool = False


class ConsentVerdict(StrEnum):
    """Whether a consent holds, and if not, why."""

    HOLDS = "holds"
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    OUTDATED = "outdated"
    """A later text widens what was agreed to."""
    TURNED_FOURTEEN = "turned_fourteen"

    @property
    def must_be_renewed(self) -> bool:
        """Whether the guardian agreed once and has to be asked again."""
        return self in {ConsentVerdict.OUTDATED, ConsentVerdict.TURNED_FOURTEEN}


def decide_consent(
    consents: Iterable[Consent],
    *,
    birth_date: date | None,
    today: date,
    text: ConsentTerms,
    rules: ConsentRules,
    scope: ConsentScope = ConsentScope.CARD,
) -> ConsentVerdict:
    """Decide whether the consent for a scope holds on a day of the library.

    Args:
        consents: the latest answer per scope, of one child.
        birth_date: None = not known; then no rule of age applies.
    """
    consent = next((each for each in consents if each.scope is scope), None)
    if consent is None:
        return ConsentVerdict.NO_ANSWER
    if not consent.given:
        return ConsentVerdict.REFUSED
    if consent.withdrawn_at is not None:
        return ConsentVerdict.WITHDRAWN
    signed = consent.text_version
    if any(signed < version <= text.version for version in text.widened_in):
        return ConsentVerdict.OUTDATED
    if rules.at_fourteen and birth_date is not None:
        given_on = consent.recorded_at.astimezone(rules.zone).date()
        if age_on(birth_date, given_on) < AGE_OF_RENEWAL <= age_on(birth_date, today):
            return ConsentVerdict.TURNED_FOURTEEN
    return ConsentVerdict.HOLDS
