"""Loans as rows: how they are read, and how a row becomes a ``Loan``.

Nothing here writes. Raw statements, because three of them run at every exchange of every kiosk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.domain.ids import ItemId, LoanId, PatronId
from connector.domain.item import LanguageClass
from connector.domain.loan import UNCLOSED, Loan, LoanOrigin, LoanState
from connector.storage.engine import Database, parse_moment
from connector.storage.unit_of_work import UnitOfWork

__all__ = [
    "COLUMNS",
    "UNCLOSED_SQL",
    "LoanReads",
    "LoanRow",
    "lock_item",
    "lock_loan",
    "read_loan",
    "read_own",
]

UNCLOSED_SQL = "state IN ({})".format(", ".join(f"'{state.value}'" for state in sorted(UNCLOSED)))
"""Spelled as in the partial indexes, so that SQLite uses them."""

COLUMNS = (
    "loan_id, person_id, owner, barcode, institution, ils_patron, state, language, asked_at, "
    "branch, terminal, opened_at, due, renewals, renewed_at, origin, due_mismatch, over_limit, "
    "first_absent_at, closed_at, policy_version"
)
"""What ``read_loan`` wants first."""
_OWN = (
    f"SELECT {COLUMNS} FROM loan WHERE person_id = ? AND {UNCLOSED_SQL} "  # noqa: S608
    "ORDER BY asked_at, loan_id"
)
_BY_ITEM = f"SELECT {COLUMNS} FROM loan WHERE owner = ? AND barcode = ? AND {UNCLOSED_SQL}"  # noqa: S608
_BY_BARCODE = f"SELECT {COLUMNS} FROM loan WHERE barcode = ? AND {UNCLOSED_SQL} ORDER BY owner"  # noqa: S608
_BY_ID = f"SELECT {COLUMNS} FROM loan WHERE loan_id = ?"  # noqa: S608

_LOCKED = ", ".join(f"loan.{name}" for name in COLUMNS.split(", ")) + (
    ", loan.clc_class, loan.terminal_kind, loan.counted_at, loan.changed_at, loan.renewal_until, "
    "loan.test, person.stage"
)
_LOCK_FROM = f"SELECT {_LOCKED} FROM loan JOIN person ON person.person_id = loan.person_id"  # noqa: S608
_LOCK_ID = f"{_LOCK_FROM} WHERE loan.loan_id = ?"
_LOCK_ITEM = f"{_LOCK_FROM} WHERE loan.owner = ? AND loan.barcode = ? AND loan.{UNCLOSED_SQL}"

_EVER_AGO = datetime.min.replace(tzinfo=UTC)
_STATES = {state.value: state for state in LoanState}
_LANGUAGES = {language.value: language for language in LanguageClass}
_ORIGINS = {origin.value: origin for origin in LoanOrigin}


@dataclass(frozen=True, slots=True)
class LoanRow:
    """A loan under lock, with what only storage needs of it."""

    loan: Loan
    clc_class: str
    terminal_kind: str
    counted_at: datetime | None
    changed_at: datetime
    renewal_until: datetime | None
    test: bool
    stage: str

    @property
    def began_at(self) -> datetime:
        """When the patron took the item; for a loan made elsewhere at an unknown time, ever ago."""
        if self.loan.opened_at is not None:
            return self.loan.opened_at
        made_here = self.loan.origin in {LoanOrigin.GATEWAY, LoanOrigin.OFFLINE}
        return self.loan.asked_at if made_here else _EVER_AGO


def read_loan(row: Sequence[Any]) -> Loan:
    """Return the loan of a row that starts with the columns of ``Loan``."""
    # Five of them in every exchange: one unpacking, positional arguments, no calls for nulls.
    (
        loan_id, person_id, owner, barcode, institution, ils_patron, state, language, asked_at,
        branch, terminal, opened_at, due, renewals, renewed_at, origin, due_mismatch, over_limit,
        first_absent_at, closed_at, policy_version,
    ) = row[:21]  # fmt: skip
    asked = parse_moment(asked_at)
    assert asked is not None  # noqa: S101 - the column is NOT NULL
    return Loan(
        loan_id,
        person_id,
        ItemId(owner, barcode),
        institution,
        ils_patron,
        _STATES[state],
        _LANGUAGES[language],
        asked,
        branch,
        terminal,
        opened_at and parse_moment(opened_at),
        due and parse_moment(due),
        renewals,
        renewed_at and parse_moment(renewed_at),
        _ORIGINS[origin],
        bool(due_mismatch),
        bool(over_limit),
        first_absent_at and parse_moment(first_absent_at),
        closed_at and parse_moment(closed_at),
        policy_version,
    )


def _read_locked(row: Sequence[Any]) -> LoanRow:
    loan = read_loan(row)
    return LoanRow(
        loan=loan,
        clc_class=row[21],
        terminal_kind=row[22],
        counted_at=parse_moment(row[23]),
        changed_at=parse_moment(row[24]) or loan.asked_at,
        renewal_until=parse_moment(row[25]),
        test=bool(row[26]),
        stage=row[27],
    )


def lock_loan(unit: UnitOfWork, loan_id: str) -> LoanRow | None:
    """Return a loan and keep others from moving it until the commit."""
    rows = unit.fetch(_LOCK_ID, (loan_id,), lock="loan")
    return _read_locked(rows[0]) if rows else None


def lock_item(unit: UnitOfWork, item: ItemId) -> LoanRow | None:
    """Return the unclosed loan of an item, under lock."""
    rows = unit.fetch(_LOCK_ITEM, (item.owner, item.barcode), lock="loan")
    return _read_locked(rows[0]) if rows else None


def read_own(unit: UnitOfWork, patron_id: str) -> tuple[Loan, ...]:
    """Return the patron's unclosed loans as this transaction sees them."""
    return tuple(read_loan(row) for row in unit.fetch(_OWN, (patron_id,)))


class LoanReads:
    """The reading half of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_unclosed(self, patron_id: PatronId) -> tuple[Loan, ...]:
        """Return the patron's unclosed loans in the whole network, oldest first."""
        return tuple([read_loan(row) for row in self._database.fetch(_OWN, (patron_id,))])

    def find_unclosed(self, item: ItemId) -> Loan | None:
        """Return the unclosed loan of an item."""
        rows = self._database.fetch(_BY_ITEM, (item.owner, item.barcode))
        return read_loan(rows[0]) if rows else None

    def find_by_barcode(self, barcode: str) -> tuple[Loan, ...]:
        """Return unclosed loans of all items with this barcode, whoever owns them."""
        return tuple(read_loan(row) for row in self._database.fetch(_BY_BARCODE, (barcode,)))

    def fetch_loan(self, loan_id: LoanId) -> Loan | None:
        """Return one loan, closed or not."""
        rows = self._database.fetch(_BY_ID, (loan_id,))
        return read_loan(rows[0]) if rows else None
