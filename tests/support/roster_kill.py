"""A process that imports a roster and kills itself after a piece: ``python -m tests.support.roster_kill``.

The wrapper of the store below is the only test-only code in it; store and service are real.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connector.bootstrap import Application, build
from connector.domain.ids import InstitutionId
from connector.ports.clock import Clock
from connector.ports.enrolment import School
from connector.settings import parse_settings
from tests.support.world import prepare_store, with_store

LIBRARY = InstitutionId("FDX")
NOW = datetime(2026, 9, 10, 2, 0, tzinfo=UTC)


def open_library(folder: Path, store_url: str, now: Clock = lambda: NOW) -> Application:
    """Build one library with the embedded ILS over the files in a folder."""
    settings = parse_settings(
        f'[store]\nkey_file = "onecard.key"\n'
        f'[library]\ncode = "{LIBRARY}"\nname = "丰都县图书馆"\n'
        f"[policy.student]\neffective_from = 2026-09-01\n",
        base_dir=folder,
    )
    settings = with_store(settings, store_url)
    prepare_store(settings)
    return build(settings, now=now)


def find_school(app: Application) -> School:
    return app.enrolment.find_school(LIBRARY, "s1")


class Dying:
    """A store that ends the process before or after its n-th call of one method."""

    def __init__(self, store: Any, method: str, side: str, count: int) -> None:
        self._store = store
        self._method = method
        self._side = side
        self._left = count

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name != self._method:
            return real

        def call(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._side == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **more)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


if __name__ == "__main__":
    where, url, sheet, kind, method, side, count = sys.argv[1:8]
    application = open_library(Path(where), url)
    rosters = Dying(application.enrolment.rosters, method, side, int(count))
    object.__setattr__(application.enrolment, "rosters", rosters)
    application.enrolment.import_roster(
        Path(sheet), find_school(application), actor="clerk", complete=kind == "complete"
    )
