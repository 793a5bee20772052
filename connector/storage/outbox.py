"""Messages to other libraries: put down with what they tell of, handed out to a worker, done once.

Nothing here sends. Rules —

- a message is written in the transaction that makes it true (``UnitOfWork.send``);
- a worker leases messages; one that dies gives them back when the lease ends, so a message may be
  sent twice: ``message_id`` lets the receiver drop the second;
- per destination the order is kept: a message waits while an older one is leased or postponed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["Outbox", "OutboxMessage"]

_BOX = tables.outbox.c
_WAITING = _BOX.sent_at.is_(None) & _BOX.parked_at.is_(None)


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to deliver; ``payload`` holds ids and codes only."""

    message_id: str
    institution: str
    destination: str
    topic: str
    payload: Mapping[str, str | int | None]
    created_at: datetime
    attempts: int


class Outbox:
    """The outbox in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def list_destinations(self) -> Mapping[str, int]:
        """Return how many messages wait, per destination."""
        with self._work.database.read() as connection:
            rows = connection.execute(
                select(_BOX.destination, func.count()).where(_WAITING).group_by(_BOX.destination)
            )
            return {row[0]: row[1] for row in rows}

    @retry_once
    def lease(
        self, destination: str, now: datetime, *, lease: timedelta, limit: int = 50
    ) -> tuple[OutboxMessage, ...]:
        """Return the next messages for a destination, in order; none while a worker has some."""
        with self._work.begin() as unit:
            rows = unit.connection.execute(
                select(tables.outbox)
                .where(_WAITING, _BOX.destination == destination)
                .order_by(_BOX.seq)
                .limit(limit)
                .with_for_update()
            ).all()
            ready = []
            for row in rows:
                leased = row.lease_until is not None and row.lease_until > now
                if leased or row.available_at > now:
                    break
                ready.append(row)
            unit.connection.execute(
                update(tables.outbox)
                .where(_BOX.seq.in_([row.seq for row in ready]))
                .values(lease_until=now + lease, attempts=_BOX.attempts + 1)
            )
        return tuple(
            OutboxMessage(
                row.message_id,
                row.institution,
                row.destination,
                row.topic,
                json.loads(row.payload),
                row.created_at,
                row.attempts + 1,
            )
            for row in ready
        )

    def mark_sent(self, message_id: str, now: datetime) -> bool:
        """Note that the receiver has it; say whether that was news."""
        return self._finish(message_id, sent_at=now, error="")

    def postpone(self, message_id: str, until: datetime, *, error: str) -> bool:
        """Try again later; ``error`` is a code. What comes after it waits too."""
        return self._finish(message_id, available_at=until, error=error)

    def park(self, message_id: str, now: datetime, *, error: str) -> bool:
        """Put it aside for a person; what comes after it goes on."""
        return self._finish(message_id, parked_at=now, error=error)

    @retry_once
    def _finish(self, message_id: str, **values: object) -> bool:
        with self._work.begin() as unit:
            result = unit.connection.execute(
                update(tables.outbox)
                .where(_BOX.message_id == message_id, _WAITING)
                .values(lease_until=None, **values)
            )
            return result.rowcount == 1
