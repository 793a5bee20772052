"""Does everything that is sealed open?

Nothing here writes. Rule: every column that holds sealed values is looked at; a test compares them
with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import Connection, select

from connector.errors import StorageUnavailable
from connector.storage import tables
from connector.storage.crypto import Keyring
from connector.storage.repositories import person_rows

__all__ = ["open_people", "stored_keys"]

_PAGE = 200


def stored_keys(connection: Connection) -> Iterator[tuple[str, bytes]]:
    """Yield person and wrapped key of everybody in the database."""
    key = tables.person_key.c
    query = select(key.person_id, key.wrapped).order_by(key.person_id).limit(_PAGE)
    page = query
    while rows := connection.execute(page).all():
        yield from ((row.person_id, bytes(row.wrapped)) for row in rows)
        page = query.where(key.person_id > rows[-1].person_id)


def open_people(
    connection: Connection, keyring: Keyring, wrapped: Iterator[tuple[str, bytes]]
) -> tuple[int, int]:
    """Open every sealed value of the people with these keys; return (opened, failed)."""
    opened = failed = 0
    while piece := dict(islice(wrapped, _PAGE)):
        sealed = _sealed_values(connection, list(piece))
        for person_id, values in sealed.items():
            try:
                cipher = keyring.open_person(person_id, piece[person_id])
                for table, column, row, value in values:
                    cipher.open(table, column, value, row=row)
                opened += 1
            except StorageUnavailable:
                failed += 1
    return opened, failed


def _sealed_values(
    connection: Connection, people: Sequence[str]
) -> dict[str, list[tuple[str, str, str, bytes]]]:
    """Return person → (table, column, row, value) of whoever is there."""
    person, number = tables.person.c, tables.identifier.c
    found: dict[str, list[tuple[str, str, str, bytes]]] = {}
    fields = [person[name] for name in person_rows.FIELDS]
    for row in connection.execute(
        select(person.person_id, *fields).where(person.person_id.in_(people))
    ):
        found[row[0]] = [
            ("person", name, row[0], bytes(value))
            for name, value in zip(person_rows.FIELDS, row[1:], strict=True)
            if value is not None
        ]
    for person_id, kind, value in connection.execute(
        select(number.person_id, number.kind, number.sealed).where(
            number.person_id.in_(people), number.sealed.is_not(None)
        )
    ):
        found[person_id].append(("identifier", "sealed", f"{person_id}/{kind}", bytes(value)))
    return found
