from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from connector.domain.ids import (
    Barcode,
    Identifier,
    IlsPatronId,
    InstitutionId,
    ItemId,
    PatronId,
    TerminalId,
)
from connector.domain.item import LanguageClass
from connector.domain.patron import StandingState
from connector.ports.ledger import AskLoan, Place
from connector.ports.store import PersonalData
from connector.storage.store import Store
from tests.support.store import TickingClock

LIBRARY = InstitutionId("FDX")
OTHER = InstitutionId("WZX")


class Scene:
    """A store with a way to say things shortly."""

    def __init__(self, store: Store, clock: TickingClock) -> None:
        self.store = store
        self.ledger = store.ledger
        self.clock = clock

    def person(self, card: str = "S1", **more: str) -> PatronId:
        patron_id = self.store.people.add_person(
            PersonalData(name="张晓明", id_number=more.get("id_card", "")),
            [
                Identifier("card", card),
                *(Identifier(kind, number) for kind, number in more.items()),
            ],
            home=LIBRARY,
            category="student",
            stage="primary",
            state=StandingState.ACTIVE,
        )
        self.store.people.set_account(patron_id, LIBRARY, IlsPatronId(card))
        return patron_id

    def place(self, at: InstitutionId = LIBRARY, **more: object) -> Place:
        now = self.clock()
        return Place(at, now, now.date(), terminal=TerminalId("kiosk1"), kind="selfcheck", **more)

    def item(self, barcode: str, owner: InstitutionId = LIBRARY) -> ItemId:
        return ItemId(owner, Barcode(barcode))

    def request(self, patron_id: PatronId, barcode: str, **more: object) -> AskLoan:
        values = {
            "patron_id": patron_id,
            "item": self.item(barcode),
            "lender": LIBRARY,
            "ils_patron": IlsPatronId("S1"),
            "language": LanguageClass.CHINESE,
            "place": self.place(),
            "expires_at": self.clock() + timedelta(seconds=20),
            "limit": 8,
            "foreign_limit": 3,
            "policy_version": "v1",
        }
        return AskLoan(**values | more)

    def lend(self, patron_id: PatronId, barcode: str, **more: object):
        """Ask and open a loan; return it."""
        asked = self.ledger.ask(self.request(patron_id, barcode, **more))
        return self.ledger.record_open(
            asked.loan.loan_id, self.place(), due=self.clock() + timedelta(days=30)
        )

    def rows(self, sql: str) -> list[tuple]:
        return [tuple(row) for row in self.store.database.fetch(sql, ())]

    def facts(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT verb FROM circulation_fact ORDER BY fact_id")]

    def events(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT verb FROM event ORDER BY event_id")]

    def messages(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT topic FROM outbox ORDER BY seq")]

    def position(self, barcode: str, owner: InstitutionId = LIBRARY) -> tuple | None:
        sql = "SELECT position, holder FROM item_position WHERE owner = ? AND barcode = ?"
        rows = self.store.database.fetch(sql, (owner, barcode))
        return tuple(rows[0]) if rows else None


@pytest.fixture
def scene(store: Store, clock: TickingClock) -> Scene:
    return Scene(store, clock)


@pytest.fixture
def open_second(store_url: str, store: Store, clock: TickingClock) -> Callable[[], Store]:
    """Open the same database as another process would; the test closes it."""
    return lambda: Store(store_url, store.keyring, now=clock)
