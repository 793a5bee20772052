"""Loans: the states of a loan and of an item's position, and the moves between them.

Nothing here stores or counts. Rules: decisions 2 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from connector.domain.ids import (
    Barcode,
    BranchId,
    IlsPatronId,
    InstitutionId,
    ItemId,
    LoanId,
    PatronId,
    TerminalId,
)
from connector.domain.item import LanguageClass

__all__ = [
    "LOAN_MOVES",
    "SOMEBODY_ELSE",
    "UNCLOSED",
    "IlsLoan",
    "ItemPosition",
    "Loan",
    "LoanOrigin",
    "LoanState",
    "can_move",
]


class LoanState(StrEnum):
    """States of a loan; permit and loan are one row (decision 2). A renewal leaves the state
    ``open``.
    """

    ASKED = "asked"
    UNKNOWN = "unknown"
    OPEN = "open"
    DISPUTED = "disputed"
    CLAIMED_RETURNED = "claimed_returned"
    LOST = "lost"
    COMPENSATED = "compensated"
    RETURNED = "returned"
    CLOSED = "closed"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


UNCLOSED = frozenset(
    {
        LoanState.ASKED,
        LoanState.UNKNOWN,
        LoanState.OPEN,
        LoanState.DISPUTED,
        LoanState.CLAIMED_RETURNED,
        LoanState.LOST,
    }
)
"""States that hold a quota place; at most one unclosed loan per item."""

_ENDS = frozenset(
    {LoanState.RETURNED, LoanState.SUPERSEDED, LoanState.CLAIMED_RETURNED, LoanState.LOST}
)

LOAN_MOVES: Mapping[LoanState, frozenset[LoanState]] = {
    LoanState.ASKED: frozenset(
        {LoanState.UNKNOWN, LoanState.OPEN, LoanState.DISPUTED, LoanState.REFUSED}
    )
    | _ENDS - {LoanState.CLAIMED_RETURNED, LoanState.LOST},
    LoanState.UNKNOWN: frozenset({LoanState.OPEN, LoanState.DISPUTED, LoanState.REFUSED})
    | _ENDS - {LoanState.CLAIMED_RETURNED, LoanState.LOST},
    LoanState.OPEN: _ENDS | {LoanState.DISPUTED},
    LoanState.DISPUTED: _ENDS | {LoanState.OPEN},
    LoanState.CLAIMED_RETURNED: frozenset(
        {LoanState.RETURNED, LoanState.LOST, LoanState.OPEN, LoanState.SUPERSEDED}
    ),
    LoanState.LOST: frozenset(
        {LoanState.COMPENSATED, LoanState.RETURNED, LoanState.SUPERSEDED, LoanState.OPEN}
    ),
    LoanState.COMPENSATED: frozenset({LoanState.CLOSED}),
    LoanState.RETURNED: frozenset({LoanState.CLOSED}),
    LoanState.CLOSED: frozenset(),
    LoanState.REFUSED: frozenset(),
    LoanState.SUPERSEDED: frozenset(),
}


def can_move(old: LoanState, new: LoanState) -> bool:
    """Say whether a loan may go from ``old`` to ``new``."""
    return new in LOAN_MOVES[old]


class LoanOrigin(StrEnum):
    """Who made the loan."""

    GATEWAY = "gateway"
    DESK = "desk"
    OPAC = "opac"
    MIGRATED = "migrated"
    OFFLINE = "offline"


class ItemPosition(StrEnum):
    """Where an item is, seen from the network."""

    AT_OWNER = "at_owner"
    ON_LOAN = "on_loan"
    AT_HOLDER = "at_holder"
    IN_TRANSIT = "in_transit"
    MISSING = "missing"
    LOST = "lost"
    DAMAGED = "damaged"
    WITHDRAWN = "withdrawn"


SOMEBODY_ELSE = IlsPatronId("")
"""Stands for whoever has an item, when an ILS tells only that the patron asked about has not."""


@dataclass(frozen=True, slots=True)
class IlsLoan:
    """A loan as one ILS describes it.

    Attributes:
        patron: who has the item; None when the ILS does not say; ``SOMEBODY_ELSE`` when it says
            only who has not.
        due: aware, UTC.
        renewals: how often it was renewed; None when not told.
    """

    barcode: Barcode
    patron: IlsPatronId | None = None
    due: datetime | None = None
    renewals: int | None = None
    checked_out_at: datetime | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan in the ledger.

    Attributes:
        lender: the library in whose ILS the loan lives.
        ils_patron: under which identifier that ILS knows the patron.
        asked_at: when the place in the quota was taken; aware, UTC.
        due: aware, UTC; None until the ILS has said yes.
        due_mismatch: the ILS's date differs from the policy's (decision 11).
        first_absent_at: when settlement first heard "not on loan" (decision 7).
        policy_version: the version by which it was decided.
    """

    loan_id: LoanId
    patron_id: PatronId
    item: ItemId
    lender: InstitutionId
    ils_patron: IlsPatronId
    state: LoanState
    language: LanguageClass
    asked_at: datetime
    branch: BranchId | None = None
    terminal: TerminalId | None = None
    opened_at: datetime | None = None
    due: datetime | None = None
    renewals: int = 0
    renewed_at: datetime | None = None
    origin: LoanOrigin = LoanOrigin.GATEWAY
    due_mismatch: bool = False
    over_limit: bool = False
    first_absent_at: datetime | None = None
    closed_at: datetime | None = None
    policy_version: str = ""
