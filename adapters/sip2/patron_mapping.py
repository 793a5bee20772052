"""What an ILS's answers about patrons mean: 24 and 64 as ``PatronFacts``, loans and holds.

Nothing here sends. Rules: only ``Y`` is yes; an empty PIN is never right; a list that does not look
like what the settings promise counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

from adapters.sip2.dates import Dates
from adapters.sip2.reading import (
    ReadingRules,
    get_first,
    read_amount,
    read_count,
    read_flag,
    said,
    to_wire,
)
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold, PatronCounts, PatronFacts, PatronFlag
from connector.sip2.codec import Message

__all__ = ["PatronAnswers"]

_FLAGS: Final = tuple(PatronFlag)
_DENIED: Final = frozenset(_FLAGS[:4])
_BARCODE: Final = re.compile(r"[!-~]{1,64}")
_EXPIRY_TAGS: Final = ("PA", "PX", "XD")
"""Evergreen, Polaris, the Chinese dialects."""
_CATEGORY_TAGS: Final = ("PC", "PT", "XT", "ZY")
_NO_LIMIT: Final = 9999


class PatronAnswers:
    """Reads what one ILS says about patrons."""

    def __init__(self, rules: ReadingRules, dates: Dates) -> None:
        self.rules = rules
        self._dates = dates

    def find_currency(self, answer: Message) -> str:
        """Return the currency of an answer, else the one of the settings."""
        return get_first(answer, "BH") or self.rules.currency

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
        card = IlsPatronId(get_first(answer, "AA") or identifier)
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
        limit = read_count(answer.get("CB"))
        return PatronFacts(
            ils_patron=card,
            as_of=as_of,
            pin_valid=_pin_verdict(answer, pin),
            name=get_first(answer, "AE"),
            category=get_first(answer, *_CATEGORY_TAGS),
            flags=flags,
            counts=counts,
            loans=loans or (),
            loans_complete=complete,
            fees=(Fee("", amount, currency=self.find_currency(answer)),) if amount else (),
            currency=self.find_currency(answer),
            loan_limit=None if limit == _NO_LIMIT else limit,
            expires=self._first_day(answer, _EXPIRY_TAGS),
            birth_date=self._first_day(answer, ("PB",)),
            email=get_first(answer, "BE"),
            phone=get_first(answer, "BF"),
            address=get_first(answer, "BD"),
            home_branch=get_first(answer, "AQ"),
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


def _flags(text: str) -> frozenset[PatronFlag]:
    return frozenset(flag for flag, value in zip(_FLAGS, text, strict=False) if value == "Y")


def _is_nobody(answer: Message, flags: frozenset[PatronFlag]) -> bool:
    """Say whether the ILS does not know the number.

    BL tells; an answer without BL for a number that is denied everything and has no name is the
    shape of Evergreen, Koha and Polaris for an unknown card.
    """
    valid = get_first(answer, "BL")
    if valid:
        return valid == "N"
    return flags >= _DENIED and not get_first(answer, "AE")


def _pin_verdict(answer: Message, pin: str | None) -> bool | None:
    if pin is None:
        return None
    return False if not pin else read_flag(get_first(answer, "CQ"))


def _counts(fixed: Mapping[str, str]) -> PatronCounts:
    return PatronCounts(
        holds=read_count(fixed.get("hold_count")),
        overdue=read_count(fixed.get("overdue_count")),
        charged=read_count(fixed.get("charged_count")),
        fines=read_count(fixed.get("fine_count")),
        recalls=read_count(fixed.get("recall_count")),
        unavailable_holds=read_count(fixed.get("unavailable_hold_count")),
    )
