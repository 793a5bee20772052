"""The libraries with the mode that holds now, whatever the settings said at the start.

Nothing here stores, and nothing here acts by mode. Rules (decision 18) —

- a switch in the store wins over the settings as long as it holds; one with an end falls back by
  itself to what held before it;
- the store is read at most every two seconds and never in an event loop, so that no kiosk waits for
  it; while it cannot be read, what was last known holds on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from connector.domain.ids import InstitutionId
from connector.domain.library import Library, Mode
from connector.errors import StorageConflict, StorageUnavailable
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.modes import ModeStore, ModeSwitch

__all__ = ["LibraryModes", "ModeNow"]

_log = get_logger(__name__)

_READ_EVERY_S = 2.0
_AFTER_FAILURE_S = 10.0
"""A database that cannot be reached is not asked at every exchange: each attempt may take long."""


@dataclass(frozen=True, slots=True)
class ModeNow:
    """The mode of one library at one moment.

    Attributes:
        switch: what made it so; None = the settings.
        then: what will hold when the switch runs out; None = it does not run out by itself.
    """

    mode: Mode
    settings: Mode
    switch: ModeSwitch | None = None
    then: Mode | None = None


class LibraryModes(Mapping[InstitutionId, Library]):
    """The libraries of the process; ``library.mode`` is the mode that holds now.

    Whoever works on one exchange takes the library once, so that the mode cannot change within it.
    """

    def __init__(
        self, libraries: Mapping[InstitutionId, Library], store: ModeStore, now: Clock
    ) -> None:
        self._libraries = dict(libraries)
        self._variants = _variants(self._libraries)
        self._store = store
        self._now = now
        self._switches: dict[InstitutionId, tuple[ModeSwitch, ...]] = {}
        self._read_next = 0.0
        self._turn = threading.Lock()

    def __getitem__(self, code: InstitutionId) -> Library:
        """Return a library as it is now."""
        library = self._libraries[code]
        if time.monotonic() >= self._read_next and not _in_event_loop():
            self._read_in_turn()
        switches = self._switches.get(code)
        if not switches:
            return library
        mode = _mode_of(switches, library.mode, self._now())
        return library if mode is library.mode else self._variants[code, mode]

    def __iter__(self) -> Iterator[InstitutionId]:
        """Iterate over the codes."""
        return iter(self._libraries)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._libraries)

    def refresh(self) -> None:
        """Read the switches now; raises ``StorageUnavailable`` or ``StorageConflict``."""
        found: dict[InstitutionId, list[ModeSwitch]] = {}
        for switch in self._store.list_in_force(self._now()):
            found.setdefault(switch.institution, []).append(switch)
        self._switches = {code: tuple(switches) for code, switches in found.items()}
        self._read_next = time.monotonic() + _READ_EVERY_S

    def describe(self, code: InstitutionId) -> ModeNow:
        """Return what holds at a library, why, and what will hold next."""
        self.refresh()
        settings = self._libraries[code].mode
        now = self._now()
        holding = [switch for switch in self._switches.get(code, ()) if switch.holds(now)]
        if not holding:
            return ModeNow(settings, settings)
        switch = holding[0]
        then = None
        if switch.until is not None:
            then = _mode_of(holding[1:], settings, switch.until)
        return ModeNow(switch.mode or settings, settings, switch, then)

    def list_switches(self, code: InstitutionId, *, limit: int) -> tuple[ModeSwitch, ...]:
        """Return the last switches of a library, the latest first."""
        return self._store.list_switches(code, limit=limit)

    def switch(
        self,
        code: InstitutionId,
        mode: Mode | None,
        *,
        reason: str,
        until: datetime | None = None,
        actor: str,
    ) -> ModeNow:
        """Switch a library; every process that hosts it follows within seconds.

        Args:
            mode: None = back to the settings.
            until: when it falls back by itself; None = not.
        """
        self._store.record_switch(ModeSwitch(code, mode, self._now(), until, actor, reason))
        _log.warning(
            "library.mode_switched", institution=code, mode=mode.value if mode else "settings"
        )
        return self.describe(code)

    def _read_in_turn(self) -> None:
        """Read the switches, unless another thread is at it."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            before = self._switches
            self.refresh()
            if before != self._switches:
                _log.info("library.modes_read", count=len(self._switches))
        except (StorageUnavailable, StorageConflict) as err:
            self._read_next = time.monotonic() + _AFTER_FAILURE_S
            _log.warning("library.modes_not_read", error=type(err).__name__)
        finally:
            self._turn.release()


def _mode_of(switches: Sequence[ModeSwitch], settings: Mode, now: datetime) -> Mode:
    """Return the mode of the latest switch that holds."""
    for switch in switches:
        if switch.holds(now):
            return switch.mode or settings
    return settings


def _variants(
    libraries: Mapping[InstitutionId, Library],
) -> dict[tuple[InstitutionId, Mode], Library]:
    return {
        (code, mode): replace(library, mode=mode)
        for code, library in libraries.items()
        for mode in Mode
    }


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
