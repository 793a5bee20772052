"""Holds and fees by SIP2: 15 and 37.

Nothing here repeats anything. Rules: SIP2 has no idempotent payment, so what was asked once under a
transaction id is never asked again by this process, whatever came of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from adapters.sip2.circulation import Sip2Circulation
from connector.domain.ids import IlsPatronId
from connector.errors import AdapterAuthFailed, AdapterUnavailable, OutcomeUnknown
from connector.ports.ils import (
    Capability,
    ExchangeContext,
    FeePayment,
    FeeResult,
    HoldRequest,
    HoldResult,
)

__all__ = ["PaymentMemory", "Sip2Holds"]

_REMEMBERED = 10_000


class PaymentMemory:
    """What became of the last payments; an unknown outcome stays unknown.

    Kept by digest, for a transaction id beside a patron's number is nobody's business.
    """

    def __init__(self, size: int = _REMEMBERED) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, FeeResult | None] = OrderedDict()

    def begin(self, patron: IlsPatronId, transaction_id: str) -> tuple[bool, FeeResult | None]:
        """Note that a payment is asked for; return whether for the first time, else its result."""
        key = _digest(patron, transaction_id)
        with self._lock:
            if key in self._known:
                return False, self._known[key]
            self._known[key] = None
            while len(self._known) > self._size:
                self._known.popitem(last=False)
            return True, None

    def finish(self, patron: IlsPatronId, transaction_id: str, result: FeeResult) -> None:
        """Note the answer."""
        with self._lock:
            self._known[_digest(patron, transaction_id)] = result

    def forget(self, patron: IlsPatronId, transaction_id: str) -> None:
        """Nothing was paid: the same transaction may be asked for again."""
        with self._lock:
            self._known.pop(_digest(patron, transaction_id), None)


class Sip2Holds(Sip2Circulation):
    """The ``Holds`` and ``Fees`` parts of the port."""

    payments: PaymentMemory

    def place_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Place a hold (15 +), or change one where the terminal says so (15 *)."""
        self.require(Capability.PLACE_HOLD)
        base = context.request
        asked = base.fixed.get("hold_mode") if base is not None and base.code == "15" else "+"
        return self._hold("*" if asked == "*" else "+", patron, request, context)

    def cancel_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Cancel the patron's hold (15 -)."""
        self.require(Capability.CANCEL_HOLD)
        return self._hold("-", patron, request, context)

    def _hold(
        self, mode: str, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        values = {
            "AA": patron,
            "AB": request.barcode or None,
            "AJ": request.title or None,
            "BS": request.pickup or None,
            "BY": request.hold_type or None,
            "BW": self.dates.stamp(request.expires) if request.expires else None,
        }
        if context.fee_acknowledged:
            values["BO"] = "Y"
        answer = self.tell("15", context, fixed={"hold_mode": mode}, values=values)
        return self.answers.read_hold(answer)

    def pay_fee(
        self, patron: IlsPatronId, payment: FeePayment, context: ExchangeContext
    ) -> FeeResult:
        """Record a payment (37).

        Raises:
            OutcomeUnknown: ``asked_before``: this transaction was asked for and never answered.
        """
        self.require(Capability.PAY_FEE)
        known = payment.transaction_id
        if known:
            is_first, result = self.payments.begin(patron, known)
            if result is not None:
                return result
            if not is_first:
                raise OutcomeUnknown(self.name, self.institution_id, "asked_before")
        try:
            result = self._pay(patron, payment, context)
        except (AdapterUnavailable, AdapterAuthFailed):
            self.payments.forget(patron, known)
            raise
        if not known:
            return result
        if result.ok:
            self.payments.finish(patron, known, result)
        else:
            self.payments.forget(patron, known)
        return result

    def _pay(self, patron: IlsPatronId, payment: FeePayment, context: ExchangeContext) -> FeeResult:
        fixed = {
            "fee_type": payment.fee_type,
            "payment_type": payment.payment_type,
            "currency": payment.currency,
        }
        values = {
            "AA": patron,
            "BV": f"{payment.amount:.2f}",
            "CG": payment.fee_id or None,
            "BK": payment.transaction_id or None,
        }
        return self.answers.read_payment(self.tell("37", context, fixed=fixed, values=values))


def _digest(patron: IlsPatronId, transaction_id: str) -> bytes:
    return hashlib.sha256(f"{len(patron)}:{patron}:{transaction_id}".encode()).digest()
