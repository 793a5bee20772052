"""What an ILS that speaks SIP2 can do for us, from the settings and from the BX of its 98.

Nothing here connects. Rules: SIP2 has no due dates in a patron's list, no catalogue and no loan
rules, so these are never claimed; accounts only with a dialect (``registration``). FIND_PATRON is
not claimed either, for SIP2 keeps no external id: a 63 that takes an identity number serves
``fetch_patron``. BX only takes away, and an empty one nothing.
"""

from __future__ import annotations

from typing import Final

from adapters.sip2.settings import Sip2Settings
from connector.ports.ils import Capability
from connector.sip2.spec import BX_ORDER

__all__ = ["BEST", "find_capabilities", "find_requests", "is_denied"]

_FEATURES: Final = {
    "patron_information": "63",
    "patron_status": "23",
    "item_information": "17",
    "checkout": "11",
    "checkin": "09",
    "renew": "29",
    "hold": "15",
    "fee_paid": "37",
    "item_status": "19",
    "block_patron": "01",
    "patron_enable": "25",
}
"""Feature of the settings → its request."""

_NEEDS: Final[tuple[tuple[str, frozenset[Capability]], ...]] = (
    ("63", frozenset({Capability.FETCH_PATRON, Capability.VERIFY_PIN})),
    ("23", frozenset({Capability.FETCH_PATRON, Capability.VERIFY_PIN})),
    ("63", frozenset({Capability.LIST_LOANS, Capability.LIST_HOLDS, Capability.FETCH_ITEM_LOAN})),
    ("17", frozenset({Capability.FETCH_ITEM, Capability.FETCH_ITEM_LOAN})),
    ("11", frozenset({Capability.CHECKOUT, Capability.SET_DUE_DATE})),
    ("09", frozenset({Capability.CHECKIN})),
    ("29", frozenset({Capability.RENEW})),
    ("15", frozenset({Capability.PLACE_HOLD, Capability.CANCEL_HOLD})),
    ("37", frozenset({Capability.PAY_FEE})),
    ("19", frozenset({Capability.UPDATE_ITEM_STATUS})),
    ("01", frozenset({Capability.BLOCK_PATRON})),
    ("25", frozenset({Capability.UNBLOCK_PATRON})),
)
_OURS: Final = frozenset({Capability.FORWARD, Capability.UPSERT_PATRON})
BEST: Final = _OURS.union(*(given for _, given in _NEEDS))


def find_capabilities(settings: Sip2Settings, *, bx: str = "") -> frozenset[Capability]:
    """Return what can be claimed.

    Args:
        bx: sixteen Y or N in the order of the standard; what is missing is not denied.
    """
    answered = find_requests(settings, bx=bx)
    found = {Capability.FORWARD}.union(*(given for code, given in _NEEDS if code in answered))
    if settings.provisioning == "chinese-kiosk":
        found.add(Capability.UPSERT_PATRON)
    if settings.patron_pin == "never":
        found.discard(Capability.VERIFY_PIN)
    if not settings.obeys_due_date:
        found.discard(Capability.SET_DUE_DATE)
    if settings.charged_items != "barcodes":
        found.discard(Capability.LIST_LOANS)
        if "17" not in answered:
            found.discard(Capability.FETCH_ITEM_LOAN)
    return frozenset(found)


def is_denied(settings: Sip2Settings, code: str, *, bx: str = "") -> bool:
    """Say whether the settings or the BX deny a request; of what neither names, nobody knows."""
    if code in _FEATURES.values():
        return code not in find_requests(settings, bx=bx)
    if code == "65" and not settings.features.renew:
        return True
    said = dict(zip(BX_ORDER, bx, strict=False)) if settings.trust_bx else {}
    return said.get(code) == "N"


def find_requests(settings: Sip2Settings, *, bx: str = "") -> frozenset[str]:
    """Return the codes of the requests that the ILS answers."""
    denied = set()
    if settings.trust_bx:
        denied = {code for code, said in zip(BX_ORDER, bx, strict=False) if said == "N"}
    return frozenset(
        code
        for feature, code in _FEATURES.items()
        if getattr(settings.features, feature) and code not in denied
    )
