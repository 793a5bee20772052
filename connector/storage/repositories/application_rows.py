"""An application as a row: how it is read, and what the audit says of it.

Nothing here begins a transaction or decides; ``enrolment`` and ``activations`` do.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from connector.domain.enrolment import ApplicationState, Route
from connector.domain.ids import InstitutionId, PatronId
from connector.ports.enrolment import Application
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["audit_application", "read_application"]


def audit_application(
    unit: UnitOfWork, action: str, row: Row[Any], actor: str, *, reason: str = ""
) -> None:
    """Write what was done to an application, by ids and codes."""
    detail = {"application": row.application_id} | ({"reason": reason} if reason else {})
    unit.audit(
        action, actor=actor, subject=row.person_id, detail=detail, institution=row.institution
    )


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
        on_roster=row.on_roster,
        provenance=json.loads(row.provenance),
        willing=row.willing,
        campaign_id=row.campaign_id,
    )
