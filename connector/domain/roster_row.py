"""A roster row as a value: one pupil, checked and normalised, or every reason why not.

Nothing here reads a spreadsheet, stores, or words a message. Rules: A02, A41, A49, scenarios 1 to
4; a row's problems are collected, never raised, and never hold the cell's value; what can be taken
with a doubt is taken, with a note. Texts as nearly every row has them take a short way through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from connector.domain.cell_text import clean_text, is_name, is_odd_text, join_name, read_text
from connector.domain.identity import (
    IdentityNumber,
    IdentityProblem,
    StudentNumber,
    normalise_text,
    parse_identity_number,
    parse_student_number,
)
from connector.domain.ids import Identifier
from connector.domain.roster_rules import RowContext, RowRules, day_number

__all__ = [
    "COLUMNS",
    "RowContext",
    "RowProblem",
    "StudentRecord",
    "clean_text",
    "parse_row",
]

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
    "grade",
    "willing",
)
"""Keys of the cells that a row may have."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row was not taken, or with what doubt: row in the sheet, column key, code; no value."""

    code: str
    row: int
    column: str


@dataclass(frozen=True, slots=True)
class StudentRecord:
    """One pupil as a roster row gives him, checked and normalised.

    Attributes:
        row: row number in the sheet.
        id_number: None when the child has none; then ``student_no`` is there (scenario 4).
        class_name: as the school writes it, with the grade column in front where there is one.
        card_no: a proposal; the library's number range decides (A36).
        level: the grade, None when the row does not tell it.
        class_label: the class within the grade, ``2班``; empty when the row does not tell it.
        willing: ``willing``, ``unwilling`` or ``no_answer`` (A02); never a consent.
        notes: doubts that did not keep the row from being taken.
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
    level: int | None = None
    class_label: str = ""
    willing: str = "no_answer"
    notes: tuple[RowProblem, ...] = ()

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The numbers by which this pupil is known, the strongest first."""
        found = []
        if self.id_number is not None:
            found.append(Identifier("id_card", self.id_number.value))
        if self.student_no is not None:
            found.append(Identifier("student_no", self.student_no.value))
        return tuple(found)


_USUAL_NAME = re.compile("[\u4e00-\u9fff]{2,4}")
_MOBILE = re.compile(r"1[3-9][0-9]{9}", re.ASCII)
_LANDLINE = re.compile(r"0[0-9]{2,3}[2-9][0-9]{6,7}", re.ASCII)
_COUNTRY = re.compile(r"(\+|00)86|86(?=1[3-9][0-9]{9}$)")
_PHONE_MARKS = re.compile(r"[-()（）－—]")
_NAME_LENGTH = range(2, 51)
_ANSWERS: Mapping[str, str] = {
    "no_answer": "- / 未答复 noanswer",
    "willing": "是 愿意 愿 自愿 同意 办 办证 要 √ ✓ ✔ y yes 1 true willing",
    "unwilling": "否 不 不愿意 不愿 不同意 不办 不办证 不要 × ✗ ✘ x n no 0 false unwilling",
}
_WILLING = {"": "no_answer"} | {
    text: answer for answer, texts in _ANSWERS.items() for text in texts.split()
}
_Number = TypeVar("_Number", IdentityNumber, StudentNumber)


def parse_row(
    cells: Mapping[str, object], row: int, context: RowContext
) -> StudentRecord | list[RowProblem]:
    """Return the pupil in a row, or every problem that the row has.

    A missing phone of the child is satisfied by the guardian's; without both the only problem is
    ``needs_guardian`` (scenario 3). A district is asked for only where the sheet has the column.
    A class that cannot be read is a note of the record, not a problem.

    Args:
        cells: column key → raw cell; a missing key is a column that the sheet does not have.
        row: row number in the sheet, for the report.
    """
    return _RowReader(cells, row, context.rules).read()


class _RowReader:
    """Reads the cells of one row and collects what is wrong with them."""

    __slots__ = ("_cells", "_row", "_rules", "problems")

    def __init__(self, cells: Mapping[str, object], row: int, rules: RowRules) -> None:
        self._cells = cells
        self._row = row
        self._rules = rules
        self.problems: list[RowProblem] = []

    def read(self) -> StudentRecord | list[RowProblem]:
        get = self._cells.get
        identity, student = self._read_numbers(get("id_number"), get("student_no"))
        known = identity or student
        school_class = self._rules.read_class(get("class_name"), get("grade"))
        for column, code in school_class.problems:
            self._report(column, code)
        if known is not None:
            self._check_age(known, school_class.level)
        name = self._read_name("name", get("name"))
        guardian_name = self._read_name("guardian_name", get("guardian_name"))
        if name and name == guardian_name:
            self._report("guardian_name", "guardian_is_pupil")
        phone = self._read_phone("phone", get("phone"))
        guardian_phone = self._read_phone("guardian_phone", get("guardian_phone"))
        if phone == "" and guardian_phone == "":
            self._report("phone", "needs_guardian")
        card_no = self._read_text("card_no", get("card_no"))
        district = self._read_district()
        willing = self._read_willing()
        if self.problems or known is None:
            return self.problems
        note = school_class.note
        return StudentRecord(
            self._row,
            name,
            identity,
            student,
            known.birth_date,
            phone or "",
            guardian_name,
            guardian_phone or "",
            school_class.text,
            district,
            card_no,
            school_class.level,
            school_class.label,
            willing,
            () if note is None else (RowProblem(note[1], self._row, note[0]),),
        )

    def _report(self, column: str, code: str) -> None:
        self.problems.append(RowProblem(code, self._row, column))

    def _read_numbers(
        self, raw: object, raw_student: object
    ) -> tuple[IdentityNumber | None, StudentNumber | None]:
        today = self._rules.today
        student = None
        if not _is_blank(raw_student):
            found = parse_student_number(raw_student, today=today)
            student = self._accept("student_no", found)
            if _is_blank(raw):
                return None, student
        return self._accept("id_number", parse_identity_number(raw, today=today)), student

    def _accept(self, column: str, number: _Number | IdentityProblem) -> _Number | None:
        if isinstance(number, IdentityProblem):
            self._report(column, number.code.value)
            return None
        return number

    def _check_age(self, known: IdentityNumber | StudentNumber, level: int | None) -> None:
        birth = day_number(known.birth_date)
        rules = self._rules
        if birth <= rules.last_adult:
            code = "id_of_adult"
        elif rules.stage_births is not None and birth not in rules.stage_births:
            code = "age_not_for_stage"
        elif level is not None and birth not in rules.births_of_level(level):
            code = "age_not_for_grade"
        else:
            return
        self._report("id_number" if isinstance(known, IdentityNumber) else "student_no", code)

    def _read_name(self, column: str, raw: object) -> str:
        if isinstance(raw, str) and _USUAL_NAME.fullmatch(raw):
            return raw
        name = join_name(clean_text(raw))
        if not name:
            if column == "name":
                self._report(column, "name_missing")
        elif not is_name(name):
            self._report(column, "name_characters")
        elif len(name) not in _NAME_LENGTH:
            self._report(column, "name_length")
        return name

    def _read_phone(self, column: str, raw: object) -> str | None:
        """Return the digits, empty for an empty cell, None for what is no phone number."""
        if isinstance(raw, str) and _MOBILE.fullmatch(raw):
            return raw
        text = _PHONE_MARKS.sub("", normalise_text(clean_text(raw)))
        digits = _COUNTRY.sub("", text, count=1) if _COUNTRY.match(text) else text
        if not digits or _MOBILE.fullmatch(digits) or _LANDLINE.fullmatch(digits):
            return digits
        self._report(column, "phone_format")
        return None

    def _read_text(self, column: str, raw: object) -> str:
        if raw is None:
            return ""
        text = read_text(raw)
        if is_odd_text(text):
            self._report(column, "text_format")
        return text

    def _read_district(self) -> str:
        if "district" not in self._cells:
            return ""
        district = self._read_text("district", self._cells["district"])
        if code := self._rules.check_district(district):
            self._report("district", code)
        return district

    def _read_willing(self) -> str:
        raw = self._cells.get("willing")
        if raw is None:
            return "no_answer"
        text = unicodedata.normalize("NFKC", clean_text(raw)).lower()
        willing = _WILLING.get("".join(text.split()))
        if willing is None:
            self._report("willing", "willing_unclear")
        return willing or "no_answer"


def _is_blank(raw: object) -> bool:
    return raw is None or not normalise_text(clean_text(raw))
