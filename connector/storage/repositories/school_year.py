"""Calendars and campaigns in the database; classes are in ``classes``.

Nothing here decides who is promoted. Rule: every method is one unit of work, audited with ids and
codes.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select, update

from connector.domain.enrolment import CLOSED_STATES, ApplicationState, ConsentScope
from connector.domain.ids import InstitutionId
from connector.ports.schools import Calendar, Campaign, CampaignCounts
from connector.storage import tables
from connector.storage.repositories.last_days import StoredLastDays
from connector.storage.repositories.liaisons import StoredLiaisons
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredSchoolYear"]


class StoredSchoolYear(StoredLiaisons, StoredLastDays):
    """The part of ``SchoolStore`` that is about the year, not about classes."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    # --- calendars

    @retry_once
    def save_calendar(self, calendar: Calendar, *, actor: str) -> None:
        """Add or replace a calendar."""
        table = tables.school_calendar
        key = {
            "institution": calendar.institution,
            "school_code": calendar.school_code,
            "school_year": calendar.school_year,
        }
        values = {"first_day": calendar.first_day, "last_day": calendar.last_day}
        with self._work.begin() as unit:
            if not unit.insert_or_ignore(table, key | values):
                unit.connection.execute(update(table).filter_by(**key).values(**values))
            unit.audit(
                "calendar.saved",
                actor=actor,
                subject=str(calendar.school_year),
                detail={"school": calendar.school_code},
                institution=calendar.institution,
            )

    def list_calendars(self, institution: InstitutionId) -> tuple[Calendar, ...]:
        """Return the library's calendars by year, then by school."""
        table = tables.school_calendar
        query = (
            select(table)
            .where(table.c.institution == institution)
            .order_by(table.c.school_year, table.c.school_code)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Calendar(
                InstitutionId(row.institution),
                row.school_code,
                row.school_year,
                row.first_day,
                row.last_day,
            )
            for row in rows
        )

    # --- campaigns

    @retry_once
    def save_campaign(self, campaign: Campaign, *, actor: str) -> Campaign:
        """Add a campaign, or change the one with the same code; return it as stored."""
        table = tables.campaign
        key = {"institution": campaign.institution, "code": campaign.code}
        values = {
            "name": campaign.name,
            "school_year": campaign.school_year,
            "opens": campaign.opens,
            "closes": campaign.closes,
            "levels": ",".join(str(level) for level in sorted(campaign.levels)),
        }
        with self._work.begin() as unit:
            fresh = {"campaign_id": str(uuid.uuid4()), "created_by": actor, "created_at": unit.now}
            if not unit.insert_or_ignore(table, key | values | fresh):
                unit.connection.execute(update(table).filter_by(**key).values(**values))
            row = unit.connection.execute(select(table).filter_by(**key)).one()
            unit.audit(
                "campaign.saved",
                actor=actor,
                subject=row.campaign_id,
                detail={"year": row.school_year},
                institution=row.institution,
            )
        return _campaign(row)

    def find_campaign(self, institution: InstitutionId, code: str) -> Campaign | None:
        """Return the campaign with a code."""
        query = select(tables.campaign).filter_by(institution=institution, code=code)
        with self._work.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _campaign(row)

    def list_campaigns(self, institution: InstitutionId) -> tuple[Campaign, ...]:
        """Return the library's campaigns, the newest first."""
        table = tables.campaign
        query = select(table).where(table.c.institution == institution)
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.opens.desc(), table.c.code)).all()
        return tuple(_campaign(row) for row in rows)

    def count_campaign(self, campaign: Campaign) -> Mapping[str, CampaignCounts]:
        """Return, per school id, how far the pupils of the target levels are."""
        member, application, grade = (
            tables.class_membership,
            tables.application,
            tables.grade,
        )
        levels = sorted(campaign.levels)
        pupils = (
            select(member.c.person_id, member.c.school_id, application.c.state)
            .join(tables.school_class, tables.school_class.c.class_id == member.c.class_id)
            .join(grade, grade.c.grade_id == tables.school_class.c.grade_id)
            .outerjoin(
                application,
                (application.c.person_id == member.c.person_id)
                & application.c.state.not_in([state.value for state in CLOSED_STATES]),
            )
            .where(member.c.institution == campaign.institution, member.c.until.is_(None))
        )
        if levels:
            pupils = pupils.where(grade.c.level.in_(levels))
        consent = tables.consent
        latest = (
            select(consent.c.person_id, func.max(consent.c.recorded_at).label("recorded_at"))
            .where(
                consent.c.institution == campaign.institution,
                consent.c.scope == ConsentScope.CARD.value,
            )
            .group_by(consent.c.person_id)
            .subquery()
        )
        agreed = (
            select(consent.c.person_id)
            .join(
                latest,
                (latest.c.person_id == consent.c.person_id)
                & (latest.c.recorded_at == consent.c.recorded_at),
            )
            .where(
                consent.c.scope == ConsentScope.CARD.value,
                consent.c.given_at.is_not(None),
                consent.c.withdrawn_at.is_(None),
            )
        )
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        with self._work.database.read() as connection:
            holding = set(connection.scalars(agreed))
            for person_id, school_id, state in connection.execute(pupils):
                count = counts[school_id]
                count[0] += 1
                count[1] += state is not None
                count[2] += person_id in holding
                count[3] += state == ApplicationState.ACTIVE.value
        return {school_id: CampaignCounts(*count) for school_id, count in counts.items()}


def _campaign(row: Row[Any]) -> Campaign:
    return Campaign(
        campaign_id=row.campaign_id,
        institution=InstitutionId(row.institution),
        code=row.code,
        name=row.name,
        school_year=row.school_year,
        opens=row.opens,
        closes=row.closes,
        levels=frozenset(int(level) for level in row.levels.split(",") if level),
    )
