"""The connections to one ILS: each logged in by itself, used by one caller at a time.

Nothing here sends a request or knows what one means. Rules: the connection used last is used next,
so that the others become idle; one that the ILS closed, that has bytes nobody asked for, or that
was idle for too long is replaced before anything is sent on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from connector.sip2.client import Sip2Client

__all__ = ["ConnectionPool"]


class _Idle(NamedTuple):
    client: Sip2Client
    since: float


class ConnectionPool:
    """At most ``limit`` connections.

    Args:
        connect: opens one and logs in, until the moment given; raises what it likes.
        max_idle_s: an older idle connection is not trusted.
    """

    def __init__(
        self, connect: Callable[[float], Sip2Client], *, limit: int, max_idle_s: float
    ) -> None:
        self._connect = connect
        self._most = self._limit = limit
        self._max_idle_s = max_idle_s
        self._changed = threading.Condition()
        self._idle: list[_Idle] = []
        self._count = 0
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many are open or being opened."""
        with self._changed:
            return self._count

    @property
    def idle_count(self) -> int:
        """How many nobody uses."""
        with self._changed:
            return len(self._idle)

    def lease(self, until: float, *, fresh: bool = False) -> Sip2Client | None:
        """Return a connection for one caller, or None when there is none until ``until``.

        Args:
            until: monotonic time.
            fresh: open a new one even if there is an idle one.

        Raises:
            Exception: what ``connect`` raises.
        """
        with self._changed:
            while True:
                if self._is_closed:
                    return None
                idle = None if fresh else self._take_good()
                if idle is not None:
                    return idle
                if self._count >= self._limit and self._idle:
                    self._drop(self._idle.pop(0))
                if self._count < self._limit:
                    self._count += 1
                    break
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    return None
        try:
            return self._connect(until)
        except BaseException:
            with self._changed:
                self._lose_one()
            raise

    def take_idle(self, *, since: float) -> Sip2Client | None:
        """Return the connection that has been idle longest, if it has been so since ``since``.

        Those that the ILS has closed meanwhile go: that is its right, and no failure.
        """
        with self._changed:
            while self._idle and self._idle[0].since <= since:
                idle = self._idle.pop(0)
                if idle.client.is_quiet:
                    return idle.client
                self._drop(idle)
            return None

    def give_back(self, client: Sip2Client, *, oldest: bool = False) -> None:
        """Take back a connection whose last exchange is complete."""
        with self._changed:
            if self._is_closed:
                self._discard(client)
                return
            place = 0 if oldest else len(self._idle)
            self._idle.insert(place, _Idle(client, time.monotonic()))
            self._changed.notify()

    def discard(self, client: Sip2Client) -> None:
        """Close a connection that a late answer may still reach."""
        with self._changed:
            self._discard(client)

    def shrink(self) -> bool:
        """Be content with the other connections until all are gone; False when there is no other.

        For a system that allows one login only so many connections.
        """
        with self._changed:
            if self._count <= 1:
                return False
            self._limit = self._count - 1
            return True

    def clear(self) -> None:
        """Close every idle connection."""
        with self._changed:
            while self._idle:
                self._drop(self._idle.pop())

    def close(self) -> None:
        """Close the idle ones, and each other one when it comes back; nothing is leased again."""
        with self._changed:
            self._is_closed = True
            while self._idle:
                self._drop(self._idle.pop())
            self._changed.notify_all()

    def _take_good(self) -> Sip2Client | None:
        while self._idle:
            idle = self._idle.pop()
            if time.monotonic() - idle.since <= self._max_idle_s and idle.client.is_quiet:
                return idle.client
            self._drop(idle)
        return None

    def _drop(self, idle: _Idle) -> None:
        self._discard(idle.client)

    def _discard(self, client: Sip2Client) -> None:
        client.close()
        self._lose_one()

    def _lose_one(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._limit = self._most
        self._changed.notify()
