"""Reading a backup into an empty database, and checking what came of it.

Nothing here writes an archive; ``backup`` does. Rules (decisions 9, 22) —

- both archives are read to the end and found whole before anything is written;
- everything is written in one transaction, tables included: a run that is killed leaves the
  database as it was;
- what was written is read back and compared with the manifest, before the tables are brought up to
  this release;
- a person without a key in the keys archive was erased since: he comes back as erased;
- a key file that is there already is never replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, inspect, select, update

from connector.domain.ids import PatronId
from connector.domain.loan import UNCLOSED
from connector.errors import ConfigurationError
from connector.ports.clock import Clock, utc_now
from connector.ports.store import AuditCheck
from connector.storage import tables
from connector.storage.archive import read_lines, walk
from connector.storage.archive_pair import (
    ArchivePair,
    archived_keys,
    keys_member,
    open_pair,
    told_as_damage,
)
from connector.storage.crypto import Keyring
from connector.storage.engine import Database
from connector.storage.key_rotation import KeyRotation
from connector.storage.migrate import migrate_connection
from connector.storage.portable_rows import (
    count_rows,
    key_of,
    measure_rows,
    set_sequences,
    write_rows,
)
from connector.storage.repositories.audit import check_chains
from connector.storage.repositories.erasing import erase_rows
from connector.storage.sealed_check import open_people, stored_keys
from connector.storage.store import Store
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = [
    "RestoreReport",
    "Verification",
    "restore_backup",
    "verify_archives",
]

_PAGE = 200

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a restored copy found.

    Attributes:
        persons: people whose data open.
        unreadable: people whose data do not open, or who have no key and were not erased.
    """

    rows: int
    persons: int
    unreadable: int
    audit: AuditCheck


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored.

    Attributes:
        created: the moment of the data.
        erased: people whose keys the keys archive has no more.
        key_file_written: False where the same keys were there already.
    """

    created: datetime
    keys_created: datetime
    revision: str
    rows: int
    persons: int
    erased: int
    unreadable: int
    audit: AuditCheck
    key_file_written: bool

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with what was restored."""
        return not self.unreadable and self.audit.is_intact


def restore_backup(
    url: str,
    key_file: Path,
    *,
    data: Path,
    keys: Path,
    actor: str,
    accept_older_keys: bool = False,
    progress: Progress,
    now: Clock = utc_now,
) -> RestoreReport:
    """Fill an empty database from a backup.

    Args:
        key_file: written when it is not there.
        accept_older_keys: restore though the keys are older than the data; whoever was enrolled
            between the two comes back as erased.

    Raises:
        ConfigurationError: an archive is damaged, the two do not belong together, the database is
            not empty, or another key file is there; nothing was changed.
    """
    pair = open_pair(data, keys)
    older = pair.keys_manifest.created < pair.data_manifest.created
    if older and not accept_older_keys:
        raise ConfigurationError(
            "The keys are older than the data: whoever was enrolled between would be lost.",
            "Use the newest keys archive, or say --accept-older-keys.",
        )
    must_write_keys = _require_same_keys(key_file, pair.keyring)
    database = Database(url)
    try:
        with database.read() as connection:
            _require_empty(connection)
        if must_write_keys:
            pair.keyring.save(key_file)
        with UnitOfWorkFactory(database, pair.keyring, now=now).begin() as unit:
            if _require_empty(unit.connection):
                migrate_connection(unit.connection, "base")
            _load(unit.connection, pair, progress)
            migrate_connection(unit.connection, "head")
            persons = _load_person_keys(unit.connection, pair)
            erased = _erase_without_key(unit)
            set_sequences(unit.connection)
            unit.audit(
                "database.restored",
                actor=actor,
                detail={
                    "data": pair.data_manifest.created.isoformat(),
                    "keys": pair.keys_manifest.created.isoformat(),
                    "erased": erased,
                },
            )
        _renew_numbers(url, key_file, progress)
        with database.read() as connection:
            audit = check_chains(connection, pair.keyring)
            _, unreadable = open_people(connection, pair.keyring, stored_keys(connection))
    finally:
        database.close()
    return RestoreReport(
        created=pair.data_manifest.created,
        keys_created=pair.keys_manifest.created,
        revision=pair.data_manifest.revision,
        rows=pair.rows,
        persons=persons,
        erased=erased,
        unreadable=unreadable,
        audit=audit,
        key_file_written=must_write_keys,
    )


def verify_archives(
    data: Path, keys: Path, folder: Path, keyring: Keyring, *, progress: Progress
) -> Verification:
    """Restore two archives into a database in an empty folder, without the persons' keys, and check
    everything.

    Raises:
        ConfigurationError: an archive is damaged, or what comes out is not what went in.
    """
    pair = open_pair(data, keys)
    if not pair.keyring.holds(keyring):
        raise ConfigurationError("The keys archive has not all keys.", "Make the backup again.")
    database = Database(f"sqlite:///{folder / 'copy.db'}")
    try:
        with database.write() as connection:
            _load(connection, pair, progress)
        with database.read() as connection:
            archived = ((row["person_id"], row["wrapped"]) for _, row in archived_keys(pair))
            persons, unreadable = open_people(connection, pair.keyring, archived)
            living = count_rows(connection, "person", "erased_at IS NULL")
            return Verification(
                rows=pair.rows,
                persons=persons,
                unreadable=unreadable + max(0, living - persons - unreadable),
                audit=check_chains(connection, pair.keyring),
            )
    finally:
        database.close()


# --- before anything is written -------------------------------------------------------------------


def _require_same_keys(key_file: Path, keyring: Keyring) -> bool:
    """Say whether the key file is to be written; raise when another one is there."""
    if not key_file.exists():
        return True
    if Keyring.load(key_file).holds(keyring):
        return False
    raise ConfigurationError(
        f"The key file {key_file} has not the keys of the backup; nothing was changed.",
        "Move it to a safe place if it belongs to other data, and try again.",
    )


def _require_empty(connection: Connection) -> bool:
    """Say whether there are tables; raise when they hold more than the configured libraries."""
    there = set(inspect(connection).get_table_names())
    full = [
        name
        for name in tables.metadata.tables
        if name in there - {"institution", "audit"} and count_rows(connection, name)
    ]
    if full or (
        "audit" in there and count_rows(connection, "audit", "action <> 'institution.saved'")
    ):
        raise ConfigurationError(
            "The database is not empty; nothing was changed.",
            "Set [store] url to a new database.",
        )
    return "alembic_version" in there


# --- writing --------------------------------------------------------------------------------------


def _load(connection: Connection, pair: ArchivePair, progress: Progress) -> None:
    """Make the tables of the archive's release, fill them, and compare what is there."""
    manifest = pair.data_manifest
    migrate_connection(connection, manifest.revision)
    members = {member.name: member for member in manifest.members}
    done = 0
    with told_as_damage(pair.data):
        for name, content in walk(pair.data):
            if name in members:
                for count in write_rows(connection, members[name], read_lines(content)):
                    done += count
                    progress(done, pair.rows)
    for member in manifest.members:
        key = key_of(tables.metadata.tables[member.table])
        if measure_rows(connection, member.table, member.columns, key) != (
            member.rows,
            member.sha256,
        ):
            raise ConfigurationError(
                f"What was restored of {member.table} is not what the backup holds.",
                "Nothing was changed. Try again, or use another backup.",
            )


def _load_person_keys(connection: Connection, pair: ArchivePair) -> int:
    """Insert the keys of the people who are there; return how many."""
    person, loaded = tables.person.c, 0
    archived = archived_keys(pair)
    while piece := list(islice(archived, _PAGE)):
        ids = [row["person_id"] for _, row in piece]
        there = set(
            connection.scalars(
                select(person.person_id).where(
                    person.person_id.in_(ids), person.erased_at.is_(None)
                )
            )
        )
        lines = [line for line, row in piece if row["person_id"] in there]
        loaded += sum(write_rows(connection, keys_member(pair), lines))
    return loaded


def _erase_without_key(unit: UnitOfWork) -> int:
    """Erase who has no key: he was erased, or removed as an applicant, after the backup."""
    person, key = tables.person.c, tables.person_key.c
    found = unit.connection.execute(
        select(person.person_id, person.institution)
        .join(tables.person_key, key.person_id == person.person_id, isouter=True)
        .where(key.person_id.is_(None), person.erased_at.is_(None))
    ).all()
    for person_id, institution in found:
        _end_of(unit, person_id)
        erase_rows(unit, PatronId(person_id))
        unit.audit("person.erased", actor="restore", subject=person_id, institution=institution)
    return len(found)


def _end_of(unit: UnitOfWork, person_id: str) -> None:
    """End what an erased person cannot have any more: an open application, a book on loan."""
    asked, loan, position = tables.application, tables.loan, tables.item_position
    unit.connection.execute(
        update(asked)
        .where(asked.c.person_id == person_id, asked.c.state.not_in(("refused", "withdrawn")))
        .values(state="withdrawn", reason="erasure_requested", closed_by="restore",
                closed_at=unit.now, updated_at=unit.now)
    )  # fmt: skip
    his = select(loan.c.loan_id).where(
        loan.c.person_id == person_id, loan.c.state.in_([state.value for state in UNCLOSED])
    )
    unit.connection.execute(
        update(position)
        .where(position.c.loan_id.in_(his))
        .values(position="at_owner", holder=position.c.owner, loan_id=None)
    )


def _renew_numbers(url: str, key_file: Path, progress: Progress) -> None:
    """Bring numbers of an old backup under the active key: their own may be retired since."""
    store = Store(url, Keyring.load(key_file))
    try:
        KeyRotation(store, key_file, settle_s=0).renew(progress=progress)
    finally:
        store.close()
