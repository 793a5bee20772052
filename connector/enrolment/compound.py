"""Old .xls workbooks, looked over before they are opened: what is in them, how far cells reach.

Nothing here reads a value. An .xls file is a compound file (MS-CFB) with a stream of records
(BIFF); an .xlsx file with a password is a compound file too. Rules: as in ``extent``, no file is
opened whose sheets, all laid out as rectangles, would take all memory; chains that run in circles
end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from connector.errors import RecordError

__all__ = ["SIGNATURE", "count_xls_cells"]

SIGNATURE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_ENTRY: Final = 128
_ROOT: Final = 5
_HEADER_SECTORS: Final = 109
_LAST_SECTOR: Final = 0xFFFFFFFA
_BOF: Final = frozenset({0x0009, 0x0209, 0x0409, 0x0809})
_FILEPASS: Final = 0x002F
_DIMENSIONS: Final = 0x0200
_MULRK: Final = 0x00BD
_CELLS: Final = frozenset(
    {0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0203, 0x0204, 0x0205, 0x0206, 0x0406}
    | {0x00D6, 0x00FD, 0x027E, _MULRK}
)
"""INTEGER, NUMBER, LABEL, BOOLERR, FORMULA, RSTRING, LABELSST, RK, MULRK; MS-XLS 2.3."""
_LAST_ROW: Final = 65536
_LAST_COLUMN: Final = 256


class _CompoundFile:
    """Streams of a compound file; ``struct.error`` and ``IndexError`` where it is broken.

    No chain is followed for longer than the file has sectors.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        shift, mini_shift = struct.unpack_from("<HH", data, 30)
        if shift not in {9, 12} or mini_shift != 6:
            raise ValueError("no such sector size")
        (directory,) = struct.unpack_from("<I", data, 48)
        self._cutoff, mini_fat = struct.unpack_from("<II", data, 56)
        self._size, self._mini_size = 1 << shift, 1 << mini_shift
        self._fat = self._read_fat()
        self._mini_fat = _integers(self._read_chain(mini_fat))
        self._entries = self._read_chain(directory)

    def _sector(self, number: int) -> bytes:
        start = (number + 1) * self._size
        return self._data[start : start + self._size]

    def _read_fat(self) -> list[int]:
        sectors = list(struct.unpack_from(f"<{_HEADER_SECTORS}I", self._data, 76))
        following, _ = struct.unpack_from("<II", self._data, 68)
        whole = len(self._data) // self._size
        while following < _LAST_SECTOR and len(sectors) <= whole:
            *more, following = _integers(self._sector(following))
            sectors += more
        used = [number for number in sectors if number < _LAST_SECTOR][:whole]
        return _integers(b"".join(map(self._sector, used)))[:whole]

    def _read_chain(self, first: int) -> bytes:
        return b"".join(map(self._sector, _walk(first, self._fat)))

    def list_streams(self) -> Mapping[str, tuple[int, int]]:
        """Return first sector and size of every stream by its name in lower case, and of ``""``,
        which holds the small ones.
        """
        found: dict[str, tuple[int, int]] = {}
        for start in range(0, len(self._entries) - _ENTRY + 1, _ENTRY):
            length, kind = struct.unpack_from("<HB", self._entries, start + 64)
            first, size = struct.unpack_from("<II", self._entries, start + 116)
            name = self._entries[start : start + max(0, min(length, 64) - 2)]
            text = "" if kind == _ROOT else name.decode("utf-16-le", "replace").lower()
            found.setdefault(text, (first, size))
        return found

    def read_stream(self, first: int, size: int, small: int) -> bytes:
        """Return a stream's content; ``small`` is the first sector of ``""``."""
        if size >= self._cutoff:
            return self._read_chain(first)[:size]
        pool = self._read_chain(small)
        step = self._mini_size
        pieces = (pool[at * step : (at + 1) * step] for at in _walk(first, self._mini_fat))
        return b"".join(pieces)[:size]


def _walk(first: int, table: list[int]) -> Iterator[int]:
    number = first
    for _ in range(len(table)):
        if number >= _LAST_SECTOR:
            return
        yield number
        number = table[number]


def count_xls_cells(data: bytes) -> int:
    """Return how many cells the rectangles of all sheets have together.

    Raises:
        RecordError: it has a password (``file_password``), or is another kind of document, or
            broken (``file_not_spreadsheet``).
    """
    try:
        file = _CompoundFile(data)
        streams = file.list_streams()
        if "encryptedpackage" in streams:
            raise RecordError(0, "file_password")
        place = streams.get("workbook") or streams.get("book")
        if place is None:
            raise RecordError(0, "file_not_spreadsheet")
        return _count_cells(file.read_stream(*place, small=streams[""][0]))
    except (struct.error, LookupError, ValueError) as err:
        raise RecordError(0, "file_not_spreadsheet") from err


def _count_cells(book: bytes) -> int:
    cells = height = width = 0
    position = 0
    while position + 4 <= len(book):
        record, length = struct.unpack_from("<HH", book, position)
        body = position + 4
        position = body + length
        if record == _FILEPASS:
            raise RecordError(0, "file_password")
        if record in _CELLS and length >= 4:
            row, column = struct.unpack_from("<HH", book, body)
            if record == _MULRK:
                (column,) = struct.unpack_from("<H", book, position - 2)
            height, width = max(height, row + 1), max(width, column + 1)
        elif record in _BOF:
            cells += height * width
            height = width = 0
        elif record == _DIMENSIONS and length >= 12:
            _, rows, _, columns = struct.unpack_from("<IIHH", book, body)
            if rows > _LAST_ROW or columns > _LAST_COLUMN:
                raise RecordError(0, "file_not_spreadsheet")
    return cells + height * width


def _integers(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4]))
