"""What ``onecard library report`` collects and prints.

Nothing here decides whether a library goes live. Rule: counts only; no reader and no item is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from connector.bootstrap import Application
from connector.domain.ids import InstitutionId
from connector.domain.policy import select_policy
from connector.errors import AdapterError
from connector.ports.ils import Capability
from connector.services.going_live import ADOPTED_ALL, Need, count_machines
from connector.storage.overview import Overview

__all__ = ["collect_report", "list_needs", "print_report"]

_ENOUGH_DAYS = 5
_OUTCOMES = {"refused": "refused", "would_be_refused": "would be refused"}


def collect_report(app: Application, code: InstitutionId, days: int) -> dict[str, Any]:
    """Return the report of one library, ready for JSON."""
    library = app.libraries[code]
    first = library.today(app.now()) - timedelta(days=days - 1)
    machines = count_machines(Overview(app.store.database).count_events(code, first))
    return {
        "library": code,
        "mode": library.mode.value,
        "first_day": first.isoformat(),
        "days_with_events": len(machines.days),
        "done": machines.done,
        "passed_through": machines.passed,
        "asked": machines.asked,
        "refused": machines.count("refused"),
        "would_be_refused": machines.count("would_be_refused"),
        "by_reason": [
            {"outcome": outcome, "reason": reason, "count": count}
            for (outcome, reason), count in machines.refusals.items()
        ],
        "by_day": [
            {
                "outcome": outcome,
                "day": day.isoformat(),
                "terminal_kind": kind,
                "reason": reason,
                "count": count,
            }
            for outcome, day, kind, reason, count in machines.lines
        ],
        "needs": [asdict(need) for need in list_needs(app, code, len(machines.days))],
    }


def list_needs(app: Application, code: InstitutionId, observed_days: int) -> Iterator[Need]:
    """Yield what should be so before the library enforces the policy."""
    overview = Overview(app.store.database)
    library = app.libraries[code]
    policy = select_policy(
        library.policies, app.settings.enrolment.category, library.today(app.now())
    )
    version = policy.version if policy is not None else "none"
    yield Need(
        "policy", policy is not None, f"In force: {version}.", "Set [policy] effective_from."
    )
    yield Need(
        "observed",
        observed_days >= _ENOUGH_DAYS,
        f"Machines were used on {observed_days} days.",
        "Let it observe for a week.",
    )
    accounts = overview.count_accounts(code)
    yield Need(
        "patrons", accounts > 0, f"{accounts} enrolled patrons.", "See: onecard enrol --help"
    )
    adopted = app.store.privacy.find_last_action(ADOPTED_ALL)
    when = f"last on {adopted.astimezone(library.zone):%Y-%m-%d %H:%M}" if adopted else "never"
    yield Need(
        "loans taken over", adopted is not None, f"All: {when}.", "Run: onecard ledger adopt --all"
    )
    pending = app.open_outcomes.list_open(code)
    yield Need(
        "open outcomes", not pending, f"{len(pending)} are open.", "See: onecard ledger unknown"
    )
    items = sum(item.owner == code for item in overview.list_unknown_items())
    yield Need(
        "item facts",
        not items,
        f"{items} items were lent whose language nobody knows.",
        "See: onecard items list",
    )
    yield _need_of_ils(app, code)


def _need_of_ils(app: Application, code: InstitutionId) -> Need:
    adapter = app.adapters[code]
    try:
        adapter.ping()
    except AdapterError as err:
        return Need(
            "library system",
            ok=False,
            message=f"It does not answer ({type(err).__name__}).",
            remedy="Run: onecard doctor",
        )
    if Capability.FETCH_ITEM_LOAN not in adapter.capabilities:
        return Need(
            "library system",
            ok=False,
            message="It cannot tell who has an item.",
            remedy="Unknown outcomes are settled by hand: onecard ledger settle",
        )
    return Need("library system", ok=True, message="It answers. Its loan rules: onecard doctor")


def print_report(report: dict[str, Any]) -> None:
    """Print the report for people."""
    click.echo(
        f"{report['library']}: {report['mode']}, from {report['first_day']}, machines were used "
        f"on {report['days_with_events']} days."
    )
    done, passed = report["done"], report["passed_through"]
    click.echo(
        f"Enrolled: {done.get('checkout', 0)} checkouts, {done.get('renew', 0)} renewals, "
        f"{done.get('checkin', 0)} returns. Others, passed through: "
        f"{passed.get('checkout', 0)}, {passed.get('renew', 0)}, {passed.get('checkin', 0)}."
    )
    share = f" of {report['asked']}" if report["asked"] else ""
    for outcome, words in _OUTCOMES.items():
        click.echo(f"{report[outcome]:>6}  {words}{share}")
    for row in report["by_reason"]:
        click.echo(f"{row['count']:>6}  {_OUTCOMES[row['outcome']]}: {row['reason']}")
    if report["by_day"]:
        click.echo("By day and machine:")
    for row in report["by_day"]:
        click.echo(
            f"{row['count']:>6}  {row['day']}  {row['terminal_kind']}  "
            f"{_OUTCOMES[row['outcome']]}: {row['reason']}"
        )
    click.echo("Before it enforces:")
    for need in report["needs"]:
        mark = "ok  " if need["ok"] else "open"
        click.echo(f"  {mark}  {need['name']}: {need['message']}")
        if not need["ok"] and need["remedy"]:
            click.echo(f"        → {need['remedy']}")
