"""The network of the flow tests with libraries whose ILS is reachable by SIP2 alone.

Real: everything on our side, the ILSs (embedded ones, each behind its own plain SIP2 server), both TCP
connections of every exchange.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from adapters.local.adapter import SPEC as LOCAL
from adapters.local.adapter import LocalAdapter
from adapters.local.settings import LocalSettings, RuleSettings
from adapters.local.sip2_server import LocalSip2Server
from adapters.sip2.adapter import Sip2Adapter, build_adapter
from adapters.sip2.settings import Sip2Settings
from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.loan import IlsLoan
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext, ExchangeContext, ItemInput, PatronInput
from connector.ports.store import PersonalData
from connector.sip2.terminal import WireProfile
from connector.testing.records import make_record
from tests.support.world import SteppingClock, World

LOGIN = "gateway"
ILS_PASSWORD = "ils-secret"
ZONE = "Asia/Shanghai"


@dataclass
class Library:
    """One SIP2-only library: its ILS, the ILS's server, and our adapter to it."""

    desk: LocalAdapter
    server: LocalSip2Server
    adapter: Sip2Adapter


class Sip2World(World):
    """A world whose libraries' ILSs speak SIP2 and nothing else.

    Args:
        speaks: how the ILSs speak.
        ils: further settings of ``adapters/sip2``.
        rules: the ILSs' own loan rules.
    """

    def __init__(
        self,
        folder: Path,
        store_url: str,
        *,
        codes: Sequence[str] = ("SIP-A", "SIP-B"),
        speaks: WireProfile | None = None,
        ils: Mapping[str, Any] | None = None,
        rules: Sequence[RuleSettings] = (),
        renew_on_checkout: bool = True,
        **more: Any,
    ) -> None:
        self.clock = SteppingClock()
        self._servers = ExitStack()
        self.sites: dict[str, Library] = {}
        for code in codes:
            desk = _open_desk(folder, code, self.clock, rules)
            self._servers.callback(desk.close)
            server = LocalSip2Server(
                desk,
                profile=speaks,
                logins={LOGIN: ILS_PASSWORD},
                renew_on_checkout=renew_on_checkout,
            )
            self._servers.enter_context(server)
            password = folder / f"{code}.ils-password"
            password.write_text(ILS_PASSWORD, encoding="utf-8")
            settings = {
                "host": "127.0.0.1",
                "port": server.port,
                "login": LOGIN,
                "password_file": str(password),
                "heartbeat_s": 0,
                "verdict_s": 0,
                **_wire_settings(speaks),
                **(ils or {}),
            }
            context = AdapterContext(InstitutionId(code), ZONE, str(folder), self.clock)
            adapter = build_adapter(Sip2Settings.model_validate(settings), context)
            self.sites[code] = Library(desk, server, adapter)
        adapters = {code: site.adapter for code, site in self.sites.items()}
        super().__init__(folder, store_url, clock=self.clock, adapters=adapters, **more)

    def close(self) -> None:
        super().close()
        self._servers.close()

    def desk(self, code: str) -> LocalAdapter:
        """Return the ILS itself, as its own staff work with it."""
        return self.sites[code].desk

    def stop_ils(self, code: str) -> None:
        """Let nobody listen at the ILS's port any more."""
        self.sites[code].server.stop()

    def start_ils(self, code: str) -> None:
        """Let the ILS listen again, at the same port."""
        site = self.sites[code]
        before = site.server
        site.server = LocalSip2Server(
            site.desk, profile=before.profile, logins=before.logins, port=before.port
        )
        self._servers.enter_context(site.server)

    def add_pupil(
        self,
        card: str,
        *,
        at: tuple[str, ...] = ("SIP-A",),
        id_number: str = "",
        ssc: str = "",
        pin: str | None = None,
    ) -> PatronId:
        identifiers = [Identifier("card", card)]
        identifiers += [Identifier("id_card", id_number)] if id_number else []
        identifiers += [Identifier("ssc", ssc)] if ssc else []
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
            self.add_reader(code, card, pin=pin, category="student", name="张小江")
            people.set_account(patron_id, InstitutionId(code), IlsPatronId(card))
        return patron_id

    def add_reader(
        self,
        code: str,
        card: str,
        *,
        pin: str | None = None,
        category: str = "adult",
        name: str = "成年读者",
    ) -> None:
        """Give somebody an account in an ILS that we know nothing of."""
        self.desk(code).upsert_patron(
            PatronInput(f"ext-{card}", IlsPatronId(card), name, category, pin=pin)
        )

    def add_items(self, code: str, *barcodes: str, **values: Any) -> None:
        desk = self.desk(code)
        title = values.pop("title", "")
        for barcode in barcodes:
            bib = desk.add_bib(make_record(title or f"书 {barcode}"), "marc21")
            desk.add_item(bib, ItemInput(Barcode(barcode), **values))

    def ils_loan(self, code: str, barcode: str) -> IlsLoan | None:
        """Return the open loan of an item as the ILS has it."""
        return self.desk(code).fetch_item_loan(Barcode(barcode))

    def lend_at_desk(self, code: str, card: str, barcode: str) -> None:
        """Lend an item at the ILS's own staff desk."""
        result = self.desk(code).checkout(
            IlsPatronId(card), Barcode(barcode), ExchangeContext(at=self.clock())
        )
        assert result.ok

    def return_at_desk(self, code: str, barcode: str) -> None:
        assert self.desk(code).checkin(Barcode(barcode), ExchangeContext(at=self.clock())).ok


def _open_desk(
    folder: Path, code: str, clock: SteppingClock, rules: Sequence[RuleSettings]
) -> LocalAdapter:
    values: dict[str, Any] = {"path": f"ils-{code}.db", "language": "zh"}
    if rules:
        values["rules"] = tuple(rules)

    def now() -> datetime:
        return clock()

    context = AdapterContext(InstitutionId(code), ZONE, str(folder), now)
    adapter = LOCAL.build(LocalSettings(**values), context)
    assert isinstance(adapter, LocalAdapter)
    return adapter


def _wire_settings(speaks: WireProfile | None) -> dict[str, Any]:
    if speaks is None:
        return {}
    names = {"\r": "CR", "\r\n": "CRLF", "\n": "LF"}
    return {
        "encoding": speaks.encoding,
        "delimiter": speaks.delimiter,
        "terminator": names[speaks.terminator],
        "checksum": speaks.checksum.value,
    }
