"""Grades, classes, who is in them, and the school year, as the enrolment services need them.

Nothing here stores; ``connector.storage`` does. Rules: A45, A46; a membership ends, it is never
changed or removed, so that its history stays (scenario 27).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.ports.enrolment import School

__all__ = [
    "Calendar",
    "Campaign",
    "CampaignCounts",
    "ClassMember",
    "Grade",
    "Liaison",
    "Membership",
    "SchoolClass",
    "SchoolStore",
    "ShortAccount",
]


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade of a school; ``level`` is −2 to 12 (``domain.school``)."""

    grade_id: str
    institution: InstitutionId
    school_id: str
    level: int
    name: str
    disabled: bool = False
    sort_order: int = 0
    remark: str = ""


@dataclass(frozen=True, slots=True)
class SchoolClass:
    """A class of a grade; an empty name is the grade as a whole, where the class is not told."""

    class_id: str
    institution: InstitutionId
    school_id: str
    grade_id: str
    level: int
    name: str
    disabled: bool = False
    sort_order: int = 0
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Membership:
    """A pupil in a class, for a school year; ``until`` None = he is in it now.

    Attributes:
        reason: why it ended: ``promoted``, ``merged``, ``moved``, ``transferred`` or ``left``.
    """

    patron_id: PatronId
    school_id: str
    class_id: str
    school_year: int
    since: date
    until: date | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClassMember:
    """Which class a pupil is in now."""

    patron_id: PatronId
    school_class: SchoolClass
    school_year: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """A school year that does not run from 1 September to 31 August; an empty ``school_code`` is
    every school of the library.
    """

    institution: InstitutionId
    school_code: str
    school_year: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Liaison:
    """Who speaks for a school, or for the library where ``school_id`` is None (A21)."""

    liaison_id: str
    institution: InstitutionId
    school_id: str | None
    patron_id: PatronId
    appointed_by: str
    appointed_at: datetime
    name: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A yearly intake: a window, and which levels it is for; empty = all (A04)."""

    campaign_id: str
    institution: InstitutionId
    code: str
    name: str
    school_year: int
    opens: date
    closes: date
    levels: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ShortAccount:
    """An account that ends in the ILS before the pupil's card does; ``expires`` is the card's."""

    patron_id: PatronId
    ils_patron: IlsPatronId
    kind: str
    expires: date


@dataclass(frozen=True, slots=True)
class CampaignCounts:
    """How far a school is with a campaign.

    Attributes:
        pupils: known pupils of the target levels.
        applied: those with an open application; ``agreed``: those whose guardian consents to the
            card; ``active``: those whose card is open.
    """

    pupils: int = 0
    applied: int = 0
    agreed: int = 0
    active: int = 0


class SchoolStore(Protocol):
    """Grades, classes, memberships, calendars, liaisons and campaigns; each method is one
    transaction, audited.
    """

    # --- grades and classes

    def save_grade(self, grade: Grade, *, actor: str) -> Grade:
        """Add a grade, or change the one of the same school and level; return it as stored."""
        ...

    def list_grades(self, school_id: str) -> tuple[Grade, ...]:
        """Return a school's grades by sort order, then level."""
        ...

    def remove_grade(self, grade_id: str, *, actor: str) -> None:
        """Remove a grade; ``StorageConflict`` when it has classes."""
        ...

    def save_class(self, school_class: SchoolClass, *, actor: str) -> SchoolClass:
        """Add a class, or change the one with the same id, else of the same grade and name; return
        it as stored. ``StorageConflict`` when a class would get the name of another.
        """
        ...

    def remove_class(self, class_id: str, *, actor: str) -> None:
        """Remove a class; ``StorageConflict`` when anybody is or was in it."""
        ...

    def remove_school(self, school: School, *, actor: str) -> None:
        """Remove a school with its grades and classes; ``StorageConflict`` when a batch, an
        application, a pupil or a liaison belongs to it.
        """
        ...

    def list_classes(self, school_id: str) -> tuple[SchoolClass, ...]:
        """Return a school's classes by level, sort order and name."""
        ...

    def ensure_class(self, school: School, level: int, name: str, *, actor: str) -> SchoolClass:
        """Return the class, added with its grade where it is missing."""
        ...

    # --- memberships

    def place_pupils(
        self,
        school: School,
        places: Mapping[PatronId, str],
        *,
        school_year: int,
        on: date,
        reason: str,
        actor: str,
    ) -> int:
        """Put pupils into classes (patron → class id); return how many moved.

        Who is in that class for that school year already is left alone, and so is who is in a class
        of the school for a later year: nobody goes back. Another membership of his that is open
        ends the day before ``on`` for ``reason`` (never before it began).
        """
        ...

    def end_memberships(
        self, patrons: Collection[PatronId], *, on: date, reason: str, actor: str
    ) -> int:
        """End the open memberships of pupils with the day ``on``; return how many ended."""
        ...

    def list_members(
        self, school_id: str, *, class_id: str | None = None
    ) -> tuple[ClassMember, ...]:
        """Return who is in the school's classes now."""
        ...

    def list_member_years(self, school_id: str) -> frozenset[int]:
        """Return the school years that the school's pupils are in a class for now."""
        ...

    def find_memberships(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, ClassMember]:
        """Return the present classes of these pupils; who has none is left out."""
        ...

    def list_finished(self, school_id: str) -> frozenset[PatronId]:
        """Return who has finished the school, or left it, and is in no class now."""
        ...

    def list_history(self, patron_id: PatronId) -> tuple[Membership, ...]:
        """Return every membership of a pupil, oldest first."""
        ...

    def transfer_pupil(
        self,
        patron_id: PatronId,
        school: School,
        class_id: str | None,
        *,
        school_year: int,
        on: date,
        actor: str,
        batch: tuple[str, int] | None = None,
    ) -> bool:
        """Move a pupil and his open application to another school of the library, all at once; say
        whether it was at another one. ``NotFound`` when he has no open application there.

        Args:
            batch: id and row of the batch of the new school that names him; None = he is in no
                batch, since the old one is the old school's.
        """
        ...

    # --- last days

    def set_expiries(self, expiries: Mapping[PatronId, date], *, actor: str) -> int:
        """Set the last day of open cards; return how many changed."""
        ...

    def list_expired(self, institution: InstitutionId, before: date) -> tuple[PatronId, ...]:
        """Return whose open cards had their last day before ``before``."""
        ...

    def list_short_accounts(self, institution: InstitutionId) -> tuple[ShortAccount, ...]:
        """Return the accounts at his own library that end before the pupil's open card does."""
        ...

    # --- calendars, liaisons, campaigns

    def save_calendar(self, calendar: Calendar, *, actor: str) -> None:
        """Add or replace a calendar."""
        ...

    def list_calendars(self, institution: InstitutionId) -> tuple[Calendar, ...]:
        """Return the library's calendars by year."""
        ...

    def appoint_liaison(
        self,
        institution: InstitutionId,
        school_id: str | None,
        *,
        name: str,
        phone: str,
        actor: str,
    ) -> Liaison:
        """Appoint a liaison in place of the one before, whose data is erased."""
        ...

    def list_liaisons(self, institution: InstitutionId) -> tuple[Liaison, ...]:
        """Return the present liaisons, with name and phone."""
        ...

    def save_campaign(self, campaign: Campaign, *, actor: str) -> Campaign:
        """Add a campaign, or change the one with the same code; return it as stored."""
        ...

    def find_campaign(self, institution: InstitutionId, code: str) -> Campaign | None:
        """Return the campaign with a code."""
        ...

    def list_campaigns(self, institution: InstitutionId) -> tuple[Campaign, ...]:
        """Return the library's campaigns, the newest first."""
        ...

    def count_campaign(self, campaign: Campaign) -> Mapping[str, CampaignCounts]:
        """Return, per school id, how far the pupils of the target levels are."""
        ...
