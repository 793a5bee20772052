"""``onecard violations``: what bars a patron from renewing (A34), set and lifted by people."""

from __future__ import annotations

import getpass

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.patron_option import find_patron
from connector.errors import NotFound

__all__ = ["violations"]

_by_option = click.option(
    "--by", default=getpass.getuser, show_default="your login", help="Who decided it."
)
_looks_option = click.option(
    "--by", default=getpass.getuser, show_default="your login", help="Who looks."
)


@click.group("violations")
def violations() -> None:
    """Violations that bar renewal."""


@violations.command("list")
@click.argument("patron", required=False)
@_looks_option
@json_option
@pass_cli
def list_violations(cli: CliContext, patron: str | None, *, by: str, as_json: bool) -> None:
    """List violations that are not lifted, of one PATRON (card number, id, or - to ask) or of all.

    Whose are shown stands in the audit log.

    \b
    Example:
      onecard violations list S00000012
    """
    app = cli.app
    patron_id = find_patron(app, patron) if patron else None
    found = app.store.violations.list_violations(patron_id)
    for shown in sorted({violation.patron_id for violation in found}):
        app.store.audit.append("violations.shown", actor=by, subject=shown)
    if as_json:
        write_json(
            [
                {
                    "violation": violation.violation_id,
                    "patron": violation.patron_id,
                    "kind": violation.kind,
                    "set_by": violation.set_by,
                    "set_at": violation.set_at.isoformat(),
                }
                for violation in found
            ]
        )
        return
    for violation in found:
        click.echo(
            f"{violation.violation_id}  patron {violation.patron_id}  {violation.kind}  "
            f"{violation.set_at:%Y-%m-%d} by {violation.set_by}"
        )
    if not found:
        click.echo("None.")


@violations.command("add")
@click.argument("patron")
@click.option("--kind", required=True, help="A short word, such as damage or lost_book.")
@_by_option
@json_option
@pass_cli
def add_violation(cli: CliContext, patron: str, *, kind: str, by: str, as_json: bool) -> None:
    """Record a violation of PATRON (card number, id, or - to be asked); it bars renewal.

    \b
    Example:
      onecard violations add S00000012 --kind damage
    """
    app = cli.app
    patron_id = find_patron(app, patron)
    violation_id = app.store.violations.add_violation(patron_id, kind, set_by=by, now=app.now())
    if as_json:
        write_json({"violation": violation_id, "patron": patron_id, "kind": kind})
    else:
        click.echo(f"Recorded. Lift it with: onecard violations lift {violation_id}")


@violations.command("lift")
@click.argument("violation")
@_by_option
@json_option
@pass_cli
def lift_violation(cli: CliContext, violation: str, *, by: str, as_json: bool) -> None:
    """Lift a VIOLATION by its id.

    \b
    Example:
      onecard violations lift 6f1e…
    """
    app = cli.app
    try:
        app.store.violations.lift_violation(violation, lifted_by=by, now=app.now())
    except NotFound as err:
        raise Refused("There is no such violation. See: onecard violations list") from err
    if as_json:
        write_json({"violation": violation, "lifted": True})
    else:
        click.echo("Lifted.")
