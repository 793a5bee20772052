"""The register of people, identifiers, accounts, item facts and violations, as the services need
it.

Nothing here stores; ``connector.storage`` does. Rules: decisions 3, 5, 13, 20–23. Names, numbers
and phones cross this port in clear only inside ``PersonalData``; storage encrypts them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, ItemId, PatronId
from connector.domain.item import LanguageClass, Shelving
from connector.domain.patron import PatronStanding, StandingState

__all__ = [
    "AuditBreak",
    "AuditCheck",
    "AuditEntry",
    "AuditHead",
    "AuditLog",
    "Identifier",
    "ItemFacts",
    "ItemFactsStore",
    "PatronRegister",
    "PersonalData",
    "Violation",
    "ViolationRegister",
]


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What is kept encrypted about one person; the keys are fixed so that erasure and export know
    them all.
    """

    name: str = field(repr=False)
    id_number: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)
    guardian_name: str = field(default="", repr=False)
    guardian_phone: str = field(default="", repr=False)
    birth_date: date | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """Facts of one item that the ILS cannot tell (decision 13)."""

    item: ItemId
    language: LanguageClass
    shelving: Shelving
    source: str
    as_of: datetime
    clc_class: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation set by a person of the staff; it bars renewal until lifted (A34)."""

    violation_id: str
    patron_id: PatronId
    kind: str
    set_by: str
    set_at: datetime
    lifted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit: ids and codes.

    Attributes:
        chain_id, seq: its place in the chain of the process that wrote it.
        actor: a staff account, ``cli`` or a terminal.
        subject: id of a person, batch, loan or other thing; may be empty.
    """

    chain_id: str
    seq: int
    at: datetime
    institution: str
    action: str
    actor: str
    subject: str
    detail: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last entry of a chain, noted elsewhere so that a cut end is found later."""

    chain_id: str
    seq: int
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditBreak:
    """Where a chain is broken: the first sequence number that is not as it was written.

    Attributes:
        code: ``altered`` (or put in, or moved), ``missing`` (an entry before this one), ``cut``
            (the end that was noted is gone), ``replaced`` (another entry than the noted one),
            ``key_missing`` (the key file has not the key that could tell).
    """

    chain_id: str
    seq: int
    code: str


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What a check of every chain found."""

    chains: int
    entries: int
    breaks: tuple[AuditBreak, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether every entry is there and as it was written."""
        return not self.breaks


class PatronRegister(Protocol):
    """People whom we enrolled."""

    def resolve(
        self, scanned: Sequence[Identifier], institution: InstitutionId
    ) -> PatronStanding | None:
        """Return the one enrolled patron with any of these identifiers, or None.

        One whom only a retired number fits is returned with ``is_retired``: nobody may be served.
        One round trip: it is asked at every exchange.
        """
        ...

    def find_by_account(
        self, ils_patron: IlsPatronId, institution: InstitutionId
    ) -> PatronStanding | None:
        """Return whose account this is in the library's ILS."""
        ...

    def find_standing(
        self, patron_id: PatronId, institution: InstitutionId
    ) -> PatronStanding | None:
        """Return the standing of a known patron."""
        ...

    def add_person(
        self,
        data: PersonalData,
        identifiers: Sequence[Identifier],
        *,
        home: InstitutionId,
        category: str,
        stage: str = "",
        state: StandingState = StandingState.INACTIVE,
    ) -> PatronId:
        """Store a new person under a random id with a data key of his own; raises
        ``StorageConflict`` if an identifier is taken.
        """
        ...

    def find_person(self, identifiers: Sequence[Identifier]) -> PatronId | None:
        """Return who has any of these identifiers."""
        ...

    def find_people(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, PatronId]:
        """Return who has which of these identifiers, retired ones too; unknown ones are left
        out.
        """
        ...

    def fetch_personal_many(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, PersonalData]:
        """Decrypt the data of several people; who is unknown or erased is left out."""
        ...

    def fetch_personal(self, patron_id: PatronId) -> PersonalData:
        """Decrypt one person's data; raises ``NotFound``."""
        ...

    def list_identifiers(
        self, patron_id: PatronId
    ) -> tuple[tuple[Identifier, datetime | None], ...]:
        """Return every number of a person, and since when a dead one is dead; raises ``NotFound``.

        The value is empty where it was stored before numbers were sealed.
        """
        ...

    def update_personal(self, patron_id: PatronId, data: PersonalData) -> None:
        """Replace one person's data."""
        ...

    def add_identifier(self, patron_id: PatronId, identifier: Identifier) -> None:
        """Give the person one more number; raises ``StorageConflict`` if another person has it."""
        ...

    def set_state(
        self, patron_id: PatronId, state: StandingState, *, expires: date | None = None
    ) -> None:
        """Change the person's state."""
        ...

    def set_account(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        ils_patron: IlsPatronId,
        *,
        kind: str = "home",
        expires: date | None = None,
    ) -> None:
        """Record the person's account in one ILS."""
        ...

    def erase_person(self, patron_id: PatronId, *, actor: str) -> None:
        """Destroy the person's key and all that names him; raises ``StorageConflict`` while he has
        unclosed loans.
        """
        ...


class ItemFactsStore(Protocol):
    """Language class and shelving per item."""

    def fetch_item_facts(self, item: ItemId) -> ItemFacts | None:
        """Return what is known, or None."""
        ...

    def save_item_facts(self, facts: Sequence[ItemFacts]) -> int:
        """Insert or replace; return how many rows changed."""
        ...


class ViolationRegister(Protocol):
    """Violations, set and lifted by people."""

    def add_violation(self, patron_id: PatronId, kind: str, *, set_by: str, now: datetime) -> str:
        """Record a violation and return its id."""
        ...

    def lift_violation(self, violation_id: str, *, lifted_by: str, now: datetime) -> None:
        """Lift it; raises ``NotFound``."""
        ...

    def list_violations(self, patron_id: PatronId | None = None) -> tuple[Violation, ...]:
        """Return violations that are not lifted."""
        ...


class AuditLog(Protocol):
    """The append-only record of who did what to whose data; ids only, chained per writing process
    (decision 23).
    """

    def append(
        self,
        action: str,
        *,
        actor: str,
        subject: str = "",
        detail: Mapping[str, str | int] | None = None,
        institution: str = "",
    ) -> None:
        """Add an entry.

        Args:
            actor: a staff account, ``cli``, or a terminal id.
            subject: an id of a person, batch or loan; never a name or a number.
            institution: the library that it is about; empty = the installation.
        """
        ...

    def verify(self) -> tuple[bool, int]:
        """Check every chain; return (intact, entries)."""
        ...

    def check(self, noted: Iterable[AuditHead] = ()) -> AuditCheck:
        """Check every chain, and that the ends that were noted earlier are still there."""
        ...

    def search(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        institution: str = "",
        actor: str = "",
        subject: str = "",
        action: str = "",
        after: AuditEntry | None = None,
        limit: int = 500,
    ) -> tuple[AuditEntry, ...]:
        """Return entries in the order of their time, one page at a time.

        Args:
            since, until: from this moment on, and before that one.
            action: the whole word, or all of a kind when it ends with a dot (``consent.``).
            after: the last entry of the page before; None = the first page.
        """
        ...
