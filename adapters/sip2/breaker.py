"""A circuit breaker: when an ILS does not answer, it is left alone for a growing, jittered time.

Nothing here knows SIP2 or sleeps. Rules: so many failures in a row open it; when the time is over,
one caller is let in as a probe, the others stay outside until it has ended; what fails while it is
open changes nothing; a refused login opens it at once and for long, so that no account is locked.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["Admission", "BreakerState", "CircuitBreaker"]

BreakerState = Literal["closed", "open", "half_open"]

_JITTER = 0.25


class Admission(NamedTuple):
    """Whether a caller may go on.

    Attributes:
        wait_s: None = yes; else for about how long no.
        is_probe: this caller decides whether the circuit closes; it must end by ``succeed``,
            ``fail``, ``refuse_login`` or ``release``.
        login_refused: it is open because the login was refused.
    """

    wait_s: float | None = None
    is_probe: bool = False
    login_refused: bool = False


class CircuitBreaker:
    """One per ILS; safe to call from several threads.

    Args:
        failures: in a row, that open it.
        open_s, max_open_s: first and longest time; doubled after each probe that fails.
        clock: monotonic seconds.
        jitter: returns a number in [a, b].
    """

    def __init__(
        self,
        *,
        failures: int,
        open_s: float,
        max_open_s: float,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._max_open_s = max_open_s
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._failures = 0
        self._times_opened = 0
        self._open_until: float | None = None
        self._probing = False
        self._login_refused = False

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        with self._lock:
            if self._open_until is None:
                return "closed"
            return "half_open" if self._probing or self._left_s() <= 0 else "open"

    def admit(self) -> Admission:
        """Say whether a caller may go on."""
        with self._lock:
            if self._open_until is None:
                return Admission()
            left_s = self._left_s()
            if left_s > 0 or self._probing:
                return Admission(max(left_s, 0.1), login_refused=self._login_refused)
            self._probing = True
            return Admission(is_probe=True)

    def reach(self) -> bool:
        """The ILS takes connections: that closes the circuit, and forgets no failure.

        A front end may answer the login while everything behind it hangs.

        Returns: whether that closed it.
        """
        with self._lock:
            return self._probing and self._close()

    def succeed(self) -> bool:
        """The ILS answered a request; return whether that closed the circuit."""
        with self._lock:
            if self._open_until is not None and not self._probing:
                return False
            self._times_opened = 0
            return self._close()

    def _close(self) -> bool:
        was_open = self._open_until is not None
        self._failures = 0
        self._open_until = None
        self._probing = self._login_refused = False
        return was_open

    def fail(self) -> bool:
        """The ILS did not answer; return whether that opened the circuit."""
        with self._lock:
            if self._open_until is not None and not self._probing:
                return False
            self._failures += 1
            if self._failures < self._limit and not self._probing:
                return False
            for_s = min(self._open_s * 2.0**self._times_opened, self._max_open_s)
            self._times_opened = min(self._times_opened + 1, 32)
            self._open(for_s)
            return True

    def refuse_login(self, for_s: float) -> None:
        """The ILS refused the login: leave it alone for so long."""
        with self._lock:
            self._open(for_s)
            self._login_refused = True

    def release(self) -> None:
        """End a probe that found out nothing; the next caller is the probe."""
        with self._lock:
            self._probing = False

    def _open(self, for_s: float) -> None:
        self._probing = self._login_refused = False
        self._open_until = self._clock() + self._jitter(for_s * (1 - _JITTER), for_s)

    def _left_s(self) -> float:
        return (self._open_until or 0.0) - self._clock()
