"""Patrons of the embedded ILS: reading, opening, changing, blocking, closing.

Nothing here lends. Rules: an account is changed only by who knows its ``external_id``; a number
belongs to one patron per kind; closing an account erases the person and keeps the card number, so
that it is never given out again.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from adapters.local.base import LocalBase
from adapters.local.mapping import FETCH_PATRON, PatronRow, load_patron, text_of
from connector.domain.ids import IlsPatronId
from connector.domain.patron import PatronFacts
from connector.errors import NotFound
from connector.ports.ils import BlockReason, PatronInput, PatronUpsert

__all__ = ["LocalPatrons"]


class LocalPatrons(LocalBase):
    """The ``Patrons`` part of the port."""

    def fetch_patron(self, identifier: IlsPatronId, pin: str | None = None) -> PatronFacts:
        """Return everything about one patron in one read."""
        as_of = self.now()
        patron = self._read_patron(identifier)
        if patron is None:
            return PatronFacts(
                ils_patron=identifier,
                as_of=as_of,
                valid=False,
                currency=self.settings.currency,
                message=self.say("unknown_patron"),
            )
        pin_valid = None if pin is None else self.is_pin_right(patron.pin_hash, pin)
        return patron.to_facts(
            as_of=as_of, zone=self.zone, settings=self.settings, pin_valid=pin_valid
        )

    def verify_pin(self, identifier: IlsPatronId, pin: str) -> bool:
        """Say whether the PIN is right; an unknown patron has none."""
        patron = self._read_patron(identifier)
        return patron is not None and self.is_pin_right(patron.pin_hash, pin)

    def find_patron(
        self, *, external_id: str | None = None, identifiers: Mapping[str, str] | None = None
    ) -> IlsPatronId | None:
        """Return the open account with this external id, or with any of these numbers."""
        with self.database.read() as connection:
            if external_id is not None:
                row = connection.exec_driver_sql(
                    "SELECT card FROM patron WHERE external_id = ? AND closed_at IS NULL",
                    (external_id,),
                ).fetchone()
                if row is not None:
                    return IlsPatronId(row[0])
            for kind, value in (identifiers or {}).items():
                row = connection.exec_driver_sql(
                    "SELECT p.card FROM patron p WHERE p.closed_at IS NULL AND (p.id IN (SELECT"
                    " n.patron_id "
                    "FROM patron_identifier n WHERE n.kind = ?1 AND n.value = ?2) OR (?1 = 'card'"
                    " AND p.card = ?2))",
                    (kind, value),
                ).fetchone()
                if row is not None:
                    return IlsPatronId(row[0])
        return None

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Create the patron or change our own.

        Raises:
            UnexpectedResponse: ``duplicate_card``, ``duplicate_identifier`` or ``not_ours``.
            NotFound: there is no account to adopt.
        """
        if patron.adopt is not None:
            with self.database.write() as connection:
                return self._adopt_patron(connection, patron, patron.adopt)
        pin_hash = None if patron.pin is None else self.hash_pin(patron.pin)
        try:
            with self.database.write() as connection:
                return self._save_patron(connection, patron, pin_hash)
        except IntegrityError as err:
            raise self.fail("duplicate_identifier") from err

    def _save_patron(
        self, connection: Connection, patron: PatronInput, pin_hash: str | None
    ) -> PatronUpsert:
        row = connection.exec_driver_sql(
            "SELECT id, card FROM patron WHERE external_id = ?", (patron.external_id,)
        ).fetchone()
        other = connection.exec_driver_sql(
            "SELECT id FROM patron WHERE card = ?", (patron.card,)
        ).fetchone()
        if other is not None and (row is None or other[0] != row[0]):
            raise self.fail("duplicate_card")
        values = (
            patron.card,
            patron.name,
            patron.category,
            patron.home_branch,
            patron.birth_date.isoformat() if patron.birth_date else None,
            patron.expires.isoformat() if patron.expires else None,
            patron.phone,
            patron.school,
            patron.class_name,
            pin_hash,
        )
        if row is None:
            patron_id = connection.exec_driver_sql(
                "INSERT INTO patron (card, name, category, home_branch, birth_date, expires,"
                " phone, school, class_name,"
                " pin_hash, external_id) VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING id",
                (*values, patron.external_id),
            ).scalar_one()
        else:
            patron_id = row[0]
            if row[1] != patron.card:  # closing looks for the number that he has then
                connection.exec_driver_sql(
                    "UPDATE change SET card = ? WHERE card = ?", (patron.card, row[1])
                )
            connection.exec_driver_sql(
                "UPDATE patron SET card=?, name=?, category=?, home_branch=?, birth_date=?,"
                " expires=?, phone=?, school=?,"
                " class_name=?, pin_hash=coalesce(?, pin_hash), closed_at=NULL WHERE id=?",
                (*values, patron_id),
            )
            connection.exec_driver_sql(
                "DELETE FROM patron_identifier WHERE patron_id = ?", (patron_id,)
            )
        for kind, value in patron.identifiers.items():
            connection.exec_driver_sql(
                "INSERT INTO patron_identifier (patron_id, kind, value) VALUES (?, ?, ?)",
                (patron_id, kind, value),
            )
        return PatronUpsert(patron.card, created=row is None)

    def _adopt_patron(
        self, connection: Connection, patron: PatronInput, account: IlsPatronId
    ) -> PatronUpsert:
        """Make an account of the desk ours: external id, category and expiry, nothing else."""
        found = self.find_patron_row(connection, account)
        if found is None:
            raise NotFound("patron")
        known = connection.exec_driver_sql(
            "SELECT id, external_id FROM patron WHERE id = ?1 OR external_id = ?2",
            (found.row_id, patron.external_id),
        ).fetchall()
        if any(
            row_id != found.row_id or external_id not in (None, "", patron.external_id)
            for row_id, external_id in known
        ):
            raise self.fail("not_ours")
        connection.exec_driver_sql(
            "UPDATE patron SET external_id = ?, category = ?, expires = ? WHERE id = ?",
            (
                patron.external_id,
                patron.category,
                patron.expires.isoformat() if patron.expires else None,
                found.row_id,
            ),
        )
        return PatronUpsert(found.card, created=False)

    def add_desk_patron(
        self,
        card: str,
        *,
        name: str,
        category: str = "adult",
        pin: str | None = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> IlsPatronId:
        """Open an account as the staff desk does: it is not ours and has no external id.

        Raises:
            UnexpectedResponse: ``duplicate_card``: the card, or one of the numbers, is taken.
        """
        pin_hash = None if pin is None else self.hash_pin(pin)
        try:
            with self.database.write() as connection:
                patron_id = connection.exec_driver_sql(
                    "INSERT INTO patron (card, name, category, pin_hash) VALUES (?, ?, ?, ?)"
                    " RETURNING id",
                    (card, name, category, pin_hash),
                ).scalar_one()
                for kind, value in (identifiers or {}).items():
                    connection.exec_driver_sql(
                        "INSERT INTO patron_identifier (patron_id, kind, value) VALUES (?, ?, ?)",
                        (patron_id, kind, value),
                    )
        except IntegrityError as err:
            raise self.fail("duplicate_card") from err
        return IlsPatronId(card)

    def block_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Block borrowing; the same reason twice is one block."""
        with self.database.write() as connection:
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO block (patron_id, reason, at) VALUES (?, ?, ?)",
                (self._require(connection, identifier), reason.value, text_of(self.now())),
            )

    def unblock_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Undo the block with this reason, and no other."""
        with self.database.write() as connection:
            connection.exec_driver_sql(
                "DELETE FROM block WHERE patron_id = ? AND reason = ?",
                (self._require(connection, identifier), reason.value),
            )

    def close_patron(self, identifier: IlsPatronId) -> None:
        """Close the account and erase the person; raises ``UnexpectedResponse`` ``has_loans``.

        Our own id and the card number stay, so that nobody else gets it; what he has borrowed,
        reserved and owed for which book does not.
        """
        at = text_of(self.now())
        with self.database.write() as connection:
            patron = self.find_patron_row(connection, identifier)
            if patron is None:
                raise NotFound("patron")
            if patron.loans:
                raise self.fail("has_loans")
            connection.exec_driver_sql(
                "UPDATE hold SET ended_at = ?, ended_as = 'cancelled' WHERE patron_id = ? AND"
                " ended_at IS NULL",
                (at, patron.row_id),
            )
            connection.exec_driver_sql("DELETE FROM block WHERE patron_id = ?", (patron.row_id,))
            connection.exec_driver_sql(
                "DELETE FROM patron_identifier WHERE patron_id = ?", (patron.row_id,)
            )
            connection.exec_driver_sql(
                "UPDATE patron SET name='', birth_date=NULL, phone='', school='', class_name='',"
                " pin_hash=NULL,"
                " closed_at=? WHERE id=?",
                (at, patron.row_id),
            )
            _forget_reading(connection, patron.row_id, patron.card)
        self.database.overwrite_deleted()

    def _read_patron(self, identifier: IlsPatronId) -> PatronRow | None:
        rows = self.database.fetch(FETCH_PATRON, (identifier,))
        return load_patron(rows[0]) if rows else None

    def _require(self, connection: Connection, identifier: IlsPatronId) -> int:
        patron = self.find_patron_row(connection, identifier)
        if patron is None:
            raise NotFound("patron")
        return patron.row_id


def _forget_reading(connection: Connection, row_id: int, card: str) -> None:
    """Take the books out of everything that leads to one patron."""
    connection.exec_driver_sql("UPDATE change SET card = NULL WHERE card = ?", (card,))
    connection.exec_driver_sql("DELETE FROM loan WHERE patron_id = ?", (row_id,))
    connection.exec_driver_sql(
        "DELETE FROM hold WHERE patron_id = ? AND ended_at IS NOT NULL", (row_id,)
    )
    connection.exec_driver_sql(
        "UPDATE fee SET item_id = NULL, description = '' WHERE patron_id = ?", (row_id,)
    )
