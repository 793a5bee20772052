"""Whether a library's ILS answers, since when it does not, and what its kiosks may do meanwhile.

Nothing here lends, takes back or tells an ILS anything. Rules —

- the ILS is away from the first call without an answer to the next one with an answer;
- a restart forgets that moment, so that what was recorded since and never tried counts as well;
- in ``observe`` and ``bypass`` nothing is done in the ILS's place: kiosks hear what it would say.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.ids import InstitutionId, ItemId
from connector.domain.library import Library, Mode
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.deferred import Backlog, DeferredStore
from connector.ports.watch import Watch

__all__ = ["AwayDesk", "AwayOffer", "AwayWatch"]

_log = get_logger(__name__)

_ANSWERED = "answered"
_SILENT = frozenset({"unavailable", "unknown"})


@dataclass(frozen=True, slots=True)
class AwayOffer:
    """What kiosks of a library may do while its ILS is away."""

    checkin: bool
    checkout: bool


class AwayDesk:
    """One instance serves all libraries and threads of the process.

    Attributes:
        deferred: the queues.
    """

    def __init__(
        self, libraries: Mapping[InstitutionId, Library], deferred: DeferredStore, now: Clock
    ) -> None:
        self._libraries = libraries
        self.deferred = deferred
        self._now = now
        self._silent_since: dict[InstitutionId, datetime] = {}
        self._lock = threading.Lock()

    def note_call(self, institution: InstitutionId, outcome: str) -> None:
        """An ILS was asked; outcomes as in ``connector.ports.watch``."""
        if outcome == _ANSWERED:
            if institution in self._silent_since:
                with self._lock:
                    self._silent_since.pop(institution, None)
                _log.info("ils.back", institution=institution)
        elif outcome in _SILENT and institution not in self._silent_since:
            with self._lock:
                self._silent_since.setdefault(institution, self._now())
            _log.warning("ils.away", institution=institution, reason=outcome)

    def is_away(self, institution: InstitutionId) -> bool:
        """Say whether the last call had no answer; without I/O."""
        return institution in self._silent_since

    def away_since(self, institution: InstitutionId) -> datetime | None:
        """Return since when the ILS has not answered; None = it answers."""
        since = self._silent_since.get(institution)
        if since is None:
            return None
        untried = [
            each.untried_since
            for each in self.deferred.list_backlogs()
            if each.institution == institution and each.untried_since is not None
        ]
        return min([since, *untried])

    def takes_returns(self, library: Library) -> bool:
        """Say whether returns are taken while the ILS is away."""
        return library.away.queue_returns and library.mode is Mode.ENFORCE

    def lends(self, library: Library) -> bool:
        """Say whether enrolled patrons may borrow now, the ILS being away."""
        if not library.away.lend or library.mode is not Mode.ENFORCE:
            return False
        since = self.away_since(library.code)
        return since is None or self._now() - since <= timedelta(hours=library.away.hours)

    def offer(self, institution: InstitutionId) -> AwayOffer:
        """Return what 98 may promise while the ILS is away (checkin ok, checkout ok)."""
        library = self._libraries[institution]
        return AwayOffer(checkin=self.takes_returns(library), checkout=self.lends(library))

    def is_waiting(self, library: Library, item: ItemId) -> bool:
        """Say whether the ILS is still to hear of the item: what happens next waits its turn."""
        return self.deferred.is_waiting(library.code, item)

    def list_backlogs(self) -> tuple[Backlog, ...]:
        """Return the queue of every library that has one."""
        return self.deferred.list_backlogs()


class AwayWatch:
    """A watch that tells the desk, too, which ILS answers."""

    def __init__(self, watch: Watch, away: AwayDesk) -> None:
        self._watch = watch
        self._away = away

    def note_ils(
        self, institution: InstitutionId, operation: str, outcome: str, seconds: float
    ) -> None:
        """An ILS was asked."""
        self._watch.note_ils(institution, operation, outcome, seconds)
        self._away.note_call(institution, outcome)

    def note_refusal(self, institution: InstitutionId, reason: str, *, enforced: bool) -> None:
        """The policy refused something, or would have."""
        self._watch.note_refusal(institution, reason, enforced=enforced)

    def note_wrong_pin(self, institution: InstitutionId) -> None:
        """The ILS said that a PIN is wrong."""
        self._watch.note_wrong_pin(institution)
