"""Loans of the embedded ILS: checkout, renewal, due dates, item properties.

Nothing here knows any policy but this ILS's own loan rules. Rules: one open loan per item, kept by
a unique index; a checkout never renews; ``no_block`` records what has happened already, whatever
the rules say.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection

from adapters.local.base import ItemRow
from adapters.local.mapping import (
    FETCH_ITEM,
    PatronRow,
    days_after,
    item_from_row,
    parse_moment,
    text_of,
)
from adapters.local.returns import LocalReturns
from adapters.local.settings import RuleSettings
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee
from connector.errors import NotFound
from connector.ports.ils import (
    Change,
    CheckoutResult,
    ExchangeContext,
    LoanRule,
)

__all__ = ["LocalCirculation"]

# The queue is in the order in which holds were recorded.
_AHEAD = """
SELECT count(*) FROM hold h WHERE h.bib_id = ?1 AND h.ended_at IS NULL AND h.shelf_item_id IS NULL
 AND h.patron_id <> ?2 AND (h.item_id IS NULL OR h.item_id = ?3)
 AND h.id < coalesce((SELECT m.id FROM hold m WHERE m.bib_id = ?1 AND m.patron_id = ?2
      AND m.ended_at IS NULL), 9223372036854775807)
"""
_FREE_COPIES = """
SELECT count(*) FROM item i WHERE i.bib_id = ? AND i.status = '03'
 AND NOT EXISTS (SELECT 1 FROM loan l WHERE l.item_id = i.id AND l.returned_at IS NULL)
 AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.shelf_item_id = i.id AND h.ended_at IS NULL)
"""
_RENTAL = "06"
"""SIP2 fee type."""


class LocalCirculation(LocalReturns):
    """The ``Circulation`` part of the port, with checkins from ``LocalReturns``."""

    def fetch_item(self, barcode: Barcode) -> IlsItem | None:
        """Return the item, or None."""
        rows = self.database.fetch(FETCH_ITEM, (barcode,))
        return item_from_row(rows[0], self.settings) if rows else None

    def fetch_item_loan(
        self, barcode: Barcode, patron: IlsPatronId | None = None
    ) -> IlsLoan | None:
        """Return the open loan of an item; ``patron`` is not needed here."""
        del patron
        with self.database.read() as connection:
            item = self.find_item_row(connection, barcode)
        if item is None or item.loan_id is None:
            return None
        return IlsLoan(
            item.barcode,
            item.borrower,
            parse_moment(item.due),
            item.renewals,
            parse_moment(item.lent_at),
            item.title,
        )

    def checkout(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Lend the item."""
        with self.database.write() as connection:
            borrower = self.find_patron_row(connection, patron)
            if borrower is None:
                return self.refuse("unknown_patron")
            self.expire_holds(connection, barcode, context.at)
            item = self.find_item_row(connection, barcode)
            if item is None:
                return self.refuse("unknown_item")
            return self._lend(connection, borrower, item, context, due)

    def _lend(
        self,
        connection: Connection,
        patron: PatronRow,
        item: ItemRow,
        context: ExchangeContext,
        due: datetime | None,
    ) -> CheckoutResult:
        rule = self.settings.rule_for(patron.category, item.item_type)
        if item.borrower_id == patron.row_id and context.no_block:
            return self._lent(item, parse_moment(item.due))
        code = (
            "" if context.no_block else self._checkout_bar(connection, patron, item, rule, context)
        )
        if code:
            return self.refuse(code, title=item.title, media_type=item.media_type)
        fee = None
        if rule.fee > 0 and not context.no_block:
            fee = Fee("", rule.fee, _RENTAL, self.settings.currency)
            if not context.fee_acknowledged:
                return self.refuse("fee_due", title=item.title, media_type=item.media_type, fee=fee)
            self.charge(connection, patron.row_id, item.row_id, fee)
        at = text_of(context.at)
        if item.loan_id is not None:
            self.end_loan(connection, item, at)
        until = due or days_after(context.at, rule.loan_days, self.zone)
        connection.exec_driver_sql(
            "INSERT INTO loan (item_id, patron_id, checked_out_at, due, forced, terminal) VALUES"
            " (?,?,?,?,?,?)",
            (
                item.row_id,
                patron.row_id,
                at,
                text_of(until),
                int(context.no_block),
                context.terminal or "",
            ),
        )
        connection.exec_driver_sql(
            "UPDATE hold SET ended_at = ?1, ended_as = 'filled' WHERE ended_at IS NULL AND"
            " (shelf_item_id = ?2"
            " OR (patron_id = ?3 AND bib_id = ?4 AND (item_id IS NULL OR item_id = ?2)))",
            (at, item.row_id, patron.row_id, item.bib_id),
        )
        connection.exec_driver_sql("UPDATE item SET status = '03' WHERE id = ?", (item.row_id,))
        self.record_change(connection, "checkout", item.barcode, patron.card, text_of(until))
        return self._lent(item, until, fee=fee)

    def _checkout_bar(
        self,
        connection: Connection,
        patron: PatronRow,
        item: ItemRow,
        rule: RuleSettings,
        context: ExchangeContext,
    ) -> str:
        if context.pin is not None and not self.is_pin_right(patron.pin_hash, context.pin):
            return "pin_wrong"
        if item.borrower_id == patron.row_id:
            return "already_charged"
        bar = patron.bar(context.at.astimezone(self.zone).date())
        if bar:
            return bar
        if item.loan_id is not None:
            return "item_on_loan"
        if rule.max_items == 0:
            return "not_for_loan"
        if item.status != CirculationStatus.AVAILABLE:
            return "item_missing"
        if self._is_on_hold(connection, patron.row_id, item):
            return "item_on_hold"
        if len(patron.loans) >= rule.max_items:
            return "too_many"
        return self._debt_bar(patron)

    def _debt_bar(self, patron: PatronRow) -> str:
        limit = self.settings.fee_limit
        return "fees_unpaid" if limit is not None and patron.debt > limit else ""

    def _is_on_hold(self, connection: Connection, patron_id: int, item: ItemRow) -> bool:
        """Say whether others come first: it waits for one of them, or too few copies are left."""
        if item.shelf_for is not None:
            return item.shelf_for != patron_id
        ahead = connection.exec_driver_sql(
            _AHEAD, (item.bib_id, patron_id, item.row_id)
        ).scalar_one()
        if not ahead:
            return False
        own = connection.exec_driver_sql(
            "SELECT 1 FROM hold WHERE item_id = ? AND patron_id <> ? AND ended_at IS NULL AND"
            " shelf_item_id IS NULL",
            (item.row_id, patron_id),
        ).fetchone()
        free = connection.exec_driver_sql(_FREE_COPIES, (item.bib_id,)).scalar_one()
        return own is not None or bool(ahead >= free)

    def _lent(
        self, item: ItemRow, due: datetime | None, *, renewed: bool = False, fee: Fee | None = None
    ) -> CheckoutResult:
        return CheckoutResult(
            ok=True,
            title=item.title,
            due=due,
            renewed=renewed,
            media_type=item.media_type,
            magnetic=False,
            fee=fee,
        )

    def renew(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Renew the loan by this ILS's own rule."""
        with self.database.write() as connection:
            borrower = self.find_patron_row(connection, patron)
            if borrower is None:
                return self.refuse("unknown_patron")
            self.expire_holds(connection, barcode, context.at)
            item = self.find_item_row(connection, barcode)
            if item is None:
                return self.refuse("unknown_item")
            if item.loan_id is None or item.borrower_id != borrower.row_id:
                return self.refuse("not_on_loan", title=item.title, media_type=item.media_type)
            rule = self.settings.rule_for(borrower.category, item.item_type)
            code = (
                ""
                if context.no_block
                else self._renewal_bar(connection, borrower, item, rule, context)
            )
            if code:
                return self.refuse(
                    code, title=item.title, media_type=item.media_type, due=parse_moment(item.due)
                )
            base = (
                context.at
                if rule.renewal_from == "today"
                else (parse_moment(item.due) or context.at)
            )
            until = due or days_after(base, rule.renewal_days, self.zone)
            connection.exec_driver_sql(
                "UPDATE loan SET due = ?, renewals = renewals + 1, renewed_at = ? WHERE id = ?",
                (text_of(until), text_of(context.at), item.loan_id),
            )
            self.record_change(connection, "renew", item.barcode, borrower.card, text_of(until))
            return self._lent(item, until, renewed=True)

    def _renewal_bar(
        self,
        connection: Connection,
        patron: PatronRow,
        item: ItemRow,
        rule: RuleSettings,
        context: ExchangeContext,
    ) -> str:
        if context.pin is not None and not self.is_pin_right(patron.pin_hash, context.pin):
            return "pin_wrong"
        bar = patron.bar(context.at.astimezone(self.zone).date())
        if bar:
            return bar
        if item.renewals >= rule.max_renewals:
            return "renewal_limit"
        if self._is_on_hold(connection, patron.row_id, item):
            return "item_on_hold"
        return self._debt_bar(patron)

    def change_due_date(self, barcode: Barcode, due: datetime) -> None:
        """Correct the due date of an open loan; raises ``NotFound``."""
        with self.database.write() as connection:
            item = self.find_item_row(connection, barcode)
            if item is None or item.loan_id is None:
                raise NotFound("item" if item is None else "loan")
            connection.exec_driver_sql(
                "UPDATE loan SET due = ? WHERE id = ?", (text_of(due), item.loan_id)
            )

    def update_item_status(self, barcode: Barcode, properties: str) -> bool:
        """Store the terminal's item properties."""
        with self.database.write() as connection:
            done = connection.exec_driver_sql(
                "UPDATE item SET properties = ? WHERE barcode = ?", (properties, barcode)
            )
            return done.rowcount == 1

    def loan_rules(self) -> tuple[LoanRule, ...]:
        """Return the rules in the order in which they are tried."""
        return tuple(
            LoanRule(
                rule.category,
                rule.item_type,
                rule.loan_days,
                rule.max_items,
                rule.max_renewals,
                rule.renewal_days,
                rule.renewal_from,
            )
            for rule in self.settings.rules
        )

    def fetch_changes(self, since: datetime) -> Iterator[Change]:
        """Yield what was recorded since a moment, oldest first."""
        last, after = 0, text_of(since)
        while True:
            with self.database.read() as connection:
                rows = connection.exec_driver_sql(
                    "SELECT id, kind, at, barcode, card, due FROM change WHERE at >= ? AND id > ?"
                    " ORDER BY id LIMIT 500",
                    (after, last),
                ).fetchall()
            for row in rows:
                last = row[0]
                yield Change(
                    row[1], datetime.fromisoformat(row[2]), row[3], row[4], parse_moment(row[5])
                )
            if not rows:
                return
