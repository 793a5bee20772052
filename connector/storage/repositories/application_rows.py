"""An application as a row: how it is entered and read, and what the audit says of it.

Nothing here begins a transaction or decides; ``enrolment`` and ``activations`` do.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from connector.domain.enrolment import ApplicationState, Route
from connector.domain.ids import InstitutionId, PatronId
from connector.errors import StorageConflict
from connector.ports.enrolment import Application, NewApplication
from connector.storage import tables
from connector.storage.repositories.rows import fetch_row
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["audit_application", "enter_application", "read_application"]


def audit_application(
    unit: UnitOfWork, action: str, row: Row[Any], actor: str, *, reason: str = ""
) -> None:
    """Write what was done to an application, by ids and codes."""
    detail = {"application": row.application_id} | ({"reason": reason} if reason else {})
    unit.audit(
        action, actor=actor, subject=row.person_id, detail=detail, institution=row.institution
    )


def enter_application(
    unit: UnitOfWork, new: NewApplication, *, actor: str, now: datetime
) -> Row[Any]:
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
    if not unit.insert_or_ignore(tables.application, values):
        raise StorageConflict("open_application")
    row = fetch_row(unit, tables.application, application_id=values["application_id"])
    audit_application(unit, "enrolment.entered", row, actor)
    return row


def read_application(row: Row[Any]) -> Application:
    """Return the application in a row."""
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
        handed_off_at=row.handed_off_at,
        on_roster=row.on_roster,
        provenance=json.loads(row.provenance),
        willing=row.willing,
        campaign_id=row.campaign_id,
    )
