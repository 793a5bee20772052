"""What holds the worker back before it removes or closes too much by itself.

Nothing here removes or closes anything. Rules (as the valve of the rosters, scenario 26) —

- what a person orders is done; the worker alone is held, and only in what cannot be taken back:
  removing, and closing cards because their time is over;
- a clock that is more than ``TRUSTED_GAP`` after the last run of retention may be wrong: all waits;
- a job that would take more than a share of all that there is waits: a number or a date is wrong,
  or a person should know;
- what is held is a task for staff; a person who runs the job himself has confirmed it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from connector.domain.ids import InstitutionId
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.privacy import PrivacyStore
from connector.ports.tasks import TaskKind, TaskStore

__all__ = ["RETENTION_RAN", "TRUSTED_GAP", "Hold", "HoldCause", "Safeguard"]

_log = get_logger(__name__)

RETENTION_RAN = "retention.ran"
"""The action of a run in the audit log; the clock of the next run is compared with it."""
TRUSTED_GAP = timedelta(days=35)
_ALWAYS = 20
"""So few are never held."""
_ACTOR = "worker"


class HoldCause(StrEnum):
    """Why something is held."""

    CLOCK = "clock"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held, and why.

    Attributes:
        job: short code, such as ``purge`` or the name of a rule of retention.
        count: how many it would have been, of ``of``; zero when it is the clock.
        last_run: of retention; None when it never ran, or when it is the share.
    """

    job: str
    cause: HoldCause
    count: int = 0
    of: int = 0
    last_run: datetime | None = None


@dataclass(frozen=True, slots=True)
class Safeguard:
    """Looks at what the worker is about to do.

    Attributes:
        percent: a job may take up to so many of a hundred.
    """

    store: PrivacyStore
    tasks: TaskStore
    libraries: tuple[InstitutionId, ...]
    percent: int
    now: Clock

    def check_clock(self) -> Hold | None:
        """Return a hold when the clock may have jumped: long after the last run of retention.

        Where none ever ran, the first person of the register tells how long there should have been.
        """
        now = self.now()
        last = self.store.find_last_action(RETENTION_RAN, until=now)
        begun = last or self.store.find_first_person()
        if begun is None or now - begun <= TRUSTED_GAP:
            return None
        return Hold("clock", HoldCause.CLOCK, last_run=last)

    def check_share(self, job: str, count: int, of: int) -> Hold | None:
        """Return a hold when ``count`` is too large a part of ``of``."""
        if count <= _ALWAYS or count * 100 <= self.percent * of:
            return None
        return Hold(job, HoldCause.SHARE, count, of)

    def check_people(self, job: str, institution: InstitutionId, count: int) -> Hold | None:
        """Return a hold when a job would take too many of a library's people."""
        if count <= _ALWAYS:
            return None
        return self.check_share(job, count, self.store.count_people(institution))

    def guard(
        self,
        job: str,
        institution: InstitutionId,
        *,
        count: Callable[[], int],
        run: Callable[[], object],
    ) -> Hold | None:
        """Run a job of the worker, unless it is held; return why it is.

        Args:
            count: says how many it would be.
        """
        if clock := self.note_clock():
            return clock
        due = count()
        hold = self.check_people(job, institution, due)
        self.note(institution, job, hold)
        if hold is None and due:
            run()
        return hold

    def note_clock(self) -> Hold | None:
        """Look at the clock, and open or end the task about it."""
        hold = self.check_clock()
        self.note(self.libraries[0], "clock", hold)
        return hold

    def note(self, institution: InstitutionId, job: str, hold: Hold | None) -> None:
        """Open the task about a hold, or end it where there is none any more."""
        about = f"held:{job}"
        if hold is None:
            self.tasks.finish_about(
                institution, TaskKind.REMOVAL_HELD, about=about, outcome="released", actor=_ACTOR
            )
            return
        detail: dict[str, str | int] = {"job": job, "reason": hold.cause.value}
        if hold.cause is HoldCause.SHARE:
            detail |= {"count": hold.count, "total": hold.of}
        self.tasks.open_task(
            institution, TaskKind.REMOVAL_HELD, about=about, detail=detail, actor=_ACTOR
        )
        _log.error(
            "removal.held",
            institution=institution,
            action=job,
            reason=hold.cause.value,
            count=hold.count,
            total=hold.of,
        )
