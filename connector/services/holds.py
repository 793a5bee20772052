"""Holds whose outcome is unknown: the ILS is asked once what it has, and nothing is sent again.

Nothing here places or cancels one. Rule: only what the list of holds shows is told as done; what it
does not show is "not confirmed", since an ILS may still apply it.
"""

from __future__ import annotations

from connector.domain.ids import IlsPatronId
from connector.domain.patron import IlsHold
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.ils import Capability, HoldRequest, HoldResult, IlsAdapter

__all__ = ["find_out_cancelled", "find_out_placed"]

_log = get_logger(__name__)


def find_out_placed(
    adapter: IlsAdapter, patron: IlsPatronId, request: HoldRequest
) -> HoldResult | None:
    """Return the answer to a hold that the ILS has placed, though it did not say so; else None."""
    hold = _find(adapter, patron, request)
    if not isinstance(hold, IlsHold) or (request.pickup and hold.pickup != request.pickup):
        return None
    return HoldResult(
        ok=True,
        available=hold.available,
        hold_id=hold.hold_id,
        barcode=hold.barcode,
        title=hold.title,
        pickup=hold.pickup,
        expires=hold.expires,
    )


def find_out_cancelled(
    adapter: IlsAdapter, patron: IlsPatronId, request: HoldRequest
) -> HoldResult | None:
    """Return the answer to a hold that is there no more; None where it is, or nobody can tell."""
    is_gone = _find(adapter, patron, request) is False
    return HoldResult(ok=True, barcode=request.barcode) if is_gone else None


def _find(adapter: IlsAdapter, patron: IlsPatronId, request: HoldRequest) -> IlsHold | bool:
    """Return the patron's hold that is meant; False = there is none, True = nobody can tell."""
    _log.warning("hold.outcome_unknown", institution=adapter.institution_id)
    if Capability.LIST_HOLDS not in adapter.capabilities:
        return True
    title = request.title
    try:
        holds = adapter.list_holds(patron)
        by_title = any(hold.barcode is None for hold in holds)
        if request.barcode and by_title and Capability.FETCH_ITEM in adapter.capabilities:
            item = adapter.fetch_item(request.barcode)
            title = item.title if item is not None else title
    except AdapterError as err:
        _log.warning("hold.not_found_out", error=type(err).__name__)
        return True
    for hold in holds:
        if hold.barcode == request.barcode if hold.barcode else title and hold.title == title:
            return hold
    return bool(by_title and not title)
