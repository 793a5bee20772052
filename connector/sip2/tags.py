"""What each two-letter tag is called, and whom its value may be shown to.

Pure data and two functions; nothing here reads or builds a frame. Rules:

- someone who watches (the command line) sees a value only when its tag is listed in ``OPEN_TAGS``,
  so that a vendor's unknown tag is masked; passwords and PINs, names, addresses, identity numbers,
  patron identifiers and free text are not listed. Patron identifiers are not even told as a digest:
  beside an item it would be somebody's reading;
- an open value is masked all the same where it holds an identity number or looks like the rest of a
  frame (a kiosk with another delimiter), and a fixed value where it does not look like one;
- of what an ILS answers, a terminal never gets ``SECRET_TAGS``, a public screen no
  ``PERSONAL_TAGS``, and only a staff terminal ``WAITING_TAGS``; other unknown tags pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from connector.sip2.codec import Message

__all__ = [
    "MASK",
    "OPEN_TAGS",
    "PERSONAL_TAGS",
    "SECRET_TAGS",
    "TAG_NAMES",
    "WAITING_TAGS",
    "describe_fields",
    "describe_fixed",
]

MASK: Final = "***"

TAG_NAMES: Final = {
    "AA": "patron identifier", "AB": "item identifier", "AC": "terminal password",
    "AD": "patron password", "AE": "personal name", "AF": "screen message", "AG": "print line",
    "AH": "due date", "AJ": "title identifier", "AL": "blocked card message", "AM": "library name",
    "AN": "terminal location", "AO": "institution id", "AP": "current location",
    "AQ": "permanent location", "AS": "hold items", "AT": "overdue items", "AU": "charged items",
    "AV": "fine items", "AY": "sequence number", "AZ": "checksum", "BD": "home address",
    "BE": "e-mail address", "BF": "home phone number", "BG": "owner", "BH": "currency type",
    "BI": "cancel", "BK": "transaction id", "BL": "valid patron", "BM": "renewed items",
    "BN": "unrenewed items", "BO": "fee acknowledged", "BP": "start item", "BQ": "end item",
    "BR": "queue position", "BS": "pickup location", "BT": "fee type", "BU": "recall items",
    "BV": "fee amount", "BW": "expiration date", "BX": "supported messages", "BY": "hold type",
    "BZ": "hold items limit", "CA": "overdue items limit", "CB": "charged items limit",
    "CC": "fee limit", "CD": "unavailable hold items", "CF": "hold queue length",
    "CG": "fee identifier", "CH": "item properties", "CI": "security inhibit", "CJ": "recall date",
    "CK": "media type", "CL": "sort bin", "CM": "hold pickup date", "CN": "login user id",
    "CO": "login password", "CP": "location code", "CQ": "valid patron password",
    "CR": "collection code", "CS": "call number", "CT": "destination location", "CV": "alert type",
    "CY": "hold patron id", "DA": "hold patron name", "KD": "new password",
    "MP": "mobile phone", "OK": "operation ok",
    "OX": "card numbers", "PA": "patron expiry date", "PB": "patron birth date",
    "PC": "patron class", "XD": "start or end date", "XH": "birth date", "XK": "operation",
    "XM": "sex", "XN": "ethnicity", "XO": "identity number", "XT": "patron type",
}  # fmt: skip
"""Names as the standard, the 3M extensions and the kiosk drivers use them."""

OPEN_TAGS: Final = frozenset(
    {
        "AB", "AH", "AJ", "AM", "AN", "AO", "AP", "AQ", "BG", "BH", "BI", "BK", "BL", "BM", "BN",
        "BO", "BP", "BQ", "BR", "BS", "BT", "BV", "BW", "BX", "BY", "BZ", "CA", "CB", "CC", "CF",
        "CG", "CH", "CI", "CJ", "CK", "CL", "CM", "CP", "CQ", "CR", "CS", "CT", "CV", "OK", "XK",
    }
)  # fmt: skip
"""Tags whose values say nothing about a person."""

_CLOSED: Final = "|".join(sorted({*TAG_NAMES} - OPEN_TAGS - {"AY", "AZ"}))
_SUSPECT: Final = re.compile(rf"\||[^0-9A-Za-z ](?:{_CLOSED})|[0-9]{{17}}[0-9Xx]", re.ASCII)
_FIXED: Final = re.compile(
    r"[YNU ]*|[A-Za-z+*-]|[A-Z]{3}|[0-9]{1,4}|[0-9]\.[0-9]{2}|0{18}|[YMDZHS]{18}"
    r"|(?:19|20|21)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9][ 0A-Z]{4}[0-9]{6}",
    re.ASCII,
)

_PERSONAL_IN: Final[Mapping[str, frozenset[str]]] = {"81": frozenset({"AM", "BP"})}
"""Open tags that a registration machine fills otherwise: BP is a telephone number there."""

SECRET_TAGS: Final = frozenset({"AC", "AD", "CO", "KD"})
"""Passwords and PINs: no answer carries them."""

PERSONAL_TAGS: Final = frozenset(
    {"BC", "BD", "BE", "BF", "BP", "MP", "PB", "XH", "XM", "XN", "XO"}
)  # fmt: skip
"""Address, e-mail, phones (BF; BP and MP of the kiosk drivers), birth (PB; BC of Polaris, XH), sex,
ethnicity and identity number, as they stand in answers. The name (AE) is masked, not hidden.
"""

WAITING_TAGS: Final = frozenset({"CY", "DA", "BF"})
"""Who waits for an item that is returned or asked about (3M extension)."""


def describe_fields(
    message: Message, *, show: bool = False, also_open: frozenset[str] = frozenset()
) -> list[tuple[str, str, str]]:
    """Return (tag, name, value) in the order of the frame, with the closed values masked.

    Args:
        show: mask nothing.
        also_open: shown beside ``OPEN_TAGS``; screen messages, say, to someone who sent the
            request.
    """
    is_open = OPEN_TAGS - _PERSONAL_IN.get(message.code, frozenset())
    return [
        (
            tag,
            TAG_NAMES.get(tag, ""),
            value
            if show
            or not value
            or tag in also_open
            or (tag in is_open and not _SUSPECT.search(value))
            else MASK,
        )
        for tag, value in message.fields
    ]


def describe_fixed(message: Message, *, show: bool = False) -> dict[str, str]:
    """Return the fixed part by name; what is no flag, number or date there is masked."""
    return {
        name: value if show or _FIXED.fullmatch(value) else MASK
        for name, value in message.fixed.items()
    }
