"""What a roster row changes, as a value that storage writes all at once.

Nothing here judges a row or writes. Rules: every field keeps where it came from (A09); what an
empty cell does not tell stays; a task holds ids and codes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.domain.enrolment import Route
from connector.domain.ids import PatronId
from connector.ports.enrolment import Batch, NewApplication, RowOutcome, School
from connector.ports.rosters import ApplicationChange, NewPerson, RosterTask, RowWrite
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.services.roster_verdicts import Verdict, merge_data

__all__ = ["WRITTEN", "RowWriter"]

WRITTEN = frozenset({RowOutcome.CREATED, RowOutcome.UPDATED})
"""Outcomes that change something about the pupil."""

_FIELDS = ("name", "phone", "guardian_name", "guardian_phone", "class_name", "district", "card_no")


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Turns verdicts on one school's rows into what is written.

    Attributes:
        codes: school id → code, of the library's schools.
    """

    school: School
    category: str
    source: str
    campaign_id: str | None
    codes: Mapping[str, str]

    def write_of(self, verdict: Verdict, batch: Batch | None) -> RowWrite | None:
        """Return what a row changes, None when it changes nothing."""
        record = verdict.record
        if record is None:
            return None
        if verdict.outcome not in WRITTEN:
            tasks = self._tasks_of(verdict, batch)
            return RowWrite(patron_id=verdict.patron_id, tasks=tasks) if tasks else None
        known = verdict.known or PersonalData(record.name)
        data = merge_data(known, record)
        return RowWrite(
            person=self._person() if verdict.patron_id is None else None,
            patron_id=verdict.patron_id,
            data=data if data != verdict.known else None,
            identifiers=verdict.new_numbers,
            enter=self._enter(verdict, batch) if verdict.outcome is RowOutcome.CREATED else None,
            change=self._change(verdict) if verdict.outcome is RowOutcome.UPDATED else None,
        )

    def _person(self) -> NewPerson:
        stage = self.school.stage.value if self.school.stage else ""
        return NewPerson(self.school.institution, self.category, stage)

    def _enter(self, verdict: Verdict, batch: Batch | None) -> NewApplication | None:
        record = verdict.record
        if record is None:
            return None
        return NewApplication(
            patron_id=verdict.patron_id or PatronId(""),
            institution=self.school.institution,
            school_id=self.school.school_id,
            route=Route.BATCH if batch else Route.INDIVIDUAL,
            batch_id=batch.batch_id if batch else None,
            batch_row=record.row if batch else None,
            class_name=record.class_name,
            district=record.district,
            card_proposal=record.card_no,
            on_roster=batch is not None,
            provenance=dict.fromkeys(_told(verdict), self.source),
            willing=record.willing,
            campaign_id=self.campaign_id,
        )

    def _change(self, verdict: Verdict) -> ApplicationChange | None:
        record, application = verdict.record, verdict.application
        if record is None or application is None:
            return None
        changed = [name for name in _told(verdict) if _is_changed(verdict, name)]
        return ApplicationChange(
            application_id=application.application_id,
            state=application.state,
            class_name=record.class_name or application.class_name,
            district=record.district or application.district,
            willing=application.willing if record.willing == "no_answer" else record.willing,
            on_roster=True,
            provenance={**application.provenance, **dict.fromkeys(changed, self.source)},
        )

    def _tasks_of(self, verdict: Verdict, batch: Batch | None) -> tuple[RosterTask, ...]:
        codes = {problem.code for problem in verdict.problems}
        place = batch.number if batch else "form"
        here: dict[str, str | int] = {
            "school": self.school.code,
            "batch": place,
            "row": verdict.row,
        }
        application, patron_id = verdict.application, verdict.patron_id
        if "at_other_school" in codes and application is not None and patron_id is not None:
            other = self.codes.get(application.school_id, "")
            detail = here | {"other_school": other}
            return (RosterTask(TaskKind.TWO_SCHOOLS, patron_id, patron_id, detail),)
        if "ambiguous_match" in codes:
            fits = min(verdict.may_be, default=None)
            about = fits or f"{place}/{verdict.row}"
            return (RosterTask(TaskKind.AMBIGUOUS_MATCH, about, fits, here),)
        return ()


def _told(verdict: Verdict) -> list[str]:
    """Return the fields that the row tells, numbers too."""
    record = verdict.record
    if record is None:
        return []
    numbers = [number.kind.replace("id_card", "id_number") for number in record.identifiers]
    return sorted([*numbers, *(name for name in _FIELDS if getattr(record, name))])


def _is_changed(verdict: Verdict, name: str) -> bool:
    record, application, known = verdict.record, verdict.application, verdict.known
    if name in {"id_number", "student_no"}:
        kind = name.replace("id_number", "id_card")
        return any(number.kind == kind for number in verdict.new_numbers)
    before = getattr(known, name, None)
    if before is None:
        before = getattr(application, name, "")
    return bool(getattr(record, name) != before)
