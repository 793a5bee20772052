"""What a registration machine may do: apply for a card, look for duplicates, find a card again.

Nothing here speaks SIP2 or opens a card. Rules (A08, A24, decisions 19 to 21) —

- applying enters one pupil as a form does (``individual``): the same checks, then review, approval
  and the guardian's consent on paper; no consent is taken from a machine, no card number is given
  out, and the ILS is told nothing;
- the same pupil again is the same answer, and never a second application;
- what is known of a pupil is not changed from a machine: who wants a change becomes a task;
- a question about a number is answered with yes or no, counted per terminal, and audited by ids;
- the ILS is asked for card numbers alone, never with an identity number: before the consent it
  hears nothing of a child (scenario 5), and when the card is opened it is asked (decision 21);
- whether somebody refused, withdrew, or is at another school or library is not told at a machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connector.domain.enrolment import CLOSED_STATES, ApplicationState, RowProblem
from connector.domain.identity import (
    IdentityFault,
    IdentityProblem,
    normalise_identifier,
    parse_identity_number,
    parse_student_number,
)
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId, TerminalId
from connector.domain.library import Library
from connector.domain.patron import PatronStanding, StandingState
from connector.errors import ConfigurationError, StorageConflict
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, RowOutcome, School
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.tasks import TaskKind
from connector.services.enrolment import EnrolmentService
from connector.services.lookup_limit import LookupLimit
from connector.services.pin_change import PinService

__all__ = ["Lookup", "Registration", "RegistrationOutcome", "RegistrationService"]

_WAITING = frozenset(
    {
        ApplicationState.ENTERED,
        ApplicationState.SCHOOL_REVIEWED,
        ApplicationState.LIBRARY_APPROVED,
        ApplicationState.ACTIVATING,
    }
)
_ENTERED = frozenset({RowOutcome.CREATED, RowOutcome.UNCHANGED})
_WRONG = frozenset({RowOutcome.INVALID, RowOutcome.NEEDS_GUARDIAN})
_LIVE = frozenset({StandingState.ACTIVE, StandingState.BLOCKED})
_NEARLY_IDENTITY = frozenset({IdentityFault.CHECK_DIGIT.value, IdentityFault.BIRTH_FUTURE.value})
"""Of an identity number with a slip in it: no card number either."""


class RegistrationOutcome(StrEnum):
    """What became of an application at a machine."""

    SUBMITTED = "submitted"
    """It is there now, from this request or an earlier one, and waits for the review."""
    HAS_CARD = "has_card"
    INVALID = "invalid"
    NO_SCHOOL = "no_school"
    AT_DESK = "at_desk"
    """A person of the school or the library has to look at it."""
    TOO_OFTEN = "too_often"


@dataclass(frozen=True, slots=True)
class Registration:
    """The answer to an application; ``problems``: what is wrong with the data, no values."""

    outcome: RegistrationOutcome
    problems: tuple[RowProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Lookup:
    """The answer to a question about a number.

    Attributes:
        code: of what is wrong with an identity number; empty when it could be looked for.
        cards: numbers of cards that are open; only where they were asked for.
    """

    found: bool
    code: str = ""
    is_too_often: bool = False
    cards: tuple[str, ...] = field(default=(), repr=False)


_TOO_OFTEN = Lookup(found=True, is_too_often=True)


@dataclass(frozen=True, slots=True)
class RegistrationService:
    """Registration machines of every library of the process.

    Attributes:
        limit: how often one terminal may ask.
        pins: what changes a PIN where the ILS can.
    """

    enrolment: EnrolmentService
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    now: Clock
    limit: LookupLimit
    pins: PinService

    def apply(
        self,
        institution: InstitutionId,
        schools: Sequence[str],
        cells: Mapping[str, str],
        *,
        terminal: TerminalId,
    ) -> Registration:
        """Enter one pupil; the terminal is the actor.

        Args:
            schools: codes or names of the school, the first that is known counts.
            cells: as of a roster row, by column key.
        """
        if not self.limit.take(terminal):
            return Registration(RegistrationOutcome.TOO_OFTEN)
        school = self._find_school(institution, schools)
        if school is None:
            return Registration(RegistrationOutcome.NO_SCHOOL)
        entry = self.enrolment.individual(institution)
        try:
            try:
                report = entry.enter(school, cells, actor=terminal)
            except StorageConflict:  # the same pupil was entered at this very moment
                report = entry.enter(school, cells, actor=terminal)
        except ConfigurationError:  # the school is disabled, or enters by roster alone
            return Registration(RegistrationOutcome.AT_DESK)
        if report.outcome in _WRONG:
            return Registration(RegistrationOutcome.INVALID, report.problems)
        application = report.application
        if report.outcome not in _ENTERED or application is None:
            return Registration(RegistrationOutcome.AT_DESK)
        if application.state in _WAITING:
            return Registration(RegistrationOutcome.SUBMITTED)
        has_card = application.state is ApplicationState.ACTIVE
        return Registration(
            RegistrationOutcome.HAS_CARD if has_card else RegistrationOutcome.AT_DESK
        )

    def ask_for_change(
        self, institution: InstitutionId, number: str, *, terminal: TerminalId
    ) -> bool:
        """Let the staff know that a pupil's data shall be changed; False: asked too often.

        Nobody learns here whether there is such a pupil.
        """
        if not self.limit.take(terminal):
            return False
        numbers = self._read_number(institution, number)
        patron_id = self._find_person(numbers) if isinstance(numbers, tuple) else None
        application = patron_id and self._find_application(patron_id, institution)
        if application and application.state not in CLOSED_STATES:
            self.enrolment.tasks.open_task(
                institution,
                TaskKind.CHANGE_WANTED,
                about=application.application_id,
                patron_id=application.patron_id,
                detail={"application": application.application_id},
                actor=terminal,
            )
        return True

    def is_card_taken(
        self, institution: InstitutionId, number: str, *, terminal: TerminalId, school: str = ""
    ) -> Lookup:
        """Say whether a card number is somebody's, or will be: numbers of the library's own range
        are never free for a machine. An identity number is no card number, wherever it stands.

        Args:
            school: as for ``is_person_known``.

        Raises:
            AdapterError: the ILS could not be asked.
        """
        if not self.limit.take(terminal):
            return _TOO_OFTEN
        card = normalise_identifier(number)
        if not card:
            return Lookup(found=True, code="id_missing")
        numbers = self._read_number(institution, card)
        if isinstance(numbers, tuple):
            return self._look_for_person(institution, numbers, school, terminal)
        if numbers in _NEARLY_IDENTITY:
            return Lookup(found=True, code=numbers)
        kinds = ("card", "old_card", "ssc", "chip_uid")
        known = self._find_person([Identifier(kind, card) for kind in kinds])
        found = (
            (known is not None and self._find_account(known, institution) is not None)
            or self.enrolment.rules_of(institution).cards.is_number(card)
            or self._is_in_ils(institution, card)
        )
        self._audit(institution, terminal, "card", known, found=found)
        return Lookup(found)

    def is_person_known(
        self, institution: InstitutionId, number: str, *, terminal: TerminalId, school: str = ""
    ) -> Lookup:
        """Say whether the person with an identity number has a card here or has applied for one,
        as far as we know ourselves.

        Args:
            school: code of the terminal's school; it learns nothing of other schools' pupils.
        """
        if not self.limit.take(terminal):
            return _TOO_OFTEN
        numbers = self._read_number(institution, number)
        if not isinstance(numbers, tuple):
            return Lookup(found=True, code=numbers)
        return self._look_for_person(institution, numbers, school, terminal)

    def find_cards(
        self, institution: InstitutionId, number: str, *, terminal: TerminalId, school: str = ""
    ) -> Lookup:
        """Return the card numbers of the pupil with an identity number, whose card is open here.

        Args:
            school: as for ``is_person_known``.
        """
        if not self.limit.take(terminal):
            return Lookup(found=False, is_too_often=True)
        numbers = self._read_number(institution, number)
        if not isinstance(numbers, tuple):
            return Lookup(found=False, code=numbers)
        standing = self.enrolment.register.resolve(numbers, institution)
        today = self.libraries[institution].today(self.now())
        cards: tuple[str, ...] = ()
        if (
            standing is not None
            and standing.ils_patron is not None
            and not standing.is_retired
            and standing.state is StandingState.ACTIVE
            and (standing.expires is None or standing.expires >= today)
            and not self._is_elsewhere(standing.patron_id, institution, school)
        ):
            cards = (standing.ils_patron,)
        patron_id = None if standing is None else standing.patron_id
        self._audit(institution, terminal, "cards", patron_id, found=bool(cards))
        return Lookup(bool(cards), cards=cards)

    # --- parts ----------------------------------------------------------------------------------

    def _find_school(self, institution: InstitutionId, names: Sequence[str]) -> School | None:
        wanted = [name.strip() for name in names if name.strip()]
        if not wanted:
            return None
        schools = self.enrolment.list_schools(institution)
        for name in wanted:
            for school in schools:
                if name in {school.code, school.name}:
                    return school
        return None

    def _read_number(self, institution: InstitutionId, number: str) -> tuple[Identifier, ...] | str:
        """Return what a number stands for in the register, or the code of what is wrong with it."""
        today = self.libraries[institution].today(self.now())
        student = parse_student_number(number, today=today)
        if not isinstance(student, IdentityProblem):
            return (Identifier("student_no", student.value),)
        identity = parse_identity_number(number, today=today)
        if isinstance(identity, IdentityProblem):
            return identity.code.value
        return (
            Identifier("id_card", identity.value),
            Identifier("student_no", "G" + identity.value),
        )

    def _find_person(self, numbers: Sequence[Identifier]) -> PatronId | None:
        return self.enrolment.register.find_person(numbers)

    def _look_for_person(
        self,
        institution: InstitutionId,
        numbers: Sequence[Identifier],
        school: str,
        terminal: TerminalId,
    ) -> Lookup:
        patron_id = self._find_person(numbers)
        found = patron_id is not None and self._is_reader(patron_id, institution, school)
        self._audit(institution, terminal, "id_card", patron_id, found=found)
        return Lookup(found)

    def _is_reader(self, patron_id: PatronId, institution: InstitutionId, school: str) -> bool:
        if self._is_elsewhere(patron_id, institution, school):
            return False
        application = self._find_application(patron_id, institution)
        if application is not None and application.state not in CLOSED_STATES:
            return True
        standing = self._find_account(patron_id, institution)
        return standing is not None and standing.state in _LIVE

    def _is_elsewhere(self, patron_id: PatronId, institution: InstitutionId, school: str) -> bool:
        """Say whether a pupil is, or was last, at a school that is not the terminal's."""
        application = self._find_application(patron_id, institution) if school else None
        if application is None:
            return False
        own = self.enrolment.store.find_school(institution, school)
        return own is None or own.school_id != application.school_id

    def _find_application(
        self, patron_id: PatronId, institution: InstitutionId
    ) -> Application | None:
        application = self.enrolment.store.find_application(patron_id)
        return application if application and application.institution == institution else None

    def _find_account(
        self, patron_id: PatronId, institution: InstitutionId
    ) -> PatronStanding | None:
        """Return the standing of who has an account here; the register knows other libraries'
        pupils too.
        """
        standing = self.enrolment.register.find_standing(patron_id, institution)
        return standing if standing and standing.ils_patron is not None else None

    def _is_in_ils(self, institution: InstitutionId, number: str) -> bool:
        adapter = self.adapters[institution]
        if Capability.FIND_PATRON in adapter.capabilities:
            return adapter.find_patron(identifiers={"card": number}) is not None
        if Capability.FETCH_PATRON in adapter.capabilities:
            return adapter.fetch_patron(IlsPatronId(number)).valid
        return False

    def _audit(
        self,
        institution: InstitutionId,
        terminal: TerminalId,
        by: str,
        patron_id: PatronId | None,
        *,
        found: bool,
    ) -> None:
        self.enrolment.audit.append(
            "registration.asked",
            actor=terminal,
            subject=patron_id or "",
            detail={"by": by, "found": int(found)},
            institution=institution,
        )
