"""Loans of the fake ILS.

Nothing here knows a policy but the fake's own limits. Rules: without SET_DUE_DATE the given due
date is ignored; a second checkout by the same patron is refused, unless ``renews_on_checkout``,
which some systems do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Literal

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.loan import IlsLoan
from connector.errors import NotFound
from connector.ports.ils import (
    AlertType,
    Capability,
    Change,
    CheckinResult,
    CheckoutResult,
    ExchangeContext,
    LoanRule,
)
from connector.testing.fake_patrons import FakePatrons
from connector.testing.fake_stock import FakeItem, FakeLoan, FakePatron

__all__ = ["FakeCirculation"]


class FakeCirculation(FakePatrons):
    """The ``Circulation`` part of the port."""

    def fetch_item(self, barcode: Barcode) -> IlsItem | None:
        """Return the item, or None."""
        return self.perform(Capability.FETCH_ITEM, lambda: self._describe(barcode), barcode=barcode)

    def _describe(self, barcode: Barcode) -> IlsItem | None:
        item = self.stock.items.get(barcode)
        if item is None:
            return None
        loan = self.stock.loans.get(barcode)
        status = item.status
        if loan is not None:
            status = CirculationStatus.CHARGED
        elif item.held_for is not None:
            status = CirculationStatus.HOLD_SHELF
        shelf = item.held_for is not None
        return IlsItem(
            barcode=barcode,
            title=self.stock.title_of(barcode),
            status=status,
            item_type=item.item_type,
            permanent_location=item.location,
            current_location=item.location,
            collection=item.collection,
            call_number=item.call_number,
            languages=item.languages,
            isbn=item.isbn,
            due=None if loan is None else loan.due,
            borrower=None if loan is None else loan.patron,
            hold_count=len(self.stock.waiting_for(item)) + int(shelf),
            held_for=item.held_for,
            unsuitable=item.unsuitable,
            properties=item.properties,
        )

    def fetch_item_loan(
        self, barcode: Barcode, patron: IlsPatronId | None = None
    ) -> IlsLoan | None:
        """Return the open loan of an item; who cannot list loans does not tell how often it was
        renewed, nor since when it is out.
        """

        def find() -> IlsLoan | None:
            loan = self.stock.loans.get(barcode)
            if loan is None:
                return None
            told = self.stock.describe_loan(loan)
            if Capability.LIST_LOANS in self.capabilities:
                return told
            return replace(told, renewals=None, checked_out_at=None)

        return self.perform(Capability.FETCH_ITEM_LOAN, find, patron=patron, barcode=barcode)

    def checkout(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Lend the item."""
        return self.perform(
            Capability.CHECKOUT,
            lambda: self._lend(patron, barcode, context, due),
            patron=patron,
            barcode=barcode,
            refuse=_no,
        )

    def _lend(
        self,
        identifier: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        due: datetime | None,
    ) -> CheckoutResult:
        patron = self.stock.find_patron(identifier)
        item = self.stock.items.get(barcode)
        if patron is None or item is None:
            return _no("unknown_patron" if patron is None else "unknown_item")
        loan = self.stock.loans.get(barcode)
        mine = loan is not None and loan.patron == patron.card
        if loan is not None and mine and context.no_block:
            return CheckoutResult(ok=True, title=self.stock.title_of(barcode), due=loan.due)
        if mine and self.renews_on_checkout:
            return self._extend(identifier, barcode, context, due)
        code = "" if context.no_block else self._checkout_bar(patron, item, loan, context)
        if code:
            return _no(code)
        until = self._due(context.at, due)
        self.stock.loans[barcode] = FakeLoan(barcode, patron.card, until, context.at)
        self.stock.holds = [
            hold
            for hold in self.stock.holds
            if hold.on_shelf != barcode
            and not (hold.patron == patron.card and hold.bib_id == item.bib_id)
        ]
        item.held_for, item.status = None, CirculationStatus.AVAILABLE
        self._note("checkout", barcode, patron.card, until)
        return CheckoutResult(ok=True, title=self.stock.title_of(barcode), due=until)

    def _checkout_bar(
        self, patron: FakePatron, item: FakeItem, loan: FakeLoan | None, context: ExchangeContext
    ) -> str:
        if context.pin is not None and not self._is_pin_right(patron, context.pin):
            return "pin_wrong"
        if loan is not None:
            return "already_charged" if loan.patron == patron.card else "item_on_loan"
        bar = self.bar(patron)
        if bar:
            return bar
        if not item.for_loan:
            return "not_for_loan"
        if item.status is not CirculationStatus.AVAILABLE:
            return "item_missing"
        if self._is_on_hold(patron, item):
            return "item_on_hold"
        return "too_many" if len(self.stock.loans_of(patron.card)) >= self.max_items else ""

    def _is_on_hold(self, patron: FakePatron, item: FakeItem) -> bool:
        if item.held_for is not None:
            return item.held_for != patron.card
        queue = self.stock.waiting_for(item)
        cards = [hold.patron for hold in queue]
        ahead = queue[: cards.index(patron.card)] if patron.card in cards else queue
        this_copy = any(hold.barcode == item.barcode for hold in ahead)
        return bool(ahead) and (this_copy or len(ahead) >= self.stock.free_copies(item.bib_id))

    def _due(self, base: datetime, due: datetime | None) -> datetime:
        if due is not None and Capability.SET_DUE_DATE in self.capabilities:
            return due
        return self.end_of_day_after(base, self.loan_days)

    def _note(
        self,
        kind: Literal["checkout", "checkin", "renew"],
        barcode: Barcode,
        card: IlsPatronId,
        due: datetime | None,
    ) -> None:
        self.stock.changes.append(Change(kind, self.now(), barcode, card, due))

    def checkin(
        self, barcode: Barcode, context: ExchangeContext, *, returned_at: datetime | None = None
    ) -> CheckinResult:
        """Take the item back."""
        return self.perform(
            Capability.CHECKIN,
            lambda: self._take_back(barcode, context, returned_at),
            barcode=barcode,
            refuse=lambda code, message: CheckinResult(ok=False, code=code, message=message),
        )

    def _take_back(
        self, barcode: Barcode, context: ExchangeContext, returned_at: datetime | None
    ) -> CheckinResult:
        item = self.stock.items.get(barcode)
        if item is None:
            return CheckinResult(ok=False, code="unknown_item", message="unknown item")
        loan = self.stock.loans.pop(barcode, None)
        if loan is not None:
            self.stock.returned[barcode] = returned_at or context.at
            self._note("checkin", barcode, loan.patron, None)
        item.status = CirculationStatus.AVAILABLE
        if item.held_for is None and (queue := self.stock.waiting_for(item)):
            queue[0].on_shelf, item.held_for = barcode, queue[0].patron
        return CheckinResult(
            ok=True,
            title=self.stock.title_of(barcode),
            was_on_loan=loan is not None,
            patron=None if loan is None else loan.patron,
            permanent_location=item.location,
            collection=item.collection,
            call_number=item.call_number,
            alert=None if item.held_for is None else AlertType.LOCAL_HOLD,
            hold_patron=item.held_for,
            properties=item.properties,
        )

    def renew(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Renew the loan."""
        return self.perform(
            Capability.RENEW,
            lambda: self._extend(patron, barcode, context, due),
            patron=patron,
            barcode=barcode,
            refuse=_no,
        )

    def _extend(
        self,
        identifier: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        due: datetime | None,
    ) -> CheckoutResult:
        patron = self.stock.find_patron(identifier)
        item = self.stock.items.get(barcode)
        if patron is None or item is None:
            return _no("unknown_patron" if patron is None else "unknown_item")
        loan = self.stock.loans.get(barcode)
        if loan is None or loan.patron != patron.card:
            return _no("not_on_loan")
        code = "" if context.no_block else self._renewal_bar(patron, item, loan, context)
        if code:
            return _no(code)
        loan.due = self._due(context.at, due)
        loan.renewals += 1
        self._note("renew", barcode, patron.card, loan.due)
        return CheckoutResult(
            ok=True, title=self.stock.title_of(barcode), due=loan.due, renewed=True
        )

    def _renewal_bar(
        self, patron: FakePatron, item: FakeItem, loan: FakeLoan, context: ExchangeContext
    ) -> str:
        if context.pin is not None and not self._is_pin_right(patron, context.pin):
            return "pin_wrong"
        bar = self.bar(patron)
        if bar:
            return bar
        if loan.renewals >= self.max_renewals:
            return "renewal_limit"
        return "item_on_hold" if self._is_on_hold(patron, item) else ""

    def change_due_date(self, barcode: Barcode, due: datetime) -> None:
        """Correct a due date."""

        def change() -> None:
            loan = self.stock.loans.get(barcode)
            if loan is None:
                raise NotFound("loan")
            loan.due = due

        self.perform(Capability.CHANGE_DUE_DATE, change, barcode=barcode)

    def update_item_status(self, barcode: Barcode, properties: str) -> bool:
        """Store the item properties."""

        def store() -> bool:
            item = self.stock.items.get(barcode)
            if item is not None:
                item.properties = properties
            return item is not None

        return self.perform(Capability.UPDATE_ITEM_STATUS, store, barcode=barcode)

    def loan_rules(self) -> tuple[LoanRule, ...]:
        """Return the one rule."""
        rule = LoanRule(
            "*", "*", self.loan_days, self.max_items, self.max_renewals, self.loan_days, "today"
        )
        return self.perform(Capability.LOAN_RULES, lambda: (rule,))

    def fetch_changes(self, since: datetime) -> Iterator[Change]:
        """Yield what happened since a moment."""
        found = self.perform(
            Capability.FETCH_CHANGES,
            lambda: tuple(change for change in self.stock.changes if change.at >= since),
        )
        return iter(found)


def _no(code: str, message: str = "") -> CheckoutResult:
    return CheckoutResult(ok=False, code=code, message=message or code.replace("_", " "))
