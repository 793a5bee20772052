"""``onecard enrol feeds``: rosters that arrive in a folder.

Nothing here reads a file; ``connector.services.feeds`` does.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from connector.cli.context import CliContext, json_option, pass_cli, write_json
from connector.cli.enrol_shared import lang_option, print_table
from connector.enrolment.messages import describe_problem
from connector.services.feeds import FeedRun, FeedStatus

__all__ = ["COMMANDS"]


@click.command("feeds")
@click.option("--run", "names", multiple=True, help="Look into this feed's folder now; repeatable.")
@click.option("--run-all", is_flag=True, help="Look into every feed's folder now.")
@lang_option
@json_option
@pass_cli
def feeds(
    cli: CliContext, *, names: tuple[str, ...], run_all: bool, lang: str | None, as_json: bool
) -> None:
    """List the roster feeds of [[enrolment.feeds]] and how fresh each is, or take what is new.

    `onecard serve` looks into every folder once a minute. Files are never changed or removed; what
    was taken once is not taken again. Exit code 1 when a feed is stale or something was not taken.

    \b
    Example:
      onecard enrol feeds --run authority
    """
    language = lang or cli.lang
    service = cli.app.feeds
    chosen = service.feeds if run_all else [service.find_feed(name) for name in names]
    runs = [service.run(feed) for feed in chosen]
    statuses = service.list_status()
    if as_json:
        write_json(
            {
                "feeds": [_describe(cli, status) for status in statuses],
                "runs": [_describe_run(run, language) for run in runs],
            }
        )
    else:
        print_table([_describe(cli, status) for status in statuses], empty="No feed is configured.")
        for run in runs:
            _print_run(run, language)
    sys.exit(1 if any(run.problems for run in runs) or any(s.stale for s in statuses) else 0)


def _describe(cli: CliContext, status: FeedStatus) -> dict[str, Any]:
    feed, state = status.feed, status.state
    zone = cli.app.libraries[feed.institution].zone

    def tell(moment: datetime | None) -> str | None:
        return None if moment is None else moment.astimezone(zone).isoformat(timespec="minutes")

    return {
        "feed": feed.name,
        "library": feed.institution,
        "school": feed.school or "(by file)",
        "format": feed.format,
        "last_taken": tell(state.last_ok_at),
        "last_looked": tell(state.last_run_at),
        "last_error": state.last_error,
        "stale": status.stale,
    }


def _describe_run(run: FeedRun, language: str) -> dict[str, Any]:
    return {
        "feed": run.feed.name,
        "busy": run.busy,
        "taken": run.taken,
        "batches": list(run.batches),
        "problems": [
            {
                "school": problem.school,
                "code": problem.code,
                "message": describe_problem(problem.code, language),
            }
            for problem in run.problems
        ],
    }


def _print_run(run: FeedRun, language: str) -> None:
    if run.busy:
        click.echo(f"{run.feed.name}: another process is at it.")
        return
    batches = ", ".join(run.batches) or "no new batch"
    click.echo(f"{run.feed.name}: {run.taken} rosters taken ({batches}).")
    for problem in run.problems:
        where = f" {problem.school}" if problem.school else ""
        click.echo(f"{run.feed.name}{where}: {describe_problem(problem.code, language)}", err=True)


COMMANDS: tuple[click.Command, ...] = (feeds,)
