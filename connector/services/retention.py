"""Removing what is older than its time, by the rules of ``ports.privacy.RetentionRule``.

Nothing here stores. Rules —

- nothing is removed unless it is said; the same question tells what would be removed;
- lot by lot: what was killed goes on where it stopped, with the next run;
- the run is audited with its figures, so that ``doctor`` sees when the last one was.
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

__all__ = ["RETENTION_RAN", "RetentionRun", "RetentionService", "RetentionStatus"]

_log = get_logger(__name__)

RETENTION_RAN = "retention.ran"
"""The action of a run in the audit log."""
_LOT = 500
_SMALL_LOT = 25
"""A lot of people: each takes some twenty statements, and kiosks wait behind them."""
_LATE_AFTER = timedelta(days=40)
_ALLOWANCE = timedelta(days=3)
"""What became due within this time may wait for the next run of the worker."""


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """What one run removed, by rule."""

    removed: Mapping[RetentionRule, int]

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

    def list_due(self, *, actor: str) -> Iterator[Due]:
        """Yield every rule with how much of it is due."""
        now = self.now()
        for rule in RetentionRule:
            if rule is RetentionRule.UNANSWERED:
                yield Due(rule, self._purge(actor=actor, dry_run=True))
            else:
                yield self.store.count_due(rule, now - self._time_of(rule))

    def run(
        self, *, actor: str, progress: Callable[[RetentionRule, int], None] | None = None
    ) -> RetentionRun:
        """Remove all that is due.

        Args:
            progress: is told the rule and how many were removed of it so far.
        """
        now = self.now()
        removed = {RetentionRule.UNANSWERED: self._purge(actor=actor)}
        for rule in RetentionRule:
            if rule is RetentionRule.UNANSWERED:
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
                RetentionRule.TASKS: times.task_days,
                RetentionRule.AUDIT: times.audit_days,
            }[rule]
        )

    def _purge(self, *, actor: str, dry_run: bool = False) -> int:
        return sum(
            self.enrolment.purge_unanswered(code, actor=actor, dry_run=dry_run)
            for code in self.libraries
        )
