"""Reading rows: one that must be there, or many in pieces.

Nothing here knows a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, Table, select

from connector.errors import NotFound
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["fetch_row", "in_chunks"]

_CHUNK = 500
"""Ids in one statement; SQLite takes a limited number of parameters."""

_T = TypeVar("_T")


def fetch_row(unit: UnitOfWork, table: Table, **key: object) -> Row[Any]:
    """Return the one row with these values; raises ``NotFound`` with the table's name."""
    row = unit.connection.execute(select(table).filter_by(**key)).one_or_none()
    if row is None:
        raise NotFound(table.name)
    return row


def in_chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield the values in lists that one statement can take."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
