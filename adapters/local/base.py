"""What the parts of the embedded ILS share: database, clock, reading one patron, PINs, refusals.

Nothing here lends. Rules: the whole work of a request happens in one transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection

from adapters.local.engine import NAME, Database
from adapters.local.mapping import FETCH_PATRON, PatronRow, load_patron, message_for, text_of
from adapters.local.settings import LocalSettings
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.errors import UnexpectedResponse
from connector.ports.ils import AdapterContext, CheckoutResult

__all__ = ["ItemRow", "LocalBase"]

_HASHER = PasswordHasher(time_cost=2, memory_cost=8 * 1024, parallelism=1)
"""About 10 ms and 8 MiB: a kiosk hall shares one small machine.

A short PIN is guessed whatever the cost; the hash keeps a stolen file from giving PINs away at
once.
"""


class ItemRow(NamedTuple):
    """One item with its open loan and its place in the hold queue, as a decision needs it."""

    row_id: int
    bib_id: int
    barcode: Barcode
    title: str
    item_type: str
    media_type: str
    location: str
    branch: str
    collection: str
    call_number: str
    properties: str
    status: str
    loan_id: int | None
    borrower_id: int | None
    borrower: IlsPatronId | None
    lent_at: str | None
    due: str | None
    renewals: int
    shelf_for: int | None


_FIND_ITEM = """
SELECT i.id, i.bib_id, i.barcode, t.title, i.item_type, i.media_type, i.location, i.branch,
i.collection, i.call_number, i.properties, i.status, l.id, l.patron_id, p.card, l.checked_out_at,
l.due, coalesce(l.renewals, 0), (SELECT h.patron_id FROM hold h WHERE h.shelf_item_id = i.id AND
h.ended_at IS NULL) FROM item i JOIN bib t ON t.id = i.bib_id LEFT JOIN loan l ON l.item_id = i.id
AND l.returned_at IS NULL LEFT JOIN patron p ON p.id = l.patron_id WHERE i.barcode = ?
"""


class LocalBase:
    """Database, settings, zone and clock of one library's embedded ILS."""

    name: str = NAME
    institution_id: InstitutionId

    def __init__(
        self, settings: LocalSettings, context: AdapterContext, database: Database
    ) -> None:
        self.institution_id = context.institution_id
        self.settings = settings
        self.database = database
        self.zone = ZoneInfo(context.timezone)
        self._now = context.now

    def now(self) -> datetime:
        """Return the moment as aware UTC."""
        return self._now().astimezone(UTC)

    def refuse(self, code: str, **values: Any) -> CheckoutResult:
        """Return a refusal in the library's language."""
        return CheckoutResult(ok=False, code=code, message=self.say(code), **values)

    def say(self, code: str) -> str:
        """Return the words for a code."""
        return message_for(code, self.settings.language)

    def fail(self, code: str) -> UnexpectedResponse:
        """Return the error for something that this ILS will not do."""
        return UnexpectedResponse(self.name, self.institution_id, code)

    @staticmethod
    def find_patron_row(connection: Connection, identifier: IlsPatronId) -> PatronRow | None:
        """Read one patron by card or by any further number."""
        row = connection.exec_driver_sql(FETCH_PATRON, (identifier,)).fetchone()
        return None if row is None else load_patron(row)

    @staticmethod
    def find_item_row(connection: Connection, barcode: Barcode) -> ItemRow | None:
        """Read one item with its loan."""
        row = connection.exec_driver_sql(_FIND_ITEM, (barcode,)).fetchone()
        if row is None:
            return None
        return ItemRow._make(row)

    @staticmethod
    def expire_holds(connection: Connection, barcode: Barcode, at: datetime) -> None:
        """End the holds on an item's title that nobody picked up, or that came too late."""
        connection.exec_driver_sql(
            "UPDATE hold SET ended_at = ?1, ended_as = 'expired' WHERE ended_at IS NULL"
            " AND coalesce(shelf_until, expires) < ?1"
            " AND bib_id = (SELECT bib_id FROM item WHERE barcode = ?2)",
            (text_of(at), barcode),
        )

    @staticmethod
    def hash_pin(pin: str) -> str:
        """Return the argon2id hash of a PIN."""
        return _HASHER.hash(pin)

    @staticmethod
    def is_pin_right(pin_hash: str | None, pin: str) -> bool:
        """Check a PIN; a patron without one has no right PIN."""
        if pin_hash is None:
            return False
        try:
            return _HASHER.verify(pin_hash, pin)
        except (VerificationError, InvalidHashError):
            return False

    def record_change(
        self, connection: Connection, kind: str, barcode: Barcode, card: str | None, due: str | None
    ) -> None:
        """Write one line of the change log."""
        connection.exec_driver_sql(
            "INSERT INTO change (kind, at, barcode, card, due) VALUES (?, ?, ?, ?, ?)",
            (kind, text_of(self.now()), barcode, card, due),
        )
