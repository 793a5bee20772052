"""How far the cells of a packed workbook reach, found out before it is opened.

Nothing here reads a value. python-calamine lays every sheet out as a full rectangle, so that one
stray cell in the last row and column takes all the memory there is: five kilobytes of xlsx, 17
thousand million cells. Rules: cells that only have a format do not count (whole columns often have
one); nothing is unpacked at once, and no size that the archive states about itself is believed; a
sheet as every program writes it is looked over quickly, any other tag by tag.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from connector.errors import RecordError

__all__ = ["MAX_CELLS", "find_largest_sheet"]

MAX_CELLS: Final = 26 * 200_000
"""Cells of the largest sheet that is opened: 200,000 rows of the columns A to Z."""

_CHUNK: Final = 1024 * 1024
_TAG: Final = re.compile(
    rb"<(?:[A-Za-z][\w.-]*+:)?(worksheet|table|row|c|table-row|table-cell|covered-table-cell)"
    rb"((?:[\s/](?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+)?)>"
)
_ATTRIBUTE: Final = re.compile(rb"""\s([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_REFERENCE: Final = re.compile(rb"([A-Za-z]{0,3})([0-9]{1,7})")
_COUNT: Final = re.compile(rb"[0-9]{1,9}")
_COLUMNS: Final = b"number-columns-repeated"
_ROWS: Final = b"number-rows-repeated"
_VALUE: Final = b"value"
_ODD_TAG: Final = re.compile(rb"<(?:c|row)(?! r=\"[A-Z]?1?[0-9]{1,5}\")[\s/>]")
"""A row or cell of xlsx that does not begin with its place, or lies beyond ``MAX_CELLS``."""
_PREFIXED_TAG: Final = re.compile(rb":(?:c|row)\b")
_LARGE_COUNT: Final = re.compile(rb"""\s(?:c|uniqueC)ount\s*=\s*["']\s*[^"']{8}""")
"""So many shared strings and the like that python-calamine would take memory for them at once."""
_ODS_TAG: Final = b"table-"
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_ENCRYPTED: Final = 1


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
            _, row = _read_place(attributes)
            if row is not None:
                self._row = row
            self._column, self._repeat = 0, _read_count(_ROWS, attributes)
        elif tag == b"c":
            column, row = _read_place(attributes)
            if row is not None and column is not None:
                self._row, self._column = row, column
            self._column += 1
            if not is_empty:
                self._reach()
        else:
            self._column += _read_count(_COLUMNS, attributes)
            if _VALUE in attributes:
                self._reach()

    def _reach(self) -> None:
        self._height = max(self._height, self._row + self._repeat)
        self._width = max(self._width, self._column)
        self.largest = max(self.largest, self._height * self._width)


def find_largest_sheet(data: bytes, archive: zipfile.ZipFile, *, max_bytes: int) -> int:
    """Return how many cells the largest rectangle of a sheet may have, in an xlsx or ods file.

    At most ``MAX_CELLS`` for a sheet that was looked over quickly.

    Args:
        data: the file that ``archive`` was opened on.
        max_bytes: how much all files of the archive together may unpack to.

    Raises:
        RecordError: it unpacks to more (``file_too_large``), is encrypted (``file_password``), or
            says what no program writes (``file_not_spreadsheet``).
        zipfile.BadZipFile, zlib.error, struct.error: it cannot be unpacked.
    """
    largest, left = 0, max_bytes
    for entry in archive.infolist():
        is_plain, size = True, 0
        for chunk in _cut_at_tags(_unpack(data, entry)):
            size += len(chunk)
            if size > left:
                raise RecordError(0, "file_too_large")
            if b"ount" in chunk and _LARGE_COUNT.search(chunk):
                raise RecordError(0, "file_not_spreadsheet")
            is_plain = is_plain and _is_plain(chunk)
        left -= size
        if not is_plain:
            largest = max(largest, _read_extent(_cut_at_tags(_unpack(data, entry))))
    return largest


def _is_plain(chunk: bytes) -> bool:
    return (
        _ODS_TAG not in chunk
        and _ODD_TAG.search(chunk) is None
        and _PREFIXED_TAG.search(chunk) is None
    )


def _read_extent(chunks: Iterator[bytes]) -> int:
    sheet = _Sheet()
    for chunk in chunks:
        if len(chunk) >= _CHUNK and chunk.rfind(b"<") > chunk.rfind(b">"):
            raise RecordError(0, "file_not_spreadsheet")  # a tag that nothing reasonable writes
        for match in _TAG.finditer(chunk):
            sheet.take(match[1], match[2], is_empty=match[2].endswith(b"/"))
    return sheet.largest


def _cut_at_tags(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, cut so that no tag is in two pieces unless it is absurdly long."""
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        begun = data.rfind(b"<")
        if begun < 0 or len(data) - begun >= _CHUNK:
            begun = len(data)
        rest = data[begun:]
        yield data[:begun]
    yield rest


def _unpack(data: bytes, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield what a file of the archive really unpacks to; ``zipfile`` stops at the stated size."""
    if entry.flag_bits & _ENCRYPTED:
        raise RecordError(0, "file_password")
    signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(data, entry.header_offset)
    start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    packed = memoryview(data)[start : start + entry.compress_size]
    if signature != b"PK\x03\x04" or len(packed) != entry.compress_size:
        raise zipfile.BadZipFile
    if entry.compress_type == zipfile.ZIP_STORED:
        for position in range(0, len(packed), _CHUNK):
            yield bytes(packed[position : position + _CHUNK])
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        for position in range(0, len(packed), _CHUNK):
            piece: bytes | memoryview = packed[position : position + _CHUNK]
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, _CHUNK)
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    else:
        raise zipfile.BadZipFile


def _list_attributes(attributes: bytes) -> Iterator[tuple[bytes, bytes]]:
    for name, double, single in _ATTRIBUTE.findall(attributes):
        yield name, double or single


def _read_place(attributes: bytes) -> tuple[int | None, int | None]:
    """Return column and row from 0 that the first ``r`` tells: ``B3``, or ``3`` of a row."""
    for name, value in _list_attributes(attributes):
        if name == b"r":
            match = _REFERENCE.fullmatch(value)
            if match is None:
                raise RecordError(0, "file_not_spreadsheet")
            return (_column_of(match[1].upper()) if match[1] else None), int(match[2]) - 1
    return None, None


def _read_count(ending: bytes, attributes: bytes) -> int:
    """Return the largest count that an attribute with this ending tells; 1 without one."""
    largest = 1
    for name, value in _list_attributes(attributes):
        if name.endswith(ending):
            if not _COUNT.fullmatch(value):
                raise RecordError(0, "file_not_spreadsheet")
            largest = max(largest, int(value))
    return largest


def _column_of(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1
