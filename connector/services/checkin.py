"""Checkin: whose item it is, the ILS, then the ledger; whoever brings it.

Nothing here speaks SIP2 or SQL. Rules: decisions 4, 17, 18; scenarios 13, 15, 16, 18, 23 —

- a return passes even while our own database is down, and frees the quota place at once;
- an ILS that is away hears of it later, with the kiosk's own time; nobody is told "yes" before the
  return and what is still to be told are committed together;
- a return that was sent and not answered is asked about, by now or by the worker; the question is
  committed before the ILS is told, so that a crash in between leaves no loan open for ever;
- what happens to an item waits for what its ILS has not heard of it yet.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from connector.domain.circulation import Reason, decide_checkin
from connector.domain.ids import InstitutionId, ItemId
from connector.domain.library import Library
from connector.errors import AdapterError, UnsupportedOperation
from connector.log import get_logger
from connector.ports.deferred import Deferral, DeferredVerb
from connector.ports.ils import Capability, CheckinResult
from connector.services.desk import (
    STORE_DOWN,
    CheckinAnswer,
    CirculationDesk,
    Exchange,
    reason_of,
    reason_of_read,
)
from connector.services.renewal import NOT_SENT
from connector.services.uploads import Uploads

__all__ = ["Checkin"]

_log = get_logger(__name__)


class Checkin:
    """The checkin flow."""

    def __init__(self, desk: CirculationDesk) -> None:
        self._desk = desk
        self._uploads = Uploads(desk)

    def checkin(self, exchange: Exchange) -> CheckinAnswer:
        """Take an item back, whoever brings it; a return passes even while our own database is
        down.
        """
        library = self._desk.libraries[exchange.institution]
        local = ItemId(library.code, library.barcodes.normalise(exchange.scanned_item))
        try:
            item = self._returned_item(exchange, library, local)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            item = local
        except AdapterError as err:
            # Only the ILS could tell whose it is: nobody may guess.
            takes = self._desk.away.takes_returns(library)
            reason = Reason.AMBIGUOUS_ITEM if takes else reason_of_read(err)
            return CheckinAnswer(ok=False, item=local, reason=reason)
        if item is None:
            return CheckinAnswer(ok=False, item=local, reason=Reason.AMBIGUOUS_ITEM)
        returned_at = self._effective_date(exchange, item)
        if self._is_outdated(exchange, library, item):
            return CheckinAnswer(ok=False, item=item, reason=Reason.OUTDATED)
        if self._waits(library, item):
            taken = self._take(exchange, library, item, returned_at)
            return taken or CheckinAnswer(ok=False, item=item, reason=Reason.IN_PROGRESS)
        return self._tell(exchange, library, item, returned_at)

    def _tell(
        self, exchange: Exchange, library: Library, item: ItemId, returned_at: datetime
    ) -> CheckinAnswer:
        adapter = self._desk.adapters[library.code]
        sent_at, started = self._desk.now(), time.monotonic()
        asked = self._announce(exchange, library, item, returned_at, sent_at)
        try:
            result = adapter.checkin(item.barcode, exchange.context, returned_at=returned_at)
        except NOT_SENT as err:
            taken = None
            if not isinstance(err, UnsupportedOperation) and self._desk.away.takes_returns(library):
                taken = self._take(exchange, library, item, returned_at)
            if taken is None and asked:
                self._withdraw(library, item)
            return taken or CheckinAnswer(ok=False, item=item, reason=reason_of(err))
        except Exception as err:  # noqa: BLE001 - whatever an adapter raises, the ILS may have taken it back
            _log.warning("checkin.not_answered", institution=library.code, error=type(err).__name__)
            in_time = time.monotonic() - started < exchange.context.timeout_s
            return self._find_out(
                exchange, library, item, returned_at, sent_at=sent_at, in_time=in_time
            )
        if result.ok:
            self._note_return(exchange, library, item, returned_at)
        elif asked:
            self._withdraw(library, item)
        return CheckinAnswer(
            ok=result.ok, item=item, reason=None if result.ok else Reason.ILS_REFUSED, result=result
        )

    def _announce(
        self,
        exchange: Exchange,
        library: Library,
        item: ItemId,
        returned_at: datetime,
        sent_at: datetime,
    ) -> bool:
        """Commit that the ILS is about to be told; say whether that could and had to be done."""
        if Capability.FETCH_ITEM_LOAN not in self._desk.adapters[library.code].capabilities:
            return False
        patience = timedelta(seconds=exchange.context.timeout_s) + self._desk.ask_margin
        deferral = Deferral(
            library.code, DeferredVerb.CONFIRM_RETURN, sent_at, not_before=sent_at + patience
        )
        try:
            loan = self._desk.ledger.find_unclosed(item)
            if loan is None or loan.lender != library.code:
                return False
            self._desk.ledger.defer_question(
                item, exchange.place, deferral, occurred_at=returned_at
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return False
        return True

    def _withdraw(self, library: Library, item: ItemId) -> None:
        """The ILS has said "no", or has not been told: there is nothing to ask."""
        try:
            self._desk.ledger.drop_question(library.code, item)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)

    def _find_out(
        self,
        exchange: Exchange,
        library: Library,
        item: ItemId,
        returned_at: datetime,
        *,
        sent_at: datetime,
        in_time: bool,
    ) -> CheckinAnswer:
        """After an unknown outcome: ask once, while there is time; else the worker asks."""
        takes = self._desk.away.takes_returns(library)
        if (in_time or not takes) and self._is_back(library, item):
            self._note_return(exchange, library, item, returned_at)
            return CheckinAnswer(ok=True, item=item, result=CheckinResult(ok=True))
        taken = self._take(exchange, library, item, returned_at, sent_at=sent_at) if takes else None
        if taken is not None:
            return taken
        deferral = Deferral(library.code, DeferredVerb.CONFIRM_RETURN, sent_at)
        try:
            self._desk.ledger.defer_question(
                item, exchange.place, deferral, occurred_at=returned_at
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
        return CheckinAnswer(ok=False, item=item, reason=Reason.OUTCOME_UNKNOWN)

    def _is_back(self, library: Library, item: ItemId) -> bool:
        """Ask the ILS whether the item is on loan no more."""
        adapter = self._desk.adapters[library.code]
        try:
            loan = self._desk.ledger.find_unclosed(item)
        except STORE_DOWN:
            loan = None
        known = loan.ils_patron if loan is not None and loan.lender == library.code else None
        try:
            return adapter.fetch_item_loan(item.barcode, known) is None
        except AdapterError:
            return False

    def _take(
        self,
        exchange: Exchange,
        library: Library,
        item: ItemId,
        returned_at: datetime,
        *,
        sent_at: datetime | None = None,
    ) -> CheckinAnswer | None:
        """Take the item in the ILS's place; None = the kiosk heard "no", or it cannot be kept."""
        if not exchange.slot.claim():
            return None
        deferral = Deferral(library.code, DeferredVerb.CHECKIN, sent_at)
        try:
            returned = self._desk.ledger.record_return(
                item,
                exchange.place,
                returned_at=returned_at,
                defer=deferral,
                asked=library.code,
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return None
        for loan in returned.closed:
            self._desk.track("loan.returned", exchange, loan)
        return CheckinAnswer(ok=True, item=item, deferred=True)

    def _is_outdated(self, exchange: Exchange, library: Library, item: ItemId) -> bool:
        try:
            return self._uploads.list_outdated(exchange, library, item, DeferredVerb.CHECKIN)
        except STORE_DOWN:
            return False

    def _waits(self, library: Library, item: ItemId) -> bool:
        try:
            return self._desk.away.is_waiting(library, item)
        except STORE_DOWN:
            return False

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
                item, exchange.place, returned_at=returned_at, asked=library.code
            )
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return
        for loan in returned.closed:
            self._desk.track("loan.returned", exchange, loan)
