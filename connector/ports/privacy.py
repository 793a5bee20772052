"""What is held about one person, what is due for removal, and what is counted once a year.

Nothing here stores; ``connector.storage`` does. Rules: decisions 20, 22 and 23; PIPL articles 45
(copy for the person), 47 (deletion) and 51, 54–56 (safeguards, audit, assessment). Values in clear
cross ``HeldRecords`` only, for the file that a guardian asked for; all else is counts and codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from connector.domain.ids import InstitutionId, PatronId

__all__ = [
    "ActionCount",
    "Due",
    "FeedAge",
    "HeldChild",
    "HeldPerson",
    "HeldRecords",
    "LeftBehind",
    "OldKeys",
    "OpenTasks",
    "PrivacyStore",
    "RetentionRule",
]


class RetentionRule(StrEnum):
    """What is removed when its time is over, in the order in which it is removed."""

    UNANSWERED = "unanswered"
    """Applications that no guardian answered for (decision 20)."""
    LOANS = "loans"
    """Closed loans; the statistics are in ``circulation_fact`` and stay."""
    EVENTS = "events"
    """The link of an event to a person; the event stays."""
    CLOSED_PEOPLE = "closed_people"
    """People whose account is closed: they are erased."""
    ERASED_PEOPLE = "erased_people"
    """What is left of a person who was erased: a bare row with answers and times."""
    REFUSALS = "refusals"
    """The digest by which a refusal is remembered."""
    OUTBOX = "outbox"
    """Messages to other libraries that were delivered."""
    PAYMENTS = "payments"
    """Payments at kiosks whose outcome is known; the money is the ILS's."""
    DEFERRED = "deferred"
    """What a library system that was away has heard of since."""
    TASKS = "tasks"
    """Tasks that are done."""
    AUDIT = "audit"
    """Whole chains of the audit log whose last entry is older."""


@dataclass(frozen=True, slots=True)
class Due:
    """How much of a rule is due, and since when the oldest is.

    Attributes:
        of: how much there is in all of what the rule is about; zero = not counted.
    """

    rule: RetentionRule
    count: int
    oldest: datetime | None = None
    of: int = 0


@dataclass(frozen=True, slots=True)
class HeldPerson:
    """A person of the register, erased or not.

    Attributes:
        unclosed_loans: how many loans bar erasing.
        open_tasks: kinds of the tasks about him that nobody has done.
        records: table → number of rows that name him.
    """

    patron_id: PatronId
    home: InstitutionId
    closing: str
    erased_at: datetime | None
    accounts: tuple[InstitutionId, ...]
    unclosed_loans: int
    open_tasks: tuple[str, ...]
    records: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HeldRecords:
    """Every row about one person, opened.

    Attributes:
        tables: table → rows; row: column → value. A keyed digest or a wrapped key is left out:
            nobody can read it.
        names: id of a school, class, batch or campaign → its name.
    """

    patron_id: PatronId
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What a new read finds of an erased person.

    Attributes:
        records: table → rows that carry his random id.
        personal: ``table.column`` → values that should have gone; empty = the erasure is whole.
    """

    records: Mapping[str, int]
    personal: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HeldChild:
    """One person for counting; ``birth_date`` None = not known."""

    institution: str
    stage: str
    state: str
    birth_date: date | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ActionCount:
    """How often an actor did something.

    Attributes:
        scope: of a consent; of a list ``full`` when it was not masked; of a search ``elsewhere``
            when it met a child of another school; else empty.
    """

    action: str
    actor: str
    scope: str
    count: int


@dataclass(frozen=True, slots=True)
class OldKeys:
    """What still hangs on installation keys that are not the active one."""

    people: int
    identifiers: int
    refusals: int


@dataclass(frozen=True, slots=True)
class FeedAge:
    """When a roster feed last brought something."""

    institution: str
    name: str
    last_ok_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """Tasks of a kind that nobody has done."""

    kind: str
    count: int
    oldest: datetime


class PrivacyStore(Protocol):
    """Reads and removals across all tables."""

    def find_person(self, patron_id: PatronId) -> HeldPerson | None:
        """Return a person, erased or not; None when there is no trace of him."""
        ...

    def collect_records(self, patron_id: PatronId) -> HeldRecords:
        """Return everything that is held about a person, opened; raises ``NotFound``."""
        ...

    def count_left(self, patron_id: PatronId) -> LeftBehind:
        """Count what a new read finds of a person."""
        ...

    def count_due(self, rule: RetentionRule, before: datetime) -> Due:
        """Count what is older; of ``UNANSWERED`` the enrolment service knows."""
        ...

    def remove_due(self, rule: RetentionRule, before: datetime, *, limit: int, actor: str) -> int:
        """Remove up to ``limit`` of what is older, in one audited transaction; return how many.

        Zero = there is no more, or another run is at it.
        """
        ...

    def overwrite_deleted(self) -> bool:
        """Overwrite what was deleted, where the database still keeps it; say whether it was done.

        When not, the next call does it.
        """
        ...

    def find_last_action(self, action: str, *, until: datetime | None = None) -> datetime | None:
        """Return when the audit log last saw an action, not counting entries after ``until``."""
        ...

    def count_people(self, institution: InstitutionId) -> int:
        """Count the people of a library who are not erased."""
        ...

    def find_first_person(self) -> datetime | None:
        """Return when the oldest person of the register was added."""
        ...

    def list_children(self) -> Iterator[HeldChild]:
        """Return every child who is held, opened one at a time."""
        ...

    def count_actions(self, since: datetime, until: datetime) -> tuple[ActionCount, ...]:
        """Count the audit log from ``since`` up to ``until``."""
        ...

    def count_old_keys(self) -> OldKeys:
        """Count what hangs on old keys."""
        ...

    def list_feeds(self) -> tuple[FeedAge, ...]:
        """Return the roster feeds that ever ran."""
        ...

    def count_open_tasks(self, before: datetime) -> tuple[OpenTasks, ...]:
        """Count tasks that were opened before a moment and are not done."""
        ...

    def count_closings(self, before: datetime) -> int:
        """Count people whose account was to be closed before a moment and is not erased."""
        ...
