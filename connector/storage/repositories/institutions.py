"""The libraries as the configuration names them, copied for reports.

Nothing here is read by a service: the configuration is the authority.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from connector.domain.library import Library
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredInstitutions"]

_VALUES = ("isil", "name", "timezone", "language", "mode")


class StoredInstitutions:
    """The copy of the configured libraries."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def save(self, libraries: Sequence[Library]) -> None:
        """Write what changed; a library that is configured no more stays, for its old rows."""
        table = tables.institution
        with self._work.database.read() as connection:
            present = {row.institution: row for row in connection.execute(select(table))}
        stale = [
            (str(library.code), values)
            for library in libraries
            for values in [_values(library)]
            if library.code not in present
            or any(getattr(present[library.code], name) != values[name] for name in _VALUES)
        ]
        if not stale:
            return
        with self._work.begin() as unit:
            for code, values in stale:
                row = {**values, "institution": code, "updated_at": unit.now}
                if not unit.insert_or_ignore(table, row):
                    unit.connection.execute(
                        update(table).where(table.c.institution == code).values(row)
                    )
                unit.audit("institution.saved", actor="configuration", institution=code)


def _values(library: Library) -> dict[str, str]:
    return {
        "isil": library.isil,
        "name": library.name,
        "timezone": library.zone.key,
        "language": library.language,
        "mode": library.mode.value,
    }
