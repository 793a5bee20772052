"""Writing a backup: one archive with the data, another with the keys, for two different places.

Nothing here reads a backup into a database; ``restore`` does. Rules (decision 22) —

- both archives are of one moment: everything is read in one transaction;
- the data archive holds no person's key; the keys archive holds the key file and the persons' keys
  and is replaced each time, so that a person who was erased cannot be read from older data either;
- the keys get their place first: newer keys open older data, older keys may not open newer data;
- keys of many people who are not in the database any more are not thrown away unasked: an emptied
  database must not take all older backups with it;
- a restored copy vouches for the archive: rows, digests, audit chains, and every person opens.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, select

from connector.errors import ConfigurationError
from connector.ports.store import AuditCheck
from connector.storage import tables
from connector.storage.archive import (
    ArchiveWriter,
    Manifest,
    decode_row,
    publish,
    read_lines,
    read_manifest,
    walk,
)
from connector.storage.archive_pair import DATA_FORMAT, KEYS_FORMAT
from connector.storage.crypto import Keyring
from connector.storage.migrate import newest_revision
from connector.storage.portable_rows import columns_of, key_of, read_rows
from connector.storage.restore import verify_archives
from connector.storage.store import Store

__all__ = ["BackupReport", "copy_sqlite", "make_backup"]

KEYS_NAME = "onecard-keys.tar.gz"
_PART = ".part"
_CHECK_FOLDER = ".onecard-verify"
_PAGE = 200
_FEW, _PART_OF = 5, 4
"""More than five and more than a quarter: no retention run takes so many in a night."""
_DATA_TABLES = tuple(
    table for table in tables.metadata.sorted_tables if table is not tables.person_key
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was written.

    Attributes:
        data: None when only the keys were written.
        persons: people whose keys are in the keys archive.
        is_verified: whether a copy was restored and compared.
        unreadable: people whose data a restored copy could not open.
        audit: what the check of the restored chains found.
    """

    created: datetime
    data: Path | None
    keys: Path
    rows: int
    persons: int
    is_verified: bool = False
    unreadable: int = 0
    audit: AuditCheck | None = None
    tables: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with what was written."""
        return not self.unreadable and (self.audit is None or self.audit.is_intact)


def make_backup(
    store: Store,
    key_file: Path,
    *,
    data_dir: Path | None,
    keys_dir: Path,
    verify: bool,
    accept_fewer: bool = False,
    progress: Progress,
) -> BackupReport:
    """Write the archives, check them, and give them their names.

    Args:
        store: open, with the keys of ``key_file``.
        data_dir: None writes the keys only.
        accept_fewer: go on though many people of the former keys archive are gone.

    Raises:
        ConfigurationError: the folders do not do, hold another installation's keys, or the database
            is of another release.
        OSError: a folder cannot be written.
    """
    _require_apart(data_dir, keys_dir)
    for folder in (data_dir, keys_dir):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        for folder in {keys_dir, data_dir or keys_dir}:
            stack.enter_context(_turn(folder))
        created = store.work.now()
        keys = keys_dir / KEYS_NAME
        data = None
        if data_dir is not None:
            data = data_dir / f"onecard-data-{created:%Y%m%dT%H%M%SZ}.tar.gz"
            if data.exists():
                raise ConfigurationError(f"{data} exists.", "Try again in a second.")
        _drop_parts(keys_dir, data_dir)
        stack.callback(_drop_parts, keys_dir, data_dir)
        report, keyring = _write(
            store,
            key_file,
            created,
            data=data,
            keys=keys,
            accept_fewer=accept_fewer,
            progress=progress,
        )
        if verify and data is not None and data_dir is not None:
            folder = data_dir / _CHECK_FOLDER
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            found = verify_archives(_part(data), _part(keys), folder, keyring, progress=progress)
            report = BackupReport(
                created,
                data,
                keys,
                report.rows,
                report.persons,
                is_verified=True,
                unreadable=found.unreadable,
                audit=found.audit,
                tables=report.tables,
            )
        publish(_part(keys), keys)
        if data is not None:
            publish(_part(data), data)
    return report


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be in use to a new file with mode 0600.

    Raises:
        ConfigurationError: it cannot be read or written.
    """
    part = target.with_name(target.name + _PART)
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as there,
            closing(sqlite3.connect(part)) as here,
        ):
            there.backup(here, pages=1000)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        publish(part, target)
    except sqlite3.Error as err:
        raise ConfigurationError(
            f"{source} could not be copied ({type(err).__name__}).", "Check the file and the disk."
        ) from err
    finally:
        part.unlink(missing_ok=True)


def _write(
    store: Store,
    key_file: Path,
    created: datetime,
    *,
    data: Path | None,
    keys: Path,
    accept_fewer: bool,
    progress: Progress,
) -> tuple[BackupReport, Keyring]:
    """Write both archives under their temporary names, from one transaction."""
    counts: dict[str, int] = {}
    with store.database.snapshot() as connection:
        revision = _revision(connection)
        # After the first read: every key that the snapshot needs is in the file by now.
        text = key_file.read_bytes()
        keyring = Keyring.parse(text.decode("ascii", "replace"), str(key_file))
        former = _read_former(keys, keyring)
        if former is not None and not accept_fewer:
            _require_most_people(connection, keys, former)
        head = {"revision": revision, "created": created, "lasting": keyring.lasting}
        with ArchiveWriter(_part(keys)) as archive:
            archive.add_file("onecard.key", text)
            columns, key = columns_of(tables.person_key), key_of(tables.person_key)
            rows = read_rows(connection, "person_key", columns, key)
            persons = archive.add_rows("person_key", columns, rows)
            archive.finish(Manifest(KEYS_FORMAT, members=(), **head), keyring.backup_mac)  # type: ignore[arg-type]
        if data is not None:
            with ArchiveWriter(_part(data)) as archive:
                for done, table in enumerate(_DATA_TABLES):
                    progress(done, len(_DATA_TABLES))
                    columns, key = columns_of(table), key_of(table)
                    rows = read_rows(connection, table.name, columns, key)
                    counts[table.name] = archive.add_rows(table.name, columns, rows)
                archive.finish(Manifest(DATA_FORMAT, members=(), **head), keyring.backup_mac)  # type: ignore[arg-type]
    report = BackupReport(created, data, keys, sum(counts.values()), persons, tables=counts)
    return report, keyring


def _revision(connection: Connection) -> str:
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found != newest_revision():
        raise ConfigurationError(
            "The database is of another release.",
            "Run `onecard db upgrade`, or use the program that upgraded it.",
        )
    return str(found)


def _read_former(keys: Path, keyring: Keyring) -> Manifest | None:
    """Return what the former keys archive holds; a damaged one is of no use to anybody.

    Raises:
        ConfigurationError: it is another installation's.
    """
    if not keys.exists():
        return None
    try:
        former, _ = read_manifest(keys, KEYS_FORMAT)
    except ConfigurationError:
        return None
    if former.lasting != keyring.lasting:
        raise ConfigurationError(
            f"{keys} holds the keys of another installation.", "Choose another --keys-to."
        )
    return former


def _require_most_people(connection: Connection, keys: Path, former: Manifest) -> None:
    """Refuse to throw away the keys of many people: then older data could never be read again."""
    key = tables.person_key.c.person_id
    told = {member.name: member.columns for member in former.members}
    count = gone = 0
    for name, content in walk(keys):
        columns = told.get(name, {})
        lines = read_lines(content) if columns else iter(())
        while piece := [decode_row(line, columns)["person_id"] for line in islice(lines, _PAGE)]:
            there = connection.scalars(select(key).where(key.in_(piece))).all()
            count, gone = count + len(piece), gone + len(piece) - len(there)
    if gone and (gone == count or (gone > _FEW and gone * _PART_OF > count)):
        raise ConfigurationError(
            f"{gone} of {count} persons of the former keys archive are not in the database; with "
            "their keys gone no older backup shows them again. Nothing was written.",
            "Check [store] url. If they were erased on purpose, say --accept-fewer.",
        )


def _require_apart(data_dir: Path | None, keys_dir: Path) -> None:
    if data_dir is None:
        return
    data, keys = data_dir.resolve(), keys_dir.resolve()
    if data == keys or data in keys.parents or keys in data.parents:
        raise ConfigurationError(
            "Data and keys would lie together, so that whoever takes one has both.",
            "Choose two folders that are not within each other, best on two machines.",
        )


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one backup at a time write into a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as err:
        raise ConfigurationError(
            f"Another backup is being written into {folder}.", "Wait until it is done."
        ) from err
    finally:
        os.close(descriptor)


def _drop_parts(keys_dir: Path, data_dir: Path | None) -> None:
    """Remove what this run, or one that was killed, did not finish."""
    (keys_dir / (KEYS_NAME + _PART)).unlink(missing_ok=True)
    if data_dir is not None:
        for part in data_dir.glob(f"onecard-*{_PART}"):
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(path.name + _PART)
