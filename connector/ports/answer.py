"""Who may still say "yes": the race between a late outcome and a kiosk's patience.

A service claims the slot before it commits an outcome as answered; the server expires it when the
kiosk's patience ends. Exactly one of them wins, so a checkout that completes late is never recorded
as one that the patron was told of (scenario 13).
"""

from __future__ import annotations

import threading

__all__ = ["AnswerSlot"]


class AnswerSlot:
    """Claimed by the service, or expired by the server; never both."""

    __slots__ = ("_lock", "_state")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = "open"

    def claim(self) -> bool:
        """Return True when the answer will still be sent; from then on the server waits for it."""
        with self._lock:
            if self._state == "open":
                self._state = "claimed"
            return self._state == "claimed"

    @property
    def is_expired(self) -> bool:
        """Whether "no" was said already: nothing new may be begun for this request."""
        with self._lock:
            return self._state == "expired"

    def expire(self) -> bool:
        """Return True when nobody claimed it; the outcome then counts as not answered."""
        with self._lock:
            if self._state == "open":
                self._state = "expired"
            return self._state == "expired"
