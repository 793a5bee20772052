"""Importing a school's roster: what becomes of each row, in a dry run and for good.

Nothing here asks an ILS: importing is not consent (A03, decision 19). Rules —

- a row has exactly one outcome; the outcomes add up to the rows;
- importing the same file again changes nothing; an empty cell never empties what is known;
- a pupil of another school is a duplicate: neither school sees the other's data, the library is
  told (scenario 1);
- rows are written one by one, each by itself complete, so that a kiosk never waits for an import
  and a broken one is simply run again.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
    Route,
    RowContext,
    RowProblem,
    StudentRecord,
    parse_row,
)
from connector.domain.ids import Identifier, PatronId
from connector.enrolment.workbook import Roster, read_roster
from connector.errors import ConfigurationError, StorageConflict
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import (
    Application,
    Batch,
    EnrolmentStore,
    NewApplication,
    RowOutcome,
    School,
)
from connector.ports.store import AuditLog, PatronRegister, PersonalData
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["ImportReport", "RosterImport", "RowCheck"]

_log = get_logger(__name__)

RowCheck = Callable[[School, StudentRecord], Sequence[str]]
"""A plugin's say on a row: problem codes; any code makes the row invalid."""

_EDITABLE = frozenset({ApplicationState.ENTERED, ApplicationState.SCHOOL_REVIEWED})


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do.

    Attributes:
        batch: None in a dry run.
        problems: why rows were not taken, by row; codes, never values.
    """

    batch: Batch | None
    roster: Roster = field(repr=False)
    counts: Mapping[RowOutcome, int]
    problems: tuple[RowProblem, ...]

    @property
    def rows(self) -> int:
        """How many rows the roster has."""
        return len(self.roster.rows)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to become of one row, and of whom it speaks."""

    outcome: RowOutcome
    record: StudentRecord
    problem: RowProblem | None = None
    patron_id: PatronId | None = None
    known: PersonalData | None = field(default=None, repr=False)
    application: Application | None = None


@dataclass(frozen=True, slots=True)
class RosterImport:
    """Imports rosters of one library's schools."""

    register: PatronRegister
    store: EnrolmentStore
    audit: AuditLog
    rules: EnrolmentRules
    now: Clock
    checks: Sequence[RowCheck] = ()

    def run(
        self,
        path: Path,
        school: School,
        *,
        actor: str,
        dry_run: bool = False,
        on_row: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Import a roster file for a school.

        Args:
            actor: a staff account, for the audit.
            on_row: called after each row with rows done and rows in all.

        Raises:
            RecordError: the file as a whole is refused.
            ConfigurationError: the school is disabled, or does not enter by roster.
        """
        if school.disabled or school.entry_mode == "individual":
            raise ConfigurationError(
                f"School {school.code} does not enter pupils by roster.",
                "Run: onecard enrol school add CODE NAME --entry-mode both --enabled",
            )
        roster = read_roster(path)
        batch = None
        if not dry_run:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            batch = self.store.open_batch(
                school,
                layout=roster.columns.layout.value,
                rows=len(roster.rows),
                source_digest=digest,
                actor=actor,
                now=self.now(),
            )
        task = _ImportTask(self, school, batch, actor)
        counts: Counter[RowOutcome] = Counter()
        problems: list[RowProblem] = []
        context = self.rules.row_context(self.now(), school)
        for done, row in enumerate(roster.rows, start=1):
            outcome, found = task.take(row.number, row.cells, context)
            counts[outcome] += 1
            problems += found
            if on_row is not None:
                on_row(done, len(roster.rows))
        every = {outcome: counts[outcome] for outcome in RowOutcome}
        if batch is not None:
            batch = self.store.close_batch(
                batch.batch_id, counts=every, problems=problems, now=self.now()
            )
            _log.info(
                "batch.imported",
                institution=school.institution,
                school=school.code,
                batch=batch.number,
                rows=batch.rows,
                created=every[RowOutcome.CREATED],
                updated=every[RowOutcome.UPDATED],
                unchanged=every[RowOutcome.UNCHANGED],
                duplicate=every[RowOutcome.DUPLICATE],
                conflict=every[RowOutcome.CONFLICT],
                invalid=every[RowOutcome.INVALID],
                needs_guardian=every[RowOutcome.NEEDS_GUARDIAN],
                held=every[RowOutcome.HELD],
            )
        return ImportReport(batch, roster, every, tuple(problems))


class _ImportTask:
    """One run: remembers what stood further up in the file."""

    def __init__(
        self, parts: RosterImport, school: School, batch: Batch | None, actor: str
    ) -> None:
        self._register = parts.register
        self._store = parts.store
        self._parts = parts
        self._school = school
        self._batch = batch
        self._actor = actor
        self._seen: set[Identifier] = set()
        self._numberless: dict[tuple[str, date], list[PatronId]] | None = None

    def take(
        self, number: int, cells: Mapping[str, object], context: RowContext
    ) -> tuple[RowOutcome, Sequence[RowProblem]]:
        """Take one row; return its outcome and why it was not taken, if so."""
        parsed = parse_row(cells, number, context)
        if isinstance(parsed, StudentRecord):
            codes = [code for check in self._parts.checks for code in check(self._school, parsed)]
            parsed = [RowProblem(code, number, "") for code in codes] or parsed
        if isinstance(parsed, list):
            lacks_phone = all(problem.code == "needs_guardian" for problem in parsed)
            return (RowOutcome.NEEDS_GUARDIAN if lacks_phone else RowOutcome.INVALID), parsed
        verdict = self._judge(parsed)
        if self._batch is not None:
            try:
                self._apply(verdict)
            except StorageConflict:
                verdict = self._judge(parsed, again=True)
                self._apply(verdict)
        self._seen.update(parsed.identifiers)
        return verdict.outcome, [verdict.problem] if verdict.problem else []

    def _judge(self, record: StudentRecord, *, again: bool = False) -> _Verdict:
        identifiers = record.identifiers
        if not again and not self._seen.isdisjoint(identifiers):
            return _refuse(record, RowOutcome.DUPLICATE, "twice_in_file")
        if not self._parts.rules.ask_again_after_refusal and self._store.is_refused(
            identifiers, self._school.institution
        ):
            return _refuse(record, RowOutcome.HELD, "refused_before")
        people = {
            person
            for identifier in identifiers
            if (person := self._register.find_person([identifier])) is not None
        }
        if len(people) > 1:
            return _refuse(record, RowOutcome.CONFLICT, "identifiers_differ")
        if people:
            return self._judge_known(record, people.pop())
        candidates = self._find_numberless(record)
        if len(candidates) > 1:
            return _refuse(record, RowOutcome.HELD, "ambiguous_match")
        if candidates:
            return self._judge_known(record, candidates[0])
        return _Verdict(RowOutcome.CREATED, record)

    def _judge_known(self, record: StudentRecord, patron_id: PatronId) -> _Verdict:
        application = self._store.find_application(patron_id)
        known = self._register.fetch_personal(patron_id)
        if application is not None and application.state is ApplicationState.WITHDRAWN:
            return _refuse(record, RowOutcome.HELD, "withdrawn_before")
        if (
            application is not None
            and application.state not in CLOSED_STATES
            and application.school_id != self._school.school_id
        ):
            verdict = _refuse(record, RowOutcome.DUPLICATE, "at_other_school")
            return replace(verdict, patron_id=patron_id, application=application)
        if known.name != record.name:
            return _refuse(record, RowOutcome.CONFLICT, "name_differs")
        verdict = _Verdict(RowOutcome.CREATED, record, None, patron_id, known, application)
        if application is None or application.state in CLOSED_STATES:
            return verdict
        if not self._changes(record, patron_id, known, application):
            return replace(verdict, outcome=RowOutcome.UNCHANGED)
        if application.state not in _EDITABLE:
            return _refuse(record, RowOutcome.HELD, "change_after_approval")
        return replace(verdict, outcome=RowOutcome.UPDATED)

    def _changes(
        self,
        record: StudentRecord,
        patron_id: PatronId,
        known: PersonalData,
        application: Application,
    ) -> bool:
        return (
            _merge(known, record) != known
            or (record.class_name or application.class_name) != application.class_name
            or (record.district or application.district) != application.district
            or any(self._register.find_person([i]) != patron_id for i in record.identifiers)
        )

    def _find_numberless(self, record: StudentRecord) -> list[PatronId]:
        """Return pupils of this school who were entered without identity number (scenario 4)."""
        if self._numberless is None:
            self._numberless = defaultdict(list)
            for application in self._store.list_applications(
                self._school.institution, school_id=self._school.school_id
            ):
                if application.state in CLOSED_STATES:
                    continue
                known = self._register.fetch_personal(application.patron_id)
                if not known.id_number and known.birth_date is not None:
                    self._numberless[known.name, known.birth_date].append(application.patron_id)
        return self._numberless.get((record.name, record.birth_date), [])

    def _apply(self, verdict: _Verdict) -> None:
        problem, record = verdict.problem, verdict.record
        if problem is not None and problem.code == "at_other_school":
            self._parts.audit.append(
                "enrolment.two_schools",
                actor=self._actor,
                subject=verdict.patron_id or "",
                detail={"school": self._school.code},
            )
        if verdict.outcome is RowOutcome.CREATED:
            self._create(record, verdict)
        elif verdict.outcome is RowOutcome.UPDATED and verdict.application is not None:
            self._update(record, verdict, verdict.application)

    def _create(self, record: StudentRecord, verdict: _Verdict) -> None:
        patron_id = verdict.patron_id
        if patron_id is None:
            patron_id = self._register.add_person(
                _merge(PersonalData(record.name), record),
                record.identifiers,
                home=self._school.institution,
                category=self._parts.rules.category,
                stage=self._school.stage.value if self._school.stage else "",
            )
        else:
            self._join(record, patron_id, verdict.known)
        self._store.add_application(
            NewApplication(
                patron_id=patron_id,
                institution=self._school.institution,
                school_id=self._school.school_id,
                route=Route.BATCH,
                batch_id=self._batch.batch_id if self._batch else None,
                batch_row=record.row,
                class_name=record.class_name,
                district=record.district,
                card_proposal=record.card_no,
            ),
            actor=self._actor,
            now=self._parts.now(),
        )

    def _update(self, record: StudentRecord, verdict: _Verdict, application: Application) -> None:
        self._join(record, application.patron_id, verdict.known)
        self._store.update_application(
            application.application_id,
            class_name=record.class_name or application.class_name,
            district=record.district or application.district,
            actor=self._actor,
            now=self._parts.now(),
        )

    def _join(self, record: StudentRecord, patron_id: PatronId, known: PersonalData | None) -> None:
        for identifier in record.identifiers:
            self._register.add_identifier(patron_id, identifier)
        merged = _merge(known or PersonalData(record.name), record)
        if merged != known:
            self._register.update_personal(patron_id, merged)


def _refuse(record: StudentRecord, outcome: RowOutcome, code: str) -> _Verdict:
    column = "id_number" if record.id_number is not None else "student_no"
    if code == "name_differs":
        column = "name"
    return _Verdict(outcome, record, RowProblem(code, record.row, column))


def _merge(known: PersonalData, record: StudentRecord) -> PersonalData:
    """Return what is known, with what the row says on top; empty cells change nothing."""
    return PersonalData(
        name=known.name,
        id_number=record.id_number.value if record.id_number else known.id_number,
        phone=record.phone or known.phone,
        guardian_name=record.guardian_name or known.guardian_name,
        guardian_phone=record.guardian_phone or known.guardian_phone,
        birth_date=record.birth_date,
    )
