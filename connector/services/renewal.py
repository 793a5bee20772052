"""Renewal of one loan or of all: facts, decision, a claim in the ledger, the ILS, the outcome in
the ledger.

Nothing here speaks SIP2 or SQL. Rules: A33, A34, decisions 7, 9, 12; scenarios 19–21. A renewal is
claimed in the ledger before the ILS is asked, so that two kiosks cannot both make it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from connector.domain.circulation import Reason, decide_renewal
from connector.domain.ids import Barcode, IlsPatronId, ItemId
from connector.domain.library import Library, Mode, StoreFailure
from connector.domain.loan import Loan, LoanState
from connector.domain.patron import PatronStanding
from connector.domain.policy import select_policy
from connector.domain.wire import WireMessage
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.ils import Capability, CheckoutResult
from connector.ports.ledger import Verb
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
from connector.services.facts import PatronView, count_quota
from connector.services.forwarding import can_forward, forward
from connector.services.renewal_elsewhere import compare_due_date
from connector.services.renewal_signs import Since, compare_loan

__all__ = ["NOT_SENT", "Renewal"]

_log = get_logger(__name__)

NOT_SENT = (AdapterUnavailable, AdapterAuthFailed, UnsupportedOperation)
"""Errors after which the ILS cannot have done anything."""


class Renewal:
    """The renewal flow."""

    def __init__(self, desk: CirculationDesk) -> None:
        self._desk = desk

    def renew(self, exchange: Exchange) -> CirculationAnswer:
        """Renew one loan, at any library of the network."""
        library = self._desk.libraries[exchange.institution]
        try:
            standing = self._desk.find_borrower(exchange, library)
            if standing is None:
                return self._pass(exchange, library)
            if library.mode is Mode.OBSERVE:
                return self._observe(exchange, library, standing)
            view = self._desk.read_patron(exchange, library, standing)
            bar = patron_bar(view, exchange)
            if bar is not None:
                return CirculationAnswer(ok=False, reason=bar)
            row = self._loan_to_renew(exchange, library, view)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            if _may_pass(library):
                return self._pass(exchange, library, ledger=False)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=reason_of(err))
        if row is None:
            return CirculationAnswer(ok=False, reason=Reason.NOT_ON_LOAN)
        return self._renew_or_refuse(exchange, library, view, row)

    def renew_all(
        self, exchange: Exchange
    ) -> tuple[tuple[Barcode, CirculationAnswer], ...] | CirculationAnswer:
        """Renew each loan by itself; a refusal of the patron as a whole is one answer."""
        library = self._desk.libraries[exchange.institution]
        try:
            if library.mode is Mode.OBSERVE:
                return self._observe_all(exchange, library)
            standing = self._desk.find_borrower(exchange, library)
            if standing is None:
                return self._pass_all(exchange, library)
            view = self._desk.read_patron(exchange, library, standing)
            bar = patron_bar(view, exchange)
            if bar is not None:
                return CirculationAnswer(ok=False, reason=bar)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            if _may_pass(library):
                return self._pass_all(exchange, library)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=reason_of(err))
        loans = [loan for loan in view.loans if loan.state is LoanState.OPEN]
        return tuple(
            (loan.item.barcode, self._renew_or_refuse(exchange, library, view, loan))
            for loan in loans
        )

    def _renew_or_refuse(
        self, exchange: Exchange, library: Library, view: PatronView, row: Loan
    ) -> CirculationAnswer:
        """Renew; from here on the ILS may have been asked, and nothing is asked of it twice."""
        try:
            return self.renew_loan(exchange, library, view, row)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return CirculationAnswer(ok=False, reason=Reason.STORE_UNAVAILABLE)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=reason_of(err))

    def _observe(
        self, exchange: Exchange, library: Library, standing: PatronStanding
    ) -> CirculationAnswer:
        """Let the ILS answer; write what the policy would have refused, learn of the renewal."""
        row = None
        try:
            view = self._desk.read_patron(exchange, library, standing)
            row = self._loan_to_renew(exchange, library, view)
            self._judge(exchange, library, view, [] if row is None else [row])
        except (AdapterError, *STORE_DOWN) as err:
            _log.warning("renewal.not_judged", institution=library.code, error=type(err).__name__)
        answer = self._pass(exchange, library, ledger=False)
        if answer.ok and row is not None:
            self._learn(exchange, library, row, answer.due)
        return answer

    def _observe_all(
        self, exchange: Exchange, library: Library
    ) -> tuple[tuple[Barcode, CirculationAnswer], ...] | CirculationAnswer:
        """The same for every loan, where the ILS itself takes the whole message (65)."""
        rows: dict[Barcode, Loan] = {}
        try:
            standing = self._desk.find_standing(exchange, library)
            if standing is not None and can_forward(self._desk, exchange):
                view = self._desk.read_patron(exchange, library, standing)
                rows = {
                    loan.item.barcode: loan for loan in view.loans if loan.state is LoanState.OPEN
                }
                self._judge(exchange, library, view, list(rows.values()))
        except (AdapterError, *STORE_DOWN) as err:
            _log.warning("renewal.not_judged", institution=library.code, error=type(err).__name__)
        answer = self._pass_all(exchange, library)
        result = answer.result if isinstance(answer, CirculationAnswer) else None
        renewed = result.native.get_all("BM") if result is not None and result.native else ()
        for barcode in renewed:
            row = rows.get(library.barcodes.normalise(barcode))
            if row is not None:
                self._learn(exchange, library, row, row.due)
        return answer

    def _judge(
        self, exchange: Exchange, library: Library, view: PatronView, rows: Sequence[Loan]
    ) -> None:
        """Write what the policy would have refused."""
        bar = patron_bar(view, exchange)
        if bar is not None:
            self._desk.note_would_refuse(EarlyRefusal(exchange, bar, view.standing, view))
            return
        for row in rows:
            lending = self._decide(exchange, library, view, row)
            if isinstance(lending, Lending) and lending.decision.reason is not None:
                self._desk.note_refusal(
                    lending, lending.decision.reason, enforced=False, renewal=True
                )

    def _learn(self, exchange: Exchange, library: Library, row: Loan, due: datetime | None) -> None:
        """Write a renewal that the ILS made while the policy only watched."""
        try:
            self._desk.ledger.record_renewal(
                row.loan_id, exchange.place, due=due, renewals=row.renewals + 1
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)

    def _pass_all(
        self, exchange: Exchange, library: Library
    ) -> tuple[tuple[Barcode, CirculationAnswer], ...] | CirculationAnswer:
        if exchange.slot.is_expired:
            return CirculationAnswer(ok=False, reason=Reason.ILS_UNAVAILABLE)
        if can_forward(self._desk, exchange):
            native = forward(self._desk, exchange)
            if native is not None:
                return self._passed_all(native, exchange, library)
        adapter = self._desk.adapters[library.code]
        patron = IlsPatronId(exchange.scanned_patron)
        facts = adapter.fetch_patron(patron, exchange.context.pin)
        if not facts.valid:
            return CirculationAnswer(ok=False, reason=Reason.UNKNOWN_PATRON, message=facts.message)
        return tuple(
            (loan.barcode, self.renew(replace(exchange, scanned_item=loan.barcode)))
            for loan in facts.loans
        )

    def _passed_all(
        self, native: WireMessage, exchange: Exchange, library: Library
    ) -> CirculationAnswer:
        """Note what the ILS renewed when it was told to renew everything (65)."""
        for barcode in native.get_all("BM"):
            item = ItemId(library.code, library.barcodes.normalise(barcode))
            self._desk.note_passed(Verb.RENEW, item, exchange, library)
        ok = native.fixed.get("ok") == "1"
        return CirculationAnswer(
            ok=ok,
            reason=None if ok else Reason.ILS_REFUSED,
            passed_through=True,
            result=CheckoutResult(ok=ok, native=native),
        )

    def _loan_to_renew(self, exchange: Exchange, library: Library, view: PatronView) -> Loan | None:
        wanted = self._desk.facts.resolve_item(exchange.scanned_item, library)
        barcode = library.barcodes.normalise(exchange.scanned_item)
        mine = [loan for loan in view.loans if loan.state in {LoanState.OPEN, LoanState.DISPUTED}]
        exact = [loan for loan in mine if loan.item in wanted]
        alike = exact or [loan for loan in mine if loan.item.barcode == barcode]
        return alike[0] if len(alike) == 1 else None

    def renew_loan(
        self, exchange: Exchange, library: Library, view: PatronView, row: Loan
    ) -> CirculationAnswer:
        """Renew one loan of a patron whose facts were read."""
        lending = self._decide(exchange, library, view, row)
        if isinstance(lending, CirculationAnswer):
            return lending
        row = lending.view.find_loan(row.item) or row
        if not lending.decision.permitted:
            reason = lending.decision.reason or Reason.PLUGIN_REFUSED
            enforced = not exchange.context.no_block
            self._desk.note_refusal(lending, reason, enforced=enforced, renewal=True)
            if enforced:
                return lending.refused(reason, limit=lending.decision.limit, due=row.due)
        return self._renew_in_ils(lending, row)

    def _decide(
        self, exchange: Exchange, library: Library, view: PatronView, row: Loan
    ) -> Lending | CirculationAnswer:
        lender = self._desk.libraries.get(row.lender)
        policy = select_policy(library.policies, view.standing.category, exchange.place.local_date)
        if lender is None:
            return CirculationAnswer(ok=False, reason=Reason.NOT_SUPPORTED)
        if policy is None:
            return CirculationAnswer(ok=False, reason=Reason.NO_POLICY)
        try:
            item = self._desk.facts.read_item(row.item, lender)
            row, view = compare_due_date(self._desk, exchange, view, row, item)
        except AdapterError as err:
            return CirculationAnswer(ok=False, reason=reason_of_read(err))
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
        decision = self._desk.narrow(decision, "renewal", exchange, view, item)
        adapter = self._desk.adapters[lender.code]
        return Lending(exchange, lender, adapter, view, item, policy, decision)

    def _renew_in_ils(self, lending: Lending, row: Loan) -> CirculationAnswer:
        exchange = lending.exchange
        if exchange.slot.is_expired:
            return lending.refused(Reason.ILS_UNAVAILABLE, due=row.due)
        patience = timedelta(seconds=exchange.context.timeout_s) + self._desk.ask_margin
        until = self._desk.now() + patience
        if not self._desk.ledger.ask_renewal(row.loan_id, renewals=row.renewals, until=until):
            return self._find_out_claim(lending, row)
        obeys = Capability.SET_DUE_DATE in lending.adapter.capabilities
        due = lending.decision.due if obeys else None
        started = time.monotonic()
        try:
            result = lending.adapter.renew(
                row.ils_patron, row.item.barcode, context_for_ils(exchange), due=due
            )
        except NOT_SENT as err:
            self._desk.ledger.release_renewal(row.loan_id, until=until)
            return lending.refused(reason_of(err), due=row.due)
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have renewed the loan
            _log.error(
                "ils.failed_unexpectedly",
                institution=lending.library.code,
                error=type(err).__name__,
            )
            return self._find_out_renewal(lending, row)
        if not result.ok:
            if time.monotonic() - started > exchange.context.timeout_s:
                return self._find_out_renewal(lending, row)
            self._desk.ledger.release_renewal(row.loan_id, until=until)
            self._desk.note_refusal(
                lending, Reason.ILS_REFUSED, enforced=True, renewal=True, code=result.code
            )
            return lending.refused(
                Reason.ILS_REFUSED,
                message=result.message,
                code=result.code,
                due=row.due,
                result=result,
            )
        return self._renewed(
            lending, row, result.due or lending.decision.due, row.renewals + 1, result
        )

    def _find_out_claim(self, lending: Lending, row: Loan) -> CirculationAnswer:
        """There is a claim already: another kiosk is at it, or nobody knows how one ended."""
        now = self._desk.now()
        claims = self._desk.ledger.list_claims(row.lender)
        if any(claim.loan.loan_id == row.loan_id and claim.until <= now for claim in claims):
            return self._find_out_renewal(lending, row)
        return lending.refused(Reason.IN_PROGRESS, due=row.due)

    def _find_out_renewal(self, lending: Lending, row: Loan) -> CirculationAnswer:
        """After an unknown outcome: the ILS may show that it was renewed; else the claim stays, and
        settlement finds out.
        """
        try:
            now_with = self._desk.facts.fetch_item_loan(row)
        except AdapterError:
            return lending.refused(Reason.OUTCOME_UNKNOWN, due=row.due)
        if now_with is None or compare_loan(row, now_with, lending.library) is not Since.RENEWED:
            return lending.refused(Reason.OUTCOME_UNKNOWN, due=row.due)
        return self._renewed(
            lending, row, now_with.due, max(now_with.renewals or 0, row.renewals + 1), None
        )

    def _renewed(
        self,
        lending: Lending,
        row: Loan,
        due: datetime | None,
        renewals: int,
        result: CheckoutResult | None,
    ) -> CirculationAnswer:
        due, mismatch = agree_on_due(lending, due)
        try:
            saved = self._desk.ledger.record_renewal(
                row.loan_id,
                lending.exchange.place,
                due=due,
                renewals=renewals,
                due_mismatch=mismatch,
            )
        except STORE_DOWN:
            # The ILS has renewed it; the next exchange finds that out. No yes before it is written.
            _log.exception("store.unavailable", institution=lending.library.code)
            return lending.refused(Reason.OUTCOME_UNKNOWN, due=row.due)
        self._desk.track("loan.renewed", lending.exchange, saved, mismatch=mismatch)
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

    def _pass(
        self, exchange: Exchange, library: Library, *, ledger: bool = True
    ) -> CirculationAnswer:
        if exchange.slot.is_expired:
            return CirculationAnswer(ok=False, reason=Reason.ILS_UNAVAILABLE)
        adapter = self._desk.adapters[library.code]
        barcode = library.barcodes.normalise(exchange.scanned_item)
        result = adapter.renew(IlsPatronId(exchange.scanned_patron), barcode, exchange.context)
        if result.ok and ledger:
            self._desk.note_passed(Verb.RENEW, ItemId(library.code, barcode), exchange, library)
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


def _may_pass(library: Library) -> bool:
    """Say whether the ILS decides alone while our own database is down."""
    return library.store_failure is StoreFailure.OPEN or library.mode is Mode.OBSERVE
