"""Throw-away patrons and items for the contract suite, made through the adapter and removed again.

Nothing here asserts. Rules: every number is new and begins with ``ZZ``; an adapter that cannot make
what a test needs skips that test, or its test class overrides the ``seed`` fixture.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Protocol

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.errors import ConnectorError
from connector.ports.ils import (
    Capability,
    ExchangeContext,
    HoldRequest,
    IlsAdapter,
    ItemInput,
    PatronInput,
)
from connector.testing.records import make_record

__all__ = ["AdapterSeed", "GivenSeed", "Seed", "context", "require"]


def require(adapter: IlsAdapter, *needed: Capability) -> None:
    """Skip the test when the adapter does not claim what it needs."""
    missing = sorted(set(needed) - adapter.capabilities)
    if missing:
        pytest.skip("not claimed: " + ", ".join(missing))


def context(*, pin: str | None = None, no_block: bool = False) -> ExchangeContext:
    """Return an exchange that happens now."""
    return ExchangeContext(at=datetime.now(UTC), pin=pin, no_block=no_block)


class Seed(Protocol):
    """What the contract suite needs to exist in the ILS."""

    def new_patron(
        self,
        *,
        pin: str | None = None,
        expires: date | None = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> IlsPatronId:
        """Make a patron who may borrow, unless ``expires`` is past."""
        ...

    def new_desk_patron(self, *, pin: str) -> IlsPatronId:
        """Make a patron who may borrow as the staff desk makes one: without an external id."""
        ...

    def external_id_of(self, patron: IlsPatronId) -> str:
        """Return the external id under which a patron was made."""
        ...

    def new_item(self) -> Barcode:
        """Make an item that may be lent, the only copy of its title."""
        ...

    def new_fee(self, patron: IlsPatronId, amount: Decimal) -> str:
        """Charge a fee and return its id."""
        ...

    def clean(self) -> None:
        """Remove everything again; never fails."""
        ...


class AdapterSeed:
    """Makes patrons and items by the adapter's own operations.

    Args:
        category, item_type, location, branch: codes that this ILS knows and lends by.
    """

    def __init__(
        self,
        adapter: IlsAdapter,
        *,
        category: str = "adult",
        item_type: str = "book",
        location: str = "",
        branch: str = "",
    ) -> None:
        self.adapter = adapter
        self._category = category
        self._item_type = item_type
        self._location = location
        self._branch = branch
        self._patrons: dict[IlsPatronId, str] = {}
        self._items: list[Barcode] = []
        self._bibs: list[str] = []

    def new_number(self) -> str:
        """Return a number that nobody has."""
        return "ZZ" + uuid.uuid4().hex[:12].upper()

    def new_patron(
        self,
        *,
        pin: str | None = None,
        expires: date | None = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> IlsPatronId:
        """Open an account."""
        require(self.adapter, Capability.UPSERT_PATRON)
        external_id = str(uuid.uuid4())
        given = PatronInput(
            external_id=external_id,
            card=IlsPatronId(self.new_number()),
            name="契约测试",
            category=self._category,
            home_branch=self._branch,
            expires=expires,
            pin=pin,
            identifiers=identifiers or {},
        )
        made = self.adapter.upsert_patron(given)
        self._patrons[made.ils_patron] = external_id
        return made.ils_patron

    def new_desk_patron(self, *, pin: str) -> IlsPatronId:
        """Open one where the adapter's class has ``add_desk_patron``; few systems can."""
        add = getattr(self.adapter, "add_desk_patron", None)
        if add is None:
            pytest.skip("this ILS has no operation that opens an account that is not ours")
        made = IlsPatronId(
            add(self.new_number(), name="契约测试", category=self._category, pin=pin)
        )
        self._patrons[made] = ""
        return made

    def external_id_of(self, patron: IlsPatronId) -> str:
        """Return the external id under which a patron was made."""
        return self._patrons[patron]

    def new_bib(self, title: str = "") -> str:
        """Store a record with a title of its own."""
        require(self.adapter, Capability.ADD_BIB)
        bib_id = self.adapter.add_bib(make_record(title or f"书名{self.new_number()}"), "marc21")
        self._bibs.append(bib_id)
        return bib_id

    def new_item(self) -> Barcode:
        """Add an item to a bib of its own."""
        require(self.adapter, Capability.ADD_BIB, Capability.ADD_ITEM)
        return self.new_copy(self.new_bib())

    def new_copy(self, bib_id: str) -> Barcode:
        """Add an item to a bib."""
        barcode = Barcode(self.new_number())
        given = ItemInput(
            barcode, item_type=self._item_type, location=self._location, branch=self._branch
        )
        self.adapter.add_item(bib_id, given)
        self._items.append(barcode)
        return barcode

    def new_fee(self, patron: IlsPatronId, amount: Decimal) -> str:
        """Charge a fee where the adapter's class has ``charge_fee``; few systems can."""
        charge = getattr(self.adapter, "charge_fee", None)
        if charge is None:
            pytest.skip("this ILS has no operation that charges a fee")
        return str(charge(patron, amount))

    def clean(self) -> None:
        """Check in, delete and close, as far as the adapter can."""
        able, adapter = self.adapter.capabilities, self.adapter
        for barcode in self._items:
            with contextlib.suppress(ConnectorError):
                if Capability.CHECKIN in able:
                    adapter.checkin(barcode, context())
            with contextlib.suppress(ConnectorError):
                if Capability.DELETE_ITEM in able:
                    adapter.delete_item(barcode)
        for patron in self._patrons:
            with contextlib.suppress(ConnectorError):
                if Capability.CLOSE_PATRON in able:
                    adapter.close_patron(patron)
        for bib_id in self._bibs:
            with contextlib.suppress(ConnectorError):
                if Capability.DELETE_BIB in able:
                    adapter.delete_bib(bib_id)
        self._items, self._bibs, self._patrons = [], [], {}


class GivenSeed:
    """Hands out test patrons and items that somebody made in an ILS that lets us make none.

    A test that needs more of them than there are, or a patron with a PIN of its own, is skipped.
    Afterwards holds are cancelled and the items checked in; nothing is deleted.
    """

    def __init__(
        self, adapter: IlsAdapter, patrons: Sequence[IlsPatronId], items: Sequence[Barcode]
    ) -> None:
        self.adapter = adapter
        self._patrons = tuple(patrons)
        self._items = tuple(items)
        self._patrons_used = 0
        self._items_used = 0

    def new_patron(
        self,
        *,
        pin: str | None = None,
        expires: date | None = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> IlsPatronId:
        """Return the next test patron."""
        if pin is not None or expires is not None or identifiers:
            pytest.skip("it needs a patron made for it")
        if self._patrons_used == len(self._patrons):
            pytest.skip(f"it needs more test patrons than the {len(self._patrons)} given")
        self._patrons_used += 1
        return self._patrons[self._patrons_used - 1]

    def new_desk_patron(self, *, pin: str) -> IlsPatronId:
        """Skip the test: a given patron stays what it is."""
        del pin
        pytest.skip("a given patron stays what it is")

    def external_id_of(self, patron: IlsPatronId) -> str:
        """Skip the test: the patron was not made by us."""
        del patron
        pytest.skip("it needs a patron made for it")

    def new_item(self) -> Barcode:
        """Return the next test item."""
        if self._items_used == len(self._items):
            pytest.skip(f"it needs more test items than the {len(self._items)} given")
        self._items_used += 1
        return self._items[self._items_used - 1]

    def new_fee(self, patron: IlsPatronId, amount: Decimal) -> str:
        """Skip the test: a given patron is charged nothing."""
        del patron, amount
        pytest.skip("a given patron is charged nothing")

    def clean(self) -> None:
        """Cancel the patrons' holds on the items, and check the items in."""
        items, patrons = self._items[: self._items_used], self._patrons[: self._patrons_used]
        self._items_used = self._patrons_used = 0
        able, adapter = self.adapter.capabilities, self.adapter
        for barcode in items:
            for patron in patrons:
                with contextlib.suppress(ConnectorError):
                    if Capability.CANCEL_HOLD in able:
                        adapter.cancel_hold(patron, HoldRequest(barcode), context())
            with contextlib.suppress(ConnectorError):
                if Capability.CHECKIN in able:
                    adapter.checkin(barcode, context())
