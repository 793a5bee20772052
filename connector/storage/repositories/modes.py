"""Switches of mode in the database (``connector.ports.modes.ModeStore``).

Nothing here decides which one holds. Rule: rows are added and never changed; the audit entry has
the codes, the row has the words.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, or_, select

from connector.domain.ids import InstitutionId
from connector.domain.library import Mode
from connector.ports.modes import ModeSwitch
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredModes"]

_SWITCH = tables.mode_switch
_SETTINGS = "settings"
"""Stands for no mode of its own."""


class StoredModes:
    """The switches in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def list_switches(
        self, institution: InstitutionId | None = None, *, limit: int | None = None
    ) -> tuple[ModeSwitch, ...]:
        """Return switches, the latest first."""
        query = select(_SWITCH).order_by(_SWITCH.c.seq.desc()).limit(limit)
        if institution is not None:
            query = query.where(_SWITCH.c.institution == institution)
        return self._read(query)

    def list_in_force(self, now: datetime) -> tuple[ModeSwitch, ...]:
        """Return the switches that have not run out, the latest first."""
        later = _SWITCH.alias()
        newest = (
            select(func.coalesce(func.max(later.c.seq), 0))
            .where(later.c.institution == _SWITCH.c.institution, later.c.until.is_(None))
            .scalar_subquery()
        )
        return self._read(
            select(_SWITCH)
            .where(_SWITCH.c.seq >= newest)
            .where(or_(_SWITCH.c.until.is_(None), _SWITCH.c.until > now))
            .order_by(_SWITCH.c.seq.desc())
        )

    @retry_once
    def record_switch(self, switch: ModeSwitch) -> None:
        """Write a switch, audited."""
        mode = _SETTINGS if switch.mode is None else switch.mode.value
        with self._work.begin() as unit:
            unit.connection.execute(
                insert(_SWITCH).values(
                    institution=switch.institution,
                    mode=mode,
                    since=switch.since,
                    until=switch.until,
                    actor=switch.actor,
                    reason=switch.reason,
                )
            )
            until = {} if switch.until is None else {"until": switch.until.isoformat()}
            unit.audit(
                "library.mode_switched",
                actor=switch.actor,
                subject=switch.institution,
                detail={"mode": mode, **until},
                institution=switch.institution,
            )

    def _read(self, query: Select[Any]) -> tuple[ModeSwitch, ...]:
        with self._work.database.read() as connection:
            return tuple(_switch(row) for row in connection.execute(query).all())


def _switch(row: Row[Any]) -> ModeSwitch:
    return ModeSwitch(
        institution=InstitutionId(row.institution),
        mode=None if row.mode == _SETTINGS else Mode(row.mode),
        since=row.since,
        until=row.until,
        actor=row.actor,
        reason=row.reason,
    )
