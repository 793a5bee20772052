"""Faults for a fake ILS: what goes wrong with one request, and the script that says when.

Nothing here knows an operation. Rules: a fault happens once, in the order in which it was scripted;
``always`` stays until it is taken away; waiting is by an event of the test, so that no test sleeps.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from connector.domain.ids import Barcode, IlsPatronId

__all__ = ["Call", "Fault", "FaultKind", "Script"]


class FaultKind(StrEnum):
    """What goes wrong."""

    NONE = "none"
    """Nothing, but it may be slow."""
    NOT_SENT = "not_sent"
    """``AdapterUnavailable``; nothing was done."""
    NO_ANSWER = "no_answer"
    """``OutcomeUnknown``; nothing was done."""
    DONE_NO_ANSWER = "done_no_answer"
    """``OutcomeUnknown``, and yet it was done."""
    DONE_LATER_NO_ANSWER = "done_later_no_answer"
    """``OutcomeUnknown``; it is done when the effect lands."""
    REFUSED = "refused"
    """An answer of "no"; nothing was done."""
    REFUSED_DONE_LATER = "refused_done_later"
    """An answer of "no"; it is done all the same when the effect lands (seen on a live ILS)."""
    AUTH_FAILED = "auth_failed"
    """``AdapterAuthFailed``."""
    UNEXPECTED = "unexpected"
    """``UnexpectedResponse``."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        code, message: of a refusal, or the code of the error.
        gate: the call waits for it (at most ``patience_s``): before the effect, or after it.
        lands_after: for an effect that is done later: how long after the call, by the fake's own
            clock; None = when the test calls ``land()``.
    """

    kind: FaultKind = FaultKind.NONE
    code: str = "ils_says_no"
    message: str = ""
    gate: threading.Event | None = None
    gate_after: bool = False
    lands_after: timedelta | None = None
    patience_s: float = 30.0

    def wait(self, *, after: bool) -> None:
        """Wait for the gate if it stands here."""
        if (
            self.gate is not None
            and self.gate_after is after
            and not self.gate.wait(self.patience_s)
        ):
            raise TimeoutError("the gate of a scripted fault never opened")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that reached the fake ILS, for assertions."""

    operation: str
    patron: IlsPatronId | None = None
    barcode: Barcode | None = None


@dataclass(slots=True)
class Script:
    """Which fault comes next, by operation; ``*`` stands for any."""

    _once: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    _always: dict[str, Fault] = field(default_factory=dict)

    def add(self, operation: str, *faults: Fault) -> None:
        """Queue faults for the next calls of an operation."""
        self._once[operation].extend(faults)

    def set_always(self, operation: str, fault: Fault | None) -> None:
        """Let every call fail so; None ends it."""
        if fault is None:
            self._always.pop(operation, None)
        else:
            self._always[operation] = fault

    def take(self, operation: str) -> Fault:
        """Return the fault of this call."""
        for name in (operation, "*"):
            if self._once[name]:
                return self._once[name].popleft()
        return self._always.get(operation) or self._always.get("*") or Fault()
