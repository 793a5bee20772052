"""What is known about a patron: what the ILS says, and what our own register says.

Nothing here holds an identity number or a phone number; a name is kept out of every ``repr``.
Rules: decisions 3, 4, 9, 16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, PatronId
from connector.domain.loan import IlsLoan
from connector.domain.wire import WireMessage

__all__ = [
    "EXCHANGED_ACCOUNT",
    "Fee",
    "IlsHold",
    "PatronCounts",
    "PatronFacts",
    "PatronFlag",
    "PatronStanding",
    "PinRule",
    "StandingState",
]


class PatronFlag(StrEnum):
    """The fourteen positions of SIP2 patron status, in order; set = denied or true."""

    CHARGE_DENIED = "charge_denied"
    RENEWAL_DENIED = "renewal_denied"
    RECALL_DENIED = "recall_denied"
    HOLD_DENIED = "hold_denied"
    CARD_LOST = "card_lost"
    TOO_MANY_CHARGED = "too_many_charged"
    TOO_MANY_OVERDUE = "too_many_overdue"
    TOO_MANY_RENEWALS = "too_many_renewals"
    TOO_MANY_CLAIMS = "too_many_claims"
    TOO_MANY_LOST = "too_many_lost"
    EXCESSIVE_FINES = "excessive_fines"
    EXCESSIVE_FEES = "excessive_fees"
    RECALL_OVERDUE = "recall_overdue"
    TOO_MANY_BILLED = "too_many_billed"


@dataclass(frozen=True, slots=True)
class PatronCounts:
    """The six counts of SIP2 message 64; None where the ILS does not tell."""

    holds: int | None = None
    overdue: int | None = None
    charged: int | None = None
    fines: int | None = None
    recalls: int | None = None
    unavailable_holds: int | None = None


@dataclass(frozen=True, slots=True)
class IlsHold:
    """A hold as the ILS describes it; ``available`` = it waits on the hold shelf."""

    hold_id: str
    barcode: Barcode | None
    title: str = ""
    available: bool = False
    pickup: str = ""
    placed_at: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fee:
    """An unpaid fee; ``fee_type`` is the SIP2 two-digit code."""

    fee_id: str
    amount: Decimal
    fee_type: str = "01"
    currency: str = "CNY"
    description: str = ""


@dataclass(frozen=True, slots=True)
class PatronFacts:
    """One patron as the ILS describes him, read once per exchange (decision 9).

    Attributes:
        ils_patron: the identifier to use with this ILS from now on (its own card number).
        valid: False when the ILS does not know the identifier (BL).
        pin_valid: None when no PIN was sent or the ILS cannot say (CQ).
        flags: what the ILS denies.
        loans_complete: True when ``loans`` is all there are; False when the ILS cannot list them
            and only counts.
        as_of: when the read began; aware, UTC. What changed later is newer than these facts.
        native: the whole answer of an ILS that speaks SIP2.
    """

    ils_patron: IlsPatronId
    as_of: datetime
    valid: bool = True
    pin_valid: bool | None = None
    name: str = field(default="", repr=False)
    category: str = ""
    flags: frozenset[PatronFlag] = frozenset()
    counts: PatronCounts = PatronCounts()
    loans: tuple[IlsLoan, ...] = ()
    loans_complete: bool = True
    holds: tuple[IlsHold, ...] = ()
    fees: tuple[Fee, ...] = ()
    currency: str = "CNY"
    loan_limit: int | None = None
    expires: date | None = None
    birth_date: date | None = field(default=None, repr=False)
    email: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)
    address: str = field(default="", repr=False)
    home_branch: str = ""
    message: str = field(default="", repr=False)
    native: WireMessage | None = field(default=None, repr=False)

    @property
    def fee_total(self) -> Decimal:
        """Sum of the unpaid fees."""
        return sum((fee.amount for fee in self.fees), Decimal(0))


class PinRule(StrEnum):
    """When a patron must give a PIN at a terminal (decision 15)."""

    NEVER = "never"
    IF_SENT = "if_sent"
    ALWAYS = "always"


EXCHANGED_ACCOUNT = "exchanged"
"""Kind of an account that gave way to the student card: its books may come back, no more (A29)."""


_PERSONAL_KINDS = frozenset({"id_card", "student_no", "ssc"})
"""Kinds of numbers that name a person by themselves."""


class StandingState(StrEnum):
    """State of a person in our register."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class PatronStanding:
    """An enrolled patron as our register describes him, found by what was scanned.

    Attributes:
        scanned_kind: the kind of identifier that was scanned (card, id_card, ssc, …).
        ils_patron: his identifier in the asking library's ILS; None when he has no account there.
        home: the library that enrolled him.
        violations: how many violations bar him now (A34).
        account_kind: of that account: home, visiting, collective or exchanged; empty without one.
        is_retired: what was scanned is dead, as of a lost card: whoever holds it is nobody, neither
            for us nor for the ILS (scenario 34).
    """

    patron_id: PatronId
    category: str
    state: StandingState
    home: InstitutionId
    scanned_kind: str
    ils_patron: IlsPatronId | None
    expires: date | None = None
    violations: int = 0
    stage: str = ""
    is_retired: bool = False
    account_kind: str = ""

    @property
    def is_known_to_ils(self) -> bool:
        """Whether an ILS may be asked about what was scanned.

        Not about a dead number; nor by the identity number of a child whose card is not open:
        before consent nothing about him goes there (scenario 5).
        """
        is_applicant = self.ils_patron is None and self.state is StandingState.INACTIVE
        return not self.is_retired and not (is_applicant and self.scanned_kind in _PERSONAL_KINDS)
