"""Bare connections for reading: fresh, shared by threads, closed in the end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.storage.sqlite_readers import SqliteReaders

COUNT = "SELECT count(*) FROM thing WHERE name <> ?"


class Opened:
    """Opens connections and remembers them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.connections: list[sqlite3.Connection] = []

    def __call__(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        self.connections.append(connection)
        return connection


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(tmp_path / "things.db")
    writer = opened()
    writer.execute("PRAGMA journal_mode=WAL").close()
    writer.execute("CREATE TABLE thing (name TEXT)").close()
    yield opened
    for connection in opened.connections:
        connection.close()


@pytest.fixture
def readers(opened: Opened) -> Iterator[SqliteReaders]:
    readers = SqliteReaders(opened)
    yield readers
    readers.close()


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1").close()
    except sqlite3.ProgrammingError:
        return True
    return False


def test_every_commit_is_seen_by_the_next_statement(opened: Opened, readers: SqliteReaders) -> None:
    seen = []
    for name in ("a", "b", "c"):
        opened.connections[0].execute("INSERT INTO thing VALUES (?)", (name,)).close()
        seen.append(readers.fetch(COUNT, ("",)))
    assert seen == [[(1,)], [(2,)], [(3,)]]


def test_a_read_keeps_no_writer_waiting(opened: Opened, readers: SqliteReaders) -> None:
    readers.fetch("SELECT name FROM thing WHERE name <> ?", ("",))
    assert opened.connections[0].execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_threads_that_come_and_go_share_one_connection(
    opened: Opened, readers: SqliteReaders
) -> None:
    for _ in range(5):
        thread = threading.Thread(target=readers.fetch, args=(COUNT, ("",)))
        thread.start()
        thread.join()
    assert len(opened.connections) == 2


def test_reads_at_once_have_a_connection_each(opened: Opened) -> None:
    together = threading.Barrier(4, timeout=30)

    def connect() -> sqlite3.Connection:
        connection = opened()
        connection.create_function("together", 0, lambda: together.wait() >= 0)
        return connection

    readers = SqliteReaders(connect)
    threads = [
        threading.Thread(target=readers.fetch, args=("SELECT together()", ())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    readers.close()
    assert not together.broken
    assert len(opened.connections) == 5
    assert all(is_closed(connection) for connection in opened.connections[1:])


def test_a_connection_that_failed_is_not_used_again(opened: Opened, readers: SqliteReaders) -> None:
    readers.fetch(COUNT, ("",))
    with pytest.raises(sqlite3.OperationalError):
        readers.fetch("SELECT nothing FROM thing", ())
    assert is_closed(opened.connections[1])
    assert readers.fetch(COUNT, ("",)) == [(0,)]


def test_a_connection_in_use_at_the_end_is_closed_after_its_statement(opened: Opened) -> None:
    reading, closed = threading.Event(), threading.Event()

    def connect() -> sqlite3.Connection:
        connection = opened()
        connection.create_function("wait", 0, lambda: reading.set() or closed.wait(30))
        return connection

    readers = SqliteReaders(connect)
    thread = threading.Thread(target=readers.fetch, args=("SELECT wait()", ()))
    thread.start()
    assert reading.wait(30)
    readers.close()
    closed.set()
    thread.join()
    assert is_closed(opened.connections[1])
