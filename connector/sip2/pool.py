"""A thread pool that says "full" instead of queueing without end.

One per library, so that an ILS that hangs exhausts its own threads only. Nothing here knows SIP2.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from connector.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BoundedPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class BoundedPool(ThreadPoolExecutor):
    """``ThreadPoolExecutor`` with at most ``workers + queued`` calls running or waiting.

    Args:
        workers: threads.
        queued: calls that may wait for a thread; a kiosk has one at a time, and the dispatcher
            cancels what still waits at the answer's deadline.
        name: thread name prefix, seen in a debugger.
    """

    def __init__(self, workers: int, *, queued: int, name: str = "sip2") -> None:
        super().__init__(max_workers=workers, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(workers + queued)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Start the call when there is a place.

        Raises:
            LocalProtocolError: every place is taken; nothing was started, answer "busy" at once.
        """
        if not self._places.acquire(blocking=False):
            message = "pool_full"
            raise LocalProtocolError(message)
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(self._give_back)
        return future

    def _give_back(self, _future: Future[_T]) -> None:
        self._places.release()
