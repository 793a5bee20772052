"""A small network for flow tests: three libraries with scripted ILSs, one store, one SIP2 server.

Real: the store, the services, the gateway, TCP and the client. Scripted: the ILSs (``connector.testing``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import select

from connector.bootstrap import Application, build
from connector.cli.background import BackgroundServer
from connector.cli.demo_story import Kiosk as PlainKiosk
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.ports.ils import IlsAdapter
from connector.ports.store import PersonalData
from connector.settings import Settings, parse_settings
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.storage import tables
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.testing.fake_ils import FakeIls, folio_b, koha_a, sip_c

SHANGHAI = ZoneInfo("Asia/Shanghai")
ID_NUMBER = "500230201503010015"
PASSWORD = "kiosk-secret"
START = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


class SteppingClock:
    """A clock that only the test moves."""

    def __init__(self, start: datetime = START) -> None:
        self.moment = start

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **step: float) -> None:
        self.moment += timedelta(**step)

    def set_local(self, text: str) -> None:
        """Set library time, such as ``2026-12-21 23:58``."""
        self.moment = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).astimezone(UTC)


def with_store(settings: Settings, url: str) -> Settings:
    """Return the settings with another store; an URL with a password may not stand in a file."""
    store = settings.store.model_copy(update={"url": url})
    return settings.model_copy(update={"store": store})


def prepare_store(settings: Settings) -> None:
    """Make keys and tables where there are none."""
    if not settings.store.key_file.exists():
        Keyring.generate().save(settings.store.key_file)
    upgrade_database(settings.store.url)


class Kiosk(PlainKiosk):
    """A self-check machine of a test, with every request."""

    def checkin(self, barcode: str) -> Message:
        fixed = {"no_block": "N", "transaction_date": self.stamp(), "return_date": self.stamp()}
        return self.client.exchange(
            Message("09", fixed, [("AP", ""), ("AO", ""), ("AB", barcode), ("AC", "")])
        )

    def checkout_no_block(self, patron: str, barcode: str) -> Message:
        request = self.checkout_request(patron, barcode)
        request.fixed["no_block"] = "Y"
        return self.client.exchange(request)

    def item(self, barcode: str) -> Message:
        return self.client.exchange(
            Message("17", {"transaction_date": self.stamp()}, [("AO", ""), ("AB", barcode)])
        )

    def ask(self, code: str, fixed: Mapping[str, str], *fields: tuple[str, str]) -> Message:
        return self.client.exchange(
            Message(code, {"transaction_date": self.stamp(), **fixed}, [("AO", ""), *fields])
        )

    def charged(self, patron: str) -> list[str]:
        """Return what 64 lists as on loan."""
        return sorted(self.information(patron).get_all("AU"))


class World:
    """Libraries KOHA-A, FOLIO-B and SIP-C behind one gateway."""

    def __init__(
        self,
        folder: Path,
        store_url: str,
        *,
        clock: SteppingClock | None = None,
        adapters: Mapping[str, IlsAdapter] | None = None,
        modes: Mapping[str, str] | None = None,
        terminal: str = "",
        policy: str = "",
        library: str = "",
        sip2: str = "",
    ) -> None:
        self.clock = clock or SteppingClock()
        made = adapters or {
            "KOHA-A": koha_a(now=self.clock),
            "FOLIO-B": folio_b(now=self.clock),
            "SIP-C": sip_c(now=self.clock),
        }
        self.adapters = {InstitutionId(code): adapter for code, adapter in made.items()}
        parsed = parse_settings(
            write_settings(
                tuple(made),
                modes=modes,
                terminal=terminal,
                policy=policy,
                library=library,
                sip2=sip2,
            ),
            base_dir=folder,
            environ={
                f"ONECARD_TERMINAL_KIOSK_{code.replace('-', '_')}_PASSWORD": PASSWORD
                for code in made
            },
        )
        self.settings = with_store(parsed, store_url)
        self._stack = ExitStack()
        prepare_store(self.settings)
        self.app: Application = build(self.settings, now=self.clock, adapters=self.adapters)
        self._stack.callback(self.app.close)
        self.server = self._stack.enter_context(BackgroundServer(self.app))

    def close(self) -> None:
        self._stack.close()

    def ils(self, code: str) -> FakeIls:
        adapter = self.adapters[InstitutionId(code)]
        assert isinstance(adapter, FakeIls)
        return adapter

    def kiosk(self, code: str = "KOHA-A", *, timeout_s: float = 30.0) -> Kiosk:
        """Return a machine that has logged in at a library."""
        client = self._stack.enter_context(
            Sip2Client("127.0.0.1", self.server.port, timeout_s=timeout_s)
        )
        assert client.login(f"kiosk-{code}", PASSWORD)
        return Kiosk(client, self.clock, SHANGHAI)

    def add_pupil(
        self,
        card: str,
        *,
        at: tuple[str, ...] = ("KOHA-A",),
        id_number: str = "",
        ssc: str = "",
        pin: str | None = None,
    ) -> PatronId:
        """Enrol an invented pupil, with accounts at these libraries."""
        identifiers = [Identifier("card", card)]
        if id_number:
            identifiers.append(Identifier("id_card", id_number))
        if ssc:
            identifiers.append(Identifier("ssc", ssc))
        people = self.app.store.people
        patron_id = people.add_person(
            PersonalData(name="张小江", id_number=id_number),
            identifiers,
            home=InstitutionId(at[0]),
            category="student",
            stage="primary",
            state=StandingState.ACTIVE,
        )
        for code in at:
            self.ils(code).new_patron(card, pin=pin, name="张小江")
            people.set_account(patron_id, InstitutionId(code), IlsPatronId(card))
        return patron_id

    def add_items(self, code: str, *barcodes: str, **values: object) -> None:
        for barcode in barcodes:
            self.ils(code).new_item(barcode, **values)  # type: ignore[arg-type]

    def table_names(self) -> list[str]:
        return sorted(tables.metadata.tables)

    def rows(self, table: str) -> list[dict[str, object]]:
        """Return a whole table of our store, in the order of its primary key."""
        found = tables.metadata.tables[table]
        with self.app.store.database.read() as connection:
            result = connection.execute(select(found).order_by(*found.primary_key.columns))
            return [dict(row._mapping) for row in result]


def write_settings(
    codes: tuple[str, ...],
    *,
    modes: Mapping[str, str] | None = None,
    terminal: str = "",
    policy: str = "",
    library: str = "",
    sip2: str = "",
) -> str:
    """Return the settings of a network as TOML."""
    modes = modes or {}
    parts = [f'[store]\nkey_file = "onecard.key"\n[sip2]\nport = 0\n{sip2}\n']
    parts += [
        f'[[libraries]]\ncode = "{code}"\nname = "{code}"\nisil = "CN-{code}"\n'
        f'mode = "{modes.get(code, "enforce")}"\n{library}\n'
        f"[[libraries.items.shelving]]\n"
        f'attribute = "permanent_location"\npattern = "stack*"\nshelving = "closed-stack"\n'
        f"[[libraries.items.shelving]]\n"
        f'attribute = "permanent_location"\npattern = "ref*"\nshelving = "reference"\n'
        for code in codes
    ]
    parts += [
        f'[[sip2.terminals]]\nlogin = "kiosk-{code}"\nlibrary = "{code}"\n{terminal}\n'
        for code in codes
    ]
    parts.append(f"[policy.student]\neffective_from = 2026-09-01\n{policy}\n")
    return "\n".join(parts)
