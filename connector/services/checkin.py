"""Checkin: whose item it is, the ILS, then the ledger; whoever brings it.

Nothing here speaks SIP2 or SQL. Rules: decisions 4, 17, 18; scenarios 13, 18, 23. A return passes
even while our own database is down, and frees the quota place at once.
"""

from __future__ import annotations

from datetime import datetime

from connector.domain.circulation import Reason, decide_checkin
from connector.domain.ids import InstitutionId, ItemId
from connector.domain.library import Library
from connector.errors import AdapterError, OutcomeUnknown
from connector.log import get_logger
from connector.ports.ils import Capability, CheckinResult
from connector.services.desk import (
    STORE_DOWN,
    CheckinAnswer,
    CirculationDesk,
    Exchange,
    reason_of,
    reason_of_read,
)

__all__ = ["Checkin"]

_log = get_logger(__name__)


class Checkin:
    """The checkin flow."""

    def __init__(self, desk: CirculationDesk) -> None:
        self._desk = desk

    def checkin(self, exchange: Exchange) -> CheckinAnswer:
        """Take an item back, whoever brings it; a return passes even while our own database is
        down.
        """
        library = self._desk.libraries[exchange.institution]
        adapter = self._desk.adapters[library.code]
        local = ItemId(library.code, library.barcodes.normalise(exchange.scanned_item))
        try:
            item = self._returned_item(exchange, library, local)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            item = local
        except AdapterError as err:
            return CheckinAnswer(ok=False, item=local, reason=reason_of_read(err))
        if item is None:
            return CheckinAnswer(ok=False, item=local, reason=Reason.AMBIGUOUS_ITEM)
        returned_at = self._effective_date(exchange, item)
        try:
            result = adapter.checkin(item.barcode, exchange.context, returned_at=returned_at)
        except OutcomeUnknown:
            try:
                returned = adapter.fetch_item_loan(item.barcode) is None
            except AdapterError:
                returned = False
            if not returned:
                return CheckinAnswer(ok=False, item=item, reason=Reason.OUTCOME_UNKNOWN)
            result = CheckinResult(ok=True)
        except AdapterError as err:
            return CheckinAnswer(ok=False, item=item, reason=reason_of(err))
        if result.ok:
            self._note_return(exchange, library, item, returned_at)
        return CheckinAnswer(
            ok=result.ok, item=item, reason=None if result.ok else Reason.ILS_REFUSED, result=result
        )

    def _returned_item(self, exchange: Exchange, library: Library, local: ItemId) -> ItemId | None:
        """Return which item was brought, or None when it must be handed to staff (scenario 18)."""
        candidates = self._desk.facts.resolve_item(exchange.scanned_item, library)
        if len(candidates) == 1 and candidates[0].owner != library.code:
            return candidates[0]
        loans = {loan.item: loan for loan in self._desk.ledger.find_by_barcode(local.barcode)}
        if not loans or set(loans) == {local}:
            return local if len(candidates) == 1 else None
        adapter = self._desk.adapters[library.code]
        known_here = (
            Capability.FETCH_ITEM in adapter.capabilities
            and adapter.fetch_item(local.barcode) is not None
        )
        owners = frozenset(item.owner for item in loans) | (
            frozenset({library.code}) if known_here else frozenset()
        )
        decided = next(iter(loans)).owner if len(loans) == 1 and not known_here else None
        owner = decide_checkin(owners, local=library.code, loan_owner=decided)
        return None if owner is None else ItemId(InstitutionId(owner), local.barcode)

    def _effective_date(self, exchange: Exchange, item: ItemId) -> datetime:
        """Return when the return counts: a book drop's date, but never before the loan began."""
        if exchange.returned_at is None:
            return exchange.context.at
        try:
            loan = self._desk.ledger.find_unclosed(item)
        except STORE_DOWN:
            return exchange.context.at
        began = loan.opened_at if loan is not None else None
        return exchange.returned_at if began is None else max(exchange.returned_at, began)

    def _note_return(
        self, exchange: Exchange, library: Library, item: ItemId, returned_at: datetime
    ) -> None:
        try:
            returned = self._desk.ledger.record_return(
                item, exchange.place, returned_at=returned_at
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return
        for loan in returned.closed:
            self._desk.track("loan.returned", exchange, loan)
