"""Pupils whom a complete roster does not name: let go, or held until a person has decided.

Nothing here reads a roster. Rules (scenario 26, A04) —

- only a roster that says that it is complete, or a list of changes, tells who has left;
- where more than so many in a hundred are missing, where a row or a sheet was not read, nobody is
  closed: the batch is held, and a person says who of the list has left;
- a leaver whose card was never opened is removed; an open card begins to be closed;
- whoever is in another school by now, or is named by a later roster, stays; so does who has
  finished the school, until his card expires.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import CLOSED_STATES, ApplicationState
from connector.domain.ids import PatronId
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, Batch, EnrolmentStore, School, Valve
from connector.ports.rosters import Leaver, LeaverState, RosterStore
from connector.ports.schools import SchoolStore
from connector.ports.tasks import TaskKind, TaskStore

__all__ = ["CardCloser", "LeaverReport", "RosterLeavers"]

_OPENED = frozenset(
    {ApplicationState.ACTIVATING, ApplicationState.ACTIVE, ApplicationState.EXISTING_CARD}
)


class CardCloser(Protocol):
    """What begins to close a card; ``connector.services.closing.ClosingService``."""

    def begin(self, patron_id: PatronId, reason: ClosingReason, *, actor: str) -> bool:
        """Take nothing but returns from now on; say whether anything changed."""
        ...


@dataclass(frozen=True, slots=True)
class LeaverReport:
    """What became of leavers.

    Attributes:
        open: how many of the batch are still to be decided on.
    """

    left: int = 0
    kept: int = 0
    open: int = 0


@dataclass(frozen=True, slots=True)
class RosterLeavers:
    """Leavers of every library of the process."""

    store: EnrolmentStore
    rosters: RosterStore
    schools: SchoolStore
    tasks: TaskStore
    closer: CardCloser
    now: Clock

    def find_missing(
        self, school: School, named: Collection[PatronId], *, batch: Batch | None
    ) -> tuple[list[PatronId], int]:
        """Return the school's pupils whom a roster does not name, and how many pupils it had.

        Who was entered since the import began is not counted, nor who has finished the school and
        keeps his card for the days of grace.
        """
        pupils = self._list_pupils(school, batch)
        return [patron_id for patron_id in pupils if patron_id not in named], len(pupils)

    def _list_pupils(self, school: School, batch: Batch | None) -> list[PatronId]:
        finished = self.schools.list_finished(school.school_id)
        return [
            application.patron_id
            for application in self.store.list_applications(
                school.institution, school_id=school.school_id
            )
            if application.state not in CLOSED_STATES
            and application.patron_id not in finished
            and (batch is None or application.batch_id != batch.batch_id)
            and (batch is None or application.entered_at <= batch.created_at)
        ]

    def settle(
        self,
        batch: Batch,
        school: School,
        named: Collection[PatronId],
        *,
        drop_percent: float,
        is_doubtful: bool,
        actor: str,
    ) -> Batch:
        """Propose whom the complete roster does not name, and let them go if they are few.

        Args:
            is_doubtful: a row or a sheet was not read; it may name the missing ones.
        """
        missing, pupils = self.find_missing(school, named, batch=batch)
        for held in self.rosters.list_held(school):
            if held.batch_id != batch.batch_id:
                self.dismiss(held, actor=actor)
        valve = choose_valve(
            len(missing), pupils, drop_percent=drop_percent, is_doubtful=is_doubtful
        )
        return self._propose(batch, school, missing, valve, actor)

    def settle_named(
        self,
        batch: Batch,
        school: School,
        gone: Collection[PatronId],
        *,
        drop_percent: float,
        actor: str,
    ) -> Batch:
        """Propose whom a list of changes takes out of the school, and let them go if they are few;
        what a complete roster proposed before stays open.
        """
        pupils = self._list_pupils(school, batch)
        leaving = [patron_id for patron_id in pupils if patron_id in gone]
        valve = choose_valve(
            len(leaving), len(pupils), drop_percent=drop_percent, is_doubtful=False
        )
        return self._propose(batch, school, leaving, valve, actor)

    def _propose(
        self, batch: Batch, school: School, missing: list[PatronId], valve: Valve, actor: str
    ) -> Batch:
        if not batch.missing:
            batch = self.rosters.propose_leavers(batch, missing, valve=valve, actor=actor)
        if batch.valve is Valve.HELD:
            self.tasks.open_task(
                batch.institution,
                TaskKind.DROP_HELD,
                about=batch.batch_id,
                detail={"batch": batch.number, "school": school.code, "missing": batch.missing},
                actor=actor,
            )
        else:
            for leaver in self._list_proposed(batch):
                self._let_go(leaver, batch, actor)
        return batch

    def list_leavers(self, batch: Batch) -> tuple[tuple[Leaver, Application | None], ...]:
        """Return a batch's leavers by number, each with his application; the erased are gone."""
        leavers = self.rosters.list_leavers(batch.batch_id)
        found = self.store.find_applications([leaver.patron_id for leaver in leavers])
        return tuple((leaver, found.get(leaver.patron_id)) for leaver in leavers)

    def confirm(self, batch: Batch, serials: Sequence[int] = (), *, actor: str) -> LeaverReport:
        """Let leavers of a held batch go: those with these numbers, or all. Doing it again is
        harmless, and goes on where it broke off.

        Raises:
            NotFound: the list never had one of the numbers.
            ConfigurationError: the batch is not held.
        """
        left = kept = 0
        for leaver in self._choose(batch, serials):
            if self._let_go(leaver, batch, actor):
                left += 1
            else:
                kept += 1
        return LeaverReport(left, kept, self._end(batch, actor))

    def dismiss(self, batch: Batch, serials: Sequence[int] = (), *, actor: str) -> LeaverReport:
        """Keep leavers of a held batch: those with these numbers, or all.

        Raises:
            NotFound, ConfigurationError: as ``confirm``.
        """
        kept = sum(
            self.rosters.decide_leaver(leaver, LeaverState.KEPT, actor=actor)
            for leaver in self._choose(batch, serials)
        )
        return LeaverReport(0, kept, self._end(batch, actor))

    def _choose(self, batch: Batch, serials: Sequence[int]) -> list[Leaver]:
        if batch.valve is Valve.NONE:
            raise ConfigurationError(
                f"Batch {batch.number} is not held.", "See: onecard enrol batches"
            )
        strange = [serial for serial in serials if not 1 <= serial <= batch.missing]
        if strange:
            raise NotFound(f"number {strange[0]} in the list of leavers")
        return [
            leaver
            for leaver in self._list_proposed(batch)
            if not serials or leaver.serial in serials
        ]

    def _list_proposed(self, batch: Batch) -> list[Leaver]:
        return [
            leaver
            for leaver in self.rosters.list_leavers(batch.batch_id)
            if leaver.state is LeaverState.PROPOSED
        ]

    def _let_go(self, leaver: Leaver, batch: Batch, actor: str) -> bool:
        """Let one pupil go, unless he is elsewhere by now; say whether he left."""
        application = self.store.find_application(leaver.patron_id)
        if application is None or application.school_id != batch.school_id:
            self.rosters.decide_leaver(leaver, LeaverState.KEPT, actor=actor)
            return False
        if application.state in CLOSED_STATES:  # by this import before it broke off, or otherwise
            has_left = application.reason == ClosingReason.LEFT
            state = LeaverState.LEFT if has_left else LeaverState.KEPT
            return self.rosters.decide_leaver(leaver, state, actor=actor) and has_left
        if application.state not in _OPENED:
            try:
                self.store.erase_applicant(leaver.patron_id, actor=actor, now=self.now())
            except StorageConflict:  # a card of his was opened before, or is at this moment
                pass
            else:
                return True
        self.closer.begin(leaver.patron_id, ClosingReason.LEFT, actor=actor)
        self.rosters.decide_leaver(leaver, LeaverState.LEFT, actor=actor)
        return True

    def _end(self, batch: Batch, actor: str) -> int:
        """Note that everybody of a held batch is decided on, if so; return how many are not."""
        leavers = self.rosters.list_leavers(batch.batch_id)
        proposed = sum(leaver.state is LeaverState.PROPOSED for leaver in leavers)
        if not proposed:
            kept = sum(leaver.state is LeaverState.KEPT for leaver in leavers)
            valve = Valve.DISMISSED if kept == batch.missing else Valve.CONFIRMED
            self.rosters.set_valve(batch.batch_id, valve, actor=actor)
            self.tasks.finish_about(
                batch.institution,
                TaskKind.DROP_HELD,
                about=batch.batch_id,
                outcome=valve.value,
                actor=actor,
            )
        return proposed


def choose_valve(missing: int, pupils: int, *, drop_percent: float, is_doubtful: bool) -> Valve:
    """Return whether so many missing of so many pupils are held."""
    if missing and (is_doubtful or missing * 100 > drop_percent * pupils):
        return Valve.HELD
    return Valve.NONE
