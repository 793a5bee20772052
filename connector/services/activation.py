"""What became of one application that was to be opened, and the codes of what can go wrong.

Nothing here does it; ``opening`` does. Rule: a PIN is in no ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    ConnectorError,
    NotFound,
    OutcomeUnknown,
    StorageConflict,
    UnsupportedOperation,
)
from connector.ports.enrolment import CARD_TAKEN, OUTCOME_UNKNOWN, Application

__all__ = ["TAKEN", "Activation", "ActivationOutcome", "GiveOut", "code_of"]

TAKEN = frozenset({CARD_TAKEN, "duplicate_identifier"})
"""Codes of an ILS that has a number already, be it ours or another account's."""


class ActivationOutcome(StrEnum):
    """What became of one application."""

    ACTIVATED = "activated"
    ALREADY_ACTIVE = "already_active"
    NO_CONSENT = "no_consent"
    NOT_APPROVED = "not_approved"
    EXISTING_CARD = "existing_card"
    GONE = "gone"
    FAILED = "failed"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class Activation:
    """The result for one application.

    Attributes:
        pin: given once, here; empty when an earlier attempt had set one that nobody knows, so that
            the desk has to set it anew.
        is_pin_new: an earlier attempt may have given out a PIN for this card; this one replaces it.
        error: short code of a failure.
    """

    application: Application
    outcome: ActivationOutcome
    card: str = ""
    pin: str = field(default="", repr=False)
    is_pin_new: bool = False
    error: str = ""


GiveOut = Callable[[Activation], bool]
"""Writes the PIN of an account that was made, and says whether it is on the disk."""

_CODES: Mapping[type[ConnectorError], str] = {
    AdapterUnavailable: "ils_unavailable",
    OutcomeUnknown: OUTCOME_UNKNOWN,
    AdapterAuthFailed: "ils_credentials",
    UnsupportedOperation: "ils_cannot",
    NotFound: "person_gone",
    StorageConflict: "number_taken",
}


def code_of(error: ConnectorError) -> str:
    """Return the short code under which a failure is kept with the application."""
    if isinstance(error, AdapterError) and error.code in TAKEN:
        return error.code
    return _CODES.get(type(error), "ils_error")
