"""An ILS in memory that does what a test tells it to: the whole port, with scripted faults.

Nothing here is fit for production. Faults are in ``faults``, state in ``fake_stock``; ``desk_*``
and ``new_*`` are what happens at that library without the connector. Example::

    ils = koha_a()
    ils.new_patron("P1")
    ils.new_item("B1", "城南旧事")
    ils.fail("checkout", Fault(FaultKind.DONE_NO_ANSWER))
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.wire import WireMessage
from connector.errors import NotFound, UnexpectedResponse
from connector.ports.ils import (
    API_CAPABILITIES,
    BibHit,
    Capability,
    ExchangeContext,
    Holding,
    ItemInput,
    MarcDialect,
)
from connector.testing.fake_circulation import FakeCirculation
from connector.testing.fake_stock import FakeBib, FakeItem, FakePatron
from connector.testing.faults import Call, Fault, FaultKind
from connector.testing.records import make_record, peek_title

__all__ = ["SIP2_ONLY", "Call", "FakeIls", "Fault", "FaultKind", "folio_b", "koha_a", "sip_c"]

SIP2_ONLY = frozenset(
    {
        Capability.FETCH_PATRON,
        Capability.VERIFY_PIN,
        Capability.BLOCK_PATRON,
        Capability.FETCH_ITEM,
        Capability.FETCH_ITEM_LOAN,
        Capability.CHECKOUT,
        Capability.CHECKIN,
        Capability.RENEW,
        Capability.UPDATE_ITEM_STATUS,
        Capability.PLACE_HOLD,
        Capability.CANCEL_HOLD,
        Capability.PAY_FEE,
    }
)
"""What an ILS offers that speaks nothing but SIP2 and does not list its loans."""


class FakeIls(FakeCirculation):
    """The whole port in memory."""

    def forward(self, message: WireMessage, context: ExchangeContext) -> WireMessage | None:
        """Hand on nothing: nobody speaks SIP2 to it, so that it is silent where it is claimed."""
        del message, context
        return self.perform(Capability.FORWARD, lambda: None)

    def search_bibs(self, query: str, *, limit: int = 50) -> tuple[BibHit, ...]:
        """Return bibs whose title has every word."""

        def find() -> tuple[BibHit, ...]:
            words = query.lower().split()
            hits = (
                BibHit(bib.bib_id, bib.title, record=bib.record, dialect=bib.dialect)
                for bib in self.stock.bibs.values()
                if words and all(word in bib.title.lower() for word in words)
            )
            return tuple(hits)[:limit]

        return self.perform(Capability.SEARCH_BIBS, find)

    def fetch_holdings(self, bib_id: str) -> tuple[Holding, ...]:
        """Return the items of a bib."""

        def find() -> tuple[Holding, ...]:
            return tuple(
                Holding(
                    bib_id,
                    item.barcode,
                    item.branch,
                    item.location,
                    item.call_number,
                    item.barcode not in self.stock.loans and item.held_for is None,
                    loan.due if (loan := self.stock.loans.get(item.barcode)) else None,
                )
                for item in self.stock.items.values()
                if item.bib_id == bib_id
            )

        return self.perform(Capability.FETCH_HOLDINGS, find)

    def add_bib(self, record: bytes, dialect: MarcDialect) -> str:
        """Store a record."""

        def add() -> str:
            bib_id = self.stock.next_id()
            self.stock.bibs[bib_id] = FakeBib(bib_id, peek_title(record), record, dialect)
            return bib_id

        return self.perform(Capability.ADD_BIB, add)

    def update_bib(self, bib_id: str, record: bytes, dialect: MarcDialect) -> None:
        """Replace a record."""

        def update() -> None:
            bib = self._require_bib(bib_id)
            bib.title, bib.record, bib.dialect = peek_title(record), record, dialect

        self.perform(Capability.UPDATE_BIB, update)

    def delete_bib(self, bib_id: str) -> None:
        """Remove a bib without items."""

        def delete() -> None:
            self._require_bib(bib_id)
            if any(item.bib_id == bib_id for item in self.stock.items.values()):
                raise UnexpectedResponse(self.name, self.institution_id, "has_items")
            self.stock.holds = [hold for hold in self.stock.holds if hold.bib_id != bib_id]
            del self.stock.bibs[bib_id]

        self.perform(Capability.DELETE_BIB, delete)

    def _require_bib(self, bib_id: str) -> FakeBib:
        if bib_id not in self.stock.bibs:
            raise NotFound("bib")
        return self.stock.bibs[bib_id]

    def add_item(self, bib_id: str, item: ItemInput) -> None:
        """Add an item to a bib."""

        def add() -> None:
            self._require_bib(bib_id)
            if item.barcode in self.stock.items:
                raise UnexpectedResponse(self.name, self.institution_id, "duplicate_barcode")
            self.stock.items[item.barcode] = FakeItem(
                item.barcode,
                bib_id,
                item_type=item.item_type,
                location=item.location,
                branch=item.branch,
                collection=item.collection,
                call_number=item.call_number,
                unsuitable=item.unsuitable,
            )

        self.perform(Capability.ADD_ITEM, add, barcode=item.barcode)

    def delete_item(self, barcode: Barcode) -> None:
        """Remove an item."""

        def delete() -> None:
            if barcode not in self.stock.items:
                raise NotFound("item")
            if barcode in self.stock.loans:
                raise UnexpectedResponse(self.name, self.institution_id, "on_loan")
            del self.stock.items[barcode]

        self.perform(Capability.DELETE_ITEM, delete, barcode=barcode)

    def new_patron(
        self, card: str, *, pin: str | None = None, expires: date | None = None, **values: Any
    ) -> IlsPatronId:
        """Open an account at the desk; ``values`` are fields of ``FakePatron``."""
        identifier = IlsPatronId(card)
        self.stock.patrons[identifier] = FakePatron(identifier, pin=pin, expires=expires, **values)
        return identifier

    def add_desk_patron(
        self, card: str, *, name: str, category: str = "adult", pin: str | None = None
    ) -> IlsPatronId:
        """Open an account at the desk, as the contract suite does."""
        return self.new_patron(card, name=name, category=category, pin=pin)

    def new_item(
        self, barcode: str, title: str = "", *, languages: Iterable[str] = ("chi",), **values: Any
    ) -> Barcode:
        """Put an item on the shelf under a bib of its own, or under ``bib_id``."""
        number = Barcode(barcode)
        name = title or f"书 {barcode}"
        bib_id = values.pop("bib_id", None)
        if bib_id is None:
            bib_id = self.stock.next_id()
            self.stock.bibs[bib_id] = FakeBib(bib_id, name, make_record(name))
        self.stock.items[number] = FakeItem(number, bib_id, tuple(languages), **values)
        return number

    def desk_checkout(self, patron: str, barcode: str, *, due: datetime | None = None) -> None:
        """Lend at the staff desk, past the connector; the desk may lend above any limit."""
        context = ExchangeContext(at=self.now(), no_block=True)
        with self._lock:
            result = self._lend(IlsPatronId(patron), Barcode(barcode), context, None)
            if not result.ok:
                raise ValueError(f"the desk cannot lend it: {result.code}")
            if due is not None:
                self.stock.loans[Barcode(barcode)].due = due

    def desk_checkin(self, barcode: str) -> None:
        """Take an item back at the staff desk."""
        with self._lock:
            self._take_back(Barcode(barcode), ExchangeContext(at=self.now()), None)

    def desk_renew(self, barcode: str) -> None:
        """Renew in the OPAC or at the desk."""
        with self._lock:
            loan = self.stock.loans[Barcode(barcode)]
            context = ExchangeContext(at=self.now(), no_block=True)
            self._extend(loan.patron, loan.barcode, context, None)


def koha_a(**settings: Any) -> FakeIls:
    """Return ``KOHA-A`` of the acceptance scenarios: every capability."""
    settings.setdefault("name", "koha")
    return FakeIls("KOHA-A", **settings)


def folio_b(**settings: Any) -> FakeIls:
    """Return ``FOLIO-B``: every capability but a settable due date; its clock runs in UTC."""
    settings.setdefault("capabilities", API_CAPABILITIES - {Capability.SET_DUE_DATE})
    settings.setdefault("zone", "UTC")
    settings.setdefault("name", "folio")
    return FakeIls("FOLIO-B", **settings)


def sip_c(**settings: Any) -> FakeIls:
    """Return ``SIP-C``: SIP2 only; loans are counted, not listed; a checkout may renew."""
    settings.setdefault("capabilities", SIP2_ONLY)
    settings.setdefault("renews_on_checkout", True)
    settings.setdefault("name", "sip2")
    return FakeIls("SIP-C", **settings)
