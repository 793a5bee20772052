"""The empty roster, written for schools to fill in.

Nothing here reads, or knows a pupil. Rules: every cell is text, so that Excel keeps every digit;
nothing is a formula.
"""

from __future__ import annotations

from pathlib import Path

import xlsxwriter

from connector.enrolment.columns import HEADERS, LAYOUTS, MANDATORY, Layout
from connector.errors import RecordError

__all__ = ["write_template"]


def write_template(path: Path, layout: Layout = Layout.A49, *, language: str = "zh") -> None:
    """Write an empty roster with the layout's headers; number columns are text, so that Excel keeps
    every digit.

    Raises:
        RecordError: the file cannot be written (``file_not_writable``).
    """
    english = language.startswith("en")
    book = xlsxwriter.Workbook(str(path), {"strings_to_numbers": False})
    sheet = book.add_worksheet("Roster" if english else "名册")
    heading = book.add_format({"bold": True, "bg_color": "#DDEBF7", "border": 1})
    as_text = book.add_format({"num_format": "@"})
    for position, key in enumerate(LAYOUTS[layout]):
        title = HEADERS[key][english] + ("*" if key in MANDATORY[layout] else "")
        sheet.set_column(position, position, 24 if key == "id_number" else 16, as_text)
        sheet.write_string(0, position, title, heading)
    sheet.freeze_panes(1, 0)
    notes = book.add_worksheet("Notes" if english else "填写说明")
    notes.set_column(0, 0, 100)
    for line, text in enumerate(_NOTES_EN if english else _NOTES_ZH):
        notes.write_string(line, 0, text)
    try:
        book.close()
    except (OSError, xlsxwriter.exceptions.FileCreateError) as err:
        raise RecordError(0, "file_not_writable") from err


_NOTES_ZH = (
    "一行一名学生，请勿改动表头。带 * 的列必须填写。",
    "身份证号共18位，请以文本填写；显示为 5.00230E+17 的号码已丢失数字，须重新录入。",
    "没有身份证号的学生：加一列“学籍号”，填写19位学籍号（G、J 或 L 开头）。",
    "幼儿没有电话时，联系电话可留空，但须填写家长电话。",
    "导入名册不等于家长同意：未登记家长授权的学生不会办证。",
)
_NOTES_EN = (
    "One pupil per row; leave the header row as it is. Columns with * are mandatory.",
    "An ID number has 18 characters and must be text; 5.00230E+17 has lost digits: type it again.",
    "A pupil without an ID number: add a column 'Student number' with the 19-character number.",
    "A child without a phone: leave Phone empty and fill in Parent phone.",
    "Importing is not consent: no card is opened before a guardian's authorisation is recorded.",
)
