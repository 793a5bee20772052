"""``onecard enrol exchange``: an older reader card becomes the student card, or gives way to it.

Nothing here decides. Rules (A29–A31): the staff see whose account it is, masked, and say yes; a
card number may be an argument, a name or an identity number never; the checklist of a refund is
printed for the library that issued the older card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from connector.bootstrap import Application as App
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option, choose_applications, lang_option, library_option
from connector.domain.identity import mask_name
from connector.domain.ids import InstitutionId
from connector.errors import StorageConflict
from connector.ports.enrolment import Application
from connector.ports.exchange import Exchange, ExchangeState
from connector.ports.tasks import StaffTask, TaskKind
from connector.services.exchange import ExchangeResult, OlderCard

__all__ = ["COMMANDS"]

_CONFLICTS: Mapping[str, str] = {
    "identifier_taken": "Another person has this number. Look at whose card it is.",
    "account_there": "The child has another account at that library. Close it at its desk first.",
}


@click.command("exchange")
@click.argument("batch", required=False)
@click.option("--row", type=click.IntRange(min=1), help="Row of the pupil in the sheet of BATCH.")
@click.option("--task", "task_id", help="Instead: the task about an account that is there.")
@click.option("--old-card", help="Number of an older card of another library.")
@click.option("--issuer", help="Code or name of the library that issued it.")
@click.option("--deposit", is_flag=True, help="The issuing library holds a deposit on it.")
@click.option("--name-checked", is_flag=True, help="It is the child's although the name differs.")
@click.option("--yes", is_flag=True, help="Do not ask once more; --json needs it.")
@click.option("--checklist", metavar="TASK", help="Print what a refund needs, and do nothing else.")
@click.option("--refunded", metavar="TASK", help="Note that a deposit was refunded.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def exchange(
    cli: CliContext,
    batch: str | None,
    *,
    row: int | None,
    task_id: str | None,
    old_card: str | None,
    issuer: str | None,
    deposit: bool,
    name_checked: bool,
    yes: bool,
    checklist: str | None,
    refunded: str | None,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Exchange an older reader card of a pupil for the student card, free of charge.

    Without --old-card the account that the library's own system has of the pupil becomes his
    student card: its number, PIN and loans stay. With --old-card and --issuer a card of another
    library gives way: the student card, which is open already, counts its loans, and the older
    account is closed when they are back. The library that issued a card refunds its deposit.

    \b
    Example:
      onecard enrol exchange 2026-0001 --row 17
      onecard enrol exchange 2026-0001 --row 18 --old-card B0001234 --issuer FLX --deposit
      onecard enrol exchange --checklist 5f0c2a71 --lang zh
    """
    given = [batch is not None, task_id is not None, checklist is not None, refunded is not None]
    is_whole = (batch is None) == (row is None) and (old_card is None) == (issuer is None)
    if sum(given) != 1 or not is_whole:
        raise click.UsageError(
            "Give BATCH and --row, or --task, or --checklist, or --refunded;"
            " and --old-card together with --issuer."
        )
    if "" in {word.strip() for word in (old_card, issuer) if word is not None}:
        raise click.UsageError("--old-card and --issuer take a number and a library; not nothing.")
    if as_json and not yes and checklist is None and refunded is None:
        raise click.UsageError("--json asks nothing: look at the card without it, or add --yes.")
    app = cli.app
    if checklist is not None:
        _print_checklist(app, checklist, lang or cli.lang, as_json=as_json)
        return
    if refunded is not None:
        _note_refund(app, refunded, actor)
        return
    if task_id is not None:
        application = _of_task(app, task_id)
    else:
        _, (application,) = choose_applications(app, batch or "", str(row), library)
    try:
        result = _exchange(
            app,
            application,
            (old_card or "").strip(),
            InstitutionId((issuer or "").strip()),
            deposit=deposit,
            name_checked=name_checked,
            yes=yes,
            actor=actor,
        )
    except StorageConflict as err:
        raise Refused(_CONFLICTS.get(err.code, f"{err}. Try again.")) from err
    _report(app, result, as_json=as_json)


def _exchange(
    app: App,
    application: Application,
    old_card: str,
    issuer: InstitutionId,
    *,
    deposit: bool,
    name_checked: bool,
    yes: bool,
    actor: str,
) -> ExchangeResult:
    service = app.exchanges
    app.store.audit.append("exchange.shown", actor=actor, subject=application.patron_id)
    if not old_card:
        _confirm(service.find_own(application), yes=yes)
        return service.adopt(
            application, actor=actor, deposit_held=deposit, is_name_checked=name_checked
        )
    found = service.find_elsewhere(application, old_card, issuer)
    if found is not None:
        _confirm(found, yes=yes)
    elif not yes:
        click.confirm(f"{issuer} cannot be asked about {old_card}. Go on?", err=True, abort=True)
    return service.replace(
        application,
        old_card,
        issuer,
        actor=actor,
        deposit_held=deposit,
        is_name_checked=name_checked,
    )


def _confirm(found: OlderCard, *, yes: bool) -> None:
    """Show whose account it is, masked, and ask."""
    if yes:
        return
    facts = found.facts
    same = {True: "the same name", False: "ANOTHER NAME", None: "a name that cannot be compared"}
    loans = facts.counts.charged if facts.counts.charged is not None else len(facts.loans)
    click.echo(
        f"Card {found.account}: {mask_name(facts.name) or 'no name'}, {same[found.is_same_name]}, "
        f"category {facts.category or 'unknown'}, {loans} on loan.",
        err=True,
    )
    click.confirm("Exchange it for the student card?", err=True, abort=True)


def _of_task(app: App, task_id: str) -> Application:
    task = _find_task(app, task_id, TaskKind.EXISTING_CARD)
    application = app.store.enrolment.fetch_application(str(task.detail.get("application", "")))
    if application is None:
        raise Refused("The application of this task is gone.")
    return application


def _find_task(app: App, task_id: str, kind: TaskKind) -> StaffTask:
    task = app.store.tasks.find_task(task_id)
    if task is None or task.kind is not kind:
        raise Refused(f"There is no task {task_id} of the kind {kind.value}.")
    return task


def _report(app: App, result: ExchangeResult, *, as_json: bool) -> None:
    made = result.exchange
    task = _refund_task(app, made)
    document: dict[str, Any] = {
        "exchange": made.exchange_id,
        "mode": made.mode.value,
        "state": made.state.value,
        "loans": result.loans,
        "set_category_by_hand": result.by_hand,
        "waits_for_library_system": result.waits_for_ils,
        "refund_task": None if task is None else task.task_id,
    }
    if as_json:
        write_json(document)
        return
    click.echo(f"Exchanged ({made.mode.value}). {result.loans} loans of the older card count now.")
    if result.by_hand:
        click.echo("Set the patron category in the library system by hand: it cannot be told to.")
    if result.waits_for_ils:
        click.echo("The issuer's library system is away; the worker goes on when it is back.")
    if made.state is ExchangeState.ELSEWHERE:
        click.echo(f"{made.issuer} is not served here: tell its staff that the card was exchanged.")
    if task is not None:
        click.echo(
            f"Task for {task.institution}: onecard enrol exchange --checklist {task.task_id[:8]}"
        )


def _refund_task(app: App, made: Exchange) -> StaffTask | None:
    for institution in {made.issuer, made.institution}:
        for task in app.store.tasks.list_tasks(institution, kind=TaskKind.DEPOSIT_REFUND):
            if task.detail.get("exchange") == made.exchange_id:
                return task
    return None


_CHECKLIST: Mapping[str, tuple[str, ...]] = {
    "zh": (
        "旧读者证押金退还核对单",
        "办证馆：{issuer}　旧证号：{card}　任务：{task}",
        "由原办证馆办理。学生卡已可使用，退押金不影响借阅。",
        "□ 旧读者证原件",
        "□ 办证时登记的有效身份证件原件",
        "□ 由他人代办的，另需代办人本人的有效身份证件原件",
        "□ 旧证所借图书已全部归还（未还清的，旧证只还不借）",
        "□ 退款金额与收据号已记入本馆账目",
        "经办人：____________　日期：____________",
        "办结后请登记：onecard enrol exchange --refunded {task}",
    ),
    "en": (
        "Refund of the deposit on an older reader card: checklist",
        "Issuing library: {issuer}   Older card: {card}   Task: {task}",
        "The issuing library refunds. The student card works already, whatever becomes of this.",
        "[ ] The original card",
        "[ ] The original of the identity document that the card was issued on",
        "[ ] By proxy: also the original of the proxy's own identity document",
        "[ ] Every item lent on the older card is back (until then it takes returns only)",
        "[ ] Amount and receipt number are in the library's accounts",
        "Done by: ____________   Date: ____________",
        "Then note it: onecard enrol exchange --refunded {task}",
    ),
}
_TELL: Mapping[str, str] = {
    "zh": "□ 已告知办证馆：该旧证已换领学生卡，请停止借出并在还清后注销",
    "en": "[ ] The issuing library knows: no more loans on this card, close it when all is back",
}


def _print_checklist(app: App, task_id: str, lang: str, *, as_json: bool) -> None:
    task = _find_task(app, task_id, TaskKind.DEPOSIT_REFUND)
    made = app.store.exchanges.find_exchange(str(task.detail.get("exchange", "")))
    lang = "zh" if lang.startswith("zh") else "en"
    lines = list(_CHECKLIST[lang])
    if made is not None and not made.deposit_held:
        lines = lines[1:2] + lines[-2:]
    if made is not None and made.state is ExchangeState.ELSEWHERE:
        lines.insert(-2, _TELL[lang])
    values = {
        "issuer": str(task.detail.get("issuer", "")),
        "card": "" if made is None else made.old_account,
        "task": task.task_id[:8],
    }
    text = [line.format(**values) for line in lines]
    if as_json:
        write_json({"task": task.task_id, "done": task.done_at is not None, "lines": text})
    else:
        click.echo("\n".join(text))


def _note_refund(app: App, task_id: str, actor: str) -> None:
    task = _find_task(app, task_id, TaskKind.DEPOSIT_REFUND)
    if not app.store.tasks.finish_task(task.task_id, outcome="refunded", actor=actor):
        raise Refused("This task was done before.")
    made = app.store.exchanges.find_exchange(str(task.detail.get("exchange", "")))
    if made is not None and made.state is ExchangeState.ELSEWHERE:
        app.store.exchanges.close_exchange(made.exchange_id, actor=actor)
    click.echo(f"Noted: the deposit of task {task.task_id[:8]} is refunded.")


COMMANDS: tuple[click.Command, ...] = (exchange,)
