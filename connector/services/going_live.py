"""Is a library ready to enforce the policy? What its machines did, and what is still missing.

Nothing here reads a database or switches a mode. Rules: decision 18, scenario 41 —

- a would-be refusal is what the policy would have said in ``observe``; it altered no answer;
- the report counts and names no reader; whether a library goes live is decided by people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

__all__ = ["ADOPTED_ALL", "MachineReport", "Need", "count_machines"]

ADOPTED_ALL = "ledger.adopted_all"
"""What the audit log calls the taking over of every patron's loans."""

_PASSED = "passed_through"
_REFUSED = {"refuse": "refused", "would_refuse": "would_be_refused"}


class CountedEvent(Protocol):
    """Events of one kind on one day."""

    @property
    def day(self) -> date:
        """Local day."""

    @property
    def verb(self) -> str:
        """What happened."""

    @property
    def reason(self) -> str:
        """Why, of a refusal."""

    @property
    def terminal_kind(self) -> str:
        """Kind of machine."""

    @property
    def count(self) -> int:
        """How often."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that should be so before a library enforces the policy."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class MachineReport:
    """What the machines of one library did.

    Attributes:
        days: days on which anything happened.
        done: verb → count, for people whom we enrolled.
        passed: the same for people whom the ILS alone decided about.
        refusals: (outcome, reason) → count; outcome: ``refused`` or ``would_be_refused``.
        lines: outcome, day, kind of machine, reason and count: the same, in full.
    """

    days: tuple[date, ...]
    done: dict[str, int]
    passed: dict[str, int]
    refusals: dict[tuple[str, str], int]
    lines: tuple[tuple[str, date, str, str, int], ...]

    def count(self, outcome: str) -> int:
        """Return how often something was refused, or would have been."""
        return sum(count for (found, _), count in self.refusals.items() if found == outcome)

    @property
    def asked(self) -> int:
        """Checkouts and renewals of people whom we enrolled, and what was refused of them.

        What would have been refused was done all the same, or refused by the ILS.
        """
        return self.done.get("checkout", 0) + self.done.get("renew", 0) + self.count("refused")


def count_machines(events: Iterable[CountedEvent]) -> MachineReport:
    """Sum up what the machines of one library did."""
    done: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    refusals: Counter[tuple[str, str]] = Counter()
    lines: list[tuple[str, date, str, str, int]] = []
    days: set[date] = set()
    for event in events:
        days.add(event.day)
        outcome = _REFUSED.get(event.verb)
        if outcome is not None:
            refusals[outcome, event.reason] += event.count
            lines.append((outcome, event.day, event.terminal_kind, event.reason, event.count))
        else:
            (passed if event.reason == _PASSED else done)[event.verb] += event.count
    return MachineReport(
        tuple(sorted(days)),
        dict(done),
        dict(passed),
        dict(sorted(refusals.items(), key=lambda pair: (-pair[1], pair[0]))),
        tuple(lines),
    )
