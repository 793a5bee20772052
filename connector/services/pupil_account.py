"""One pupil's account in the library's ILS: what is asked and told about it, with repeats.

Nothing here stores or decides who may have a card. Rules (decision 21, scenario 29) —

- the ILS knows our account by our own id: a number that "is taken" may be taken by ourselves, and
  there is never a second account;
- after an unknown outcome the ILS is asked for our account before it is told anything again;
- what is not ours is found, and never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from connector.domain.ids import IlsPatronId, PatronId
from connector.domain.patron import EXCHANGED_ACCOUNT, PatronFacts
from connector.errors import AdapterError, OutcomeUnknown, UnexpectedResponse
from connector.ports.enrolment import Application
from connector.ports.ils import BlockReason, Capability, IlsAdapter, PatronInput, PatronUpsert
from connector.ports.store import PatronRegister, PersonalData
from connector.services.activation import TAKEN
from connector.services.pacing import Pacing

__all__ = ["PupilAccount", "numbers_of", "numbers_to_ask"]

_CREATES_TO_TRY = 3
_OUR_BLOCKS = (BlockReason.CONSENT_WITHDRAWN, BlockReason.CARD_CLOSING)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PupilAccount:
    """What one attempt says to the ILS.

    Attributes:
        may_go_on: asked before anything is repeated, such as whether the consent still holds.
    """

    adapter: IlsAdapter
    pacing: Pacing
    patron_id: PatronId
    may_go_on: Callable[[], bool]

    def find_ours(self) -> IlsPatronId | None:
        """Return the account with our id; None where the ILS cannot be asked so."""
        if Capability.FIND_PATRON not in self.adapter.capabilities:
            return None
        return self._ask(lambda: self.adapter.find_patron(external_id=self.patron_id))

    def has_other(self, numbers: Mapping[str, str], *, card: str) -> bool:
        """Say whether the ILS has an account of the child that is not ours.

        An identity number goes to the library's own ILS for this question alone, also where it is
        not to be kept there.

        Args:
            card: the number that ours would have.
        """
        capabilities = self.adapter.capabilities
        if Capability.FIND_PATRON in capabilities:
            if not numbers or self.find_ours() is not None:
                return False
            found = self._ask(lambda: self.adapter.find_patron(identifiers=numbers))
            return found is not None and found != card
        if Capability.FETCH_PATRON not in capabilities:
            return False
        for number in map(IlsPatronId, numbers.values()):
            facts = self._ask(partial(self.adapter.fetch_patron, number))
            if facts.valid:
                return facts.ils_patron != card and not self._is_echo(facts, number, card)
        return False

    def _is_echo(self, facts: PatronFacts, number: IlsPatronId, card: str) -> bool:
        """Say whether an ILS that tells back whatever number it was asked with means our card."""
        if facts.ils_patron != number:
            return False
        ours = self._ask(partial(self.adapter.fetch_patron, IlsPatronId(card)))
        return ours.valid and bool(ours.name) and ours.name == facts.name

    def create(self, described: PatronInput) -> PatronUpsert:
        """Make the account, or change the one that an earlier attempt made.

        Raises:
            AdapterError: it is not made, or nobody knows.
        """
        failure: AdapterError
        for attempt in range(1, _CREATES_TO_TRY + 1):
            try:
                return self.pacing.ask(
                    lambda: self.adapter.upsert_patron(described), may_repeat=self.may_go_on
                )
            except OutcomeUnknown as err:
                failure, ours = err, self.find_ours()
                if ours == described.card and self.is_pin(ours, described.pin or ""):
                    return PatronUpsert(ours, created=True)
                if ours is None:
                    if Capability.FIND_PATRON not in self.adapter.capabilities:
                        raise
                    self.pacing.wait_before(attempt)
            except UnexpectedResponse as err:
                failure = err
                if err.code not in TAKEN or self.find_ours() is None:
                    raise
            if not self.may_go_on():
                break
        raise failure

    def is_pin(self, card: IlsPatronId, pin: str) -> bool:
        """Say whether the ILS confirms a PIN."""
        if Capability.VERIFY_PIN not in self.adapter.capabilities:
            return False
        try:
            return self._ask(partial(self.adapter.verify_pin, card, pin))
        except AdapterError:
            return False

    def block(self, card: IlsPatronId) -> None:
        """Block a card whose consent was withdrawn, where the ILS can."""
        if Capability.BLOCK_PATRON in self.adapter.capabilities:
            self.adapter.block_patron(card, BlockReason.CONSENT_WITHDRAWN)

    def lift_blocks(self, card: IlsPatronId) -> None:
        """Undo the blocks that we set when the card was closed before (scenario 28)."""
        if Capability.UNBLOCK_PATRON not in self.adapter.capabilities:
            return
        for reason in _OUR_BLOCKS:
            self._ask(partial(self.adapter.unblock_patron, card, reason))

    def _ask(self, call: Callable[[], _T]) -> _T:
        return self.pacing.ask(call, may_repeat=self.may_go_on, is_question=True)


def numbers_to_ask(
    register: PatronRegister, application: Application, known: PersonalData
) -> dict[str, str]:
    """Return the numbers by which the library's own ILS may know the child already: his identity
    number, and an older card of this library that was exchanged before (decision 21).
    """
    numbers = numbers_of(known)
    standing = register.find_standing(application.patron_id, application.institution)
    if standing is not None and standing.account_kind == EXCHANGED_ACCOUNT and standing.ils_patron:
        numbers["card"] = standing.ils_patron
    return numbers


def numbers_of(known: PersonalData) -> dict[str, str]:
    """Return the numbers that an ILS may keep of a person, by kind."""
    return {"id_card": known.id_number} if known.id_number else {}
