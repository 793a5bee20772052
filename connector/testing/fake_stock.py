"""What a fake ILS holds in memory: patrons, bibs, items, loans, holds, fees, as plain mutable rows.

Nothing here decides or answers; ``fake_ils`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold
from connector.ports.ils import BlockReason, Change, MarcDialect

__all__ = ["FakeBib", "FakeHold", "FakeItem", "FakeLoan", "FakePatron", "FakeStock"]


@dataclass(slots=True)
class FakePatron:
    """One patron."""

    card: IlsPatronId
    external_id: str = ""
    name: str = field(default="", repr=False)
    category: str = ""
    pin: str | None = field(default=None, repr=False)
    expires: date | None = None
    birth_date: date | None = field(default=None, repr=False)
    phone: str = field(default="", repr=False)
    home_branch: str = ""
    identifiers: dict[str, str] = field(default_factory=dict, repr=False)
    blocks: set[BlockReason] = field(default_factory=set)
    closed: bool = False


@dataclass(slots=True)
class FakeBib:
    """One bib."""

    bib_id: str
    title: str
    record: bytes = field(default=b"", repr=False)
    dialect: MarcDialect = "marc21"


@dataclass(slots=True)
class FakeItem:
    """One item."""

    barcode: Barcode
    bib_id: str
    languages: tuple[str, ...] = ("chi",)
    item_type: str = "book"
    location: str = ""
    branch: str = ""
    collection: str = ""
    call_number: str = ""
    isbn: str = ""
    status: CirculationStatus = CirculationStatus.AVAILABLE
    unsuitable: bool = False
    for_loan: bool = True
    properties: str = ""
    held_for: IlsPatronId | None = None


@dataclass(slots=True)
class FakeLoan:
    """One open loan."""

    barcode: Barcode
    patron: IlsPatronId
    due: datetime
    lent_at: datetime
    renewals: int = 0


@dataclass(slots=True)
class FakeHold:
    """One open hold."""

    hold_id: str
    bib_id: str
    patron: IlsPatronId
    barcode: Barcode | None
    pickup: str
    placed_at: datetime
    expires: datetime | None = None
    on_shelf: Barcode | None = None


@dataclass(slots=True)
class FakeStock:
    """Everything; ``returned`` keeps the moments at which loans ended, for assertions."""

    patrons: dict[IlsPatronId, FakePatron] = field(default_factory=dict)
    bibs: dict[str, FakeBib] = field(default_factory=dict)
    items: dict[Barcode, FakeItem] = field(default_factory=dict)
    loans: dict[Barcode, FakeLoan] = field(default_factory=dict)
    holds: list[FakeHold] = field(default_factory=list)
    fees: dict[str, tuple[IlsPatronId, Fee]] = field(default_factory=dict)
    payments: dict[str, IlsPatronId] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    returned: dict[Barcode, datetime] = field(default_factory=dict)
    serial: int = 0

    def next_id(self) -> str:
        """Return a new number."""
        self.serial += 1
        return str(self.serial)

    def find_patron(self, identifier: IlsPatronId) -> FakePatron | None:
        """Find an open account by card or by any further number."""
        patron = self.patrons.get(identifier)
        if patron is None:
            found = [p for p in self.patrons.values() if identifier in p.identifiers.values()]
            patron = found[0] if len(found) == 1 else None
        return None if patron is None or patron.closed else patron

    def title_of(self, barcode: Barcode) -> str:
        """Return the title of an item."""
        return self.bibs[self.items[barcode].bib_id].title

    def loans_by(self, card: IlsPatronId) -> list[FakeLoan]:
        """Return a patron's open loans as rows."""
        return [loan for loan in self.loans.values() if loan.patron == card]

    def loans_of(self, card: IlsPatronId) -> tuple[IlsLoan, ...]:
        """Return a patron's loans."""
        return tuple(
            self.describe_loan(loan) for loan in self.loans.values() if loan.patron == card
        )

    def describe_loan(self, loan: FakeLoan) -> IlsLoan:
        """Return a loan as the port describes it."""
        return IlsLoan(
            loan.barcode,
            loan.patron,
            loan.due,
            loan.renewals,
            loan.lent_at,
            self.title_of(loan.barcode),
        )

    def holds_of(self, card: IlsPatronId) -> tuple[IlsHold, ...]:
        """Return a patron's holds."""
        return tuple(
            IlsHold(
                hold.hold_id,
                hold.on_shelf or hold.barcode,
                self.bibs[hold.bib_id].title,
                hold.on_shelf is not None,
                hold.pickup,
                hold.placed_at,
                hold.expires,
            )
            for hold in self.holds
            if hold.patron == card
        )

    def fees_of(self, card: IlsPatronId) -> tuple[Fee, ...]:
        """Return a patron's unpaid fees."""
        return tuple(
            fee for owner, fee in self.fees.values() if owner == card and fee.amount > Decimal(0)
        )

    def waiting_for(self, item: FakeItem) -> list[FakeHold]:
        """Return the queue of holds that this item could fill, first come first."""
        return [
            hold
            for hold in self.holds
            if hold.bib_id == item.bib_id
            and hold.on_shelf is None
            and hold.barcode in (None, item.barcode)
        ]

    def free_copies(self, bib_id: str) -> int:
        """Return how many items of a bib stand on the shelf for anybody."""
        return sum(
            item.bib_id == bib_id
            and item.barcode not in self.loans
            and item.held_for is None
            and item.status is CirculationStatus.AVAILABLE
            for item in self.items.values()
        )
