"""What checkout, checkin and renewal share: the exchange, the answers, and the desk with everything
they need.

Nothing here lends or takes back. Rules: decisions 4, 15, 18; no log line pairs a patron with an
item (decision 23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from connector.domain.circulation import Decision, Reason, find_card_bar
from connector.domain.ids import IlsPatronId, InstitutionId, ItemId
from connector.domain.item import IlsItem
from connector.domain.library import Library, Mode
from connector.domain.loan import Loan
from connector.domain.patron import PatronStanding, PinRule
from connector.domain.policy import LoanPolicy
from connector.errors import (
    AdapterError,
    AdapterUnavailable,
    OutcomeUnknown,
    StorageConflict,
    StorageUnavailable,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.answer import AnswerSlot
from connector.ports.clock import Clock
from connector.ports.decisions import Decider, DecisionRequest
from connector.ports.events import Event, EventSink
from connector.ports.ils import (
    Capability,
    CheckinResult,
    CheckoutResult,
    ExchangeContext,
    IlsAdapter,
)
from connector.ports.ledger import AskLoan, Ledger, Place, Verb
from connector.ports.watch import NOBODY, Watch
from connector.services.away import AwayDesk
from connector.services.facts import FactReader, ItemView, PatronView
from connector.services.loan_rules import correct_due_date

__all__ = [
    "STORE_DOWN",
    "CheckinAnswer",
    "CirculationAnswer",
    "CirculationDesk",
    "EarlyRefusal",
    "Exchange",
    "Lending",
    "agree_on_due",
    "context_for_ils",
    "dates_differ",
    "patron_bar",
    "pin_to_check",
    "reason_of",
    "reason_of_read",
]

_log = get_logger(__name__)

STORE_DOWN = (StorageUnavailable, StorageConflict)
"""Our own database cannot be reached, or stays locked: what follows is the library's choice."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a terminal sent, whatever the protocol.

    Attributes:
        scanned_patron, scanned_item: as scanned.
        slot: who may still say yes.
        returned_at: when a return takes effect, where that is not ``context.at`` (book drops).
        may_renew: the terminal allows a checkout to renew (SC renewal policy); the policy must
            allow it too.
    """

    institution: InstitutionId
    place: Place
    context: ExchangeContext
    scanned_item: str
    scanned_patron: str = field(default="", repr=False)
    slot: AnswerSlot = field(default_factory=AnswerSlot)
    pin_rule: PinRule = PinRule.IF_SENT
    may_renew: bool = False
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CirculationAnswer:
    """The answer to a checkout or renewal.

    Attributes:
        reason: why not; None when ok.
        message: the ILS's own words, passed on.
        repeated: it is the answer to the same checkout again (desensitize, never renew).
        renewed: the patron had the item already and it was renewed.
        passed_through: the patron is not enrolled; the ILS alone decided.
    """

    ok: bool
    reason: Reason | None = None
    due: datetime | None = None
    limit: int | None = None
    title: str = ""
    message: str = ""
    code: str = ""
    repeated: bool = False
    renewed: bool = False
    passed_through: bool = False
    item: IlsItem | None = None
    result: CheckoutResult | None = None


@dataclass(frozen=True, slots=True)
class CheckinAnswer:
    """The answer to a checkin; ``result`` is the ILS's.

    Attributes:
        deferred: the ILS was away: it hears of the return later.
    """

    ok: bool
    item: ItemId
    reason: Reason | None = None
    result: CheckinResult | None = None
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class Lending:
    """A checkout under way: what the steps hand to each other."""

    exchange: Exchange
    library: Library
    adapter: IlsAdapter
    view: PatronView
    item: ItemView
    policy: LoanPolicy
    decision: Decision

    def refused(self, reason: Reason, **more: object) -> CirculationAnswer:
        """Return a refusal that names the item."""
        record = self.item.record
        return CirculationAnswer(
            ok=False,
            reason=reason,
            item=record,
            title=record.title if record else "",
            **more,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class EarlyRefusal:
    """A refusal before any policy: PIN, unknown card or item, no policy in force."""

    exchange: Exchange
    reason: Reason
    standing: PatronStanding
    view: PatronView | None = None
    item: ItemView | None = None


@dataclass(frozen=True, slots=True)
class CirculationDesk:
    """Everything that the flows need; one instance serves all libraries and threads of the process.

    Attributes:
        ask_margin: how long beyond the ILS's own time a row may stay ``asked`` before it counts as
            unknown.
    """

    facts: FactReader
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    ledger: Ledger
    decider: Decider
    events: EventSink
    now: Clock
    away: AwayDesk
    ask_margin: timedelta = timedelta(seconds=20)
    watch: Watch = NOBODY

    def find_standing(self, exchange: Exchange, library: Library) -> PatronStanding | None:
        """Return the enrolled patron who was scanned; None passes to the ILS (decisions 4, 18)."""
        if library.mode is Mode.BYPASS:
            return None
        return self.facts.resolve_patron(exchange.scanned_patron, library)

    def find_borrower(self, exchange: Exchange, library: Library) -> PatronStanding | None:
        """Return the enrolled patron, even behind a number that only the ILS knows.

        An old card or a login name that the ILS takes for a pupil's card must not lead round the
        policy: where nothing of ours fits, the ILS is asked whose number it is.

        Raises:
            AdapterError: it does not say; whose number it is must not be guessed.
        """
        standing = self.find_standing(exchange, library)
        adapter = self.adapters[library.code]
        if standing is not None or library.mode is not Mode.ENFORCE:
            return standing
        if Capability.FETCH_PATRON not in adapter.capabilities:
            return None
        scanned = IlsPatronId(exchange.scanned_patron)
        try:
            facts = adapter.fetch_patron(scanned)
        except OutcomeUnknown as err:
            raise AdapterUnavailable(adapter.name, library.code, "no_answer") from err
        if not facts.valid or facts.ils_patron == scanned:
            return None
        return self.facts.find_by_account(facts.ils_patron, library)

    def read_patron(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> PatronView:
        """Read the patron once, with the PIN that is to be checked.

        Raises:
            AdapterError: the ILS cannot be asked; a read that got no answer has changed nothing,
                and is ``AdapterUnavailable`` too.
        """
        pin = pin_to_check(exchange)
        try:
            return self.facts.read_patron(
                standing, exchange.scanned_patron, library, exchange.place, pin=pin
            )
        except OutcomeUnknown as err:
            adapter = self.adapters[library.code]
            raise AdapterUnavailable(adapter.name, library.code, "no_answer") from err

    def narrow(
        self, decision: Decision, action: str, exchange: Exchange, view: PatronView, item: ItemView
    ) -> Decision:
        """Let the plugins refuse what the policy permits."""
        if not decision.permitted or item.record is None:
            return decision
        request = DecisionRequest(
            action,
            exchange.institution,
            exchange.context.terminal,
            view.standing,
            item.record,
            item.classification,
        )
        return self.decider.narrow_decision(decision, request)

    def prepare_ask(self, lending: Lending, *, enforced: bool) -> AskLoan:
        """Return what the ledger is asked before an item is lent.

        Args:
            enforced: the limits of the policy count in the ledger too.
        """
        exchange, policy = lending.exchange, lending.policy
        return AskLoan(
            patron_id=lending.view.standing.patron_id,
            item=lending.item.item,
            lender=lending.library.code,
            ils_patron=lending.view.ils_patron,
            language=lending.item.classification.language,
            place=exchange.place,
            expires_at=self.now() + timedelta(seconds=exchange.context.timeout_s) + self.ask_margin,
            limit=policy.max_items if enforced else None,
            foreign_limit=policy.max_foreign_items if enforced else None,
            policy_version=policy.version,
            clc_class=lending.item.clc_class,
            over_limit=not lending.decision.permitted,
        )

    def refuse_early(self, early: EarlyRefusal) -> CirculationAnswer:
        """Write and return a refusal that needed no policy."""
        self._note_early(early, Verb.REFUSE)
        record = early.item.record if early.item else None
        is_unknown = early.reason is Reason.UNKNOWN_PATRON and early.view is not None
        return CirculationAnswer(
            ok=False,
            reason=early.reason,
            item=record,
            title=record.title if record else "",
            message=early.view.facts.message if is_unknown and early.view else "",
        )

    def note_would_refuse(self, early: EarlyRefusal) -> None:
        """Write a refusal that observe mode did not make."""
        self._note_early(early, Verb.WOULD_REFUSE)

    def _note_early(self, early: EarlyRefusal, verb: Verb) -> None:
        self.ledger.record_event(
            verb,
            early.exchange.place,
            patron_id=early.standing.patron_id,
            item=early.item.item if early.item else None,
            reason=early.reason,
        )
        self.watch.note_refusal(
            early.exchange.institution, early.reason, enforced=verb is Verb.REFUSE
        )

    def note_refusal(
        self,
        lending: Lending,
        reason: Reason,
        *,
        enforced: bool,
        renewal: bool = False,
        code: str = "",
    ) -> None:
        """Write a refusal, or in observe mode a would-be refusal, without moving a loan."""
        verb = Verb.REFUSE if enforced else Verb.WOULD_REFUSE
        self.ledger.record_event(
            verb,
            lending.exchange.place,
            patron_id=lending.view.standing.patron_id,
            item=lending.item.item,
            reason=f"renewal.{reason}" if renewal else reason,
            policy_version=lending.policy.version,
            ils_verdict=code,
        )
        self.watch.note_refusal(lending.library.code, reason, enforced=enforced)
        _log.info(
            "circulation.refused" if enforced else "circulation.would_refuse",
            action="renewal" if renewal else "checkout",
            institution=lending.library.code,
            terminal=lending.exchange.context.terminal or "",
            reason=str(reason),
        )

    def track(self, name: str, exchange: Exchange, loan: Loan, *, mismatch: bool = False) -> None:
        """Tell the plugins what was committed."""
        if mismatch:
            _log.warning("loan.due_date_differs", institution=loan.lender)
        self.events.track(
            Event(
                name,
                exchange.place.at,
                exchange.institution,
                {"loan_id": loan.loan_id, "state": loan.state.value},
            )
        )

    def note_passed(self, verb: Verb, item: ItemId, exchange: Exchange, library: Library) -> None:
        """Write that an item moved for somebody whom we did not enrol; no person is stored."""
        try:
            stale = self.ledger.find_unclosed(item) if verb is Verb.CHECKOUT else None
            if stale is not None and stale.ils_patron != exchange.scanned_patron.strip():
                self.ledger.record_supersede(stale.loan_id, exchange.place)
            self.ledger.record_event(
                verb, exchange.place, patron_id=None, item=item, reason="passed_through"
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)


def pin_to_check(exchange: Exchange) -> str | None:
    """Return the PIN that the ILS shall check, or None."""
    return None if exchange.pin_rule is PinRule.NEVER else exchange.context.pin


def context_for_ils(exchange: Exchange) -> ExchangeContext:
    """Return the context for an enrolled patron: without a PIN that nobody asked for, and without
    leave to renew by a checkout, for renewals are decided here (decision 12).
    """
    pin = pin_to_check(exchange)
    context = exchange.context
    request = context.request
    if request is not None and request.fixed.get("sc_renewal_policy") == "Y":
        fixed = {**request.fixed, "sc_renewal_policy": "N"}
        context = replace(context, request=replace(request, fixed=fixed))
    return context if context.pin == pin else replace(context, pin=pin)


def patron_bar(view: PatronView, exchange: Exchange) -> Reason | None:
    """Return why nothing can be done for this patron here, before any policy.

    An account that is gone because the card was closed is told as that, not as unknown.
    """
    if not view.facts.valid:
        closed = find_card_bar(view.standing, exchange.place.local_date)
        return closed or Reason.UNKNOWN_PATRON
    if exchange.pin_rule is PinRule.NEVER:
        return None
    if exchange.context.pin is None:
        return Reason.PIN_MISSING if exchange.pin_rule is PinRule.ALWAYS else None
    return Reason.PIN_WRONG if view.facts.pin_valid is False else None


def reason_of(err: AdapterError) -> Reason:
    """Return the reason that stands for an adapter's error."""
    if isinstance(err, OutcomeUnknown):
        return Reason.OUTCOME_UNKNOWN
    if isinstance(err, UnsupportedOperation):
        return Reason.NOT_SUPPORTED
    return Reason.ILS_UNAVAILABLE


def agree_on_due(lending: Lending, told: datetime | None) -> tuple[datetime | None, bool]:
    """Return the due date of a loan that the ILS made or renewed, and whether it differs from the
    policy's (decision 11); a differing one is corrected where the library chose so.
    """
    wanted = lending.decision.due
    due = told or wanted
    if wanted is None or not dates_differ(due, wanted, lending.library):
        return due, False
    barcode = lending.item.item.barcode
    if correct_due_date(lending.library, lending.adapter, barcode, wanted):
        return wanted, False
    return due, True


def reason_of_read(err: AdapterError) -> Reason:
    """Return the reason that stands for an adapter's error while the ILS was only asked.

    A read that went without an answer has changed nothing: the ILS is away, no more.
    """
    return Reason.ILS_UNAVAILABLE if isinstance(err, OutcomeUnknown) else reason_of(err)


def dates_differ(due: datetime | None, wanted: datetime | None, library: Library) -> bool:
    """Say whether the ILS's due date is another day than the policy's, in the library's zone
    (decision 11).
    """
    return due is not None and wanted is not None and library.today(due) != library.today(wanted)
