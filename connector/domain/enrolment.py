"""Applications for a student card, and a roster row as a value: states, moves, row checks.

Nothing here reads a spreadsheet, stores, or words a message. Rules: A07, A08, A24, A41, A49,
decisions 19 and 20; a row's problems are collected, never raised, and never hold the cell's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from connector.domain.identity import (
    IdentityNumber,
    StudentNumber,
)
from connector.domain.ids import Identifier

__all__ = [
    "APPLICATION_MOVES",
    "CLOSED_STATES",
    "COLUMNS",
    "ApplicationState",
    "ConsentScope",
    "Route",
    "RowContext",
    "RowProblem",
    "SchoolStage",
    "StudentRecord",
    "can_advance",
    "parse_row",
]


class ApplicationState(StrEnum):
    """States of an application (decision 19); consent is a separate fact, not a state."""

    ENTERED = "entered"
    SCHOOL_REVIEWED = "school_reviewed"
    LIBRARY_APPROVED = "library_approved"
    ACTIVATING = "activating"
    ACTIVE = "active"
    EXISTING_CARD = "existing_card"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


_S = ApplicationState

APPLICATION_MOVES: Mapping[ApplicationState, frozenset[ApplicationState]] = {
    _S.ENTERED: frozenset({_S.SCHOOL_REVIEWED, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}),
    _S.SCHOOL_REVIEWED: frozenset({_S.ENTERED, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}),
    _S.LIBRARY_APPROVED: frozenset({_S.ACTIVATING, _S.REFUSED, _S.WITHDRAWN}),
    _S.ACTIVATING: frozenset(
        {_S.ACTIVE, _S.EXISTING_CARD, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}
    ),
    _S.EXISTING_CARD: frozenset({_S.ACTIVE, _S.WITHDRAWN}),
    _S.ACTIVE: frozenset({_S.WITHDRAWN}),
    _S.REFUSED: frozenset(),
    _S.WITHDRAWN: frozenset(),
}
"""``entered`` goes to the library at once only where the school need not review: ``can_advance``."""

CLOSED_STATES = frozenset({_S.REFUSED, _S.WITHDRAWN})
"""A person has at most one application outside these states (A24)."""


class Route(StrEnum):
    """Who entered the application: the school for many, or the family for one (A06)."""

    BATCH = "batch"
    INDIVIDUAL = "individual"


class SchoolStage(StrEnum):
    """What kind of school it is."""

    KINDERGARTEN = "kindergarten"
    PRIMARY = "primary"
    JUNIOR = "junior"
    SENIOR = "senior"


_AGES: Mapping[SchoolStage, tuple[int, int]] = {
    SchoolStage.KINDERGARTEN: (2, 7),
    SchoolStage.PRIMARY: (5, 15),
    SchoolStage.JUNIOR: (10, 18),
    SchoolStage.SENIOR: (13, 22),
}
"""Completed years that a pupil of a stage may have, with a margin for early and late entry."""


class ConsentScope(StrEnum):
    """What a guardian may agree to, one by one (decision 20)."""

    CARD = "card"
    ONLINE = "online"
    NETWORK_COUNTY = "network:county"
    NETWORK_CITY = "network:city"
    NETWORK_CROSS_PROVINCE = "network:cross_province"


def can_advance(
    old: ApplicationState,
    new: ApplicationState,
    *,
    route: Route,
    review_individual: bool = False,
) -> bool:
    """Say whether an application may go from ``old`` to ``new``.

    Args:
        review_individual: the school wants to review what families enter themselves (A08, A39).
    """
    if old is _S.ENTERED and new is _S.LIBRARY_APPROVED:
        return route is Route.INDIVIDUAL and not review_individual
    return new in APPLICATION_MOVES[old]


COLUMNS = (
    "id_number",
    "name",
    "phone",
    "guardian_name",
    "guardian_phone",
    "class_name",
    "district",
    "student_no",
    "card_no",
)
"""Keys of the cells that a row may have."""


@dataclass(frozen=True, slots=True)
class RowContext:
    """What a row is checked against.

    Attributes:
        today: the day in the library's zone.
        stage: None = the age is not checked.
        districts: counties that the programme serves; empty = any.
    """

    today: date
    stage: SchoolStage | None = None
    districts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row was not taken: row number in the sheet, column key, code; never the value."""

    code: str
    row: int
    column: str


@dataclass(frozen=True, slots=True)
class StudentRecord:
    """One pupil as a roster row gives him, checked and normalised.

    Attributes:
        row: row number in the sheet.
        id_number: None when the child has none; then ``student_no`` is there (scenario 4).
        card_no: a proposal; the library's number range decides (A36).
    """

    row: int
    name: str = field(repr=False)
    id_number: IdentityNumber | None = field(repr=False)
    student_no: StudentNumber | None = field(repr=False)
    birth_date: date = field(repr=False)
    phone: str = field(default="", repr=False)
    guardian_name: str = field(default="", repr=False)
    guardian_phone: str = field(default="", repr=False)
    class_name: str = ""
    district: str = ""
    card_no: str = field(default="", repr=False)

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The numbers by which this pupil is known, the strongest first."""
        found = []
        if self.id_number is not None:
            found.append(Identifier("id_card", self.id_number.value))
        if self.student_no is not None:
            found.append(Identifier("student_no", self.student_no.value))
        return tuple(found)


_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_LANDLINE = re.compile(r"0[0-9]{2,3}[2-9][0-9]{6,7}")
_COUNTRY = re.compile(r"(\+|00)86|86(?=1[3-9][0-9]{9}$)")
_DOTS = str.maketrans(dict.fromkeys("•・‧∙⋅．･", "·"))
_NAME_MARKS = frozenset(" ·'-.〇")
_NAME_LENGTH = range(2, 51)
_TEXT_LENGTH = 60
_DISTRICT_ENDINGS = ("自治县", "区", "县", "市")


def parse_row(
    cells: Mapping[str, object], row: int, context: RowContext
) -> StudentRecord | list[RowProblem]:
    """Return the pupil in a row, or every problem that the row has.

    A missing phone of the child is satisfied by the guardian's; without both the only problem is
    ``needs_guardian`` (scenario 3). A district is asked for only where the sheet has the column.

    Args:
        cells: column key → raw cell; a missing key is a column that the sheet does not have.
        row: row number in the sheet, for the report.
    """
    found: list[RowProblem] = []

    def report(column: str, code: str) -> None:
        found.append(RowProblem(code, row, column))

    identity, student = _read_numbers(cells, context, report)
    name = _read_name(cells.get("name"))
    if name is None or not name:
        report("name", "name_missing" if name == "" else "name_characters")
    guardian = _read_name(cells.get("guardian_name"))
    if guardian is None:
        report("guardian_name", "name_characters")
    phones = {}
    for column in ("phone", "guardian_phone"):
        phones[column] = _read_phone(cells.get(column))
        if phones[column] is None:
            report(column, "phone_format")
    texts = {}
    for column in ("class_name", "district", "card_no"):
        texts[column] = _read_text(cells.get(column))
        if texts[column] is None:
            report(column, "text_format")
    if "district" in cells and texts["district"] is not None:
        _check_district(texts["district"], context, report)
    known = identity or student
    if known is not None and not _fits_stage(known.birth_date, context):
        report("id_number" if identity else "student_no", "age_not_for_stage")
    if not any(phones.values()) and None not in phones.values():
        report("phone", "needs_guardian")
    if found or known is None:
        return found
    return StudentRecord(
        row=row,
        name=name or "",
        id_number=identity,
        student_no=student,
        birth_date=known.birth_date,
        phone=phones["phone"] or "",
        guardian_name=guardian or "",
        guardian_phone=phones["guardian_phone"] or "",
        class_name=texts["class_name"] or "",
        district=texts["district"] or "",
        card_no=texts["card_no"] or "",
    )
