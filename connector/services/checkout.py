"""Checkout: facts, decision, place in the ledger (T1), ILS, outcome in the ledger (T2), answer.

Nothing here speaks SIP2 or SQL. Rules: decisions 4, 6–9, 11–18 —

- the place in the quota is taken and committed before the ILS is asked, the outcome is committed
  before anyone is told "yes", and no transaction is open while the ILS works;
- done, refused and unknown are three outcomes: after an unknown one the ILS is asked what is true,
  never told again;
- whoever is not enrolled passes to the ILS untouched;
- a repeated checkout of an item that the patron has already is answered with the first due date and
  renews nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace

from connector.domain.circulation import Decision, Quota, Reason, decide_checkout
from connector.domain.ids import Barcode, IlsPatronId, ItemId
from connector.domain.library import Library, Mode, StoreFailure
from connector.domain.loan import IlsLoan, Loan, LoanOrigin, LoanState
from connector.domain.patron import PatronStanding
from connector.domain.policy import select_policy
from connector.errors import (
    AdapterError,
    OutcomeUnknown,
)
from connector.log import get_logger
from connector.ports.deferred import DeferredVerb
from connector.ports.ils import Capability, CheckoutResult, IlsAdapter
from connector.ports.ledger import AlreadyHere, Asked, AskLoan, NoPlace, TakenByOther, Verb
from connector.services.away_lending import AwayLending
from connector.services.desk import (
    STORE_DOWN,
    CirculationAnswer,
    CirculationDesk,
    EarlyRefusal,
    Exchange,
    Lending,
    agree_on_due,
    context_for_ils,
    patron_bar,
    reason_of,
    reason_of_read,
)
from connector.services.facts import count_quota
from connector.services.renewal import NOT_SENT, Renewal
from connector.services.uploads import Uploads

__all__ = ["Checkout"]

_log = get_logger(__name__)

_POLL_S = 0.05


class Checkout:
    """The checkout flow."""

    def __init__(self, desk: CirculationDesk, renewal: Renewal) -> None:
        self._desk = desk
        self._renewal = renewal
        self._away = AwayLending(desk)
        self._uploads = Uploads(desk)

    def checkout(self, exchange: Exchange) -> CirculationAnswer:
        """Lend an item."""
        library = self._desk.libraries[exchange.institution]
        standing = None
        try:
            standing = self._desk.find_borrower(exchange, library)
            if standing is None:
                return self._pass(exchange, library)
            if library.mode is Mode.OBSERVE:
                return self._observe(exchange, library, standing)
            prepared = self._prepare(exchange, library, standing)
        except STORE_DOWN:
            return self._without_store(exchange, library)
        except AdapterError as err:
            if standing is None:
                return CirculationAnswer(ok=False, reason=reason_of_read(err))
            return self._lend_away(exchange, library, standing, err)
        try:
            return self._enforce(prepared)
        except STORE_DOWN:
            # From here on the ILS may have been asked: nothing may be asked of it twice.
            _log.exception("store.unavailable", institution=library.code)
            return CirculationAnswer(ok=False, reason=Reason.OUTCOME_UNKNOWN)

    def _lend_away(
        self, exchange: Exchange, library: Library, standing: PatronStanding, err: AdapterError
    ) -> CirculationAnswer:
        """The ILS could not be asked, and has done nothing: lend without it, if that is wanted."""
        try:
            return self._away.lend(exchange, library, standing, err)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)

    def _without_store(self, exchange: Exchange, library: Library) -> CirculationAnswer:
        """Our database is down and the ILS has not been asked: do what the library chose."""
        _log.exception("store.unavailable", institution=library.code)
        if library.store_failure is StoreFailure.OPEN or library.mode is Mode.OBSERVE:
            return self._pass(exchange, library, ledger=False)
        return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)

    def _prepare(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> Lending | EarlyRefusal:
        """Read the facts once and decide; nothing is taken yet."""
        items = self._desk.facts.resolve_item(exchange.scanned_item, library)
        if len(items) != 1:
            return EarlyRefusal(exchange, Reason.AMBIGUOUS_ITEM, standing)
        view = self._desk.read_patron(exchange, library, standing)
        item = self._desk.facts.read_item(items[0], library)
        policy = select_policy(library.policies, standing.category, exchange.place.local_date)
        bar = patron_bar(view, exchange) or (Reason.UNKNOWN_ITEM if item.record is None else None)
        if bar is not None or policy is None:
            return EarlyRefusal(exchange, bar or Reason.NO_POLICY, standing, view, item)
        adapter = self._desk.adapters[library.code]
        undecided = Decision(permitted=True)
        lending = Lending(exchange, library, adapter, view, item, policy, undecided)
        return replace(lending, decision=self._decide(lending))

    def _enforce(self, prepared: Lending | EarlyRefusal) -> CirculationAnswer:
        if isinstance(prepared, EarlyRefusal):
            return self._desk.refuse_early(prepared)
        row = prepared.view.find_loan(prepared.item.item)
        if row is not None:
            return self._repeat(prepared, row)
        try:
            reason = self._why_not_now(prepared)
        except STORE_DOWN:
            return self._without_store(prepared.exchange, prepared.library)
        return self._lend(prepared) if reason is None else prepared.refused(reason)

    def _why_not_now(self, lending: Lending) -> Reason | None:
        """Return why the item itself stands in the way: something untold, or something newer."""
        exchange, library, item = lending.exchange, lending.library, lending.item.item
        if self._desk.away.is_waiting(library, item):
            return Reason.IN_PROGRESS
        patron_id = lending.view.standing.patron_id
        outdated = self._uploads.list_outdated(
            exchange, library, item, DeferredVerb.CHECKOUT, patron_id=patron_id
        )
        return Reason.OUTDATED if outdated else None

    def _observe(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> CirculationAnswer:
        """Let the ILS answer; write what the policy would have refused, and learn of the loan."""
        prepared = None
        try:
            prepared = self._prepare(exchange, library, standing)
            if isinstance(prepared, EarlyRefusal):
                self._desk.note_would_refuse(prepared)
            elif prepared.decision.reason is not None and not self._has_it(prepared):
                self._desk.note_refusal(prepared, prepared.decision.reason, enforced=False)
        except (AdapterError, *STORE_DOWN) as err:
            _log.warning("checkout.not_judged", institution=library.code, error=type(err).__name__)
        answer = self._pass(exchange, library, ledger=False)
        if answer.ok and isinstance(prepared, Lending) and not self._has_it(prepared):
            self._learn(prepared, answer)
        return answer

    @staticmethod
    def _has_it(lending: Lending) -> bool:
        return lending.view.find_loan(lending.item.item) is not None

    def _learn(self, lending: Lending, answer: CirculationAnswer) -> None:
        """Write a loan that the ILS made while the policy only watched."""
        place = lending.exchange.place
        try:
            taken = self._desk.ledger.ask(self._request(lending, enforced=False))
            if isinstance(taken, TakenByOther):
                request = self._request(lending, enforced=False, stale=taken.loan)
                taken = self._desk.ledger.ask(request)
            if isinstance(taken, Asked):
                self._desk.ledger.record_open(taken.loan.loan_id, place, due=answer.due)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=lending.library.code)

    def _decide(self, lending: Lending) -> Decision:
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
        return self._desk.narrow(decision, "checkout", lending.exchange, lending.view, lending.item)

    def _quota(self, lending: Lending) -> Quota:
        return count_quota(
            lending.view,
            now=lending.exchange.place.at,
            library=lending.library,
            without=lending.item.item,
        )

    def _lend(self, lending: Lending) -> CirculationAnswer:
        decision, exchange = lending.decision, lending.exchange
        if exchange.slot.is_expired:
            return lending.refused(Reason.ILS_UNAVAILABLE)
        enforced = not exchange.context.no_block
        if not decision.permitted:
            reason = decision.reason or Reason.PLUGIN_REFUSED
            self._desk.note_refusal(lending, reason, enforced=enforced)
            if enforced:
                return lending.refused(reason, limit=decision.limit)
        try:
            taken = self._desk.ledger.ask(self._request(lending, enforced=enforced))
            if isinstance(taken, TakenByOther) and self._is_stale(lending, taken.loan):
                request = self._request(lending, enforced=enforced, stale=taken.loan)
                taken = self._desk.ledger.ask(request)
        except STORE_DOWN:
            return self._without_store(exchange, lending.library)
        match taken:
            case Asked(loan):
                return self._ask_ils(lending, loan)
            case AlreadyHere(loan):
                return self._repeat(lending, loan)
            case TakenByOther():
                self._desk.note_refusal(lending, Reason.ITEM_ON_LOAN, enforced=True)
                return lending.refused(Reason.ITEM_ON_LOAN)
            case NoPlace(_, foreign):
                reason = Reason.FOREIGN_LIMIT if foreign else Reason.ITEM_LIMIT
                limit = lending.policy.max_foreign_items if foreign else lending.policy.max_items
                self._desk.note_refusal(lending, reason, enforced=True)
                return lending.refused(reason, limit=limit)

    def _request(self, lending: Lending, *, enforced: bool, stale: Loan | None = None) -> AskLoan:
        forced = lending.exchange.context.no_block
        return replace(
            self._desk.prepare_ask(lending, enforced=enforced),
            uncounted=lending.view.uncounted,
            origin=LoanOrigin.OFFLINE if forced else LoanOrigin.GATEWAY,
            supersede=stale.loan_id if stale is not None else None,
        )

    def _is_stale(self, lending: Lending, row: Loan) -> bool:
        """Say whether the ILS shows that another patron no longer has the item."""
        record = lending.item.record
        began = lending.view.facts.as_of
        if (
            record is None
            or row.lender != lending.library.code
            or (row.opened_at or row.asked_at) >= began
        ):
            return False
        if row.state not in {LoanState.OPEN, LoanState.DISPUTED}:
            return False
        try:
            now_with = self._desk.facts.fetch_item_loan(row)
        except AdapterError:
            return False
        return now_with is None or now_with.patron not in {None, row.ils_patron}

    def _ask_ils(self, lending: Lending, loan: Loan) -> CirculationAnswer:
        exchange = lending.exchange
        obeys = Capability.SET_DUE_DATE in lending.adapter.capabilities
        due = lending.decision.due if obeys else None
        started = time.monotonic()
        try:
            result = lending.adapter.checkout(
                lending.view.ils_patron,
                lending.item.item.barcode,
                context_for_ils(exchange),
                due=due,
            )
        except NOT_SENT as err:
            self._desk.ledger.record_refused(
                loan.loan_id, exchange.place, reason=reason_of(err), ils_code=err.code
            )
            return self._lend_away(exchange, lending.library, lending.view.standing, err)
        except OutcomeUnknown:
            return self._find_out(lending, self._desk.ledger.record_unknown(loan.loan_id))
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have lent the item
            _log.error(
                "ils.failed_unexpectedly",
                institution=lending.library.code,
                error=type(err).__name__,
            )
            return self._find_out(lending, self._desk.ledger.record_unknown(loan.loan_id))
        if result.ok:
            return self._opened(lending, loan, result)
        late = time.monotonic() - started > exchange.context.timeout_s
        if late or result.code == "already_charged":
            return self._find_out(lending, self._desk.ledger.record_unknown(loan.loan_id))
        self._desk.ledger.record_refused(
            loan.loan_id, exchange.place, reason=Reason.ILS_REFUSED, ils_code=result.code
        )
        return lending.refused(
            Reason.ILS_REFUSED, message=result.message, code=result.code, result=result
        )

    def _opened(self, lending: Lending, loan: Loan, result: CheckoutResult) -> CirculationAnswer:
        due, mismatch = agree_on_due(lending, result.due)
        in_time = lending.exchange.slot.claim()
        row = self._desk.ledger.record_open(
            loan.loan_id,
            lending.exchange.place,
            due=due,
            due_mismatch=mismatch,
            disputed=not in_time,
        )
        self._desk.facts.note_unknown_language(lending.item)
        self._desk.track("loan.opened", lending.exchange, row, mismatch=mismatch)
        record = lending.item.record
        return CirculationAnswer(
            ok=True,
            due=due,
            title=result.title or (record.title if record else ""),
            message=result.message,
            item=record,
            result=result,
        )

    def _find_out(self, lending: Lending, loan: Loan) -> CirculationAnswer:
        """After an unknown outcome: ask the ILS who has the item, and never lend again blindly."""
        try:
            now_with = self._desk.facts.fetch_item_loan(loan)
        except AdapterError:
            return lending.refused(Reason.OUTCOME_UNKNOWN)
        if now_with is not None and now_with.patron == loan.ils_patron:
            return self._say_yes_again(lending, loan, now_with)
        return lending.refused(Reason.OUTCOME_UNKNOWN)

    def _repeat(self, lending: Lending, row: Loan) -> CirculationAnswer:
        """The patron has the item already, or it is being lent to him now: the same checkout, not a
        renewal.
        """
        if row.state is LoanState.ASKED:
            row = self._wait_for(row, lending.exchange.context.timeout_s)
        match row.state:
            case LoanState.OPEN if lending.policy.checkout_may_renew and lending.exchange.may_renew:
                return self._renewal.renew_loan(
                    lending.exchange, lending.library, lending.view, row
                )
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

    def _say_yes_again(
        self, lending: Lending, row: Loan, now_with: IlsLoan | None
    ) -> CirculationAnswer:
        due = (now_with.due if now_with else None) or row.due
        if row.state is not LoanState.OPEN:
            in_time = lending.exchange.slot.claim()
            row = self._desk.ledger.record_open(
                row.loan_id, lending.exchange.place, due=due, disputed=not in_time
            )
            self._desk.track("loan.opened", lending.exchange, row)
        record = lending.item.record
        return CirculationAnswer(
            ok=True,
            due=row.due or due,
            repeated=True,
            item=record,
            title=record.title if record else "",
        )

    def _wait_for(self, row: Loan, patience_s: float) -> Loan:
        until = time.monotonic() + patience_s
        while row.state is LoanState.ASKED and time.monotonic() < until:
            time.sleep(_POLL_S)
            row = self._desk.ledger.fetch_loan(row.loan_id) or row
        return row

    def _pass(
        self, exchange: Exchange, library: Library, *, ledger: bool = True
    ) -> CirculationAnswer:
        """Let the ILS alone decide about somebody whom we did not enrol (decision 4)."""
        if exchange.slot.is_expired:
            return CirculationAnswer(ok=False, reason=Reason.ILS_UNAVAILABLE)
        adapter = self._desk.adapters[library.code]
        item = ItemId(library.code, library.barcodes.normalise(exchange.scanned_item))
        patron = IlsPatronId(exchange.scanned_patron)
        try:
            result = adapter.checkout(patron, item.barcode, exchange.context)
        except OutcomeUnknown:
            now_with = _ask_who_has(adapter, item.barcode, patron)
            if now_with is None or now_with.patron != patron:
                return CirculationAnswer(
                    ok=False, reason=Reason.OUTCOME_UNKNOWN, passed_through=True
                )
            result = CheckoutResult(ok=True, due=now_with.due, title=now_with.title)
        if result.ok and ledger:
            self._desk.note_passed(Verb.CHECKOUT, item, exchange, library)
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


def _ask_who_has(adapter: IlsAdapter, barcode: Barcode, patron: IlsPatronId) -> IlsLoan | None:
    try:
        return adapter.fetch_item_loan(barcode, patron)
    except AdapterError:
        return None
