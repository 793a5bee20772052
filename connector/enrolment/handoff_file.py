"""The file of new accounts that an ILS loads, and the list of those that it did not take.

Nothing here chooses who stands in it or opens a file. Rules: columns are data, in the order that
the ILS wants; a value that the encoding cannot hold is told, never replaced; the ILS's reasons may
name people, so that they are shown and never kept.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from connector.domain.handoff import HandoffColumn, HandoffField
from connector.errors import RecordError
from connector.ports.ils import PatronInput

__all__ = ["HandoffLayout", "read_rejections"]


@dataclass(frozen=True, slots=True)
class HandoffLayout:
    """How the ILS wants the file.

    Attributes:
        header: whether the first line names the columns.
        date_format: as ``strftime`` takes it.
    """

    columns: tuple[HandoffColumn, ...]
    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool = True
    date_format: str = "%Y-%m-%d"

    @property
    def has_pin(self) -> bool:
        """Whether the file gives the ILS a PIN for each pupil."""
        return any(column.field is HandoffField.PIN for column in self.columns)

    def write_row(self, patron: PatronInput) -> str:
        """Return the line of one pupil.

        Raises:
            ValueError: the encoding has not all characters of it.
        """
        line = self._join([self._value(column, patron) for column in self.columns])
        line.encode(self._plain_encoding)
        return line

    def encode(self, lines: Iterable[str]) -> bytes:
        """Return the whole file."""
        head = self._join([column.header for column in self.columns]) if self.header else ""
        return "".join([head, *lines]).encode(self.encoding)

    @property
    def _plain_encoding(self) -> str:
        return "utf-8" if self.encoding.lower().startswith("utf") else self.encoding

    def _join(self, values: list[str]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="\r\n").writerow(values)
        return text.getvalue()

    def _value(self, column: HandoffColumn, patron: PatronInput) -> str:
        if column.field is None:
            return column.fixed
        values: Mapping[HandoffField, str | date | None] = {
            HandoffField.CARD: patron.card,
            HandoffField.NAME: patron.name,
            HandoffField.ID_NUMBER: patron.identifiers.get("id_card", ""),
            HandoffField.BIRTH_DATE: patron.birth_date,
            HandoffField.PHONE: patron.phone,
            HandoffField.EXPIRES: patron.expires,
            HandoffField.CATEGORY: patron.category,
            HandoffField.PIN: patron.pin,
            HandoffField.SCHOOL: patron.school,
            HandoffField.CLASS_NAME: patron.class_name,
        }
        value = values[column.field]
        if isinstance(value, date):
            return value.strftime(self.date_format)
        return value or ""


_CARD_HEADERS = frozenset({"card", "cardnumber", "card number", "barcode", "证号", "读者证号"})
_REASON_HEADERS = frozenset({"reason", "error", "message", "原因", "错误"})
_LONGEST_REASON = 200


def read_rejections(content: bytes, layout: HandoffLayout) -> dict[str, str]:
    """Return the card numbers that an ILS did not take, with its reasons.

    The list is a table with the delimiter and encoding of the layout: the card number in the first
    column and the reason in the second, unless a header says otherwise. UTF-8 with a mark at its
    beginning is read too.

    Raises:
        RecordError: ``report_encoding``, or ``report_no_card`` with the row.
    """
    encoding = "utf-8-sig" if content.startswith(codecs.BOM_UTF8) else layout.encoding
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as err:
        raise RecordError(0, "report_encoding") from err
    card_at, reason_at = 0, 1
    rejected: dict[str, str] = {}
    lines = csv.reader(io.StringIO(text), delimiter=layout.delimiter)
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line]
        if not any(cells):
            continue
        names = [cell.lower() for cell in cells]
        if number == 1 and _CARD_HEADERS.intersection(names):
            card_at = next(at for at, name in enumerate(names) if name in _CARD_HEADERS)
            reason_at = next(
                (at for at, name in enumerate(names) if name in _REASON_HEADERS), len(names)
            )
            continue
        if card_at >= len(cells) or not cells[card_at]:
            raise RecordError(number, "report_no_card")
        reason = cells[reason_at] if reason_at < len(cells) else ""
        rejected[cells[card_at]] = reason[:_LONGEST_REASON]
    return rejected
