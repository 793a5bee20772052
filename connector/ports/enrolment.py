"""Schools, batches, applications and consents, as the enrolment services need them.

Nothing here stores; ``connector.storage`` does. Rules: decisions 19–21. No value here holds a
name, a phone or an identity number; those cross ``connector.ports.store.PersonalData`` only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, Protocol

from connector.domain.card import CardRange
from connector.domain.consent import Consent
from connector.domain.enrolment import (
    ApplicationState,
    ConsentScope,
    Route,
    RowProblem,
    SchoolStage,
)
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.school import SchoolSystem

__all__ = [
    "CARD_TAKEN",
    "OUTCOME_UNKNOWN",
    "Application",
    "Batch",
    "Consent",
    "EnrolmentStore",
    "NewApplication",
    "RowOutcome",
    "School",
    "Valve",
]


CARD_TAKEN = "duplicate_card"
"""Code of a failed activation: the ILS has another account with that card number."""
OUTCOME_UNKNOWN = "outcome_unknown"
"""Code of a failed activation: the ILS gave no answer, and may do it yet."""


class RowOutcome(StrEnum):
    """What became of a roster row; each row has exactly one."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"
    NEEDS_GUARDIAN = "needs_guardian"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class School:
    """A school or kindergarten whose pupils a library serves.

    Attributes:
        entry_mode: whether the school enters pupils from a roster, families do, or both (A06).
        review_individual: the school reviews what families enter themselves (decision 19).
        create_classes: its rosters may bring a grade or class that does not exist yet.
    """

    school_id: str
    institution: InstitutionId
    code: str
    name: str
    stage: SchoolStage | None = None
    entry_mode: Literal["batch", "individual", "both"] = "both"
    review_individual: bool = False
    disabled: bool = False
    system: SchoolSystem = SchoolSystem.SIX_THREE
    create_classes: bool = True
    sort_order: int = 0
    remark: str = ""


class Valve(StrEnum):
    """What became of a roster that names far fewer pupils than the school has (scenario 26)."""

    NONE = ""
    HELD = "held"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Batch:
    """One import: its number, and how many rows had which outcome.

    Attributes:
        state: ``importing`` or ``imported``.
        source: ``roster``, ``oneroster`` or ``form``.
        complete: the roster names every pupil of the school.
        missing: how many pupils of the school a complete roster does not name.
        taken_rows: how far the import is.
    """

    batch_id: str
    number: str
    institution: InstitutionId
    school_id: str
    layout: str
    rows: int
    counts: Mapping[RowOutcome, int]
    problems: Sequence[RowProblem]
    source_digest: str
    created_by: str
    created_at: datetime
    state: str = "imported"
    source: str = "roster"
    complete: bool = False
    missing: int = 0
    valve: Valve = Valve.NONE
    taken_rows: int = 0
    campaign_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewApplication:
    """What an application is entered with.

    Attributes:
        on_roster: a roster of the school names the pupil (decision 19).
        provenance: field → where it came from, such as ``roster`` or ``form`` (A09).
        willing: ``willing``, ``unwilling`` or ``no_answer`` (A02).
    """

    patron_id: PatronId
    institution: InstitutionId
    school_id: str
    route: Route
    batch_id: str | None = None
    batch_row: int | None = None
    class_name: str = ""
    district: str = ""
    card_proposal: str = ""
    on_roster: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    willing: str = "no_answer"
    campaign_id: str | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """One pupil's application.

    Attributes:
        reason: why it was closed: ``consent_withdrawn``, ``left``, ``expired`` …; else empty.
        card: the number given to it when activation began; empty before.
        error: short code of the last failed activation; empty when there was none.
        handed_off_at: since when the pupil stands in a file that the ILS is to load.
    """

    application_id: str
    patron_id: PatronId
    institution: InstitutionId
    school_id: str
    batch_id: str | None
    batch_row: int | None
    state: ApplicationState
    route: Route
    class_name: str
    district: str
    card_proposal: str
    card: str
    attempts: int
    error: str
    entered_at: datetime
    reason: str = ""
    activated_at: datetime | None = None
    handed_off_at: datetime | None = None
    on_roster: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    willing: str = "no_answer"
    campaign_id: str | None = None


class EnrolmentStore(Protocol):
    """Applications and what belongs to them; every method is one transaction, audited."""

    def save_school(self, school: School) -> School:
        """Add a school, or change the one with the same code; return it as stored."""
        ...

    def find_school(self, institution: InstitutionId, code: str) -> School | None:
        """Return the school with a code."""
        ...

    def list_schools(self, institution: InstitutionId) -> tuple[School, ...]:
        """Return the library's schools by code."""
        ...

    def open_batch(
        self,
        school: School,
        *,
        layout: str,
        rows: int,
        source_digest: str,
        actor: str,
        now: datetime,
    ) -> Batch:
        """Add an empty batch under the next number of its day."""
        ...

    def close_batch(
        self,
        batch_id: str,
        *,
        counts: Mapping[RowOutcome, int],
        problems: Sequence[RowProblem],
        now: datetime,
    ) -> Batch:
        """Write the outcome of the import."""
        ...

    def list_batches(
        self, institution: InstitutionId, *, school_id: str | None = None
    ) -> tuple[Batch, ...]:
        """Return batches, newest first."""
        ...

    def find_batch(self, institution: InstitutionId, number: str) -> Batch | None:
        """Return the batch with a number."""
        ...

    def count_states(self, batch_id: str) -> Mapping[ApplicationState, int]:
        """Return how many of a batch's applications are in which state (A43)."""
        ...

    def add_application(self, new: NewApplication, *, actor: str, now: datetime) -> Application:
        """Enter an application; ``StorageConflict`` when the person has an open one (A24)."""
        ...

    def fetch_application(self, application_id: str) -> Application | None:
        """Return one application."""
        ...

    def find_application(self, patron_id: PatronId) -> Application | None:
        """Return the person's open application, else the latest closed one, else None."""
        ...

    def find_applications(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, Application]:
        """Return, of each of these people who has one, what ``find_application`` returns."""
        ...

    def list_applications(
        self,
        institution: InstitutionId,
        *,
        states: Collection[ApplicationState] = (),
        school_id: str | None = None,
        batch_id: str | None = None,
    ) -> tuple[Application, ...]:
        """Return applications in the order of entry; empty ``states`` = all."""
        ...

    def move_application(
        self,
        application_id: str,
        old: ApplicationState,
        new: ApplicationState,
        *,
        actor: str,
        now: datetime,
        reason: str = "",
    ) -> bool:
        """Change the state if it is still ``old``; say whether it was."""
        ...

    def begin_activation(
        self, application_id: str, *, cards: CardRange, actor: str, now: datetime
    ) -> Application | None:
        """Move ``library_approved | activating`` to ``activating``, one attempt more.

        The first attempt gives it a card number: the one that the person had before, at whatever
        library (scenario 28), else one that nobody ever had. Later attempts keep it, unless the
        last one failed with ``CARD_TAKEN``: then it gets the next number. None when the
        application is in another state, or when another attempt began moments ago and has neither
        ended nor failed: two at once would set two PINs.

        Raises:
            ConfigurationError: the range is used up.
        """
        ...

    def keep_activation(self, application_id: str, *, attempt: int, now: datetime) -> bool:
        """Hold the lease of an attempt for longer; say whether it is still the attempt's own.

        Args:
            attempt: ``attempts`` as ``begin_activation`` returned it.
        """
        ...

    def finish_activation(
        self,
        application_id: str,
        *,
        attempt: int,
        card: IlsPatronId,
        expires: date | None,
        actor: str,
        now: datetime,
    ) -> bool:
        """Write that the card is open: ``activating`` → ``active``, the number, the account, and
        the person as a reader of this library, in one transaction.

        False when the application is in another state, or a later attempt was begun.

        Raises:
            StorageConflict: another person has the number.
        """
        ...

    def save_handoff(
        self,
        application_id: str,
        *,
        attempt: int,
        card: IlsPatronId,
        expires: date | None,
        actor: str,
        now: datetime,
    ) -> bool:
        """Write that the pupil stands in a file that the ILS is to load: it may have the account
        from now on, and its number is the pupil's; the attempt is over. False like
        ``finish_activation``.

        Raises:
            StorageConflict: another person has the number.
        """
        ...

    def end_handoff(self, application_id: str, code: str, *, actor: str, now: datetime) -> bool:
        """Write that the ILS did not take a pupil out of the file, and why, in a short code: he can
        be handed over anew. Says whether he stood in one.
        """
        ...

    def save_error(self, application_id: str, code: str, *, now: datetime) -> None:
        """Record why an activation failed; the state stays, so that it can be tried again.

        After ``OUTCOME_UNKNOWN`` only when some time has passed: what comes late to the ILS must
        not undo what a later attempt did.
        """
        ...

    def record_consent(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        scope: ConsentScope,
        *,
        text_version: str,
        text_digest: str = "",
        given: bool,
        evidence: str,
        actor: str,
        now: datetime,
    ) -> None:
        """Record a guardian's answer; the latest answer per scope counts."""
        ...

    def withdraw_consent(
        self, patron_id: PatronId, scope: ConsentScope, *, actor: str, now: datetime
    ) -> bool:
        """End a consent that holds; say whether there was one."""
        ...

    def list_consents(self, patron_id: PatronId) -> tuple[Consent, ...]:
        """Return the latest answer for each scope."""
        ...

    def list_latest_consents(
        self, institution: InstitutionId, scope: ConsentScope
    ) -> Mapping[PatronId, Consent]:
        """Return the latest answer of every person of a library for one scope."""
        ...

    def record_undertaking(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        *,
        text_version: str,
        text_digest: str = "",
        evidence: str,
        actor: str,
        now: datetime,
    ) -> None:
        """Record that the guardian undertook to keep the rules (A22)."""
        ...

    def erase_applicant(
        self,
        patron_id: PatronId,
        *,
        refused: Sequence[Identifier] = (),
        actor: str,
        now: datetime,
    ) -> None:
        """Remove a person whose card was never opened, with all that belongs to him.

        Args:
            refused: numbers of which a keyed digest stays, so that September does not ask again
                (decision 20).
        """
        ...

    def remember_refusal(
        self,
        identifiers: Sequence[Identifier],
        institution: InstitutionId,
        *,
        actor: str,
        now: datetime,
    ) -> None:
        """Keep a keyed digest of each number, so that no roster brings the child again."""
        ...

    def forget_refusal(self, identifiers: Sequence[Identifier], institution: InstitutionId) -> None:
        """Drop a library's digests: the guardian changed his mind."""
        ...

    def is_refused(self, identifiers: Sequence[Identifier], institution: InstitutionId) -> bool:
        """Say whether a guardian refused for a child with any of these numbers."""
        ...
