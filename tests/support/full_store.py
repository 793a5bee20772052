"""A store in which every table has rows, and invented people with readable secrets to look for.

Nothing here is a test.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.store import Store

FDX = InstitutionId("FDX")
ID_NUMBERS = ("500230201503010015", "500230201503010023", "500230201503010031")
NAMES = ("张晓明", "李小红", "欧阳·阿依古丽")


def add_people(store: Store) -> list[PatronId]:
    """Enrol three pupils with everything that is kept of a person."""
    people = []
    for number, (name, id_number) in enumerate(zip(NAMES, ID_NUMBERS, strict=True)):
        patron_id = store.people.add_person(
            PersonalData(
                name=name,
                id_number=id_number,
                phone=f"1380000123{number}",
                guardian_name=f"{name[0]}建国",
                guardian_phone=f"1390000456{number}",
                birth_date=date(2015, 3, 1 + number),
            ),
            [
                Identifier("card", f"S000000{number}"),
                Identifier("id_card", id_number),
                Identifier("student_no", f"G{id_number}"),
            ],
            home=FDX,
            category="student",
            stage="primary",
            state=StandingState.ACTIVE,
        )
        store.people.set_account(patron_id, FDX, IlsPatronId(f"S000000{number}"))
        people.append(patron_id)
    return people


def secrets_of(people: int = 3) -> list[str]:
    """Return what nobody may read in a stolen file."""
    found = [*NAMES[:people], *ID_NUMBERS[:people], *(f"G{n}" for n in ID_NUMBERS[:people])]
    for number in range(people):
        found += [f"1380000123{number}", f"1390000456{number}", f"{NAMES[number][0]}建国"]
        found.append(date(2015, 3, 1 + number).isoformat())
    return found


def fill_every_table(store: Store, person_id: PatronId) -> None:
    """Put a row into each table that has none, with a value of its kind in every column."""
    with store.database.write() as connection:
        for table in tables.metadata.sorted_tables:
            if connection.scalar(sa.select(sa.func.count()).select_from(table)):
                continue
            values = {
                column.name: _value(connection, column, person_id) for column in table.columns
            }
            connection.execute(table.insert().values(values))


def _value(connection: sa.Connection, column: sa.Column[Any], person_id: PatronId) -> Any:
    if column.name == "person_id":
        return person_id
    for key in column.foreign_keys:
        return connection.scalar(sa.select(key.column).limit(1))
    kind = column.type
    if isinstance(kind, tables.UtcDateTime):
        return datetime(2026, 11, 21, 2, 0, 0, 123456, tzinfo=UTC)
    if isinstance(kind, sa.Date):
        return date(2026, 11, 21)
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Integer):
        return 7
    if isinstance(kind, tables.Encrypted | sa.LargeBinary):
        return bytes(range(256))
    if column.name in {"detail", "provenance", "payload"}:
        return "{}"
    if column.name == "problems":
        return "[]"
    length = getattr(kind, "length", None) or 40
    return str(uuid.uuid4()) if length == 36 else '三(2)班 "x"\n\t\\'[:length]


def dump(store: Store, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    with store.database.read() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(sa.select(table))), key=repr
            )
            for table in tables.metadata.sorted_tables
            if table.name not in without
        }
