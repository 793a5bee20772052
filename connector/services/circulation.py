"""Checkout, checkin and renewal between a terminal and an ILS: facts, decision, ledger, ILS, ledger, answer.

Nothing here speaks SIP2 or SQL. Rules: ``decisions`` 4, 6–9, 11–18 —

- the place in the quota is taken and committed before the ILS is asked (T1), the outcome is committed before anyone is
  told "yes" (T2), and no transaction is open while the ILS works;
- done, refused and unknown are three outcomes: after an unknown one the ILS is asked what is true, never told again;
- whoever is not enrolled passes to the ILS untouched;
- a repeated checkout of an item that the patron has already is answered with the first due date and renews nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from connector.domain.circulation import Decision, Quota, Reason, decide_checkin, decide_checkout, decide_renewal
from connector.domain.ids import IlsPatronId, InstitutionId, ItemId
from connector.domain.item import IlsItem
from connector.domain.library import Library, Mode, StoreFailure
from connector.domain.loan import IlsLoan, Loan, LoanState
from connector.domain.patron import PatronStanding
from connector.domain.policy import LoanPolicy, select_policy
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    OutcomeUnknown,
    StorageUnavailable,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.answer import AnswerSlot
from connector.ports.clock import Clock
from connector.ports.decisions import Decider, DecisionRequest
from connector.ports.events import Event, EventSink
from connector.ports.ils import Capability, CheckinResult, CheckoutResult, ExchangeContext, IlsAdapter
from connector.ports.ledger import AlreadyHere, Asked, AskLoan, Ledger, NoPlace, Place, TakenByOther, Verb
from connector.services.facts import FactReader, ItemView, PatronView, count_quota

__all__ = ["CheckinAnswer", "CirculationAnswer", "CirculationService", "Exchange", "PinRule"]

_log = get_logger(__name__)

_NOT_SENT = (AdapterUnavailable, AdapterAuthFailed, UnsupportedOperation)
_POLL_S = 0.05


class PinRule:
    """When a patron must give a PIN (decision 15): the three words of the terminal's setting."""

    NEVER = "never"
    IF_SENT = "if_sent"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a terminal sent, whatever the protocol.

    Attributes:
        scanned_patron, scanned_item: as scanned.
        slot: who may still say yes.
        may_renew: the terminal allows a checkout to renew (SC renewal policy); the policy must allow it too.
    """

    institution: InstitutionId
    place: Place
    context: ExchangeContext
    scanned_item: str
    scanned_patron: str = field(default="", repr=False)
    slot: AnswerSlot = field(default_factory=AnswerSlot)
    pin_rule: str = PinRule.IF_SENT
    may_renew: bool = False


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
    """The answer to a checkin; ``result`` is the ILS's."""

    ok: bool
    item: ItemId
    reason: Reason | None = None
    result: CheckinResult | None = None


@dataclass(frozen=True, slots=True)
class _Lending:
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
            ok=False, reason=reason, item=record, title=record.title if record else "", **more  # type: ignore[arg-type]
        )


class CirculationService:
    """One instance serves all libraries of the process and is called from many threads.

    Args:
        ask_margin: how long beyond the ILS's own time a row may stay ``asked`` before it counts as unknown.
    """

    def __init__(
        self,
        *,
        facts: FactReader,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        ledger: Ledger,
        decider: Decider,
        events: EventSink,
        now: Clock,
        ask_margin: timedelta = timedelta(seconds=20),
    ) -> None:
        self._facts = facts
        self._libraries = libraries
        self._adapters = adapters
        self._ledger = ledger
        self._decider = decider
        self._events = events
        self._now = now
        self._ask_margin = ask_margin

    # --- checkout -------------------------------------------------------------------------------------------------

    def checkout(self, exchange: Exchange) -> CirculationAnswer:
        """Lend an item."""
        library = self._libraries[exchange.institution]
        try:
            standing = self._standing(exchange, library)
            if standing is None:
                return self._pass_checkout(exchange, library)
            return self._checkout_enrolled(exchange, library, standing)
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)
            if library.store_failure is StoreFailure.OPEN:
                return self._pass_checkout(exchange, library, ledger=False)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=_reason_of(err))

    def _standing(self, exchange: Exchange, library: Library) -> PatronStanding | None:
        if library.mode is Mode.BYPASS:
            return None
        return self._facts.resolve_patron(exchange.scanned_patron, library)

    def _checkout_enrolled(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> CirculationAnswer:
        items = self._facts.resolve_item(exchange.scanned_item, library)
        if len(items) != 1:
            return CirculationAnswer(ok=False, reason=Reason.AMBIGUOUS_ITEM)
        view = self._facts.read_patron(
            standing, exchange.scanned_patron, library, exchange.place, pin=_pin(exchange)
        )
        item = self._facts.read_item(items[0], library)
        policy = select_policy(library.policies, standing.category, exchange.place.local_date)
        bar = _patron_bar(view, exchange) or (Reason.UNKNOWN_ITEM if item.record is None else None)
        if bar is None and policy is None:
            bar = Reason.NO_POLICY
        if bar is not None or policy is None:
            return self._refuse_early(exchange, view, item, bar or Reason.NO_POLICY)
        lending = _Lending(
            exchange, library, self._adapters[library.code], view, item, policy, Decision(permitted=True)
        )
        row = view.find_loan(item.item)
        if row is not None and library.mode is Mode.ENFORCE:
            return self._repeat(lending, row)
        return self._lend(replace(lending, decision=self._decide(lending)))

    def _decide(self, lending: _Lending) -> Decision:
        record = lending.item.record
        decision = decide_checkout(
            lending.policy,
            standing=lending.view.standing,
            quota=self._quota(lending),
            item=lending.item.classification,
            collection=record.collection if record else "",
            unsuitable=record.unsuitable if record else False,
            now=lending.exchange.place.at,
            zone=lending.library.zone,
            is_closed=lending.library.is_closed,
        )
        return self._narrow(decision, "checkout", lending.exchange, lending.view, lending.item)

    def _quota(self, lending: _Lending) -> Quota:
        return count_quota(
            lending.view, now=lending.exchange.place.at, library=lending.library, without=lending.item.item
        )

    def _lend(self, lending: _Lending) -> CirculationAnswer:
        decision, exchange = lending.decision, lending.exchange
        enforced = lending.library.mode is Mode.ENFORCE and not exchange.context.no_block
        if not decision.permitted:
            reason = decision.reason or Reason.PLUGIN_REFUSED
            self._note_refusal(lending, reason, enforced=enforced)
            if enforced:
                return lending.refused(reason, limit=decision.limit)
        taken = self._ledger.ask(self._request(lending, enforced=enforced))
        if isinstance(taken, TakenByOther) and self._close_stale(lending, taken.loan):
            taken = self._ledger.ask(self._request(lending, enforced=enforced))
        match taken:
            case Asked(loan):
                return self._ask_ils(lending, loan)
            case AlreadyHere(loan):
                return self._repeat(lending, loan)
            case TakenByOther():
                self._note_refusal(lending, Reason.ITEM_ON_LOAN, enforced=True)
                return lending.refused(Reason.ITEM_ON_LOAN)
            case NoPlace(_, foreign):
                reason = Reason.FOREIGN_LIMIT if foreign else Reason.ITEM_LIMIT
                limit = lending.policy.max_foreign_items if foreign else lending.policy.max_items
                self._note_refusal(lending, reason, enforced=True)
                return lending.refused(reason, limit=limit)

    def _request(self, lending: _Lending, *, enforced: bool) -> AskLoan:
        exchange, policy = lending.exchange, lending.policy
        patience = timedelta(seconds=exchange.context.timeout_s) + self._ask_margin
        return AskLoan(
            patron_id=lending.view.standing.patron_id,
            item=lending.item.item,
            lender=lending.library.code,
            ils_patron=lending.view.ils_patron,
            language=lending.item.classification.language,
            place=exchange.place,
            expires_at=self._now() + patience,
            limit=policy.max_items if enforced else None,
            foreign_limit=policy.max_foreign_items if enforced else None,
            uncounted=lending.view.uncounted,
            policy_version=policy.version,
            clc_class=lending.item.clc_class,
            over_limit=not lending.decision.permitted,
        )

    def _close_stale(self, lending: _Lending, row: Loan) -> bool:
        """Close another patron's row when the item read of this exchange shows that he no longer has it."""
        record = lending.item.record
        began = lending.view.facts.as_of
        if record is None or row.lender != lending.library.code or (row.opened_at or row.asked_at) >= began:
            return False
        if row.state not in {LoanState.OPEN, LoanState.DISPUTED}:
            return False
        try:
            now_with = self._facts.fetch_item_loan(row)
        except AdapterError:
            return False
        if now_with is not None and now_with.patron in {None, row.ils_patron}:
            return False
        self._ledger.record_supersede(row.loan_id, lending.exchange.place)
        return True

    def _ask_ils(self, lending: _Lending, loan: Loan) -> CirculationAnswer:
        exchange = lending.exchange
        obeys = Capability.SET_DUE_DATE in lending.adapter.capabilities
        due = lending.decision.due if obeys and lending.library.mode is Mode.ENFORCE else None
        started = time.monotonic()
        try:
            result = lending.adapter.checkout(lending.view.ils_patron, lending.item.item.barcode, exchange.context, due=due)
        except _NOT_SENT as err:
            self._ledger.record_refused(loan.loan_id, exchange.place, reason=_reason_of(err), ils_code=err.code)
            return lending.refused(_reason_of(err))
        except OutcomeUnknown:
            return self._find_out(lending, self._ledger.record_unknown(loan.loan_id))
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have lent the item
            _log.error("ils.failed_unexpectedly", institution_id=lending.library.code, error=type(err).__name__)
            return self._find_out(lending, self._ledger.record_unknown(loan.loan_id))
        if result.ok:
            return self._opened(lending, loan, result)
        late = time.monotonic() - started > exchange.context.timeout_s
        if late or result.code == "already_charged":
            return self._find_out(lending, self._ledger.record_unknown(loan.loan_id))
        self._ledger.record_refused(loan.loan_id, exchange.place, reason=Reason.ILS_REFUSED, ils_code=result.code)
        return lending.refused(Reason.ILS_REFUSED, message=result.message, code=result.code, result=result)

    def _opened(self, lending: _Lending, loan: Loan, result: CheckoutResult) -> CirculationAnswer:
        due = result.due or lending.decision.due
        wanted = lending.decision.due
        zone = lending.library.zone
        mismatch = bool(
            due and wanted and due.astimezone(zone).date() != wanted.astimezone(zone).date()
        )
        in_time = lending.exchange.slot.claim()
        row = self._ledger.record_open(
            loan.loan_id, lending.exchange.place, due=due, due_mismatch=mismatch, disputed=not in_time
        )
        self._track("loan.opened", lending.exchange, row, mismatch=mismatch)
        record = lending.item.record
        return CirculationAnswer(
            ok=True,
            due=due,
            title=result.title or (record.title if record else ""),
            message=result.message,
            item=record,
            result=result,
        )

    def _find_out(self, lending: _Lending, loan: Loan) -> CirculationAnswer:
        """After an unknown outcome: ask the ILS who has the item, and never lend again blindly."""
        try:
            now_with = self._facts.fetch_item_loan(loan)
        except AdapterError:
            return lending.refused(Reason.OUTCOME_UNKNOWN)
        if now_with is not None and now_with.patron == loan.ils_patron:
            return self._say_yes_again(lending, loan, now_with)
        return lending.refused(Reason.OUTCOME_UNKNOWN)

    def _repeat(self, lending: _Lending, row: Loan) -> CirculationAnswer:
        """The patron has the item already, or it is being lent to him now: the same checkout, not a renewal."""
        if row.state is LoanState.ASKED:
            row = self._wait_for(row, lending.exchange.context.timeout_s)
        match row.state:
            case LoanState.OPEN if lending.policy.checkout_may_renew and lending.exchange.may_renew:
                return self._renew_loan(lending.exchange, lending.library, lending.view, row)
            case LoanState.OPEN | LoanState.DISPUTED:
                return self._say_yes_again(lending, row, None)
            case LoanState.UNKNOWN:
                return self._find_out(lending, row)
            case LoanState.ASKED:
                return lending.refused(Reason.IN_PROGRESS)
            case LoanState.REFUSED:
                return lending.refused(Reason.ILS_REFUSED)
            case _:
                return lending.refused(Reason.ITEM_ON_LOAN)

    def _say_yes_again(self, lending: _Lending, row: Loan, now_with: IlsLoan | None) -> CirculationAnswer:
        due = (now_with.due if now_with else None) or row.due
        if row.state is not LoanState.OPEN:
            in_time = lending.exchange.slot.claim()
            row = self._ledger.record_open(row.loan_id, lending.exchange.place, due=due, disputed=not in_time)
            self._track("loan.opened", lending.exchange, row)
        record = lending.item.record
        return CirculationAnswer(
            ok=True, due=row.due or due, repeated=True, item=record, title=record.title if record else ""
        )

    def _wait_for(self, row: Loan, patience_s: float) -> Loan:
        until = time.monotonic() + patience_s
        while row.state is LoanState.ASKED and time.monotonic() < until:
            time.sleep(_POLL_S)
            row = self._ledger.fetch_loan(row.loan_id) or row
        return row

    def _pass_checkout(self, exchange: Exchange, library: Library, *, ledger: bool = True) -> CirculationAnswer:
        """Let the ILS alone decide about somebody whom we did not enrol (decision 4)."""
        adapter = self._adapters[library.code]
        item = ItemId(library.code, library.barcodes.normalise(exchange.scanned_item))
        patron = IlsPatronId(exchange.scanned_patron)
        try:
            result = adapter.checkout(patron, item.barcode, exchange.context)
        except OutcomeUnknown:
            now_with = adapter.fetch_item_loan(item.barcode, patron)
            if now_with is None or now_with.patron != patron:
                return CirculationAnswer(ok=False, reason=Reason.OUTCOME_UNKNOWN, passed_through=True)
            result = CheckoutResult(ok=True, due=now_with.due, title=now_with.title)
        if result.ok and ledger:
            self._note_passed(Verb.CHECKOUT, item, exchange, library)
        return CirculationAnswer(
            ok=result.ok,
            reason=None if result.ok else Reason.ILS_REFUSED,
            due=result.due,
            title=result.title,
            message=result.message,
            code=result.code,
            renewed=result.renewed,
            passed_through=True,
            result=result,
        )

    def _note_passed(self, verb: Verb, item: ItemId, exchange: Exchange, library: Library) -> None:
        try:
            stale = self._ledger.find_unclosed(item)
            if stale is not None and verb is Verb.CHECKOUT:
                self._ledger.record_supersede(stale.loan_id, exchange.place)
            self._ledger.record_event(verb, exchange.place, patron_id=None, item=item, reason="passed_through")
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)

    # --- checkin --------------------------------------------------------------------------------------------------

    def checkin(self, exchange: Exchange) -> CheckinAnswer:
        """Take an item back, whoever brings it; a return passes even while our own database is down."""
        library = self._libraries[exchange.institution]
        adapter = self._adapters[library.code]
        local = ItemId(library.code, library.barcodes.normalise(exchange.scanned_item))
        try:
            item = self._returned_item(exchange, library, local)
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)
            item = local
        except AdapterError as err:
            return CheckinAnswer(ok=False, item=local, reason=_reason_of(err))
        if item is None:
            return CheckinAnswer(ok=False, item=local, reason=Reason.AMBIGUOUS_ITEM)
        try:
            result = adapter.checkin(item.barcode, exchange.context, returned_at=exchange.context.at)
        except OutcomeUnknown:
            try:
                returned = adapter.fetch_item_loan(item.barcode) is None
            except AdapterError:
                returned = False
            if not returned:
                return CheckinAnswer(ok=False, item=item, reason=Reason.OUTCOME_UNKNOWN)
            result = CheckinResult(ok=True)
        except AdapterError as err:
            return CheckinAnswer(ok=False, item=item, reason=_reason_of(err))
        if result.ok:
            self._note_return(exchange, library, item)
        return CheckinAnswer(
            ok=result.ok, item=item, reason=None if result.ok else Reason.ILS_REFUSED, result=result
        )

    def _returned_item(self, exchange: Exchange, library: Library, local: ItemId) -> ItemId | None:
        """Return which item was brought, or None when it must be handed to staff (scenario 18)."""
        candidates = self._facts.resolve_item(exchange.scanned_item, library)
        if len(candidates) == 1 and candidates[0].owner != library.code:
            return candidates[0]
        loans = {loan.item: loan for loan in self._ledger.find_by_barcode(local.barcode)}
        if not loans or set(loans) == {local}:
            return local if len(candidates) == 1 else None
        adapter = self._adapters[library.code]
        known_here = Capability.FETCH_ITEM in adapter.capabilities and adapter.fetch_item(local.barcode) is not None
        owners = frozenset(item.owner for item in loans) | (frozenset({library.code}) if known_here else frozenset())
        decided = next(iter(loans)).owner if len(loans) == 1 and not known_here else None
        owner = decide_checkin(owners, local=library.code, loan_owner=decided)
        return None if owner is None else ItemId(InstitutionId(owner), local.barcode)

    def _note_return(self, exchange: Exchange, library: Library, item: ItemId) -> None:
        try:
            returned = self._ledger.record_return(item, exchange.place, returned_at=exchange.context.at)
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)
            return
        for loan in returned.closed:
            self._track("loan.returned", exchange, loan)

    # --- renewal --------------------------------------------------------------------------------------------------

    def renew(self, exchange: Exchange) -> CirculationAnswer:
        """Renew one loan, at any library of the network."""
        library = self._libraries[exchange.institution]
        try:
            standing = self._standing(exchange, library)
            if standing is None:
                return self._pass_renewal(exchange, library)
            view = self._facts.read_patron(
                standing, exchange.scanned_patron, library, exchange.place, pin=_pin(exchange)
            )
            bar = _patron_bar(view, exchange)
            if bar is not None:
                return CirculationAnswer(ok=False, reason=bar)
            row = self._loan_to_renew(exchange, library, view)
            if row is None:
                return CirculationAnswer(ok=False, reason=Reason.NOT_ON_LOAN)
            return self._renew_loan(exchange, library, view, row)
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=_reason_of(err))

    def renew_all(self, exchange: Exchange) -> tuple[tuple[Loan, CirculationAnswer], ...] | CirculationAnswer:
        """Renew each loan of the patron by itself; a refusal of the patron as a whole is one answer.

        Returns ``CirculationAnswer`` with ``passed_through`` for somebody whom we did not enrol.
        """
        library = self._libraries[exchange.institution]
        try:
            standing = self._standing(exchange, library)
            if standing is None:
                return CirculationAnswer(ok=True, passed_through=True)
            view = self._facts.read_patron(
                standing, exchange.scanned_patron, library, exchange.place, pin=_pin(exchange)
            )
            bar = _patron_bar(view, exchange)
            if bar is not None:
                return CirculationAnswer(ok=False, reason=bar)
            loans = [loan for loan in view.loans if loan.state is LoanState.OPEN]
            return tuple((loan, self._renew_loan(exchange, library, view, loan)) for loan in loans)
        except StorageUnavailable:
            _log.exception("store.unavailable", institution_id=library.code)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=_reason_of(err))

    def _loan_to_renew(self, exchange: Exchange, library: Library, view: PatronView) -> Loan | None:
        wanted = self._facts.resolve_item(exchange.scanned_item, library)
        barcode = library.barcodes.normalise(exchange.scanned_item)
        mine = [loan for loan in view.loans if loan.state in {LoanState.OPEN, LoanState.DISPUTED}]
        exact = [loan for loan in mine if loan.item in wanted]
        alike = exact or [loan for loan in mine if loan.item.barcode == barcode]
        return alike[0] if len(alike) == 1 else None

    def _renew_loan(
        self, exchange: Exchange, library: Library, view: PatronView, row: Loan
    ) -> CirculationAnswer:
        lender = self._libraries.get(row.lender)
        policy = select_policy(library.policies, view.standing.category, exchange.place.local_date)
        if lender is None:
            return CirculationAnswer(ok=False, reason=Reason.NOT_SUPPORTED)
        if policy is None:
            return CirculationAnswer(ok=False, reason=Reason.NO_POLICY)
        try:
            item = self._facts.read_item(row.item, lender)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=_reason_of(err))
        decision = decide_renewal(
            policy,
            standing=view.standing,
            due=row.due,
            renewals=row.renewals,
            lent_at=row.opened_at,
            reserved=item.record is not None and item.record.hold_count > 0,
            overdue_items=count_quota(view, now=exchange.place.at, library=library).overdue,
            now=exchange.place.at,
            zone=library.zone,
            is_closed=library.is_closed,
        )
        decision = self._narrow(decision, "renewal", exchange, view, item)
        lending = _Lending(exchange, lender, self._adapters[lender.code], view, item, policy, decision)
        enforced = library.mode is Mode.ENFORCE and not exchange.context.no_block
        if not decision.permitted:
            reason = decision.reason or Reason.PLUGIN_REFUSED
            self._note_refusal(lending, reason, enforced=enforced, renewal=True)
            if enforced:
                return lending.refused(reason, limit=decision.limit, due=row.due)
        return self._renew_in_ils(lending, row)

    def _renew_in_ils(self, lending: _Lending, row: Loan) -> CirculationAnswer:
        exchange = lending.exchange
        patience = timedelta(seconds=exchange.context.timeout_s) + self._ask_margin
        if not self._ledger.ask_renewal(row.loan_id, renewals=row.renewals, until=self._now() + patience):
            return lending.refused(Reason.IN_PROGRESS, due=row.due)
        obeys = Capability.SET_DUE_DATE in lending.adapter.capabilities
        due = lending.decision.due if obeys else None
        started = time.monotonic()
        try:
            result = lending.adapter.renew(row.ils_patron, row.item.barcode, exchange.context, due=due)
        except _NOT_SENT as err:
            self._ledger.release_renewal(row.loan_id)
            return lending.refused(_reason_of(err), due=row.due)
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have renewed the loan
            _log.error("ils.failed_unexpectedly", institution_id=lending.library.code, error=type(err).__name__)
            return self._find_out_renewal(lending, row)
        if not result.ok:
            if time.monotonic() - started > exchange.context.timeout_s:
                return self._find_out_renewal(lending, row)
            self._ledger.release_renewal(row.loan_id)
            self._note_refusal(lending, Reason.ILS_REFUSED, enforced=True, renewal=True, code=result.code)
            return lending.refused(
                Reason.ILS_REFUSED, message=result.message, code=result.code, due=row.due, result=result
            )
        return self._renewed(lending, row, result.due or lending.decision.due, row.renewals + 1, result)

    def _find_out_renewal(self, lending: _Lending, row: Loan) -> CirculationAnswer:
        """After an unknown outcome: a later due date or a higher count in the ILS means that it was renewed."""
        try:
            now_with = self._facts.fetch_item_loan(row)
        except AdapterError:
            return lending.refused(Reason.OUTCOME_UNKNOWN, due=row.due)
        later = now_with is not None and (
            (now_with.renewals or 0) > row.renewals
            or (now_with.due is not None and row.due is not None and now_with.due > row.due)
        )
        if now_with is None or not later:
            return lending.refused(Reason.OUTCOME_UNKNOWN, due=row.due)
        return self._renewed(lending, row, now_with.due, max(now_with.renewals or 0, row.renewals + 1), None)

    def _renewed(
        self, lending: _Lending, row: Loan, due: datetime | None, renewals: int, result: CheckoutResult | None
    ) -> CirculationAnswer:
        wanted, zone = lending.decision.due, lending.library.zone
        mismatch = bool(due and wanted and due.astimezone(zone).date() != wanted.astimezone(zone).date())
        saved = self._ledger.record_renewal(
            row.loan_id, lending.exchange.place, due=due, renewals=renewals, due_mismatch=mismatch
        )
        self._track("loan.renewed", lending.exchange, saved, mismatch=mismatch)
        record = lending.item.record
        return CirculationAnswer(
            ok=True,
            due=due,
            renewed=True,
            title=record.title if record else "",
            message=result.message if result else "",
            item=record,
            result=result,
        )

    def _pass_renewal(self, exchange: Exchange, library: Library) -> CirculationAnswer:
        adapter = self._adapters[library.code]
        barcode = library.barcodes.normalise(exchange.scanned_item)
        result = adapter.renew(IlsPatronId(exchange.scanned_patron), barcode, exchange.context)
        if result.ok:
            self._note_passed(Verb.RENEW, ItemId(library.code, barcode), exchange, library)
        return CirculationAnswer(
            ok=result.ok,
            reason=None if result.ok else Reason.ILS_REFUSED,
            due=result.due,
            renewed=result.ok,
            title=result.title,
            message=result.message,
            code=result.code,
            passed_through=True,
            result=result,
        )

    # --- shared ---------------------------------------------------------------------------------------------------

    def _narrow(
        self, decision: Decision, action: str, exchange: Exchange, view: PatronView, item: ItemView
    ) -> Decision:
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
        return self._decider.narrow_decision(decision, request)

    def _refuse_early(
        self, exchange: Exchange, view: PatronView, item: ItemView, reason: Reason
    ) -> CirculationAnswer:
        self._ledger.record_event(
            Verb.REFUSE, exchange.place, patron_id=view.standing.patron_id, item=item.item, reason=reason
        )
        record = item.record
        message = view.facts.message if reason is Reason.UNKNOWN_PATRON else ""
        return CirculationAnswer(
            ok=False, reason=reason, item=record, title=record.title if record else "", message=message
        )

    def _note_refusal(
        self, lending: _Lending, reason: Reason, *, enforced: bool, renewal: bool = False, code: str = ""
    ) -> None:
        verb = Verb.REFUSE if enforced else Verb.WOULD_REFUSE
        self._ledger.record_event(
            verb,
            lending.exchange.place,
            patron_id=lending.view.standing.patron_id,
            item=lending.item.item,
            reason=f"renewal.{reason}" if renewal else reason,
            policy_version=lending.policy.version,
            ils_verdict=code,
        )
        _log.info(
            "checkout.refused" if enforced else "checkout.would_refuse",
            institution_id=lending.library.code,
            terminal_id=lending.exchange.context.terminal or "",
            reason=str(reason),
        )

    def _track(self, name: str, exchange: Exchange, loan: Loan, *, mismatch: bool = False) -> None:
        if mismatch:
            _log.warning("loan.due_date_differs", institution_id=loan.lender)
        self._events.track(
            Event(name, exchange.place.at, exchange.institution, {"loan_id": loan.loan_id, "state": loan.state.value})
        )


def _pin(exchange: Exchange) -> str | None:
    return None if exchange.pin_rule == PinRule.NEVER else exchange.context.pin


def _patron_bar(view: PatronView, exchange: Exchange) -> Reason | None:
    if not view.facts.valid:
        return Reason.UNKNOWN_PATRON
    if exchange.pin_rule == PinRule.NEVER:
        return None
    if exchange.context.pin is None:
        return Reason.PIN_MISSING if exchange.pin_rule == PinRule.ALWAYS else None
    return Reason.PIN_WRONG if view.facts.pin_valid is False else None


def _reason_of(err: AdapterError) -> Reason:
    if isinstance(err, OutcomeUnknown):
        return Reason.OUTCOME_UNKNOWN
    if isinstance(err, UnsupportedOperation):
        return Reason.NOT_SUPPORTED
    return Reason.ILS_UNAVAILABLE
