"""``onecard ledger lost | claimed | found | compensated``: what staff say about a loan.

Nothing here decides; ``connector.services.losses`` does. Rule: a loan is named by its id or by the
barcode of its item, never by a person.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, pass_cli
from connector.cli.enrol_shared import by_option
from connector.domain.ids import LoanId
from connector.domain.loan import Loan, LoanState
from connector.services.losses import LossOutcome

__all__ = ["COMMANDS", "find_loan"]

_UUID_LENGTH = 36


@click.command("lost")
@click.argument("loan")
@by_option
@pass_cli
def lost(cli: CliContext, loan: str, *, actor: str) -> None:
    """Say that the item of LOAN (a loan id or a barcode) is lost.

    It keeps its place in the quota, and bars renewal as a violation does, until the library has
    settled it. Mark it in the library system too; no money is counted here.

    \b
    Example:
      onecard ledger lost 34010001
    """
    _declare(cli.app, loan, LoanState.LOST, actor)


@click.command("claimed")
@click.argument("loan")
@by_option
@pass_cli
def claimed(cli: CliContext, loan: str, *, actor: str) -> None:
    """Say that the patron claims to have returned the item of LOAN; the place stays taken.

    \b
    Example:
      onecard ledger claimed 34010001
    """
    _declare(cli.app, loan, LoanState.CLAIMED_RETURNED, actor)


@click.command("found")
@click.argument("loan")
@by_option
@pass_cli
def found(cli: CliContext, loan: str, *, actor: str) -> None:
    """Say that a lost or claimed item of LOAN turned up and the patron still has it.

    An item that is brought back needs no command: the return ends it.

    \b
    Example:
      onecard ledger found 34010001
    """
    _declare(cli.app, loan, LoanState.OPEN, actor)


@click.command("compensated")
@click.argument("loan")
@by_option
@pass_cli
def compensated(cli: CliContext, loan: str, *, actor: str) -> None:
    """Say that the library has settled the lost item of LOAN: its place is free again.

    Settle it in the library system first; while that still lists the loan, this is refused.

    \b
    Example:
      onecard ledger compensated 34010001
    """
    row = find_loan(cli.app, loan)
    _report(row, "compensated", lambda: cli.app.losses.settle(row, actor=actor))


def _declare(app: Application, text: str, state: LoanState, actor: str) -> None:
    row = find_loan(app, text)
    _report(row, state.value, lambda: app.losses.declare(row, state, actor=actor))


def _report(row: Loan, word: str, act: Callable[[], LossOutcome]) -> None:
    outcome = act()
    if outcome is LossOutcome.STILL_IN_ILS:
        raise Refused("The library system still lists the loan. Settle it there first.")
    if outcome is LossOutcome.WRONG_STATE:
        raise Refused(f"A loan that is {row.state.value} cannot become {word}.")
    click.echo(f"{row.item}: {word}.")


def find_loan(app: Application, text: str) -> Loan:
    """Return the loan that an id or a barcode names."""
    wanted = text.strip()
    if len(wanted) == _UUID_LENGTH and wanted.count("-") == 4:
        loan = app.store.ledger.fetch_loan(LoanId(wanted.lower()))
        loans: tuple[Loan, ...] = () if loan is None else (loan,)
    else:
        loans = app.store.ledger.find_by_barcode(wanted)
    if not loans:
        raise Refused("There is no such loan. See: onecard ledger show --item BARCODE")
    if len(loans) > 1:
        raise Refused("Several libraries lent an item with this barcode; give the loan's id.")
    if loans[0].lender not in app.libraries:
        raise Refused(f"The library that lent it, {loans[0].lender}, is not in these settings.")
    return loans[0]


COMMANDS: tuple[click.Command, ...] = (lost, claimed, found, compensated)
