"""Doing a unit of work once more when another transaction was in its way.

Nothing here knows a table. Rules —

- only a method that is one unit of work is retried: the first attempt left nothing behind;
- once, and at once: whoever was in the way has committed by then, and a second conflict is the
  caller's to hear of (a number that is taken stays taken);
- a database that stayed busy for the whole of its time-out is not waited for again: a kiosk is more
  patient than one such wait, not than two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from connector.errors import StorageConflict

__all__ = ["retry_once"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def retry_once(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return the method, called a second time after a ``StorageConflict``."""

    @wraps(work)
    def retried(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return work(*args, **kwargs)
        except StorageConflict as err:
            if err.code == "busy":
                raise
        return work(*args, **kwargs)

    return retried
