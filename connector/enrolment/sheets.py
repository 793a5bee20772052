"""Spreadsheet files opened sheet by sheet: xlsx, xls, ods, and csv in UTF-8 or GB18030.

Nothing here knows what a roster is. The only importer of python-calamine. Rules —

- a refused file is a ``RecordError`` at position 0, never a traceback;
- what would take all memory is refused before it is opened, what is too large before it is read;
- rows are handed out one by one, as often as asked for, and never held together;
- what was computed is read as computed: a formula gives its stored value, an error an empty cell.
"""

from __future__ import annotations

import codecs
import csv
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    XmlError,
    ZipError,
)

from connector.enrolment import compound
from connector.enrolment.extent import MAX_CELLS, find_largest_sheet
from connector.errors import RecordError

__all__ = ["HEADER_SEARCH_ROWS", "Sheet", "open_sheets"]

HEADER_SEARCH_ROWS = 30
"""How many rows from the first are looked at for a header."""

_MAX_FILE_BYTES = 50 * 1024 * 1024
_MAX_UNPACKED_BYTES = 300 * 1024 * 1024
_CHUNK = 1024 * 1024
_TEXT_FILES = frozenset({".csv", ".tsv", ".txt"})
_DELIMITERS = ",\t;"
"""What may stand between the cells of a csv file, the likeliest first."""
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_ODS_MANIFEST = "META-INF/manifest.xml"
_WIDE = ("utf-16-le", "utf-16-be")
_CALAMINE_ERRORS = (CalamineError, PasswordError, ZipError, XmlError)
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet of a file.

    Attributes:
        iter_rows: starts again from the first row at each call; rows may be of different length.
    """

    name: str
    iter_rows: Callable[[], Iterator[Sequence[object]]] = field(repr=False)
    hidden: bool = False


def open_sheets(path: Path, is_header: Callable[[Sequence[object]], bool]) -> Iterator[Sheet]:
    """Yield the sheets of a file, each loaded when its turn comes.

    Args:
        is_header: says whether a row is a header; tells which delimiter a csv file has.

    Raises:
        RecordError: with code ``file_missing``, ``file_too_large``, ``file_not_spreadsheet``,
            ``file_encoding``, ``file_password``, ``csv_quotes`` or ``sheet_too_wide``.
    """
    data = _read_file(path)
    if data.startswith((b"PK", compound.SIGNATURE)):
        yield from _open_workbook(data)
    elif path.suffix.lower() in _TEXT_FILES:
        yield _open_csv(data, path.stem, is_header)
    else:
        raise RecordError(0, "file_not_spreadsheet")


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RecordError(0, "file_missing")
        if status.st_size > _MAX_FILE_BYTES:
            raise RecordError(0, "file_too_large")
        with path.open("rb") as file:
            data = file.read(status.st_size + 1)
    except OSError as err:
        raise RecordError(0, "file_missing") from err
    if len(data) != status.st_size:
        raise RecordError(0, "file_missing")  # somebody is writing it
    return data


def _open_csv(data: bytes, name: str, is_header: Callable[[Sequence[object]], bool]) -> Sheet:
    encoding = _encoding_of(data)

    def iter_with(delimiter: str) -> Iterator[Sequence[object]]:
        text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
        try:
            for row in csv.reader(text, delimiter=delimiter, strict=True):
                yield [_unquote(cell) for cell in row]
        except csv.Error as err:
            is_long = str(err).startswith("field larger")
            raise RecordError(0, "file_not_spreadsheet" if is_long else "csv_quotes") from err

    delimiter = _DELIMITERS[0]
    for candidate in _DELIMITERS:
        try:
            if any(map(is_header, islice(iter_with(candidate), HEADER_SEARCH_ROWS))):
                delimiter = candidate
                break
        except RecordError:
            continue
    return Sheet(name, lambda: iter_with(delimiter))


def _unquote(cell: str) -> str:
    """Return ``500…`` for ``="500…"``, which programs write so that Excel keeps every digit."""
    return cell[2:-1] if cell.startswith('="') and cell.endswith('"') else cell


def _encoding_of(data: bytes) -> str:
    if data.startswith(_WIDE_MARKS):
        raise RecordError(0, "file_encoding")
    if b"\0" in data:
        is_wide = any("姓名" in data[:_CHUNK].decode(wide, "ignore") for wide in _WIDE)
        raise RecordError(0, "file_encoding" if is_wide else "file_not_spreadsheet")
    for encoding in ("utf-8-sig", "gb18030"):
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for start in range(0, len(data), _CHUNK):
                decoder.decode(data[start : start + _CHUNK])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        return encoding
    raise RecordError(0, "file_not_spreadsheet")


def _open_workbook(data: bytes) -> Iterator[Sheet]:
    _refuse_bomb(data)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        for about in book.sheets_metadata:
            if about.typ is SheetTypeEnum.WorkSheet:
                sheet = book.get_sheet_by_name(about.name)
                hidden = about.visible is not SheetVisibleEnum.Visible
                yield Sheet(about.name, _rows_of(sheet), hidden)
    except PasswordError as err:
        raise RecordError(0, "file_password") from err
    except _CALAMINE_ERRORS as err:
        raise RecordError(0, "file_not_spreadsheet") from err
    except BaseException as err:
        if type(err).__name__ != "PanicException":  # calamine's, which has no importable name
            raise
        raise RecordError(0, "file_not_spreadsheet") from err


def _rows_of(sheet: CalamineSheet) -> Callable[[], Iterator[Sequence[object]]]:
    left = [""] * sheet.start[1] if sheet.start else []
    if not left:
        return sheet.iter_rows
    return lambda: ([*left, *row] for row in sheet.iter_rows())


def _refuse_bomb(data: bytes) -> None:
    """Refuse what would take all memory when it is opened."""
    if data.startswith(compound.SIGNATURE):
        cells = compound.count_xls_cells(data)
    else:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if any(name.lower().endswith("workbook.bin") for name in archive.namelist()):
                    raise RecordError(0, "file_not_spreadsheet")  # xlsb: we cannot tell its extent
                if _has_ods_password(archive):
                    raise RecordError(0, "file_password")
                cells = find_largest_sheet(data, archive, max_bytes=_MAX_UNPACKED_BYTES)
        except _ZIP_ERRORS as err:
            raise RecordError(0, "file_not_spreadsheet") from err
    if cells > MAX_CELLS:
        raise RecordError(0, "sheet_too_wide")


def _has_ods_password(archive: zipfile.ZipFile) -> bool:
    if _ODS_MANIFEST not in archive.namelist():
        return False
    with archive.open(_ODS_MANIFEST) as file:
        return b"encryption-data" in file.read(_CHUNK)
