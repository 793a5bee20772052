"""A process that makes one checkout and kills itself at a step of it: ``python -m tests.support.crash``.

The wrappers of the ports below are the only test-only code in it; store, ILS and service are real.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connector.bootstrap import Application, build
from connector.domain.ids import (
    Barcode,
    Identifier,
    IlsPatronId,
    InstitutionId,
    PatronId,
    TerminalId,
)
from connector.domain.patron import StandingState
from connector.ports.clock import Clock
from connector.ports.ils import ExchangeContext, ItemInput, PatronInput
from connector.ports.ledger import Place
from connector.ports.store import PersonalData
from connector.services.desk import Exchange
from connector.settings import parse_settings
from connector.testing.records import make_record
from tests.support.world import prepare_store, with_store

LIBRARY = InstitutionId("FDX")
CARD = IlsPatronId("S1")
BARCODE = Barcode("B1")
PATRON_ID_NUMBER = "500230201503010015"
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)

STEPS = (
    "ledger.list_unclosed:before",
    "ledger.ask:before",
    "ledger.ask:after",
    "ils.checkout:before",
    "ils.checkout:after",
    "ledger.record_open:before",
    "ledger.record_open:after",
)
"""Port call and side of it."""


class Killing:
    """A port whose call ends the process, before it or after it."""

    def __init__(self, port: Any, name: str, step: str) -> None:
        self._port = port
        self._name = name
        self._step = step

    def __getattr__(self, attribute: str) -> Any:
        real = getattr(self._port, attribute)
        before, after = (f"{self._name}.{attribute}:{side}" for side in ("before", "after"))
        if self._step not in {before, after}:
            return real
        return self._dying(real, at_once=self._step == before)

    @staticmethod
    def _dying(real: Callable[..., Any], *, at_once: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not at_once:
                real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        return call


def open_application(folder: Path, store_url: str, now: Clock, step: str = "") -> Application:
    """Build everything over the same files; with a step, over ports that kill."""
    settings = parse_settings(
        f'[store]\nkey_file = "onecard.key"\n'
        f'[library]\ncode = "{LIBRARY}"\nname = "丰都县图书馆"\n'
        f"[policy.student]\neffective_from = 2026-09-01\n",
        base_dir=folder,
    )
    settings = with_store(settings, store_url)
    prepare_store(settings)
    app = build(settings, now=now)
    if step:
        desk = app.circulation.desk
        ledger = Killing(desk.ledger, "ledger", step)
        adapter = Killing(desk.adapters[LIBRARY], "ils", step)
        object.__setattr__(desk, "ledger", ledger)
        object.__setattr__(desk, "adapters", {LIBRARY: adapter})
        desk.facts.ledger = ledger  # type: ignore[assignment]
        desk.facts.adapters = {LIBRARY: adapter}  # type: ignore[dict-item]
    return app


def seed(app: Application) -> PatronId:
    """Enrol one invented pupil and put one book on the shelf."""
    adapter = app.adapters[LIBRARY]
    adapter.upsert_patron(
        PatronInput(external_id="p1", card=CARD, name="张小江", category="student")
    )
    adapter.add_item(adapter.add_bib(make_record("江上的纸船"), "marc21"), ItemInput(BARCODE))
    patron_id = app.store.people.add_person(
        PersonalData(name="张小江"),
        [Identifier("card", CARD)],
        home=LIBRARY,
        category="student",
        state=StandingState.ACTIVE,
    )
    app.store.people.set_account(patron_id, LIBRARY, CARD)
    return patron_id


def exchange(app: Application) -> Exchange:
    """Return the checkout that everybody makes here."""
    library = app.libraries[LIBRARY]
    terminal = TerminalId("kiosk-1")
    return Exchange(
        institution=LIBRARY,
        place=Place(
            LIBRARY, app.now(), library.today(app.now()), terminal=terminal, kind="selfcheck"
        ),
        context=ExchangeContext(at=app.now(), terminal=terminal),
        scanned_item=BARCODE,
        scanned_patron=CARD,
    )


if __name__ == "__main__":
    where, url, kill_at = sys.argv[1:4]
    application = open_application(Path(where), url, lambda: NOW, kill_at)
    application.circulation.checkout(exchange(application))
