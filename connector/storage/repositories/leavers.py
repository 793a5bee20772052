"""Leavers in the database: whom a complete roster does not name, and what became of them.

Nothing here closes a card or decides how many are too many. Rules (scenario 26): a leaver is
proposed once per batch, under a number that stays his; he is decided on once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, insert, select, update

from connector.domain.ids import PatronId
from connector.ports.enrolment import Batch, School, Valve
from connector.ports.rosters import Leaver, LeaverState
from connector.storage import tables
from connector.storage.repositories.batch_rows import read_batch
from connector.storage.repositories.people_in_bulk import in_pieces
from connector.storage.repositories.rows import fetch_row
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredLeavers"]

_LEAVER = tables.leaver
_BATCH = tables.batch


class StoredLeavers:
    """The part of ``RosterStore`` that is about leavers."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def propose_leavers(
        self, batch: Batch, patrons: Sequence[PatronId], *, valve: Valve, actor: str
    ) -> Batch:
        """Keep whom a complete roster does not name, once per batch; return the batch."""
        with self._work.begin() as unit:
            row = fetch_row(unit, _BATCH, batch_id=batch.batch_id)
            if row.missing or not patrons:
                return read_batch(row)
            unit.connection.execute(
                insert(_LEAVER),
                [
                    {
                        "batch_id": batch.batch_id,
                        "person_id": patron_id,
                        "institution": batch.institution,
                        "serial": serial,
                        "state": LeaverState.PROPOSED.value,
                    }
                    for serial, patron_id in enumerate(patrons, start=1)
                ],
            )
            unit.connection.execute(
                update(_BATCH)
                .where(_BATCH.c.batch_id == batch.batch_id)
                .values(missing=len(patrons), valve=valve.value)
            )
            unit.audit(
                "enrolment.leavers_proposed",
                actor=actor,
                subject=batch.batch_id,
                detail={"missing": len(patrons), "valve": valve.value},
                institution=batch.institution,
            )
            return read_batch(fetch_row(unit, _BATCH, batch_id=batch.batch_id))

    def list_leavers(self, batch_id: str) -> tuple[Leaver, ...]:
        """Return the leavers of a batch by serial; who was erased is not among them."""
        query = select(_LEAVER).where(_LEAVER.c.batch_id == batch_id).order_by(_LEAVER.c.serial)
        with self._work.database.read() as connection:
            return tuple(_leaver(row) for row in connection.execute(query))

    @retry_once
    def decide_leaver(self, leaver: Leaver, state: LeaverState, *, actor: str) -> bool:
        """Note what becomes of a proposed leaver; say whether he still was one."""
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                update(_LEAVER)
                .where(_LEAVER.c.batch_id == leaver.batch_id)
                .where(_LEAVER.c.person_id == leaver.patron_id)
                .where(_LEAVER.c.state == LeaverState.PROPOSED.value)
                .values(state=state.value, decided_by=actor, decided_at=unit.now)
                .returning(_LEAVER.c.institution)
            ).first()
            if changed is None:
                return False
            unit.audit(
                f"enrolment.leaver_{state.value}",
                actor=actor,
                subject=leaver.patron_id,
                detail={"batch": leaver.batch_id},
                institution=changed.institution,
            )
        return True

    @retry_once
    def set_valve(self, batch_id: str, valve: Valve, *, actor: str) -> bool:
        """Note what became of a held batch; say whether it changed."""
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                update(_BATCH)
                .where(_BATCH.c.batch_id == batch_id, _BATCH.c.valve != valve.value)
                .values(valve=valve.value)
                .returning(_BATCH.c.institution)
            ).first()
            if changed is None:
                return False
            unit.audit(
                f"enrolment.valve_{valve.value}",
                actor=actor,
                subject=batch_id,
                institution=changed.institution,
            )
        return True

    @retry_once
    def keep_named(
        self, school: School, patrons: Collection[PatronId], *, except_batch: str, actor: str
    ) -> int:
        """Keep proposed leavers of other batches whom a later roster names; return how many."""
        batches = select(_BATCH.c.batch_id).where(_BATCH.c.school_id == school.school_id)
        kept = 0
        with self._work.begin() as unit:
            for piece in in_pieces(patrons):
                kept += unit.connection.execute(
                    update(_LEAVER)
                    .where(_LEAVER.c.state == LeaverState.PROPOSED.value)
                    .where(_LEAVER.c.batch_id != except_batch)
                    .where(_LEAVER.c.batch_id.in_(batches), _LEAVER.c.person_id.in_(piece))
                    .values(state=LeaverState.KEPT.value, decided_by=actor, decided_at=unit.now)
                ).rowcount
            if kept:
                unit.audit(
                    "enrolment.leavers_named",
                    actor=actor,
                    subject=except_batch,
                    detail={"count": kept},
                    institution=school.institution,
                )
        return kept

    def list_held(self, school: School) -> tuple[Batch, ...]:
        """Return the school's batches whose valve is held, oldest first."""
        query = (
            select(_BATCH)
            .where(_BATCH.c.school_id == school.school_id, _BATCH.c.valve == Valve.HELD.value)
            .order_by(_BATCH.c.number)
        )
        with self._work.database.read() as connection:
            return tuple(read_batch(row) for row in connection.execute(query))


def _leaver(row: Row[Any]) -> Leaver:
    return Leaver(
        batch_id=row.batch_id,
        serial=row.serial,
        patron_id=PatronId(row.person_id),
        state=LeaverState(row.state),
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )
