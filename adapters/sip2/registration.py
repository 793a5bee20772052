"""Opening accounts in an ILS that speaks the Chinese registration dialect: 81/82, 91/92, 85/86.

Nothing here decides who gets a card. Rules —

- this ILS keeps no external id of ours; the card number, from our own range, says whose the account
  is, together with the name: a number that is there under another name is another's
  (``duplicate_card``), and is never changed;
- before anything is told, 91 asks for the card and for the identity number; so it is after an
  outcome that nobody knows, since ``upsert_patron`` is then called again;
- 81 with XK 11 creates, 02 changes; 14 sets the PIN of an account that is there already, where the
  ILS lets us without the old one: the caller asks (63) whether it is right;
- what the ILS does not need is not sent: no sex, no ethnicity, no address, no deposit.

Source: the drivers and the server side that ``connector.sip2.dialects`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

from adapters.sip2.base import Budget
from adapters.sip2.patrons import Sip2Patrons
from connector.domain.identity import normalise_scanned
from connector.domain.ids import IlsPatronId
from connector.domain.name_match import fold_name
from connector.domain.patron import PatronFacts
from connector.errors import UnexpectedResponse, UnsupportedOperation
from connector.ports.ils import Capability, PatronInput, PatronUpsert
from connector.sip2.codec import Message

__all__ = ["KIOSK_DIALECT", "Sip2Registration"]

KIOSK_DIALECT: Final = "chinese-kiosk"
_CREATE, _CHANGE, _CHANGE_PIN = "11", "02", "14"
_BY_CARD, _BY_NUMBER, _CARDS_OF = "0", "1", "13"
_SEPARATOR: Final = "]]"


class Sip2Registration(Sip2Patrons):
    """Accounts, where ``provisioning`` is ``chinese-kiosk``."""

    def fetch_patron(self, identifier: IlsPatronId, pin: str | None = None) -> PatronFacts:
        """Return what the ILS says about a patron; by an identity number that 63 does not take, 85
        finds the card first.
        """
        facts = super().fetch_patron(identifier, pin)
        if facts.valid or not self._can_find(identifier):
            return facts
        budget = self.budget()
        cards = self._find_cards(identifier, budget)
        return self.read_patron(cards[0], budget, pin=pin) if cards else facts

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Create the account with this card number, or change it where it is ours.

        Raises:
            UnexpectedResponse: ``duplicate_card``, ``duplicate_identifier``: somebody else has the
                number; ``registration_refused``: the ILS said no; ``registration_unclear``: it said
                neither yes nor no.
            UnsupportedOperation: ``adopt``.
        """
        self.require(Capability.UPSERT_PATRON)
        if patron.adopt is not None:
            raise UnsupportedOperation(
                self.name, self.institution_id, Capability.ADOPT_PATRON.value
            )
        budget = self.budget()
        if not self._exists(budget, _BY_CARD, {"AA": patron.card}):
            number = patron.identifiers.get("id_card", "")
            if number and self._exists(budget, _BY_NUMBER, {"XO": number}):
                raise self._fail("duplicate_identifier")
            if self._register(_CREATE, patron, budget):
                return PatronUpsert(patron.card, created=True)
            if not self._exists(budget, _BY_CARD, {"AA": patron.card}):
                raise self._fail("registration_refused")
        self._require_same(patron, budget)
        if not self._register(_CHANGE, patron, budget):
            raise self._fail("registration_refused")
        if patron.pin is not None:
            self._change_pin(patron.card, patron.pin, budget)
        return PatronUpsert(patron.card, created=False)

    # -- questions ---------------------------------------------------------------------------------

    def _exists(self, budget: Budget, operation: str, values: Mapping[str, str]) -> bool:
        """Ask whether a number is somebody's (91)."""
        answer = self.ask("91", budget, values={**values, "XK": operation})
        said = answer.get("AC").strip()
        if said not in {"0", "1"}:
            raise self._fail("registration_unclear")
        return said == "1"

    def _can_find(self, identifier: IlsPatronId) -> bool:
        return (
            self.settings.provisioning == KIOSK_DIALECT
            and self.settings.features.card_by_number
            and any(each.kind == "id_card" for each in normalise_scanned(identifier))
        )

    def _find_cards(self, number: str, budget: Budget) -> tuple[IlsPatronId, ...]:
        """Return the cards of who has an identity number (85)."""
        answer = self.ask("85", budget, values={"XO": number, "XK": _CARDS_OF})
        found = (card.strip() for card in answer.get("OX").split(_SEPARATOR))
        return tuple(IlsPatronId(card) for card in found if card)

    def _require_same(self, patron: PatronInput, budget: Budget) -> None:
        """Raise ``duplicate_card`` unless the account with our number is the pupil's."""
        facts = self.read_patron(patron.card, budget)
        is_same = facts.valid and fold_name(facts.name) == fold_name(patron.name)
        if is_same and facts.birth_date is not None and patron.birth_date is not None:
            is_same = facts.birth_date == patron.birth_date
        if not is_same:
            raise self._fail("duplicate_card")

    # -- what is told ------------------------------------------------------------------------------

    def _register(self, operation: str, patron: PatronInput, budget: Budget) -> bool:
        """Create or change (81); say whether the ILS did it."""
        values = {
            "AA": patron.card,
            "AE": patron.name,
            "AM": patron.home_branch or self.settings.location,
            "BP": patron.phone,
            "MP": patron.phone,
            "XO": patron.identifiers.get("id_card", ""),
            "XT": patron.category,
            "XH": _day(patron.birth_date),
            "XD": _day(self.now().astimezone(self.dates.zone).date()),
            "XE": _day(patron.expires),
            "XF": " ".join(filter(None, (patron.school, patron.class_name))),
            "XK": operation,
        }
        pin = patron.pin if operation == _CREATE else None
        return self._tell(values, pin, budget)

    def _change_pin(self, card: IlsPatronId, pin: str, budget: Budget) -> bool:
        return self._tell({"AA": card, "KD": pin, "XK": _CHANGE_PIN}, "", budget)

    def _tell(self, values: Mapping[str, str], pin: str | None, budget: Budget) -> bool:
        message = self.requests.build(
            "81", self.now(), values={tag: value or None for tag, value in values.items()}, pin=pin
        )
        answer = self.exchange(message, timeout_s=budget.left_s, changes=True)
        return self._is_done(answer)

    def _is_done(self, answer: Message) -> bool:
        said = answer.get("OK").strip()
        if said not in {"0", "1"}:
            raise self._fail("registration_unclear")
        return said == "1"

    def _fail(self, code: str) -> UnexpectedResponse:
        return UnexpectedResponse(self.name, self.institution_id, code)


def _day(day: date | None) -> str:
    return "" if day is None else day.strftime("%Y%m%d")
