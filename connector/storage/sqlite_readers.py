"""Bare SQLite connections for the statements that every kiosk exchange makes.

Nothing here knows a table, begins a transaction or writes. Rules —

- a connection is used by one thread at a time and lies idle on a stack between two statements:
  there are as many as threads ever read at once, and a thread that ends leaves nothing behind;
- every statement is read to its end in autocommit, so that the next one sees every commit;
- a connection on which anything failed is closed, not used again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["SqliteReaders"]


class SqliteReaders:
    """Reads rows; safe to share among threads.

    Args:
        connect: opens a connection in autocommit that any thread may use.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: deque[sqlite3.Connection] = deque()

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Return all rows of one statement."""
        idle = self._idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            rows = connection.execute(sql, parameters).fetchall()
        except BaseException:
            connection.close()
            raise
        idle.append(connection)
        if idle is not self._idle:  # closed meanwhile
            _close_all(idle)
        return rows

    def close(self) -> None:
        """Close every connection; one that is being read from is closed after its statement."""
        idle, self._idle = self._idle, deque()
        _close_all(idle)


def _close_all(idle: deque[sqlite3.Connection]) -> None:
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            return
        connection.close()
