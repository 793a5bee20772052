"""One library as the rules see it: zone, mode, closed days, item and barcode rules.

Nothing here reads settings or talks to an ILS. Rules: decisions 1, 2, 11, 13, 18.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from connector.domain.barcodes import BarcodeRule
from connector.domain.ids import InstitutionId, ItemId
from connector.domain.item import ItemRules
from connector.domain.policy import LoanPolicy

__all__ = [
    "AwayRules",
    "BarcodeRule",
    "Library",
    "Mode",
    "RuleMismatch",
    "StoreFailure",
    "is_misread",
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
    barcodes: BarcodeRule = field(default_factory=BarcodeRule)
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
    text, owners = _find_owners(scanned, local, libraries)
    return tuple([ItemId(library.code, library.barcodes.normalise(text)) for library in owners])


def is_misread(scanned: str, local: Library, libraries: Iterable[Library]) -> bool:
    """Say whether no library that the scanned barcode may be of could have such a check digit."""
    text, owners = _find_owners(scanned, local, libraries)
    return all(library.barcodes.is_misread(text) for library in owners)


def _find_owners(
    scanned: str, local: Library, libraries: Iterable[Library]
) -> tuple[str, Sequence[Library]]:
    """Return the barcode without the ISIL that names its owner, and who may own it: at least
    one.
    """
    text = scanned.strip()
    by_prefix = []
    for library in libraries:
        if library.isil and text.startswith(library.isil + ":"):
            return text.removeprefix(library.isil + ":"), (library,)
        if library.barcodes.claims(text):
            by_prefix.append(library)
    return text, by_prefix or (local,)
