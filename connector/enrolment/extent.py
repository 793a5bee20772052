"""How far the cells of a packed workbook reach, found out before it is opened.

Nothing here reads a value. python-calamine lays every sheet out as a full rectangle, so that one
stray cell in the last row and column takes all the memory there is: five kilobytes of xlsx, 17
thousand million cells. Rules: cells that only have a format do not count (whole columns often have
one); nothing is unpacked at once.
"""

from __future__ import annotations

import re
import zipfile
from typing import IO, Final

__all__ = ["find_largest_sheet"]

_CHUNK: Final = 1024 * 1024
_TAG: Final = re.compile(
    rb"<(?:[A-Za-z][\w.-]*+:)?(worksheet|table|row|c|table-row|table-cell|covered-table-cell)"
    rb"((?:[\s/](?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+)?)>"
)
_REFERENCE: Final = re.compile(rb"""\sr=["']([A-Z]{0,3})([0-9]{1,7})["']""")
_COLUMNS: Final = re.compile(rb"""number-columns-repeated=["']([0-9]{1,9})["']""")
_ROWS: Final = re.compile(rb"""number-rows-repeated=["']([0-9]{1,9})["']""")
_VALUE: Final = b"value-type="


class _Sheet:
    """The rectangle of one sheet, while its tags go by."""

    def __init__(self) -> None:
        self.largest = 0
        self._start()

    def _start(self) -> None:
        self._row = self._column = self._height = self._width = 0
        self._repeat = 1

    def take(self, tag: bytes, attributes: bytes, *, is_empty: bool) -> None:
        if tag in {b"worksheet", b"table"}:
            self._start()
        elif tag in {b"row", b"table-row"}:
            self._row += self._repeat
            found = _REFERENCE.search(attributes)
            if found and not found[1]:
                self._row = int(found[2]) - 1
            self._column, self._repeat = 0, _number(_ROWS, attributes)
        elif tag == b"c":
            found = _REFERENCE.search(attributes)
            if found and found[1]:
                self._row, self._column = int(found[2]) - 1, _column_of(found[1]) - 1
            self._column += 1
            if not is_empty:
                self._reach()
        else:
            self._column += _number(_COLUMNS, attributes)
            if _VALUE in attributes:
                self._reach()

    def _reach(self) -> None:
        self._height = max(self._height, self._row + self._repeat)
        self._width = max(self._width, self._column)
        self.largest = max(self.largest, self._height * self._width)


def find_largest_sheet(archive: zipfile.ZipFile) -> int:
    """Return how many cells the largest rectangle of a sheet has, in an xlsx or ods file.

    Raises:
        zipfile.BadZipFile, zlib.error: it cannot be unpacked.
        NotImplementedError, RuntimeError: packed in a way that we do not know, or encrypted.
    """
    largest = 0
    for entry in archive.infolist():
        with archive.open(entry) as file:
            largest = max(largest, _read_extent(file))
    return largest


def _read_extent(file: IO[bytes]) -> int:
    sheet = _Sheet()
    rest = b""
    while chunk := file.read(_CHUNK):
        data = rest + chunk
        end = 0
        for match in _TAG.finditer(data):
            sheet.take(match[1], match[2], is_empty=match[2].endswith(b"/"))
            end = match.end()
        begun = data.rfind(b"<", end)
        rest = data[begun:] if begun >= 0 and len(data) - begun < _CHUNK else b""
    return sheet.largest


def _column_of(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _number(pattern: re.Pattern[bytes], attributes: bytes) -> int:
    found = pattern.search(attributes)
    return int(found[1]) if found else 1
