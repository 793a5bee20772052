"""What a person is told and asked where the worker would have held back.

Nothing here decides what is too much; ``connector.services.safeguard`` does. Rule: without a clear
yes nothing is removed or closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import click

from connector.cli.context import CliContext, Refused
from connector.domain.ids import InstitutionId
from connector.services.safeguard import Hold, HoldCause

__all__ = ["confirm_due", "confirm_holds"]


def confirm_due(
    cli: CliContext, due: Mapping[InstitutionId, int], *, job: str, yes: bool, as_json: bool
) -> None:
    """Ask before a job takes too many of a library's people; raises ``Refused`` without a yes."""
    app = cli.app
    if yes or not sum(due.values()):
        return
    guard = app.safeguard
    holds = [guard.check_clock(), *(guard.check_people(job, *each) for each in due.items())]
    confirm_holds(holds, now=app.now(), yes=yes, english=cli.lang == "en", as_json=as_json)


def confirm_holds(
    holds: Sequence[Hold | None], *, now: datetime, yes: bool, english: bool, as_json: bool = False
) -> None:
    """Ask before what the worker would not do by itself; raises ``Refused`` without a yes."""
    held = [hold for hold in holds if hold is not None]
    if yes or not held:
        return
    lines = [_describe(hold, now, english=english) for hold in held]
    if as_json:
        raise Refused(" ".join([*lines, "Add --yes if that is right."]))
    for line in lines:
        click.echo(line, err=True)
    if not click.confirm("Is that right?" if english else "确认无误？", err=True):
        raise Refused("Nothing was changed." if english else "未作改动。")


def _describe(hold: Hold, now: datetime, *, english: bool) -> str:
    if hold.cause is HoldCause.SHARE:
        part = f"{hold.count} of {hold.of}" if english else f"{hold.of} 中的 {hold.count}"
        return f"{hold.job}: {part}."
    today = now.date().isoformat()
    if hold.last_run is None:
        return (
            f"The clock says {today}, and retention never ran on these data."
            if english
            else f"系统时钟为 {today}，这些数据从未执行过到期清理。"
        )
    last = hold.last_run.date().isoformat()
    return (
        f"The clock says {today}; the last run of retention was on {last}."
        if english
        else f"系统时钟为 {today}，上次到期清理为 {last}。"
    )
