"""``onecard adapters``: the library systems we speak to, and whether an adapter keeps its word."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.domain.ids import Barcode, IlsPatronId
from connector.errors import ConfigurationError
from connector.plugins.manager import build_plugins
from connector.ports.ils import IlsAdapter

__all__ = ["adapters"]

_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "--  "}


@click.group("adapters")
def adapters() -> None:
    """Adapters for library systems, and their contract suite."""


@adapters.command("list")
@json_option
@pass_cli
def list_adapters(cli: CliContext, *, as_json: bool) -> None:
    """List the adapters with what each can do at best.

    \b
    Example:
      onecard adapters list --json
    """
    disabled = cli.settings.plugins.disabled if cli.config.exists() else frozenset[str]()
    specs = build_plugins(disabled=disabled).ils_adapters().values()
    rows = [
        {
            "name": spec.name,
            "version": spec.version,
            "capabilities": sorted(capability.value for capability in spec.capabilities),
        }
        for spec in specs
    ]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']} {row['version']}: {' '.join(row['capabilities'])}")
    if not rows:
        click.echo("No adapters.")


@adapters.command("test")
@click.argument("name")
@click.option("--category", default="adult", show_default=True, help="Category of the test patron.")
@click.option("--item-type", default="book", show_default=True, help="Type of the test items.")
@click.option("--location", default="", help="Location code of the test items.")
@click.option("--branch", default="", help="Branch code of the test patron and items.")
@click.option("--patron", "patrons", multiple=True, help="A test patron's card; may repeat.")
@click.option("--item", "items", multiple=True, help="A test item's barcode; may repeat.")
@click.option("--only", default="", help="Run only the tests whose name has these words.")
@click.option("--yes", is_flag=True, help="Do not ask before writing into the library system.")
@json_option
@pass_cli
def test_adapter(
    cli: CliContext,
    name: str,
    *,
    category: str,
    item_type: str,
    location: str,
    branch: str,
    patrons: tuple[str, ...],
    items: tuple[str, ...],
    only: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Run the contract suite against the system of a library, NAME being its code or its adapter.

    It makes patrons and items whose numbers begin with ZZ, where the adapter can, lends and returns
    them, and removes them again. Where it cannot, name patrons and items made for the purpose.

    \b
    Example:
      onecard adapters test LIB --yes
      onecard adapters test SIP --patron TEST1 --patron TEST2 --item T0001 --yes
    """
    try:
        from connector.testing.contract_seed import AdapterSeed, GivenSeed, Seed
        from connector.testing.live import CheckResult, run_contract
    except ImportError as err:
        raise Refused("The contract suite needs pytest: pip install pytest.") from err

    def show(result: CheckResult) -> None:
        detail = f"  ({result.detail})" if result.detail else ""
        click.echo(f"{_MARKS[result.outcome]} {result.name}{detail}", err=as_json)

    with closing(_open_adapter(cli, name)) as adapter:
        if not yes:
            _ask(adapter)
        adapter.ping()
        seed: Seed = AdapterSeed(
            adapter, category=category, item_type=item_type, location=location, branch=branch
        )
        if patrons or items:
            seed = GivenSeed(adapter, [*map(IlsPatronId, patrons)], [*map(Barcode, items)])
        results = run_contract(adapter, seed=seed, report=show, only=only)
    counts = Counter(result.outcome for result in results)
    summary = {outcome: counts[outcome] for outcome in ("passed", "failed", "skipped")}
    if as_json:
        write_json(
            {
                "adapter": adapter.name,
                "library": adapter.institution_id,
                **summary,
                "results": [
                    {"name": r.name, "outcome": r.outcome, "detail": r.detail} for r in results
                ],
            }
        )
    else:
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in summary.items()))
    if counts["failed"] or not counts["passed"]:
        raise click.exceptions.Exit(1)


def _ask(adapter: IlsAdapter) -> None:
    if not sys.stdin.isatty():
        raise Refused("It writes into the library system; add --yes to allow that.")
    click.confirm(
        f"Make and remove test patrons and items in the system of {adapter.institution_id}?",
        abort=True,
        err=True,
    )


def _open_adapter(cli: CliContext, name: str) -> IlsAdapter:
    """Build the adapter of the library with this code, or of the one library with this adapter."""
    from connector.bootstrap import build_adapter

    settings = cli.settings
    found = [library for library in settings.libraries if library.code == name]
    found = found or [
        library for library in settings.libraries if settings.ils_of(library).adapter == name
    ]
    codes = ", ".join(library.code for library in settings.libraries)
    if not found:
        raise ConfigurationError(f"No library uses {name!r}.", f"Name a library: {codes}.")
    if len(found) > 1:
        raise ConfigurationError(
            f"More than one library uses the adapter {name}.", f"Name the library: {codes}."
        )
    specs = build_plugins(disabled=settings.plugins.disabled).ils_adapters()
    return build_adapter(found[0], settings, specs)
