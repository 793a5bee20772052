"""Applications for a student card, and a roster row as a value: states, moves, row checks.

Nothing here reads a spreadsheet, stores, or words a message. Rules: A07, A08, A24, A41, A49,
decisions 19 and 20; a row's problems are collected, never raised, and never hold the cell's value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TypeVar

from connector.domain.identity import (
    IdentityNumber,
    IdentityProblem,
    StudentNumber,
    age_on,
    normalise_text,
    parse_identity_number,
    parse_student_number,
)
from connector.domain.ids import Identifier
from connector.domain.school import SchoolStage

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
    "clean_text",
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
"""``entered`` goes to the library at once only where no school reviews: see ``can_advance``."""

CLOSED_STATES = frozenset({_S.REFUSED, _S.WITHDRAWN})
"""A person has at most one application outside these states (A24)."""


class Route(StrEnum):
    """Who entered the application: the school for many, or the family for one (A06)."""

    BATCH = "batch"
    INDIVIDUAL = "individual"


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
_FORMULA_STARTS = tuple("=+-@")
_EXACT_FLOAT = 10**15
_DISTRICT_ENDINGS = ("自治县", "区", "县", "市")
_Number = TypeVar("_Number", IdentityNumber, StudentNumber)


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
    reader = _RowReader(cells, row, context)
    identity, student = reader.read_numbers()
    name = reader.read_name("name", required=True)
    guardian_name = reader.read_name("guardian_name", required=False)
    phone, guardian_phone = reader.read_phone("phone"), reader.read_phone("guardian_phone")
    if phone == "" and guardian_phone == "":
        reader.report("phone", "needs_guardian")
    class_name, card_no = reader.read_text("class_name"), reader.read_text("card_no")
    district = reader.read_district()
    known = identity or student
    if reader.problems or known is None:
        return reader.problems
    return StudentRecord(
        row=row,
        name=name,
        id_number=identity,
        student_no=student,
        birth_date=known.birth_date,
        phone=phone or "",
        guardian_name=guardian_name,
        guardian_phone=guardian_phone or "",
        class_name=class_name,
        district=district,
        card_no=card_no,
    )


class _RowReader:
    """Reads the cells of one row and collects what is wrong with them."""

    def __init__(self, cells: Mapping[str, object], row: int, context: RowContext) -> None:
        self._cells = cells
        self._row = row
        self._context = context
        self.problems: list[RowProblem] = []

    def report(self, column: str, code: str) -> None:
        self.problems.append(RowProblem(code, self._row, column))

    def read_numbers(self) -> tuple[IdentityNumber | None, StudentNumber | None]:
        today = self._context.today
        identity = student = None
        if _is_blank(self._cells.get("student_no")):
            number = parse_identity_number(self._cells.get("id_number"), today=today)
            identity = self._accept("id_number", number)
        else:
            student = self._accept(
                "student_no", parse_student_number(self._cells.get("student_no"), today=today)
            )
            if not _is_blank(self._cells.get("id_number")):
                number = parse_identity_number(self._cells.get("id_number"), today=today)
                identity = self._accept("id_number", number)
        known = identity or student
        if known is not None and not _fits_stage(known.birth_date, self._context):
            self.report("id_number" if identity else "student_no", "age_not_for_stage")
        return identity, student

    def _accept(self, column: str, number: _Number | IdentityProblem) -> _Number | None:
        if isinstance(number, IdentityProblem):
            self.report(column, number.code.value)
            return None
        return number

    def read_name(self, column: str, *, required: bool) -> str:
        name = " ".join(clean_text(self._cells.get(column)).translate(_DOTS).split())
        if not name:
            if required:
                self.report(column, "name_missing")
        elif not all(_is_name_character(ch) for ch in name) or not any(map(str.isalpha, name)):
            self.report(column, "name_characters")
        elif len(name) not in _NAME_LENGTH:
            self.report(column, "name_length")
        return name

    def read_phone(self, column: str) -> str | None:
        """Return the digits, empty for an empty cell, None for what is no phone number."""
        text = re.sub(r"[-()（）－—]", "", normalise_text(clean_text(self._cells.get(column))))
        digits = _COUNTRY.sub("", text, count=1) if _COUNTRY.match(text) else text
        if not digits or _MOBILE.fullmatch(digits) or _LANDLINE.fullmatch(digits):
            return digits
        self.report(column, "phone_format")
        return None

    def read_text(self, column: str) -> str:
        text = " ".join(clean_text(self._cells.get(column)).split())
        if text[:1] in _FORMULA_STARTS or len(text) > _TEXT_LENGTH:
            self.report(column, "text_format")
        return text

    def read_district(self) -> str:
        district = self.read_text("district")
        if "district" not in self._cells:
            return district
        if not district:
            self.report("district", "district_missing")
        served = {_short_district(name) for name in self._context.districts}
        if district and served and _short_district(district) not in served:
            self.report("district", "district_unknown")
        return district


def clean_text(raw: object) -> str:
    """Return a cell as text without invisible characters; whole numbers without ``.0``."""
    if raw is None:
        return ""
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < _EXACT_FLOAT:
        return str(int(raw))
    text = str(raw)
    return "".join(ch for ch in text if unicodedata.category(ch) != "Cf").strip()


def _is_blank(raw: object) -> bool:
    return not normalise_text(clean_text(raw))


def _is_name_character(char: str) -> bool:
    return char.isalpha() or char in _NAME_MARKS or unicodedata.category(char).startswith("M")


def _fits_stage(birth: date, context: RowContext) -> bool:
    if context.stage is None:
        return True
    youngest, oldest = _AGES[context.stage]
    return youngest <= age_on(birth, context.today) <= oldest


def _short_district(name: str) -> str:
    for ending in _DISTRICT_ENDINGS:
        if len(name) > len(ending) + 1 and name.endswith(ending):
            return name.removesuffix(ending)
    return name
