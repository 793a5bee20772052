"""The connector's own database: how it is opened, how transactions begin, and what its errors mean.

Nothing here knows a table. Rules (decision 8) —

- SQLite: ``isolation_level=None``, so that the driver begins nothing by itself; a writer says
  ``BEGIN IMMEDIATE``, so that what it reads before it writes is still true when it writes; WAL,
  ``synchronous=FULL``, foreign keys on, and deleted bytes are overwritten (``secure_delete``),
  because deleting a key must delete it;
- PostgreSQL: psycopg 3, READ COMMITTED, rows that must not change are locked by the caller;
- ``fetch`` is the hot path: one raw statement, no transaction, positional ``?`` on both databases;
  on SQLite without SQLAlchemy, which took four times as long as the statement;
- readers have connections of their own, on which nothing ever begins; a read whose connection the
  server has closed is made once more on a new one;
- a database's own exception never leaves this module: it becomes ``StorageConflict`` (retry once)
  or ``StorageUnavailable``; its text is kept only where it cannot quote a value.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, cast

import psycopg
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from connector.errors import ConfigurationError, StorageConflict, StorageUnavailable
from connector.storage.sqlite_readers import SqliteReaders

__all__ = ["Database", "moment_parameter", "parse_moment", "psycopg_style", "sqlite_file"]

_BUSY_TIMEOUT_S = 3.0
"""A writer may wait for his turn and then for other processes; both fit into a kiosk's patience."""
_WAL_TIMEOUT_S = 10.0
_WAL_RETRY_S = 0.05
_RETRY_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization_failure, deadlock_detected, lock_not_available."""
_RETRY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

Row = Sequence[Any]


def parse_moment(value: str | datetime | None) -> datetime | None:
    """Return a moment that ``fetch`` read, as aware UTC: text from SQLite, ``datetime`` from
    PostgreSQL.
    """
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value)


def moment_parameter(value: datetime, *, is_sqlite: bool) -> datetime | str:
    """Return a moment as a parameter of a raw statement."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if is_sqlite else value


@lru_cache(maxsize=256)
def psycopg_style(sql: str) -> str:
    """Return a statement with psycopg's mark for a parameter in place of ``?``."""
    return sql.replace("?", "%s")


class Database:
    """One database, shared by all threads of a process.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``; the driver is chosen here.
        pool_size: connections kept open for writers, and as many for readers.

    Attributes:
        is_sqlite: which of the two it is.
        file: where an SQLite database lies.

    Raises:
        ConfigurationError: the URL cannot be read or names another database.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        parsed = _parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.file = sqlite_file(url)
        self._write_turn = threading.Lock()
        self._opened: tuple[int, int] | None = None
        self._sqlite_readers: SqliteReaders | None = None
        if self.file is not None and not self.file.exists():
            with suppress(OSError):  # a folder that is not there is told at the first connection
                self.file.touch(mode=0o600)
        arguments: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": pool_size,
            "hide_parameters": True,
        }
        if self.is_sqlite:
            arguments["connect_args"] = {
                "isolation_level": None,
                "timeout": _BUSY_TIMEOUT_S,
                "check_same_thread": False,
            }
            arguments["poolclass"] = QueuePool
            self._writer = create_engine(parsed, **arguments)
            self._reader = create_engine(parsed, **arguments)
            event.listen(self._writer, "connect", _prepare_sqlite)
            event.listen(self._writer, "begin", _begin_immediate)
            event.listen(self._reader, "connect", _prepare_sqlite)
            self._sqlite_readers = SqliteReaders(self._connect_reader)
        else:
            arguments["connect_args"] = {"options": "-c timezone=UTC", "connect_timeout": 5}
            self._writer = create_engine(parsed, pool_pre_ping=True, **arguments)
            self._reader = create_engine(
                parsed, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **arguments
            )

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for migrations."""
        return self._writer

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction: committed at the end, rolled back on any exception.

        Raises:
            StorageConflict: another transaction was in the way, or a constraint holds.
            StorageUnavailable: the database cannot be reached.
        """
        with self._turn(), _mapped_errors(), self._writer.begin() as connection:
            yield connection

    def _require_same_file(self) -> None:
        """Refuse to write into a file that is no longer there: it would be lost at the restart."""
        assert self.file is not None  # noqa: S101 - only asked of SQLite
        try:
            now = self.file.stat()
        except OSError as err:
            if self._opened is None:
                return
            raise StorageUnavailable("file_gone") from err
        found = (now.st_dev, now.st_ino)
        if self._opened is None:
            self._opened = found
        elif self._opened != found:
            raise StorageUnavailable("file_replaced")

    def overwrite_deleted(self) -> bool:
        """Empty SQLite's write-ahead log, where deleted values stay until something else is written
        over them; say whether it was done, for a reader may be in the way.

        PostgreSQL keeps deleted rows until it vacuums, and its own log as long as it is told.
        """
        if not self.is_sqlite:
            return True
        with self._turn(), _mapped_errors(), self._reader.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        return not found[0]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let this process's threads write to SQLite one after the other.

        SQLite's own waiting sleeps ever longer, up to 0.1 s, and favours the newcomer: with eight
        threads the slowest commit in a hundred took more than two seconds.
        """
        if not self.is_sqlite:
            yield
            return
        if not self._write_turn.acquire(timeout=_BUSY_TIMEOUT_S):
            raise StorageConflict("busy")
        try:
            self._require_same_file()
            yield
        finally:
            self._write_turn.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for reading; each statement sees what is committed when it begins."""
        with _mapped_errors(), self._reader.connect() as connection:
            if not self.is_sqlite:
                _revive(connection)
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open one read transaction: every statement sees the database as the first one did."""
        with _mapped_errors():
            if self.is_sqlite:
                with self._reader.connect() as connection:
                    connection.exec_driver_sql("BEGIN")
                    try:
                        yield connection
                    finally:
                        connection.exec_driver_sql("ROLLBACK")
                return
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            engine = self._writer.execution_options(**options)
            with engine.connect() as connection, connection.begin():
                yield connection

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Return all rows of one raw statement; the fast way, for what every kiosk exchange asks.

        Args:
            sql: with ``?`` for each parameter, and no other question or per cent mark.
        """
        try:
            if self._sqlite_readers is not None:
                return self._sqlite_readers.fetch(sql, parameters)
            return self._fetch_once(sql, parameters)
        except psycopg.OperationalError:
            self._reader.dispose()
        except (DBAPIError, sqlite3.Error, psycopg.Error, PoolTimeoutError) as err:
            _raise_mapped(err)
        try:
            return self._fetch_once(sql, parameters)
        except (DBAPIError, psycopg.Error, PoolTimeoutError) as err:
            _raise_mapped(err)

    def _fetch_once(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        connection = self._reader.raw_connection()
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(psycopg_style(sql), parameters)
                return list(cursor.fetchall())
            finally:
                cursor.close()
        except psycopg.OperationalError:
            connection.invalidate()
            raise
        finally:
            connection.close()

    def _connect_reader(self) -> sqlite3.Connection:
        """Open a connection as the reader's pool would, and take it out of the pool."""
        pooled = self._reader.raw_connection()
        connection = cast("sqlite3.Connection", pooled.driver_connection)
        pooled.detach()
        return connection

    def close(self) -> None:
        """Close every connection."""
        if self._sqlite_readers is not None:
            self._sqlite_readers.close()
        self._writer.dispose()
        self._reader.dispose()


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as err:
        _raise_mapped(err)


def sqlite_file(url: str) -> Path | None:
    """Return where an SQLite database lies, or None for another one; the file need not exist."""
    parsed = _parse_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as err:
        raise ConfigurationError(
            "The database URL cannot be read.",
            "Write store.url as sqlite:///onecard.db or postgresql://host/name.",
        ) from err
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite+pysqlite")
    raise ConfigurationError(
        f"The database {backend} is not supported, or it has no file.",
        "Write store.url as sqlite:///onecard.db or postgresql://host/name.",
    )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}")
    _use_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL; the busy timeout does not hold for the switch (seen with 16 processes)."""
    until = time.monotonic() + _WAL_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_WAL_RETRY_S)
        else:
            return


def _revive(connection: Connection) -> None:
    """Connect anew if the server has closed the connection since it was last used."""
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError as err:
        if not err.connection_invalidated:
            raise
        connection.rollback()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _raise_mapped(err: Exception) -> NoReturn:
    origin = err.orig if isinstance(err, DBAPIError) else err
    cause = RuntimeError(_safe_text(origin))
    if isinstance(origin, (sqlite3.IntegrityError, psycopg.IntegrityError)):
        raise StorageConflict("constraint") from cause
    if (
        isinstance(origin, sqlite3.Error)
        and (getattr(origin, "sqlite_errorcode", 0) & 0xFF) in _RETRY_CODES
    ):
        raise StorageConflict("busy") from cause
    if isinstance(origin, psycopg.Error) and origin.sqlstate in _RETRY_STATES:
        raise StorageConflict(origin.sqlstate) from cause
    raise StorageUnavailable(type(origin).__name__) from cause


def _safe_text(origin: BaseException | None) -> str:
    """Return what may be told of a database's exception: SQLite names columns only; PostgreSQL
    quotes bad data.
    """
    name = type(origin).__name__
    if isinstance(origin, sqlite3.Error):
        return f"{name}: {origin}"
    if isinstance(origin, psycopg.Error) and not isinstance(origin, psycopg.DataError):
        return f"{name}: {origin.diag.message_primary or origin.sqlstate or ''}"
    return name
