"""Tables on their way out of the program, as xlsx or csv.

Nothing here knows what is in a table, or opens a file. Rules: every text is a text cell, so that
Excel keeps every digit, and never a formula, whatever somebody typed as a name; numbers are
numbers; nothing waits in a temporary file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import xlsxwriter

from connector.domain.tabular import defuse

__all__ = ["ENDINGS", "make_table"]

ENDINGS = (".xlsx", ".csv")
Line = Sequence[str | int]


def make_table(lines: Sequence[Line], ending: str) -> bytes:
    """Return the content of a file.

    Args:
        lines: the first one holds the titles.
        ending: of the file's name; what is not ``.xlsx`` becomes csv.
    """
    return _make_xlsx(lines) if ending.lower() == ".xlsx" else _make_csv(lines)


def _make_csv(lines: Sequence[Line]) -> bytes:
    """Write UTF-8 with a byte order mark, by which spreadsheets know it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(
        [cell if isinstance(cell, int) else defuse(cell) for cell in line] for line in lines
    )
    return text.getvalue().encode("utf-8-sig")


def _make_xlsx(lines: Sequence[Line]) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(
        file,
        {
            "in_memory": True,
            "strings_to_numbers": False,
            "strings_to_formulas": False,
            "strings_to_urls": False,
        },
    )
    sheet = book.add_worksheet()
    heading, as_text = book.add_format({"bold": True}), book.add_format({"num_format": "@"})
    sheet.set_column(0, max((len(line) for line in lines), default=1) - 1, 18, as_text)
    for row, line in enumerate(lines):
        for position, value in enumerate(line):
            if isinstance(value, int):
                sheet.write_number(row, position, value)
            else:
                sheet.write_string(row, position, value, as_text if row else heading)
    sheet.freeze_panes(1, 0)
    book.close()
    return file.getvalue()
