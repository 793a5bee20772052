"""One library as the rules see it: zone, mode, closed days, item and barcode rules.

Nothing here reads settings or talks to an ILS. Rules: decisions 1, 2, 11, 13, 18.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import ItemRules
from connector.domain.policy import LoanPolicy

__all__ = [
    "AwayRules",
    "BarcodeRule",
    "Library",
    "Mode",
    "RuleMismatch",
    "StoreFailure",
    "resolve_owners",
]

_LONGEST_CLOSURE_DAYS = 366


class Mode(StrEnum):
    """How far the policy reaches (decision 18)."""

    OBSERVE = "observe"
    ENFORCE = "enforce"
    BYPASS = "bypass"


class StoreFailure(StrEnum):
    """What to do while our own database is down: refuse checkouts, or let the ILS decide alone
    (decision 18).
    """

    CLOSED = "closed"
    OPEN = "open"


class RuleMismatch(StrEnum):
    """What to do where the ILS lends by other rules than the policy (scenario 31)."""

    WARN = "warn"
    REFUSE = "refuse"
    """Do not start to serve."""
    CORRECT = "correct"
    """Give each loan the policy's due date afterwards, where the ILS can."""


@dataclass(frozen=True, slots=True)
class AwayRules:
    """What kiosks may do while the library's ILS cannot be reached.

    Attributes:
        queue_returns: returns are taken, and told to the ILS when it is back.
        lend: enrolled patrons may borrow within the allowance; others are refused.
        items: how many items one patron may borrow so, on top of the policy's limits.
        hours: after so long without the ILS nothing more is lent.
        say_online: 98 says on-line Y all the same, for kiosks that stop at N.
    """

    queue_returns: bool = True
    lend: bool = False
    items: int = 2
    hours: float = 24.0
    say_online: bool = False


@dataclass(frozen=True, slots=True)
class BarcodeRule:
    """How a library's barcodes are recognised and normalised.

    Attributes:
        prefixes: item barcodes that begin so belong to this library (WH/T 74 institution prefix, or
            an own range).
        strip_prefix: text to cut off before the ILS is asked, such as the ISIL and a colon.
        upper: fold to upper case.
    """

    prefixes: tuple[str, ...] = ()
    strip_prefix: str = ""
    upper: bool = False

    def normalise(self, scanned: str) -> Barcode:
        """Return the barcode as this library writes it."""
        if not scanned.isprintable():
            scanned = "".join(character for character in scanned if character.isprintable())
        text = scanned.strip().removeprefix(self.strip_prefix)
        return Barcode(text.upper() if self.upper else text)


@dataclass(frozen=True, slots=True)
class Library:
    """A member library.

    Attributes:
        closed_weekdays: 0 = Monday.
        closing_time: when it closes on an open day, in its zone; None = not told.
    """

    code: InstitutionId
    name: str
    zone: ZoneInfo
    isil: str = ""
    language: str = "zh"
    mode: Mode = Mode.ENFORCE
    store_failure: StoreFailure = StoreFailure.CLOSED
    rule_mismatch: RuleMismatch = RuleMismatch.WARN
    closed_dates: frozenset[date] = frozenset()
    closed_weekdays: frozenset[int] = frozenset()
    closing_time: time | None = None
    barcodes: BarcodeRule = BarcodeRule()
    item_rules: ItemRules = field(default_factory=ItemRules)
    policies: tuple[LoanPolicy, ...] = ()
    away: AwayRules = AwayRules()

    def is_closed(self, day: date) -> bool:
        """Say whether the library is closed on a day."""
        return day in self.closed_dates or day.weekday() in self.closed_weekdays

    def last_closing(self, now: datetime) -> datetime | None:
        """Return the moment when the library last closed, as UTC; None when it does not tell.

        A book that was dropped at night was returned then (decision 17).
        """
        if self.closing_time is None:
            return None
        day = self.today(now)
        for back in range(_LONGEST_CLOSURE_DAYS):
            closed_on = day - timedelta(days=back)
            moment = datetime.combine(closed_on, self.closing_time, tzinfo=self.zone)
            if moment <= now and not self.is_closed(closed_on):
                return moment.astimezone(UTC)
        return None

    def today(self, now: datetime) -> date:
        """Return the calendar day in the library's zone."""
        return now.astimezone(self.zone).date()


def resolve_owners(
    scanned: str, local: Library, libraries: Iterable[Library]
) -> tuple[ItemId, ...]:
    """Return whose item a scanned barcode may be: by ISIL, else by prefix, else the local
    library's.

    ``ISIL:barcode`` names its owner. More than one result means that prefixes overlap: the caller
    must not guess.

    Source: decision 2.
    """
    text = scanned.strip()
    by_prefix = []
    for library in libraries:
        if library.isil and text.startswith(library.isil + ":"):
            barcode = text.removeprefix(library.isil + ":")
            return (ItemId(library.code, library.barcodes.normalise(barcode)),)
        if text.startswith(library.barcodes.prefixes):
            by_prefix.append(library)
    return tuple(
        [
            ItemId(library.code, library.barcodes.normalise(text))
            for library in by_prefix or (local,)
        ]
    )
