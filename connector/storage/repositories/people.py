"""People whom we enrolled: identifiers, accounts, standing, encrypted data.

Nothing here knows a school or a consent; how a person lies in columns is in ``person_rows``. Rules
(decisions 3, 5, 22) —

- a number is stored as a keyed digest and looked for by every key of the key file;
- ``resolve`` is one raw statement, because it runs at every exchange;
- of several people whom the scanned numbers fit, the first number in the caller's order decides;
  a number that was retired, as of a lost card, fits last, and says so;
- an item that is lost counts as a violation until the library has settled it (scenario 43);
- what erasing means is in ``erasing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import select, update

from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.loan import UNCLOSED
from connector.domain.patron import PatronStanding, StandingState
from connector.errors import NotFound, StorageConflict
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.erasing import erase_rows
from connector.storage.repositories.loan_rows import UNCLOSED_SQL
from connector.storage.repositories.people_in_bulk import PeopleInBulk
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["StoredPeople"]

_OWN = "loan.person_id = p.person_id AND state = 'lost'"
_LOST = f"(SELECT COUNT(*) FROM loan WHERE {_OWN} AND {UNCLOSED_SQL})"  # noqa: S608 - no values
_STANDING = (
    "SELECT p.person_id, p.category, p.state, p.institution, p.expires, p.stage, "  # noqa: S608
    "a.ils_patron, a.expires, "
    "(SELECT COUNT(*) FROM violation v WHERE v.person_id = p.person_id AND v.lifted_at IS NULL)"
    f" + {_LOST}, a.kind"
)
_ACCOUNT = "LEFT JOIN ils_account a ON a.person_id = p.person_id AND a.institution = ?"
_BY_ID = f"{_STANDING} FROM person p {_ACCOUNT} WHERE p.person_id = ? AND p.erased_at IS NULL"
_BY_ACCOUNT = (
    f"{_STANDING} FROM person p JOIN ils_account a ON a.person_id = p.person_id "
    "AND a.institution = ? WHERE a.ils_patron = ? AND p.erased_at IS NULL"
)
_BY_DIGEST = (
    f"{_STANDING}, i.kind, i.digest, i.retired_at IS NOT NULL FROM identifier i "
    f"JOIN person p ON p.person_id = i.person_id {_ACCOUNT} "
    "WHERE p.erased_at IS NULL AND i.digest IN "
)
_STATES = {state.value: state for state in StandingState}


class StoredPeople(PeopleInBulk):
    """The register of people in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work
        self._database = work.database
        self._keyring = work.keyring

    # --- at every exchange ----------------------------------------------------------------------

    def resolve(
        self, scanned: Sequence[Identifier], institution: InstitutionId
    ) -> PatronStanding | None:
        """Return the enrolled patron with any of these identifiers, or None.

        Behind a retired one alone, nobody may be served: see ``PatronStanding.is_retired``.
        """
        digests = {
            digest: order
            for order, identifier in reversed(list(enumerate(scanned)))
            for _, digest in self._keyring.digests(identifier)
        }
        if not digests:
            return None
        marks = ", ".join("?" * len(digests))
        rows = self._database.fetch(f"{_BY_DIGEST}({marks})", (institution, *digests))
        fits = [
            (bool(row[12]), order, row)
            for row in rows
            if scanned[order := digests[bytes(row[11])]].kind == row[10]
        ]
        if not fits:
            return None
        retired, _, row = min(fits, key=lambda fit: fit[:2])
        return self._standing(row, scanned_kind=row[10], retired=retired)

    def find_standing(
        self, patron_id: PatronId, institution: InstitutionId
    ) -> PatronStanding | None:
        """Return the standing of a known patron."""
        rows = self._database.fetch(_BY_ID, (institution, patron_id))
        return self._standing(rows[0], scanned_kind="") if rows else None

    def find_by_account(
        self, ils_patron: IlsPatronId, institution: InstitutionId
    ) -> PatronStanding | None:
        """Return whose account this is in the library's ILS, or None."""
        rows = self._database.fetch(_BY_ACCOUNT, (institution, ils_patron))
        return self._standing(rows[0], scanned_kind="") if len(rows) == 1 else None

    def _standing(
        self, row: Sequence[Any], *, scanned_kind: str, retired: bool = False
    ) -> PatronStanding:
        account_ends = person_rows.read_date(row[7])
        ended = account_ends is not None and account_ends < self._work.now().date()
        return PatronStanding(
            patron_id=PatronId(row[0]),
            category=row[1],
            state=_STATES[row[2]],
            home=InstitutionId(row[3]),
            scanned_kind=scanned_kind,
            ils_patron=None if ended or row[6] is None else IlsPatronId(row[6]),
            expires=person_rows.read_date(row[4]),
            violations=row[8],
            stage=row[5],
            is_retired=retired,
            account_kind=row[9] or "",
        )

    # --- the register ---------------------------------------------------------------------------

    @retry_once
    def add_person(
        self,
        data: PersonalData,
        identifiers: Sequence[Identifier],
        *,
        home: InstitutionId,
        category: str,
        stage: str = "",
        state: StandingState = StandingState.INACTIVE,
    ) -> PatronId:
        """Store a new person; raises ``StorageConflict`` if an identifier is taken."""
        with self._work.begin() as unit:
            return person_rows.add_person(
                unit,
                data,
                identifiers,
                home=home,
                category=category,
                stage=stage,
                state=state,
            )

    def find_person(self, identifiers: Sequence[Identifier]) -> PatronId | None:
        """Return who has any of these identifiers, retired ones too."""
        with self._database.read() as connection:
            for identifier in identifiers:
                digests = [digest for _, digest in self._keyring.digests(identifier)]
                found = connection.scalar(
                    select(tables.identifier.c.person_id)
                    .where(tables.identifier.c.digest.in_(digests))
                    .where(tables.identifier.c.kind == identifier.kind)
                )
                if found is not None:
                    return PatronId(found)
        return None

    def fetch_personal(self, patron_id: PatronId) -> PersonalData:
        """Decrypt one person's data; raises ``NotFound``."""
        columns = [tables.person.c[name] for name in person_rows.FIELDS]
        with self._database.read() as connection:
            row = connection.execute(
                select(tables.person_key.c.wrapped, *columns)
                .join(tables.person, tables.person.c.person_id == tables.person_key.c.person_id)
                .where(tables.person.c.person_id == patron_id)
            ).first()
        if row is None:
            raise NotFound("patron")
        return person_rows.open_data(self._keyring.open_person(patron_id, row[0]), row[1:])

    def list_identifiers(
        self, patron_id: PatronId
    ) -> tuple[tuple[Identifier, datetime | None], ...]:
        """Return every number of a person with the moment since when it is dead, oldest first.

        The value is empty where a row of the first release has no sealed number yet; see
        ``connector.storage.key_rotation``. Raises ``NotFound`` when he was erased.
        """
        row, key = tables.identifier.c, tables.person_key.c
        with self._database.read() as connection:
            wrapped = connection.scalar(select(key.wrapped).where(key.person_id == patron_id))
            if wrapped is None:
                raise NotFound("patron")
            found = connection.execute(
                select(row.kind, row.sealed, row.retired_at)
                .where(row.person_id == patron_id)
                .order_by(row.identifier_id)
            ).all()
        cipher = self._keyring.open_person(patron_id, wrapped)
        return tuple(
            (
                Identifier(kind, "")
                if sealed is None
                else person_rows.open_identifier(cipher, patron_id, kind, sealed),
                retired_at,
            )
            for kind, sealed, retired_at in found
        )

    @retry_once
    def update_personal(self, patron_id: PatronId, data: PersonalData) -> None:
        """Replace one person's data; raises ``NotFound``."""
        with self._work.begin() as unit:
            wrapped = unit.connection.scalar(
                select(tables.person_key.c.wrapped).where(
                    tables.person_key.c.person_id == patron_id
                )
            )
            if wrapped is None:
                raise NotFound("patron")
            cipher = self._keyring.open_person(patron_id, wrapped)
            person_rows.change_person(
                unit, patron_id, **person_rows.seal_data(unit.keyring, cipher, data)
            )
            unit.audit("person.updated", actor="register", subject=patron_id)

    @retry_once
    def add_identifier(self, patron_id: PatronId, identifier: Identifier) -> None:
        """Give the person one more number; raises ``StorageConflict`` if another person has it."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            person_rows.add_identifier(unit, patron_id, identifier, institution=home)
            unit.audit(
                "identifier.added",
                actor="register",
                subject=patron_id,
                detail={"kind": identifier.kind},
                institution=home,
            )

    @retry_once
    def retire_identifier(self, patron_id: PatronId, identifier: Identifier) -> bool:
        """End a number, as of a lost card: nobody is served by it and nobody else can get it."""
        digests = [digest for _, digest in self._keyring.digests(identifier)]
        table = tables.identifier
        with self._work.begin() as unit:
            result = unit.connection.execute(
                update(table)
                .where(table.c.person_id == patron_id, table.c.kind == identifier.kind)
                .where(table.c.digest.in_(digests), table.c.retired_at.is_(None))
                .values(retired_at=unit.now)
            )
            if result.rowcount:
                unit.audit(
                    "identifier.retired",
                    actor="register",
                    subject=patron_id,
                    detail={"kind": identifier.kind},
                )
            return result.rowcount > 0

    @retry_once
    def set_state(
        self, patron_id: PatronId, state: StandingState, *, expires: date | None = None
    ) -> None:
        """Change the person's state; raises ``NotFound``.

        Args:
            expires: None leaves the date as it is.
        """
        with self._work.begin() as unit:
            values: dict[str, object] = {"state": state.value}
            if expires is not None:
                values["expires"] = expires
            home = person_rows.home_of(unit, patron_id)
            person_rows.change_person(unit, patron_id, **values)
            unit.audit(
                "person.state_set",
                actor="register",
                subject=patron_id,
                detail={"state": state.value},
                institution=home,
            )

    @retry_once
    def set_account(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        ils_patron: IlsPatronId,
        *,
        kind: str = "home",
        expires: date | None = None,
    ) -> None:
        """Record the person's account in one ILS, in place of the one recorded before."""
        with self._work.begin() as unit:
            person_rows.home_of(unit, patron_id)
            key = {"person_id": patron_id, "institution": institution}
            values = {
                "ils_patron": ils_patron,
                "kind": kind,
                "expires": expires,
                "updated_at": unit.now,
            }
            if not unit.insert_or_ignore(tables.ils_account, {**key, **values}):
                unit.connection.execute(
                    update(tables.ils_account)
                    .where(tables.ils_account.c.person_id == patron_id)
                    .where(tables.ils_account.c.institution == institution)
                    .values(values)
                )
            unit.audit(
                "account.set",
                actor="register",
                subject=patron_id,
                detail={"kind": kind},
                institution=institution,
            )

    # --- keys -----------------------------------------------------------------------------------

    @retry_once
    def erase_person(self, patron_id: PatronId, *, actor: str) -> None:
        """Destroy the person's key and all that names him (decision 22).

        Raises:
            StorageConflict: he still has unclosed loans.
            NotFound: there is no such person.
        """
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            loan = tables.loan
            unclosed = loan.c.state.in_([state.value for state in UNCLOSED])
            if unit.connection.scalar(
                select(loan.c.loan_id).where(loan.c.person_id == patron_id, unclosed).limit(1)
            ):
                raise StorageConflict("unclosed_loans")
            erase_rows(unit, patron_id)
            unit.audit("person.erased", actor=actor, subject=patron_id, institution=home)

    @retry_once
    def rewrap_keys(self, *, limit: int = 500) -> int:
        """Wrap up to ``limit`` people's keys by the active key, and digest their data by it; return
        how many it did.

        Numbers get their new digest by ``connector.storage.key_rotation``; until then the old key
        finds them, and it must stay in the key file.
        """
        key = tables.person_key
        with self._work.begin() as unit:
            rows = unit.connection.execute(
                select(key.c.person_id, key.c.wrapped)
                .where(key.c.key_id != self._keyring.active)
                .limit(limit)
            ).all()
            for person_id, wrapped in rows:
                key_id, sealed = self._keyring.rewrap(person_id, wrapped)
                unit.connection.execute(
                    update(key)
                    .where(key.c.person_id == person_id)
                    .values(key_id=key_id, wrapped=sealed)
                )
                person_rows.renew_digest(
                    unit, person_id, self._keyring.open_person(person_id, sealed)
                )
            if rows:
                unit.audit("keys.rewrapped", actor="register", detail={"count": len(rows)})
            return len(rows)
