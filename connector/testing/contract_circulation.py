"""What every adapter must do with loans.

Nothing here knows an adapter or a policy. Each test skips what is not claimed.
"""

# ruff: noqa: D102 -- the name of a test says it
from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus
from connector.errors import NotFound
from connector.ports.ils import Capability, CheckoutResult, IlsAdapter
from connector.testing.contract_patrons import NOBODY
from connector.testing.contract_seed import Seed, context, require

__all__ = ["NO_ITEM", "CirculationContract"]

T = TypeVar("T")
NO_ITEM = Barcode("ZZ-NOTHING-0")
"""A barcode that no ILS knows."""


def _lend(adapter: IlsAdapter, seed: Seed) -> tuple[IlsPatronId, Barcode, CheckoutResult]:
    require(adapter, Capability.CHECKOUT)
    patron, item = seed.new_patron(), seed.new_item()
    result = adapter.checkout(patron, item, context())
    assert result.ok, result.code
    return patron, item, result


def _at_once(works: list[Callable[[], T]]) -> list[T]:
    """Run all at the same moment, each in a thread of its own."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        barrier.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


class CirculationContract:
    """Loans."""

    def test_an_unknown_item_is_none(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.FETCH_ITEM)
        assert adapter.fetch_item(NO_ITEM) is None

    def test_an_item_on_the_shelf_is_available(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_ITEM)
        barcode = seed.new_item()
        item = adapter.fetch_item(barcode)
        assert item is not None
        assert item.barcode == barcode
        assert item.title
        assert item.status is CirculationStatus.AVAILABLE
        assert (item.due, item.borrower, item.held_for) == (None, None, None)
        assert item.hold_count == 0

    def test_a_checkout_makes_one_loan_with_an_aware_due_date(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        patron, barcode, result = _lend(adapter, seed)
        assert result.renewed is False
        assert result.due is not None
        assert result.due.utcoffset() is not None
        assert result.due > datetime.now(UTC)
        if Capability.FETCH_PATRON in adapter.capabilities:
            facts = adapter.fetch_patron(patron)
            assert facts.counts.charged in (None, 1)
            if facts.loans_complete:
                assert [loan.barcode for loan in facts.loans] == [barcode]
                told = Capability.LOAN_DUE_DATES in adapter.capabilities
                assert facts.loans[0].due in ((result.due,) if told else (None, result.due))
                assert facts.loans[0].renewals in (None, 0)
        if Capability.FETCH_ITEM in adapter.capabilities:
            item = adapter.fetch_item(barcode)
            assert item is not None
            assert item.status in {CirculationStatus.CHARGED, CirculationStatus.CHARGED_NO_RECALL}

    def test_refusals_say_why(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHECKOUT)
        patron, item = seed.new_patron(), seed.new_item()
        for result in (
            adapter.checkout(NOBODY, item, context()),
            adapter.checkout(patron, NO_ITEM, context()),
        ):
            assert result.ok is False
            assert result.due is None
            assert result.code or result.message

    def test_an_item_on_loan_is_not_lent_to_another(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_ITEM_LOAN)
        first, barcode, _ = _lend(adapter, seed)
        second = seed.new_patron()
        assert adapter.checkout(second, barcode, context()).ok is False
        loan = adapter.fetch_item_loan(barcode, first)
        assert loan is not None
        assert loan.patron in (None, first)

    def test_a_second_checkout_by_the_same_patron_is_not_a_second_loan(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.FETCH_PATRON)
        patron, barcode, _ = _lend(adapter, seed)
        again = adapter.checkout(patron, barcode, context())
        assert again.renewed is again.ok
        assert adapter.fetch_patron(patron).counts.charged in (None, 1)

    def test_a_given_due_date_is_obeyed(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.SET_DUE_DATE, Capability.CHECKOUT, Capability.FETCH_ITEM_LOAN)
        patron, barcode = seed.new_patron(), seed.new_item()
        zone = ZoneInfo("Asia/Shanghai")
        day = datetime.now(zone) + timedelta(days=9)
        due = day.replace(hour=23, minute=59, second=59, microsecond=0)
        assert adapter.checkout(patron, barcode, context(), due=due).due == due
        loan = adapter.fetch_item_loan(barcode, patron)
        assert loan is not None
        assert loan.due == due

    def test_a_renewal_is_counted_and_later(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.RENEW)
        patron, barcode, lent = _lend(adapter, seed)
        result = adapter.renew(patron, barcode, context())
        assert result.ok is True
        assert result.renewed is True
        assert result.due is not None
        assert lent.due is not None
        assert result.due >= lent.due
        if Capability.FETCH_ITEM_LOAN in adapter.capabilities:
            loan = adapter.fetch_item_loan(barcode, patron)
            assert loan is not None
            assert loan.renewals in (None, 1)
            assert loan.due == result.due

    def test_a_renewal_obeys_the_due_date(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.RENEW, Capability.SET_DUE_DATE)
        patron, barcode, _ = _lend(adapter, seed)
        due = (datetime.now(UTC) + timedelta(days=12)).replace(microsecond=0)
        assert adapter.renew(patron, barcode, context(), due=due).due == due

    def test_what_is_not_on_loan_is_not_renewed(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.RENEW)
        patron, barcode = seed.new_patron(), seed.new_item()
        assert adapter.renew(patron, barcode, context()).ok is False
        assert adapter.renew(NOBODY, barcode, context()).ok is False
        assert adapter.renew(patron, NO_ITEM, context()).ok is False

    def test_another_patron_does_not_renew_it(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.RENEW)
        _, barcode, _ = _lend(adapter, seed)
        assert adapter.renew(seed.new_patron(), barcode, context()).ok is False

    def test_a_checkin_ends_the_loan(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHECKIN, Capability.FETCH_ITEM_LOAN, Capability.FETCH_PATRON)
        patron, barcode, _ = _lend(adapter, seed)
        result = adapter.checkin(barcode, context())
        assert result.ok is True
        assert result.was_on_loan in (None, True)
        assert result.patron in (None, patron)
        assert adapter.fetch_item_loan(barcode, patron) is None
        assert adapter.fetch_patron(patron).counts.charged in (None, 0)

    def test_a_checkin_of_what_is_not_on_loan_is_accepted(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.CHECKIN)
        result = adapter.checkin(seed.new_item(), context())
        assert result.ok is True
        assert result.was_on_loan in (None, False)
        assert result.patron is None

    def test_a_checkin_of_an_unknown_item_is_refused(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.CHECKIN)
        assert adapter.checkin(NO_ITEM, context()).ok is False

    def test_a_checkin_may_be_dated_back(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHECKIN, Capability.FETCH_ITEM_LOAN)
        patron, barcode, _ = _lend(adapter, seed)
        earlier = datetime.now(UTC) - timedelta(hours=9)
        assert adapter.checkin(barcode, context(), returned_at=earlier).ok is True
        assert adapter.fetch_item_loan(barcode, patron) is None

    def test_an_item_is_lent_again_after_its_return(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHECKIN)
        _, barcode, _ = _lend(adapter, seed)
        adapter.checkin(barcode, context())
        assert adapter.checkout(seed.new_patron(), barcode, context()).ok is True

    def test_a_due_date_is_corrected(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHANGE_DUE_DATE, Capability.FETCH_ITEM_LOAN)
        patron, barcode, _ = _lend(adapter, seed)
        due = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
        adapter.change_due_date(barcode, due)
        loan = adapter.fetch_item_loan(barcode, patron)
        assert loan is not None
        assert loan.due == due
        assert loan.renewals in (None, 0)
        with pytest.raises(NotFound):
            adapter.change_due_date(NO_ITEM, due)

    def test_item_properties_are_kept(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.UPDATE_ITEM_STATUS, Capability.FETCH_ITEM)
        barcode = seed.new_item()
        assert adapter.update_item_status(barcode, "封底破损") is True
        item = adapter.fetch_item(barcode)
        assert item is not None
        assert item.properties == "封底破损"
        assert adapter.update_item_status(NO_ITEM, "x") is False

    def test_loan_rules_are_told(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.LOAN_RULES)
        rules = adapter.loan_rules()
        assert rules
        assert all(rule.category and rule.item_type for rule in rules)

    def test_changes_are_told_oldest_first(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_CHANGES, Capability.RENEW, Capability.CHECKIN)
        since = datetime.now(UTC) - timedelta(minutes=1)
        patron, barcode, _ = _lend(adapter, seed)
        adapter.renew(patron, barcode, context())
        adapter.checkin(barcode, context())
        mine = [change for change in adapter.fetch_changes(since) if change.barcode == barcode]
        assert [change.kind for change in mine] == ["checkout", "renew", "checkin"]
        assert [change.at for change in mine] == sorted(change.at for change in mine)
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert list(adapter.fetch_changes(later)) == []

    def test_of_parallel_checkouts_of_one_item_one_wins(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.CHECKOUT, Capability.FETCH_ITEM_LOAN)
        patrons = [seed.new_patron() for _ in range(6)]
        barcode = seed.new_item()

        def try_it(patron: IlsPatronId) -> Callable[[], CheckoutResult]:
            return lambda: adapter.checkout(patron, barcode, context())

        results = _at_once([try_it(patron) for patron in patrons])
        winners = [p for p, result in zip(patrons, results, strict=True) if result.ok]
        assert len(winners) == 1
        loan = adapter.fetch_item_loan(barcode, winners[0])
        assert loan is not None
        assert loan.patron in (None, winners[0])

    def test_parallel_checkouts_of_different_items_all_win(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.CHECKOUT, Capability.FETCH_PATRON)
        patron = seed.new_patron()
        barcodes = [seed.new_item() for _ in range(5)]

        def try_it(barcode: Barcode) -> Callable[[], CheckoutResult]:
            return lambda: adapter.checkout(patron, barcode, context())

        assert all(result.ok for result in _at_once([try_it(code) for code in barcodes]))
        assert adapter.fetch_patron(patron).counts.charged in (None, len(barcodes))
