"""One import of a roster on its way: chunk by chunk, piece by piece, to the report.

Nothing here opens a file, judges a row or decides who has left. Rules —

- a row has exactly one outcome; the outcomes add up to the rows, also of an import that was killed
  and is run again;
- a file that was imported before makes a batch only when there is something to change;
- rows are written in small pieces, each by itself complete, so that no kiosk waits for an import;
  a piece that meets somebody else's transaction is judged anew, row by row.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from connector.domain.enrolment import RowProblem
from connector.domain.ids import Identifier, PatronId
from connector.enrolment.workbook import Roster, RosterRow
from connector.errors import ConfigurationError, StorageConflict
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import (
    Batch,
    EnrolmentStore,
    RowOutcome,
    School,
    Valve,
)
from connector.ports.rosters import RosterStore
from connector.ports.schools import Campaign, SchoolStore
from connector.ports.store import PatronRegister
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.roster_classes import RosterClasses
from connector.services.roster_judging import RowCheck, RowJudge
from connector.services.roster_leavers import RosterLeavers, choose_valve
from connector.services.roster_verdicts import Verdict
from connector.services.roster_writing import WRITTEN, RowWriter
from connector.services.school_days import find_placing_year

__all__ = ["ImportParts", "ImportReport", "ImportRun"]

_log = get_logger(__name__)

_CHUNK = 500
_PIECE = 50
_UNREAD = (RowOutcome.INVALID, RowOutcome.NEEDS_GUARDIAN)
_QUIET = frozenset({RowOutcome.UNCHANGED, *_UNREAD})
"""Outcomes that write nothing, not even a task."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do.

    Attributes:
        batch: None in a dry run.
        problems: why rows were not taken, by row; codes, never values.
        notes: doubts about rows that were taken.
        repeated: the same file was imported before, as ``batch``, and nothing has changed since.
        missing: how many pupils of the school a complete roster does not name.
        valve: ``held`` when they stay until a person has decided.
    """

    batch: Batch | None
    roster: Roster = field(repr=False)
    counts: Mapping[RowOutcome, int]
    problems: tuple[RowProblem, ...]
    notes: tuple[RowProblem, ...] = ()
    repeated: bool = False
    missing: int = 0
    valve: Valve = Valve.NONE

    @property
    def rows(self) -> int:
        """How many rows the roster has."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class ImportParts:
    """What an import works with, for one library."""

    register: PatronRegister
    store: EnrolmentStore
    rosters: RosterStore
    schools: SchoolStore
    leavers: RosterLeavers
    rules: EnrolmentRules
    now: Clock
    checks: Sequence[RowCheck] = ()


class ImportRun:
    """One run: how far it is, and what it has found."""

    def __init__(
        self,
        parts: ImportParts,
        roster: Roster,
        digest: str,
        school: School,
        *,
        actor: str,
        source: str,
        dry_run: bool,
        complete: bool,
        campaign: Campaign | None,
        force: bool,
        gone: Collection[Identifier],
    ) -> None:
        self._gone = gone
        self._parts = parts
        self._roster = roster
        self._digest = digest
        self._school = school
        self._actor = actor
        self._source = source
        self._dry_run = dry_run
        self._complete = complete
        self._campaign = campaign
        self._campaign_id = campaign.campaign_id if campaign else None
        self._earlier: Batch | None = None
        self._batch = self._find_batch(force=force)
        batch = self._batch
        self._resume_at = batch.taken_rows if batch else 0
        self._done = 0
        self._counts: Counter[RowOutcome] = Counter(batch.counts if batch else {})
        self._problems: list[RowProblem] = list(batch.problems if batch else ())
        self._notes: list[RowProblem] = []
        self._held = () if dry_run else parts.rosters.list_held(school)
        self._named: set[PatronId] | None = set() if complete or self._held else None
        self._writer = RowWriter(
            school,
            category=parts.rules.category,
            source=source,
            campaign_id=self._campaign_id,
            codes={
                each.school_id: each.code for each in parts.store.list_schools(school.institution)
            },
        )
        now = parts.now()
        today = parts.rules.today(now)
        year, day = find_placing_year(
            parts.schools.list_calendars(school.institution),
            school,
            today,
            parts.schools.list_member_years(school.school_id)
            | ({campaign.school_year} if campaign else set()),
        )
        self._classes = RosterClasses(parts.schools, school, school_year=year, day=day)
        self._judge = RowJudge(
            register=parts.register,
            store=parts.store,
            rosters=parts.rosters,
            rules=parts.rules,
            school=school,
            context=parts.rules.row_context(now, school, year),
            classes=self._classes,
            checks=parts.checks,
            campaign=campaign,
            batch_id=batch.batch_id if batch else None,
            has_student_numbers="student_no" in roster.columns.index,
        )

    def _find_batch(self, *, force: bool) -> Batch | None:
        """Return the batch to write into; None for a dry run, and for a file that was imported
        before until there is something to write.
        """
        if self._dry_run:
            return None
        found = self._parts.rosters.find_import(
            self._school, self._digest, complete=self._complete, campaign_id=self._campaign_id
        )
        if found is not None and found.state == "importing":
            return found
        if found is not None and not force:
            self._earlier = found
            return None
        return self._begin()

    def _begin(self) -> Batch:
        return self._parts.rosters.begin_import(
            self._school,
            layout=self._roster.columns.layout.value,
            rows=len(self._roster.rows),
            source_digest=self._digest,
            source=self._source,
            complete=self._complete,
            campaign_id=self._campaign_id,
            actor=self._actor,
        )

    # --- rows -----------------------------------------------------------------------------------

    def finish(self, on_row: Callable[[int, int], None] | None) -> ImportReport:
        """Take every row, then settle who has left; return the report."""
        total = len(self._roster.rows)
        gc.freeze()  # else a tenth of the time goes into looking through all that is loaded
        try:
            for chunk in _in_chunks(self._roster.rows):
                verdicts = self._judge.judge(chunk)
                fresh = max(0, self._resume_at - self._done)
                self._pass_again(verdicts[:fresh])
                for piece in _in_pieces(verdicts[fresh:]):
                    self._take(piece)
                for done in range(self._done - len(verdicts) + 1, self._done + 1):
                    if on_row is not None:
                        on_row(done, total)
        finally:
            gc.unfreeze()
        return self._end()

    def _pass_again(self, verdicts: Sequence[Verdict]) -> None:
        """Go past rows that an import that was killed has taken and counted."""
        self._done += len(verdicts)
        places = {}
        for verdict in verdicts:
            self._name(verdict, verdict.patron_id)
            self._notes += verdict.notes
            if verdict.is_new_member and verdict.patron_id is not None:
                places[verdict.patron_id] = verdict
        self._place(places)

    def _take(self, verdicts: Sequence[Verdict]) -> None:
        """Count rows, and write what they change."""
        if not self._dry_run and (self._earlier is None or _any_written(verdicts)):
            if self._batch is None:
                self._batch = self._begin()
                self._earlier = None
            try:
                self._write(self._batch, verdicts)
            except StorageConflict as err:
                self._refuse_second_run(err)
                for verdict in verdicts:
                    self._write_one(verdict)
            return
        self._count(verdicts)
        for verdict in verdicts:
            self._name(verdict, verdict.patron_id)

    def _write_one(self, verdict: Verdict) -> None:
        """Write one row, judged anew: somebody else's transaction has changed what it meets."""
        assert self._batch is not None  # noqa: S101 - only called for good
        for left in reversed(range(_TRIES)):
            if verdict.record is not None:
                verdict = self._judge.judge_again(verdict.record)
            try:
                self._write(self._batch, [verdict])
            except StorageConflict as err:
                self._refuse_second_run(err)
                if not left:
                    raise
            else:
                return

    def _refuse_second_run(self, err: StorageConflict) -> None:
        if err.code == "import_running":
            raise ConfigurationError(
                "Another import of this file is under way.", "Wait until it has ended."
            ) from err

    def _write(self, batch: Batch, verdicts: Sequence[Verdict]) -> None:
        writes = [(verdict, self._writer.write_of(verdict, batch)) for verdict in verdicts]
        counts = self._counts + Counter(verdict.outcome for verdict in verdicts)
        problems = self._problems + [p for verdict in verdicts for p in verdict.problems]
        self._batch, patrons = self._parts.rosters.take_rows(
            batch,
            [write for _, write in writes if write is not None],
            taken_rows=self._done + len(verdicts),
            counts={outcome: counts[outcome] for outcome in RowOutcome},
            problems=problems,
            actor=self._actor,
        )
        self._count(verdicts)
        about = iter(patrons)
        places = {}
        for verdict, write in writes:
            patron_id = verdict.patron_id if write is None else next(about)
            self._name(verdict, patron_id)
            if verdict.is_new_member and patron_id is not None:
                places[patron_id] = verdict
        self._place(places)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        self._done += len(verdicts)
        for verdict in verdicts:
            self._counts[verdict.outcome] += 1
            self._problems += verdict.problems
            self._notes += verdict.notes

    def _name(self, verdict: Verdict, patron_id: PatronId | None) -> None:
        if self._named is not None:
            self._named.update(verdict.may_be)
            if patron_id is not None:
                self._named.add(patron_id)

    def _place(self, verdicts: Mapping[PatronId, Verdict]) -> None:
        places = {
            patron_id: (verdict.record.level, verdict.record.class_label)
            for patron_id, verdict in verdicts.items()
            if verdict.record is not None and verdict.record.level is not None
        }
        if places:
            self._classes.place(places, actor=self._actor)

    # --- the end --------------------------------------------------------------------------------

    def _end(self) -> ImportReport:
        counts = {outcome: self._counts[outcome] for outcome in RowOutcome}
        batch = self._batch
        if batch is None and self._gone and not self._dry_run and self._earlier is None:
            batch = self._begin()
        if batch is None:
            return self._report_unwritten(counts)
        if self._named is not None and self._held:
            self._parts.rosters.keep_named(
                self._school, self._named, except_batch=batch.batch_id, actor=self._actor
            )
        if self._complete:
            batch = self._parts.leavers.settle(
                batch,
                self._school,
                self._named or (),
                drop_percent=self._parts.rules.drop_percent,
                is_doubtful=self._is_doubtful(counts),
                actor=self._actor,
            )
        elif self._gone:
            batch = self._parts.leavers.settle_named(
                batch,
                self._school,
                set(self._parts.register.find_people(self._gone).values()),
                drop_percent=self._parts.rules.drop_percent,
                actor=self._actor,
            )
        batch = self._parts.rosters.end_import(batch)
        _log.info(
            "batch.imported",
            institution=self._school.institution,
            school=self._school.code,
            batch=batch.number,
            rows=batch.rows,
            created=counts[RowOutcome.CREATED],
            updated=counts[RowOutcome.UPDATED],
            unchanged=counts[RowOutcome.UNCHANGED],
            duplicate=counts[RowOutcome.DUPLICATE],
            conflict=counts[RowOutcome.CONFLICT],
            invalid=counts[RowOutcome.INVALID],
            needs_guardian=counts[RowOutcome.NEEDS_GUARDIAN],
            held=counts[RowOutcome.HELD],
        )
        return ImportReport(
            batch,
            self._roster,
            counts,
            tuple(self._problems),
            tuple(self._notes),
            missing=batch.missing,
            valve=batch.valve,
        )

    def _report_unwritten(self, counts: Mapping[RowOutcome, int]) -> ImportReport:
        """Return the report of a dry run, or of a file that was imported before."""
        earlier = self._earlier
        missing = earlier.missing if earlier else 0
        valve = earlier.valve if earlier else Valve.NONE
        if earlier is None and self._complete:
            gone, pupils = self._parts.leavers.find_missing(
                self._school, self._named or (), batch=None
            )
            missing = len(gone)
            valve = choose_valve(
                missing,
                pupils,
                drop_percent=self._parts.rules.drop_percent,
                is_doubtful=self._is_doubtful(counts),
            )
        return ImportReport(
            earlier,
            self._roster,
            counts,
            tuple(self._problems),
            tuple(self._notes),
            repeated=earlier is not None,
            missing=missing,
            valve=valve,
        )

    def _is_doubtful(self, counts: Mapping[RowOutcome, int]) -> bool:
        """Say whether something that may name a pupil was not read."""
        return bool(self._roster.unread_sheets) or any(counts[outcome] for outcome in _UNREAD)


def _in_chunks(rows: Iterable[RosterRow]) -> Iterator[list[RosterRow]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _in_pieces(verdicts: Sequence[Verdict]) -> Iterator[list[Verdict]]:
    """Return verdicts in pieces with few enough rows that change something."""
    piece: list[Verdict] = []
    changes = 0
    for verdict in verdicts:
        piece.append(verdict)
        changes += verdict.outcome not in _QUIET
        if changes >= _PIECE:
            yield piece
            piece, changes = [], 0
    if piece:
        yield piece


def _any_written(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.outcome in WRITTEN for verdict in verdicts)
