"""What a roster row asks for, held against what is known of the pupil: values and pure rules.

Nothing here looks anything up or writes. Rules: an empty cell never empties what is known; who left
a school or whose card expired may come back, who withdrew is not asked again; after the library's
approval a row brings a class, a first identity number or a student number, nothing else (A37).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
    RowProblem,
    StudentRecord,
)
from connector.domain.ids import Identifier, PatronId
from connector.ports.enrolment import Application, RowOutcome
from connector.ports.store import PersonalData

__all__ = [
    "EDITABLE",
    "Verdict",
    "asks_for_change",
    "brings_news",
    "has_withdrawn",
    "merge_data",
    "refuse_row",
    "tells_else",
]

EDITABLE = frozenset({ApplicationState.ENTERED, ApplicationState.SCHOOL_REVIEWED})
"""States in which a school may change what it entered (A37)."""

_COMES_BACK = frozenset({ClosingReason.LEFT, ClosingReason.EXPIRED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one row, and of whom it speaks.

    Attributes:
        record: None for a row that could not be read.
        patron_id: whom it is about, as far as he is known.
        may_be: people whom it may be about; a complete roster names them.
        is_new_member: the row puts the pupil into a class that he is not in.
        new_numbers: those that he did not have.
    """

    row: int
    outcome: RowOutcome
    record: StudentRecord | None = field(default=None, repr=False)
    problems: Sequence[RowProblem] = ()
    notes: Sequence[RowProblem] = ()
    patron_id: PatronId | None = None
    may_be: Sequence[PatronId] = ()
    known: PersonalData | None = field(default=None, repr=False)
    application: Application | None = None
    is_new_member: bool = False
    new_numbers: Sequence[Identifier] = field(default=(), repr=False)


def merge_data(known: PersonalData, record: StudentRecord) -> PersonalData:
    """Return what is known, with what the row says on top; empty cells change nothing."""
    return PersonalData(
        name=known.name,
        id_number=record.id_number.value if record.id_number else known.id_number,
        phone=record.phone or known.phone,
        guardian_name=record.guardian_name or known.guardian_name,
        guardian_phone=record.guardian_phone or known.guardian_phone,
        birth_date=record.birth_date,
    )


def has_withdrawn(application: Application | None) -> bool:
    """Say whether the pupil's last application ended by a withdrawal, not because he left."""
    return (
        application is not None
        and application.state is ApplicationState.WITHDRAWN
        and application.reason not in _COMES_BACK
    )


def asks_for_change(record: StudentRecord, data: PersonalData, application: Application) -> bool:
    """Say whether the row changes what only the library may change after its approval."""
    if application.state in EDITABLE or application.state in CLOSED_STATES:
        return False
    merged = merge_data(data, record)
    same = replace(merged, id_number=data.id_number, birth_date=data.birth_date)
    return same != data or (record.district or application.district) != application.district


def brings_news(record: StudentRecord, data: PersonalData, application: Application) -> bool:
    """Say whether the row tells anything that is not known; classes and numbers aside."""
    return (
        not application.on_roster
        or merge_data(data, record) != data
        or tells_else(record, application)
    )


class _Told(Protocol):
    """What an application keeps of a row, beside the pupil's data."""

    @property
    def class_name(self) -> str: ...
    @property
    def district(self) -> str: ...
    @property
    def willing(self) -> str: ...


def tells_else(record: StudentRecord, application: _Told) -> bool:
    """Say whether the row tells another class text, district or answer than is known."""
    return (
        (record.class_name or application.class_name) != application.class_name
        or (record.district or application.district) != application.district
        or record.willing not in {"no_answer", application.willing}
    )


def refuse_row(
    record: StudentRecord, outcome: RowOutcome, code: str, may_be: Iterable[PatronId] = ()
) -> Verdict:
    """Return the verdict on a row that is not taken."""
    column = "id_number" if record.id_number is not None else "student_no"
    if code == "name_differs":
        column = "name"
    elif code == "grade_not_in_campaign":
        column = "class_name"
    problem = RowProblem(code, record.row, column)
    return Verdict(record.row, outcome, record, (problem,), may_be=tuple(may_be))
