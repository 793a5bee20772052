"""What became of one application that is opened by a file, in either of the two steps.

Nothing here does it; ``handoff`` does. Rule: what an ILS says of a row may name people, so that it
is in no ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from connector.ports.enrolment import Application
from connector.services.activation import Activation, ActivationOutcome

__all__ = ["HandoffOutcome", "HandoffResult", "from_activation"]


class HandoffOutcome(StrEnum):
    """What became of one application in one of the two steps."""

    HANDED_OFF = "handed_off"
    HANDED_OFF_BEFORE = "handed_off_before"
    """It stands in an earlier file."""
    OPENED = "opened"
    ALREADY_ACTIVE = "already_active"
    NOT_THERE_YET = "not_there_yet"
    """The ILS does not know the card: the file is not loaded, or the row was not taken."""
    OTHER_NAME = "other_name"
    """The ILS has the card under another name: a person has to look."""
    REJECTED = "rejected"
    CLOSING = "closing"
    """It was withdrawn after the export: the ILS's staff have to close what they loaded."""
    NO_CONSENT = "no_consent"
    EXISTING_CARD = "existing_card"
    NOT_APPROVED = "not_approved"
    NOT_HANDED_OFF = "not_handed_off"
    GONE = "gone"
    FAILED = "failed"
    NOT_TRIED = "not_tried"


_OF_ACTIVATION: Mapping[ActivationOutcome, HandoffOutcome] = {
    ActivationOutcome.ACTIVATED: HandoffOutcome.OPENED,
    **{
        outcome: HandoffOutcome(outcome.value)
        for outcome in ActivationOutcome
        if outcome is not ActivationOutcome.ACTIVATED
    },
}


@dataclass(frozen=True, slots=True)
class HandoffResult:
    """The result for one application.

    Attributes:
        is_again: it stood in an earlier file too; a PIN of that one is no longer right.
        error: short code of a failure; with ``rejected`` the ILS's own words.
    """

    application: Application
    outcome: HandoffOutcome
    card: str = ""
    is_again: bool = False
    error: str = field(default="", repr=False)


def from_activation(result: Activation) -> HandoffResult:
    """Return what the steps that every card takes said of one application."""
    return HandoffResult(
        result.application, _OF_ACTIVATION[result.outcome], result.card, error=result.error
    )
