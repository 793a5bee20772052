"""Lists on their way out of the program, as xlsx or csv.

Nothing here knows what is in a list. Rules: every text is a text cell and never a formula, whatever
somebody typed as a name; numbers are numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import xlsxwriter

from connector.domain.tabular import defuse

__all__ = ["table_as_csv", "table_as_xlsx"]

Row = Mapping[str, str | int]


def table_as_csv(rows: Sequence[Row], headers: Mapping[str, str]) -> bytes:
    """Return the rows as UTF-8 with a byte order mark, by which spreadsheets know it.

    Args:
        headers: key → title, in the order of the columns.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(headers.values())
    for row in rows:
        lines.writerow(
            value if isinstance(value := row.get(key, ""), int) else defuse(value)
            for key in headers
        )
    return text.getvalue().encode("utf-8-sig")


def table_as_xlsx(rows: Sequence[Row], headers: Mapping[str, str]) -> bytes:
    """Return the rows as a workbook of one sheet."""
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
    sheet.set_column(0, max(0, len(headers) - 1), 16)
    for position, title in enumerate(headers.values()):
        sheet.write_string(0, position, title, heading)
    for line, row in enumerate(rows, start=1):
        for position, key in enumerate(headers):
            value = row.get(key, "")
            if isinstance(value, int):
                sheet.write_number(line, position, value)
            else:
                sheet.write_string(line, position, value, as_text)
    sheet.freeze_panes(1, 0)
    book.close()
    return file.getvalue()
