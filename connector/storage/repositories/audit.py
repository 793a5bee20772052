"""The audit table as a port: append and verify (``connector.ports.store.AuditLog``).

Nothing here links entries; that is ``connector.storage.audit_chain``. What a chain cannot show is a
missing end: compare ``verify``'s count with one noted earlier.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby

from sqlalchemy import Row, select

from connector.errors import StorageUnavailable
from connector.storage import tables
from connector.storage.audit_chain import link
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredAudit"]

_SIGNED = ("chain_id", "seq", "institution", "action", "actor", "subject", "detail", "key_id")


class StoredAudit:
    """The audit log in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

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
        table = tables.audit
        intact, entries = True, 0
        with self._work.database.read() as connection:
            rows = connection.execution_options(yield_per=1000).execute(
                select(table).order_by(table.c.chain_id, table.c.seq)
            )
            for chain_id, chain in groupby(rows, key=lambda row: str(row.chain_id)):
                whole, length = self._verify_chain(chain_id, chain)
                intact, entries = intact and whole, entries + length
        return intact, entries

    def _verify_chain(
        self, chain_id: str, chain: Iterator[Row[tuple[object, ...]]]
    ) -> tuple[bool, int]:
        intact, length, previous = True, 0, chain_id.encode("ascii", "replace")
        for row in chain:
            length += 1
            at: datetime = row.at
            entry = {name: getattr(row, name) for name in _SIGNED}
            entry["at"] = at.astimezone(UTC).isoformat(timespec="microseconds")
            try:
                expected = link(self._work.keyring, row.key_id, previous, entry)
            except (KeyError, StorageUnavailable):
                expected = b""
            previous = bytes(row.mac)
            intact = intact and row.seq == length and hmac.compare_digest(expected, previous)
        return intact, length
