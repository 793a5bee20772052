"""The database of the embedded ILS: one SQLite file, its engine, its transactions, its migrations.

Nothing here knows a table. Rules: WAL, ``synchronous=FULL``, foreign keys on, what is
deleted is overwritten; every writer begins
with ``BEGIN IMMEDIATE`` (with a deferred begin two checkouts could both read "not on loan"); reads
are single statements in autocommit, each of which sees one snapshot. ``fetch`` makes those of a
kiosk's exchange without SQLAlchemy, which took five times as long as the statement.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Transaction, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable, OutcomeUnknown

__all__ = ["NAME", "REVISION", "Database"]

NAME = "local"
REVISION = "0001"
"""The migration that this code needs; an older file is upgraded when it is first opened."""

_BUSY_TIMEOUT_MS = 3_000
"""For each of two waits, in turn for our own writers and in SQLite for those of other processes;
together shorter than the gateway waits for an ILS, so that it learns that nothing was done."""

_WAL_RETRY_MS = 20
_POOL_SIZE = 8
_OVERFLOW = 56
_migrating = threading.Lock()


class Database:
    """One SQLite file, opened and upgraded at its first use; safe to share among threads."""

    def __init__(self, path: Path, institution_id: InstitutionId) -> None:
        self.path = path
        self.institution_id = institution_id
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._ready = False
        self._closed = False
        self._engine = _make_engine(path)
        self._writer = self._engine.execution_options(immediate=True)
        self._idle: deque[sqlite3.Connection] = deque()

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Return all rows of one statement that reads, by a bare connection that nobody else has.

        Raises:
            AdapterUnavailable: the file cannot be opened or read.
        """
        self._open()
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                rows = connection.execute(sql, parameters).fetchall()
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, DBAPIError, PoolTimeout, OSError) as err:
            raise self._unavailable(err) from err
        self._idle.append(connection)
        if self._closed:
            self._close_idle()
        return rows

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for single statements that read.

        Raises:
            AdapterUnavailable: the file cannot be opened or read.
        """
        self._open()
        try:
            with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeout, OSError) as err:
            raise self._unavailable(err) from err

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside ``BEGIN IMMEDIATE``; an exception rolls everything back.

        Raises:
            AdapterUnavailable: nothing was written.
            OutcomeUnknown: the commit itself failed.
            IntegrityError: a constraint refused it; the caller knows which one that can be.
        """
        self._open()
        # Waiting here is cheaper than in SQLite, which sleeps between its attempts.
        if not self._turn.acquire(timeout=_BUSY_TIMEOUT_MS / 1000):
            raise AdapterUnavailable(NAME, self.institution_id, "busy")
        try:
            with self._writer.connect() as connection, connection.begin() as transaction:
                yield connection
                self._commit(connection, transaction)
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout, OSError) as err:
            raise self._unavailable(err) from err
        finally:
            self._turn.release()

    def overwrite_deleted(self) -> bool:
        """Empty the write-ahead log, where erased values stay until something else is written over
        them; say whether it was done, for a reader may be in the way.
        """
        self._open()
        if not self._turn.acquire(timeout=_BUSY_TIMEOUT_MS / 1000):
            return False
        try:
            with self._engine.connect() as connection:
                found = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        except (DBAPIError, PoolTimeout, OSError):
            return False
        finally:
            self._turn.release()
        return not found[0]

    def close(self) -> None:
        """Close every connection; the database cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._close_idle()
            self._engine.dispose()

    def migrate(self, revision: str = "head") -> None:
        """Upgrade or downgrade the file to a revision."""
        with _migrating, self._writer.connect() as connection, connection.begin():
            config = alembic_config()
            config.attributes["connection"] = connection
            down = revision == "base" or revision < (_current_revision(connection) or "")
            (command.downgrade if down else command.upgrade)(config, revision)

    def _connect(self) -> sqlite3.Connection:
        """Open a connection as the pool would, and take it out of the pool."""
        pooled = self._engine.raw_connection()
        connection = cast("sqlite3.Connection", pooled.driver_connection)
        pooled.detach()
        return connection

    def _close_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.close()

    def _open(self) -> None:
        if self._closed:
            raise AdapterUnavailable(NAME, self.institution_id, "closed")
        if not self._ready:
            with self._lock:
                self._upgrade_once()

    def _upgrade_once(self) -> None:
        if self._ready:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # It holds names and numbers; SQLite gives its companion files the same mode.
            self.path.touch(mode=0o600)
            with self._engine.connect() as connection:
                found = _current_revision(connection)
            if found is None or found < REVISION:
                self.migrate()
        except (DBAPIError, PoolTimeout, OSError) as err:
            raise self._unavailable(err) from err
        self._ready = True

    def _commit(self, connection: Connection, transaction: Transaction) -> None:
        """Commit; after a failure the connection is thrown away, since SQLite keeps its lock."""
        try:
            transaction.commit()
        except DBAPIError as err:
            connection.invalidate()
            raise OutcomeUnknown(NAME, self.institution_id, "commit") from err

    def _unavailable(self, err: Exception) -> AdapterUnavailable:
        cause = err.orig if isinstance(err, DBAPIError) else err
        return AdapterUnavailable(NAME, self.institution_id, type(cause).__name__)


def alembic_config() -> Config:
    """Return the configuration of this adapter's migrations."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config


def _current_revision(connection: Connection) -> str | None:
    tables = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    ).first()
    if tables is None:
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; the busy timeout does not hold for that (seen: four starting processes)."""
    for _ in range(_BUSY_TIMEOUT_MS // _WAL_RETRY_MS):
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError:
            time.sleep(_WAL_RETRY_MS / 1000)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL").close()


def _make_engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=_POOL_SIZE,
        max_overflow=_OVERFLOW,
        hide_parameters=True,
        connect_args={
            "check_same_thread": False,
            "isolation_level": None,
            "cached_statements": 256,
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}").close()
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL").close()
        connection.execute("PRAGMA foreign_keys = ON").close()
        connection.execute("PRAGMA secure_delete = ON").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("immediate"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
