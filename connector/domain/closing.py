"""Closing a card: why, how far it is, and what is left of the person at the end.

Nothing here asks an ILS or stores. Rules (A38, decision 20, scenarios 6 and 28) —

- from the first moment nothing is lent and nothing renewed; returns are always taken;
- who withdrew his consent, or asks to be erased, is erased when the last book is settled; of all
  others the account is closed and the data stay for the time of retention;
- somebody whose card was never opened is not kept either way;
- a stronger reason takes the place of a weaker one, never the other way round.
"""

from __future__ import annotations

from enum import StrEnum

from connector.domain.patron import StandingState

__all__ = ["ClosingReason", "ClosingStep", "is_stronger", "standing_after"]


class ClosingReason(StrEnum):
    """Why a card is closed."""

    CONSENT_WITHDRAWN = "consent_withdrawn"
    LEFT = "left"
    EXPIRED = "expired"
    ERASURE_REQUESTED = "erasure_requested"

    @property
    def erases(self) -> bool:
        """Whether the person is erased at the end, without waiting for the time of retention."""
        return self in _ERASING


_ERASING = frozenset({ClosingReason.CONSENT_WITHDRAWN, ClosingReason.ERASURE_REQUESTED})


class ClosingStep(StrEnum):
    """How far a closing is."""

    BEGUN = "begun"
    """The ILS does not know yet."""
    WAITING = "waiting"
    """The ILS lends nothing more; books are still out."""
    CLOSING = "closing"
    """The accounts are being closed."""
    DONE = ""
    """Every account is closed, or nothing was ever to be closed."""


def is_stronger(new: ClosingReason, old: ClosingReason | None) -> bool:
    """Say whether ``new`` takes the place of ``old``: anything of nothing, erasing of keeping."""
    return old is None or (new.erases and not old.erases)


def standing_after(reason: ClosingReason) -> StandingState:
    """Return the state that a person has from the moment when his closing begins."""
    return StandingState.WITHDRAWN if reason.erases else StandingState.EXPIRED
