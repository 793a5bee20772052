"""How fast many requests go to one ILS: repeats, back-off, and pauses that everybody keeps.

Nothing here knows what is asked. Rules (scenario 29) —

- when the ILS asks for a pause (429 with ``retry_after_s``), no worker asks anything until it is
  over, and workers that met the same refusal do not pause one after the other;
- where nothing was done (``AdapterUnavailable``) or the ILS failed inside (5xx), the request is
  repeated a few times, each time later; with jitter, so that workers do not come back together;
- after an unknown outcome nothing but a question is repeated: the caller asks first what is true.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from typing import TypeVar

from connector.errors import AdapterError, AdapterUnavailable, OutcomeUnknown, UnexpectedResponse

__all__ = ["Pacing"]

_T = TypeVar("_T")

_TRIES = 4
_PAUSES = 20
"""How often one request may be told to come later; each time everybody waits."""
_LONGEST_PAUSE_S = 300.0
"""An ILS that wants a longer pause is away: the run ends and is taken up another time."""
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0
_SERVER_ERROR = re.compile(r"(?:.*[^0-9])?5[0-9]{2}", re.ASCII | re.DOTALL)
"""``code`` of an ``UnexpectedResponse`` ends in the status of the answer."""


class Pacing:
    """Shared by the workers of one run.

    Args:
        sleep: waits so many seconds; by default it ends early when the run is stopped.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._stopped = threading.Event()
        self._sleep = sleep or self._wait
        self._jitter = jitter
        self._gate = threading.Lock()
        self._pauses = 0

    def stop(self) -> None:
        """End every pause, and repeat nothing more."""
        self._stopped.set()

    def ask(
        self, call: Callable[[], _T], *, may_repeat: Callable[[], bool], is_question: bool = False
    ) -> _T:
        """Return what the request gives, repeated where that can help.

        Args:
            is_question: it changes nothing, so that one without answer may be asked again.
            may_repeat: asked after each wait; when it says no, the last error is raised.
        """
        tries = pauses = 0
        while True:
            seen = self._pass_gate()
            try:
                return call()
            except (AdapterUnavailable, OutcomeUnknown, UnexpectedResponse) as err:
                if isinstance(err, OutcomeUnknown) and not is_question:
                    raise
                wanted = _pause_wanted(err)
                tries, pauses = tries + (wanted is None), pauses + (wanted is not None)
                if not self._is_worth_it(err, wanted, tries, pauses):
                    raise
                if wanted is not None:
                    self._pause_all(seen, wanted)
                else:
                    self.wait_before(tries)
                if self._stopped.is_set() or not may_repeat():
                    raise

    def wait_before(self, attempt: int) -> None:
        """Wait before the next attempt, longer from one to the next."""
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
        self._sleep(longest * (0.5 + 0.5 * self._jitter()))

    def _is_worth_it(
        self, err: AdapterError, wanted: float | None, tries: int, pauses: int
    ) -> bool:
        if self._stopped.is_set() or tries >= _TRIES or pauses >= _PAUSES:
            return False
        if wanted is not None:
            return wanted <= _LONGEST_PAUSE_S
        is_server_error = _SERVER_ERROR.fullmatch(err.code) is not None
        return is_server_error or not isinstance(err, UnexpectedResponse)

    def _pass_gate(self) -> int:
        """Wait while somebody pauses; return how many pauses there were."""
        with self._gate:
            return self._pauses

    def _pause_all(self, seen: int, seconds: float) -> None:
        """Pause for everybody, unless a pause began after this request went out."""
        with self._gate:
            if self._pauses == seen:
                self._sleep(seconds + _FIRST_WAIT_S * self._jitter())
                self._pauses += 1

    def _wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)


def _pause_wanted(err: AdapterError) -> float | None:
    return err.retry_after_s if isinstance(err, AdapterUnavailable) else None
