"""``onecard ledger``: loans, outcomes that are unknown, loans made elsewhere.

Nothing here decides; settlement and adoption are services. Lost items are in ``ledger_losses``.
Rule: what is shown of a patron is written to the audit trail, and no name is shown.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.ledger_deferred import DEFERRED_COMMANDS
from connector.cli.ledger_losses import COMMANDS
from connector.cli.ledger_unknown import UNKNOWN_COMMANDS
from connector.cli.loan_words import describe_loan
from connector.cli.patron_option import find_patron
from connector.domain.ids import InstitutionId, LoanId, PatronId
from connector.domain.loan import Loan, LoanOrigin
from connector.errors import AdapterError
from connector.ports.ledger import Place
from connector.services.going_live import ADOPTED_ALL
from connector.storage.overview import Overview

__all__ = ["ledger"]


@click.group("ledger")
def ledger() -> None:
    """Loans: show, unknown outcomes, loans made elsewhere."""


@ledger.command("show")
@click.argument("patron", required=False)
@click.option("--item", "barcode", help="Show who has the item with this barcode instead.")
@click.option("--loan", "loan_id", help="Show one loan by its id instead.")
@json_option
@pass_cli
def show(
    cli: CliContext,
    patron: str | None,
    *,
    barcode: str | None,
    loan_id: str | None,
    as_json: bool,
) -> None:
    """Show the unclosed loans of PATRON (card number, id, or - to ask), of an item, or one loan.

    \b
    Example:
      onecard ledger show S00000012
      onecard ledger show --item 34010001
    """
    if sum(value is not None for value in (patron, barcode, loan_id)) != 1:
        raise click.UsageError("Give a patron, or --item, or --loan.")
    app = cli.app
    loans: Sequence[Loan]
    if patron is not None:
        loans = app.store.ledger.list_unclosed(find_patron(app, patron))
    elif barcode is not None:
        loans = app.store.ledger.find_by_barcode(barcode.strip())
    else:
        found = app.store.ledger.fetch_loan(LoanId(loan_id or ""))
        if found is None:
            raise Refused("There is no such loan. Check the id.")
        loans = (found,)
    _print(app, loans, as_json=as_json)


@ledger.command("adopt")
@click.argument("patron", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every enrolled patron, at every library.")
@json_option
@pass_cli
def adopt(cli: CliContext, patron: str | None, *, everybody: bool, as_json: bool) -> None:
    """Take loans into the ledger that were made elsewhere, and close those returned elsewhere.

    Run it with --all when the connector takes over, and after a backup was restored.

    \b
    Example:
      onecard ledger adopt --all
    """
    if (patron is not None) == everybody:
        raise click.UsageError("Give a patron, or --all.")
    app = cli.app
    if patron is not None:
        wanted = find_patron(app, patron)
        accounts = [pair for pair in _overview(app).list_accounts() if pair[0] == wanted]
    else:
        accounts = list(_overview(app).list_accounts())
    origin = LoanOrigin.MIGRATED if everybody else LoanOrigin.DESK
    report = {"patrons": 0, "adopted": 0, "closed": 0, "failed": 0}
    quiet = as_json or not sys.stderr.isatty()
    with click.progressbar(accounts, label="Patrons", hidden=quiet, file=sys.stderr) as bar:
        for patron_id, code in bar:
            _adopt_one(app, patron_id, code, origin, report)
    if everybody:
        app.store.audit.append(ADOPTED_ALL, actor=f"cli:{getpass.getuser()}", detail=dict(report))
    if as_json:
        write_json(report)
    else:
        click.echo(
            f"{report['patrons']} patrons compared: {report['adopted']} loans adopted, "
            f"{report['closed']} closed, {report['failed']} patrons could not be asked about."
        )
    sys.exit(1 if report["failed"] else 0)


@ledger.command("refusals")
@click.option("--days", default=7, show_default=True, help="How many days back, today included.")
@json_option
@pass_cli
def refusals(cli: CliContext, *, days: int, as_json: bool) -> None:
    """Count refusals by reason; in observe mode, what would have been refused.

    \b
    Example:
      onecard ledger refusals --days 30
    """
    if days < 1:
        raise click.UsageError("--days counts from 1.")
    app = cli.app
    first = min(library.today(app.now()) for library in app.libraries.values())
    counts = _overview(app).count_refusals(first - timedelta(days=days - 1))
    if as_json:
        write_json([asdict(count) for count in counts])
        return
    for count in counts:
        word = "refused" if count.verb == "refuse" else "would be refused"
        click.echo(f"{count.count:>6}  {count.institution}  {word}  {count.reason}")
    click.echo(f"{sum(count.count for count in counts)} in all.")


for _command in (*UNKNOWN_COMMANDS, *COMMANDS, *DEFERRED_COMMANDS):
    ledger.add_command(_command)


def _overview(app: Application) -> Overview:
    return Overview(app.store.database)


def _adopt_one(
    app: Application,
    patron_id: PatronId,
    code: InstitutionId,
    origin: LoanOrigin,
    report: dict[str, int],
) -> None:
    """Compare one patron's loans at one library; add to the report."""
    library = app.libraries.get(code)
    standing = app.store.people.find_standing(patron_id, code)
    if library is None or standing is None or standing.ils_patron is None:
        return
    now = app.now()
    place = Place(institution=code, at=now, local_date=library.today(now))
    before = {loan.loan_id for loan in app.store.ledger.list_unclosed(patron_id)}
    try:
        view = app.circulation.desk.facts.read_patron(
            standing, standing.ils_patron, library, place, origin=origin
        )
    except AdapterError:
        report["failed"] += 1
        return
    after = {loan.loan_id for loan in view.loans}
    report["patrons"] += 1
    report["adopted"] += len(after - before)
    report["closed"] += len(before - after)


def _print(app: Application, loans: Sequence[Loan], *, as_json: bool) -> None:
    for patron_id in sorted({loan.patron_id for loan in loans}):
        app.store.audit.append("ledger.shown", actor=f"cli:{getpass.getuser()}", subject=patron_id)
    rows = [describe_loan(loan) for loan in loans]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        due = row["due"][:10] if row["due"] else "no date"
        click.echo(
            f"{row['loan']}  {row['item']}  {row['state']}  due {due}  "
            f"renewals {row['renewals']}  {row['language']}  from {row['origin']}"
        )
    if not rows:
        click.echo("None.")
