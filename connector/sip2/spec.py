"""The SIP2 2.00 messages as data: fixed parts, required and optional tags, pairs.

Nothing here reads or writes a frame; ``codec`` does. What a description consists of is in
``shapes``; vendor messages are added by ``dialects``.

Rules: tagged fields always follow the fixed part (also in 18, where the standard prints CF and AH
in the middle of it); required tags come first, then the optional ones in the standard's order;
``AO`` is not in 18 and 20.
Source: 3M SIP 2.00, document revision 2.12; the 3M extension tags of 10 and 18 (CR CS CT CV CY DA)
as Koha, Evergreen and FOLIO send them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from connector.sip2.shapes import DATE_WIDTH, Fixed, MessageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BX_ORDER",
    "DATE",
    "KNOWN_TAGS",
    "SPECS",
    "STANDARD_SPECS",
    "STATE_CHANGING",
    "TAG_SHAPES",
    "Fixed",
    "MessageSpec",
    "register_spec",
]


def _flag(name: str, default: str = "N") -> Fixed:
    return Fixed(name, 1, default)


def _number(name: str, length: int, default: str = "") -> Fixed:
    return Fixed(name, length, default or "0" * length, f"[0-9 ]{{{length}}}")


DATE: Final = Fixed("transaction_date", DATE_WIDTH)
_LANGUAGE: Final = _number("language", 3)
_PATRON_STATUS: Final = Fixed("patron_status", 14)
_VERSION: Final = Fixed("protocol_version", 4, "2.00", r"[0-9]\.[0-9]{2}")
_CHECKOUT_ANSWER: Final = (
    _flag("ok", "0"),
    _flag("renewal_ok"),
    _flag("magnetic", "U"),
    _flag("desensitize"),
    DATE,
)
_CHECKOUT_REPLY_TAGS: Final = ("BT", "CI", "BH", "BV", "CK", "CH", "BK", "AF", "AG")
_SCREEN: Final = frozenset({"AF", "AG"})

_ALL: Final = (
    # -- requests ----------------------------------------------------------------------------------
    MessageSpec("23", "Patron Status", "24", (_LANGUAGE, DATE), ("AO", "AA", "AC", "AD")),
    MessageSpec(
        "11",
        "Checkout",
        "12",
        (_flag("sc_renewal_policy"), _flag("no_block"), DATE, Fixed("nb_due_date", DATE_WIDTH)),
        ("AO", "AA", "AB", "AC"),
        ("CH", "AD", "BO", "BI"),
    ),
    MessageSpec(
        "09",
        "Checkin",
        "10",
        (_flag("no_block"), DATE, Fixed("return_date", DATE_WIDTH)),
        ("AP", "AO", "AB", "AC"),
        ("CH", "BI"),
    ),
    MessageSpec(
        "01", "Block Patron", "24", (_flag("card_retained"), DATE), ("AO", "AL", "AA", "AC")
    ),
    MessageSpec(
        "99",
        "SC Status",
        "98",
        (Fixed("status_code", 1, "0"), _number("max_print_width", 3), _VERSION),
    ),
    MessageSpec("97", "Request ACS Resend", None),
    MessageSpec(
        "93",
        "Login",
        "94",
        (Fixed("uid_algorithm", 1, "0"), Fixed("pwd_algorithm", 1, "0")),
        ("CN", "CO"),
        ("CP",),
    ),
    MessageSpec(
        "63",
        "Patron Information",
        "64",
        (_LANGUAGE, DATE, Fixed("summary", 10, "", "[Y ]{10}")),
        ("AO", "AA"),
        ("AC", "AD", "BP", "BQ"),
    ),
    MessageSpec("35", "End Patron Session", "36", (DATE,), ("AO", "AA"), ("AC", "AD")),
    MessageSpec(
        "37",
        "Fee Paid",
        "38",
        (
            DATE,
            _number("fee_type", 2, "01"),
            _number("payment_type", 2),
            Fixed("currency", 3, "", "[A-Z ]{3}"),
        ),
        ("BV", "AO", "AA"),
        ("AC", "AD", "CG", "BK"),
    ),
    MessageSpec("17", "Item Information", "18", (DATE,), ("AO", "AB"), ("AC",)),
    MessageSpec("19", "Item Status Update", "20", (DATE,), ("AO", "AB", "CH"), ("AC",)),
    MessageSpec("25", "Patron Enable", "26", (DATE,), ("AO", "AA"), ("AC", "AD")),
    MessageSpec(
        "15",
        "Hold",
        "16",
        (Fixed("hold_mode", 1, "", r"[-+* ]"), DATE),
        ("AO", "AA"),
        ("BW", "BS", "BY", "AD", "AB", "AJ", "AC", "BO"),
    ),
    MessageSpec(
        "29",
        "Renew",
        "30",
        (_flag("third_party_allowed"), _flag("no_block"), DATE, Fixed("nb_due_date", DATE_WIDTH)),
        ("AO", "AA"),
        ("AD", "AB", "AJ", "AC", "CH", "BO"),
    ),
    MessageSpec("65", "Renew All", "66", (DATE,), ("AO", "AA"), ("AD", "AC", "BO")),
    # -- replies -----------------------------------------------------------------------------------
    MessageSpec(
        "24",
        "Patron Status Response",
        None,
        (_PATRON_STATUS, _LANGUAGE, DATE),
        ("AO", "AA", "AE"),
        ("BL", "CQ", "BH", "BV", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "12",
        "Checkout Response",
        None,
        _CHECKOUT_ANSWER,
        ("AO", "AA", "AB", "AJ", "AH"),
        _CHECKOUT_REPLY_TAGS,
        _SCREEN,
    ),
    MessageSpec(
        "10",
        "Checkin Response",
        None,
        (_flag("ok", "0"), _flag("resensitize"), _flag("magnetic", "U"), _flag("alert"), DATE),
        ("AO", "AB", "AQ"),
        ("AJ", "CL", "AA", "CK", "CH", "CR", "CS", "CT", "CV", "CY", "DA", "BF", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "98",
        "ACS Status",
        None,
        (
            _flag("online"),
            _flag("checkin_ok"),
            _flag("checkout_ok"),
            _flag("acs_renewal_policy"),
            _flag("status_update_ok"),
            _flag("offline_ok"),
            _number("timeout_period", 3, "999"),
            _number("retries_allowed", 3, "999"),
            Fixed("date_time_sync", DATE_WIDTH),
            _VERSION,
        ),
        ("AO", "BX"),
        ("AM", "AN", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec("96", "Request SC Resend", None),
    MessageSpec("94", "Login Response", None, (_flag("ok", "0"),)),
    MessageSpec(
        "64",
        "Patron Information Response",
        None,
        (
            _PATRON_STATUS,
            _LANGUAGE,
            DATE,
            _number("hold_count", 4),
            _number("overdue_count", 4),
            _number("charged_count", 4),
            _number("fine_count", 4),
            _number("recall_count", 4),
            _number("unavailable_hold_count", 4),
        ),
        ("AO", "AA", "AE"),
        (
            *("BZ", "CA", "CB", "BL", "CQ", "BH", "BV", "CC"),
            *("AS", "AT", "AU", "AV", "BU", "CD"),
            *("BD", "BE", "BF", "AF", "AG"),
        ),
        _SCREEN | {"AS", "AT", "AU", "AV", "BU", "CD"},
    ),
    MessageSpec(
        "36",
        "End Session Response",
        None,
        (_flag("end_session"), DATE),
        ("AO", "AA"),
        ("AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "38",
        "Fee Paid Response",
        None,
        (_flag("payment_accepted"), DATE),
        ("AO", "AA"),
        ("BK", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "18",
        "Item Information Response",
        None,
        (
            _number("circulation_status", 2, "01"),
            _number("security_marker", 2),
            _number("fee_type", 2, "01"),
            DATE,
        ),
        ("AB", "AJ"),
        (
            *("CF", "AH", "CJ", "CM", "BG", "BH", "BV", "CK", "AQ", "AP", "CH"),
            *("CR", "CS", "CT", "CY", "DA", "AF", "AG"),
        ),
        _SCREEN,
    ),
    MessageSpec(
        "20",
        "Item Status Update Response",
        None,
        (_flag("item_properties_ok", "0"), DATE),
        ("AB",),
        ("AJ", "CH", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "26",
        "Patron Enable Response",
        None,
        (_PATRON_STATUS, _LANGUAGE, DATE),
        ("AO", "AA", "AE"),
        ("BL", "CQ", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "16",
        "Hold Response",
        None,
        (_flag("ok", "0"), _flag("available"), DATE),
        ("AO", "AA"),
        ("BW", "BR", "BS", "AB", "AJ", "AF", "AG"),
        _SCREEN,
    ),
    MessageSpec(
        "30",
        "Renew Response",
        None,
        _CHECKOUT_ANSWER,
        ("AO", "AA", "AB", "AJ", "AH"),
        _CHECKOUT_REPLY_TAGS,
        _SCREEN,
    ),
    MessageSpec(
        "66",
        "Renew All Response",
        None,
        (_flag("ok", "0"), _number("renewed_count", 4), _number("unrenewed_count", 4), DATE),
        ("AO",),
        ("BM", "BN", "AF", "AG"),
        _SCREEN | {"BM", "BN"},
    ),
)

STANDARD_SPECS: Final[Mapping[str, MessageSpec]] = MappingProxyType(
    {spec.code: spec for spec in _ALL}
)

_registry: dict[str, MessageSpec] = dict(STANDARD_SPECS)
SPECS: Final[Mapping[str, MessageSpec]] = MappingProxyType(_registry)
"""Every message that any dialect knows; a live view."""

STATE_CHANGING: Final = frozenset({"01", "09", "11", "15", "19", "25", "29", "37", "65"})
"""Requests that change something in the ILS and so must never be executed twice."""

BX_ORDER: Final = (
    "23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65",
)  # fmt: skip
"""Which request each position of BX (supported messages) stands for."""

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TAG_SHAPES: Final = frozenset(a + b for a in _LETTERS for b in _LETTERS + "0123456789")
"""Every two characters that can be a tag, known or not."""

# Tags of other products that may open a message, beside those in the tables: Evergreen (PA PB PC PI
# XI FA), Polaris (PE PS PX PY PZ), Voyager (MA MB MC), others (PD PT ZY), the Chinese kiosk drivers
# named in ``dialects``.
_VENDOR_TAGS: Final = (
    "FA", "MA", "MB", "MC", "PA", "PB", "PC", "PD", "PE", "PI", "PS", "PT", "PX", "PY", "PZ", "XI",
    "ZY", "AK", "AW", "AI", "JE", "KC", "KD", "KP", "KQ", "MP", "OK", "OX", "PG", "SJ", "ST", "XA",
    "XB", "XC", "XD", "XE", "XF", "XH", "XK", "XM", "XN", "XO", "XR", "XT",
)  # fmt: skip
KNOWN_TAGS: Final = frozenset(_VENDOR_TAGS).union(*(spec.tags for spec in _ALL))
"""Tags by which a reader finds its way back into a frame whose fixed part is broken."""


def register_spec(spec: MessageSpec) -> None:
    """Make a vendor's message known; a message of the standard cannot be replaced.

    Raises:
        ValueError: the code belongs to the standard.
    """
    if spec.code in STANDARD_SPECS:
        msg = f"message {spec.code} belongs to the standard"
        raise ValueError(msg)
    _registry[spec.code] = spec
