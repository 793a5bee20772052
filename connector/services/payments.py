"""Payments (SIP2 37): written before the ILS is told, and never told twice.

Nothing here speaks SIP2 or SQL, and no money is counted. Rules (decision 7) —

- the row is committed before the ILS is asked; where it cannot be written nothing is paid, except
  in a library that only observes or is bypassed;
- done, refused and unknown are three outcomes; after an unknown one the same payment is answered
  "not confirmed" until a person has settled it, in every mode;
- in enforce mode a repeat of a payment that was made is answered as the first time; elsewhere the
  ILS hears every repeat, as it would without us.
"""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

from connector.domain.circulation import Reason
from connector.domain.identity import hide_numbers
from connector.domain.ids import IlsPatronId, TerminalId
from connector.domain.library import Library, Mode
from connector.log import get_logger
from connector.ports.ils import FeePayment, FeeResult, IlsAdapter
from connector.ports.payments import (
    AskPayment,
    Payment,
    PaymentAsked,
    PaymentState,
    PaymentStore,
    SettledBy,
)
from connector.services.desk import STORE_DOWN, CirculationDesk, Exchange
from connector.services.renewal import NOT_SENT

__all__ = ["PaymentService"]

_log = get_logger(__name__)

_REPEAT_WITHIN = timedelta(minutes=2)
"""How long an equal payment without a transaction id is the same one: a kiosk that repeats itself
does so within this time, and a child does not pay the same twice.
"""
_POLL_S = 0.05
_MOST_DIGITS = 9


class PaymentService:
    """One instance serves all libraries of the process and is called from many threads."""

    def __init__(self, desk: CirculationDesk, store: PaymentStore) -> None:
        self._desk = desk
        self._store = store

    def pay(
        self, adapter: IlsAdapter, patron: IlsPatronId, fee: FeePayment, exchange: Exchange
    ) -> FeeResult | Reason:
        """Record a payment in the ILS, once; a ``Reason`` is a refusal of ours.

        Raises:
            AdapterUnavailable: nothing was sent (or another error of ``NOT_SENT``).
        """
        library = self._desk.libraries[exchange.institution]
        if not _is_amount(fee.amount):
            return Reason.BAD_REQUEST
        if exchange.slot.is_expired:
            return Reason.ILS_UNAVAILABLE
        try:
            asked = self._store.ask(self._request(patron, fee, exchange, library))
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            if library.mode is Mode.ENFORCE:
                return Reason.STORE_UNAVAILABLE
            return adapter.pay_fee(patron, fee, exchange.context)
        if isinstance(asked, PaymentAsked):
            return self._send(adapter, patron, fee, exchange, asked.payment)
        return self._repeat(asked.payment, patron, fee, exchange)

    def _request(
        self, patron: IlsPatronId, fee: FeePayment, exchange: Exchange, library: Library
    ) -> AskPayment:
        standing = self._desk.find_standing(exchange, library)
        if standing is None and library.mode is Mode.ENFORCE:
            standing = self._desk.facts.find_by_account(patron, library)
        patience = timedelta(seconds=exchange.context.timeout_s) + self._desk.ask_margin
        return AskPayment(
            institution=library.code,
            terminal=exchange.context.terminal or TerminalId(""),
            payer=patron,
            patron_id=standing.patron_id if standing is not None else None,
            fee=fee,
            kept_id=_kept_id(fee.transaction_id, patron, exchange),
            expires_at=self._desk.now() + patience,
            repeat_within=_REPEAT_WITHIN,
            again=library.mode is not Mode.ENFORCE,
        )

    def _send(
        self,
        adapter: IlsAdapter,
        patron: IlsPatronId,
        fee: FeePayment,
        exchange: Exchange,
        payment: Payment,
    ) -> FeeResult | Reason:
        started = time.monotonic()
        try:
            result = adapter.pay_fee(patron, fee, exchange.context)
        except NOT_SENT as err:
            self._record(payment, PaymentState.REFUSED, code=err.code or type(err).__name__)
            raise
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have booked it
            _log.warning(
                "payment.outcome_unknown",
                institution=payment.institution,
                terminal=payment.terminal,
                error=type(err).__name__,
            )
            self._record(payment, PaymentState.UNKNOWN)
            return Reason.OUTCOME_UNKNOWN
        if result.ok:
            in_time = exchange.slot.claim()
            self._record(
                payment,
                PaymentState.PAID,
                by=SettledBy.ILS if in_time else SettledBy.ILS_LATE,
                transaction_id=_kept_id(result.transaction_id, patron, exchange),
            )
            return result
        if time.monotonic() - started > exchange.context.timeout_s:
            # A live ILS was seen doing what it had refused after its own time-out.
            self._record(payment, PaymentState.UNKNOWN)
            return Reason.OUTCOME_UNKNOWN
        self._record(payment, PaymentState.REFUSED, code=result.code)
        return result

    def _record(
        self,
        payment: Payment,
        state: PaymentState,
        *,
        by: SettledBy = SettledBy.ILS,
        code: str = "",
        transaction_id: str = "",
    ) -> None:
        """Write the outcome; where that fails, the row is found unknown later, and staff look."""
        try:
            self._store.record(
                payment.payment_id, state, by=by, code=code, transaction_id=transaction_id
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=payment.institution)

    def _repeat(
        self, payment: Payment, patron: IlsPatronId, fee: FeePayment, exchange: Exchange
    ) -> FeeResult | Reason:
        """Answer the same payment again; nothing is sent."""
        until = time.monotonic() + exchange.context.timeout_s
        while payment.state is PaymentState.ASKED and time.monotonic() < until:
            time.sleep(_POLL_S)
            try:
                payment = self._store.find_payment(payment.payment_id) or payment
            except STORE_DOWN:
                break
        if payment.state is PaymentState.PAID:
            own = fee.transaction_id
            is_own = _kept_id(own, patron, exchange) == payment.transaction_id
            return FeeResult(ok=True, transaction_id=own if is_own else payment.transaction_id)
        if payment.state is PaymentState.REFUSED:
            return FeeResult(ok=False, code=payment.ils_code)
        return Reason.OUTCOME_UNKNOWN


def _kept_id(transaction_id: str, patron: IlsPatronId, exchange: Exchange) -> str:
    """Return what is kept of a transaction id: some machines make it of the payer's number."""
    return hide_numbers(transaction_id, [patron, exchange.scanned_patron])


def _is_amount(amount: Decimal) -> bool:
    """Say whether it is a sum that anybody could pay, and can be written without an exponent."""
    exponent = amount.as_tuple().exponent
    return (
        amount.is_finite()
        and amount > 0
        and amount.adjusted() < _MOST_DIGITS
        and isinstance(exponent, int)
        and exponent >= -_MOST_DIGITS
    )
