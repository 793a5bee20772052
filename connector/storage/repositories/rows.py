"""Reading one row that must be there.

Nothing here knows a table.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Table, select

from connector.errors import NotFound
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["fetch_row"]


def fetch_row(unit: UnitOfWork, table: Table, **key: object) -> Row[Any]:
    """Return the one row with these values; raises ``NotFound`` with the table's name."""
    row = unit.connection.execute(select(table).filter_by(**key)).one_or_none()
    if row is None:
        raise NotFound(table.name)
    return row
