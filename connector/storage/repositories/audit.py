"""The audit table as a port: append and verify (``connector.ports.store.AuditLog``).

Nothing here links entries; that is ``connector.storage.audit_chain``. What a chain cannot show is a
missing end: compare ``verify``'s count with one noted earlier.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection, Row, select

from connector.storage import tables
from connector.storage.audit_chain import link
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredAudit"]

_PAGE = 1000
_AUDIT = tables.audit.c
_SIGNED = ("chain_id", "seq", "institution", "action", "actor", "subject", "detail", "key_id")


class StoredAudit:
    """The audit log in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def append(
        self,
        action: str,
        *,
        actor: str,
        subject: str = "",
        detail: Mapping[str, str | int] | None = None,
    ) -> None:
        """Add an entry in a transaction of its own; ids and codes only."""
        with self._work.begin() as unit:
            unit.audit(action, actor=actor, subject=subject, detail=detail)

    def verify(self) -> tuple[bool, int]:
        """Check every chain; return (intact, entries)."""
        intact, entries = True, 0
        with self._work.database.read() as connection:
            for chain_id in connection.scalars(select(_AUDIT.chain_id).distinct()).all():
                whole, length = self._verify_chain(connection, chain_id)
                intact, entries = intact and whole, entries + length
        return intact, entries

    def _verify_chain(self, connection: Connection, chain_id: str) -> tuple[bool, int]:
        intact, length, previous = True, 0, chain_id.encode("ascii", "replace")
        for row in _read_chain(connection, chain_id):
            length += 1
            at: datetime = row.at
            entry = {name: getattr(row, name) for name in _SIGNED}
            entry["at"] = at.isoformat(timespec="microseconds")
            try:
                expected = link(self._work.keyring, row.key_id, previous, entry)
            except KeyError:
                expected = b""
            previous = bytes(row.mac)
            intact = intact and row.seq == length and hmac.compare_digest(expected, previous)
        return intact, length


def _read_chain(connection: Connection, chain_id: str) -> Iterator[Row[tuple[object, ...]]]:
    query = select(tables.audit).where(_AUDIT.chain_id == chain_id).order_by(_AUDIT.seq)
    last: int | None = None
    while True:
        page = query if last is None else query.where(_AUDIT.seq > last)
        rows = connection.execute(page.limit(_PAGE)).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        last = rows[-1].seq
