"""Single values out of an ILS's answers, and the rules by which this ILS is read.

Nothing here knows a message. Rules: what is not told is None or empty; values are stripped, because
some systems pad them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final

from connector.domain.wire import WireMessage
from connector.sip2.codec import Message

__all__ = [
    "ReadingRules",
    "get_first",
    "read_amount",
    "read_codes",
    "read_count",
    "read_flag",
    "said",
    "to_wire",
]

_NUMBER: Final = re.compile(r"-?[0-9][0-9.,]*")
_CODES: Final = re.compile(r"[\s,;/|]+")


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How this ILS's answers are read; see ``settings``."""

    success_words: tuple[re.Pattern[str], ...] = ()
    refusal_codes: Mapping[re.Pattern[str], str] = field(default_factory=dict)
    lists_barcodes: bool = True
    charged_separator: re.Pattern[str] | None = None
    charged_pattern: re.Pattern[str] | None = None
    holds_are_barcodes: bool = False
    renews_on_checkout: bool = True
    unknown_item: str = "no_title_and_other"
    language_tag: str | None = None
    collection_tag: str = "CR"
    item_type_tag: str | None = None
    borrower_tag: str | None = None
    currency: str = "CNY"


def to_wire(message: Message) -> WireMessage:
    """Return a message as the plain value of the domain."""
    return WireMessage(message.code, dict(message.fixed), tuple(message.fields))


def said(answer: Message) -> str:
    """Return the text for the screen (AF), all of it."""
    return " ".join(value.strip() for value in answer.get_all("AF") if value.strip())


def get_first(answer: Message, *tags: str | None) -> str:
    """Return the first value that is not empty."""
    return next((v for tag in tags if tag and (v := answer.get(tag).strip())), "")


def read_flag(value: str | None) -> bool | None:
    """Return Y as True and N as False; all else is not told."""
    return {"Y": True, "N": False}.get(value or "")


def read_amount(text: str) -> Decimal | None:
    """Return an amount of money: ``7.50``, ``7,50``, ``1,234.50``, ``CNY 5``; None for none."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    number = found.group()
    if "," in number and "." in number:
        number = number.replace("." if number.rfind(",") > number.rfind(".") else ",", "")
    try:
        return Decimal(number.replace(",", "."))
    except InvalidOperation:
        return None


def read_count(text: str | None) -> int | None:
    """Return a number, or None where there are no digits alone."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def read_codes(values: Iterable[str]) -> tuple[str, ...]:
    """Return language codes, however several of them are separated."""
    return tuple(code for value in values for code in _CODES.split(value.strip().lower()) if code)
