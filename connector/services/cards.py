"""Cards in pupils' hands: physical and online ones, lost ones, further numbers (A11, A25).

Nothing here opens an account; ``connector.services.provisioning`` does. Rules (scenario 34) —

- a lost card's number is dead in our own register before the ILS is asked anything;
- the ILS then gives the same account the new number; whose account it is, it is asked by our own id
  beforehand, so that there is never a second one and never somebody else's;
- after an unknown outcome the ILS is asked what is true; what is not done stays marked, and running
  it again goes on with the same number;
- what to charge for a card is the library's matter: we only say that it is not a free one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from connector.domain.identity import (
    IdentityProblem,
    normalise_identifier,
    normalise_scanned,
    parse_identity_number,
    parse_student_number,
)
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.patron import PatronStanding, StandingState
from connector.errors import (
    AdapterUnavailable,
    NotFound,
    OutcomeUnknown,
    RecordError,
    StorageConflict,
    UnexpectedResponse,
)
from connector.log import get_logger
from connector.ports.cards import CardIssue, CardStore, HeldNumbers, NumberChange
from connector.ports.clock import Clock
from connector.ports.enrolment import CARD_TAKEN, Application, EnrolmentStore
from connector.ports.ils import Capability, IlsAdapter, PatronInput
from connector.ports.store import PatronRegister
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["LINK_KINDS", "CardReport", "CardService", "LossOutcome", "LossReport"]

_log = get_logger(__name__)

LINK_KINDS = ("ssc", "student_no", "chip_uid")
"""Kinds of numbers that staff may add to a person (scenario 4)."""
_NUMBERS_TO_TRY = 3
_LONGEST_NUMBER = 64
_CHIP_LENGTHS = frozenset({8, 14, 20})


class LossOutcome(StrEnum):
    """What became of a report that a card is lost."""

    CHANGED = "changed"
    """The old number is dead, the ILS answers to the new one."""
    ALREADY = "already"
    """This number was reported before."""
    NO_NEW_NUMBER = "no_new_number"
    """The old number is dead; the card is not in force, so there is no new one."""
    PENDING = "pending"
    """The old number is dead; the ILS did not answer: run it again."""
    BY_HAND = "by_hand"
    """The old number is dead; the ILS has to be changed at its own desk, then run it again."""


@dataclass(frozen=True, slots=True)
class LossReport:
    """The answer to a report of loss.

    Attributes:
        card: the new number, which is not yet good where the outcome says so; empty without one.
    """

    outcome: LossOutcome
    card: str = ""


@dataclass(frozen=True, slots=True)
class CardReport:
    """What is known of somebody's cards; numbers are counted, never shown."""

    standing: PatronStanding
    application: Application | None
    issues: tuple[CardIssue, ...]
    numbers: Mapping[str, HeldNumbers]
    change: NumberChange | None


@dataclass(frozen=True, slots=True)
class CardService:
    """Cards of every library of the process.

    Attributes:
        rules, adapters: by library.
        free_physical: how many physical cards are free of charge.
    """

    register: PatronRegister
    cards: CardStore
    enrolment: EnrolmentStore
    adapters: Mapping[InstitutionId, IlsAdapter]
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock
    free_physical: int = 1

    def describe(self, patron_id: PatronId) -> CardReport:
        """Return somebody's cards; raises ``NotFound``."""
        return CardReport(
            standing=self._standing(patron_id),
            application=self.enrolment.find_application(patron_id),
            issues=self.cards.list_issues(patron_id),
            numbers=self.cards.count_numbers(patron_id),
            change=self.cards.find_change(patron_id),
        )

    # --- giving out

    def issue_physical(
        self, patron_id: PatronId, *, replaces_damaged: bool = False, actor: str
    ) -> CardIssue:
        """Note that a physical card with the present number is given out (A25).

        Raises:
            StorageConflict: ``physical_card_out``, ``card_not_in_force`` or ``card_changing``.
        """
        self._require_in_force(patron_id)
        if self.cards.find_change(patron_id) is not None:
            raise StorageConflict("card_changing")
        return self.cards.issue_physical(
            patron_id, free=self.free_physical, replaces_damaged=replaces_damaged, actor=actor
        )

    def issue_online(self, patron_id: PatronId, token: str, *, actor: str) -> CardIssue:
        """Give somebody an online card; the one before is dead at once (A10, A11).

        Args:
            token: a new one; only its digest is kept to find it by.

        Raises:
            StorageConflict: ``card_not_in_force``.
        """
        self._require_in_force(patron_id)
        return self.cards.issue_online(patron_id, Identifier("online_card", token), actor=actor)

    # --- a lost card

    def report_lost(self, patron_id: PatronId, *, named: str = "", actor: str) -> LossReport:
        """Kill a lost card at once and give its owner a new number.

        Args:
            named: the number by which the card was named: one that was reported before is not
                reported a second time.

        Raises:
            AdapterError: the ILS refused us; the old number is dead, run it again.
            ConfigurationError: the range is used up; nothing was changed.
        """
        standing = self._standing(patron_id)
        lost = self._lost_number(standing, named)
        try:
            change = self.cards.begin_change(
                patron_id, lost, cards=self.rules[standing.home].cards, actor=actor
            )
        except StorageConflict as err:
            if err.code != "reported_before":
                raise
            return LossReport(LossOutcome.ALREADY)
        if change is None:
            return LossReport(LossOutcome.NO_NEW_NUMBER)
        report = self._carry_out(change, actor)
        _log.info("card.replaced", institution=change.institution, outcome=report.outcome.value)
        return report

    def _lost_number(self, standing: PatronStanding, named: str) -> Identifier | None:
        """Return the card number that was named, else the present one: he may be named by another
        number.
        """
        number = Identifier("card", normalise_identifier(named))
        if named and self.cards.has_number(standing.patron_id, number):
            return number
        return Identifier("card", standing.ils_patron) if standing.ils_patron else None

    def _carry_out(self, change: NumberChange, actor: str) -> LossReport:
        adapter = self.adapters[change.institution]
        for _ in range(_NUMBERS_TO_TRY):
            try:
                outcome = self._tell_ils(adapter, change)
            except (AdapterUnavailable, OutcomeUnknown):
                return LossReport(LossOutcome.PENDING, change.new)
            except UnexpectedResponse as err:
                if err.code != CARD_TAKEN:
                    raise
                cards = self.rules[change.institution].cards
                following = self.cards.take_next(change, cards=cards, actor=actor)
                if following is None:
                    return LossReport(LossOutcome.ALREADY)
                change = following
                continue
            if outcome is LossOutcome.CHANGED:
                self.cards.finish_change(change, actor=actor)
            return LossReport(outcome, change.new)
        return LossReport(LossOutcome.BY_HAND, change.new)

    def _tell_ils(self, adapter: IlsAdapter, change: NumberChange) -> LossOutcome:
        can = adapter.capabilities
        if not {Capability.FIND_PATRON, Capability.UPSERT_PATRON} <= can:
            return self._look_for(adapter, change)
        found = adapter.find_patron(external_id=change.patron_id)
        if found == change.new:
            return LossOutcome.CHANGED
        if found != change.old:  # an account that was linked, not made by us
            return self._look_for(adapter, change)
        try:
            adapter.upsert_patron(self._describe(change))
        except OutcomeUnknown:
            if adapter.find_patron(external_id=change.patron_id) != change.new:
                return LossOutcome.PENDING
        return LossOutcome.CHANGED

    def _look_for(self, adapter: IlsAdapter, change: NumberChange) -> LossOutcome:
        """Say whether the desk has changed the number in the ILS: of this pupil, by the name."""
        if Capability.FETCH_PATRON not in adapter.capabilities:
            return LossOutcome.BY_HAND
        facts = adapter.fetch_patron(change.new)
        name = self.register.fetch_personal(change.patron_id).name
        is_his = facts.valid and facts.ils_patron == change.new and facts.name == name
        return LossOutcome.CHANGED if is_his else LossOutcome.BY_HAND

    def _describe(self, change: NumberChange) -> PatronInput:
        """Return the account as it is, under the new number; the PIN is left alone."""
        rules = self.rules[change.institution]
        known = self.register.fetch_personal(change.patron_id)
        application = self.enrolment.fetch_application(change.application_id)
        if application is None:
            raise NotFound("application")
        schools = self.enrolment.list_schools(change.institution)
        names = [each.name for each in schools if each.school_id == application.school_id]
        numbers = {"id_card": known.id_number} if known.id_number else {}
        return PatronInput(
            external_id=change.patron_id,
            card=change.new,
            name=known.name,
            category=rules.category,
            home_branch=rules.home_branch,
            birth_date=known.birth_date,
            expires=self._standing(change.patron_id).expires,
            phone=known.phone or known.guardian_phone,
            school=names[0] if names else "",
            class_name=application.class_name,
            identifiers={
                kind: number for kind, number in numbers.items() if kind in rules.numbers_for_ils
            },
        )

    # --- further numbers

    def link(self, patron_id: PatronId, kind: str, number: str, *, actor: str) -> None:
        """Let one more number stand for somebody (scenario 4).

        Raises:
            RecordError: it cannot be such a number.
            StorageConflict: another person has it.
        """
        standing = self._standing(patron_id)
        today = self.rules[standing.home].today(self.now())
        value = _check_number(kind, number, today)
        # A kiosk cannot tell the kinds apart: read as any of them it must not be somebody else.
        owners = self.register.find_people(normalise_scanned(value)).values()
        if any(owner != patron_id for owner in owners):
            raise StorageConflict("identifier_taken")
        self.cards.link(patron_id, Identifier(kind, value), actor=actor)

    def unlink(self, patron_id: PatronId, kind: str, *, actor: str) -> int:
        """Forget somebody's numbers of a kind; return how many."""
        if kind not in LINK_KINDS:
            raise RecordError(1, "unknown_kind")
        return self.cards.unlink(patron_id, kind, actor=actor)

    def _standing(self, patron_id: PatronId) -> PatronStanding:
        for code in self.rules:
            found = self.register.find_standing(patron_id, code)
            if found is not None and found.home == code:
                return found
        raise NotFound("patron")

    def _require_in_force(self, patron_id: PatronId) -> None:
        standing = self._standing(patron_id)
        if standing.state is not StandingState.ACTIVE or standing.ils_patron is None:
            raise StorageConflict("card_not_in_force")


def _check_number(kind: str, number: str, today: date) -> str:
    """Return the number as it is kept; raises ``RecordError`` with a code."""
    value = normalise_identifier(number)
    code = ""
    if kind not in LINK_KINDS:
        code = "unknown_kind"
    elif not value or len(value) > _LONGEST_NUMBER:
        code = "length"
    elif kind == "student_no":
        problem = parse_student_number(value, today=today)
        code = problem.code.value if isinstance(problem, IdentityProblem) else ""
    elif kind == "chip_uid":
        is_chip = len(value) in _CHIP_LENGTHS and not set(value) - set("0123456789ABCDEF")
        code = "" if is_chip else "chip_format"
    elif not isinstance(parse_identity_number(value, today=today), IdentityProblem):
        code = "is_id_number"
    if code:
        raise RecordError(1, code)
    return value
