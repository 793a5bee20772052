"""Many people at once, for rosters and lists: who has which number, and their data.

Nothing here writes. Rules (decisions 5, 22): a number is looked for by every key; who was erased is
left out; lists are asked for in pieces of up to 500, which both databases take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import select

from connector.domain.ids import Identifier, PatronId
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.crypto import Keyring
from connector.storage.engine import Database
from connector.storage.repositories import person_rows

__all__ = ["PeopleInBulk", "in_pieces"]

_PIECE = 500
_T = TypeVar("_T")


def in_pieces(values: Collection[_T], size: int = _PIECE) -> Iterator[list[_T]]:
    """Return the values in lists of up to ``size``."""
    rest = iter(values)
    while piece := list(islice(rest, size)):
        yield piece


class PeopleInBulk:
    """The part of ``PatronRegister`` that reads many people at once."""

    _database: Database
    _keyring: Keyring

    def find_people(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, PatronId]:
        """Return who has which of these identifiers, retired ones too; unknown ones are left
        out.
        """
        digests = {
            (identifier.kind, digest): identifier
            for identifier in identifiers
            for _, digest in self._keyring.digests(identifier)
        }
        found: dict[Identifier, PatronId] = {}
        for piece in in_pieces(list(digests)):
            marks = ", ".join("?" * len(piece))
            rows = self._database.fetch(
                f"{_BY_DIGEST} ({marks})", tuple(digest for _, digest in piece)
            )
            for kind, digest, person_id in rows:
                identifier = digests.get((kind, bytes(digest)))
                if identifier is not None:
                    found[identifier] = PatronId(person_id)
        return found

    def fetch_personal_many(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, PersonalData]:
        """Decrypt the data of several people; who is unknown or erased is left out."""
        key = tables.person_key
        columns = [tables.person.c[name] for name in person_rows.FIELDS]
        query = select(key.c.person_id, key.c.wrapped, *columns).join(
            tables.person, tables.person.c.person_id == key.c.person_id
        )
        found: dict[PatronId, PersonalData] = {}
        with self._database.read() as connection:
            for piece in in_pieces(patrons):
                for row in connection.execute(query.where(key.c.person_id.in_(piece))):
                    patron_id = PatronId(row[0])
                    cipher = self._keyring.open_person(patron_id, row[1])
                    found[patron_id] = person_rows.open_data(cipher, row[2:])
        return found


_BY_DIGEST = "SELECT kind, digest, person_id FROM identifier WHERE digest IN"
