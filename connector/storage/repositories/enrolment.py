"""Applications in the database; schools and batches are in ``schools``, consents in ``consents``,
attempts to open a card in ``activations``.

Nothing here decides who may have a card. Rules: every method is one unit of work; a state changes
only from the state that the caller saw.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select, update

from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
)
from connector.domain.ids import InstitutionId, PatronId
from connector.ports.enrolment import (
    Application,
    NewApplication,
)
from connector.storage import tables
from connector.storage.repositories.activations import StoredActivations
from connector.storage.repositories.application_rows import (
    audit_application,
    enter_application,
    read_application,
)
from connector.storage.repositories.consents import StoredConsents
from connector.storage.repositories.people_in_bulk import in_pieces
from connector.storage.repositories.rows import fetch_row
from connector.storage.repositories.schools import StoredSchools
from connector.storage.retry import retry_once

__all__ = ["StoredEnrolment"]

_S = ApplicationState
_STAMPS: Mapping[ApplicationState, tuple[str, ...]] = {
    _S.SCHOOL_REVIEWED: ("school_reviewed_by", "school_reviewed_at"),
    _S.LIBRARY_APPROVED: ("library_approved_by", "library_approved_at"),
    _S.REFUSED: ("closed_by", "closed_at"),
    _S.WITHDRAWN: ("closed_by", "closed_at"),
}


class StoredEnrolment(StoredSchools, StoredConsents, StoredActivations):
    """``EnrolmentStore`` on SQLite or PostgreSQL."""

    @retry_once
    def add_application(self, new: NewApplication, *, actor: str, now: datetime) -> Application:
        """Enter an application; ``StorageConflict`` when the person has an open one (A24)."""
        with self._units.begin() as unit:
            return read_application(enter_application(unit, new, actor=actor, now=now))

    def fetch_application(self, application_id: str) -> Application | None:
        """Return one application."""
        query = select(tables.application).filter_by(application_id=application_id)
        with self._units.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else read_application(row)

    def find_application(self, patron_id: PatronId) -> Application | None:
        """Return the person's open application, else the latest closed one, else None."""
        table = tables.application
        is_closed = table.c.state.in_([state.value for state in CLOSED_STATES])
        query = (
            select(table)
            .where(table.c.person_id == patron_id)
            .order_by(is_closed, table.c.entered_at.desc())
            .limit(1)
        )
        with self._units.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else read_application(row)

    def find_applications(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, Application]:
        """Return, of each of these people who has one, what ``find_application`` returns."""
        table = tables.application
        found: dict[PatronId, Application] = {}
        with self._units.database.read() as connection:
            for piece in in_pieces(patrons):
                query = select(table).where(table.c.person_id.in_(piece))
                for row in connection.execute(query.order_by(table.c.entered_at)):
                    application = read_application(row)
                    before = found.get(application.patron_id)
                    if before is None or before.state in CLOSED_STATES:
                        found[application.patron_id] = application
        return found

    def list_applications(
        self,
        institution: InstitutionId,
        *,
        states: Collection[ApplicationState] = (),
        school_id: str | None = None,
        batch_id: str | None = None,
    ) -> tuple[Application, ...]:
        """Return applications in the order of entry; empty ``states`` = all."""
        table = tables.application
        query = select(table).where(table.c.institution == institution)
        if states:
            query = query.where(table.c.state.in_([state.value for state in states]))
        if school_id is not None:
            query = query.where(table.c.school_id == school_id)
        if batch_id is not None:
            query = query.where(table.c.batch_id == batch_id)
        query = query.order_by(table.c.entered_at, table.c.batch_row, table.c.application_id)
        with self._units.database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(read_application(row) for row in rows)

    @retry_once
    def move_application(
        self,
        application_id: str,
        old: ApplicationState,
        new: ApplicationState,
        *,
        actor: str,
        now: datetime,
        reason: str = "",
    ) -> bool:
        """Change the state if it is still ``old``; say whether it was."""
        table = tables.application
        values: dict[str, object] = {
            "state": new.value,
            "reason": reason,
            "lease_until": None,
            "updated_at": now,
        }
        if new in _STAMPS:
            values |= dict(zip(_STAMPS[new], (actor, now), strict=True))
        if new is ApplicationState.ACTIVE:
            values |= {"activated_at": now, "error": ""}
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.state == old.value)
                .values(**values)
            ).rowcount
            if changed:
                row = fetch_row(unit, table, application_id=application_id)
                audit_application(unit, f"enrolment.{new.value}", row, actor, reason=reason)
        return bool(changed)
