"""Removing what is older than its time, by the rules of ``ports.privacy.RetentionRule``.

Nothing here stores. Rules —

- nothing is removed unless it is said; the same question tells what would be removed;
- lot by lot: what was killed goes on where it stopped, with the next run;
- the run is audited with its figures, so that ``doctor`` sees when the last one was;
- the worker removes only what ``safeguard`` lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.ids import InstitutionId
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.privacy import Due, PrivacyStore, RetentionRule
from connector.ports.store import AuditLog
from connector.services.enrolment import EnrolmentService
from connector.services.privacy import KeepingTimes
from connector.services.safeguard import RETENTION_RAN, Hold, Safeguard

__all__ = ["RetentionRun", "RetentionService", "RetentionStatus"]

_log = get_logger(__name__)

_LOT = 500
_SMALL_LOT = 25
"""A lot of people: each takes some twenty statements, and kiosks wait behind them."""
_GUARDED = frozenset({RetentionRule.LOANS, RetentionRule.EVENTS, RetentionRule.CLOSED_PEOPLE})
"""What says something about a person who may still need it."""
_LATE_AFTER = timedelta(days=40)
_ALLOWANCE = timedelta(days=3)
"""What became due within this time may wait for the next run of the worker."""


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """What one run removed, by rule.

    Attributes:
        held: what was left alone, since it was too much or the clock may be wrong.
    """

    removed: Mapping[RetentionRule, int]
    held: tuple[Hold, ...] = ()

    @property
    def total(self) -> int:
        """How much in all."""
        return sum(self.removed.values())


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """Whether retention is done as it should be.

    Attributes:
        last_run: None = it never ran.
        is_late: it has not run for 40 days, and there are people in the register.
        overdue: how much should have gone days ago.
    """

    last_run: datetime | None
    is_late: bool
    overdue: int


@dataclass(frozen=True, slots=True)
class RetentionService:
    """Retention for every library of the process."""

    store: PrivacyStore
    audit: AuditLog
    enrolment: EnrolmentService
    libraries: tuple[InstitutionId, ...]
    times: KeepingTimes
    now: Clock
    safeguard: Safeguard

    def list_due(self, *, actor: str) -> Iterator[Due]:
        """Yield every rule with how much of it is due."""
        yield Due(RetentionRule.UNANSWERED, self._purge(actor=actor, dry_run=True))
        yield from self._list_stored()

    def _list_stored(self) -> Iterator[Due]:
        now = self.now()
        for rule in RetentionRule:
            if rule is not RetentionRule.UNANSWERED:
                yield self.store.count_due(rule, now - self._time_of(rule))

    def run_guarded(self, *, actor: str) -> RetentionRun:
        """Remove what is due as far as the safeguard lets a worker; the rest is held for a person.

        What is unanswered has a job of its own.
        """
        if clock := self.safeguard.note_clock():
            return RetentionRun({}, (clock,))
        held = []
        for due in self._list_stored():
            hold = None
            if due.rule in _GUARDED:
                hold = self.safeguard.check_share(due.rule.value, due.count, due.of)
                self.safeguard.note(self.libraries[0], due.rule.value, hold)
            if hold is not None:
                held.append(hold)
        left = {RetentionRule(hold.job) for hold in held} | {RetentionRule.UNANSWERED}
        removed = self.run(actor=actor, without=frozenset(left)).removed
        return RetentionRun(removed, tuple(held))

    def check(self, *, actor: str) -> tuple[Hold, ...]:
        """Return why a worker would not remove all that is due; for a person who is about to."""
        holds = [self.safeguard.check_clock()]
        holds += [
            self.safeguard.check_share(due.rule.value, due.count, due.of)
            for due in self._list_stored()
            if due.rule in _GUARDED
        ]
        holds += [
            self.safeguard.check_people(
                RetentionRule.UNANSWERED.value,
                code,
                self.enrolment.purge_unanswered(code, actor=actor, dry_run=True),
            )
            for code in self.libraries
        ]
        return tuple(hold for hold in holds if hold is not None)

    def run(
        self,
        *,
        actor: str,
        progress: Callable[[RetentionRule, int], None] | None = None,
        without: frozenset[RetentionRule] = frozenset(),
    ) -> RetentionRun:
        """Remove all that is due.

        Args:
            progress: is told the rule and how many were removed of it so far.
            without: rules that are left out.
        """
        now = self.now()
        removed: dict[RetentionRule, int] = {}
        if RetentionRule.UNANSWERED not in without:
            removed[RetentionRule.UNANSWERED] = self._purge(actor=actor)
        for rule in RetentionRule:
            if rule is RetentionRule.UNANSWERED or rule in without:
                continue
            before, done = now - self._time_of(rule), 0
            limit = _SMALL_LOT if rule is RetentionRule.CLOSED_PEOPLE else _LOT
            while lot := self.store.remove_due(rule, before, limit=limit, actor=actor):
                done += lot
                if progress is not None:
                    progress(rule, done)
            removed[rule] = done
        self.store.overwrite_deleted()
        run = RetentionRun(removed)
        self.audit.append(
            RETENTION_RAN,
            actor=actor,
            detail={rule.value: count for rule, count in removed.items() if count},
        )
        _log.info("retention.ran", total=run.total)
        return run

    def status(self) -> RetentionStatus:
        """Return whether it runs, and whether anything is overdue."""
        now = self.now()
        last_run = self.store.find_last_action(RETENTION_RAN)
        begun = last_run or self.store.find_first_person()
        overdue = sum(
            self.store.count_due(rule, now - self._time_of(rule) - _ALLOWANCE).count
            for rule in RetentionRule
            if rule is not RetentionRule.UNANSWERED
        )
        return RetentionStatus(
            last_run, is_late=begun is not None and now - begun > _LATE_AFTER, overdue=overdue
        )

    def _time_of(self, rule: RetentionRule) -> timedelta:
        times = self.times
        return timedelta(
            days={
                RetentionRule.LOANS: times.loan_history_days,
                RetentionRule.EVENTS: times.loan_history_days,
                RetentionRule.CLOSED_PEOPLE: times.closed_person_days,
                RetentionRule.ERASED_PEOPLE: times.loan_history_days,
                RetentionRule.REFUSALS: times.refusal_days,
                RetentionRule.OUTBOX: times.outbox_days,
                RetentionRule.DEFERRED: times.outbox_days,
                RetentionRule.PAYMENTS: times.outbox_days,
                RetentionRule.TASKS: times.task_days,
                RetentionRule.AUDIT: times.audit_days,
            }[rule]
        )

    def _purge(self, *, actor: str, dry_run: bool = False) -> int:
        return sum(
            self.enrolment.purge_unanswered(code, actor=actor, dry_run=dry_run)
            for code in self.libraries
        )
