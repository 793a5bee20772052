"""Changing a PIN at a registration machine, by the old one, where the ILS itself can do it.

Nothing here knows or keeps a PIN: the ILS holds them, and is the one that compares (decision 15).
Rules: only an ILS that speaks SIP2 with the registration dialect has such a request; an enrolled
pupil is named by the ILS's own number, and his card must be open; digits out of his identity number
are no PIN; nothing but the card and the two PINs goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from connector.domain.identity import normalise_scanned
from connector.domain.ids import InstitutionId
from connector.domain.patron import PatronStanding, StandingState
from connector.domain.wire import WireMessage
from connector.ports.ils import Capability, ExchangeContext, IlsAdapter
from connector.ports.store import PatronRegister

__all__ = ["PinChange", "PinService"]

_NEEDED = frozenset({Capability.FORWARD, Capability.UPSERT_PATRON})
"""What an ILS with that dialect claims, and no other does."""
_GOES_ON = frozenset({"AO", "AA", "AD", "KD", "XK"})


class PinChange(StrEnum):
    """What became of it."""

    CHANGED = "changed"
    REFUSED = "refused"
    """The ILS said no: the old PIN is wrong, or the new one does not please it."""
    AT_DESK = "at_desk"


@dataclass(frozen=True, slots=True)
class PinService:
    """Changes of PINs at every library of the process."""

    register: PatronRegister
    adapters: Mapping[InstitutionId, IlsAdapter]

    def change(
        self, institution: InstitutionId, scanned: str, new_pin: str, context: ExchangeContext
    ) -> PinChange:
        """Hand the terminal's request on to the ILS.

        Args:
            context: with the terminal's message and the old PIN.

        Raises:
            AdapterUnavailable: nothing was sent.
            OutcomeUnknown: it was sent, and no answer came.
        """
        adapter, request = self.adapters[institution], context.request
        if request is None or not (scanned and new_pin and context.pin):
            return PinChange.AT_DESK
        if not adapter.capabilities >= _NEEDED:
            return PinChange.AT_DESK
        standing = self.register.resolve(normalise_scanned(scanned), institution)
        patron = scanned
        if standing is not None:
            if not self._may_change(standing, new_pin):
                return PinChange.AT_DESK
            patron = str(standing.ils_patron)
        message = WireMessage(request.code, request.fixed, _only_pins(request, patron))
        answer = adapter.forward(message, replace(context, request=message))
        is_done = answer is not None and answer.get("OK").strip() == "1"
        return PinChange.CHANGED if is_done else PinChange.REFUSED

    def _may_change(self, standing: PatronStanding, new_pin: str) -> bool:
        if (
            standing.is_retired
            or standing.ils_patron is None
            or standing.state is not StandingState.ACTIVE
        ):
            return False
        return new_pin not in self.register.fetch_personal(standing.patron_id).id_number


def _only_pins(request: WireMessage, patron: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (tag, patron if tag == "AA" else value) for tag, value in request.fields if tag in _GOES_ON
    )
