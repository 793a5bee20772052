"""What operators want to know of the database (``connector.ports.operations``).

Nothing here writes. Rule: raw statements over small indexes, because this is asked every few
seconds for as long as the program runs.
"""

from __future__ import annotations

from connector.domain.ids import InstitutionId
from connector.ports.operations import OpenCount, StoreState
from connector.storage.migrate import is_known_revision, newest_revision
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredOperations"]

_OPEN = (
    ("loan", "state IN ('asked', 'unknown')"),
    ("deferred", "done_at IS NULL"),
    ("payment", "settled_at IS NULL"),
)


class StoredOperations:
    """Counts what stands open."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._database = work.database
        self._current: set[str] = set()

    def read_state(self) -> StoreState:
        """Look at the database now."""
        rows = self._database.fetch("SELECT version_num FROM alembic_version", ())
        is_current = len(rows) == 1 and self._is_current(rows[0][0])
        counts: list[OpenCount] = []
        if is_current:
            for table, condition in _OPEN:
                found = self._database.fetch(
                    f"SELECT institution, state, COUNT(*) FROM {table} "  # noqa: S608 - constants
                    f"WHERE {condition} GROUP BY institution, state ORDER BY institution, state",
                    (),
                )
                counts += [OpenCount(InstitutionId(row[0]), table, row[1], row[2]) for row in found]
        return StoreState(is_current, tuple(counts))

    def _is_current(self, revision: str) -> bool:
        """Say whether this release can work with the tables; reading the scripts is done once."""
        if revision in self._current:
            return True
        if revision == newest_revision() or not is_known_revision(revision):
            self._current.add(revision)
            return True
        return False
