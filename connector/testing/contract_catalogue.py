"""What every adapter must do with holds, bibs and items.

Nothing here knows an adapter. Each test skips what is not claimed.
"""

# ruff: noqa: D102 -- the name of a test says it
from __future__ import annotations

import uuid

import pytest

from connector.domain.item import CirculationStatus
from connector.errors import NotFound, UnexpectedResponse
from connector.ports.ils import AlertType, Capability, HoldRequest, IlsAdapter, ItemInput
from connector.testing.contract_circulation import NO_ITEM
from connector.testing.contract_patrons import NOBODY
from connector.testing.contract_seed import AdapterSeed, Seed, context, require
from connector.testing.records import make_record

__all__ = ["CatalogueContract", "HoldContract"]

_NO_BIB = "999999999"


class HoldContract:
    """Holds."""

    def test_a_hold_is_placed_listed_and_cancelled(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.PLACE_HOLD, Capability.CANCEL_HOLD, Capability.LIST_HOLDS)
        patron, barcode = seed.new_patron(), seed.new_item()
        request = HoldRequest(barcode)
        placed = adapter.place_hold(patron, request, context())
        assert placed.ok is True
        assert placed.available is False
        assert [hold.available for hold in adapter.list_holds(patron)] == [False]
        assert adapter.cancel_hold(patron, request, context()).ok is True
        assert adapter.list_holds(patron) == ()
        assert adapter.cancel_hold(patron, request, context()).ok is False

    def test_a_second_hold_on_the_title_changes_the_first(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.PLACE_HOLD, Capability.LIST_HOLDS)
        patron, barcode = seed.new_patron(), seed.new_item()
        first = adapter.place_hold(patron, HoldRequest(barcode), context())
        again = adapter.place_hold(patron, HoldRequest(barcode), context())
        assert first.ok
        assert again.ok
        assert len(adapter.list_holds(patron)) == 1

    def test_a_hold_of_nobody_or_on_nothing_is_refused(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.PLACE_HOLD)
        patron, barcode = seed.new_patron(), seed.new_item()
        assert adapter.place_hold(NOBODY, HoldRequest(barcode), context()).ok is False
        assert adapter.place_hold(patron, HoldRequest(NO_ITEM), context()).ok is False

    def test_a_hold_of_another_bars_the_checkout_of_the_only_copy(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.PLACE_HOLD, Capability.CHECKOUT, Capability.FETCH_ITEM)
        first, second, barcode = seed.new_patron(), seed.new_patron(), seed.new_item()
        assert adapter.place_hold(first, HoldRequest(barcode, hold_type="3"), context()).ok
        item = adapter.fetch_item(barcode)
        assert item is not None
        assert item.hold_count == 1
        assert adapter.checkout(second, barcode, context()).ok is False
        assert adapter.checkout(first, barcode, context()).ok is True
        item = adapter.fetch_item(barcode)
        assert item is not None
        assert item.hold_count == 0

    def test_a_hold_of_another_bars_the_renewal(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.PLACE_HOLD, Capability.CHECKOUT, Capability.RENEW)
        first, second, barcode = seed.new_patron(), seed.new_patron(), seed.new_item()
        assert adapter.checkout(first, barcode, context()).ok
        assert adapter.place_hold(second, HoldRequest(barcode, hold_type="3"), context()).ok
        assert adapter.renew(first, barcode, context()).ok is False

    def test_a_returned_item_waits_on_the_hold_shelf(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.PLACE_HOLD, Capability.LIST_HOLDS)
        require(adapter, Capability.CHECKOUT, Capability.CHECKIN, Capability.FETCH_ITEM)
        reader, holder, other = seed.new_patron(), seed.new_patron(), seed.new_patron()
        barcode = seed.new_item()
        assert adapter.checkout(reader, barcode, context()).ok
        assert adapter.place_hold(holder, HoldRequest(barcode), context()).ok
        returned = adapter.checkin(barcode, context())
        assert returned.alert in {AlertType.LOCAL_HOLD, AlertType.HOLD_OTHER_BRANCH}
        assert returned.hold_patron in (None, holder)
        assert [hold.available for hold in adapter.list_holds(holder)] == [True]
        item = adapter.fetch_item(barcode)
        assert item is not None
        assert item.status is CirculationStatus.HOLD_SHELF
        assert item.held_for in (None, holder)
        assert adapter.checkout(other, barcode, context()).ok is False
        assert adapter.checkout(holder, barcode, context()).ok is True
        assert adapter.list_holds(holder) == ()


class CatalogueContract:
    """Bibs and items; these tests make their own, through the adapter."""

    def _seed(self, adapter: IlsAdapter, seed: Seed) -> AdapterSeed:
        if not isinstance(seed, AdapterSeed):
            pytest.skip("the seed of this test class makes no bibs")
        require(adapter, Capability.ADD_BIB, Capability.ADD_ITEM)
        return seed

    def test_a_stored_bib_is_found_by_the_words_of_its_title(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.SEARCH_BIBS)
        word = uuid.uuid4().hex
        bib_id = self._seed(adapter, seed).new_bib(f"寻找 {word}")
        hits = adapter.search_bibs(word)
        assert [(hit.bib_id, hit.title) for hit in hits] == [(bib_id, f"寻找 {word}")]
        assert adapter.search_bibs(f"寻找 {word} 没有") == ()
        assert adapter.search_bibs("%") == ()
        assert adapter.search_bibs("") == ()

    def test_a_bib_is_replaced(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.UPDATE_BIB, Capability.SEARCH_BIBS)
        old, new = uuid.uuid4().hex, uuid.uuid4().hex
        bib_id = self._seed(adapter, seed).new_bib(old)
        adapter.update_bib(bib_id, make_record(new, "cnmarc"), "cnmarc")
        assert adapter.search_bibs(old) == ()
        assert [(hit.bib_id, hit.dialect) for hit in adapter.search_bibs(new)] == [
            (bib_id, "cnmarc")
        ]
        with pytest.raises(NotFound):
            adapter.update_bib(_NO_BIB, make_record(new), "marc21")

    def test_holdings_say_what_is_available(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_HOLDINGS, Capability.CHECKOUT)
        maker = self._seed(adapter, seed)
        bib_id = maker.new_bib()
        assert adapter.fetch_holdings(bib_id) == ()
        lent, free = maker.new_copy(bib_id), maker.new_copy(bib_id)
        assert adapter.checkout(maker.new_patron(), lent, context()).ok
        found = {holding.barcode: holding for holding in adapter.fetch_holdings(bib_id)}
        assert set(found) == {lent, free}
        assert found[free].available is not False
        assert found[lent].available is not True

    def test_a_barcode_is_taken_once(self, adapter: IlsAdapter, seed: Seed) -> None:
        maker = self._seed(adapter, seed)
        barcode = maker.new_item()
        with pytest.raises(UnexpectedResponse) as refused:
            adapter.add_item(maker.new_bib(), ItemInput(barcode))
        assert refused.value.code == "duplicate_barcode"

    def test_an_item_needs_a_bib(self, adapter: IlsAdapter, seed: Seed) -> None:
        maker = self._seed(adapter, seed)
        with pytest.raises((NotFound, UnexpectedResponse)):
            adapter.add_item(_NO_BIB, ItemInput(barcode=NO_ITEM))
        assert maker.adapter.fetch_item(NO_ITEM) is None

    def test_an_item_on_loan_is_not_deleted(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.DELETE_ITEM, Capability.CHECKOUT, Capability.CHECKIN)
        maker = self._seed(adapter, seed)
        barcode = maker.new_item()
        assert adapter.checkout(maker.new_patron(), barcode, context()).ok
        with pytest.raises(UnexpectedResponse) as refused:
            adapter.delete_item(barcode)
        assert refused.value.code == "on_loan"
        adapter.checkin(barcode, context())
        adapter.delete_item(barcode)
        assert adapter.fetch_item(barcode) is None
        with pytest.raises(NotFound):
            adapter.delete_item(barcode)

    def test_a_bib_with_items_is_not_deleted(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.DELETE_BIB, Capability.DELETE_ITEM)
        maker = self._seed(adapter, seed)
        bib_id = maker.new_bib()
        barcode = maker.new_copy(bib_id)
        with pytest.raises(UnexpectedResponse) as refused:
            adapter.delete_bib(bib_id)
        assert refused.value.code == "has_items"
        adapter.delete_item(barcode)
        adapter.delete_bib(bib_id)
        with pytest.raises(NotFound):
            adapter.delete_bib(bib_id)
