"""Roster files: reading xlsx, xls, ods and csv, writing the empty template.

Nothing here checks a cell's value; ``connector.domain.enrolment`` does. The only importer of
python-calamine and XlsxWriter. Rules —

- the header row is looked for, not assumed; what stands above it is a title;
- one sheet is read, the first visible one with a header; others that have one are named in the
  report, so that a hidden sheet does not lose a class silently (scenario 26);
- a refused file is a ``RecordError`` at position 0 (or at the header row), never a traceback;
- what was computed is read as computed: a formula gives its stored value, an error an empty cell.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import xlsxwriter
from python_calamine import (
    CalamineError,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    XmlError,
    ZipError,
)
from xlsxwriter.utility import xl_col_to_name

from connector.enrolment.columns import HEADERS, LAYOUTS, MANDATORY, ColumnMap, Layout
from connector.enrolment.extent import find_largest_sheet
from connector.errors import RecordError

__all__ = ["Roster", "RosterRow", "read_cells", "read_roster", "write_cells", "write_template"]

_MAX_FILE_BYTES = 20 * 1024 * 1024
_MAX_UNPACKED_BYTES = 300 * 1024 * 1024
_MAX_CELLS = 5_000_000
_MAX_ROWS = 50_000
_HEADER_SEARCH_ROWS = 30
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_CALAMINE_ERRORS = (CalamineError, PasswordError, ZipError, XmlError)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One row below the header: number in the sheet from 1, column key → raw cell."""

    number: int
    cells: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Roster:
    """A roster as read, nothing checked.

    Attributes:
        header_row: row number of the header.
        unread_sheets: other sheets that look like rosters, hidden ones among them.
    """

    sheet: str
    header_row: int
    columns: ColumnMap
    rows: tuple[RosterRow, ...]
    unread_sheets: tuple[str, ...] = ()

    def cell_of(self, row: int, column: str) -> str:
        """Return where a row's column stands, such as ``A5``; empty when the sheet lacks it."""
        position = self.columns.index.get(column)
        return "" if position is None else f"{xl_col_to_name(position)}{row}"


def read_roster(path: Path) -> Roster:
    """Return the rows of a roster file.

    Raises:
        RecordError: with code ``file_missing``, ``file_too_large``, ``file_not_spreadsheet``,
            ``file_password``, ``sheet_too_wide``, ``header_missing``, ``column_twice``,
            ``column_missing`` or ``too_many_rows``.
    """
    chosen: Roster | None = None
    unread = []
    for sheet in _open_sheets(path):
        if chosen is None and sheet.visible:
            chosen = _read_sheet(sheet)
        elif _has_header(sheet):
            unread.append(sheet.name)
    if chosen is None:
        raise RecordError(0, "header_missing")
    return replace(chosen, unread_sheets=tuple(unread))


def read_cells(path: Path) -> Sequence[Sequence[object]]:
    """Return the cells of the first visible sheet of a spreadsheet, whatever they are.

    Raises:
        RecordError: as ``read_roster`` for a file that cannot be opened.
    """
    for sheet in _open_sheets(path):
        if sheet.visible:
            return sheet.rows
    return ()


def write_cells(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a sheet whose first row is its header; every cell is text, nothing is a formula.

    Raises:
        RecordError: the file cannot be written (``file_not_writable``).
    """
    book = xlsxwriter.Workbook(str(path), {"strings_to_numbers": False})
    sheet = book.add_worksheet()
    heading, as_text = book.add_format({"bold": True}), book.add_format({"num_format": "@"})
    sheet.set_column(0, max((len(row) for row in rows), default=1) - 1, 20, as_text)
    for line, row in enumerate(rows):
        for position, value in enumerate(row):
            sheet.write_string(line, position, value, as_text if line else heading)
    sheet.freeze_panes(1, 0)
    try:
        book.close()
    except (OSError, xlsxwriter.exceptions.FileCreateError) as err:
        raise RecordError(0, "file_not_writable") from err


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


@dataclass(frozen=True, slots=True)
class _Sheet:
    name: str
    rows: Sequence[Sequence[object]] = field(repr=False)
    visible: bool = True


def _open_sheets(path: Path) -> list[_Sheet]:
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise RecordError(0, "file_too_large")
        data = path.read_bytes()
    except OSError as err:
        raise RecordError(0, "file_missing") from err
    if path.suffix.lower() == ".csv":
        return [_Sheet(path.stem, _read_csv(data))]
    return _read_workbook(data)


def _read_csv(data: bytes) -> Sequence[Sequence[object]]:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
            return [] if "\x00" in text else list(csv.reader(io.StringIO(text, newline="")))
        except UnicodeDecodeError:
            continue
        except csv.Error as err:
            raise RecordError(0, "file_not_spreadsheet") from err
    raise RecordError(0, "file_not_spreadsheet")


def _read_workbook(data: bytes) -> list[_Sheet]:
    _refuse_bomb(data)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        return [
            _Sheet(
                sheet.name,
                book.get_sheet_by_name(sheet.name).to_python(skip_empty_area=False),
                sheet.visible is SheetVisibleEnum.Visible,
            )
            for sheet in book.sheets_metadata
            if sheet.typ is SheetTypeEnum.WorkSheet
        ]
    except PasswordError as err:
        raise RecordError(0, "file_password") from err
    except _CALAMINE_ERRORS as err:
        encrypted = data.startswith(_OLE_SIGNATURE) and _ENCRYPTED_STREAM in data
        raise RecordError(0, "file_password" if encrypted else "file_not_spreadsheet") from err


def _refuse_bomb(data: bytes) -> None:
    """Refuse what would take all memory when it is opened."""
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise RecordError(0, "file_too_large")
            if any(name.lower().endswith("workbook.bin") for name in archive.namelist()):
                raise RecordError(0, "file_not_spreadsheet")  # xlsb, whose extent we cannot tell
            cells = find_largest_sheet(archive)
    except _ZIP_ERRORS as err:
        raise RecordError(0, "file_not_spreadsheet") from err
    if cells > _MAX_CELLS:
        raise RecordError(0, "sheet_too_wide")


def _find_header(sheet: _Sheet) -> tuple[int, ColumnMap] | None:
    for number, cells in enumerate(sheet.rows[:_HEADER_SEARCH_ROWS], start=1):
        columns = ColumnMap.from_header(cells, number)
        if columns is not None:
            return number, columns
    return None


def _has_header(sheet: _Sheet) -> bool:
    try:
        return _find_header(sheet) is not None
    except RecordError:
        return True


def _read_sheet(sheet: _Sheet) -> Roster | None:
    header = _find_header(sheet)
    if header is None:
        return None
    header_row, columns = header
    rows = []
    for number, cells in enumerate(sheet.rows[header_row:], start=header_row + 1):
        row = {
            key: cells[position] if position < len(cells) else None
            for key, position in columns.index.items()
        }
        if any(str(cell).strip() for cell in row.values() if cell is not None):
            rows.append(RosterRow(number, row))
    if len(rows) > _MAX_ROWS:
        raise RecordError(0, "too_many_rows")
    return Roster(sheet.name, header_row, columns, tuple(rows))
