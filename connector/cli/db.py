"""``onecard db``: bring the database up to date, or say whether it is.

Nothing here knows a table. The database is reached by ``[store] url`` alone: neither keys nor
adapters are needed.
"""

from __future__ import annotations

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.storage.migrate import check_database, upgrade_database

__all__ = ["db"]


@click.group()
def db() -> None:
    """Upgrade or check the database."""


@db.command()
@json_option
@pass_cli
def upgrade(cli: CliContext, *, as_json: bool) -> None:
    """Create the tables, or bring them up to this release; make a backup first.

    The release before this one goes on working with an upgraded database.

    \b
    Example:
      onecard db upgrade
    """
    url = cli.settings.store.url
    before = check_database(url)
    upgrade_database(url)
    after = check_database(url)
    if as_json:
        write_json({"ok": after.is_current, "before": before.found, "found": after.found})
    elif before.found == after.found:
        click.echo(f"The database is at revision {after.found} already.")
    else:
        click.echo(f"The database went from {before.found or 'empty'} to {after.found}.")


@db.command()
@json_option
@pass_cli
def check(cli: CliContext, *, as_json: bool) -> None:
    """Say whether the tables fit this release; exit code 1 when they do not.

    \b
    Example:
      onecard db check --json
    """
    state = check_database(cli.settings.store.url)
    if as_json:
        write_json({"ok": state.is_current, "found": state.found, "wanted": state.wanted})
        if not state.is_current:
            raise click.exceptions.Exit(1)
    elif not state.is_current:
        raise Refused(
            f"The database is {state.found or 'empty'}, this release needs {state.wanted}. "
            "Run: onecard db upgrade"
        )
    elif not state.is_known:
        click.echo(f"Revision {state.found} is of a newer release; this one works with it.")
    else:
        click.echo(f"Revision {state.found}: up to date.")
