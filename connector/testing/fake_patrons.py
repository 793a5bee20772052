"""Patrons, holds and fees of the fake ILS.

Nothing here lends. Rules: the same words as the embedded ILS for refusals, in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from connector.domain.ids import IlsPatronId
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold, PatronCounts, PatronFacts, PatronFlag
from connector.errors import NotFound, UnexpectedResponse
from connector.ports.ils import (
    BlockReason,
    Capability,
    ExchangeContext,
    FeePayment,
    FeeResult,
    HoldRequest,
    HoldResult,
    PatronInput,
    PatronUpsert,
)
from connector.testing.fake_core import FakeCore
from connector.testing.fake_stock import FakeHold, FakePatron

__all__ = ["FakePatrons"]

_THIS_COPY = "3"
_DENIED = frozenset(
    {
        PatronFlag.CHARGE_DENIED,
        PatronFlag.RENEWAL_DENIED,
        PatronFlag.RECALL_DENIED,
        PatronFlag.HOLD_DENIED,
    }
)


class FakePatrons(FakeCore):
    """The ``Patrons``, ``Holds`` and ``Fees`` parts of the port."""

    def fetch_patron(self, identifier: IlsPatronId, pin: str | None = None) -> PatronFacts:
        """Return the facts; without LIST_LOANS the loans are only counted."""
        return self.perform(
            Capability.FETCH_PATRON, lambda: self._facts(identifier, pin), patron=identifier
        )

    def _facts(self, identifier: IlsPatronId, pin: str | None) -> PatronFacts:
        as_of = self.now()
        patron = self.stock.find_patron(identifier)
        if patron is None:
            return PatronFacts(identifier, as_of, valid=False)
        loans = self.stock.loans_of(patron.card)
        holds = self.stock.holds_of(patron.card)
        fees = self.stock.fees_of(patron.card)
        listed = Capability.LIST_LOANS in self.capabilities
        return PatronFacts(
            ils_patron=patron.card,
            as_of=as_of,
            pin_valid=None if pin is None else self._is_pin_right(patron, pin),
            name=patron.name,
            category=patron.category,
            flags=self._flags(patron, len(loans)),
            counts=PatronCounts(
                holds=len(holds),
                overdue=sum(bool(loan.due and self.is_overdue(loan.due, as_of)) for loan in loans),
                charged=len(loans),
                fines=len(fees),
                recalls=0,
                unavailable_holds=sum(not hold.available for hold in holds),
            ),
            loans=self._as_told(loans) if listed else (),
            loans_complete=listed,
            holds=holds,
            fees=fees,
            loan_limit=self.max_items,
            expires=patron.expires,
            birth_date=patron.birth_date,
            phone=patron.phone,
            home_branch=patron.home_branch,
        )

    def _as_told(self, loans: tuple[IlsLoan, ...]) -> tuple[IlsLoan, ...]:
        """Return the loans without what this ILS does not tell of them."""
        if Capability.LOAN_DUE_DATES in self.capabilities:
            return loans
        return tuple(replace(loan, due=None, renewals=None, checked_out_at=None) for loan in loans)

    def _flags(self, patron: FakePatron, charged: int) -> frozenset[PatronFlag]:
        flags: set[PatronFlag] = set(_DENIED) if self.bar(patron) else set()
        if BlockReason.CARD_LOST in patron.blocks:
            flags.add(PatronFlag.CARD_LOST)
        if charged >= self.max_items:
            flags.add(PatronFlag.TOO_MANY_CHARGED)
        return frozenset(flags)

    def bar(self, patron: FakePatron) -> str:
        """Return why the patron may not borrow, or an empty string."""
        if patron.blocks:
            return "patron_blocked"
        today = self.now().astimezone(self.zone).date()
        return "patron_expired" if patron.expires is not None and patron.expires < today else ""

    @staticmethod
    def _is_pin_right(patron: FakePatron, pin: str) -> bool:
        return patron.pin is not None and patron.pin == pin

    def verify_pin(self, identifier: IlsPatronId, pin: str) -> bool:
        """Say whether the PIN is right."""

        def check() -> bool:
            patron = self.stock.find_patron(identifier)
            return patron is not None and self._is_pin_right(patron, pin)

        return self.perform(Capability.VERIFY_PIN, check, patron=identifier)

    def find_patron(
        self, *, external_id: str | None = None, identifiers: Mapping[str, str] | None = None
    ) -> IlsPatronId | None:
        """Return the open account with this external id, or with any of these numbers."""

        def find() -> IlsPatronId | None:
            wanted = set((identifiers or {}).items())
            for patron in self.stock.patrons.values():
                numbers = set(patron.identifiers.items()) | {("card", str(patron.card))}
                ours = external_id is not None and patron.external_id == external_id
                if not patron.closed and (ours or numbers & wanted):
                    return patron.card
            return None

        return self.perform(Capability.FIND_PATRON, find)

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Create the patron, or change our own."""
        if patron.adopt is not None:
            return self.perform(
                Capability.ADOPT_PATRON, lambda: self._adopt(patron), patron=patron.adopt
            )
        return self.perform(
            Capability.UPSERT_PATRON, lambda: self._save(patron), patron=patron.card
        )

    def _adopt(self, given: PatronInput) -> PatronUpsert:
        account = self.require_patron(given.adopt or given.card)
        ours = [p for p in self.stock.patrons.values() if p.external_id == given.external_id]
        if account.external_id not in ("", given.external_id) or (ours and ours != [account]):
            raise UnexpectedResponse(self.name, self.institution_id, "not_ours")
        account.external_id, account.category = given.external_id, given.category
        account.expires = given.expires
        return PatronUpsert(account.card, created=False)

    def _save(self, given: PatronInput) -> PatronUpsert:
        ours = next(
            (p for p in self.stock.patrons.values() if p.external_id == given.external_id), None
        )
        holder = self.stock.patrons.get(given.card)
        if holder is not None and holder is not ours:
            raise UnexpectedResponse(self.name, self.institution_id, "duplicate_card")
        others = [p for p in self.stock.patrons.values() if p is not ours]
        taken = {pair for patron in others for pair in patron.identifiers.items()}
        if taken & set(given.identifiers.items()):
            raise UnexpectedResponse(self.name, self.institution_id, "duplicate_identifier")
        patron = ours or FakePatron(given.card, given.external_id)
        old_card, patron.card = patron.card, given.card
        patron.name, patron.category, patron.phone = given.name, given.category, given.phone
        patron.birth_date, patron.expires = given.birth_date, given.expires
        patron.home_branch = given.home_branch
        patron.identifiers = dict(given.identifiers)
        patron.pin = patron.pin if given.pin is None else given.pin
        patron.closed = False
        self.stock.patrons.pop(old_card, None)
        self.stock.patrons[given.card] = patron
        for loan in self.stock.loans_by(old_card):
            loan.patron = given.card
        for hold in [hold for hold in self.stock.holds if hold.patron == old_card]:
            hold.patron = given.card
        return PatronUpsert(given.card, created=ours is None)

    def block_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Block borrowing."""
        self.perform(
            Capability.BLOCK_PATRON,
            lambda: self.require_patron(identifier).blocks.add(reason),
            patron=identifier,
        )

    def unblock_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Undo exactly this block."""
        self.perform(
            Capability.UNBLOCK_PATRON,
            lambda: self.require_patron(identifier).blocks.discard(reason),
            patron=identifier,
        )

    def close_patron(self, identifier: IlsPatronId) -> None:
        """Close the account."""

        def close() -> None:
            patron = self.require_patron(identifier)
            if self.stock.loans_of(patron.card):
                raise UnexpectedResponse(self.name, self.institution_id, "has_loans")
            self.stock.holds = [hold for hold in self.stock.holds if hold.patron != patron.card]
            patron.closed, patron.name, patron.phone, patron.pin = True, "", "", None
            patron.identifiers, patron.birth_date = {}, None
            patron.blocks.clear()

        self.perform(Capability.CLOSE_PATRON, close, patron=identifier)

    def require_patron(self, identifier: IlsPatronId) -> FakePatron:
        """Return an open account; raises ``NotFound``."""
        patron = self.stock.find_patron(identifier)
        if patron is None:
            raise NotFound("patron")
        return patron

    def place_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Place a hold, or change the pickup place."""
        return self.perform(
            Capability.PLACE_HOLD,
            lambda: self._place(patron, request, context),
            patron=patron,
            barcode=request.barcode,
            refuse=_no_hold,
        )

    def _place(
        self, identifier: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        patron = self.stock.find_patron(identifier)
        bib_id = self._title_of(request)
        if patron is None or bib_id is None:
            return _no_hold("unknown_patron" if patron is None else "unknown_item")
        bar = self.bar(patron)
        if bar:
            return _no_hold(bar)
        if any(
            self.stock.items[n.barcode].bib_id == bib_id for n in self.stock.loans_of(patron.card)
        ):
            return _no_hold("already_charged")
        hold = self._open_hold(patron.card, bib_id)
        if hold is None:
            only = request.barcode if request.hold_type == _THIS_COPY else None
            number = self.stock.next_id()
            hold = FakeHold(number, bib_id, patron.card, only, request.pickup, context.at)
            self.stock.holds.append(hold)
        hold.pickup, hold.expires = request.pickup, request.expires
        queue = [other for other in self.stock.holds if other.bib_id == bib_id]
        return HoldResult(
            ok=True,
            available=hold.on_shelf is not None,
            hold_id=hold.hold_id,
            barcode=hold.on_shelf or hold.barcode,
            title=self.stock.bibs[bib_id].title,
            pickup=hold.pickup,
            queue_position=queue.index(hold) + 1,
            expires=hold.expires,
        )

    def cancel_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Cancel the patron's hold."""
        del context

        def cancel() -> HoldResult:
            who = self.stock.find_patron(patron)
            bib_id = self._title_of(request)
            if who is None or bib_id is None:
                return _no_hold("unknown_patron" if who is None else "unknown_item")
            hold = self._open_hold(who.card, bib_id)
            if hold is None:
                return _no_hold("no_hold")
            self.stock.holds.remove(hold)
            if hold.on_shelf is not None:
                self.stock.items[hold.on_shelf].held_for = None
            return HoldResult(ok=True, hold_id=hold.hold_id, title=self.stock.bibs[bib_id].title)

        return self.perform(
            Capability.CANCEL_HOLD, cancel, patron=patron, barcode=request.barcode, refuse=_no_hold
        )

    def list_holds(self, patron: IlsPatronId) -> tuple[IlsHold, ...]:
        """Return the patron's holds."""
        return self.perform(
            Capability.LIST_HOLDS,
            lambda: self.stock.holds_of(self.require_patron(patron).card),
            patron=patron,
        )

    def _title_of(self, request: HoldRequest) -> str | None:
        if request.barcode is not None:
            item = self.stock.items.get(request.barcode)
            return None if item is None else item.bib_id
        found = [bib.bib_id for bib in self.stock.bibs.values() if bib.title == request.title]
        return found[0] if len(found) == 1 else None

    def _open_hold(self, card: IlsPatronId, bib_id: str) -> FakeHold | None:
        return next((h for h in self.stock.holds if h.patron == card and h.bib_id == bib_id), None)

    def pay_fee(
        self, patron: IlsPatronId, payment: FeePayment, context: ExchangeContext
    ) -> FeeResult:
        """Record a payment once per transaction id."""
        del context
        return self.perform(
            Capability.PAY_FEE, lambda: self._pay(patron, payment), patron=patron, refuse=_unpaid
        )

    def _pay(self, identifier: IlsPatronId, payment: FeePayment) -> FeeResult:
        patron = self.stock.find_patron(identifier)
        if patron is None:
            return _unpaid("unknown_patron")
        payer = self.stock.payments.get(payment.transaction_id)
        if payer is not None:
            same = payer == patron.card
            return FeeResult(same, payment.transaction_id, "" if same else "unknown_fee")
        fees = [
            fee
            for fee in self.stock.fees_of(patron.card)
            if not payment.fee_id or fee.fee_id == payment.fee_id
        ]
        if payment.currency != "CNY":
            return _unpaid("bad_currency")
        if not 0 < payment.amount <= sum((fee.amount for fee in fees), Decimal(0)):
            return _unpaid("bad_amount" if fees or not payment.fee_id else "unknown_fee")
        rest = payment.amount
        for fee in fees:
            part = min(rest, fee.amount)
            rest -= part
            self.stock.fees[fee.fee_id] = (patron.card, replace(fee, amount=fee.amount - part))
        if payment.transaction_id:
            self.stock.payments[payment.transaction_id] = patron.card
        return FeeResult(ok=True, transaction_id=payment.transaction_id)

    def charge_fee(self, patron: IlsPatronId, amount: Decimal, *, fee_type: str = "01") -> str:
        """Charge a fee at the desk and return its id."""
        card = self.require_patron(patron).card
        fee = Fee(self.stock.next_id(), amount, fee_type)
        self.stock.fees[fee.fee_id] = (card, fee)
        return fee.fee_id


def _no_hold(code: str, message: str = "") -> HoldResult:
    return HoldResult(ok=False, code=code, message=message or code.replace("_", " "))


def _unpaid(code: str, message: str = "") -> FeeResult:
    return FeeResult(ok=False, code=code, message=message or code.replace("_", " "))
