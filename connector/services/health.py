"""Looking at our own database without ever waiting long for it.

Nothing here listens or shows anything. Rules: one look at a time, in a thread of its own; whoever
asks while it hangs is told that the database is away; a look is good for some seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from connector.errors import ConnectorError
from connector.log import get_logger
from connector.ports.operations import Operations, StoreState

__all__ = ["StoreProbe"]

_log = get_logger(__name__)


class StoreProbe:
    """The last look at the database.

    Args:
        patience_s: how long a caller waits for a new look.
        monotonic: seconds; for tests.
    """

    def __init__(
        self,
        operations: Operations,
        *,
        patience_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operations = operations
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._state: StoreState | None = None
        self._looked_at = float("-inf")
        self._running: threading.Thread | None = None

    def look(self, max_age_s: float) -> StoreState | None:
        """Return the state, at most so old; None when the database does not answer."""
        with self._lock:
            if self._monotonic() - self._looked_at <= max_age_s:
                return self._state
            thread = self._running
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=self._look, name="store-probe", daemon=True)
                self._running = thread
                thread.start()
        thread.join(self._patience_s)
        return None if thread.is_alive() else self._state

    def _look(self) -> None:
        state: StoreState | None = None
        try:
            state = self._operations.read_state()
        except ConnectorError as err:
            _log.warning("store.unavailable", action="health", error=type(err).__name__)
        except Exception as err:  # noqa: BLE001 - a probe that dies would say "up" for ever
            _log.error("store.unavailable", action="health", error=type(err).__name__)
        with self._lock:
            self._state = state
            self._looked_at = self._monotonic()
