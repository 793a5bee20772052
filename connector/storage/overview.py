"""Lists for staff that no kiosk exchange needs: loans by state, patrons with accounts.

Nothing here writes, and nothing here shows a name. Rule: ids only; the ledger and the register tell
the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select

from connector.domain.ids import Barcode, InstitutionId, ItemId, LoanId, PatronId
from connector.domain.loan import LoanState
from connector.storage import tables
from connector.storage.engine import Database

__all__ = ["EventCount", "Overview", "RefusalCount"]

_LOAN = tables.loan.c


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How often a reason was given; ``verb``: ``refuse``, or ``would_refuse`` in observe mode."""

    institution: str
    verb: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often something happened at one library on one local day.

    Attributes:
        reason: of a refusal; ``passed_through`` = somebody whom we did not enrol; else empty.
    """

    day: date
    verb: str
    reason: str
    terminal_kind: str
    count: int


class Overview:
    """Reads the whole database, in the order in which things began."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_loans(self, states: Collection[LoanState]) -> tuple[LoanId, ...]:
        """Return the loans in any of these states, oldest first."""
        if not states:
            return ()
        marks = ", ".join("?" for _ in states)
        sql = f"SELECT loan_id FROM loan WHERE state IN ({marks}) ORDER BY asked_at, loan_id"  # noqa: S608 - marks only
        rows = self._database.fetch(sql, [state.value for state in states])
        return tuple(LoanId(row[0]) for row in rows)

    def list_accounts(self) -> tuple[tuple[PatronId, InstitutionId], ...]:
        """Return every enrolled patron with each library where he has an account."""
        rows = self._database.fetch(
            "SELECT person_id, institution FROM ils_account ORDER BY institution, person_id", ()
        )
        return tuple((PatronId(row[0]), InstitutionId(row[1])) for row in rows)

    def count_due_dates(self, lender: InstitutionId, since: datetime) -> tuple[int, int]:
        """Return loans opened since then in an ILS that were not made elsewhere, and how many of
        them have another due date than the policy's.
        """
        with self._database.read() as connection:
            row = connection.execute(
                select(func.count(), func.count().filter(_LOAN.due_mismatch)).where(
                    _LOAN.institution == lender, _LOAN.opened_at >= since, _LOAN.origin == "gateway"
                )
            ).one()
        return row[0], row[1]

    def list_unknown_items(self) -> tuple[ItemId, ...]:
        """Return items whose language nobody knows: a task for staff (decision 13)."""
        rows = self._database.fetch(
            "SELECT owner, barcode FROM item_facts WHERE language = 'unknown' "
            "ORDER BY owner, barcode",
            (),
        )
        return tuple(ItemId(InstitutionId(row[0]), Barcode(row[1])) for row in rows)

    def count_refusals(self, since: date) -> tuple[RefusalCount, ...]:
        """Return how often what was refused, or would have been, from a local day on."""
        rows = self._database.fetch(
            "SELECT institution, verb, reason, COUNT(*) FROM event "
            "WHERE verb IN ('refuse', 'would_refuse') AND local_date >= ? "
            "GROUP BY institution, verb, reason ORDER BY institution, verb, COUNT(*) DESC, reason",
            (since.isoformat(),),
        )
        return tuple(RefusalCount(*row) for row in rows)

    def count_events(self, institution: InstitutionId, since: date) -> tuple[EventCount, ...]:
        """Return what happened at the machines of a library, from a local day on; rehearsals are
        left out.
        """
        rows = self._database.fetch(
            "SELECT local_date, verb, reason, terminal_kind, COUNT(*) FROM event "
            "WHERE institution = ? AND local_date >= ? AND terminal_kind <> '' AND NOT test "
            "GROUP BY local_date, verb, reason, terminal_kind "
            "ORDER BY local_date, verb, reason, terminal_kind",
            (institution, since.isoformat()),
        )
        return tuple(
            EventCount(date.fromisoformat(str(row[0])), row[1], row[2], row[3], row[4])
            for row in rows
        )

    def count_accounts(self, institution: InstitutionId) -> int:
        """Return how many enrolled patrons have an account at a library."""
        rows = self._database.fetch(
            "SELECT COUNT(*) FROM ils_account WHERE institution = ?", (institution,)
        )
        return int(rows[0][0])
