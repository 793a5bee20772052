"""How often one machine may ask about people: a limit per minute and per day.

Nothing here knows what is asked. Rules: what is over the limit is not asked at all; the counts live
in the process, so that a restart forgets them, and the audit does not.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta

from connector.ports.clock import Clock

__all__ = ["LookupLimit"]

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


class LookupLimit:
    """Counts the questions of each terminal; safe to call from several threads.

    Args:
        per_minute, per_day: far more than people at a machine need, far too few to try numbers.
    """

    def __init__(self, now: Clock, *, per_minute: int = 30, per_day: int = 2000) -> None:
        self._now = now
        self._per_minute = per_minute
        self._per_day = per_day
        self._lock = threading.Lock()
        self._asked: dict[str, deque[datetime]] = {}

    def take(self, terminal: str) -> bool:
        """Count one question of a terminal; False when it has asked too often."""
        now = self._now()
        with self._lock:
            asked = self._asked.setdefault(terminal, deque())
            while asked and asked[0] <= now - _DAY:
                asked.popleft()
            latest = sum(moment > now - _MINUTE for moment in list(asked)[-self._per_minute :])
            if len(asked) >= self._per_day or latest >= self._per_minute:
                return False
            asked.append(now)
            return True
