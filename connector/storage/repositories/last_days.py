"""The last day of open cards, and of the accounts behind them, in the database.

Nothing here decides whose card has ended. Rule: a card that is not open any more keeps its day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date

from sqlalchemy import select, update

from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import EXCHANGED_ACCOUNT, StandingState
from connector.ports.schools import ShortAccount
from connector.storage import tables
from connector.storage.repositories.rows import in_chunks
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredLastDays"]

_VALID = (StandingState.ACTIVE.value, StandingState.BLOCKED.value)
"""States of a card that is open."""


class StoredLastDays:
    """The part of ``SchoolStore`` that is about last days."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def set_expiries(self, expiries: Mapping[PatronId, date], *, actor: str) -> int:
        """Set the last day of open cards; return how many changed."""
        person = tables.person
        by_day: dict[date, list[PatronId]] = defaultdict(list)
        for patron_id, day in expiries.items():
            by_day[day].append(patron_id)
        changed = 0
        with self._work.begin() as unit:
            for day, patrons in by_day.items():
                for chunk in in_chunks(patrons):
                    rows = unit.connection.execute(
                        update(person)
                        .where(
                            person.c.person_id.in_(chunk),
                            person.c.state.in_(_VALID),
                            person.c.expires.is_distinct_from(day),
                        )
                        .values(expires=day, updated_at=unit.now)
                        .returning(person.c.person_id, person.c.institution)
                    ).all()
                    for person_id, institution in rows:
                        unit.audit(
                            "person.expiry_set",
                            actor=actor,
                            subject=person_id,
                            detail={"expires": day.isoformat()},
                            institution=institution,
                        )
                    changed += len(rows)
        return changed

    def list_expired(self, institution: InstitutionId, before: date) -> tuple[PatronId, ...]:
        """Return whose open cards had their last day before ``before``."""
        person = tables.person.c
        query = (
            select(person.person_id)
            .where(
                person.institution == institution,
                person.state.in_(_VALID),
                person.expires < before,
                person.erased_at.is_(None),
            )
            .order_by(person.expires, person.person_id)
        )
        with self._work.database.read() as connection:
            return tuple(PatronId(found) for found in connection.scalars(query))

    def list_short_accounts(self, institution: InstitutionId) -> tuple[ShortAccount, ...]:
        """Return the accounts at his own library that end before the pupil's open card does."""
        person, account = tables.person.c, tables.ils_account.c
        query = (
            select(account.person_id, account.ils_patron, account.kind, person.expires)
            .join(tables.person, person.person_id == account.person_id)
            .where(
                account.institution == institution,
                person.institution == institution,
                account.kind != EXCHANGED_ACCOUNT,
                account.expires < person.expires,
                person.state.in_(_VALID),
                person.closing == "",
                person.erased_at.is_(None),
            )
            .order_by(account.expires, account.person_id)
        )
        with self._work.database.read() as connection:
            return tuple(
                ShortAccount(
                    PatronId(row.person_id), IlsPatronId(row.ils_patron), row.kind, row.expires
                )
                for row in connection.execute(query)
            )
