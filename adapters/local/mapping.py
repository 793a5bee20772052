"""Rows to values and back, and the words that this ILS says to readers.

Nothing here runs a statement or decides. The columns of a row stand in the statement beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from adapters.local.settings import LocalSettings
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold, PatronCounts, PatronFacts, PatronFlag

__all__ = [
    "FETCH_ITEM",
    "FETCH_PATRON",
    "MESSAGES",
    "PatronRow",
    "end_of_day",
    "is_overdue",
    "item_from_row",
    "load_patron",
    "message_for",
    "parse_moment",
    "text_of",
]

FETCH_PATRON = """
SELECT p.id, p.card, p.name, p.category, p.home_branch, p.birth_date, p.expires, p.phone,
p.pin_hash, (SELECT json_group_array(b.reason) FROM block b WHERE b.patron_id = p.id), (SELECT
json_group_array( json_array(i.barcode, l.due, l.renewals, l.checked_out_at, t.title)) FROM loan l
JOIN item i ON i.id = l.item_id JOIN bib t ON t.id = i.bib_id WHERE l.patron_id = p.id AND
l.returned_at IS NULL), (SELECT json_group_array( json_array(h.id, i.barcode, t.title,
h.shelf_item_id IS NOT NULL, h.pickup, h.placed_at, coalesce(h.shelf_until, h.expires))) FROM hold
h JOIN bib t ON t.id = h.bib_id LEFT JOIN item i ON i.id = coalesce(h.shelf_item_id, h.item_id)
WHERE h.patron_id = p.id AND h.ended_at IS NULL), (SELECT json_group_array(json_array(f.id,
f.amount, f.paid, f.fee_type, f.currency, f.description)) FROM fee f WHERE f.patron_id = p.id AND
f.settled_at IS NULL) FROM patron p WHERE p.closed_at IS NULL AND p.id = coalesce( (SELECT c.id
FROM patron c WHERE c.card = ?1), (SELECT CASE WHEN count(DISTINCT n.patron_id) = 1 THEN
min(n.patron_id) END FROM patron_identifier n WHERE n.value = ?1))
"""
"""One statement, so one snapshot. A number that two patrons share (by kind) names neither."""

FETCH_ITEM = """
SELECT i.barcode, t.title, i.status, i.item_type, i.location, i.current_location, i.collection,
 i.call_number, t.languages, t.isbn, t.clc_class, l.due, p.card, i.media_type, i.unsuitable,
 i.properties,
 (SELECT count(*) FROM hold h WHERE h.bib_id = i.bib_id AND h.ended_at IS NULL
     AND (h.item_id IS NULL OR h.item_id = i.id)
       AND (h.shelf_item_id IS NULL OR h.shelf_item_id = i.id)),
 (SELECT hp.card FROM hold h JOIN patron hp ON hp.id = h.patron_id
   WHERE h.shelf_item_id = i.id AND h.ended_at IS NULL)
FROM item i JOIN bib t ON t.id = i.bib_id
LEFT JOIN loan l ON l.item_id = i.id AND l.returned_at IS NULL
LEFT JOIN patron p ON p.id = l.patron_id
WHERE i.barcode = ?1
"""

MESSAGES: dict[str, tuple[str, str]] = {
    "unknown_patron": ("读者证不存在", "This card is not known"),
    "unknown_item": ("馆藏中没有这本书", "This item is not known"),
    "pin_wrong": ("密码错误", "The PIN is wrong"),
    "patron_blocked": ("读者证已停用,请联系工作人员", "This card is blocked; please ask the staff"),
    "patron_expired": ("读者证已过期", "This card has expired"),
    "item_on_loan": ("该书已借给其他读者", "This item is on loan to another patron"),
    "item_on_hold": ("该书已被其他读者预约", "This item is on hold for another patron"),
    "not_for_loan": ("该书不外借", "This item is not for loan"),
    "item_missing": (
        "该书状态异常,请交给工作人员",
        "This item is not in circulation; please give it to the staff",
    ),
    "already_charged": ("您已借阅该书", "You have this item already"),
    "too_many": ("已达到本馆借书册数上限", "You have reached this library's limit"),
    "renewal_limit": ("已达到续借次数上限", "This item cannot be renewed again"),
    "not_on_loan": ("您没有借阅该书", "This item is not on loan to you"),
    "fee_due": ("借阅该书需要付费,请确认", "There is a fee for this item; please confirm"),
    "fees_unpaid": ("有未缴费用,请先缴清", "There are unpaid fees"),
    "loan_is_newer": (
        "该书在还书之后又被借出,请交给工作人员",
        "The item was lent again later; please ask the staff",
    ),
    "unknown_title": ("没有找到该书目", "This title is not known"),
    "no_hold": ("没有该书的预约", "There is no such hold"),
    "bad_amount": ("金额不正确", "The amount is not right"),
    "bad_currency": ("不接受该币种", "This currency is not accepted"),
    "unknown_fee": ("没有这笔费用", "There is no such fee"),
}
"""Code → (Chinese, English)."""


def message_for(code: str, language: str) -> str:
    """Return the words for a code in the library's language."""
    chinese, english = MESSAGES[code]
    return english if language == "en" else chinese


def text_of(moment: datetime) -> str:
    """Return an aware moment as this database writes it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse_moment(text: str | None) -> datetime | None:
    """Return the aware UTC moment of a column."""
    return datetime.fromisoformat(text) if text else None


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the last second of a calendar day in the library's zone, as UTC."""
    return datetime.combine(day, time(23, 59, 59), tzinfo=zone).astimezone(UTC)


def start_of_today(now: datetime, zone: ZoneInfo) -> datetime:
    """Return when today began in the library's zone: what was due before is overdue."""
    return datetime.combine(now.astimezone(zone).date(), time(), tzinfo=zone).astimezone(UTC)


def is_overdue(due: datetime, now: datetime, zone: ZoneInfo) -> bool:
    """Say whether a loan is overdue; days are counted in the library's zone."""
    return due < start_of_today(now, zone)


def item_from_row(row: Sequence[Any], settings: LocalSettings) -> IlsItem:
    """Turn a row of ``FETCH_ITEM`` into an item."""
    status = CirculationStatus(row[2])
    if row[11] is not None and status is CirculationStatus.AVAILABLE:
        status = CirculationStatus.CHARGED
    elif row[17] is not None and status is CirculationStatus.AVAILABLE:
        status = CirculationStatus.HOLD_SHELF
    return IlsItem(
        barcode=Barcode(row[0]),
        title=row[1],
        status=status,
        item_type=row[3],
        permanent_location=row[4],
        current_location=row[5] or row[4],
        collection=row[6],
        call_number=row[7],
        languages=tuple(row[8].split()),
        isbn=row[9],
        clc_class=row[10],
        due=parse_moment(row[11]),
        borrower=row[12],
        hold_count=row[16],
        held_for=row[17],
        media_type=row[13],
        unsuitable=bool(row[14]),
        fee=settings.rule_for("*", row[3]).fee,
        currency=settings.currency,
        properties=row[15],
    )


@dataclass(frozen=True, slots=True)
class PatronRow:
    """One patron with everything that a decision needs, read at one moment."""

    row_id: int
    card: IlsPatronId
    category: str
    name: str = field(repr=False)
    home_branch: str
    birth_date: date | None = field(repr=False)
    expires: date | None
    phone: str = field(repr=False)
    pin_hash: str | None = field(repr=False)
    blocks: frozenset[str]
    loans: tuple[IlsLoan, ...]
    holds: tuple[IlsHold, ...]
    fees: tuple[Fee, ...]

    def bar(self, today: date) -> str:
        """Return the code that keeps the patron from borrowing, or an empty string."""
        if self.blocks:
            return "patron_blocked"
        return "patron_expired" if self.expires is not None and self.expires < today else ""

    @property
    def debt(self) -> Decimal:
        """What is unpaid."""
        return sum((fee.amount for fee in self.fees), Decimal(0))

    def to_facts(
        self, *, as_of: datetime, zone: ZoneInfo, settings: LocalSettings, pin_valid: bool | None
    ) -> PatronFacts:
        """Return the patron as the port describes him."""
        today_start = start_of_today(as_of, zone)
        limit = settings.rule_for(self.category, "*").max_items
        shelf = sum(hold.available for hold in self.holds)
        bar = self.bar(as_of.astimezone(zone).date())
        return PatronFacts(
            ils_patron=self.card,
            as_of=as_of,
            valid=True,
            pin_valid=pin_valid,
            name=self.name,
            category=self.category,
            flags=_flags(self, bar, limit, settings),
            counts=PatronCounts(
                holds=len(self.holds),
                overdue=sum(loan.due is not None and loan.due < today_start for loan in self.loans),
                charged=len(self.loans),
                fines=len(self.fees),
                recalls=0,
                unavailable_holds=len(self.holds) - shelf,
            ),
            loans=self.loans,
            loans_complete=True,
            holds=self.holds,
            fees=self.fees,
            currency=settings.currency,
            loan_limit=limit,
            expires=self.expires,
            birth_date=self.birth_date,
            phone=self.phone,
            home_branch=self.home_branch,
            message=message_for(bar, settings.language) if bar else "",
        )


def load_patron(row: Sequence[Any]) -> PatronRow:
    """Turn a row of ``FETCH_PATRON`` into a patron."""
    card = IlsPatronId(row[1])
    return PatronRow(
        row_id=row[0],
        card=card,
        name=row[2],
        category=row[3],
        home_branch=row[4],
        birth_date=date.fromisoformat(row[5]) if row[5] else None,
        expires=date.fromisoformat(row[6]) if row[6] else None,
        phone=row[7],
        pin_hash=row[8],
        blocks=frozenset(json.loads(row[9])) if row[9] != "[]" else frozenset(),
        loans=tuple(
            IlsLoan(barcode, card, parse_moment(due), renewals, parse_moment(lent), title)
            for barcode, due, renewals, lent, title in json.loads(row[10])
        ),
        holds=tuple(
            IlsHold(
                str(hold),
                barcode,
                title,
                bool(shelf),
                pickup,
                parse_moment(placed),
                parse_moment(until),
            )
            for hold, barcode, title, shelf, pickup, placed, until in json.loads(row[11])
        )
        if row[11] != "[]"
        else (),
        fees=tuple(
            Fee(str(fee), Decimal(amount) - Decimal(paid), kind, currency, text)
            for fee, amount, paid, kind, currency, text in json.loads(row[12])
        )
        if row[12] != "[]"
        else (),
    )


def _flags(
    patron: PatronRow, bar: str, limit: int, settings: LocalSettings
) -> frozenset[PatronFlag]:
    flags: set[PatronFlag] = set()
    if bar == "patron_blocked":
        flags |= {
            PatronFlag.CHARGE_DENIED,
            PatronFlag.RENEWAL_DENIED,
            PatronFlag.RECALL_DENIED,
            PatronFlag.HOLD_DENIED,
        }
    elif bar:
        flags |= {PatronFlag.CHARGE_DENIED, PatronFlag.RENEWAL_DENIED, PatronFlag.HOLD_DENIED}
    if "card_lost" in patron.blocks:
        flags.add(PatronFlag.CARD_LOST)
    if len(patron.loans) >= limit:
        flags.add(PatronFlag.TOO_MANY_CHARGED)
    if settings.fee_limit is not None and patron.debt > settings.fee_limit:
        flags |= {PatronFlag.CHARGE_DENIED, PatronFlag.EXCESSIVE_FEES}
    return frozenset(flags)


def days_after(now: datetime, days: int, zone: ZoneInfo) -> datetime:
    """Return the end of the day that is ``days`` after now in the library's zone."""
    return end_of_day(now.astimezone(zone).date() + timedelta(days=days), zone)
