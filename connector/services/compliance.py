"""The figures of the yearly report on children's data, and the report in words.

Nothing here knows a person: it counts. Rules —

- one data structure; JSON and Markdown in either language are made from it;
- the audit log is the witness of what was done in the year, the database of what is held now;
- an action that this module does not know is in the list of all actions nevertheless.

Facts: 未成年人网络保护条例 art. 37 (yearly audit), PIPL art. 28, 31, 51, 54–56.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Protocol

from connector.domain.identity import age_on
from connector.ports.clock import Clock
from connector.ports.privacy import ActionCount, Due, PrivacyStore
from connector.ports.store import AuditLog
from connector.services.compliance_words import render_report
from connector.services.privacy import KeepingTimes
from connector.services.privacy_words import PrivacyWords
from connector.services.retention import RetentionService
from connector.services.safeguard import RETENTION_RAN

__all__ = ["FORMAT", "ComplianceReport", "ComplianceService", "EnrolmentTerms", "Problem"]

FORMAT = "onecard-compliance-report/1"
REPORTED = "privacy.reported"
_CHILD_YEARS = 14
_TASK_DAYS = timedelta(days=30)
_CLOSING_DAYS = timedelta(days=90)

_RIGHTS: Mapping[str, tuple[str, ...]] = {
    "exports": ("privacy.exported",),
    "erasures": ("person.erased", "enrolment.erased"),
    "closings": ("closing.begun",),
    "lists": ("pupils.exported",),
    "unmasked": ("pupils.exported/full",),
    "retention_runs": (RETENTION_RAN,),
    "key_rotations": ("keys.rotated",),
    "backups": ("backup.made",),
    "restores": ("backup.restored",),
    "reports": (REPORTED,),
}
"""Line of the report → actions of the audit log that are counted in it; after ``/`` the scope."""
_FOR_THE_LIBRARY = ("assessment", "officer", "processors", "access", "incidents")
"""What a database cannot tell."""
_LOOKING = ("exported", "searched", "looked", "listed", "found", "shown")
_FAILING = ("not_found", "failed", "refused", "blocked", "denied", "rejected")


class EnrolmentTerms(Protocol):
    """What the report says of ``[enrolment]`` of the settings."""

    @property
    def purge_unanswered_days(self) -> int:
        """After how many days an unanswered application goes."""

    @property
    def consent_text_version(self) -> str:
        """Version of the consent text."""

    @property
    def consent_at_fourteen(self) -> bool:
        """Whether a guardian consents anew when the child turns 14."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person has to put right."""

    code: str
    count: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class ComplianceReport:
    """Figures, codes and staff accounts; nothing about a person.

    Attributes:
        children: by (library, age, school stage, state); age: ``under_14``, ``from_14``,
            ``unknown``.
        consents: by (scope, ``given | refused | withdrawn``).
        actions: all of the year.
    """

    year: int
    made_at: datetime
    children: Mapping[tuple[str, str, str, str], int]
    consents: Mapping[tuple[str, str], int]
    actions: Sequence[ActionCount]
    audit_intact: bool
    audit_entries: int
    settings: Mapping[str, str | int | bool]
    due: Sequence[Due]
    problems: Sequence[Problem]

    def document(self) -> dict[str, Any]:
        """Return what JSON is written from."""
        by_action, by_scope = Counter[str](), Counter[str]()
        for entry in self.actions:
            by_action[entry.action] += entry.count
            marked = entry.scope if entry.action.startswith("pupils.") else ""
            by_scope[f"{entry.action}/{marked}".rstrip("/")] += entry.count
        return {
            "format": FORMAT,
            "year": self.year,
            "made_at": self.made_at.isoformat(timespec="seconds"),
            "children": {
                "total": sum(self.children.values()),
                "by_age": _sum_by(self.children, 1),
                "by_stage": _sum_by(self.children, 2),
                "by_state": _sum_by(self.children, 3),
                "rows": [
                    dict(zip(("library", "age", "stage", "state"), key, strict=True))
                    | {"count": count}
                    for key, count in sorted(self.children.items())
                ],
            },
            "consents": [
                {"scope": scope, "answer": answer, "count": count}
                for (scope, answer), count in sorted(self.consents.items())
            ],
            "rights": {
                line: sum(by_scope[action] for action in actions)
                for line, actions in _RIGHTS.items()
            },
            "looked": self._entries(_is_looking),
            "failed": self._entries(_is_failing),
            "actions": dict(sorted(by_action.items())),
            "audit": {"intact": self.audit_intact, "entries": self.audit_entries},
            "settings": dict(self.settings),
            "due": [
                {
                    "rule": due.rule.value,
                    "count": due.count,
                    "oldest": None if due.oldest is None else due.oldest.date().isoformat(),
                }
                for due in self.due
            ],
            "for_the_library": list(_FOR_THE_LIBRARY),
            "problems": [
                {"code": problem.code, "count": problem.count, "name": problem.name}
                for problem in self.problems
            ],
        }

    def markdown(self, words: PrivacyWords) -> str:
        """Return the report in words."""
        return render_report(self.document(), words)

    def _entries(self, is_one: Callable[[ActionCount], bool]) -> list[dict[str, Any]]:
        counts = Counter[tuple[str, str]]()
        for entry in self.actions:
            if is_one(entry):
                counts[entry.actor, entry.action] += entry.count
        return [
            {"actor": actor, "action": action, "count": count}
            for (actor, action), count in sorted(counts.items())
        ]


def _ends_with(action: str, endings: Sequence[str]) -> bool:
    word = action.rpartition(".")[2]
    return any(word == ending or word.startswith(f"{ending}_") for ending in endings)


def _is_looking(entry: ActionCount) -> bool:
    return _ends_with(entry.action, _LOOKING)


def _is_failing(entry: ActionCount) -> bool:
    """Say whether it failed; a search that met a child of another school is one that was refused,
    a consent that was refused is an answer.
    """
    if entry.action.startswith("consent."):
        return False
    return entry.scope == "elsewhere" or _ends_with(entry.action, _FAILING)


@dataclass(frozen=True, slots=True)
class ComplianceService:
    """Makes the report.

    Attributes:
        stale_after: (library, name) of each roster feed of the settings → when it is stale.
    """

    store: PrivacyStore
    audit: AuditLog
    retention: RetentionService
    times: KeepingTimes
    terms: EnrolmentTerms
    stale_after: Mapping[tuple[str, str], timedelta]
    zone: tzinfo
    now: Clock

    def make_report(self, year: int, *, actor: str) -> ComplianceReport:
        """Count everything; audited."""
        now = self.now()
        since = datetime(year, 1, 1, tzinfo=self.zone)
        until = datetime(year + 1, 1, 1, tzinfo=self.zone)
        actions = self.store.count_actions(since, until)
        children = self._count_children(now.astimezone(self.zone).date())
        intact, entries = self.audit.verify()
        due = tuple(self.retention.list_due(actor=actor))
        report = ComplianceReport(
            year=year,
            made_at=now.astimezone(self.zone),
            children=children,
            consents=_count_consents(actions),
            actions=actions,
            audit_intact=intact,
            audit_entries=entries,
            settings=self._settings(),
            due=due,
            problems=(
                *([] if intact else [Problem("audit_broken")]),
                *self._problems(now, children),
            ),
        )
        self.audit.append(REPORTED, actor=actor, detail={"year": year})
        return report

    def _count_children(self, today: date) -> dict[tuple[str, str, str, str], int]:
        counts = Counter[tuple[str, str, str, str]]()
        for child in self.store.list_children():
            age = "unknown" if child.birth_date is None else _age_group(child.birth_date, today)
            counts[child.institution, age, child.stage or "unknown", child.state] += 1
        return dict(counts)

    def _settings(self) -> dict[str, str | int | bool]:
        times, terms = self.times, self.terms
        return {
            "encryption": True,
            "lookup": True,
            "masking": True,
            "loan_history_days": times.loan_history_days,
            "closed_person_days": times.closed_person_days,
            "refusal_days": times.refusal_days,
            "audit_days": times.audit_days,
            "outbox_days": times.outbox_days,
            "task_days": times.task_days,
            "purge_unanswered_days": terms.purge_unanswered_days,
            "consent_text_version": terms.consent_text_version,
            "consent_at_fourteen": terms.consent_at_fourteen,
        }

    def _problems(
        self, now: datetime, children: Mapping[tuple[str, str, str, str], int]
    ) -> Iterable[Problem]:
        status = self.retention.status()
        if status.is_late:
            yield Problem("retention_late")
        if status.overdue:
            yield Problem("retention_due", status.overdue)
        old = self.store.count_old_keys()
        if old.people + old.identifiers:
            yield Problem("old_keys", old.people + old.identifiers)
        feeds = {(feed.institution, feed.name): feed.last_ok_at for feed in self.store.list_feeds()}
        for (institution, name), limit in self.stale_after.items():
            last = feeds.get((institution, name))
            if last is None or now - last > limit:
                yield Problem("stale_feed", name=name)
        for tasks in self.store.count_open_tasks(now - _TASK_DAYS):
            yield Problem("overdue_task", tasks.count, tasks.kind)
        if late := self.store.count_closings(now - _CLOSING_DAYS):
            yield Problem("late_closing", late)
        if unknown := sum(count for key, count in children.items() if key[1] == "unknown"):
            yield Problem("unknown_age", unknown)


def _sum_by(counts: Mapping[tuple[str, str, str, str], int], place: int) -> dict[str, int]:
    sums = Counter[str]()
    for key, count in counts.items():
        sums[key[place]] += count
    return dict(sorted(sums.items()))


def _age_group(birth_date: date, today: date) -> str:
    return "under_14" if age_on(birth_date, today) < _CHILD_YEARS else "from_14"


def _count_consents(actions: Iterable[ActionCount]) -> dict[tuple[str, str], int]:
    counts = Counter[tuple[str, str]]()
    for entry in actions:
        group, _, answer = entry.action.partition(".")
        if group == "consent" and answer in {"given", "refused", "withdrawn"}:
            counts[entry.scope or "card", answer] += entry.count
    return dict(counts)
