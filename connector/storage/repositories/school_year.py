"""Calendars, liaisons, campaigns and last days in the database; classes are in ``classes``.

Nothing here decides who is promoted or whose card has ended. Rules: every method is one unit of
work, audited with ids and codes; a liaison's name and phone are sealed like anybody's, and go when
another one is appointed (A21).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from sqlalchemy import Row, delete, func, select, update

from connector.domain.enrolment import CLOSED_STATES, ApplicationState, ConsentScope
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import EXCHANGED_ACCOUNT, StandingState
from connector.errors import StorageConflict
from connector.ports.schools import Calendar, Campaign, CampaignCounts, Liaison, ShortAccount
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["LIAISON_CATEGORY", "StoredSchoolYear", "in_chunks"]

LIAISON_CATEGORY = "liaison"
"""Category of an adult who speaks for a school; he is no reader."""

_CHUNK = 500
"""Ids in one statement; SQLite takes a limited number of parameters."""

_VALID = (StandingState.ACTIVE.value, StandingState.BLOCKED.value)
"""States of a card that is open."""

_T = TypeVar("_T")


def in_chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield the values in lists that one statement can take."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


class StoredSchoolYear:
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

    # --- liaisons

    @retry_once
    def appoint_liaison(
        self,
        institution: InstitutionId,
        school_id: str | None,
        *,
        name: str,
        phone: str,
        actor: str,
    ) -> Liaison:
        """Appoint a liaison in place of the one before, whose data is erased."""
        table = tables.liaison
        with self._work.begin() as unit:
            self._lock_place(unit, institution, school_id)
            before = unit.connection.execute(
                select(table.c.liaison_id, table.c.person_id).where(
                    table.c.institution == institution,
                    table.c.school_id.is_(None)
                    if school_id is None
                    else table.c.school_id == school_id,
                    table.c.ended_at.is_(None),
                )
            ).all()
            for liaison_id, person_id in before:
                unit.connection.execute(
                    update(table).where(table.c.liaison_id == liaison_id).values(ended_at=unit.now)
                )
                _erase_liaison(unit, person_id, institution=institution, actor=actor)
            patron_id = person_rows.add_person(
                unit,
                PersonalData(name, phone=phone),
                (),
                home=institution,
                category=LIAISON_CATEGORY,
            )
            values: dict[str, Any] = {
                "liaison_id": str(uuid.uuid4()),
                "institution": institution,
                "school_id": school_id,
                "person_id": patron_id,
                "appointed_by": actor,
                "appointed_at": unit.now,
            }
            unit.connection.execute(table.insert().values(**values))
            unit.audit(
                "liaison.appointed",
                actor=actor,
                subject=patron_id,
                detail={"school": school_id or ""},
                institution=institution,
            )
        return Liaison(
            liaison_id=values["liaison_id"],
            institution=institution,
            school_id=school_id,
            patron_id=patron_id,
            appointed_by=actor,
            appointed_at=values["appointed_at"],
            name=name,
            phone=phone,
        )

    @staticmethod
    def _lock_place(unit: UnitOfWork, institution: str, school_id: str | None) -> None:
        """Let one at a time appoint for the same school, or for the same library."""
        if school_id is not None:
            locked, key = tables.school, tables.school.c.school_id == school_id
        else:
            locked, key = tables.institution, tables.institution.c.institution == institution
        unit.connection.execute(select(locked).where(key).with_for_update()).all()

    def list_liaisons(self, institution: InstitutionId) -> tuple[Liaison, ...]:
        """Return the present liaisons, with name and phone; the library's own first."""
        table, person, key = tables.liaison, tables.person, tables.person_key
        query = (
            select(
                table, key.c.wrapped, *(person.c[name].label(name) for name in person_rows.FIELDS)
            )
            .join(person, person.c.person_id == table.c.person_id)
            .join(key, key.c.person_id == table.c.person_id)
            .where(table.c.institution == institution, table.c.ended_at.is_(None))
            .order_by(table.c.appointed_at)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        found = [self._liaison(row) for row in rows]
        return tuple(sorted(found, key=lambda each: each.school_id is not None))

    def _liaison(self, row: Row[Any]) -> Liaison:
        cipher = self._work.keyring.open_person(row.person_id, row.wrapped)
        data = person_rows.open_data(cipher, [getattr(row, name) for name in person_rows.FIELDS])
        return Liaison(
            liaison_id=row.liaison_id,
            institution=InstitutionId(row.institution),
            school_id=row.school_id,
            patron_id=PatronId(row.person_id),
            appointed_by=row.appointed_by,
            appointed_at=row.appointed_at,
            name=data.name,
            phone=data.phone,
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

    # --- last days

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


def _erase_liaison(unit: UnitOfWork, person_id: str, *, institution: str, actor: str) -> None:
    """Destroy the key and the sealed fields of a liaison who is no longer one."""
    loan = tables.loan
    if unit.connection.scalar(select(loan.c.loan_id).where(loan.c.person_id == person_id).limit(1)):
        raise StorageConflict("liaison_with_loans")
    for table in (tables.person_key, tables.identifier):
        unit.connection.execute(delete(table).where(table.c.person_id == person_id))
    person_rows.change_person(
        unit,
        PatronId(person_id),
        **dict.fromkeys(person_rows.DATA_COLUMNS),
        state=StandingState.WITHDRAWN.value,
        erased_at=unit.now,
    )
    unit.audit("person.erased", actor=actor, subject=person_id, institution=institution)


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
