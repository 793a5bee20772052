"""The uploader's own sheet with a remarks column: what to mend, beside each row.

Nothing here decides what is wrong, or stores. Rules: the file stands beside the input, belongs to
its writer alone (0600), and never replaces another; values are written as they were read, text as
text, and nothing as a formula; rows keep their order and number.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from math import isfinite
from pathlib import Path
from typing import IO

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from connector.domain.roster_row import RowProblem
from connector.enrolment.messages import describe_problem
from connector.enrolment.workbook import Roster
from connector.errors import RecordError

__all__ = ["write_remarks"]

_TITLES = {"zh": ("备注", "导入备注"), "en": ("Remarks", "Import remarks")}
"""Header of the column, and what it is called where the sheet has such a column already."""
_JOINTS = {"zh": "；", "en": "; "}
_COMMON = frozenset(common for common, _ in _TITLES.values())
_LAST_COLUMN = 16_383
_FIRST_YEAR = 1900
"""Spreadsheets count days from here on, and miscount those of the year itself."""
_WIDE, _WIDEST = 18, 60
_BAD, _REMARK, _HEADING = "#FFC7CE", "#FFF2CC", "#DDEBF7"
_FORMS: Mapping[str, str] = {
    "text": "@",
    "number": "General",
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
    "time": "hh:mm:ss",
}


def write_remarks(
    source: Path, roster: Roster, problems: Iterable[RowProblem], *, language: str = "zh"
) -> Path:
    """Write ``<stem>-remarks.xlsx`` beside the input, or ``-remarks-2`` and so on; return its path.

    Args:
        source: where the roster was read from; it is not read again.
        problems: of whatever row; a row that has none keeps an empty remark.

    Raises:
        RecordError: the file cannot be written (``file_not_writable``).
    """
    by_row: defaultdict[int, list[RowProblem]] = defaultdict(list)
    for problem in problems:
        by_row[problem.row].append(problem)
    try:
        path, file = _create_beside(source)
        try:
            with file, tempfile.TemporaryDirectory(dir=source.parent, prefix=".onecard-") as folder:
                _write(file, folder, roster, by_row, "en" if language.startswith("en") else "zh")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except (OSError, xlsxwriter.exceptions.XlsxWriterException) as err:
        raise RecordError(0, "file_not_writable") from err
    return path


def _create_beside(source: Path) -> tuple[Path, IO[bytes]]:
    number = 1
    while True:
        ending = "" if number == 1 else f"-{number}"
        path = source.with_name(f"{source.stem}-remarks{ending}.xlsx")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
        else:
            return path, os.fdopen(handle, "wb")


def _write(
    file: IO[bytes],
    folder: str,
    roster: Roster,
    by_row: Mapping[int, Sequence[RowProblem]],
    language: str,
) -> None:
    # Rows wait in a temporary file, since they may be many: in a folder that only we can look into,
    # beside the input, where such data are anyway.
    with xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": folder}) as book:
        _fill(book, roster, by_row, language)


def _fill(
    book: xlsxwriter.Workbook,
    roster: Roster,
    by_row: Mapping[int, Sequence[RowProblem]],
    language: str,
) -> None:
    plain, tinted = (
        {kind: book.add_format({"num_format": form} | colour) for kind, form in _FORMS.items()}
        for colour in ({}, {"bg_color": _BAD})
    )
    heading = book.add_format({"num_format": "@", "bold": True, "bg_color": _HEADING})
    remark = book.add_format({"num_format": "@", "text_wrap": True, "bg_color": _REMARK})
    sheet = book.add_worksheet()
    width, has_title = _look_over(roster)
    sheet.set_column(0, width - 1, _WIDE)
    sheet.set_column(width, width, _WIDEST)
    sheet.freeze_panes(roster.header_row, 0)
    for row, cells in enumerate(roster.source.iter_rows()):
        is_header = row + 1 == roster.header_row
        found = by_row.get(row + 1, ())
        wrong = {roster.columns.index.get(problem.column) for problem in found}
        for position, cell in enumerate(cells[:width]):
            if is_header and isinstance(cell, str):
                sheet.write_string(row, position, cell, heading)
            else:
                _write_cell(sheet, row, position, cell, tinted if position in wrong else plain)
        if is_header:
            sheet.write_string(row, width, _TITLES[language][has_title], heading)
        elif found:
            texts = dict.fromkeys(describe_problem(problem.code, language) for problem in found)
            sheet.write_string(row, width, _JOINTS[language].join(texts), remark)


def _look_over(roster: Roster) -> tuple[int, bool]:
    """Return how many columns have anything in them, and whether one is called remarks already."""
    width, has_title = 1, False
    for number, cells in enumerate(roster.source.iter_rows(), start=1):
        last = len(cells)
        while last > width and cells[last - 1] in {"", None}:
            last -= 1
        width = max(width, last)
        if number == roster.header_row:
            has_title = any(isinstance(cell, str) and cell.strip() in _COMMON for cell in cells)
    return min(width, _LAST_COLUMN), has_title


def _write_cell(
    sheet: Worksheet, row: int, position: int, cell: object, forms: Mapping[str, Format]
) -> None:
    if cell is None or cell == "":
        sheet.write_blank(row, position, None, forms["text"])
    elif isinstance(cell, bool):
        sheet.write_boolean(row, position, cell, forms["number"])
    elif isinstance(cell, int | float) and isfinite(cell):
        sheet.write_number(row, position, cell, forms["number"])
    elif isinstance(cell, datetime) and cell.year > _FIRST_YEAR:
        sheet.write_datetime(row, position, cell, forms["datetime"])
    elif isinstance(cell, date) and cell.year > _FIRST_YEAR:
        sheet.write_datetime(row, position, datetime.combine(cell, time()), forms["date"])
    elif isinstance(cell, time):
        sheet.write_datetime(row, position, cell, forms["time"])
    else:
        sheet.write_string(row, position, str(cell), forms["text"])
