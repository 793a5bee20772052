"""Opening one approved card in the library's ILS.

Nothing here knows of other cards; ``provisioning`` runs many. Rules (A03, A24, decisions 15, 19,
21) —

- no consent, no word to the ILS: it is checked before a card number is taken, before every request
  that is repeated, before the PIN is given out, and when the card is open;
- an account that the ILS has already is never touched: ``existing_card``, a task for staff;
- the ILS knows our account by our own id: an attempt that broke off is taken up again, a number
  that "is taken" may be taken by ourselves, and there is never a second account;
- a PIN is random, given out before the card counts as open, and kept by the ILS alone: a process
  that is killed in between sets it anew, and says so.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from connector.domain.consent import ConsentVerdict
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, PatronId
from connector.domain.patron import EXCHANGED_ACCOUNT, PatronFacts, StandingState
from connector.errors import (
    AdapterError,
    NotFound,
    OutcomeUnknown,
    StorageConflict,
    UnexpectedResponse,
)
from connector.ports.clock import Clock
from connector.ports.enrolment import CARD_TAKEN, Application, EnrolmentStore, School
from connector.ports.events import Event, EventSink, NoEvents
from connector.ports.ils import BlockReason, Capability, IlsAdapter, PatronInput, PatronUpsert
from connector.ports.schools import ClassMember
from connector.ports.store import PatronRegister, PersonalData
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.activation import (
    TAKEN,
    Activation,
    ActivationOutcome,
    GiveOut,
    code_of,
)
from connector.services.consent_check import check_consent
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.pacing import Pacing

__all__ = ["CardOpening", "numbers_to_ask"]

_NUMBERS_TO_TRY = 3
_CREATES_TO_TRY = 3
_S = ApplicationState
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CardOpening:
    """Opens cards one by one; safe to call from several threads.

    Attributes:
        schools: the library's schools by id.
        classes: the present classes of those whose cards are opened.
    """

    adapter: IlsAdapter
    store: EnrolmentStore
    register: PatronRegister
    rules: EnrolmentRules
    now: Clock
    pacing: Pacing
    tasks: TaskStore | None = None
    events: EventSink = field(default_factory=NoEvents)
    schools: Mapping[str, School] = field(default_factory=dict)
    classes: Mapping[PatronId, ClassMember] = field(default_factory=dict)

    def open(
        self, application: Application, *, actor: str, give_out: GiveOut
    ) -> tuple[Activation, AdapterError | None]:
        """Open one card; return the result, and the error of the ILS that it failed by.

        Args:
            give_out: called once the account is there with its PIN, before the card counts as open.
        """
        current = self.store.fetch_application(application.application_id)
        if current is None:
            return Activation(application, ActivationOutcome.GONE), None
        try:
            settled = self._find_settled(current, actor)
        except AdapterError as err:
            return Activation(current, ActivationOutcome.FAILED, error=code_of(err)), err
        if settled is not None:
            return settled, None
        for _ in range(_NUMBERS_TO_TRY):
            begun = self.store.begin_activation(
                current.application_id, cards=self.rules.cards, actor=actor, now=self.now()
            )
            if begun is None:
                return _in_progress(current), None
            current = begun
            failure, error = self._try_once(current, actor, give_out)
            if error is None or failure.error != CARD_TAKEN:
                break
        return failure, error

    def _find_settled(self, current: Application, actor: str) -> Activation | None:
        """Return what there is to say of an application for which no card is to be opened."""
        if current.state is _S.ACTIVE:
            self._repair(current)
            return Activation(current, ActivationOutcome.ALREADY_ACTIVE, current.card)
        if current.state not in _READY:
            return Activation(current, ActivationOutcome.NOT_APPROVED)
        if not self._has_consent(current):
            return self._send_back(current, actor)
        if current.state is _S.EXISTING_CARD and not self._is_free_again(current, actor):
            return Activation(current, ActivationOutcome.EXISTING_CARD)
        return None

    def _try_once(
        self, application: Application, actor: str, give_out: GiveOut
    ) -> tuple[Activation, AdapterError | None]:
        try:
            return self._open_card(application, actor, give_out), None
        except AdapterError as err:
            if not self._has_consent(application):
                return self._send_back(application, actor), None
            return self._fail(application, code_of(err)), err
        except (NotFound, StorageConflict) as err:
            return self._fail(application, code_of(err)), None

    def _open_card(self, application: Application, actor: str, give_out: GiveOut) -> Activation:
        known = self.register.fetch_personal(application.patron_id)
        if self._has_foreign_account(application, known):
            return self._leave_to_staff(application, actor)
        if not self._has_consent(application):
            return self._send_back(application, actor)
        expires = self.rules.expiry_for(
            self.now(), self.classes.get(application.patron_id), self.schools
        )
        pin = "".join(secrets.choice("0123456789") for _ in range(self.rules.pin_digits))
        opened = self._create(application, self._describe(application, known, pin, expires))
        card = opened.ils_patron
        is_known = opened.created or self._is_pin(card, pin)
        done = Activation(
            application,
            ActivationOutcome.ACTIVATED,
            card,
            pin if is_known else "",
            is_pin_new=not opened.created,
        )
        if not self._has_consent(application):
            self._block(card)
            return self._send_back(application, actor)
        if not opened.created:
            self._lift_blocks(application, card)
        if not give_out(done):
            return self._fail(application, "pin_not_written")
        return self._finish(done, expires, actor)

    def _finish(self, done: Activation, expires: date | None, actor: str) -> Activation:
        application, card = done.application, IlsPatronId(done.card)
        moved = self.store.finish_activation(
            application.application_id,
            attempt=application.attempts,
            card=card,
            expires=expires,
            actor=actor,
            now=self.now(),
        )
        if not self._has_consent(application):
            self._undo(application, card)
            return Activation(application, ActivationOutcome.NO_CONSENT)
        if not moved:
            return _in_progress(application)
        self._tell("enrolment.activated", application)
        return done

    # --- talking to the ILS

    def _create(self, application: Application, described: PatronInput) -> PatronUpsert:
        """Make the account, or change the one that an earlier attempt made.

        After an unknown outcome, and when a number is said to be taken, the ILS is asked for our
        own account first.
        """
        may_repeat = self._holder_of(application)
        failure: AdapterError
        for attempt in range(1, _CREATES_TO_TRY + 1):
            try:
                return self.pacing.ask(
                    lambda: self.adapter.upsert_patron(described), may_repeat=may_repeat
                )
            except OutcomeUnknown as err:
                failure, ours = err, self._find_ours(application)
                if ours == described.card and self._is_pin(ours, described.pin or ""):
                    return PatronUpsert(ours, created=True)
                if ours is None:
                    if Capability.FIND_PATRON not in self.adapter.capabilities:
                        raise
                    self.pacing.wait_before(attempt)
            except UnexpectedResponse as err:
                failure = err
                if err.code not in TAKEN or self._find_ours(application) is None:
                    raise
            if not may_repeat():
                break
        raise failure

    def _find_ours(self, application: Application) -> IlsPatronId | None:
        if Capability.FIND_PATRON not in self.adapter.capabilities:
            return None
        return self._ask(
            application, lambda: self.adapter.find_patron(external_id=application.patron_id)
        )

    def _has_foreign_account(self, application: Application, known: PersonalData) -> bool:
        """Say whether the ILS has an account of this child that is not ours (decision 21).

        The identity number goes to the library's own ILS for this question alone, also where it is
        not to be kept there.
        """
        numbers = numbers_to_ask(self.register, application, known)
        adapter = self.adapter
        if Capability.FIND_PATRON in adapter.capabilities:
            if not numbers or self._find_ours(application) is not None:
                return False
            return (
                self._ask(application, lambda: adapter.find_patron(identifiers=numbers)) is not None
            )
        if Capability.FETCH_PATRON not in adapter.capabilities:
            return False
        for number in numbers.values():
            facts = self._ask(application, _fetch(adapter, IlsPatronId(number)))
            if facts.valid:
                return bool(facts.ils_patron != application.card)
        return False

    def _ask(self, application: Application, call: Callable[[], _T]) -> _T:
        return self.pacing.ask(call, may_repeat=self._holder_of(application), is_question=True)

    def _holder_of(self, application: Application) -> Callable[[], bool]:
        """Return the question whether this attempt still may go on."""

        def may_go_on() -> bool:
            return self._has_consent(application) and self.store.keep_activation(
                application.application_id, attempt=application.attempts, now=self.now()
            )

        return may_go_on

    def _is_pin(self, card: IlsPatronId, pin: str) -> bool:
        if Capability.VERIFY_PIN not in self.adapter.capabilities:
            return False
        try:
            return self.adapter.verify_pin(card, pin)
        except AdapterError:
            return False

    def _describe(
        self, application: Application, known: PersonalData, pin: str, expires: date | None
    ) -> PatronInput:
        school = self.schools.get(application.school_id)
        return PatronInput(
            external_id=application.patron_id,
            card=IlsPatronId(application.card),
            name=known.name,
            category=self.rules.category,
            home_branch=self.rules.home_branch,
            birth_date=known.birth_date,
            expires=expires,
            phone=known.phone or known.guardian_phone,
            pin=pin,
            school=school.name if school else "",
            class_name=application.class_name,
            identifiers={
                kind: number
                for kind, number in _numbers_of(known).items()
                if kind in self.rules.numbers_for_ils
            },
        )

    def _block(self, card: IlsPatronId) -> bool:
        """Block a card whose consent was withdrawn; say whether the ILS can."""
        if Capability.BLOCK_PATRON not in self.adapter.capabilities:
            return False
        self.adapter.block_patron(card, BlockReason.CONSENT_WITHDRAWN)
        return True

    def _lift_blocks(self, application: Application, card: IlsPatronId) -> None:
        """Undo the blocks that we set when the card was closed before (scenario 28)."""
        if Capability.UNBLOCK_PATRON in self.adapter.capabilities:
            for reason in _OUR_BLOCKS:
                unblock = _unblock(self.adapter, card, reason)
                self.pacing.ask(unblock, may_repeat=self._holder_of(application), is_question=True)

    # --- our own side

    def _has_consent(self, application: Application) -> bool:
        verdict = check_consent(
            application, store=self.store, register=self.register, rules=self.rules, now=self.now()
        )
        return verdict is ConsentVerdict.HOLDS

    def _repair(self, application: Application) -> None:
        """Finish an activation that an earlier release left half done."""
        standing = self.register.find_standing(application.patron_id, self.rules.institution)
        if standing is None or standing.state is not StandingState.INACTIVE:
            return
        self.register.set_state(application.patron_id, StandingState.ACTIVE)
        if not self._has_consent(application):
            self._undo(application, IlsPatronId(application.card))

    def _undo(self, application: Application, card: IlsPatronId) -> None:
        """Kill a card whose consent was withdrawn at the very moment when it was opened."""
        with contextlib.suppress(NotFound):
            self.register.set_state(application.patron_id, StandingState.WITHDRAWN)
        self._block(card)

    def _leave_to_staff(self, application: Application, actor: str) -> Activation:
        self._move(application, _S.EXISTING_CARD, actor, "account_in_ils")
        if self.tasks is not None:
            self.tasks.open_task(
                application.institution,
                TaskKind.EXISTING_CARD,
                about=application.application_id,
                patron_id=application.patron_id,
                detail={
                    "application": application.application_id,
                    "row": application.batch_row or 0,
                },
                actor=actor,
            )
        self._tell("enrolment.existing_card", application)
        return Activation(application, ActivationOutcome.EXISTING_CARD)

    def _is_free_again(self, application: Application, actor: str) -> bool:
        """Say whether the account that stood in the way is gone, by the hand of the staff.

        One that has our id already is an exchange that broke off; the exchange takes it up.
        """
        if self._find_ours(application) is not None:
            return False
        known = self.register.fetch_personal(application.patron_id)
        if self._has_foreign_account(application, known):
            return False
        freed = self.store.move_application(
            application.application_id,
            _S.EXISTING_CARD,
            _S.LIBRARY_APPROVED,
            actor=actor,
            now=self.now(),
            reason="",
        )
        if freed and self.tasks is not None:
            self.tasks.finish_about(
                application.institution,
                TaskKind.EXISTING_CARD,
                about=application.application_id,
                outcome="account_gone",
                actor=actor,
            )
        return freed

    def _send_back(self, application: Application, actor: str) -> Activation:
        if application.state is _S.ACTIVATING:
            self._move(application, _S.LIBRARY_APPROVED, actor, "no_consent")
        return Activation(application, ActivationOutcome.NO_CONSENT)

    def _fail(self, application: Application, code: str) -> Activation:
        self.store.save_error(application.application_id, code, now=self.now())
        return Activation(application, ActivationOutcome.FAILED, error=code)

    def _move(
        self, application: Application, new: ApplicationState, actor: str, reason: str
    ) -> bool:
        return self.store.move_application(
            application.application_id,
            _S.ACTIVATING,
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


_READY = frozenset({_S.LIBRARY_APPROVED, _S.ACTIVATING, _S.EXISTING_CARD})
_OUR_BLOCKS = (BlockReason.CONSENT_WITHDRAWN, BlockReason.CARD_CLOSING)


def numbers_to_ask(
    register: PatronRegister, application: Application, known: PersonalData
) -> dict[str, str]:
    """Return the numbers by which the library's own ILS may know the child already: his identity
    number, and an older card of this library that was exchanged before (decision 21).
    """
    numbers = _numbers_of(known)
    standing = register.find_standing(application.patron_id, application.institution)
    if standing is not None and standing.account_kind == EXCHANGED_ACCOUNT and standing.ils_patron:
        numbers["card"] = standing.ils_patron
    return numbers


def _numbers_of(known: PersonalData) -> dict[str, str]:
    return {"id_card": known.id_number} if known.id_number else {}


def _in_progress(application: Application) -> Activation:
    return Activation(application, ActivationOutcome.NOT_TRIED, error="in_progress")


def _fetch(adapter: IlsAdapter, number: IlsPatronId) -> Callable[[], PatronFacts]:
    return lambda: adapter.fetch_patron(number)


def _unblock(adapter: IlsAdapter, card: IlsPatronId, reason: BlockReason) -> Callable[[], None]:
    return lambda: adapter.unblock_patron(card, reason)
