"""Applications in the database; schools and batches are in ``schools``, consents in ``consents``.

Nothing here decides who may have a card. Rules: every
method is one unit of work; a state changes only from the state that the caller saw; a card number
is given out once, whatever becomes of the application.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from connector.domain.card import CardRange
from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
    Route,
)
from connector.domain.ids import InstitutionId, PatronId
from connector.errors import ConfigurationError, StorageConflict
from connector.ports.enrolment import (
    CARD_TAKEN,
    Application,
    NewApplication,
)
from connector.storage import tables
from connector.storage.repositories.consents import StoredConsents
from connector.storage.repositories.rows import fetch_row
from connector.storage.repositories.schools import StoredSchools
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["StoredEnrolment"]

_S = ApplicationState
_ATTEMPT_TIME = timedelta(minutes=2)
"""How long an attempt that was never heard of again keeps others away."""
_STAMPS: Mapping[ApplicationState, tuple[str, ...]] = {
    _S.SCHOOL_REVIEWED: ("school_reviewed_by", "school_reviewed_at"),
    _S.LIBRARY_APPROVED: ("library_approved_by", "library_approved_at"),
    _S.REFUSED: ("closed_by", "closed_at"),
    _S.WITHDRAWN: ("closed_by", "closed_at"),
}


class StoredEnrolment(StoredSchools, StoredConsents):
    """``EnrolmentStore`` on SQLite or PostgreSQL."""

    @retry_once
    def add_application(self, new: NewApplication, *, actor: str, now: datetime) -> Application:
        """Enter an application; ``StorageConflict`` when the person has an open one (A24)."""
        values = {
            "application_id": str(uuid.uuid4()),
            "institution": new.institution,
            "person_id": new.patron_id,
            "school_id": new.school_id,
            "batch_id": new.batch_id,
            "batch_row": new.batch_row,
            "state": ApplicationState.ENTERED.value,
            "route": new.route.value,
            "class_text": new.class_name,
            "district": new.district,
            "card_proposal": new.card_proposal,
            "on_roster": new.on_roster,
            "provenance": json.dumps(dict(new.provenance), sort_keys=True, separators=(",", ":")),
            "willing": new.willing,
            "campaign_id": new.campaign_id,
            "entered_by": actor,
            "entered_at": now,
            "updated_at": now,
        }
        with self._units.begin() as unit:
            if not unit.insert_or_ignore(tables.application, values):
                raise StorageConflict("open_application")
            row = fetch_row(unit, tables.application, application_id=values["application_id"])
            _audit_application(unit, "enrolment.entered", row, actor)
        return _application(row)

    def fetch_application(self, application_id: str) -> Application | None:
        """Return one application."""
        query = select(tables.application).filter_by(application_id=application_id)
        with self._units.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _application(row)

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
        return None if row is None else _application(row)

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
        return tuple(_application(row) for row in rows)

    @retry_once
    def update_application(
        self, application_id: str, *, class_name: str, district: str, actor: str, now: datetime
    ) -> None:
        """Change what the roster says about an application."""
        table = tables.application
        with self._units.begin() as unit:
            unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id)
                .values(class_text=class_name, district=district, updated_at=now)
            )
            row = fetch_row(unit, table, application_id=application_id)
            _audit_application(unit, "enrolment.changed", row, actor)

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
                _audit_application(unit, f"enrolment.{new.value}", row, actor, reason=reason)
        return bool(changed)

    @retry_once
    def begin_activation(
        self, application_id: str, *, cards: CardRange, actor: str, now: datetime
    ) -> Application | None:
        """Move ``library_approved | activating`` to ``activating`` with a card number."""
        table = tables.application
        ready = [ApplicationState.LIBRARY_APPROVED.value, ApplicationState.ACTIVATING.value]
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.state.in_(ready))
                .where(or_(table.c.lease_until.is_(None), table.c.lease_until <= now))
                .values(
                    lease_until=now + _ATTEMPT_TIME,
                    state=ApplicationState.ACTIVATING.value,
                    attempts=table.c.attempts + 1,
                    activating_at=now,
                    updated_at=now,
                )
            ).rowcount
            if not changed:
                return None
            row = fetch_row(unit, table, application_id=application_id)
            if row.card is None or row.error == CARD_TAKEN:
                card = cards.number_of(_next_serial(unit, row.institution, cards))
                unit.connection.execute(
                    update(table)
                    .where(table.c.application_id == application_id)
                    .values(card=card, error="")
                )
                row = fetch_row(unit, table, application_id=application_id)
            _audit_application(unit, "enrolment.activating", row, actor)
        return _application(row)

    @retry_once
    def save_error(self, application_id: str, code: str, *, now: datetime) -> None:
        """Record why an activation failed; the state stays, so that it can be tried again."""
        table = tables.application
        with self._units.begin() as unit:
            unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id)
                .values(error=code, lease_until=None, updated_at=now)
            )


def _next_serial(unit: UnitOfWork, institution: str, cards: CardRange) -> int:
    table = tables.card_counter
    dialect = sqlite.insert if unit.is_sqlite else postgresql.insert
    serial: int = unit.connection.execute(
        dialect(table)
        .values(institution=institution, prefix=cards.prefix, last_serial=cards.first)
        .on_conflict_do_update(
            index_elements=[table.c.institution, table.c.prefix],
            set_={
                "last_serial": case(
                    (table.c.last_serial < cards.first, cards.first),
                    else_=table.c.last_serial + 1,
                )
            },
        )
        .returning(table.c.last_serial)
    ).scalar_one()
    if serial > cards.last:
        raise ConfigurationError(
            "The card range is used up.", "Give the library a new range in [enrolment.cards]."
        )
    return serial


def _audit_application(
    unit: UnitOfWork, action: str, row: Row[Any], actor: str, *, reason: str = ""
) -> None:
    detail = {"application": row.application_id} | ({"reason": reason} if reason else {})
    unit.audit(
        action, actor=actor, subject=row.person_id, detail=detail, institution=row.institution
    )


def _application(row: Row[Any]) -> Application:
    return Application(
        application_id=row.application_id,
        patron_id=PatronId(row.person_id),
        institution=InstitutionId(row.institution),
        school_id=row.school_id or "",
        batch_id=row.batch_id,
        batch_row=row.batch_row,
        state=ApplicationState(row.state),
        route=Route(row.route),
        class_name=row.class_text,
        district=row.district,
        card_proposal=row.card_proposal,
        card=row.card or "",
        attempts=row.attempts,
        error=row.error,
        entered_at=row.entered_at,
        reason=row.reason,
        activated_at=row.activated_at,
        on_roster=row.on_roster,
        provenance=json.loads(row.provenance),
        willing=row.willing,
        campaign_id=row.campaign_id,
    )
