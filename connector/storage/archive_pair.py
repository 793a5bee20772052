"""A data archive and a keys archive that belong together.

Nothing here touches a database. Rule: both are read to the end, found whole and tied to the keys in
the keys archive, before anybody gets them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError

from connector.errors import ConfigurationError
from connector.storage import tables
from connector.storage.archive import Manifest, Member, decode_row, read_lines, read_manifest, walk
from connector.storage.crypto import Keyring
from connector.storage.migrate import is_known_revision

__all__ = [
    "DATA_FORMAT",
    "KEYS_FORMAT",
    "ArchivePair",
    "archived_keys",
    "keys_member",
    "open_pair",
    "told_as_damage",
]

DATA_FORMAT = "onecard-data-1"
KEYS_FORMAT = "onecard-keys-1"
_KEYS_MEMBER = "person_key.jsonl"


@dataclass(frozen=True, slots=True)
class ArchivePair:
    """Two archives of one installation, both whole."""

    data: Path
    keys: Path
    data_manifest: Manifest
    keys_manifest: Manifest
    keyring: Keyring

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return sum(member.rows for member in self.data_manifest.members)


def open_pair(data: Path, keys: Path) -> ArchivePair:
    """Read two archives to the end.

    Raises:
        ConfigurationError: one is damaged or of a newer release, or they do not belong together.
    """
    data_manifest, _ = read_manifest(data, DATA_FORMAT)
    keys_manifest, key_file = read_manifest(keys, KEYS_FORMAT)
    keyring = Keyring.parse(key_file.decode("ascii", "replace"), f"in {keys}")
    for manifest in (keys_manifest, data_manifest):
        manifest.require(keyring.backup_mac)
    known = set(tables.metadata.tables) - {"person_key"}
    if not {member.table for member in data_manifest.members} <= known:
        raise ConfigurationError(f"{data} has tables that are not known.", "Upgrade the program.")
    if [member.name for member in keys_manifest.members if member.columns] != [_KEYS_MEMBER]:
        raise ConfigurationError(f"{keys} has not the persons' keys.", "Use another backup.")
    if not is_known_revision(data_manifest.revision):
        raise ConfigurationError(
            f"The backup is of a newer release ({data_manifest.revision}).", "Upgrade the program."
        )
    return ArchivePair(data, keys, data_manifest, keys_manifest, keyring)


def archived_keys(pair: ArchivePair) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield line and row of each person's key in the keys archive."""
    member = keys_member(pair)
    with told_as_damage(pair.keys):
        for name, content in walk(pair.keys):
            if name == _KEYS_MEMBER:
                for line in read_lines(content):
                    yield line, decode_row(line, member.columns)


def keys_member(pair: ArchivePair) -> Member:
    """Return the member with the persons' keys."""
    (member,) = (found for found in pair.keys_manifest.members if found.name == _KEYS_MEMBER)
    return member


@contextmanager
def told_as_damage(path: Path) -> Iterator[None]:
    """Tell of rows that do not fit as of a damaged archive; the transaction is rolled back."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IntegrityError, DataError) as err:
        raise ConfigurationError(
            f"The archive {path} does not fit the tables ({type(err).__name__}); nothing was"
            " changed.",
            "Use another backup.",
        ) from None
