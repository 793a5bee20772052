"""Checkins of the embedded ILS, and where a returned item goes.

Nothing here lends. Rules: a return that is older than the loan closes nothing; the first of the
hold queue gets the item, else it goes home.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from adapters.local.base import ItemRow, LocalBase
from adapters.local.mapping import days_after, parse_moment, text_of
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.patron import Fee
from connector.ports.ils import AlertType, CheckinResult, ExchangeContext

__all__ = ["CLOCK_TOLERANCE", "LocalReturns"]

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clock of a kiosk may lag behind the one that dated the loan."""

_OVERDUE = "04"
"""SIP2 fee type."""

_TO_SHELF = """
UPDATE hold SET shelf_item_id = ?2, shelf_until = ?4 WHERE id = (
  SELECT h.id FROM hold h WHERE h.bib_id = ?1 AND h.ended_at IS NULL AND h.shelf_item_id IS NULL
     AND (h.item_id IS NULL OR h.item_id = ?2) AND (h.expires IS NULL OR h.expires > ?3)
   ORDER BY h.id LIMIT 1)
"""
_ON_SHELF = """
SELECT h.id, p.card, p.name, h.pickup FROM hold h JOIN patron p ON p.id = h.patron_id
WHERE h.shelf_item_id = ? AND h.ended_at IS NULL
"""


class LocalReturns(LocalBase):
    """The checkin of the ``Circulation`` part of the port."""

    def checkin(
        self, barcode: Barcode, context: ExchangeContext, *, returned_at: datetime | None = None
    ) -> CheckinResult:
        """Take the item back; an item that was not on loan is taken back too."""
        with self.database.write() as connection:
            self.expire_holds(connection, barcode, context.at)
            item = self.find_item_row(connection, barcode)
            if item is None:
                return CheckinResult(
                    ok=False, code="unknown_item", message=self.say("unknown_item")
                )
            if item.loan_id is not None:
                lent_at = parse_moment(item.lent_at) or context.at
                if context.at + CLOCK_TOLERANCE < lent_at:
                    return CheckinResult(
                        ok=False,
                        title=item.title,
                        code="loan_is_newer",
                        message=self.say("loan_is_newer"),
                    )
                returned = max(returned_at or context.at, lent_at)
                self._charge_overdue(connection, item, returned)
                self.end_loan(connection, item, text_of(returned))
                self.record_change(connection, "checkin", item.barcode, item.borrower, None)
            place = context.branch or item.branch
            connection.exec_driver_sql(
                "UPDATE item SET status = '03', current_location = ? WHERE id = ?",
                (item.location if place == (item.branch or place) else place, item.row_id),
            )
            return self._put_away(connection, item, context, place)

    def _put_away(
        self, connection: Connection, item: ItemRow, context: ExchangeContext, place: str
    ) -> CheckinResult:
        """Choose where the item goes: to the hold shelf, to its own branch, or to its place."""
        hold = self._choose_hold(connection, item, context)
        alert, destination = None, ""
        if hold is not None:
            destination = hold[3] or place
            alert = AlertType.LOCAL_HOLD if destination == place else AlertType.HOLD_OTHER_BRANCH
        elif item.branch and place != item.branch:
            alert, destination = AlertType.OTHER_BRANCH, item.branch
        return CheckinResult(
            ok=True,
            title=item.title,
            was_on_loan=item.loan_id is not None,
            patron=item.borrower,
            permanent_location=item.location,
            destination=destination,
            collection=item.collection,
            call_number=item.call_number,
            media_type=item.media_type,
            magnetic=False,
            alert=alert,
            hold_patron=IlsPatronId(hold[1]) if hold is not None else None,
            hold_patron_name=hold[2] if hold is not None else "",
            properties=item.properties,
        )

    def _choose_hold(
        self, connection: Connection, item: ItemRow, context: ExchangeContext
    ) -> Sequence[Any] | None:
        """Return for whom the item waits; the first of the queue gets it if nobody has it yet."""
        if item.shelf_for is None:
            until = days_after(context.at, self.settings.hold_shelf_days, self.zone)
            connection.exec_driver_sql(
                _TO_SHELF, (item.bib_id, item.row_id, text_of(context.at), text_of(until))
            )
        return connection.exec_driver_sql(_ON_SHELF, (item.row_id,)).fetchone()

    @staticmethod
    def end_loan(connection: Connection, item: ItemRow, at: str) -> None:
        """Close the open loan of an item."""
        connection.exec_driver_sql(
            "UPDATE loan SET returned_at = ? WHERE id = ?", (at, item.loan_id)
        )

    def charge(self, connection: Connection, patron_id: int, item_id: int, fee: Fee) -> None:
        """Charge a fee for an item."""
        connection.exec_driver_sql(
            "INSERT INTO fee (patron_id, item_id, fee_type, amount, currency, at) VALUES"
            " (?,?,?,?,?,?)",
            (patron_id, item_id, fee.fee_type, str(fee.amount), fee.currency, text_of(self.now())),
        )

    def _charge_overdue(self, connection: Connection, item: ItemRow, returned: datetime) -> None:
        due = parse_moment(item.due)
        row = connection.exec_driver_sql(
            "SELECT category FROM patron WHERE id = ?", (item.borrower_id,)
        ).fetchone()
        if due is None or row is None:
            return
        per_day: Decimal = self.settings.rule_for(row[0], item.item_type).overdue_fee_per_day
        days = (returned.astimezone(self.zone).date() - due.astimezone(self.zone).date()).days
        if per_day > 0 and days > 0 and item.borrower_id is not None:
            self.charge(
                connection,
                item.borrower_id,
                item.row_id,
                Fee("", per_day * days, _OVERDUE, self.settings.currency),
            )
