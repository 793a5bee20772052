"""The audit table as a port: append, search and check (``connector.ports.store.AuditLog``).

Nothing here links entries; that is ``connector.storage.audit_chain``. Rules —

- a check reads all chains in one ordered pass, however many there are;
- of each chain the first break is told, since what follows it proves nothing;
- what a chain cannot show by itself is a missing end: ``list_heads`` is noted elsewhere and held
  against the chains later.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, tuple_

from connector.ports.store import AuditBreak, AuditCheck, AuditEntry, AuditHead
from connector.storage import tables
from connector.storage.audit_chain import link
from connector.storage.crypto import Keyring
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredAudit", "check_chains"]

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
        institution: str = "",
    ) -> None:
        """Add an entry in a transaction of its own; ids and codes only."""
        with self._work.begin() as unit:
            unit.audit(action, actor=actor, subject=subject, detail=detail, institution=institution)

    def verify(self) -> tuple[bool, int]:
        """Check every chain; return (intact, entries)."""
        found = self.check()
        return found.is_intact, found.entries

    def check(self, noted: Iterable[AuditHead] = ()) -> AuditCheck:
        """Check every chain, and that the ends that were noted earlier are still there."""
        with self._work.database.read() as connection:
            return check_chains(connection, self._work.keyring, noted)

    def list_heads(self) -> tuple[AuditHead, ...]:
        """Return the last entry of every chain, to be noted elsewhere."""
        last = (
            select(_AUDIT.chain_id, func.max(_AUDIT.seq).label("seq"))
            .group_by(_AUDIT.chain_id)
            .subquery()
        )
        query = select(_AUDIT.chain_id, _AUDIT.seq, _AUDIT.mac).join(
            last, and_(_AUDIT.chain_id == last.c.chain_id, _AUDIT.seq == last.c.seq)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(_AUDIT.chain_id)).all()
        return tuple(AuditHead(row.chain_id, row.seq, bytes(row.mac)) for row in rows)

    def search(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        institution: str = "",
        actor: str = "",
        subject: str = "",
        action: str = "",
        after: AuditEntry | None = None,
        limit: int = 500,
    ) -> tuple[AuditEntry, ...]:
        """Return entries in the order of their time, one page at a time."""
        query = select(tables.audit)
        if since is not None:
            query = query.where(_AUDIT.at >= since)
        if until is not None:
            query = query.where(_AUDIT.at < until)
        for column, value in (
            (_AUDIT.institution, institution),
            (_AUDIT.actor, actor),
            (_AUDIT.subject, subject),
        ):
            if value:
                query = query.where(column == value)
        if action.endswith("."):
            query = query.where(_AUDIT.action.startswith(action, autoescape=True))
        elif action:
            query = query.where(_AUDIT.action == action)
        if after is not None:
            later = tuple_(_AUDIT.chain_id, _AUDIT.seq) > tuple_(after.chain_id, after.seq)
            query = query.where(or_(_AUDIT.at > after.at, and_(_AUDIT.at == after.at, later)))
        query = query.order_by(_AUDIT.at, _AUDIT.chain_id, _AUDIT.seq).limit(limit)
        with self._work.database.read() as connection:
            return tuple(_entry(row) for row in connection.execute(query))


def check_chains(
    connection: Connection, keyring: Keyring, noted: Iterable[AuditHead] = ()
) -> AuditCheck:
    """Check every chain of a database that is open already."""
    breaks: dict[str, AuditBreak] = {}
    chains = entries = length = 0
    chain_id: str | None = None
    previous = b""
    for row in _read_chains(connection):
        entries += 1
        if row.chain_id != chain_id:
            chain_id, chains = row.chain_id, chains + 1
            length, previous = 0, row.chain_id.encode("ascii", "replace")
        length += 1
        code = _judge(keyring, row, length, previous)
        if code:
            breaks.setdefault(row.chain_id, AuditBreak(row.chain_id, row.seq, code))
        previous = bytes(row.mac)
    for head in noted:
        code = _judge_head(connection, head)
        if code:
            breaks.setdefault(head.chain_id, AuditBreak(head.chain_id, head.seq, code))
    return AuditCheck(chains, entries, tuple(breaks.values()))


def _judge(keyring: Keyring, row: Row[Any], length: int, previous: bytes) -> str:
    """Return why an entry does not follow the one before, or an empty word."""
    if row.seq != length:
        return "missing"
    at: datetime = row.at
    entry = {name: getattr(row, name) for name in _SIGNED}
    entry["at"] = at.isoformat(timespec="microseconds")
    try:
        expected = link(keyring, row.key_id, previous, entry)
    except KeyError:
        return "key_missing"
    return "" if hmac.compare_digest(expected, bytes(row.mac)) else "altered"


def _judge_head(connection: Connection, head: AuditHead) -> str:
    mac = connection.scalar(
        select(_AUDIT.mac).where(_AUDIT.chain_id == head.chain_id, _AUDIT.seq == head.seq)
    )
    if mac is None:
        return "cut"
    return "" if hmac.compare_digest(bytes(mac), head.mac) else "replaced"


def _read_chains(connection: Connection) -> Iterator[Row[Any]]:
    query = select(tables.audit).order_by(_AUDIT.chain_id, _AUDIT.seq).limit(_PAGE)
    page = query
    while True:
        rows = connection.execute(page).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        last = rows[-1]
        page = query.where(tuple_(_AUDIT.chain_id, _AUDIT.seq) > tuple_(last.chain_id, last.seq))


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        chain_id=row.chain_id,
        seq=row.seq,
        at=row.at,
        institution=row.institution,
        action=row.action,
        actor=row.actor,
        subject=row.subject,
        detail=json.loads(row.detail),
    )
