"""Answers that are remembered for some seconds, so that a repeated request is not executed twice.

A kiosk that loses its connection logs in again and sends its last message once more, byte for byte.
Within one connection ``session`` answers that; here it is answered across connections of one
terminal. Nothing here does I/O or reads a clock. Rules:

- only messages that change something (``STATE_CHANGING``), and only when they carry AY and a
  correct AZ over a
  complete fixed part: a client with made-up constants there repeats frames that are new requests;
- a repeat of a request that still runs joins it;
- "busy" is never remembered: nothing was done, and the repeat may find a free place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from connector.domain.ids import TerminalId
from connector.sip2.codec import Checksum, Frame
from connector.sip2.spec import STATE_CHANGING

__all__ = ["ReplayCache", "ReplayKey", "replay_key"]

ReplayKey = tuple[str, bytes]

_T = TypeVar("_T")


def replay_key(terminal_id: TerminalId, frame: Frame) -> ReplayKey | None:
    """Return what a repeat is known by, or None when it cannot be told from a new request."""
    if (
        frame.code in STATE_CHANGING
        and frame.sequence is not None
        and frame.checksum is Checksum.GOOD
        and "no_fixed_part" not in frame.problems
    ):
        return (terminal_id, frame.raw)
    return None


class ReplayCache(Generic[_T]):
    """Work by key: what runs now, and for ``keep_s`` what was answered.

    Args:
        keep_s: longer than a kiosk needs to reconnect and log in.
        max_entries: remembered answers; the oldest goes first. What runs now is bounded by the
            connections.
    """

    __slots__ = ("_done", "_keep_s", "_max_entries", "_running")

    def __init__(self, *, keep_s: float = 60.0, max_entries: int = 10_000) -> None:
        self._keep_s = keep_s
        self._max_entries = max_entries
        self._running: dict[ReplayKey, _T] = {}
        self._done: OrderedDict[ReplayKey, tuple[float, _T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._running) + len(self._done)

    def find(self, key: ReplayKey, now: float) -> _T | None:
        """Return the work of the same request, running or done, if it is still remembered."""
        running = self._running.get(key)
        if running is not None:
            return running
        self._forget_old(now)
        done = self._done.get(key)
        return None if done is None else done[1]

    def begin(self, key: ReplayKey, work: _T) -> None:
        """Note that the request runs."""
        self._running[key] = work

    def end(self, key: ReplayKey, now: float, *, remember: bool) -> None:
        """Note that the request is answered."""
        work = self._running.pop(key)
        if not remember:
            return
        self._forget_old(now)
        while len(self._done) >= self._max_entries:
            self._done.popitem(last=False)
        self._done[key] = (now + self._keep_s, work)

    def _forget_old(self, now: float) -> None:
        while self._done:
            key, (until, _) = next(iter(self._done.items()))
            if until > now:
                return
            del self._done[key]
