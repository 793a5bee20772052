"""Rosters as they are read from a file: which sheet, which columns, row by row.

Nothing here checks a cell's value, ``connector.domain.roster_row`` does; nor opens a file,
``sheets`` does. Rules —

- the header row is looked for, not assumed; what stands above it is a title;
- one sheet is read, the first visible one with a header; others that have one are told with their
  rows, so that a hidden sheet does not lose a class silently (scenario 26);
- a refused file is a ``RecordError`` at position 0 (or at the header row), never a traceback;
- rows are handed out one by one: a hundred thousand of them take no more memory than the sheet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import overload

from xlsxwriter.utility import xl_col_to_name

from connector.enrolment.columns import ColumnMap
from connector.enrolment.sheets import HEADER_SEARCH_ROWS, Sheet, open_sheets
from connector.enrolment.templates import write_template
from connector.errors import RecordError

__all__ = [
    "Roster",
    "RosterRow",
    "RosterRows",
    "UnreadSheet",
    "read_cells",
    "read_roster",
    "write_template",
]

_MAX_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One row below the header: number in the sheet from 1, column key → raw cell."""

    number: int
    cells: dict[str, object] = field(repr=False)


class RosterRows(Sequence[RosterRow]):
    """The rows of a roster that have anything in a known column, made while they are gone through.

    Going through them all is cheap, each time; one by its index costs the way to it.
    """

    def __init__(self, sheet: Sheet, header_row: int, columns: ColumnMap) -> None:
        self._sheet = sheet
        self._header_row = header_row
        self._keys = tuple(columns.index)
        self._positions = tuple(columns.index.values())
        self._length = sum(1 for _ in self._iter_filled())
        if self._length > _MAX_ROWS:
            raise RecordError(0, "too_many_rows")

    def _iter_filled(self) -> Iterator[tuple[int, tuple[object, ...]]]:
        pick = itemgetter(*self._positions)
        width = max(self._positions) + 1
        rows = islice(self._sheet.iter_rows(), self._header_row, None)
        for number, row in enumerate(rows, start=self._header_row + 1):
            whole = row if len(row) >= width else [*row, *[None] * (width - len(row))]
            cells = pick(whole)
            if not all(map(_is_blank, cells)):
                yield number, cells

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RosterRow]:
        keys = self._keys
        for number, cells in self._iter_filled():
            yield RosterRow(number, dict(zip(keys, cells, strict=True)))

    @overload
    def __getitem__(self, index: int) -> RosterRow: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RosterRow, ...]: ...
    def __getitem__(self, index: int | slice) -> RosterRow | tuple[RosterRow, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(index)
        return next(islice(self, position, None))


@dataclass(frozen=True, slots=True)
class UnreadSheet:
    """Another sheet of the file that looks like a roster.

    Attributes:
        rows: how many of its rows have anything below the header.
    """

    name: str
    rows: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class Roster:
    """A roster as read, nothing checked.

    Attributes:
        header_row: row number of the header.
        unread: other sheets that look like rosters.
    """

    sheet: str
    header_row: int
    columns: ColumnMap
    rows: RosterRows = field(repr=False)
    source: Sheet = field(repr=False)
    unread: tuple[UnreadSheet, ...] = ()

    @property
    def unread_sheets(self) -> tuple[str, ...]:
        """Names of other sheets that look like rosters, hidden ones among them."""
        return tuple(sheet.name for sheet in self.unread)

    @property
    def hidden_sheets(self) -> tuple[str, ...]:
        """Names of those of them that nobody sees when the file is opened."""
        return tuple(sheet.name for sheet in self.unread if sheet.hidden)

    def cell_of(self, row: int, column: str) -> str:
        """Return where a row's column stands, such as ``A5``; empty when the sheet lacks it."""
        position = self.columns.index.get(column)
        return "" if position is None else f"{xl_col_to_name(position)}{row}"


def read_roster(path: Path) -> Roster:
    """Return the rows of a roster file.

    Raises:
        RecordError: with code ``header_missing``, ``column_twice``, ``column_missing``,
            ``too_many_rows`` or one of ``open_sheets``.
    """
    chosen: Roster | None = None
    unread = []
    for sheet in open_sheets(path, _is_header):
        if chosen is None and not sheet.hidden:
            chosen = _read_sheet(sheet)
        elif (other := _describe_unread(sheet)) is not None:
            unread.append(other)
    if chosen is None:
        raise RecordError(0, "header_missing")
    return Roster(
        chosen.sheet, chosen.header_row, chosen.columns, chosen.rows, chosen.source, tuple(unread)
    )


def read_cells(path: Path) -> Sequence[Sequence[object]]:
    """Return the cells of the first visible sheet of a spreadsheet, whatever they are.

    Raises:
        RecordError: as ``read_roster`` for a file that cannot be opened.
    """
    for sheet in open_sheets(path, lambda row: len(row) > 1):
        if not sheet.hidden:
            return list(sheet.iter_rows())
    return ()


def _find_header(sheet: Sheet) -> tuple[int, ColumnMap] | None:
    for number, cells in enumerate(islice(sheet.iter_rows(), HEADER_SEARCH_ROWS), start=1):
        columns = ColumnMap.from_header(cells, number)
        if columns is not None:
            return number, columns
    return None


def _is_header(cells: Sequence[object]) -> bool:
    try:
        return ColumnMap.from_header(cells, 0) is not None
    except RecordError:
        return True


def _read_sheet(sheet: Sheet) -> Roster | None:
    header = _find_header(sheet)
    if header is None:
        return None
    header_row, columns = header
    return Roster(sheet.name, header_row, columns, RosterRows(sheet, header_row, columns), sheet)


def _describe_unread(sheet: Sheet) -> UnreadSheet | None:
    rows = sheet.iter_rows()
    if not any(map(_is_header, islice(rows, HEADER_SEARCH_ROWS))):
        return None
    filled = sum(1 for row in rows if not all(map(_is_blank, row)))
    return UnreadSheet(sheet.name, filled, sheet.hidden)


def _is_blank(cell: object) -> bool:
    return not cell.strip() if isinstance(cell, str) else cell is None
