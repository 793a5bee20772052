"""``onecard enrol card``: one pupil's cards — physical, online, lost — and further numbers.

Nothing here decides. Rules: a pupil is named by his card number or our own id; any other number is
asked for, so that it stands in no history of the shell; none is printed unmasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option, print_table
from connector.cli.patron_option import ask_number, find_patron
from connector.cli.private_file import PrivateFile
from connector.domain.identity import mask_number
from connector.domain.ids import PatronId
from connector.enrolment.tokens import draw_token, new_token
from connector.errors import RecordError, StorageConflict
from connector.services.cards import LINK_KINDS, CardReport, LossOutcome

__all__ = ["COMMANDS"]

_CARD = "onecard.enrol.card"
_CONFLICTS: Mapping[str, str] = {
    "physical_card_out": (
        "He has a physical card. Report it lost first, or give --damaged when it came back."
    ),
    "card_not_in_force": "His card is not in force, so nothing is given out.",
    "card_changing": (
        "The library system has not the new number yet. Run: onecard enrol card CARD lost"
    ),
    "identifier_taken": "Another person has this number.",
}
_NUMBER_FAULTS: Mapping[str, str] = {
    "length": "There is no number, or it is too long.",
    "is_id_number": (
        "This is an identity number, which is printed on the social-security card too:"
        " a card with it is recognised without being linked."
    ),
    "chip_format": "A chip's number has 8, 14 or 20 hexadecimal digits.",
}
_LOST: Mapping[LossOutcome, Mapping[str, str]] = {
    LossOutcome.CHANGED: {
        "en": "The lost card is dead. New card number: {card}. Open loans stay his.",
        "zh": "挂失成功，原卡已停用。新卡号：{card}。未还图书仍记在该读者名下。",
    },
    LossOutcome.ALREADY: {
        "en": "This card was reported lost before.",
        "zh": "此卡此前已挂失。",
    },
    LossOutcome.NO_NEW_NUMBER: {
        "en": "The lost card is dead. He gets no new number, since his card is not in force.",
        "zh": "原卡已停用。该读者证未处于有效状态，不发新卡号。",
    },
    LossOutcome.PENDING: {
        "en": (
            "The lost card is dead at every kiosk, but the library system did not take the new"
            " number {card} yet. Run the same command again."
        ),
        "zh": "原卡在所有自助机上已停用，但图书馆系统尚未换成新卡号 {card}。请再次运行同一命令。",
    },
    LossOutcome.BY_HAND: {
        "en": (
            "The lost card is dead at every kiosk. Change the number of this reader in the library"
            " system to {card} by hand, then run the same command again."
        ),
        "zh": "原卡在所有自助机上已停用。请在图书馆系统中将其卡号改为 {card}，再运行同一命令。",
    },
}


@click.group("card")
@click.argument("card", metavar="CARD")
@click.pass_context
def card(ctx: click.Context, card: str) -> None:
    """Cards of the pupil with the number CARD; - asks for it, as for an identity number.

    \b
    Example:
      onecard enrol card FD0000018 show
      onecard enrol card FD0000018 lost
      onecard enrol card FD0000026 physical
    """
    ctx.meta[_CARD] = card


@card.command("show")
@by_option
@json_option
@click.pass_context
@pass_cli
def show(cli: CliContext, ctx: click.Context, *, actor: str, as_json: bool) -> None:
    """Show which cards were given out, and how many numbers he has; looking is logged.

    \b
    Example:
      onecard enrol card FD0000018 show
    """
    patron_id = _patron(cli, ctx)
    report = cli.app.cards.describe(patron_id)
    cli.app.store.audit.append(
        "card.shown", actor=actor, subject=patron_id, institution=report.standing.home
    )
    document = _describe(report)
    if as_json:
        write_json(document)
        return
    click.echo(f"card {document['card'] or '(none)'}, {document['state']}")
    print_table(document["issues"], empty="No card was given out.")
    print_table(document["numbers"])
    if document["changing"]:
        click.echo(_CONFLICTS["card_changing"])


@card.command("physical")
@click.option("--damaged", is_flag=True, help="The one he had is damaged and came back.")
@by_option
@json_option
@click.pass_context
@pass_cli
def physical(
    cli: CliContext, ctx: click.Context, *, damaged: bool, actor: str, as_json: bool
) -> None:
    """Note that a physical card with his present number is given out: the first one is free.

    How many are free is [enrolment] free_physical_cards. What a further one costs is the library's
    own matter.

    \b
    Example:
      onecard enrol card FD0000018 physical
    """
    try:
        issue = cli.app.cards.issue_physical(
            _patron(cli, ctx), replaces_damaged=damaged, actor=actor
        )
    except StorageConflict as err:
        raise _refused(err) from err
    if as_json:
        write_json({"kind": "physical", "number": issue.number, "chargeable": issue.chargeable})
        return
    charge = "CHARGEABLE / 收工本费" if issue.chargeable else "free of charge / 免费"
    click.echo(f"Physical card no. {issue.number} of this pupil: {charge}.")


@card.command("online")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture of the QR code: a new file, .svg or .png, mode 0600.",
)
@by_option
@click.pass_context
@pass_cli
def online(cli: CliContext, ctx: click.Context, *, out: Path, actor: str) -> None:
    """Make a new online card: a QR code for the kiosk; the one before is dead at once.

    The code is in the picture only.

    \b
    Example:
      onecard enrol card FD0000018 online --out card.svg
    """
    kinds: Mapping[str, Literal["svg", "png"]] = {".svg": "svg", ".png": "png"}
    kind = kinds.get(out.suffix.lower())
    if kind is None:
        raise click.UsageError("--out takes a file that ends in .svg or .png.")
    patron_id, token = _patron(cli, ctx), new_token()
    with PrivateFile(out) as file:
        file.write(draw_token(token, kind))
        try:
            issue = cli.app.cards.issue_online(patron_id, token, actor=actor)
        except BaseException as err:
            out.unlink(missing_ok=True)
            if isinstance(err, StorageConflict):
                raise _refused(err) from err
            raise
    click.echo(f"Online card no. {issue.number} of this pupil: {out}")


@card.command("lost")
@by_option
@json_option
@click.pass_context
@pass_cli
def lost(cli: CliContext, ctx: click.Context, *, actor: str, as_json: bool) -> None:
    """Report the card lost: its number is dead at once, and he gets a new one.

    The ID card and the social-security card still work; the online card has to be made anew. Exit
    code 1 when the library system has not taken the new number: run it again.

    \b
    Example:
      onecard enrol card FD0000018 lost
    """
    report = cli.app.cards.report_lost(_patron(cli, ctx), named=ctx.meta[_CARD], actor=actor)
    if as_json:
        write_json({"outcome": report.outcome.value, "card": report.card})
    else:
        click.echo(_LOST[report.outcome][cli.lang].format(card=report.card))
    if report.outcome in {LossOutcome.PENDING, LossOutcome.BY_HAND}:
        ctx.exit(1)


@card.command("link")
@click.argument("kind", type=click.Choice(LINK_KINDS))
@by_option
@click.pass_context
@pass_cli
def link(cli: CliContext, ctx: click.Context, *, kind: str, actor: str) -> None:
    """Let one more number stand for him; it is asked for, or read from standard input.

    ssc: number of a social-security card; student_no: student registry number; chip_uid: number of
    the card's chip.

    \b
    Example:
      onecard enrol card FD0000018 link ssc
    """
    patron_id = _patron(cli, ctx)
    try:
        cli.app.cards.link(patron_id, kind, ask_number(), actor=actor)
    except RecordError as err:
        text = _NUMBER_FAULTS.get(err.code, f"This is no such number ({err.code}).")
        raise Refused(text) from err
    except StorageConflict as err:
        raise _refused(err) from err
    click.echo("Linked.")


@card.command("unlink")
@click.argument("kind", type=click.Choice(LINK_KINDS))
@by_option
@click.pass_context
@pass_cli
def unlink(cli: CliContext, ctx: click.Context, *, kind: str, actor: str) -> None:
    """Forget his numbers of a kind, as when the wrong one was linked.

    \b
    Example:
      onecard enrol card FD0000018 unlink ssc
    """
    count = cli.app.cards.unlink(_patron(cli, ctx), kind, actor=actor)
    if not count:
        raise Refused(f"He has no number of the kind {kind}.")
    click.echo(f"{count} removed.")


def _patron(cli: CliContext, ctx: click.Context) -> PatronId:
    return find_patron(cli.app, ctx.meta[_CARD])


def _refused(err: StorageConflict) -> Refused:
    return Refused(_CONFLICTS.get(str(err), f"{err}."))


def _describe(report: CardReport) -> dict[str, Any]:
    application = report.application
    return {
        "card": mask_number(str(report.standing.ils_patron or "")),
        "state": report.standing.state.value,
        "application": application.state.value if application else None,
        "changing": report.change is not None,
        "issues": [
            {
                "kind": issue.kind.value,
                "number": issue.number,
                "chargeable": issue.chargeable,
                "issued_at": issue.issued_at.isoformat(timespec="minutes"),
                "issued_by": issue.issued_by,
                "ended_as": issue.ended_as,
            }
            for issue in report.issues
        ],
        "numbers": [
            {"kind": kind, "alive": held.alive, "dead": held.retired}
            for kind, held in report.numbers.items()
        ],
    }


COMMANDS: tuple[click.Command, ...] = (card,)
