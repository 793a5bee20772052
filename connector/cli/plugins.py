"""``onecard plugins``: what is plugged in."""

from __future__ import annotations

from dataclasses import asdict

import click

from connector.cli.context import CliContext, json_option, pass_cli, write_json
from connector.plugins.manager import build_plugins

__all__ = ["plugins"]


@click.group("plugins")
def plugins() -> None:
    """What is plugged in."""


@plugins.command("list")
@json_option
@pass_cli
def list_plugins(cli: CliContext, *, as_json: bool) -> None:
    """List the loaded plugins with the hooks that they implement.

    \b
    Example:
      onecard plugins list --json
    """
    disabled = cli.settings.plugins.disabled if cli.config.exists() else frozenset[str]()
    infos = build_plugins(disabled=disabled).describe()
    if as_json:
        write_json([asdict(info) for info in infos])
        return
    for info in infos:
        origin = f"{info.distribution} {info.version}".strip() or "built in"
        click.echo(f"{info.name}  ({origin})  {', '.join(info.hooks) or 'no hooks'}")
    if not infos:
        click.echo("No plugins.")
