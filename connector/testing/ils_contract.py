"""The contract of the ILS port as a test class: an adapter is right when its subclass passes.

Nothing here knows an adapter. Use::

    class TestKoha(IlsAdapterContract):
        @pytest.fixture
        def adapter(self): ...

Rules: a claimed operation that is missing fails; one that is not claimed must raise
``UnsupportedOperation`` and is not tested further. Override ``seed`` where the adapter cannot make
patrons and items itself.
"""

# ruff: noqa: D102 -- the name of a test says it
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from connector.domain.wire import WireMessage
from connector.errors import ConnectorError, UnsupportedOperation
from connector.ports.ils import (
    BlockReason,
    Capability,
    FeePayment,
    HoldRequest,
    IlsAdapter,
    ItemInput,
    PatronInput,
)
from connector.testing.contract_catalogue import CatalogueContract, HoldContract
from connector.testing.contract_circulation import NO_ITEM, CirculationContract
from connector.testing.contract_patrons import NOBODY, PatronContract
from connector.testing.contract_seed import AdapterSeed, Seed, context
from connector.testing.records import make_record

__all__ = ["AdapterSeed", "IlsAdapterContract", "Seed"]

_NO_BIB = "999999999"
_PATRON = PatronInput("zz-contract", NOBODY, "契约测试", "adult")
_STATUS = WireMessage("99", {"status_code": "0", "protocol_version": "2.00"})
_PAYMENT = FeePayment(Decimal(1), "CNY", "01", "00")

_CALLS: Mapping[Capability, Callable[[IlsAdapter], object]] = {
    Capability.FETCH_PATRON: lambda ils: ils.fetch_patron(NOBODY),
    Capability.VERIFY_PIN: lambda ils: ils.verify_pin(NOBODY, "0000"),
    Capability.FIND_PATRON: lambda ils: ils.find_patron(external_id="zz-contract"),
    Capability.UPSERT_PATRON: lambda ils: ils.upsert_patron(_PATRON),
    Capability.ADOPT_PATRON: lambda ils: ils.upsert_patron(replace(_PATRON, adopt=NOBODY)),
    Capability.BLOCK_PATRON: lambda ils: ils.block_patron(NOBODY, BlockReason.STAFF),
    Capability.UNBLOCK_PATRON: lambda ils: ils.unblock_patron(NOBODY, BlockReason.STAFF),
    Capability.CLOSE_PATRON: lambda ils: ils.close_patron(NOBODY),
    Capability.FETCH_ITEM: lambda ils: ils.fetch_item(NO_ITEM),
    Capability.FETCH_ITEM_LOAN: lambda ils: ils.fetch_item_loan(NO_ITEM),
    Capability.CHECKOUT: lambda ils: ils.checkout(NOBODY, NO_ITEM, context()),
    Capability.CHECKIN: lambda ils: ils.checkin(NO_ITEM, context()),
    Capability.RENEW: lambda ils: ils.renew(NOBODY, NO_ITEM, context()),
    Capability.CHANGE_DUE_DATE: lambda ils: ils.change_due_date(NO_ITEM, datetime.now(UTC)),
    Capability.UPDATE_ITEM_STATUS: lambda ils: ils.update_item_status(NO_ITEM, ""),
    Capability.PLACE_HOLD: lambda ils: ils.place_hold(NOBODY, HoldRequest(NO_ITEM), context()),
    Capability.CANCEL_HOLD: lambda ils: ils.cancel_hold(NOBODY, HoldRequest(NO_ITEM), context()),
    Capability.LIST_HOLDS: lambda ils: ils.list_holds(NOBODY),
    Capability.PAY_FEE: lambda ils: ils.pay_fee(NOBODY, _PAYMENT, context()),
    Capability.SEARCH_BIBS: lambda ils: ils.search_bibs("zz-contract"),
    Capability.FETCH_HOLDINGS: lambda ils: ils.fetch_holdings(_NO_BIB),
    Capability.ADD_BIB: lambda ils: ils.add_bib(make_record("契约测试"), "marc21"),
    Capability.UPDATE_BIB: lambda ils: ils.update_bib(_NO_BIB, make_record("契约"), "marc21"),
    Capability.DELETE_BIB: lambda ils: ils.delete_bib(_NO_BIB),
    Capability.ADD_ITEM: lambda ils: ils.add_item(_NO_BIB, ItemInput(NO_ITEM)),
    Capability.DELETE_ITEM: lambda ils: ils.delete_item(NO_ITEM),
    Capability.LOAN_RULES: lambda ils: ils.loan_rules(),
    Capability.FETCH_CHANGES: lambda ils: list(ils.fetch_changes(datetime.now(UTC))),
    Capability.FORWARD: lambda ils: ils.forward(_STATUS, context()),
}
"""How to ask for each operation without doing anything; three capabilities have no method."""

_MAKERS = frozenset({Capability.UPSERT_PATRON, Capability.ADD_BIB})
"""What cannot be asked for without making something; other tests do it and clean up."""


class IlsAdapterContract(PatronContract, CirculationContract, HoldContract, CatalogueContract):
    """The whole contract; subclass it and give it an ``adapter``."""

    @pytest.fixture
    def adapter(self) -> IlsAdapter:
        """Return the adapter under test; override it."""
        raise NotImplementedError("override the fixture 'adapter'")

    @pytest.fixture
    def seed(self, adapter: IlsAdapter) -> Iterator[Seed]:
        """Make throw-away patrons and items through the adapter, and remove them afterwards."""
        seed = AdapterSeed(adapter)
        yield seed
        seed.clean()

    def test_it_says_who_it_is(self, adapter: IlsAdapter) -> None:
        assert adapter.name
        assert adapter.institution_id
        assert adapter.capabilities <= frozenset(Capability)

    def test_ping_answers(self, adapter: IlsAdapter) -> None:
        adapter.ping()

    @pytest.mark.parametrize("capability", sorted(_CALLS))
    def test_what_is_claimed_is_there_and_nothing_else(
        self, adapter: IlsAdapter, capability: Capability
    ) -> None:
        if capability not in adapter.capabilities:
            with pytest.raises(UnsupportedOperation):
                _CALLS[capability](adapter)
        elif capability in _MAKERS:
            assert callable(getattr(adapter, capability.value))
        else:
            self._ask(adapter, capability)

    def _ask(self, adapter: IlsAdapter, capability: Capability) -> None:
        try:
            _CALLS[capability](adapter)
        except ConnectorError as refused:
            if isinstance(refused, UnsupportedOperation) or NOBODY in str(refused):
                pytest.fail(f"{capability} is claimed, and answers {type(refused).__name__}")
