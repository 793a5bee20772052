"""The contract suite finds what it is there to find: each broken adapter fails the test meant for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from connector.errors import UnsupportedOperation
from connector.ports.ils import Capability, CheckinResult, PatronUpsert
from connector.testing.contract_seed import AdapterSeed, GivenSeed
from connector.testing.fake_ils import FakeIls, koha_a, sip_c
from connector.testing.ils_contract import IlsAdapterContract
from connector.testing.live import run_contract


class ClaimsTooMuch(FakeIls):
    def renew(self, *args, **values):
        raise UnsupportedOperation(self.name, self.institution_id, "renew")


class LendsTwice(FakeIls):
    def checkout(self, patron, barcode, context, *, due=None):
        if barcode in self.stock.items:
            self.stock.loans.pop(barcode, None)
        return super().checkout(patron, barcode, context, due=due)


class NaiveDates(FakeIls):
    def checkout(self, patron, barcode, context, *, due=None):
        result = super().checkout(patron, barcode, context, due=due)
        return replace(result, due=result.due and result.due.replace(tzinfo=None))


class ForgetsDue(FakeIls):
    def _due(self, base, due):
        return super()._due(base, None)


class RefusesReturns(FakeIls):
    def checkin(self, barcode, context, *, returned_at=None):
        if barcode not in self.stock.loans:
            return CheckinResult(ok=False)
        return super().checkin(barcode, context, returned_at=returned_at)


class PaysTwice(FakeIls):
    def _pay(self, identifier, payment):
        return super()._pay(identifier, replace(payment, transaction_id=""))


class TakesCards(FakeIls):
    def _save(self, given):
        if given.card in self.stock.patrons:
            self.stock.patrons[given.card].name = given.name
            return PatronUpsert(given.card, created=False)
        return super()._save(given)


class LiftsEveryBlock(FakeIls):
    def unblock_patron(self, identifier, reason):
        self.require_patron(identifier).blocks.clear()


class IgnoresQueue(FakeIls):
    def _is_on_hold(self, patron, item):
        return False


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (LendsTwice, "test_an_item_on_loan_is_not_lent_to_another"),
        (LendsTwice, "test_of_parallel_checkouts_of_one_item_one_wins"),
        (NaiveDates, "test_a_checkout_makes_one_loan_with_an_aware_due_date"),
        (ForgetsDue, "test_a_given_due_date_is_obeyed"),
        (ForgetsDue, "test_a_renewal_obeys_the_due_date"),
        (RefusesReturns, "test_a_checkin_of_what_is_not_on_loan_is_accepted"),
        (PaysTwice, "test_a_payment_counts_once_per_transaction"),
        (TakesCards, "test_an_upsert_never_takes_the_card_of_another"),
        (LiftsEveryBlock, "test_blocks_are_undone_by_their_reason"),
        (IgnoresQueue, "test_a_hold_of_another_bars_the_renewal"),
        (IgnoresQueue, "test_a_returned_item_waits_on_the_hold_shelf"),
    ],
)
def test_a_broken_adapter_is_caught(broken, caught_by):
    check = getattr(IlsAdapterContract(), caught_by)
    right = koha_a()
    check(right, AdapterSeed(right))
    wrong = broken()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(wrong, AdapterSeed(wrong))


def test_a_claimed_operation_that_is_missing_is_caught():
    suite = IlsAdapterContract()
    with pytest.raises(pytest.fail.Exception):
        suite.test_what_is_claimed_is_there_and_nothing_else(ClaimsTooMuch(), Capability.RENEW)


def test_an_operation_that_is_there_unclaimed_is_caught():
    class ClaimsTooLittle(FakeIls):
        def loan_rules(self):
            return ()

    ils = ClaimsTooLittle(capabilities=frozenset(Capability) - {Capability.LOAN_RULES})
    with pytest.raises(pytest.fail.Exception):
        IlsAdapterContract().test_what_is_claimed_is_there_and_nothing_else(
            ils, Capability.LOAN_RULES
        )


def test_the_seed_leaves_nothing_behind():
    ils = koha_a()
    seed = AdapterSeed(ils)
    patron, item = seed.new_patron(), seed.new_item()
    ils.desk_checkout(patron, item)
    seed.clean()
    assert ils.stock.items == ils.stock.bibs == ils.stock.loans == {}
    assert all(row.closed for row in ils.stock.patrons.values())


def test_a_live_run_reports_each_test():
    seen = []
    results = run_contract(ForgetsDue(), report=seen.append, only="due_date or ping")
    assert seen == list(results)
    outcomes = {result.name: result.outcome for result in results}
    assert outcomes["ping answers"] == "passed"
    assert outcomes["a given due date is obeyed"] == "failed"
    (failed,) = [result for result in results if result.name == "a given due date is obeyed"]
    assert failed.detail


def test_given_patrons_and_items_are_used_and_returned():
    ils = sip_c()
    for card in ("T1", "T2"):
        ils.new_patron(card, name="测试")
    ils.new_item("B1")
    seed = GivenSeed(ils, ["T1", "T2"], ["B1"])
    results = run_contract(ils, seed=seed)
    outcomes = Counter(result.outcome for result in results)
    assert outcomes["failed"] == 0
    passed = {result.name for result in results if result.outcome == "passed"}
    assert passed >= {"a checkin ends the loan", "an item on loan is not lent to another"}
    skipped = {result.name: result.detail for result in results if result.outcome == "skipped"}
    assert "more test patrons" in skipped["of parallel checkouts of one item one wins"]
    assert ils.stock.loans == {}
    assert set(ils.stock.patrons) == {"T1", "T2"}
