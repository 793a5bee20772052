"""A process that works while the library system is away, or tells it later, and kills itself at a step.

``python -m tests.support.away_crash FOLDER URL ACTION STEP``. The wrappers of the ports are the only
test-only code in it; store, library system and services are real.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from connector.bootstrap import Application, build
from connector.errors import AdapterUnavailable
from connector.ports.clock import Clock
from connector.settings import parse_settings
from tests.support.crash import LIBRARY, NOW, Killing, exchange
from tests.support.world import prepare_store, with_store

BACK_AT = NOW + timedelta(hours=2)

STEPS = {
    "checkout": ("ledger.ask:after", "ledger.record_open:before", "ledger.record_open:after"),
    "checkin": ("ledger.record_return:before", "ledger.record_return:after"),
    "replay": (
        "deferred.lease_next:after",
        "deferred.mark_sent:before",
        "deferred.mark_sent:after",
        "ils.checkout:after",
        "ils.checkin:after",
        "deferred.finish:before",
        "deferred.finish:after",
    ),
}
"""What is done → the port calls, and the side of them, at which the process is killed."""


class Absent:
    """A library system that cannot be reached."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self.capabilities = adapter.capabilities

    def __getattr__(self, name: str) -> Any:
        def fail(*arguments: object, **more: object) -> object:
            raise AdapterUnavailable("local", LIBRARY, "down")

        return fail


def open_away(folder: Path, store_url: str, now: Clock) -> Application:
    """Build everything over the same files, lending permitted."""
    settings = parse_settings(
        f'[store]\nkey_file = "onecard.key"\n'
        f'[library]\ncode = "{LIBRARY}"\nname = "丰都县图书馆"\n'
        f'[library.away]\ncheckouts = "permit"\n'
        f"[policy.student]\neffective_from = 2026-09-01\n",
        base_dir=folder,
    )
    settings = with_store(settings, store_url)
    prepare_store(settings)
    return build(settings, now=now)


def act(app: Application, action: str, *, step: str = "") -> bool:
    """Do one thing; say whether a kiosk would have heard "yes"."""
    desk, replay = app.circulation.desk, app.replay
    if action == "replay":
        replay._deferred = Killing(replay._deferred, "deferred", step)
        replay._adapters = {LIBRARY: Killing(replay._adapters[LIBRARY], "ils", step)}
        return app.replay.run_library(LIBRARY).done > 0
    absent = {LIBRARY: Absent(desk.adapters[LIBRARY])}
    object.__setattr__(desk, "adapters", absent)
    object.__setattr__(desk, "ledger", Killing(desk.ledger, "ledger", step))
    desk.facts.adapters = absent  # type: ignore[assignment]
    if action == "checkout":
        return app.circulation.checkout(exchange(app)).ok
    return app.circulation.checkin(exchange(app)).ok


if __name__ == "__main__":
    where, url, what, kill_at = sys.argv[1:5]
    moment = BACK_AT if what == "replay" else NOW
    act(open_away(Path(where), url, lambda: moment), what, step=kill_at)
