"""Opening one approved card in the library's ILS.

Nothing here knows of other cards (``provisioning`` runs many) or talks to the ILS itself
(``pupil_account`` does). Rules (A03, A24, decisions 15, 19, 21) —

- no consent, no word to the ILS: it is checked before a card number is taken, before every request
  that is repeated, before the PIN is given out, and when the card is open;
- an account that the ILS has already is never touched: ``existing_card``, a task for staff;
- an attempt that broke off is taken up again; who stands in a file for the ILS is opened by that
  file alone (``handoff``);
- a PIN is random, given out before the card counts as open, and kept by the ILS alone: a process
  that is killed in between sets it anew, and says so.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from connector.domain.consent import ConsentVerdict
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, PatronId
from connector.domain.patron import StandingState
from connector.errors import (
    AdapterError,
    NotFound,
    StorageConflict,
)
from connector.ports.clock import Clock
from connector.ports.enrolment import CARD_TAKEN, Application, EnrolmentStore, School
from connector.ports.events import Event, EventSink, NoEvents
from connector.ports.ils import IlsAdapter, PatronInput
from connector.ports.schools import ClassMember
from connector.ports.store import PatronRegister, PersonalData
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.activation import (
    Activation,
    ActivationOutcome,
    GiveOut,
    code_of,
)
from connector.services.consent_check import check_consent
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.pacing import Pacing
from connector.services.pupil_account import PupilAccount, numbers_of, numbers_to_ask

__all__ = ["CardOpening"]

_NUMBERS_TO_TRY = 3
_S = ApplicationState


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
        if current.handed_off_at is not None and current.state is _S.ACTIVATING:
            return Activation(current, ActivationOutcome.NOT_TRIED, error="handed_off"), None
        try:
            settled = self.find_settled(current, actor)
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

    def find_settled(self, current: Application, actor: str) -> Activation | None:
        """Return what there is to say of an application for which no card is to be opened."""
        if current.state is _S.ACTIVE:
            self._repair(current)
            return Activation(current, ActivationOutcome.ALREADY_ACTIVE, current.card)
        if current.state not in _READY:
            return Activation(current, ActivationOutcome.NOT_APPROVED)
        if not self.has_consent(current):
            return self.send_back(current, actor)
        if current.state is _S.EXISTING_CARD and not self._is_free_again(current, actor):
            self._open_task(current, actor)
            return Activation(current, ActivationOutcome.EXISTING_CARD)
        return None

    def _try_once(
        self, application: Application, actor: str, give_out: GiveOut
    ) -> tuple[Activation, AdapterError | None]:
        try:
            return self._open_card(application, actor, give_out), None
        except AdapterError as err:
            if not self.has_consent(application):
                return self.send_back(application, actor), None
            return self.fail(application, code_of(err)), err
        except (NotFound, StorageConflict) as err:
            return self.fail(application, code_of(err)), None

    def _open_card(self, application: Application, actor: str, give_out: GiveOut) -> Activation:
        known = self.register.fetch_personal(application.patron_id)
        if self.has_other_account(application, known):
            return self.leave_to_staff(application, actor)
        if not self.has_consent(application):
            return self.send_back(application, actor)
        expires = self.expiry_of(application)
        pin = self.new_pin()
        account = self._account(application)
        opened = account.create(self.describe(application, known, pin, expires))
        card = opened.ils_patron
        is_known = opened.created or account.is_pin(card, pin)
        done = Activation(
            application,
            ActivationOutcome.ACTIVATED,
            card,
            pin if is_known else "",
            is_pin_new=not opened.created,
        )
        if not self.has_consent(application):
            account.block(card)
            return self.send_back(application, actor)
        if not opened.created:
            account.lift_blocks(card)
        if not give_out(done):
            return self.fail(application, "pin_not_written")
        return self.finish(done, expires, actor)

    def new_pin(self) -> str:
        """Return a random PIN; it is kept by whoever it is given to (decision 15)."""
        return "".join(secrets.choice("0123456789") for _ in range(self.rules.pin_digits))

    def expiry_of(self, application: Application, at: datetime | None = None) -> date | None:
        """Return the last day of a card that is opened now, or was at a moment."""
        return self.rules.expiry_for(
            at or self.now(), self.classes.get(application.patron_id), self.schools
        )

    def finish(self, done: Activation, expires: date | None, actor: str) -> Activation:
        """Write that the card is open, unless the consent was withdrawn meanwhile."""
        application, card = done.application, IlsPatronId(done.card)
        moved = self.store.finish_activation(
            application.application_id,
            attempt=application.attempts,
            card=card,
            expires=expires,
            actor=actor,
            now=self.now(),
        )
        if not self.has_consent(application):
            self._undo(application, card)
            return Activation(application, ActivationOutcome.NO_CONSENT)
        if not moved:
            return _in_progress(application)
        self._tell("enrolment.activated", application)
        return done

    # --- what the ILS is told

    def _account(self, application: Application) -> PupilAccount:
        """Return what this attempt says to the ILS; it may go on while it is the attempt, and the
        consent holds.
        """

        def may_go_on() -> bool:
            return self.has_consent(application) and self.store.keep_activation(
                application.application_id, attempt=application.attempts, now=self.now()
            )

        return PupilAccount(self.adapter, self.pacing, application.patron_id, may_go_on)

    def has_other_account(self, application: Application, known: PersonalData) -> bool:
        """Ask the ILS whether the child has an account that is not ours; may raise
        ``AdapterError``.
        """
        numbers = numbers_to_ask(self.register, application, known)
        return self._account(application).has_other(numbers, card=application.card)

    def describe(
        self, application: Application, known: PersonalData, pin: str, expires: date | None
    ) -> PatronInput:
        """Return what the ILS is to know of the pupil."""
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
                for kind, number in numbers_of(known).items()
                if kind in self.rules.numbers_for_ils
            },
        )

    # --- our own side

    def has_consent(self, application: Application) -> bool:
        """Say whether the guardian's consent for the card holds at this moment."""
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
        if not self.has_consent(application):
            self._undo(application, IlsPatronId(application.card))

    def _undo(self, application: Application, card: IlsPatronId) -> None:
        """Kill a card whose consent was withdrawn at the very moment when it was opened."""
        with contextlib.suppress(NotFound):
            self.register.set_state(application.patron_id, StandingState.WITHDRAWN)
        self._account(application).block(card)

    def leave_to_staff(self, application: Application, actor: str) -> Activation:
        """Make it a task for the staff: the ILS has an account of the child already."""
        self._move(application, _S.EXISTING_CARD, actor, "account_in_ils")
        self._open_task(application, actor)
        self._tell("enrolment.existing_card", application)
        return Activation(application, ActivationOutcome.EXISTING_CARD)

    def _open_task(self, application: Application, actor: str) -> None:
        """Let staff know, once."""
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

    def _is_free_again(self, application: Application, actor: str) -> bool:
        """Say whether the account that stood in the way is gone, by the hand of the staff.

        One that has our id already is an exchange that broke off; the exchange takes it up.
        """
        if self._account(application).find_ours() is not None:
            return False
        known = self.register.fetch_personal(application.patron_id)
        if self.has_other_account(application, known):
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

    def send_back(self, application: Application, actor: str) -> Activation:
        """Let an application without a consent wait for one."""
        if application.state is _S.ACTIVATING:
            self._move(application, _S.LIBRARY_APPROVED, actor, "no_consent")
        return Activation(application, ActivationOutcome.NO_CONSENT)

    def fail(self, application: Application, code: str) -> Activation:
        """Note why it failed; it can be tried again."""
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


def _in_progress(application: Application) -> Activation:
    return Activation(application, ActivationOutcome.NOT_TRIED, error="in_progress")
