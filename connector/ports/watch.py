"""Who is told what happens, for figures: calls of an ILS, refusals, wrong PINs.

Nothing here counts; ``connector.sip2.metrics`` does. Rules: what is told is codes of short fixed
sets, never a person, an item or a text; telling takes microseconds, never waits and never raises.
"""

from __future__ import annotations

import threading
from typing import Protocol

from connector.domain.ids import InstitutionId

__all__ = ["ILS_TIME", "NOBODY", "IlsTime", "Watch"]


class Watch(Protocol):
    """What is told."""

    def note_ils(
        self, institution: InstitutionId, operation: str, outcome: str, seconds: float
    ) -> None:
        """An ILS was asked; ``outcome``: ``answered``, ``unavailable``, ``unknown``, ``failed``."""
        ...

    def note_refusal(self, institution: InstitutionId, reason: str, *, enforced: bool) -> None:
        """The policy refused something, or would have (observe mode)."""
        ...

    def note_wrong_pin(self, institution: InstitutionId) -> None:
        """The ILS said that a PIN is wrong."""
        ...


class _Nobody:
    def note_ils(
        self, institution: InstitutionId, operation: str, outcome: str, seconds: float
    ) -> None:
        """Nothing."""

    def note_refusal(self, institution: InstitutionId, reason: str, *, enforced: bool) -> None:
        """Nothing."""

    def note_wrong_pin(self, institution: InstitutionId) -> None:
        """Nothing."""


NOBODY: Watch = _Nobody()
"""For programs that keep no figures."""


class IlsTime(threading.local):
    """Seconds that this thread has waited for ILSs; whoever measures sets it to zero first."""

    seconds = 0.0


ILS_TIME = IlsTime()
"""The one of this process; an exchange is worked off by one thread from beginning to end."""
