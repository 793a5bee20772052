"""What a terminal uploads after it was off-line, when the item has changed since.

Nothing here lends or takes back. Rules (decision 14): an uploaded event that is older than the
item's last change, in the ledger or in the ILS, is not carried out; it is listed for staff with its
own time, and the terminal hears that.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.domain.ids import ItemId, PatronId
from connector.domain.library import Library
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.deferred import Deferral, DeferredVerb
from connector.ports.ils import Capability
from connector.services.desk import CirculationDesk, Exchange

__all__ = ["Uploads"]

_log = get_logger(__name__)

_CLOCK_SLACK = timedelta(minutes=1)
"""The ILS's clock and the terminal's may differ by so much."""


class Uploads:
    """Looks at each upload before it is carried out."""

    def __init__(self, desk: CirculationDesk) -> None:
        self._desk = desk

    def list_outdated(
        self,
        exchange: Exchange,
        library: Library,
        item: ItemId,
        verb: DeferredVerb,
        *,
        patron_id: PatronId | None = None,
    ) -> bool:
        """Say whether it is an upload that is too old; then it is listed.

        Raises:
            StorageUnavailable, StorageConflict: our own database is down.
        """
        if not exchange.context.no_block:
            return False
        at = exchange.context.at
        if not self._changed_here(item, at) and not self._changed_there(library, item, at):
            return False
        self._desk.away.deferred.list_outdated(
            item,
            exchange.place,
            Deferral(library.code, verb),
            occurred_at=at,
            patron_id=patron_id,
        )
        _log.warning("upload.outdated", institution=library.code, verb=verb.value)
        return True

    def _changed_here(self, item: ItemId, at: datetime) -> bool:
        changed = self._desk.ledger.find_last_change(item)
        return changed is not None and changed > at

    def _changed_there(self, library: Library, item: ItemId, at: datetime) -> bool:
        adapter = self._desk.adapters[library.code]
        if Capability.FETCH_ITEM_LOAN not in adapter.capabilities:
            return False
        if self._desk.away.is_away(library.code):
            return False
        try:
            loan = adapter.fetch_item_loan(item.barcode)
        except AdapterError:
            return False
        began = loan.checked_out_at if loan is not None else None
        return began is not None and began - at > _CLOCK_SLACK
