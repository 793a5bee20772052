"""What every adapter must do with patrons and fees.

Nothing here knows an adapter. Each test skips what is not claimed.
"""

# ruff: noqa: D102 -- the name of a test says it
from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from connector.domain.ids import IlsPatronId
from connector.domain.patron import PatronFlag
from connector.errors import AdapterError, NotFound, UnexpectedResponse
from connector.ports.ils import BlockReason, Capability, FeePayment, IlsAdapter, PatronInput
from connector.testing.contract_seed import Seed, context, require

__all__ = ["NOBODY", "PatronContract"]

NOBODY = IlsPatronId("ZZ-NOBODY-0")
"""A number that no ILS knows."""
_PIN, _WRONG_PIN = "482913", "482914"


class PatronContract:
    """Patrons and fees."""

    def test_an_unknown_patron_is_not_valid(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.FETCH_PATRON)
        facts = adapter.fetch_patron(NOBODY)
        assert facts.valid is False
        assert facts.loans == ()

    def test_a_patron_has_facts(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_PATRON)
        patron = seed.new_patron()
        before = datetime.now(UTC)
        facts = adapter.fetch_patron(patron)
        assert facts.valid is True
        assert facts.ils_patron == patron
        assert facts.pin_valid is None
        assert facts.as_of.utcoffset() == timedelta(0)
        assert abs(facts.as_of - before) < timedelta(minutes=5)
        assert facts.loans == ()
        lists = Capability.LIST_LOANS in adapter.capabilities
        assert facts.counts.charged == 0 or (facts.counts.charged is None and not lists)
        assert facts.loans_complete is lists

    def test_the_right_pin_is_right_and_a_wrong_one_is_not(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.FETCH_PATRON, Capability.VERIFY_PIN)
        patron = seed.new_patron(pin=_PIN)
        assert adapter.verify_pin(patron, _PIN) is True
        assert adapter.verify_pin(patron, _WRONG_PIN) is False
        assert adapter.verify_pin(NOBODY, _PIN) is False
        assert adapter.fetch_patron(patron, _PIN).pin_valid is True
        assert adapter.fetch_patron(patron, _WRONG_PIN).pin_valid is False

    def test_facts_never_show_the_name_in_a_repr(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.FETCH_PATRON)
        facts = adapter.fetch_patron(seed.new_patron())
        assert facts.name
        assert facts.name not in repr(facts)

    def test_a_patron_is_found_by_external_id_and_by_number(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.FIND_PATRON)
        number = uuid.uuid4().hex
        patron = seed.new_patron(identifiers={"id_card": number})
        assert adapter.find_patron(external_id=seed.external_id_of(patron)) == patron
        assert adapter.find_patron(identifiers={"id_card": number}) == patron
        assert adapter.find_patron(external_id=str(uuid.uuid4())) is None
        assert adapter.find_patron(identifiers={"id_card": uuid.uuid4().hex}) is None
        assert adapter.find_patron() is None

    def test_a_second_upsert_changes_and_does_not_create(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.UPSERT_PATRON, Capability.FETCH_PATRON, Capability.VERIFY_PIN)
        patron = seed.new_patron(pin=_PIN)
        known = adapter.fetch_patron(patron)
        changed = PatronInput(
            external_id=seed.external_id_of(patron),
            card=patron,
            name="改名",
            category=known.category,
            home_branch=known.home_branch,
        )
        result = adapter.upsert_patron(changed)
        assert result.created is False
        assert result.ils_patron == patron
        assert adapter.fetch_patron(patron).name == "改名"
        assert adapter.verify_pin(patron, _PIN) is True

    def test_an_upsert_with_another_card_renumbers_the_same_account(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        """A lost card: loans, PIN and account stay, the old number is nobody's (scenario 34)."""
        require(adapter, Capability.UPSERT_PATRON, Capability.FETCH_PATRON, Capability.CHECKOUT)
        require(adapter, Capability.FIND_PATRON, Capability.CHECKIN, Capability.VERIFY_PIN)
        old, item = seed.new_patron(pin=_PIN), seed.new_item()
        external_id, known = seed.external_id_of(old), adapter.fetch_patron(old)
        assert adapter.checkout(old, item, context()).ok
        new = IlsPatronId(f"ZZ{uuid.uuid4().hex[:12].upper()}")
        renumbered = PatronInput(external_id, new, name=known.name, category=known.category)
        for _ in range(2):
            result = adapter.upsert_patron(renumbered)
            assert (result.ils_patron, result.created) == (new, False)
        try:
            assert adapter.fetch_patron(old).valid is False
            assert adapter.find_patron(external_id=external_id) == new
            assert adapter.fetch_patron(new).counts.charged == 1
            assert adapter.verify_pin(new, _PIN) is True
            assert adapter.verify_pin(old, _PIN) is False
            assert adapter.checkin(item, context()).ok
        finally:
            adapter.upsert_patron(
                PatronInput(external_id, old, name=known.name, category=known.category)
            )

    def test_an_upsert_never_takes_the_card_of_another(
        self, adapter: IlsAdapter, seed: Seed
    ) -> None:
        require(adapter, Capability.UPSERT_PATRON, Capability.FETCH_PATRON)
        patron = seed.new_patron()
        known = adapter.fetch_patron(patron)
        stranger = PatronInput(
            external_id=str(uuid.uuid4()), card=patron, name="别人", category=known.category
        )
        with pytest.raises(AdapterError):
            adapter.upsert_patron(stranger)
        assert adapter.fetch_patron(patron).name == known.name

    def test_an_account_that_is_there_becomes_ours(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.ADOPT_PATRON, Capability.FETCH_PATRON, Capability.VERIFY_PIN)
        require(adapter, Capability.FIND_PATRON, Capability.CHECKOUT)
        patron, item = seed.new_desk_patron(pin=_PIN), seed.new_item()
        assert adapter.checkout(patron, item, context()).ok
        before = adapter.fetch_patron(patron)
        given = PatronInput(
            external_id=str(uuid.uuid4()),
            card=IlsPatronId(f"{patron}X"),
            name="别人",
            category=before.category,
            expires=date(2040, 8, 31),
            pin=_WRONG_PIN,
            adopt=patron,
        )
        for _ in range(2):
            result = adapter.upsert_patron(given)
            assert (result.ils_patron, result.created) == (patron, False)
        after = adapter.fetch_patron(patron)
        assert (after.name, after.ils_patron) == (before.name, patron)
        assert after.expires == date(2040, 8, 31)
        assert [loan.barcode for loan in after.loans] == [item]
        assert adapter.verify_pin(patron, _PIN) is True
        assert adapter.find_patron(external_id=given.external_id) == patron
        with pytest.raises(UnexpectedResponse) as refused:
            adapter.upsert_patron(replace(given, external_id=str(uuid.uuid4())))
        assert refused.value.code == "not_ours"

    def test_adopting_nobody_is_not_found(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.ADOPT_PATRON)
        del seed
        given = PatronInput(str(uuid.uuid4()), NOBODY, "别人", "adult", adopt=NOBODY)
        with pytest.raises(NotFound):
            adapter.upsert_patron(given)

    def test_blocks_are_undone_by_their_reason(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.BLOCK_PATRON, Capability.UNBLOCK_PATRON)
        require(adapter, Capability.FETCH_PATRON, Capability.CHECKOUT)
        patron, item = seed.new_patron(), seed.new_item()
        adapter.block_patron(patron, BlockReason.CARD_RETAINED)
        adapter.block_patron(patron, BlockReason.CARD_RETAINED)
        adapter.block_patron(patron, BlockReason.STAFF)
        assert PatronFlag.CHARGE_DENIED in adapter.fetch_patron(patron).flags
        assert adapter.checkout(patron, item, context()).ok is False
        adapter.unblock_patron(patron, BlockReason.CARD_RETAINED)
        assert PatronFlag.CHARGE_DENIED in adapter.fetch_patron(patron).flags
        adapter.unblock_patron(patron, BlockReason.STAFF)
        assert PatronFlag.CHARGE_DENIED not in adapter.fetch_patron(patron).flags
        assert adapter.checkout(patron, item, context()).ok is True

    def test_blocking_nobody_is_not_found(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.BLOCK_PATRON)
        with pytest.raises(NotFound):
            adapter.block_patron(NOBODY, BlockReason.STAFF)

    def test_an_expired_patron_borrows_nothing(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CHECKOUT)
        patron, item = seed.new_patron(expires=date(2020, 1, 1)), seed.new_item()
        result = adapter.checkout(patron, item, context())
        assert result.ok is False
        assert result.message

    def test_an_account_with_loans_is_not_closed(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.CLOSE_PATRON, Capability.CHECKOUT, Capability.CHECKIN)
        require(adapter, Capability.FETCH_PATRON)
        patron, item = seed.new_patron(), seed.new_item()
        assert adapter.checkout(patron, item, context()).ok
        with pytest.raises(UnexpectedResponse) as refused:
            adapter.close_patron(patron)
        assert refused.value.code == "has_loans"
        assert adapter.fetch_patron(patron).valid is True
        adapter.checkin(item, context())
        adapter.close_patron(patron)
        assert adapter.fetch_patron(patron).valid is False
        assert adapter.checkout(patron, item, context()).ok is False

    def test_closing_nobody_is_not_found(self, adapter: IlsAdapter) -> None:
        require(adapter, Capability.CLOSE_PATRON)
        with pytest.raises(NotFound):
            adapter.close_patron(NOBODY)

    def test_a_payment_counts_once_per_transaction(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.PAY_FEE, Capability.FETCH_PATRON)
        patron = seed.new_patron()
        fee_id = seed.new_fee(patron, Decimal("5.00"))
        assert adapter.fetch_patron(patron).fee_total == Decimal(5)
        payment = FeePayment(Decimal(2), "CNY", "01", "00", fee_id, uuid.uuid4().hex)
        assert adapter.pay_fee(patron, payment, context()).ok is True
        again = adapter.pay_fee(patron, payment, context())
        assert again.ok is True
        assert again.transaction_id == payment.transaction_id
        assert adapter.fetch_patron(patron).fee_total == Decimal(3)

    def test_nobody_pays_more_than_is_owed(self, adapter: IlsAdapter, seed: Seed) -> None:
        require(adapter, Capability.PAY_FEE, Capability.FETCH_PATRON)
        patron = seed.new_patron()
        seed.new_fee(patron, Decimal(1))
        payment = FeePayment(Decimal(2), "CNY", "01", "00", transaction_id=uuid.uuid4().hex)
        assert adapter.pay_fee(patron, payment, context()).ok is False
        assert adapter.pay_fee(NOBODY, payment, context()).ok is False
        assert adapter.fetch_patron(patron).fee_total == Decimal(1)
