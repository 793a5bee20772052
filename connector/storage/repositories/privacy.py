"""Everything about one person across all tables (``connector.ports.privacy``).

Nothing here writes; ``retention`` and ``erasing`` do. The figures of the yearly report are in
``privacy_figures``. Rules —

- a table with a ``person_id`` is read without being named here; tables that lead to a person in
  another way are in ``INDIRECT``, those that say nothing about one in ``IMPERSONAL``; a test
  compares all three with the tables, so that a new one cannot be forgotten;
- a keyed digest, a wrapped key and a seal are never given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    func,
    or_,
    select,
)

from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.errors import NotFound
from connector.ports.privacy import (
    HeldPerson,
    HeldRecords,
    LeftBehind,
)
from connector.storage import tables
from connector.storage.crypto import Keyring, PersonCipher
from connector.storage.repositories import person_rows
from connector.storage.repositories.erasing import CLEARED, DELETED, clearable
from connector.storage.repositories.privacy_figures import StoredFigures
from connector.storage.repositories.retention import IS_UNCLOSED, StoredRetention

__all__ = ["IMPERSONAL", "INDIRECT", "PERSON_TABLES", "StoredPrivacy"]

_PERSON = tables.person
_KEYS_AT_ONCE = 500

PERSON_TABLES: tuple[Table, ...] = tuple(
    table for table in tables.metadata.sorted_tables if "person_id" in table.c
)
"""Tables whose rows name a person."""

IMPERSONAL = frozenset(
    {
        "institution",
        "item_facts",
        "school",
        "grade",
        "school_class",
        "school_calendar",
        "campaign",
        "batch",
        "card_counter",
        "feed_state",
        "mode_switch",
        "terminal_clock",
    }
)
"""Tables that say nothing about a person."""


class StoredPrivacy(StoredRetention, StoredFigures):
    """``PrivacyStore`` on SQLite or PostgreSQL."""

    def find_person(self, patron_id: PatronId) -> HeldPerson | None:
        """Return a person, erased or not; None when there is no trace of him."""
        task = tables.task
        with self._work.database.read() as connection:
            person = connection.execute(
                select(_PERSON).where(_PERSON.c.person_id == patron_id)
            ).one_or_none()
            if person is None:
                return None
            unclosed = connection.scalar(
                select(func.count())
                .select_from(tables.loan)
                .where(tables.loan.c.person_id == patron_id, IS_UNCLOSED)
            )
            accounts = connection.scalars(
                select(tables.ils_account.c.institution)
                .where(tables.ils_account.c.person_id == patron_id)
                .order_by(tables.ils_account.c.institution)
            ).all()
            kinds = connection.scalars(
                select(task.c.kind)
                .where(task.c.person_id == patron_id, task.c.done_at.is_(None))
                .order_by(task.c.kind)
            ).all()
            records = _count_records(connection, patron_id)
        return HeldPerson(
            patron_id=patron_id,
            home=InstitutionId(person.institution),
            closing=person.closing,
            erased_at=person.erased_at,
            accounts=tuple(InstitutionId(code) for code in accounts),
            unclosed_loans=unclosed or 0,
            open_tasks=tuple(kinds),
            records=records,
        )

    def collect_records(self, patron_id: PatronId) -> HeldRecords:
        """Return everything that is held about a person, opened."""
        found: dict[str, Sequence[Mapping[str, object]]] = {}
        with self._work.database.snapshot() as connection:
            rows = {
                table: connection.execute(
                    select(table)
                    .where(table.c.person_id == patron_id)
                    .order_by(*table.primary_key.columns)
                ).all()
                for table in PERSON_TABLES
            }
            if not rows[_PERSON]:
                raise NotFound("patron")
            for table, held in rows.items():
                found[table.name] = [_readable(table, row) for row in held]
            opened: Mapping[str, object] = {}
            if rows[tables.person_key]:
                wrapped = rows[tables.person_key][0].wrapped
                cipher = self._work.keyring.open_person(patron_id, wrapped)
                opened = _open_person(cipher, rows[_PERSON][0])
                found["identifier"] = [
                    {**_readable(tables.identifier, row), "value": _open_number(cipher, row)}
                    for row in rows[tables.identifier]
                ]
            found["person"] = [{**found["person"][0], **opened}]
            for name, look_up in INDIRECT.items():
                condition = look_up(self._work.keyring, rows, str(opened.get("id_number") or ""))
                table = tables.metadata.tables[name]
                found[name] = [
                    _readable(table, row)
                    for part in condition
                    for row in connection.execute(
                        select(table).where(part).order_by(*table.primary_key.columns)
                    )
                ]
            names = _read_names(connection, found)
        return HeldRecords(patron_id, MappingProxyType(found), names)

    def count_left(self, patron_id: PatronId) -> LeftBehind:
        """Count what a new read finds of a person."""
        personal: dict[str, int] = {}
        with self._work.database.read() as connection:
            for table in DELETED:
                condition = table.c.person_id == patron_id
                _note(personal, connection, table, table.name, condition)
            for table, values in CLEARED.items():
                for column, empty in values.items():
                    is_kept = (
                        table.c[column].is_not(None)
                        if empty is None
                        else and_(table.c[column] != empty)
                    )
                    condition = and_(table.c.person_id == patron_id, is_kept)
                    if column == "person_id" and table is tables.task:
                        condition = and_(condition, table.c.done_at.is_not(None))
                    _note(personal, connection, table, f"{table.name}.{column}", condition)
            pseudonym = self._work.keyring.pseudonym(patron_id)
            fact = tables.circulation_fact
            _note(personal, connection, fact, fact.name, fact.c.pseudonym == pseudonym)
            records = _count_records(connection, patron_id)
        return LeftBehind(records, personal)


_Rows = Mapping[Table, Sequence[Row[Any]]]


def _ids(rows: _Rows, table: Table) -> list[str]:
    (key,) = table.primary_key.columns
    return [str(getattr(row, key.name)) for row in rows[table]]


def _about(column: ColumnElement[Any], keys: Sequence[object]) -> Iterator[ColumnElement[bool]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield column.in_(keys[start : start + _KEYS_AT_ONCE])


def _audit_about(keyring: Keyring, rows: _Rows, id_number: str) -> Iterator[ColumnElement[bool]]:
    """The person himself, and whatever belongs to him and has an id of its own."""
    del keyring, id_number
    subjects = {row.person_id for row in rows[_PERSON]}
    for table in rows:
        keys = list(table.primary_key.columns)
        if len(keys) == 1 and keys[0].name.endswith("_id") and isinstance(keys[0].type, String):
            subjects.update(_ids(rows, table))
    return _about(tables.audit.c.subject, sorted(subjects))


def _facts_about(keyring: Keyring, rows: _Rows, id_number: str) -> Iterator[ColumnElement[bool]]:
    del id_number
    pseudonyms = [keyring.pseudonym(row.person_id) for row in rows[_PERSON]]
    return _about(tables.circulation_fact.c.pseudonym, pseudonyms)


def _positions_about(
    keyring: Keyring, rows: _Rows, id_number: str
) -> Iterator[ColumnElement[bool]]:
    del keyring, id_number
    return _about(tables.item_position.c.loan_id, _ids(rows, tables.loan))


def _deferred_about(keyring: Keyring, rows: _Rows, id_number: str) -> Iterator[ColumnElement[bool]]:
    del keyring, id_number
    return _about(tables.deferred.c.loan_id, _ids(rows, tables.loan))


def _messages_about(keyring: Keyring, rows: _Rows, id_number: str) -> Iterator[ColumnElement[bool]]:
    """Messages of a loan have keys that begin with its id."""
    del keyring, id_number
    dedupe = tables.outbox.c.dedupe
    loans = _ids(rows, tables.loan)
    for start in range(0, len(loans), _KEYS_AT_ONCE // 10):
        part = loans[start : start + _KEYS_AT_ONCE // 10]
        yield or_(*(dedupe.startswith(f"{loan_id}:", autoescape=True) for loan_id in part))


def _refusals_about(keyring: Keyring, rows: _Rows, id_number: str) -> Iterator[ColumnElement[bool]]:
    del rows
    if id_number:
        digests = keyring.refusal_digests(Identifier("id_card", id_number))
        yield tables.refusal.c.digest.in_([digest for _, digest in digests])


INDIRECT: Mapping[str, Callable[[Keyring, _Rows, str], Iterator[ColumnElement[bool]]]] = (
    MappingProxyType(
        {
            "circulation_fact": _facts_about,
            "item_position": _positions_about,
            "deferred": _deferred_about,
            "outbox": _messages_about,
            "refusal": _refusals_about,
            "audit": _audit_about,
        }
    )
)
"""Tables that lead to a person without his id, and how."""


_NAMED: Mapping[str, tuple[Table, str]] = MappingProxyType(
    {
        "school_id": (tables.school, "name"),
        "class_id": (tables.school_class, "name"),
        "batch_id": (tables.batch, "number"),
        "campaign_id": (tables.campaign, "code"),
    }
)
"""Column with an id → where the thing has a name."""


def _read_names(
    connection: Connection, found: Mapping[str, Sequence[Mapping[str, object]]]
) -> dict[str, str]:
    names: dict[str, str] = {}
    for column, (table, name) in _NAMED.items():
        ids = {row[column] for rows in found.values() for row in rows if row.get(column)}
        for part in _about(table.c[column], sorted(map(str, ids))):
            query = select(table.c[column], table.c[name]).where(part)
            names |= {row[0]: row[1] for row in connection.execute(query)}
    return names


def _count_records(connection: Connection, patron_id: str) -> dict[str, int]:
    counts = {}
    for table in PERSON_TABLES:
        query = select(func.count()).select_from(table).where(table.c.person_id == patron_id)
        counts[table.name] = connection.scalar(query) or 0
    return {name: count for name, count in counts.items() if count}


def _note(
    counts: dict[str, int],
    connection: Connection,
    table: Table,
    name: str,
    condition: ColumnElement[bool],
) -> None:
    query = select(func.count()).select_from(table).where(condition, clearable(table))
    if count := connection.scalar(query):
        counts[name] = count


def _readable(table: Table, row: Row[Any]) -> dict[str, object]:
    """Return a row without what nobody can read."""
    return {
        column.name: value
        for column, value in zip(table.columns, row, strict=True)
        if not isinstance(getattr(column.type, "impl", column.type), LargeBinary)
        and column.name != "key_id"
    }


def _open_person(cipher: PersonCipher, person: Row[Any]) -> dict[str, object]:
    data = person_rows.open_data(cipher, [getattr(person, name) for name in person_rows.FIELDS])
    return {name: getattr(data, name) for name in person_rows.FIELDS}


def _open_number(cipher: PersonCipher, row: Row[Any]) -> str | None:
    """Return the number; None in a row of the first release, which has the digest alone."""
    if row.sealed is None:
        return None
    patron_id = PatronId(row.person_id)
    return person_rows.open_identifier(cipher, patron_id, row.kind, row.sealed).value
