"""One write transaction, with its journal rows: event, fact, outbox, audit.

Nothing here knows a rule of loans or of enrolment; the repositories do. Rules —

- whatever is written through one ``UnitOfWork`` is committed together or not at all (decision 7);
- ``begin`` takes the write lock first (SQLite): what is read through it is true until the commit;
- the audit chain is held until the commit; a transaction that fails leaves its chain for good, so
  no link is ever built on an entry that was not committed (decision 23).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

from connector.ports.clock import Clock
from connector.storage import tables
from connector.storage.audit_chain import AuditChain, AuditChains
from connector.storage.crypto import Keyring
from connector.storage.engine import Database, moment_parameter, psycopg_style

__all__ = ["EventRow", "FactRow", "UnitOfWork", "UnitOfWorkFactory"]


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of ``event``: what happened, in ids and codes."""

    institution: str
    at: datetime
    local_date: date
    verb: str
    person_id: str | None = None
    owner: str | None = None
    barcode: str | None = None
    loan_id: str | None = None
    branch: str | None = None
    terminal: str | None = None
    terminal_kind: str = ""
    reason: str = ""
    policy_version: str = ""
    ils_verdict: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class FactRow:
    """A row of ``circulation_fact`` (decision 24).

    Attributes:
        person_id: stored as a pseudonym; None = not one of ours.
    """

    institution: str
    local_date: date
    verb: str
    owner: str
    language: str
    origin: str
    person_id: str | None = None
    lender: str | None = None
    returner: str | None = None
    branch: str | None = None
    stage: str = ""
    clc_class: str = ""
    terminal_kind: str = ""
    test: bool = False


class UnitOfWork:
    """An open write transaction.

    Attributes:
        connection: for the statements of the repositories.
        now: the moment at which it began; aware, UTC.
        keyring: seals and digests.
    """

    __slots__ = ("_chain", "_chains", "connection", "is_sqlite", "keyring", "now")

    def __init__(
        self,
        connection: Connection,
        keyring: Keyring,
        chains: AuditChains,
        *,
        now: datetime,
        is_sqlite: bool,
    ) -> None:
        self.connection = connection
        self.keyring = keyring
        self.now = now
        self.is_sqlite = is_sqlite
        self._chains = chains
        self._chain: AuditChain | None = None

    def fetch(self, sql: str, parameters: Sequence[Any], *, lock: str = "") -> Sequence[Any]:
        """Return all rows of one raw statement, with ``?`` for each parameter.

        Args:
            lock: on PostgreSQL, lock these rows until the commit: table name, or table name and
                ``SKIP LOCKED``. SQLite's transaction has the whole database already.
        """
        if not self.is_sqlite:
            sql = psycopg_style(f"{sql} FOR UPDATE OF {lock}" if lock else sql)
        return self.connection.exec_driver_sql(sql, tuple(parameters)).all()

    def moment(self, value: datetime) -> datetime | str:
        """Return a moment as a parameter of ``fetch``."""
        return moment_parameter(value, is_sqlite=self.is_sqlite)

    def insert_or_ignore(self, table: Table, values: Mapping[str, object]) -> bool:
        """Insert a row unless a unique constraint is in the way; say whether it went in.

        This is how a conflict that is expected is met: PostgreSQL's exception would quote the row.
        """
        dialect = sqlite.insert if self.is_sqlite else postgresql.insert
        statement = dialect(table).on_conflict_do_nothing()
        result = self.connection.execute(statement, dict(values), execution_options=_KEEP_ROWCOUNT)
        return result.rowcount == 1

    def record_event(self, row: EventRow) -> None:
        """Write an event."""
        self.connection.execute(
            _INSERT_EVENT, {name: getattr(row, name) for name in EventRow.__slots__}
        )

    def record_fact(self, row: FactRow) -> None:
        """Write a line of the statistics, the person by pseudonym."""
        values = {name: getattr(row, name) for name in FactRow.__slots__}
        person_id = values.pop("person_id")
        values["pseudonym"] = self.keyring.pseudonym(person_id) if person_id is not None else ""
        self.connection.execute(_INSERT_FACT, values)

    def send(
        self,
        topic: str,
        *,
        institution: str,
        destination: str,
        dedupe: str,
        payload: Mapping[str, str | int | None],
    ) -> None:
        """Put a message into the outbox; one with the same ``dedupe`` is there at most once.

        Args:
            payload: ids and codes only.
        """
        self.insert_or_ignore(
            tables.outbox,
            {
                "message_id": str(uuid.uuid4()),
                "institution": institution,
                "destination": destination,
                "topic": topic,
                "dedupe": dedupe,
                "payload": json.dumps(payload, separators=(",", ":"), sort_keys=True),
                "created_at": self.now,
                "available_at": self.now,
            },
        )

    def audit(
        self,
        action: str,
        *,
        actor: str,
        subject: str = "",
        detail: Mapping[str, str | int] | None = None,
        institution: str = "",
    ) -> None:
        """Write who did what to whose data; ids and codes only."""
        if self._chain is None:
            self._chain = self._chains.take()
        entry = self._chain.next_entry(
            self.now,
            action,
            actor=actor,
            subject=subject,
            detail=detail or {},
            institution=institution,
        )
        self.connection.execute(_INSERT_AUDIT, entry)

    def release(self, *, committed: bool) -> None:
        """Give the audit chain back; called once, by ``UnitOfWorkFactory.begin``."""
        if self._chain is not None and committed:
            self._chains.give_back(self._chain)
        self._chain = None


_KEEP_ROWCOUNT = MappingProxyType({"preserve_rowcount": True})
_INSERT_EVENT = insert(tables.event)
_INSERT_FACT = insert(tables.circulation_fact)
_INSERT_AUDIT = insert(tables.audit)


class UnitOfWorkFactory:
    """Begins units of work on one database."""

    def __init__(self, database: Database, keyring: Keyring, *, now: Clock) -> None:
        self.database = database
        self.keyring = keyring
        self.now = now
        self._chains = AuditChains(keyring)

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """Open a unit of work: committed at the end, rolled back on any exception.

        Raises:
            StorageConflict: another transaction was in the way, or a constraint holds; a method
                under ``retry_once`` then begins anew.
            StorageUnavailable: the database cannot be reached.
        """
        unit: UnitOfWork | None = None
        committed = False
        try:
            with self.database.write() as connection:
                unit = UnitOfWork(
                    connection,
                    self.keyring,
                    self._chains,
                    now=self.now(),
                    is_sqlite=self.database.is_sqlite,
                )
                yield unit
            committed = True
        finally:
            if unit is not None:
                unit.release(committed=committed)
