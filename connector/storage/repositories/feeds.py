"""The state of roster feeds in the database (``connector.ports.feeds.FeedStore``).

Nothing here reads a file.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select, update

from connector.domain.ids import InstitutionId
from connector.ports.feeds import FeedState
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredFeeds"]

_FEED = tables.feed_state


class StoredFeeds:
    """Feed states in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def fetch_feed(self, institution: InstitutionId, name: str) -> FeedState:
        """Return the state; that of a feed that never ran has no times."""
        query = select(_FEED).filter_by(institution=institution, name=name)
        with self._work.database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return FeedState(institution, name)
        return FeedState(
            institution,
            name,
            last_digest=row.last_digest,
            last_run_at=row.last_run_at,
            last_ok_at=row.last_ok_at,
            last_error=row.last_error,
        )

    @retry_once
    def lease_feed(self, institution: InstitutionId, name: str, *, lease: timedelta) -> bool:
        """Take the feed for a while; False while another process has it."""
        with self._work.begin() as unit:
            unit.insert_or_ignore(_FEED, {"institution": institution, "name": name})
            taken = unit.connection.execute(
                update(_FEED)
                .where(_FEED.c.institution == institution, _FEED.c.name == name)
                .where(or_(_FEED.c.lease_until.is_(None), _FEED.c.lease_until <= unit.now))
                .values(lease_until=unit.now + lease)
            )
            return taken.rowcount == 1

    @retry_once
    def finish_feed(
        self, institution: InstitutionId, name: str, *, digest: str, brought: bool, error: str
    ) -> FeedState:
        """Give the feed back and note how the run went."""
        with self._work.begin() as unit:
            values: dict[str, object] = {
                "last_digest": digest,
                "last_run_at": unit.now,
                "last_error": error,
                "lease_until": None,
            }
            if brought:
                values["last_ok_at"] = unit.now
            unit.connection.execute(
                update(_FEED).filter_by(institution=institution, name=name).values(values)
            )
            if brought or error:
                unit.audit(
                    "feed.failed" if error else "feed.taken",
                    actor="worker",
                    subject=name,
                    detail={"code": error} if error else {},
                    institution=institution,
                )
        return self.fetch_feed(institution, name)
