"""Roster feeds: when each was last looked at, and when it last brought something.

Nothing here stores or reads a file. Rule: one process at a time works on a feed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from connector.domain.ids import InstitutionId

__all__ = ["FeedState", "FeedStore"]


@dataclass(frozen=True, slots=True)
class FeedState:
    """How a feed stands.

    Attributes:
        last_digest: of the files that were taken last; empty before the first time.
        last_run_at: when it was last looked at.
        last_ok_at: when it last brought something that was taken; it is stale from then on.
        last_error: code of the last failure; empty when the last run went well.
    """

    institution: InstitutionId
    name: str
    last_digest: str = ""
    last_run_at: datetime | None = None
    last_ok_at: datetime | None = None
    last_error: str = ""


class FeedStore(Protocol):
    """The state of every feed of the settings."""

    def fetch_feed(self, institution: InstitutionId, name: str) -> FeedState:
        """Return the state; that of a feed that never ran has no times."""
        ...

    def lease_feed(self, institution: InstitutionId, name: str, *, lease: timedelta) -> bool:
        """Take the feed for a while; False while another process has it."""
        ...

    def finish_feed(
        self, institution: InstitutionId, name: str, *, digest: str, brought: bool, error: str
    ) -> FeedState:
        """Give the feed back and note how the run went.

        Args:
            digest: of the files that are taken now.
            brought: something new was taken.
            error: code of the failure; empty when there was none.
        """
        ...
