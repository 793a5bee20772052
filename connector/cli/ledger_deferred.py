"""``onecard ledger deferred | resolve``: what a library system has not heard of yet.

Nothing here decides; ``connector.services.replay`` does. Rule: rows are shown by codes and times;
whose loan it is, ``onecard ledger show --loan`` tells, and writes down that somebody looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option, libraries_of, library_option, print_table
from connector.ports.deferred import Backlog, DeferredState, DeferredWork

__all__ = ["DEFERRED_COMMANDS"]

_ENDS = {
    "done": DeferredState.DONE,
    "drop": DeferredState.DROPPED,
    "again": DeferredState.WAITING,
}


@click.command("deferred")
@library_option
@click.option("--replay", is_flag=True, help="Tell the library systems now, as far as they answer.")
@json_option
@pass_cli
def deferred(cli: CliContext, *, library: str | None, replay: bool, as_json: bool) -> None:
    """List what happened at machines and a library system has not heard of, or disagrees with.

    "waiting" is told by itself when the library system is back; "skipped" and "conflict" wait for
    you: see onecard ledger resolve.

    \b
    Example:
      onecard ledger deferred --replay
    """
    app = cli.app
    codes = libraries_of(app, library)
    if replay:
        _replay(app)
    rows = [
        work for code in codes for work in app.store.deferred.list_unresolved(code, limit=10_000)
    ]
    backlogs = [each for each in app.away.list_backlogs() if each.institution in codes]
    if as_json:
        write_json(
            {
                "libraries": [_describe_backlog(each) for each in backlogs],
                "rows": [_describe(work) for work in rows],
            }
        )
    else:
        _print(app, rows, backlogs)


@click.command("resolve")
@click.argument("seq", type=int)
@click.option(
    "--as",
    "outcome",
    type=click.Choice(sorted(_ENDS)),
    required=True,
    help="done: seen to in the library system; drop: it is right; again: tell it again.",
)
@click.option("--reason", required=True, help="Why: a word for the audit trail; never a name.")
@by_option
@pass_cli
def resolve(cli: CliContext, seq: int, *, outcome: str, reason: str, actor: str) -> None:
    """End a row that is skipped or in conflict, by its number in onecard ledger deferred.

    A row that is still waiting may only be dropped.

    \b
    Example:
      onecard ledger resolve 17 --as done --reason checked-in-by-hand
    """
    code = reason.strip()
    if not code or len(code) > 64 or not code.replace("-", "").replace("_", "").isalnum():
        raise click.UsageError("--reason is one word of letters, digits and hyphens.")
    app = cli.app
    if not app.store.deferred.resolve(seq, _ENDS[outcome], actor=actor, reason=code):
        raise Refused(f"There is no row {seq} that waits for you. See: onecard ledger deferred")
    click.echo(f"{seq}: {outcome}.")


def _replay(app: Application) -> None:
    report = app.replay.run_all()
    click.echo(
        f"Told or found done {report.done}, listed for staff {report.conflicts}, "
        f"put off {report.put_off}, library systems out of reach {report.away}.",
        err=True,
    )


def _print(app: Application, rows: Sequence[DeferredWork], backlogs: Sequence[Backlog]) -> None:
    print_table([_row(app, work) for work in rows], empty="None.")
    for each in backlogs:
        owners = ", ".join(f"{owner} {count}" for owner, count in (each.owners or {}).items())
        oldest = "" if each.oldest is None else f", since {_local(app, each.oldest, each)}"
        of = f" (of {owners})" if owners else ""
        click.echo(
            f"{each.institution}: {each.waiting} waiting{of}{oldest}; {each.conflicts} for staff."
        )


def _local(app: Application, moment: Any, each: Backlog | DeferredWork) -> str:
    library = app.libraries.get(each.institution)
    shown = moment if library is None else moment.astimezone(library.zone)
    return f"{shown:%Y-%m-%d %H:%M}"


def _row(app: Application, work: DeferredWork) -> dict[str, Any]:
    return {
        "seq": work.seq,
        "library": work.institution,
        "what": work.verb.value,
        "item": str(work.item),
        "happened": _local(app, work.occurred_at, work),
        "state": work.state.value,
        "reason": work.reason,
        "attempts": work.attempts or None,
        "loan": work.loan_id,
    }


def _describe(work: DeferredWork) -> dict[str, Any]:
    return {
        "seq": work.seq,
        "library": work.institution,
        "verb": work.verb.value,
        "item": str(work.item),
        "loan": work.loan_id,
        "terminal": work.terminal,
        "occurred_at": work.occurred_at.isoformat(),
        "recorded_at": work.recorded_at.isoformat(),
        "state": work.state.value,
        "reason": work.reason,
        "attempts": work.attempts,
        "sent_at": work.sent_at.isoformat() if work.sent_at else None,
    }


def _describe_backlog(each: Backlog) -> dict[str, Any]:
    return {
        "library": each.institution,
        "waiting": each.waiting,
        "conflicts": each.conflicts,
        "oldest": each.oldest.isoformat() if each.oldest else None,
        "owners": dict(each.owners or {}),
    }


DEFERRED_COMMANDS: tuple[click.Command, ...] = (deferred, resolve)
