"""A new installation key, step by step, while kiosks are being served.

Nothing here prints. The order (decision 22) —

1. the new key is written to the key file and not used yet; every running process reads the file
   again within ``crypto.CHECK_EVERY_S``, so that after ``settle_s`` each can recognise what the
   new key makes;
2. the key becomes the active one, in the file again;
3. the persons' keys are wrapped anew and the numbers get new digests, batch by batch; a process
   that learnt of it last may still store something by the old key, so that is repeated until
   nothing is left.

A run that is killed anywhere is finished by the next one, which makes no further key. A number that
cannot be read (no seal, and neither the person's data nor his card numbers fit its digest) keeps
its old digest: the old key still finds it, and must stay. What cannot be made anew at all are
refusals, which are digests only, and audit entries; ``list_uses`` names them, and a key that
anything needs is not retired.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, and_, delete, func, select, update

from connector.domain.ids import Identifier, PatronId
from connector.errors import ConfigurationError, StorageUnavailable
from connector.storage import tables
from connector.storage.crypto import CHECK_EVERY_S, Keyring, PersonCipher
from connector.storage.repositories import person_rows
from connector.storage.retry import retry_once
from connector.storage.store import Store
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["KeyRotation", "KeyUse", "RotationReport", "locked_key_file"]

_BATCH = 200
_SETTLE_S = 3 * CHECK_EVERY_S
_ROW = tables.identifier
_KEY = tables.person_key


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a key still protects.

    Attributes:
        role: ``active``, ``staged`` (to become active) or ``old``.
        is_lasting: pseudonyms in logs and statistics hang on it; it stays for good.
        persons: people whose data key it wraps.
        identifiers: numbers that are found by it.
        refusals: guardians' refusals that are recognised by it.
        audit_entries: entries that are checked by it.
    """

    key_id: str
    role: str
    is_lasting: bool
    persons: int
    identifiers: int
    refusals: int
    audit_entries: int

    @property
    def is_free(self) -> bool:
        """Whether nothing needs the key any more."""
        needed = self.persons + self.identifiers + self.refusals + self.audit_entries
        return self.role == "old" and not self.is_lasting and needed == 0


@dataclass(frozen=True, slots=True)
class RotationReport:
    """What a run did.

    Attributes:
        key_id: the active key now.
        is_new: False when the run finished an earlier one.
        persons, identifiers: how many were made anew.
        unreadable: numbers that keep their old digest.
    """

    key_id: str
    is_new: bool
    persons: int
    identifiers: int
    unreadable: int


@contextmanager
def locked_key_file(path: Path) -> Iterator[None]:
    """Keep others from changing the key file: two rotations at once would lose a key.

    Raises:
        ConfigurationError: another program is changing it.
    """
    descriptor = os.open(path.parent, os.O_RDONLY)  # the file itself is replaced meanwhile
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise ConfigurationError(
                "Another program is changing the key file.", "Wait until it is done."
            ) from err
        yield
    finally:
        os.close(descriptor)


class KeyRotation:
    """Changes the keys of an open store.

    Args:
        store: opened with the key file at ``key_file``.
        settle_s: how long running processes have to read the key file again; three seconds.
    """

    def __init__(self, store: Store, key_file: Path, *, settle_s: float | None = None) -> None:
        self._store = store
        self._keyring = store.keyring
        self._path = key_file
        self._settle_s = _SETTLE_S if settle_s is None else settle_s

    # --- what a key is needed for

    def list_uses(self) -> tuple[KeyUse, ...]:
        """Return every key of the file, the active one first."""
        self._keyring.refresh()
        counts = {
            table.name: self._count_by_key(table)
            for table in (_KEY, _ROW, tables.refusal, tables.audit)
        }
        active, staged = self._keyring.active, self._keyring.staged
        return tuple(
            KeyUse(
                key_id,
                "active" if key_id == active else "staged" if key_id == staged else "old",
                key_id == self._keyring.lasting,
                counts["person_key"].get(key_id, 0),
                counts["identifier"].get(key_id, 0),
                counts["refusal"].get(key_id, 0),
                counts["audit"].get(key_id, 0),
            )
            for key_id in self._keyring.key_ids
        )

    def _count_by_key(self, table: Any) -> dict[str, int]:
        query = select(table.c.key_id, func.count()).group_by(table.c.key_id)
        with self._store.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    # --- rotating

    def rotate(self, *, actor: str, progress: Callable[[int, int], None]) -> RotationReport:
        """Make a new key the active one and everything anew by it, or finish an earlier run.

        Raises:
            ConfigurationError: another program is changing the key file.
        """
        with locked_key_file(self._path):
            self._keyring.refresh()
            is_new = not self._keyring.staged
            if is_new and self._count_left() != (0, 0):
                finished = self._make_anew(is_new=False, progress=progress)
                if finished.persons or finished.identifiers:
                    return finished
            if is_new:
                self._write(self._keyring.stage())
            time.sleep(self._settle_s)
            self._write(self._keyring.activate_staged())
            self._store.audit.append("keys.rotated", actor=actor, subject=self._keyring.active)
            return self._make_anew(is_new=is_new, progress=progress)

    def renew(self, *, progress: Callable[[int, int], None]) -> RotationReport:
        """Bring everything under the active key, without a new one; after a restore."""
        return self._make_anew(is_new=False, progress=progress)

    def retire(self, key_id: str, *, actor: str) -> None:
        """Take a key out of the file that nothing needs any more.

        Raises:
            ConfigurationError: there is no such key, or something needs it.
        """
        with locked_key_file(self._path):
            uses = {use.key_id: use for use in self.list_uses()}
            if key_id not in uses:
                raise ConfigurationError(f"There is no key {key_id}.", "See: onecard keys list")
            use = uses[key_id]
            needed = _needed_for(use)
            if needed:
                raise ConfigurationError(f"The key {key_id} is needed: {needed}.", _remedy_for(use))
            rest = self._keyring.retire(key_id)
            self._store.audit.append("keys.retired", actor=actor, subject=key_id)
            self._write(rest)

    def _write(self, keyring: Keyring) -> None:
        keyring.save(self._path)
        self._keyring.refresh()

    def _make_anew(self, *, is_new: bool, progress: Callable[[int, int], None]) -> RotationReport:
        persons = numbers = done = 0
        total = sum(self._count_left())
        unreadable = 0
        settled = False
        while True:
            found = 0
            while batch := self._store.people.rewrap_keys(limit=_BATCH):
                persons, found, done = persons + batch, found + batch, done + batch
                progress(min(done, total), total)
            after, unreadable = 0, 0
            while True:
                seen, renewed, after = self._digest_batch(after)
                if not seen:
                    break
                numbers, found = numbers + renewed, found + renewed
                unreadable, done = unreadable + seen - renewed, done + seen
                progress(min(done, total), total)
            if settled and not found:
                return RotationReport(self._keyring.active, is_new, persons, numbers, unreadable)
            if not settled and (persons or numbers or is_new):
                time.sleep(self._settle_s)  # whoever learnt of the key last has stored by now
            settled = True

    def _count_left(self) -> tuple[int, int]:
        """Return how many persons and readable numbers are not under the active key."""
        active = self._keyring.active
        persons = select(func.count()).select_from(_KEY).where(_KEY.c.key_id != active)
        numbers = select(func.count()).select_from(_ROW).where(
            _ROW.c.key_id != active, _ROW.c.sealed.is_not(None)
        )  # fmt: skip
        with self._store.database.read() as connection:
            return connection.scalar(persons) or 0, connection.scalar(numbers) or 0

    @retry_once
    def _digest_batch(self, after: int) -> tuple[int, int, int]:
        """Give the next numbers after an id their new digest; return (seen, renewed, last id)."""
        with self._store.work.begin() as unit:
            active = unit.keyring.active
            rows = unit.connection.execute(
                select(_ROW, _KEY.c.wrapped)
                .join(_KEY, _KEY.c.person_id == _ROW.c.person_id)
                .where(_ROW.c.key_id != active, _ROW.c.identifier_id > after)
                .order_by(_ROW.c.identifier_id)
                .limit(_BATCH)
                .with_for_update(of=_ROW)
            ).all()
            renewed = sum(_renew(unit, row) for row in rows)
            if renewed:
                unit.audit("identifiers.redigested", actor="register", detail={"count": renewed})
        return len(rows), renewed, rows[-1].identifier_id if rows else after


def _renew(unit: UnitOfWork, row: Row[Any]) -> bool:
    """Give one number the digest of the active key; False where that cannot be."""
    if row.key_id not in unit.keyring.key_ids and row.sealed is None:
        return False
    try:
        cipher = unit.keyring.open_person(row.person_id, row.wrapped)
        identifier = _read_number(unit, row, cipher)
    except StorageUnavailable:
        return False
    if identifier is None:
        return False
    key_id, digest = unit.keyring.digest(identifier)
    same = unit.connection.execute(
        select(_ROW.c.identifier_id, _ROW.c.person_id, _ROW.c.retired_at).where(
            _ROW.c.digest == digest, _ROW.c.kind == row.kind, _ROW.c.key_id == key_id
        )
    ).first()
    if same is not None and same.person_id != row.person_id:
        return False
    if same is not None:
        unit.connection.execute(delete(_ROW).where(_ROW.c.identifier_id == row.identifier_id))
        if row.retired_at is not None and same.retired_at is None:
            unit.connection.execute(
                update(_ROW)
                .where(_ROW.c.identifier_id == same.identifier_id)
                .values(retired_at=row.retired_at)
            )
        return True
    sealed = person_rows.seal_identifier(cipher, row.person_id, identifier)
    unit.connection.execute(
        update(_ROW)
        .where(_ROW.c.identifier_id == row.identifier_id)
        .values(key_id=key_id, digest=digest, sealed=row.sealed or sealed)
    )
    return True


def _read_number(unit: UnitOfWork, row: Row[Any], cipher: PersonCipher) -> Identifier | None:
    """Return the number of a row: from its seal, or whatever of the person fits its digest."""
    if row.sealed is not None:
        return person_rows.open_identifier(cipher, row.person_id, row.kind, row.sealed)
    for value in _known_numbers(unit, PatronId(row.person_id), cipher):
        identifier = Identifier(row.kind, value)
        digest = unit.keyring.digest_with(row.key_id, identifier)
        if hmac.compare_digest(digest, bytes(row.digest)):
            return identifier
    return None


def _known_numbers(unit: UnitOfWork, patron_id: PatronId, cipher: PersonCipher) -> Sequence[str]:
    """Return what the database knows in readable form: identity number, card numbers."""
    person, account, asked = tables.person.c, tables.ils_account.c, tables.application.c
    sealed = unit.connection.scalar(select(person.id_number).where(person.person_id == patron_id))
    numbers = [] if sealed is None else [cipher.open("person", "id_number", sealed)]
    for query in (
        select(asked.card).where(and_(asked.person_id == patron_id, asked.card.is_not(None))),
        select(account.ils_patron).where(account.person_id == patron_id),
    ):
        numbers += unit.connection.scalars(query).all()
    return numbers


def _needed_for(use: KeyUse) -> str:
    words = [
        f"{count} {what}"
        for count, what in (
            (use.persons, "persons"),
            (use.identifiers, "identifiers"),
            (use.refusals, "refusals"),
            (use.audit_entries, "audit entries"),
        )
        if count
    ]
    if use.role != "old":
        words.insert(0, f"it is the {use.role} key")
    if use.is_lasting:
        words.insert(0, "pseudonyms hang on it for good")
    return ", ".join(words)


def _remedy_for(use: KeyUse) -> str:
    if use.role != "old" or use.persons or (use.identifiers and not use.is_lasting):
        return "Run: onecard keys rotate"
    return "Refusals and audit entries go when retention removes them; until then keep the key."
