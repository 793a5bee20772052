"""What the import of rosters writes: rows by the piece, with how far it is, and who has left.

Nothing here stores; ``connector.storage`` does. Rules: rows and the count of them are committed
together, so that an import that was killed goes on where it was; a piece is small, so that no kiosk
waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from connector.domain.enrolment import ApplicationState, RowProblem, StudentRecord
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.ports.enrolment import Batch, NewApplication, RowOutcome, School, Valve
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind

__all__ = [
    "ApplicationChange",
    "Leaver",
    "LeaverState",
    "ListedPupil",
    "NewPerson",
    "RosterStore",
    "RosterTask",
    "RowWrite",
]


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person whom a row brings."""

    home: InstitutionId
    category: str
    stage: str = ""


@dataclass(frozen=True, slots=True)
class ApplicationChange:
    """What a row changes in an application that is still as it was seen.

    Attributes:
        state: in which it was seen; ``StorageConflict`` when it has moved.
    """

    application_id: str
    state: ApplicationState
    class_name: str
    district: str
    willing: str
    on_roster: bool
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RosterTask:
    """A task for the library's staff that a row gives rise to."""

    kind: TaskKind
    about: str
    patron_id: PatronId | None = None
    detail: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowWrite:
    """What one row of a roster changes, all at once.

    Attributes:
        patron_id: whom; None = ``person`` is added.
        data: what is stored of him from now on; None = what is stored stays.
        identifiers: numbers that he is to have.
        enter: an application to enter; its ``patron_id`` is filled in for a new person.
        change: an application to change.
    """

    person: NewPerson | None = None
    patron_id: PatronId | None = None
    data: PersonalData | None = field(default=None, repr=False)
    identifiers: Sequence[Identifier] = ()
    enter: NewApplication | None = None
    change: ApplicationChange | None = None
    tasks: Sequence[RosterTask] = ()


class LeaverState(StrEnum):
    """What was decided about a pupil whom a complete roster does not name."""

    PROPOSED = "proposed"
    LEFT = "left"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Leaver:
    """A pupil whom a complete roster does not name.

    Attributes:
        serial: his number in the list, from 1; it stays his.
    """

    batch_id: str
    serial: int
    patron_id: PatronId
    state: LeaverState
    decided_by: str | None = None
    decided_at: datetime | None = None


class ListedPupil(NamedTuple):
    """A pupil who is on a school's roster with just the data that a row gives; nothing was opened.

    Attributes:
        batch_id, class_name, district, willing: of his application.
        class_id, school_year: of the class that he is in, None when he is in none.
    """

    patron_id: PatronId
    batch_id: str | None
    class_name: str
    district: str
    willing: str
    class_id: str | None
    school_year: int | None


class RosterStore(Protocol):
    """Batches that are being imported, and their leavers; every method is one transaction."""

    def begin_import(
        self,
        school: School,
        *,
        layout: str,
        rows: int,
        source_digest: str,
        source: str,
        complete: bool,
        campaign_id: str | None,
        actor: str,
    ) -> Batch:
        """Add an empty batch under the next number of the year, in state ``importing``."""
        ...

    def find_import(
        self, school: School, source_digest: str, *, complete: bool, campaign_id: str | None
    ) -> Batch | None:
        """Return the latest import of the same content for the same purpose."""
        ...

    def take_rows(
        self,
        batch: Batch,
        writes: Sequence[RowWrite],
        *,
        taken_rows: int,
        counts: Mapping[RowOutcome, int],
        problems: Sequence[RowProblem],
        actor: str,
    ) -> tuple[Batch, tuple[PatronId | None, ...]]:
        """Write rows, and how far the import is; return the batch and whom each row was about.

        Args:
            batch: as last returned; from it the import goes on.
            taken_rows, counts, problems: of the whole file so far.

        Raises:
            StorageConflict: a number or an application has come or gone meanwhile: judge the rows
                anew. ``import_running``: another import of this batch is under way.
        """
        ...

    def write_row(
        self, institution: InstitutionId, write: RowWrite, *, actor: str
    ) -> PatronId | None:
        """Write one row that belongs to no batch; return whom it was about."""
        ...

    def find_listed(
        self, school: School, records: Sequence[StudentRecord]
    ) -> Mapping[int, ListedPupil]:
        """Return, by row, whose data is just what the row says: identity number, names, phones.

        Only who has an open application at the school and is on its roster.
        """
        ...

    def find_refused(
        self, identifiers: Collection[Identifier], institution: InstitutionId
    ) -> frozenset[Identifier]:
        """Return the numbers of children whose guardian refused."""
        ...

    def end_import(self, batch: Batch) -> Batch:
        """Note that every row is taken and every leaver proposed."""
        ...

    def count_steps(self, institution: InstitutionId) -> Mapping[str, tuple[int, int, int]]:
        """Return, per batch id, how many activations failed, how many applications wait for the
        guardian's consent to the card, and how many families do not want one.
        """
        ...

    def knows_student_numbers(self) -> bool:
        """Say whether anybody is known by a student number."""
        ...

    def list_unnumbered(self, school: School) -> tuple[PatronId, ...]:
        """Return pupils of the school, not closed, who have no identity number (scenario 4)."""
        ...

    def propose_leavers(
        self, batch: Batch, patrons: Sequence[PatronId], *, valve: Valve, actor: str
    ) -> Batch:
        """Keep whom a complete roster does not name, once per batch; return the batch."""
        ...

    def list_leavers(self, batch_id: str) -> tuple[Leaver, ...]:
        """Return the leavers of a batch by serial; who was erased is not among them."""
        ...

    def decide_leaver(self, leaver: Leaver, state: LeaverState, *, actor: str) -> bool:
        """Note what becomes of a proposed leaver; say whether he still was one."""
        ...

    def set_valve(self, batch_id: str, valve: Valve, *, actor: str) -> bool:
        """Note what became of a held batch; say whether it changed."""
        ...

    def keep_named(
        self, school: School, patrons: Collection[PatronId], *, except_batch: str, actor: str
    ) -> int:
        """Keep proposed leavers of other batches whom a later roster names; return how many."""
        ...

    def list_held(self, school: School) -> tuple[Batch, ...]:
        """Return the school's batches whose valve is held, oldest first."""
        ...
