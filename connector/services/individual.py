"""One pupil at a time: entered by his family or the school's office, changed, taken away again.

Nothing here asks an ILS. Rules (A06, A08, A36 to A38) —

- the same checks as for a roster row, the same look for who is known already;
- a school that enters by roster alone takes nobody one by one;
- before the library's approval an application is changed; afterwards it takes a new decision;
- whose card was never opened is removed; an open card is closed, never silently deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import (
    CLOSED_STATES,
    COLUMNS,
    ApplicationState,
    RowProblem,
    StudentRecord,
    parse_row,
)
from connector.domain.ids import PatronId
from connector.enrolment.workbook import RosterRow
from connector.errors import ConfigurationError, StorageConflict
from connector.ports.enrolment import Application, RowOutcome, School
from connector.ports.rosters import ApplicationChange, RowWrite
from connector.services.roster import RosterImport
from connector.services.roster_classes import RosterClasses
from connector.services.roster_judging import RowJudge
from connector.services.roster_leavers import CardCloser
from connector.services.roster_verdicts import EDITABLE, merge_data
from connector.services.roster_writing import RowWriter
from connector.services.school_days import find_placing_year

__all__ = ["EDITABLE_FIELDS", "EntryReport", "IndividualEntry"]

EDITABLE_FIELDS = (
    "phone",
    "guardian_name",
    "guardian_phone",
    "grade",
    "class_name",
    "district",
    "willing",
)
"""What may be changed in an application; name and numbers say whose it is."""

_SOURCE = "form"
_OPENED = frozenset(
    {ApplicationState.ACTIVATING, ApplicationState.ACTIVE, ApplicationState.EXISTING_CARD}
)


@dataclass(frozen=True, slots=True)
class EntryReport:
    """What became of one entry or change.

    Attributes:
        application: the one that there is now, if the pupil has one at this school.
        problems: why nothing was written; codes, never values.
    """

    outcome: RowOutcome
    application: Application | None = None
    problems: tuple[RowProblem, ...] = ()
    notes: tuple[RowProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class IndividualEntry:
    """Applications of single pupils, at the schools of one library.

    Attributes:
        parts: what rosters are imported with.
    """

    parts: RosterImport
    closer: CardCloser

    def enter(self, school: School, cells: Mapping[str, object], *, actor: str) -> EntryReport:
        """Enter one pupil at a school.

        Args:
            cells: as of a roster row, by column key.

        Raises:
            ConfigurationError: the school is disabled or enters by roster alone, or a key is
                unknown.
        """
        if school.disabled or school.entry_mode == "batch":
            raise ConfigurationError(
                f"School {school.code} does not enter pupils one by one.",
                "Run: onecard enrol school add CODE NAME --entry-mode both --enabled",
            )
        _require_known(cells, COLUMNS)
        judge, classes = self._judge(school)
        (verdict,) = judge.judge([RosterRow(1, dict(cells))])
        if verdict.problems or verdict.outcome is not RowOutcome.CREATED:
            if write := self._writer(school).write_of(verdict, None):
                self._keep_tasks(school, write, actor)
            outcome = verdict.outcome
            if outcome is RowOutcome.UPDATED:  # he is here already: ``edit`` changes him
                outcome = RowOutcome.UNCHANGED
            is_here = outcome is RowOutcome.UNCHANGED
            application = None
            if is_here and verdict.patron_id is not None:
                application = self.parts.store.find_application(verdict.patron_id)
            return EntryReport(outcome, application, tuple(verdict.problems))
        write = self._writer(school).write_of(verdict, None)
        patron_id = (
            None
            if write is None
            else self.parts.rosters.write_row(school.institution, write, actor=actor)
        )
        application = None if patron_id is None else self.parts.store.find_application(patron_id)
        if patron_id is not None and verdict.record is not None and verdict.is_new_member:
            _place(classes, verdict.record, patron_id, actor)
        return EntryReport(verdict.outcome, application, notes=tuple(verdict.notes))

    def edit(
        self, application: Application, changes: Mapping[str, object], *, actor: str
    ) -> EntryReport:
        """Change an application that the library has not approved.

        Args:
            changes: column key → new value, of ``EDITABLE_FIELDS``; an empty one changes nothing.

        Raises:
            ConfigurationError: the application is beyond that, or a key is unknown.
        """
        if application.state not in EDITABLE:
            raise ConfigurationError(
                "The library has approved it already, or it is closed.",
                "Ask the library for the change.",
            )
        _require_known(changes, EDITABLE_FIELDS)
        school = self._school_of(application)
        known = self.parts.register.fetch_personal(application.patron_id)
        cells: dict[str, object] = {
            "name": known.name,
            "id_number": known.id_number,
            "phone": known.phone,
            "guardian_name": known.guardian_name,
            "guardian_phone": known.guardian_phone,
        }
        if not known.id_number:
            numbers = self.parts.register.list_identifiers(application.patron_id)
            cells["student_no"] = next(
                (number.value for number, _ in numbers if number.kind == "student_no"), ""
            )
        now = self.parts.now()
        year, classes = self._classes(school)
        context = self.parts.rules.row_context(now, school, year)
        parsed = parse_row(cells | dict(changes), 1, context)
        if not isinstance(parsed, StudentRecord):
            return EntryReport(RowOutcome.INVALID, application, tuple(parsed))
        data = merge_data(known, parsed)
        change = ApplicationChange(
            application_id=application.application_id,
            state=application.state,
            class_name=parsed.class_name or application.class_name,
            district=parsed.district or application.district,
            willing=parsed.willing if changes.get("willing") else application.willing,
            on_roster=application.on_roster,
            provenance={**application.provenance, **dict.fromkeys(changes, _SOURCE)},
        )
        write = RowWrite(
            patron_id=application.patron_id, data=data if data != known else None, change=change
        )
        self.parts.rosters.write_row(application.institution, write, actor=actor)
        member = classes.find_members([application.patron_id]).get(application.patron_id)
        if classes.is_elsewhere(parsed, member):
            _place(classes, parsed, application.patron_id, actor)
        changed = self.parts.store.fetch_application(application.application_id)
        return EntryReport(RowOutcome.UPDATED, changed, notes=parsed.notes)

    def remove(
        self,
        application: Application,
        *,
        reason: ClosingReason = ClosingReason.LEFT,
        actor: str,
    ) -> bool:
        """Take a pupil away: removed, or his card begins to be closed; say whether it is closed
        later, because it was opened.

        Raises:
            ConfigurationError: it is closed already.
        """
        if application.state in CLOSED_STATES:
            raise ConfigurationError("This application is closed already.", "Nothing is to do.")
        if application.state not in _OPENED:
            try:
                self.parts.store.erase_applicant(
                    application.patron_id, actor=actor, now=self.parts.now()
                )
            except StorageConflict as err:
                if err.code != "card_was_opened":
                    raise
            else:
                return False
        self.closer.begin(application.patron_id, reason, actor=actor)
        return True

    # --- parts ----------------------------------------------------------------------------------

    def _classes(self, school: School) -> tuple[int, RosterClasses]:
        schools = self.parts.schools
        today = self.parts.rules.today(self.parts.now())
        year, day = find_placing_year(
            schools.list_calendars(school.institution),
            school,
            today,
            schools.list_member_years(school.school_id),
        )
        return year, RosterClasses(schools, school, school_year=year, day=day)

    def _judge(self, school: School) -> tuple[RowJudge, RosterClasses]:
        year, classes = self._classes(school)
        judge = RowJudge(
            register=self.parts.register,
            store=self.parts.store,
            rosters=self.parts.rosters,
            rules=self.parts.rules,
            school=school,
            context=self.parts.rules.row_context(self.parts.now(), school, year),
            classes=classes,
            checks=self.parts.checks,
        )
        return judge, classes

    def _writer(self, school: School) -> RowWriter:
        codes = {
            each.school_id: each.code for each in self.parts.store.list_schools(school.institution)
        }
        return RowWriter(
            school, self.parts.rules.category, source=_SOURCE, campaign_id=None, codes=codes
        )

    def _keep_tasks(self, school: School, write: RowWrite, actor: str) -> None:
        """Open the task that an entry gives rise to, though nothing of it is written."""
        if write.tasks:
            only = RowWrite(patron_id=write.patron_id, tasks=write.tasks)
            self.parts.rosters.write_row(school.institution, only, actor=actor)

    def _school_of(self, application: Application) -> School:
        for school in self.parts.store.list_schools(application.institution):
            if school.school_id == application.school_id:
                return school
        raise ConfigurationError("Its school is gone.", "See: onecard enrol school list")


def _place(classes: RosterClasses, record: StudentRecord, patron_id: str, actor: str) -> None:
    if record.level is not None:
        classes.place({PatronId(patron_id): (record.level, record.class_label)}, actor=actor)


def _require_known(cells: Mapping[str, object], allowed: tuple[str, ...]) -> None:
    strange = sorted(set(cells) - set(allowed))
    if strange:
        raise ConfigurationError(
            f"There is no field {strange[0]!r}.", f"Use: {', '.join(allowed)}."
        )
