"""Opening approved cards in the library's ILS.

Nothing here reviews. Rules (A03, A24, decisions 15, 19, 21) —

- no consent, no word to the ILS: it is checked before a card number is taken, and again before the
  account is made, at the first attempt and at every other;
- an account that the ILS has already is never touched: ``existing_card``, a task for staff;
- the ILS knows our account by our own id, so that an attempt that broke off is taken up again and
  never makes a second one;
- a PIN is random, shown once, and kept by the ILS alone;
- a row that fails stays ``activating`` with a code, and the others go on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import Identifier, IlsPatronId
from connector.domain.patron import StandingState
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    NotFound,
    OutcomeUnknown,
    StorageConflict,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import CARD_TAKEN, Application, EnrolmentStore
from connector.ports.events import Event, EventSink, NoEvents
from connector.ports.ils import BlockReason, Capability, IlsAdapter, PatronInput
from connector.ports.store import PatronRegister, PersonalData
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["Activation", "ActivationOutcome", "ProvisioningService"]

_log = get_logger(__name__)

_GIVE_UP_AFTER = 3
_NUMBERS_TO_TRY = 3


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
        error: short code of a failure.
    """

    application: Application
    outcome: ActivationOutcome
    card: str = ""
    pin: str = field(default="", repr=False)
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProvisioningService:
    """Opens the cards of one library."""

    adapter: IlsAdapter
    store: EnrolmentStore
    register: PatronRegister
    rules: EnrolmentRules
    now: Clock
    events: EventSink = field(default_factory=NoEvents)

    def activate(
        self,
        applications: Sequence[Application],
        *,
        actor: str,
        on_progress: Callable[[int, int], None] | None = None,
        on_result: Callable[[Activation], None] | None = None,
    ) -> tuple[Activation, ...]:
        """Open the cards of approved applications; running it again takes up what failed.

        After three failures in a row because the ILS is away, or one because it refuses our
        credentials, the rest is not tried.

        Args:
            on_progress: called after each with how many are done and how many there are.
            on_result: called with each result at once: a PIN exists nowhere else, so who hands
                PINs out writes each down before the next card is opened.
        """
        results: list[Activation] = []
        away = 0
        for application in applications:
            if away >= _GIVE_UP_AFTER:
                results.append(Activation(application, ActivationOutcome.NOT_TRIED))
            else:
                result, error = self._activate_one(application, actor)
                results.append(result)
                away = _count_away(away, error)
            if on_result is not None:
                on_result(results[-1])
            if on_progress is not None:
                on_progress(len(results), len(applications))
        opened = sum(result.outcome is ActivationOutcome.ACTIVATED for result in results)
        failed = sum(result.outcome is ActivationOutcome.FAILED for result in results)
        _log.info(
            "cards.opened",
            institution=self.rules.institution,
            adapter=self.adapter.name,
            rows=len(results),
            created=opened,
            failed=failed,
        )
        return tuple(results)

    def block_withdrawn(self, applications: Sequence[Application]) -> int:
        """Block in the ILS the cards whose consent was withdrawn; return how many.

        One whose account was never made, or whose making was never confirmed, is looked for by
        our own id.
        """
        blocked = 0
        for application in applications:
            standing = self.register.find_standing(application.patron_id, self.rules.institution)
            if standing is None or standing.state is not StandingState.WITHDRAWN:
                continue
            card = standing.ils_patron
            if card is None and Capability.FIND_PATRON in self.adapter.capabilities:
                card = self.adapter.find_patron(external_id=application.patron_id)
            if card is not None:
                blocked += self._block(card)
        return blocked

    def _activate_one(
        self, application: Application, actor: str
    ) -> tuple[Activation, AdapterError | None]:
        current = self.store.fetch_application(application.application_id)
        if current is None:
            return Activation(application, ActivationOutcome.GONE), None
        if current.state is ApplicationState.ACTIVE:
            self._repair(current)
            return Activation(current, ActivationOutcome.ALREADY_ACTIVE, current.card), None
        if current.state not in _READY:
            return Activation(current, ActivationOutcome.NOT_APPROVED), None
        if not self._has_consent(current):
            return self._send_back(current, actor), None
        for _ in range(_NUMBERS_TO_TRY):
            begun = self.store.begin_activation(
                current.application_id, cards=self.rules.cards, actor=actor, now=self.now()
            )
            if begun is None:
                return Activation(current, ActivationOutcome.NOT_TRIED, error="in_progress"), None
            current = begun
            try:
                return self._open_card(current, actor), None
            except AdapterError as err:
                failure, error = self._fail(current, _code_of(err)), err
                if failure.error != CARD_TAKEN:
                    return failure, error
            except (NotFound, StorageConflict) as err:
                return self._fail(current, _CODES[type(err)]), None
        return failure, error

    def _repair(self, application: Application) -> None:
        """Finish an activation that broke off between its last two steps."""
        standing = self.register.find_standing(application.patron_id, self.rules.institution)
        if standing is not None and standing.state is StandingState.INACTIVE:
            self._make_active(application, IlsPatronId(application.card))

    def _open_card(self, application: Application, actor: str) -> Activation:
        known = self.register.fetch_personal(application.patron_id)
        if self._has_foreign_account(application, known):
            self._move(application, ApplicationState.EXISTING_CARD, actor, "account_in_ils")
            self._tell("enrolment.existing_card", application)
            return Activation(application, ActivationOutcome.EXISTING_CARD)
        if not self._has_consent(application):
            return self._send_back(application, actor)
        pin = "".join(secrets.choice("0123456789") for _ in range(self.rules.pin_digits))
        opened = self.adapter.upsert_patron(self._describe(application, known, pin))
        patron_id, card = application.patron_id, opened.ils_patron
        self.register.add_identifier(patron_id, Identifier("card", card))
        self.register.set_account(
            patron_id, self.rules.institution, card, expires=self.rules.expiry(self.now())
        )
        moved = self._move(application, ApplicationState.ACTIVE, actor, "")
        if not moved and not self._has_consent(application):
            self._block(card)
            return Activation(application, ActivationOutcome.NO_CONSENT)
        self._make_active(application, card)
        self._tell("enrolment.activated", application)
        is_known = opened.created or self._is_pin(card, pin)
        return Activation(application, ActivationOutcome.ACTIVATED, card, pin if is_known else "")

    def _make_active(self, application: Application, card: IlsPatronId) -> None:
        """Make the card valid at kiosks, unless its consent was withdrawn this very moment."""
        expires = self.rules.expiry(self.now())
        self.register.set_state(application.patron_id, StandingState.ACTIVE, expires=expires)
        if not self._has_consent(application):
            self.register.set_state(application.patron_id, StandingState.WITHDRAWN)
            self._block(card)

    def _block(self, card: IlsPatronId) -> bool:
        if Capability.BLOCK_PATRON not in self.adapter.capabilities:
            return False
        self.adapter.block_patron(card, BlockReason.CONSENT_WITHDRAWN)
        return True

    def _has_foreign_account(self, application: Application, known: PersonalData) -> bool:
        """Say whether the ILS has an account of this child that is not ours (decision 21)."""
        numbers = _numbers_of(known)
        if Capability.FIND_PATRON in self.adapter.capabilities:
            if self.adapter.find_patron(external_id=application.patron_id) is not None:
                return False
            return bool(numbers) and self.adapter.find_patron(identifiers=numbers) is not None
        if Capability.FETCH_PATRON not in self.adapter.capabilities:
            return False
        for number in numbers.values():
            facts = self.adapter.fetch_patron(IlsPatronId(number))
            if facts.valid:
                return facts.ils_patron != application.card
        return False

    def _describe(self, application: Application, known: PersonalData, pin: str) -> PatronInput:
        schools = {
            school.school_id: school.name
            for school in self.store.list_schools(application.institution)
        }
        numbers = _numbers_of(known)
        return PatronInput(
            external_id=application.patron_id,
            card=IlsPatronId(application.card),
            name=known.name,
            category=self.rules.category,
            home_branch=self.rules.home_branch,
            birth_date=known.birth_date,
            expires=self.rules.expiry(self.now()),
            phone=known.phone or known.guardian_phone,
            pin=pin,
            school=schools.get(application.school_id, ""),
            class_name=application.class_name,
            identifiers={
                kind: value for kind, value in numbers.items() if kind in self.rules.numbers_for_ils
            },
        )

    def _has_consent(self, application: Application) -> bool:
        return any(
            consent.scope is ConsentScope.CARD and consent.holds
            for consent in self.store.list_consents(application.patron_id)
        )

    def _send_back(self, application: Application, actor: str) -> Activation:
        if application.state is ApplicationState.ACTIVATING:
            self._move(application, ApplicationState.LIBRARY_APPROVED, actor, "no_consent")
        return Activation(application, ActivationOutcome.NO_CONSENT)

    def _is_pin(self, card: IlsPatronId, pin: str) -> bool:
        if Capability.VERIFY_PIN not in self.adapter.capabilities:
            return False
        try:
            return self.adapter.verify_pin(card, pin)
        except AdapterError:
            return False

    def _fail(self, application: Application, code: str) -> Activation:
        self.store.save_error(application.application_id, code, now=self.now())
        return Activation(application, ActivationOutcome.FAILED, error=code)

    def _move(
        self, application: Application, new: ApplicationState, actor: str, reason: str
    ) -> bool:
        return self.store.move_application(
            application.application_id,
            ApplicationState.ACTIVATING,
            new,
            actor=actor,
            now=self.now(),
            reason=reason,
        )

    def _tell(self, name: str, application: Application) -> None:
        self.events.track(
            Event(
                name,
                self.now(),
                self.rules.institution,
                {"application": application.application_id, "attempts": application.attempts},
            )
        )


_READY = frozenset({ApplicationState.LIBRARY_APPROVED, ApplicationState.ACTIVATING})
_CODES: dict[type[Exception], str] = {
    AdapterUnavailable: "ils_unavailable",
    OutcomeUnknown: "outcome_unknown",
    AdapterAuthFailed: "ils_credentials",
    UnsupportedOperation: "ils_cannot",
    NotFound: "person_gone",
    StorageConflict: "number_taken",
}


def _code_of(error: AdapterError) -> str:
    if error.code in {CARD_TAKEN, "duplicate_identifier"}:
        return error.code
    return _CODES.get(type(error), "ils_error")


def _count_away(before: int, error: AdapterError | None) -> int:
    if isinstance(error, AdapterAuthFailed):
        return _GIVE_UP_AFTER
    return before + 1 if isinstance(error, AdapterUnavailable | OutcomeUnknown) else 0


def _numbers_of(known: PersonalData) -> dict[str, str]:
    return {"id_card": known.id_number} if known.id_number else {}
