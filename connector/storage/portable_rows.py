"""The rows of a table as plain values, in an order that every database agrees on.

Nothing here knows a file. Rule: a table is described by names and kinds alone, as the manifest of
an archive has them, so that rows of an older release can be read and written too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from connector.storage import tables
from connector.storage.archive import Member, decode_row, encode_row

__all__ = [
    "columns_of",
    "count_rows",
    "key_of",
    "measure_rows",
    "read_rows",
    "set_sequences",
    "write_rows",
]

_PAGE = 500
_STREAM = MappingProxyType({"yield_per": _PAGE})
_TYPES: Mapping[str, type[sa.types.TypeEngine[Any]]] = {
    "text": sa.Text,
    "int": sa.BigInteger,
    "bool": sa.Boolean,
    "bytes": sa.LargeBinary,
    "moment": tables.UtcDateTime,
    "date": sa.Date,
}


def columns_of(table: Table) -> dict[str, str]:
    """Return column → kind."""
    return {column.name: _kind(column.type) for column in table.columns}


def key_of(table: Table) -> tuple[str, ...]:
    """Return the names of the primary key."""
    return tuple(column.name for column in table.primary_key.columns)


def read_rows(
    connection: Connection, table: str, columns: Mapping[str, str], key: Sequence[str]
) -> Iterator[Sequence[Any]]:
    """Yield the rows in the order of the key, by bytes and not by a language's alphabet."""
    there = _describe(table, columns)
    is_sqlite = connection.dialect.name == "sqlite"
    order = [
        there.c[name].collate("C") if columns[name] == "text" and not is_sqlite else there.c[name]
        for name in key
    ]
    query = sa.select(there).order_by(*order)
    yield from connection.execute(query, execution_options=_STREAM)


def measure_rows(
    connection: Connection, table: str, columns: Mapping[str, str], key: Sequence[str]
) -> tuple[int, str]:
    """Return count and SHA-256 of the rows as an archive would hold them."""
    digest, count = hashlib.sha256(), 0
    for row in read_rows(connection, table, columns, key):
        digest.update(encode_row(row))
        count += 1
    return count, digest.hexdigest()


def write_rows(connection: Connection, member: Member, lines: Iterable[bytes]) -> Iterator[int]:
    """Insert the lines of an archive's member; yield how many after each piece.

    Raises:
        ValueError, TypeError: a line is not what the manifest says.
    """
    insert = sa.insert(_describe(member.table, member.columns))
    rest = iter(lines)
    while piece := [decode_row(line, member.columns) for line in islice(rest, _PAGE)]:
        connection.execute(insert, piece)
        yield len(piece)


def count_rows(connection: Connection, table: str, where: str = "") -> int:
    """Return how many rows a table has."""
    query = sa.select(sa.func.count()).select_from(sa.table(table))
    return connection.scalar(query.where(sa.text(where)) if where else query) or 0


def set_sequences(connection: Connection) -> None:
    """Let PostgreSQL number on after the rows that were written; SQLite does by itself."""
    if connection.dialect.name == "sqlite":
        return
    for table in tables.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None or not isinstance(column.type, sa.Integer):
            continue
        highest = sa.select(sa.func.max(column)).scalar_subquery()
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        connection.execute(
            sa.select(sa.func.setval(sequence, sa.func.coalesce(highest, 1), highest.is_not(None)))
        )


def _describe(table: str, columns: Mapping[str, str]) -> sa.TableClause:
    return sa.table(table, *(sa.column(name, _TYPES[kind]()) for name, kind in columns.items()))


def _kind(column: sa.types.TypeEngine[Any]) -> str:
    if isinstance(column, tables.UtcDateTime):
        return "moment"
    if isinstance(column, tables.Encrypted | sa.LargeBinary):
        return "bytes"
    if isinstance(column, sa.Boolean):
        return "bool"
    if isinstance(column, sa.Date):
        return "date"
    return "int" if isinstance(column, sa.Integer) else "text"
