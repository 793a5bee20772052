"""Lending while the ILS is away: to enrolled patrons, a few items each, out of the ledger alone.

Nothing here asks an ILS; ``replay`` tells it later. Rules: decisions 4, 7, 8, 13, 14 —

- the library must permit it, and the ILS have been heard within so many hours;
- the policy holds as ever, over the loans of the ledger and what is known of the item; on top of it
  a patron may have only so many loans that the ILS has not heard of;
- nobody can check a PIN: where one is always asked for, nothing is lent;
- what a terminal uploads has happened already: it is recorded, and flagged where it is too much;
- of people whom we did not enrol nothing is stored, so that they are refused.
"""

from __future__ import annotations

from dataclasses import replace

from connector.domain.circulation import Decision, Reason, decide_checkout
from connector.domain.ids import IlsPatronId
from connector.domain.item import IlsItem
from connector.domain.library import Library, Mode
from connector.domain.loan import Loan, LoanOrigin, LoanState
from connector.domain.patron import PatronFacts, PatronStanding, PinRule
from connector.domain.policy import select_policy
from connector.errors import AdapterError, AdapterUnavailable, OutcomeUnknown
from connector.ports.deferred import Deferral, DeferredVerb
from connector.ports.ledger import AlreadyHere, Asked, AskLoan, NoPlace, TakenByOther
from connector.services.desk import (
    CirculationAnswer,
    CirculationDesk,
    EarlyRefusal,
    Exchange,
    Lending,
    reason_of_read,
)
from connector.services.facts import PatronView, count_quota
from connector.services.uploads import Uploads

__all__ = ["AwayLending", "may_stand_in", "view_without_ils"]


def may_stand_in(library: Library, standing: PatronStanding, err: AdapterError) -> bool:
    """Say whether a call failed because the ILS is away, and a patron may be served without it."""
    if not isinstance(err, AdapterUnavailable | OutcomeUnknown) or library.mode is not Mode.ENFORCE:
        return False
    if isinstance(err, AdapterUnavailable) and err.answered:
        return False
    return standing.ils_patron is not None or standing.is_retired


def view_without_ils(desk: CirculationDesk, standing: PatronStanding) -> PatronView:
    """Return a patron as the ledger alone knows him."""
    facts = PatronFacts(
        standing.ils_patron or IlsPatronId(""),
        desk.now(),
        valid=not standing.is_retired,
        loans_complete=False,
    )
    loans = desk.ledger.list_unclosed(standing.patron_id)
    return PatronView(standing, facts, facts.ils_patron, loans)


class AwayLending:
    """The checkout flow without an ILS."""

    def __init__(self, desk: CirculationDesk) -> None:
        self._desk = desk
        self._uploads = Uploads(desk)

    def lend(
        self, exchange: Exchange, library: Library, standing: PatronStanding, err: AdapterError
    ) -> CirculationAnswer:
        """Lend after ``err``, the failure of a call that changed nothing, or refuse politely."""
        if not self._may_lend(exchange, library, standing, err):
            return CirculationAnswer(ok=False, reason=reason_of_read(err))
        prepared = self._prepare(exchange, library, standing)
        if isinstance(prepared, EarlyRefusal):
            return self._desk.refuse_early(prepared)
        item = prepared.item.item
        row = prepared.view.find_loan(item)
        if row is not None:
            return _say_again(prepared, row)
        if self._uploads.list_outdated(
            exchange, library, item, DeferredVerb.CHECKOUT, patron_id=standing.patron_id
        ):
            return prepared.refused(Reason.OUTDATED)
        return self._lend(prepared)

    def _may_lend(
        self, exchange: Exchange, library: Library, standing: PatronStanding, err: AdapterError
    ) -> bool:
        if exchange.slot.is_expired or not may_stand_in(library, standing, err):
            return False
        return exchange.context.no_block or self._desk.away.lends(library)

    def _prepare(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> Lending | EarlyRefusal:
        items = self._desk.facts.resolve_item(exchange.scanned_item, library)
        if len(items) != 1:
            return EarlyRefusal(exchange, Reason.AMBIGUOUS_ITEM, standing)
        view = view_without_ils(self._desk, standing)
        if not view.facts.valid:
            return EarlyRefusal(exchange, Reason.UNKNOWN_PATRON, standing, view)
        if exchange.pin_rule is PinRule.ALWAYS:
            return EarlyRefusal(exchange, Reason.OFFLINE_PIN, standing, view)
        item = self._desk.facts.classify(items[0], IlsItem(barcode=items[0].barcode))
        policy = select_policy(library.policies, standing.category, exchange.place.local_date)
        if policy is None:
            return EarlyRefusal(exchange, Reason.NO_POLICY, standing, view, item)
        adapter = self._desk.adapters[library.code]
        undecided = Decision(permitted=True)
        lending = Lending(exchange, library, adapter, view, item, policy, undecided)
        return replace(lending, decision=self._decide(lending))

    def _decide(self, lending: Lending) -> Decision:
        at, library = lending.exchange.place.at, lending.library
        decision = decide_checkout(
            lending.policy,
            standing=lending.view.standing,
            quota=count_quota(lending.view, now=at, library=library, without=lending.item.item),
            item=lending.item.classification,
            collection="",
            unsuitable=False,
            now=at,
            zone=library.zone,
            is_closed=library.is_closed,
        )
        return self._desk.narrow(decision, "checkout", lending.exchange, lending.view, lending.item)

    def _lend(self, lending: Lending) -> CirculationAnswer:
        decision, enforced = lending.decision, not lending.exchange.context.no_block
        if not decision.permitted:
            reason = decision.reason or Reason.PLUGIN_REFUSED
            self._desk.note_refusal(lending, reason, enforced=enforced)
            if enforced:
                return lending.refused(reason, limit=decision.limit)
        match self._desk.ledger.ask(self._request(lending, enforced=enforced)):
            case Asked(loan):
                return self._open(lending, loan)
            case AlreadyHere(loan):
                return _say_again(lending, loan)
            case TakenByOther():
                return self._refuse(lending, Reason.ITEM_ON_LOAN)
            case NoPlace(away=True):
                limit = lending.library.away.items
                return self._refuse(lending, Reason.OFFLINE_LIMIT, limit=limit)
            case NoPlace(foreign=True):
                limit = lending.policy.max_foreign_items
                return self._refuse(lending, Reason.FOREIGN_LIMIT, limit=limit)
            case NoPlace():
                return self._refuse(lending, Reason.ITEM_LIMIT, limit=lending.policy.max_items)

    def _refuse(
        self, lending: Lending, reason: Reason, *, limit: int | None = None
    ) -> CirculationAnswer:
        self._desk.note_refusal(lending, reason, enforced=True)
        return lending.refused(reason, limit=limit)

    def _request(self, lending: Lending, *, enforced: bool) -> AskLoan:
        return replace(
            self._desk.prepare_ask(lending, enforced=enforced),
            origin=LoanOrigin.OFFLINE,
            away_limit=lending.library.away.items if enforced else None,
        )

    def _open(self, lending: Lending, loan: Loan) -> CirculationAnswer:
        exchange, due = lending.exchange, lending.decision.due
        if not exchange.slot.claim():
            self._desk.ledger.record_refused(
                loan.loan_id, exchange.place, reason=Reason.ILS_UNAVAILABLE
            )
            return lending.refused(Reason.ILS_UNAVAILABLE)
        deferral = Deferral(lending.library.code, DeferredVerb.CHECKOUT)
        row = self._desk.ledger.record_open(loan.loan_id, exchange.place, due=due, defer=deferral)
        if row.state is not LoanState.OPEN:
            return lending.refused(Reason.OUTCOME_UNKNOWN)
        self._desk.facts.note_unknown_language(lending.item)
        self._desk.track("loan.opened", exchange, row)
        return CirculationAnswer(ok=True, due=row.due, item=lending.item.record)


def _say_again(lending: Lending, row: Loan) -> CirculationAnswer:
    """The patron has the item already: the same checkout."""
    if row.state is LoanState.OPEN:
        return CirculationAnswer(ok=True, due=row.due, repeated=True, item=lending.item.record)
    reasons = {
        LoanState.ASKED: Reason.IN_PROGRESS,
        LoanState.UNKNOWN: Reason.OUTCOME_UNKNOWN,
        LoanState.DISPUTED: Reason.OUTCOME_UNKNOWN,
    }
    return lending.refused(reasons.get(row.state, Reason.ITEM_ON_LOAN))
