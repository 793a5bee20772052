"""A person as rows: how his data is sealed into columns, and how his numbers become digests.

Nothing here begins a transaction or knows what a caller may do; ``people`` does. Rules: decisions 5
and 22.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date

from sqlalchemy import select, update

from connector.domain.enrolment import StudentRecord
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import NotFound, StorageConflict, StorageUnavailable
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.crypto import Keyring, PersonCipher
from connector.storage.unit_of_work import UnitOfWork

__all__ = [
    "DATA_COLUMNS",
    "FIELDS",
    "add_identifier",
    "add_person",
    "change_person",
    "digest_data",
    "home_of",
    "open_cipher",
    "open_data",
    "open_identifier",
    "read_date",
    "record_text",
    "renew_digest",
    "seal_data",
    "seal_identifier",
]

FIELDS = ("name", "id_number", "phone", "guardian_name", "guardian_phone", "birth_date")
"""Sealed columns of ``person``, named like the fields of ``PersonalData``."""
DATA_COLUMNS = (*FIELDS, "data_digest")
"""What ``seal_data`` fills, and what erasing empties."""


_BETWEEN = "\x1f"
_INSERT_PERSON = tables.person.insert()
_INSERT_KEY = tables.person_key.insert()


def add_person(
    unit: UnitOfWork,
    data: PersonalData,
    identifiers: Sequence[Identifier],
    *,
    home: InstitutionId,
    category: str,
    stage: str = "",
    state: StandingState = StandingState.INACTIVE,
) -> PatronId:
    """Store a new person within a unit of work; raises ``StorageConflict``."""
    patron_id = PatronId(str(uuid.uuid4()))
    key_id, wrapped = unit.keyring.new_person_key(patron_id)
    cipher = unit.keyring.open_person(patron_id, wrapped)
    unit.connection.execute(
        _INSERT_PERSON,
        {
            "person_id": patron_id,
            "institution": home,
            "category": category,
            "stage": stage,
            "state": state.value,
            "created_at": unit.now,
            "updated_at": unit.now,
            **seal_data(unit.keyring, cipher, data),
        },
    )
    key = {"person_id": patron_id, "institution": home, "key_id": key_id, "wrapped": wrapped}
    unit.connection.execute(_INSERT_KEY, key)
    for identifier in identifiers:
        add_identifier(unit, patron_id, identifier, institution=home, cipher=cipher)
    unit.audit("person.added", actor="register", subject=patron_id, institution=home)
    return patron_id


def add_identifier(
    unit: UnitOfWork,
    patron_id: PatronId,
    identifier: Identifier,
    *,
    institution: str,
    cipher: PersonCipher | None = None,
) -> None:
    """Store one more number of a person, as a digest and sealed.

    Args:
        cipher: the person's; looked up when None.

    Raises:
        StorageConflict: another person has the number.
        NotFound: the person was erased.
    """
    table = tables.identifier
    digests = unit.keyring.digests(identifier)
    if len(digests) > 1 and not unit.is_sqlite:
        # While keys rotate, two processes may digest by different keys, which no constraint sees.
        unit.fetch("SELECT pg_advisory_xact_lock(?)", (unit.keyring.number_lock(identifier),))
    owner = unit.connection.scalar(
        select(table.c.person_id).where(
            table.c.digest.in_([digest for _, digest in digests]), table.c.kind == identifier.kind
        )
    )
    if owner is not None and owner != patron_id:
        raise StorageConflict("identifier_taken")
    if owner is not None:
        return
    key_id, digest = digests[0]
    sealed = seal_identifier(cipher or open_cipher(unit, patron_id), patron_id, identifier)
    inserted = unit.insert_or_ignore(
        table,
        {
            "person_id": patron_id,
            "institution": institution,
            "kind": identifier.kind,
            "key_id": key_id,
            "digest": digest,
            "sealed": sealed,
        },
    )
    if not inserted:
        raise StorageConflict("identifier_taken")


def open_cipher(unit: UnitOfWork, patron_id: PatronId) -> PersonCipher:
    """Return what seals a person's values; raises ``NotFound`` when he was erased."""
    key = tables.person_key.c
    wrapped = unit.connection.scalar(select(key.wrapped).where(key.person_id == patron_id))
    if wrapped is None:
        raise NotFound("patron")
    return unit.keyring.open_person(patron_id, wrapped)


def seal_identifier(cipher: PersonCipher, patron_id: str, identifier: Identifier) -> bytes:
    """Return a number sealed; bound to the person and the kind, which no restore changes."""
    row = f"{patron_id}/{identifier.kind}"
    return cipher.seal("identifier", "sealed", identifier.value, row=row)


def open_identifier(cipher: PersonCipher, patron_id: str, kind: str, sealed: bytes) -> Identifier:
    """Return the number behind ``identifier.sealed``."""
    return Identifier(kind, cipher.open("identifier", "sealed", sealed, row=f"{patron_id}/{kind}"))


def home_of(unit: UnitOfWork, patron_id: PatronId) -> str:
    """Return the home library of a person who is not erased, under lock; raises ``NotFound``."""
    home = unit.connection.scalar(
        select(tables.person.c.institution)
        .where(tables.person.c.person_id == patron_id, tables.person.c.erased_at.is_(None))
        .with_for_update()
    )
    if home is None:
        raise NotFound("patron")
    return str(home)


def change_person(unit: UnitOfWork, patron_id: PatronId, **values: object) -> None:
    """Change columns of a person."""
    unit.connection.execute(
        update(tables.person)
        .where(tables.person.c.person_id == patron_id)
        .values(values | {"updated_at": unit.now})
    )


def seal_data(
    keyring: Keyring, cipher: PersonCipher, data: PersonalData
) -> dict[str, bytes | None]:
    """Return the sealed columns with their digest; an empty value is NULL."""
    plain = {name: getattr(data, name) for name in FIELDS}
    birth = data.birth_date
    plain["birth_date"] = birth.isoformat() if birth is not None else ""
    sealed = {
        name: cipher.seal("person", name, value) if value else None for name, value in plain.items()
    }
    return sealed | {"data_digest": digest_data(keyring, data)}


def digest_data(keyring: Keyring, data: PersonalData) -> bytes | None:
    """Return the digest of a person's data, None for who has no identity number."""
    if not data.id_number:
        return None
    birth = data.birth_date.isoformat() if data.birth_date is not None else ""
    fields = (
        data.name, data.id_number, data.phone, data.guardian_name, data.guardian_phone, birth,
    )  # fmt: skip
    return keyring.data_digest(_BETWEEN.join(fields))


def record_text(record: StudentRecord) -> str:
    """Return what is digested of a row with an identity number: as of who is stored just so.

    No field of a checked row has the character between them, so that no other fields give the same.
    """
    number = record.id_number
    return _BETWEEN.join(
        (
            record.name,
            number.value if number is not None else "",
            record.phone,
            record.guardian_name,
            record.guardian_phone,
            record.birth_date.isoformat(),
        )
    )


def open_data(cipher: PersonCipher, sealed: Sequence[bytes | None]) -> PersonalData:
    """Return the data behind the sealed columns, in the order of ``FIELDS``."""
    plain = {
        name: cipher.open("person", name, value) if value is not None else ""
        for name, value in zip(FIELDS, sealed, strict=True)
    }
    birth = plain.pop("birth_date")
    return PersonalData(**plain, birth_date=date.fromisoformat(birth) if birth else None)


def renew_digest(unit: UnitOfWork, person_id: str, cipher: PersonCipher) -> None:
    """Digest a person's data by the active key; no digest where the data does not open."""
    table = tables.person
    row = unit.connection.execute(
        select(*(table.c[name] for name in FIELDS)).where(table.c.person_id == person_id)
    ).one()
    try:
        digest = digest_data(unit.keyring, open_data(cipher, row))
    except StorageUnavailable:
        digest = None
    unit.connection.execute(
        update(table).where(table.c.person_id == person_id).values(data_digest=digest)
    )


def read_date(value: str | date | None) -> date | None:
    """Return a date that a raw statement read: text from SQLite, ``date`` from PostgreSQL."""
    return date.fromisoformat(value) if isinstance(value, str) else value
