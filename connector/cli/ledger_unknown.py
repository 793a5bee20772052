"""``onecard ledger unknown | settle | payments``: what is not certain, and what a person has seen.

Nothing here decides; ``connector.services.open_outcomes`` does. Rules: whose loans are shown is
written to the audit trail, and no name is shown; a reason is a code, since the trail keeps it.
"""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option
from connector.cli.ledger_losses import find_loan
from connector.cli.loan_words import describe_loan
from connector.domain.loan import LoanState
from connector.ports.payments import Payment, PaymentState
from connector.services.open_outcomes import HandOutcome, OpenKind, OpenOutcome, Verdict

__all__ = ["UNKNOWN_COMMANDS"]

_LOAN_REASONS = ("seen_in_ils", "not_in_ils", "item_on_shelf", "item_with_reader", "other")
_PAYMENT_REASONS = ("seen_in_ils", "not_in_ils", "receipt", "cash_counted", "other")


@click.command("unknown")
@click.option("--settle", is_flag=True, help="Ask the library systems now and close what is clear.")
@json_option
@pass_cli
def unknown(cli: CliContext, *, settle: bool, as_json: bool) -> None:
    """List what is not certain: checkouts, renewals and payments, and what to look for.

    Unknown checkouts keep their place in the quota until settlement has asked the library system;
    disputed ones are loans that the kiosk was told to be refused. What a library system that was
    away has not heard of is in: onecard ledger deferred

    \b
    Example:
      onecard ledger unknown --settle
    """
    app = cli.app
    if settle:
        report = app.settlement.run_once()
        click.echo(
            f"Opened {report.opened}, released {report.released}, renewed {report.renewed}, "
            f"not renewed {report.unrenewed}, waiting {report.waiting}, for a person "
            f"{report.by_hand}, library systems out of reach {report.unreachable}.",
            err=True,
        )
    found = app.open_outcomes.list_open()
    _note_shown(app, found)
    rows = [_describe(app, each) for each in found]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        click.echo(
            f"{row['loan'] or row['payment']}  {row['lender']}  {row['kind']}  {row['state']}  "
            f"{_age(row['age_s'])}  {row['terminal'] or '-'}  {row['item'] or row['amount']}"
        )
        click.echo(f"      → {row['look_for']}")
    if not rows:
        click.echo("None.")


@click.command("settle")
@click.argument("loan")
@click.option(
    "--as",
    "verdict",
    type=click.Choice([verdict.value for verdict in Verdict]),
    required=True,
    help="What you have seen.",
)
@click.option("--reason", type=click.Choice(_LOAN_REASONS), required=True, help="Where from.")
@click.option("--force", is_flag=True, help="Although the library system says the opposite.")
@by_option
@pass_cli
def settle_loan(
    cli: CliContext, loan: str, *, verdict: str, reason: str, force: bool, actor: str
) -> None:
    """Say how a checkout or a renewal of LOAN (a loan id or a barcode) has ended.

    The library system is asked once more; if it says the opposite, this is refused.

    \b
    Example:
      onecard ledger settle 34010001 --as not-lent --reason item_on_shelf
    """
    app = cli.app
    row = find_loan(app, loan)
    _note_shown(app, (OpenOutcome(OpenKind.CHECKOUT, "", row.lender, row.asked_at, None, row),))
    outcome = app.open_outcomes.settle(
        row, Verdict(verdict), reason=reason, actor=actor, force=force
    )
    if outcome is HandOutcome.WRONG_STATE:
        raise Refused(f"There is nothing open of this kind: the loan is {row.state.value}.")
    if outcome is HandOutcome.TOO_SOON:
        raise Refused(
            "The library system may still do what it was asked a moment ago. Wait some minutes."
        )
    if outcome is HandOutcome.ILS_SAYS_OTHERWISE:
        raise Refused("The library system says the opposite. Look there, or add --force.")
    click.echo(f"{row.item}: {verdict}.")


@click.group("payments")
def payments() -> None:
    """Payments at kiosks: list, settle."""


@payments.command("list")
@click.option("--all", "settled", is_flag=True, help="Those whose outcome is known, too.")
@json_option
@pass_cli
def list_payments(cli: CliContext, *, settled: bool, as_json: bool) -> None:
    """List payments that nobody knows the outcome of; the money is the library system's.

    \b
    Example:
      onecard ledger payments list --all
    """
    app = cli.app
    found = app.store.payments.list_payments(settled=settled)
    for patron_id in sorted({each.patron_id for each in found if each.patron_id is not None}):
        app.store.audit.append("ledger.shown", actor=f"cli:{getpass.getuser()}", subject=patron_id)
    rows = [_describe_payment(each) for each in found]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        click.echo(
            f"{row['payment']}  {row['lender']}  {row['terminal']}  {row['asked_at'][:16]}  "
            f"{row['amount']}  {row['state']}  {row['transaction']}".rstrip()
        )
    if not rows:
        click.echo("None.")


@payments.command("settle")
@click.argument("payment")
@click.option(
    "--as", "verdict", type=click.Choice(["paid", "not-paid"]), required=True, help="What is so."
)
@click.option("--reason", type=click.Choice(_PAYMENT_REASONS), required=True, help="Where from.")
@by_option
@pass_cli
def settle_payment(cli: CliContext, payment: str, *, verdict: str, reason: str, actor: str) -> None:
    """Say whether PAYMENT (an id, or its first eight digits) is in the library system's accounts.

    Nothing is sent to the library system: book what is missing there by hand.

    \b
    Example:
      onecard ledger payments settle 3f2a9c01 --as paid --reason seen_in_ils
    """
    app = cli.app
    found = app.store.payments.find_payment(payment.strip().lower())
    if found is None:
        raise Refused("There is no such payment. See: onecard ledger payments list")
    state = PaymentState.PAID if verdict == "paid" else PaymentState.NOT_PAID
    app.store.payments.expire_asked(app.now())
    done = app.store.payments.settle(found.payment_id, state, reason=reason, actor=actor)
    if done is None:
        now = app.store.payments.find_payment(found.payment_id) or found
        raise Refused(f"A payment that is {now.state.value} is not settled by hand.")
    click.echo(f"{found.payment_id}: {verdict}.")


def _note_shown(app: Application, found: tuple[OpenOutcome, ...]) -> None:
    patrons = {each.loan.patron_id for each in found if each.loan is not None}
    patrons |= {
        each.payment.patron_id
        for each in found
        if each.payment is not None and each.payment.patron_id is not None
    }
    for patron_id in sorted(patrons):
        app.store.audit.append("ledger.shown", actor=f"cli:{getpass.getuser()}", subject=patron_id)


def _describe(app: Application, each: OpenOutcome) -> dict[str, Any]:
    nothing = {"loan": "", "payment": "", "item": "", "amount": "", "patron": None}
    if each.loan is not None:
        known = describe_loan(each.loan)
    else:
        known = _describe_payment(each.payment) if each.payment is not None else {}
    more = {
        "kind": each.kind.value,
        "state": each.state,
        "lender": each.institution,
        "since": each.since.isoformat(),
        "age_s": int((app.now() - each.since).total_seconds()),
        "terminal": each.terminal,
        "look_for": _look_for(app, each),
    }
    return {**nothing, **known, **more}


def _describe_payment(payment: Payment) -> dict[str, Any]:
    return {
        "payment": payment.payment_id,
        "patron": payment.patron_id,
        "lender": payment.institution,
        "terminal": payment.terminal,
        "amount": f"{payment.amount} {payment.currency}".strip(),
        "fee_type": payment.fee_type,
        "payment_type": payment.payment_type,
        "transaction": payment.transaction_id,
        "asked_at": payment.asked_at.isoformat(),
        "state": payment.state.value,
        "settled_at": payment.settled_at.isoformat() if payment.settled_at else None,
        "settled_by": payment.settled_by,
    }


def _look_for(app: Application, each: OpenOutcome) -> str:
    if each.payment is not None:
        when = _local(app, each, each.since)
        return (
            f"Look for {each.payment.amount} {each.payment.currency} of {when} in the library "
            f"system's accounts; then: onecard ledger payments settle "
            f"{each.payment.payment_id[:8]} --as paid|not-paid --reason ..."
        )
    if each.loan is None:
        return ""
    if each.kind is OpenKind.RENEWAL:
        due = _local(app, each, each.loan.due) if each.loan.due else "an unknown date"
        return (
            f"Renewed = due later than {due}; if the library system cannot tell: onecard ledger "
            f"settle {each.loan.item.barcode} --as renewed|not-renewed --reason ..."
        )
    if each.loan.state is LoanState.DISPUTED:
        return "It was lent, and the machine said no. If the item is here, check it in."
    if each.loan.state is LoanState.ASKED:
        return "The library system is being asked."
    return (
        "It is asked every 15 s; if it cannot tell who has the item: onecard ledger settle "
        f"{each.loan.item.barcode} --as lent|not-lent --reason ..."
    )


def _local(app: Application, each: OpenOutcome, moment: datetime) -> str:
    return moment.astimezone(app.libraries[each.institution].zone).strftime("%Y-%m-%d %H:%M")


def _age(seconds: int) -> str:
    minutes = max(0, seconds) // 60
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


UNKNOWN_COMMANDS: tuple[click.Command, ...] = (unknown, settle_loan, payments)
