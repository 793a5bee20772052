"""What an ILS's answers mean: messages 10, 12, 16, 18, 24, 30, 38 and 64 as values of the port.

Nothing here sends. Rules: what is not told is None or empty, never a guess; only ``Y`` is yes;
values are stripped, because some systems pad them; a list that does not look like what the settings
promise counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from adapters.sip2.dates import Dates
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold, PatronCounts, PatronFacts, PatronFlag
from connector.domain.wire import WireMessage
from connector.ports.ils import (
    AlertType,
    CheckinResult,
    CheckoutResult,
    FeeResult,
    HoldResult,
)
from connector.sip2.codec import Message

__all__ = ["Answers", "ReadingRules", "read_amount", "to_wire"]

_FLAGS: Final = tuple(PatronFlag)
_DENIED: Final = frozenset(_FLAGS[:4])
_BARCODE: Final = re.compile(r"[!-~]{1,64}")
_NUMBER: Final = re.compile(r"-?[0-9][0-9.,]*")
_CODES: Final = re.compile(r"[\s,;/|]+")
_EXPIRY_TAGS: Final = ("PA", "PX", "XD")
"""Evergreen, Polaris, the Chinese dialects."""
_CATEGORY_TAGS: Final = ("PC", "PT", "XT", "ZY")
_NO_LIMIT: Final = 9999


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


class Answers:
    """Reads the answers of one ILS."""

    def __init__(self, rules: ReadingRules, dates: Dates) -> None:
        self.rules = rules
        self._dates = dates

    # -- loans -------------------------------------------------------------------------------------

    def read_checkout(self, answer: Message) -> CheckoutResult:
        """Read 12 or 30."""
        ok = self.is_ok(answer)
        is_renewal = answer.code == "30"
        flag = answer.fixed.get("renewal_ok") == "Y" and self.rules.renews_on_checkout
        return CheckoutResult(
            ok=ok,
            title=_get(answer, "AJ"),
            due=self._dates.read_due(answer.get("AH")) if ok else None,
            renewed=ok and (is_renewal or flag),
            code="" if ok else self._loan_refusal(answer, had_it=flag and not is_renewal),
            message=said(answer),
            media_type=_get(answer, "CK"),
            magnetic=_yes_no(answer.fixed.get("magnetic")),
            fee=self._fee(answer),
            desensitize=_yes_no(answer.fixed.get("desensitize")),
            native=to_wire(answer),
        )

    def _loan_refusal(self, answer: Message, *, had_it: bool) -> str:
        """Return a short code; renewal ok Y with ok 0 tells that this patron has the item
        (Evergreen).
        """
        found = self._refusal_code(answer)
        return found or ("already_charged" if had_it else "refused")

    def read_checkin(self, answer: Message) -> CheckinResult:
        """Read 10; AA is there when somebody had the item."""
        ok = self.is_ok(answer)
        patron = _get(answer, "AA")
        hold_patron = _get(answer, "CY")
        return CheckinResult(
            ok=ok,
            title=_get(answer, "AJ"),
            was_on_loan=True if ok and patron else None,
            patron=IlsPatronId(patron) if patron else None,
            permanent_location=_get(answer, "AQ"),
            destination=_get(answer, "CT"),
            collection=_get(answer, self.rules.collection_tag),
            call_number=_get(answer, "CS", "KC"),
            sort_bin=_get(answer, "CL"),
            media_type=_get(answer, "CK"),
            magnetic=_yes_no(answer.fixed.get("magnetic")),
            alert=_alert(answer),
            hold_patron=IlsPatronId(hold_patron) if hold_patron else None,
            hold_patron_name=_get(answer, "DA"),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            properties=_get(answer, "CH"),
            resensitize=_yes_no(answer.fixed.get("resensitize")),
            native=to_wire(answer),
        )

    def is_ok(self, answer: Message) -> bool:
        """Is it a yes? Some systems say so only in the text of the screen."""
        if answer.fixed.get("ok") in {"1", "Y"}:
            return True
        words = said(answer)
        return any(pattern.search(words) for pattern in self.rules.success_words)

    def _refusal_code(self, answer: Message) -> str:
        words = said(answer)
        return next(
            (code for pattern, code in self.rules.refusal_codes.items() if pattern.search(words)),
            "",
        )

    def _fee(self, answer: Message) -> Fee | None:
        amount = read_amount(answer.get("BV"))
        if not amount:
            return None
        return Fee("", amount, fee_type=_get(answer, "BT") or "01", currency=self._currency(answer))

    def _currency(self, answer: Message) -> str:
        return _get(answer, "BH") or self.rules.currency

    # -- items -------------------------------------------------------------------------------------

    def read_item(self, barcode: Barcode, answer: Message) -> IlsItem | None:
        """Read 18; None when the ILS does not know the item."""
        status = _status(answer.fixed.get("circulation_status", ""))
        title = _get(answer, "AJ")
        if self._is_unknown(title, status):
            return None
        borrower = _get(answer, self.rules.borrower_tag)
        held_for = _get(answer, "CY")
        return IlsItem(
            barcode=barcode,
            title=title,
            status=status,
            item_type=_get(answer, self.rules.item_type_tag),
            permanent_location=_get(answer, "AQ"),
            current_location=_get(answer, "AP"),
            collection=_get(answer, self.rules.collection_tag),
            call_number=_get(answer, "CS", "KC"),
            languages=_codes(answer.get_all(self.rules.language_tag or "")),
            isbn=_get(answer, "AK"),
            due=self._dates.read_due(answer.get("AH")),
            borrower=IlsPatronId(borrower) if borrower else None,
            hold_count=_count(answer.get("CF")) or 0,
            held_for=IlsPatronId(held_for) if held_for else None,
            media_type=_get(answer, "CK") or "001",
            fee=read_amount(answer.get("BV")) or Decimal(0),
            currency=self._currency(answer),
            properties=_get(answer, "CH"),
            native=to_wire(answer),
        )

    def _is_unknown(self, title: str, status: CirculationStatus) -> bool:
        match self.rules.unknown_item:
            case "no_title":
                return not title
            case "no_title_and_other":
                return not title and status is CirculationStatus.OTHER
            case _:
                return False

    # -- patrons -----------------------------------------------------------------------------------

    def read_patron(
        self,
        identifier: IlsPatronId,
        answer: Message,
        as_of: datetime,
        *,
        pin: str | None,
        charged: Sequence[str] | None = None,
    ) -> PatronFacts:
        """Read 64 or 24.

        Args:
            pin: what was sent; an empty one is never right, whatever the ILS says.
            charged: every AU, where more than one answer was needed.
        """
        card = IlsPatronId(_get(answer, "AA") or identifier)
        flags = _flags(answer.fixed.get("patron_status", ""))
        message, native = said(answer), to_wire(answer)
        if _is_nobody(answer, flags):
            return PatronFacts(
                identifier, as_of, valid=False, flags=flags, message=message, native=native
            )
        counts = _counts(answer.fixed)
        loans = self.read_loans(answer.get_all("AU") if charged is None else charged, card)
        complete = loans is not None and len(loans) == counts.charged
        amount = read_amount(answer.get("BV"))
        limit = _count(answer.get("CB"))
        return PatronFacts(
            ils_patron=card,
            as_of=as_of,
            pin_valid=_pin_verdict(answer, pin),
            name=_get(answer, "AE"),
            category=_get(answer, *_CATEGORY_TAGS),
            flags=flags,
            counts=counts,
            loans=loans or (),
            loans_complete=complete,
            fees=(Fee("", amount, currency=self._currency(answer)),) if amount else (),
            currency=self._currency(answer),
            loan_limit=None if limit == _NO_LIMIT else limit,
            expires=self._first_day(answer, _EXPIRY_TAGS),
            birth_date=self._first_day(answer, ("PB",)),
            email=_get(answer, "BE"),
            phone=_get(answer, "BF"),
            address=_get(answer, "BD"),
            home_branch=_get(answer, "AQ"),
            message=message,
            native=native,
        )

    def read_loans(self, charged: Iterable[str], patron: IlsPatronId) -> tuple[IlsLoan, ...] | None:
        """Return the loans that AU fields list; None when they hold no barcodes."""
        if not self.rules.lists_barcodes:
            return None
        barcodes = []
        for value in charged:
            for part in self._parts(value):
                barcode = self._barcode_in(part)
                if not _BARCODE.fullmatch(barcode):
                    return None
                barcodes.append(Barcode(barcode))
        return tuple(IlsLoan(barcode, patron) for barcode in dict.fromkeys(barcodes))

    def _parts(self, value: str) -> list[str]:
        separator = self.rules.charged_separator
        parts = [value] if separator is None else separator.split(value)
        return [part.strip() for part in parts if part and part.strip()]

    def _barcode_in(self, text: str) -> str:
        pattern = self.rules.charged_pattern
        found = pattern.search(text) if pattern is not None else None
        if pattern is None:
            return text
        return (found.group(1 if pattern.groups else 0) or "").strip() if found else ""

    def read_holds(self, waiting: Message, unavailable: Message | None) -> tuple[IlsHold, ...]:
        """Read two 64s: AS holds those on the shelf (Koha) or all of them (Evergreen), CD those
        that are not there yet.
        """
        listed = [value.strip() for value in waiting.get_all("AS") if value.strip()]
        absent = [] if unavailable is None else unavailable.get_all("CD")
        absent = [value.strip() for value in absent if value.strip()]
        shelf = list(listed)
        for value in absent:
            if value in shelf:
                shelf.remove(value)
        return tuple(
            self._hold(value, available=available)
            for values, available in ((shelf, True), (absent, False))
            for value in values
        )

    def _hold(self, value: str, *, available: bool) -> IlsHold:
        if self.rules.holds_are_barcodes:
            return IlsHold("", Barcode(value), available=available)
        return IlsHold("", None, title=value, available=available)

    def _first_day(self, answer: Message, tags: Sequence[str]) -> date | None:
        days = (self._dates.read_day(answer.get(tag)) for tag in tags if answer.get(tag).strip())
        return next((day for day in days if day is not None), None)

    # -- holds and fees ----------------------------------------------------------------------------

    def read_hold(self, answer: Message) -> HoldResult:
        """Read 16."""
        ok = self.is_ok(answer)
        barcode = _get(answer, "AB")
        return HoldResult(
            ok=ok,
            available=answer.fixed.get("available") == "Y",
            barcode=Barcode(barcode) if barcode else None,
            title=_get(answer, "AJ"),
            pickup=_get(answer, "BS"),
            queue_position=_count(answer.get("BR")),
            expires=self._dates.read_moment(answer.get("BW")),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            native=to_wire(answer),
        )

    def read_payment(self, answer: Message) -> FeeResult:
        """Read 38."""
        ok = answer.fixed.get("payment_accepted") == "Y"
        return FeeResult(
            ok=ok,
            transaction_id=_get(answer, "BK"),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            native=to_wire(answer),
        )


def said(answer: Message) -> str:
    """Return the text for the screen (AF), all of it."""
    return " ".join(value.strip() for value in answer.get_all("AF") if value.strip())


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


def _get(answer: Message, *tags: str | None) -> str:
    """Return the first value that is not empty."""
    return next((v for tag in tags if tag and (v := answer.get(tag).strip())), "")


def _yes_no(value: str | None) -> bool | None:
    return {"Y": True, "N": False}.get(value or "")


def _alert(answer: Message) -> AlertType | None:
    """Return the alert; CV 00 without an alert is an ordinary return (Koha)."""
    has_alert = answer.fixed.get("alert") == "Y"
    kind = _get(answer, "CV")
    if kind in {"", AlertType.UNKNOWN}:
        return AlertType.UNKNOWN if has_alert else None
    return AlertType(kind) if kind in set(AlertType) else AlertType.OTHER


def _status(code: str) -> CirculationStatus:
    known = set(CirculationStatus)
    return CirculationStatus(code) if code in known else CirculationStatus.OTHER


def _flags(text: str) -> frozenset[PatronFlag]:
    return frozenset(flag for flag, value in zip(_FLAGS, text, strict=False) if value == "Y")


def _is_nobody(answer: Message, flags: frozenset[PatronFlag]) -> bool:
    """Say whether the ILS does not know the number.

    BL tells; an answer without BL for a number that is denied everything and has no name is the
    shape of Evergreen, Koha and Polaris for an unknown card.
    """
    valid = _get(answer, "BL")
    if valid:
        return valid == "N"
    return flags >= _DENIED and not _get(answer, "AE")


def _pin_verdict(answer: Message, pin: str | None) -> bool | None:
    if pin is None:
        return None
    return False if not pin else _yes_no(_get(answer, "CQ"))


def _counts(fixed: Mapping[str, str]) -> PatronCounts:
    return PatronCounts(
        holds=_count(fixed.get("hold_count")),
        overdue=_count(fixed.get("overdue_count")),
        charged=_count(fixed.get("charged_count")),
        fines=_count(fixed.get("fine_count")),
        recalls=_count(fixed.get("recall_count")),
        unavailable_holds=_count(fixed.get("unavailable_hold_count")),
    )


def _count(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _codes(values: Iterable[str]) -> tuple[str, ...]:
    """Return language codes, however several of them are separated."""
    return tuple(code for value in values for code in _CODES.split(value.strip().lower()) if code)
