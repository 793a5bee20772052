"""Holds and fees of the embedded ILS.

Nothing here lends; a checkin puts an item on the hold shelf (``returns``). Rules: one open hold per
patron and title; a payment is recorded once per transaction id.
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Connection

from adapters.local.base import LocalBase
from adapters.local.mapping import PatronRow, parse_moment, text_of
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.patron import IlsHold
from connector.errors import NotFound
from connector.ports.ils import ExchangeContext, FeePayment, FeeResult, HoldRequest, HoldResult

__all__ = ["LocalHolds"]

_THIS_COPY = "3"
_OPEN_HOLD = """
SELECT h.id, h.shelf_item_id IS NOT NULL, h.pickup, h.expires, h.placed_at, i.barcode, t.title,
 (SELECT count(*) FROM hold q
   WHERE q.bib_id = h.bib_id AND q.ended_at IS NULL AND q.id < h.id)
FROM hold h JOIN bib t ON t.id = h.bib_id LEFT JOIN item i ON i.id = coalesce(h.shelf_item_id,
h.item_id) WHERE h.patron_id = ? AND h.bib_id = ? AND h.ended_at IS NULL
"""


class LocalHolds(LocalBase):
    """The ``Holds`` and ``Fees`` parts of the port."""

    def place_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Place a hold, or change pickup place and expiry of the hold on the same title."""
        with self.database.write() as connection:
            who = self.find_patron_row(connection, patron)
            if who is None:
                return self._no("unknown_patron")
            found = self._find_title(connection, request)
            if isinstance(found, HoldResult):
                return found
            bib_id, item_id = found
            code = self._hold_bar(connection, who, bib_id, context)
            if code:
                return self._no(code)
            specific = item_id if request.hold_type == _THIS_COPY else None
            expires = text_of(request.expires) if request.expires else None
            changed = connection.exec_driver_sql(
                "UPDATE hold SET pickup = ?, expires = ? WHERE patron_id = ? AND bib_id = ?"
                " AND ended_at IS NULL",
                (request.pickup, expires, who.row_id, bib_id),
            )
            if changed.rowcount == 0:
                connection.exec_driver_sql(
                    "INSERT INTO hold (bib_id, item_id, patron_id, hold_type, placed_at, expires,"
                    " pickup)"
                    " VALUES (?,?,?,?,?,?,?)",
                    (
                        bib_id,
                        specific,
                        who.row_id,
                        request.hold_type,
                        text_of(context.at),
                        expires,
                        request.pickup,
                    ),
                )
            return self._describe(connection, who, bib_id)

    def cancel_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Cancel the patron's hold on this item or title."""
        with self.database.write() as connection:
            who = self.find_patron_row(connection, patron)
            if who is None:
                return self._no("unknown_patron")
            found = self._find_title(connection, request)
            if isinstance(found, HoldResult):
                return found
            before = self._describe(connection, who, found[0])
            if not before.ok:
                return before
            connection.exec_driver_sql(
                "UPDATE hold SET ended_at = ?, ended_as = 'cancelled' WHERE id = ?",
                (text_of(context.at), int(before.hold_id)),
            )
            return HoldResult(
                ok=True, hold_id=before.hold_id, barcode=before.barcode, title=before.title
            )

    def list_holds(self, patron: IlsPatronId) -> tuple[IlsHold, ...]:
        """Return the patron's open holds; raises ``NotFound``."""
        with self.database.read() as connection:
            who = self.find_patron_row(connection, patron)
        if who is None:
            raise NotFound("patron")
        return who.holds

    def _hold_bar(
        self, connection: Connection, who: PatronRow, bib_id: int, context: ExchangeContext
    ) -> str:
        if context.pin is not None and not self.is_pin_right(who.pin_hash, context.pin):
            return "pin_wrong"
        bar = who.bar(context.at.astimezone(self.zone).date())
        if bar:
            return bar
        lent = connection.exec_driver_sql(
            "SELECT 1 FROM loan l JOIN item i ON i.id = l.item_id"
            " WHERE l.patron_id = ? AND i.bib_id = ? AND l.returned_at IS NULL",
            (who.row_id, bib_id),
        ).fetchone()
        return "already_charged" if lent is not None else ""

    def _find_title(
        self, connection: Connection, request: HoldRequest
    ) -> tuple[int, int | None] | HoldResult:
        if request.barcode is not None:
            self.expire_holds(connection, request.barcode, self.now())
            item = self.find_item_row(connection, request.barcode)
            return self._no("unknown_item") if item is None else (item.bib_id, item.row_id)
        rows = connection.exec_driver_sql(
            "SELECT id FROM bib WHERE title = ? LIMIT 2", (request.title,)
        ).fetchall()
        return (rows[0][0], None) if len(rows) == 1 else self._no("unknown_title")

    def _describe(self, connection: Connection, who: PatronRow, bib_id: int) -> HoldResult:
        row = connection.exec_driver_sql(_OPEN_HOLD, (who.row_id, bib_id)).fetchone()
        if row is None:
            return self._no("no_hold")
        return HoldResult(
            ok=True,
            hold_id=str(row[0]),
            available=bool(row[1]),
            pickup=row[2],
            expires=parse_moment(row[3]),
            barcode=None if row[5] is None else Barcode(row[5]),
            title=row[6],
            queue_position=row[7] + 1,
        )

    def _no(self, code: str) -> HoldResult:
        return HoldResult(ok=False, code=code, message=self.say(code))

    def charge_fee(
        self, patron: IlsPatronId, amount: Decimal, *, fee_type: str = "01", description: str = ""
    ) -> str:
        """Charge a fee at the desk and return its id; not part of the port."""
        with self.database.write() as connection:
            who = self.find_patron_row(connection, patron)
            if who is None:
                raise NotFound("patron")
            return str(
                connection.exec_driver_sql(
                    "INSERT INTO fee (patron_id, fee_type, amount, currency, description, at)"
                    " VALUES (?,?,?,?,?,?)"
                    " RETURNING id",
                    (
                        who.row_id,
                        fee_type,
                        str(amount),
                        self.settings.currency,
                        description,
                        text_of(self.now()),
                    ),
                ).scalar_one()
            )

    def pay_fee(
        self, patron: IlsPatronId, payment: FeePayment, context: ExchangeContext
    ) -> FeeResult:
        """Record a payment; spread over the oldest fees unless it names one."""
        with self.database.write() as connection:
            who = self.find_patron_row(connection, patron)
            if who is None:
                return self._unpaid("unknown_patron")
            if payment.transaction_id:
                seen = connection.exec_driver_sql(
                    "SELECT patron_id, amount, currency FROM payment WHERE transaction_id = ?",
                    (payment.transaction_id,),
                ).fetchone()
                if seen is not None:
                    if seen[0] != who.row_id:
                        return self._unpaid("unknown_fee")
                    if (Decimal(seen[1]), seen[2]) != (payment.amount, payment.currency):
                        return self._unpaid("bad_amount")  # another payment under an old number
                    return FeeResult(ok=True, transaction_id=payment.transaction_id)
            code = self._payment_bar(who, payment)
            if code:
                return self._unpaid(code)
            self._settle(connection, who, payment, text_of(context.at))
            return FeeResult(ok=True, transaction_id=payment.transaction_id)

    def _payment_bar(self, who: PatronRow, payment: FeePayment) -> str:
        if payment.currency != self.settings.currency:
            return "bad_currency"
        open_fees = [fee for fee in who.fees if not payment.fee_id or fee.fee_id == payment.fee_id]
        if payment.fee_id and not open_fees:
            return "unknown_fee"
        owed = sum((fee.amount for fee in open_fees), Decimal(0))
        is_right = 0 < payment.amount <= owed and payment.amount == round(payment.amount, 2)
        return "" if is_right else "bad_amount"

    def _settle(self, connection: Connection, who: PatronRow, payment: FeePayment, at: str) -> None:
        connection.exec_driver_sql(
            "INSERT INTO payment (patron_id, transaction_id, fee_id, amount, currency, fee_type,"
            " payment_type, at)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                who.row_id,
                payment.transaction_id or None,
                int(payment.fee_id) if payment.fee_id else None,
                str(payment.amount),
                payment.currency,
                payment.fee_type,
                payment.payment_type,
                at,
            ),
        )
        rest = payment.amount
        for fee in who.fees:
            if rest <= 0:
                break
            if payment.fee_id and fee.fee_id != payment.fee_id:
                continue
            part = min(rest, fee.amount)
            paid = connection.exec_driver_sql(
                "SELECT paid FROM fee WHERE id = ?", (int(fee.fee_id),)
            ).scalar_one()
            connection.exec_driver_sql(
                "UPDATE fee SET paid = ?, settled_at = ? WHERE id = ?",
                (str(Decimal(paid) + part), at if part == fee.amount else None, int(fee.fee_id)),
            )
            rest -= part

    def _unpaid(self, code: str) -> FeeResult:
        return FeeResult(ok=False, code=code, message=self.say(code))
