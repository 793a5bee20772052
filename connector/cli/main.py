"""``onecard``: the root of the command line.

Nothing here does work; each command group is a module of this package and is imported when it is
used, so that a part that cannot be imported leaves the others usable. Exit codes: 0 done, 1 refused
or failed, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import locale
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import click

from connector.cli.context import CliContext, ErrorGroup, Refused
from connector.errors import ConnectorError

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: Mapping[str, str] = {
    "init": "Write settings, keys and the database of a new installation.",
    "demo": "Show the whole job on embedded parts.",
    "serve": "Run what the settings enable.",
    "doctor": "Check settings, keys, database, library systems and policy.",
    "db": "Upgrade or check the database.",
    "enrol": "Student cards: roster, review, consent, activation.",
    "library": "Libraries: mode, report before going live.",
    "ledger": "Loans: show, unknown outcomes, loans made elsewhere.",
    "items": "Facts about items that the catalogue cannot tell.",
    "privacy": "Copies, erasure, retention and the yearly report of personal data.",
    "violations": "Violations that bar renewal.",
    "backup": "Write a backup: data and keys apart.",
    "restore": "Fill an empty database from a backup.",
    "keys": "Keys of the installation: list, rotate, retire.",
    "audit": "The record of who did what: verify, export, anchor.",
    "sip2": "Talk SIP2 to any server.",
    "adapters": "Adapters for library systems, and their contract suite.",
    "plugins": "What is plugged in.",
}
"""Command → its line in ``onecard --help``; ``name`` in ``connector.cli.<name>``."""


class LazyGroup(ErrorGroup):
    """Imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table, then those of plugins."""
        return [*COMMANDS, *(name for name in super().list_commands(ctx) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; raises ``click.ClickException`` for one that cannot be imported."""
        if cmd_name not in COMMANDS:
            if cmd_name not in self.commands:
                self._load_plugins(ctx)
            return super().get_command(ctx, cmd_name)
        try:
            module = importlib.import_module(f"connector.cli.{cmd_name}")
        except ImportError as err:
            raise Refused(
                f"onecard {cmd_name} cannot be loaded: {err.msg}. Reinstall the program."
            ) from err
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        self._load_plugins(ctx)
        rows = list(COMMANDS.items())
        rows += [
            (name, self.commands[name].get_short_help_str())
            for name in super().list_commands(ctx)
            if name not in COMMANDS
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _load_plugins(self, ctx: click.Context) -> None:
        """Let plugins add commands, once; what cannot be loaded is a matter for ``doctor``."""
        from connector.plugins.manager import build_plugins

        if not ctx.meta.setdefault("onecard.plugin_commands", False):
            ctx.meta["onecard.plugin_commands"] = True
            try:
                build_plugins().register_commands(self)
            except ConnectorError as err:
                click.echo(f"Warning: {err}", err=True)


def _default_lang() -> str:
    name = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.normalize(name).lower().startswith("zh") else "en"


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        click.echo(f"onecard {metadata.version('onecard-connector')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("onecard.toml"),
    envvar="ONECARD_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The settings file.",
)
@click.option(
    "--lang",
    type=click.Choice(["zh", "en"]),
    envvar="ONECARD_LANG",
    help="Language of what is printed; by default that of the terminal.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Version."
)
@click.pass_context
def cli(ctx: click.Context, config: Path, lang: str | None) -> None:
    """Library cards for pupils, and one loan policy at every self-check machine.

    \b
    Example:
      onecard init library && cd library && onecard doctor && onecard serve
    """
    ctx.obj = CliContext(config, lang or _default_lang())
    ctx.call_on_close(ctx.obj.close)


def main() -> None:
    """Run the command line; the entry point of the program."""
    cli(prog_name="onecard")
