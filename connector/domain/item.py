"""What is known about an item: identity, shelving, language class, circulation status.

Nothing here reads a record or asks an ILS. Rules: decision 13 and requirement A27.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.wire import WireMessage

__all__ = [
    "NOT_FOREIGN",
    "CirculationStatus",
    "Classification",
    "IlsItem",
    "ItemRules",
    "LanguageClass",
    "Shelving",
    "classify_item",
    "classify_language",
]

NOT_FOREIGN = frozenset({"chi", "zho", "zxx"})
"""MARC codes that never count as foreign: Chinese, and books without text.

Source: decision 13.
"""


class LanguageClass(StrEnum):
    """Does the item count against the limit for foreign books (A26)?"""

    CHINESE = "chinese"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class Shelving(StrEnum):
    """Where the item stands, as far as A27 cares."""

    OPEN_SHELF = "open-shelf"
    CLOSED_STACK = "closed-stack"
    REFERENCE = "reference"
    UNKNOWN = "unknown"


class CirculationStatus(StrEnum):
    """SIP2 circulation status codes (message 18)."""

    OTHER = "01"
    ON_ORDER = "02"
    AVAILABLE = "03"
    CHARGED = "04"
    CHARGED_NO_RECALL = "05"
    IN_PROCESS = "06"
    RECALLED = "07"
    HOLD_SHELF = "08"
    RESHELVING = "09"
    IN_TRANSIT = "10"
    CLAIMED_RETURNED = "11"
    LOST = "12"
    MISSING = "13"


@dataclass(frozen=True, slots=True)
class IlsItem:
    """One item as its ILS describes it.

    Attributes:
        barcode: item identifier as that ILS writes it.
        languages: MARC codes of the language of the text, in the record's order (041$a, 101$a; else
            008/35-37).
        due: aware, UTC; None when not on loan or not told.
        borrower: who has it, when the ILS says so.
        hold_count: holds that wait for this very item or its title.
        held_for: the patron for whom it waits on the hold shelf.
        media_type: SIP2 CK code, three digits.
        unsuitable: flagged as not for minors (C08).
        fee: charge for borrowing it, 0 when free.
        native: the whole answer of an ILS that speaks SIP2.
    """

    barcode: Barcode
    title: str = ""
    status: CirculationStatus = CirculationStatus.OTHER
    item_type: str = ""
    permanent_location: str = ""
    current_location: str = ""
    collection: str = ""
    call_number: str = ""
    languages: tuple[str, ...] = ()
    isbn: str = ""
    clc_class: str = ""
    due: datetime | None = None
    borrower: IlsPatronId | None = None
    hold_count: int = 0
    held_for: IlsPatronId | None = None
    media_type: str = "001"
    unsuitable: bool = False
    fee: Decimal = Decimal(0)
    currency: str = "CNY"
    properties: str = ""
    native: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ItemRules:
    """One library's own rules on its items (decision 13, step 1). Patterns are shell-style and
    case-sensitive.

    Attributes:
        foreign: attribute name (``item_type``, ``permanent_location``, ``call_number``,
            ``barcode``, ``collection``) → patterns that make the item foreign.
        chinese: the same, for Chinese; asked first.
        shelving: the same → shelving, in order; the first match wins.
        default_shelving: for items that no pattern matches.
        minority_languages: codes that are not foreign here besides Chinese and textless.
        domestic_isbn_is_chinese: with no language known, an ISBN 978-7 counts as Chinese.
    """

    foreign: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chinese: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shelving: tuple[tuple[str, str, Shelving], ...] = ()
    default_shelving: Shelving = Shelving.OPEN_SHELF
    minority_languages: frozenset[str] = frozenset(
        {"tib", "bod", "uig", "mon", "zha", "iii", "kaz", "kir"}
    )
    domestic_isbn_is_chinese: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """Language class and shelving with where they come from: ``rule``, ``language``, ``isbn``,
    ``facts`` or ``default``.
    """

    language: LanguageClass
    shelving: Shelving
    source: str


def classify_item(item: IlsItem, rules: ItemRules) -> Classification:
    """Return language class and shelving of an item by the library's rules, then by the language of
    the text.
    """
    language, source = classify_language(item, rules)
    return Classification(language, _classify_shelving(item, rules), source)


def classify_language(item: IlsItem, rules: ItemRules) -> tuple[LanguageClass, str]:
    """Return the language class and its source.

    A translation is not foreign, since the codes name the language of the text; a bilingual text
    with Chinese in it is Chinese (scenario 22). Unknown stays unknown here: who asks decides what
    to assume.
    """
    if _matches(item, rules.chinese):
        return LanguageClass.CHINESE, "rule"
    if _matches(item, rules.foreign):
        return LanguageClass.FOREIGN, "rule"
    codes = {code.strip().lower() for code in item.languages} - {"", "und", "|||", "   "}
    if codes:
        at_home = NOT_FOREIGN | rules.minority_languages
        return (LanguageClass.CHINESE if codes & at_home else LanguageClass.FOREIGN), "language"
    if rules.domestic_isbn_is_chinese and item.isbn.replace("-", "").startswith("9787"):
        return LanguageClass.CHINESE, "isbn"
    return LanguageClass.UNKNOWN, "default"


def _classify_shelving(item: IlsItem, rules: ItemRules) -> Shelving:
    for attribute, pattern, shelving in rules.shelving:
        if fnmatchcase(str(getattr(item, attribute)), pattern):
            return shelving
    return rules.default_shelving


def _matches(item: IlsItem, patterns: Mapping[str, tuple[str, ...]]) -> bool:
    return any(
        fnmatchcase(str(getattr(item, attribute)), pattern)
        for attribute, wanted in patterns.items()
        for pattern in wanted
    )
