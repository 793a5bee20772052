"""``onecard enrol task``: what is left to a person of the library.

Nothing here does the task itself. Rule: a task holds ids and codes; what is printed of a pupil is
the first part of his id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    lang_option,
    libraries_of,
    library_option,
    print_table,
)
from connector.ports.tasks import StaffTask, TaskKind

__all__ = ["COMMANDS", "TASK_TEXTS"]

TASK_TEXTS: Mapping[TaskKind, tuple[str, str]] = {
    TaskKind.TWO_SCHOOLS: (
        "该生同时在两所学校的名册中：转学或保留",
        "on the rosters of two schools: transfer the pupil, or keep him where he is",
    ),
    TaskKind.EXISTING_CARD: (
        "图书馆系统中已有该生的账户：换证或关联",
        "has an account in the library system already: exchange or link it",
    ),
    TaskKind.DEPOSIT_REFUND: (
        "换证后由原发证馆退还押金：核对原证和原有效证件，代办另核代办人证件",
        "refund the deposit of the exchanged card: original card and ID, a proxy's own ID too",
    ),
    TaskKind.AMBIGUOUS_MATCH: (
        "名册中的一行与多名学生相符：请核实",
        "a roster row fits several pupils, or one in two ways: find out who it is",
    ),
    TaskKind.DROP_HELD: (
        "名册比在册学生少很多：用 onecard enrol leavers 确认离校学生",
        "a roster misses many pupils: say who has left with onecard enrol leavers",
    ),
    TaskKind.CLOSING_STUCK: (
        "账户无法注销，图书馆系统中仍有未办结事项：请处理",
        "an account cannot be closed, something is open in the library system: settle it",
    ),
    TaskKind.LOST_ITEM: ("文献遗失：请结清", "an item is lost: settle it"),
    TaskKind.REMOVAL_HELD: (
        "时钟异常或数量过大，自动清理或关闭已暂停：请核实后人工执行 retention、purge 或 expire",
        "the clock jumped, or it is too many: look, then run retention, purge or expire yourself",
    ),
    TaskKind.CHANGE_WANTED: (
        "有人在办证机上申请修改该生资料：请核实后修改",
        "a change of the pupil's data was asked for at a machine: find out what, then change it",
    ),
    TaskKind.UNKNOWN_OUTCOME: (
        "一次借还或续借结果不明：用 onecard ledger unknown 查看，核实后用 settle 确认",
        "nobody knows how a checkout, renewal or return ended: see onecard ledger unknown",
    ),
    TaskKind.UNKNOWN_PAYMENT: (
        "一笔缴费是否入账不明：在图书馆系统中核对后用 onecard ledger payments settle 确认",
        "a payment may not have been booked: look, then onecard ledger payments settle",
    ),
    TaskKind.AWAY_CONFLICT: (
        "图书馆系统离线期间的记录与其现状不符：用 onecard ledger deferred 查看",
        "what happened while the library system was away does not fit: onecard ledger deferred",
    ),
    TaskKind.FEED_STALE: (
        "名册数据长时间未更新：请检查自动导出",
        "a roster feed has brought nothing for long: check its export",
    ),
}
"""Kind → what there is to do: Chinese, English."""

_SHORT = 8


@click.group("task")
def task_group() -> None:
    """What a person of the library has to decide or do."""


@task_group.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in TaskKind]), help="Only these.")
@click.option("--done", "include_done", is_flag=True, help="Those that are done, too.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def list_tasks(
    cli: CliContext,
    *,
    kind: str | None,
    include_done: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """List the tasks that are open, oldest first; looking is logged.

    \b
    Example:
      onecard enrol task list --kind two_schools
    """
    app = cli.app
    language = lang or cli.lang
    wanted = TaskKind(kind) if kind else None
    rows = []
    for code in libraries_of(app, library):
        found = app.store.tasks.list_tasks(code, kind=wanted, include_done=include_done)
        if found:
            detail = {"count": len(found)}
            app.store.audit.append("tasks.shown", actor=actor, detail=detail, institution=code)
        rows += [_describe(cli, task, language) for task in found]
    if as_json:
        write_json(rows)
        return
    shown = [
        {
            "task": row["task"][:_SHORT],
            "library": row["library"],
            "opened": row["opened_at"][:10],
            "kind": row["kind"],
            "what": row["text"],
            "detail": ", ".join(f"{key} {value}" for key, value in row["detail"].items()),
            "outcome": row["outcome"],
        }
        for row in rows
    ]
    print_table(shown, empty="Nothing is to do." if language == "en" else "没有待办事项。")


def _describe(cli: CliContext, task: StaffTask, language: str) -> dict[str, Any]:
    zone = cli.app.libraries[task.institution].zone
    return {
        "task": task.task_id,
        "library": task.institution,
        "kind": task.kind.value,
        "text": TASK_TEXTS[task.kind][language == "en"],
        "patron": task.patron_id,
        "detail": dict(task.detail),
        "opened_at": task.opened_at.astimezone(zone).isoformat(timespec="minutes"),
        "opened_by": task.opened_by,
        "done_at": task.done_at and task.done_at.astimezone(zone).isoformat(timespec="minutes"),
        "done_by": task.done_by,
        "outcome": task.outcome,
    }


@task_group.command("done")
@click.argument("task")
@click.option(
    "--outcome",
    type=click.Choice(["done", "dismissed"]),
    default="done",
    show_default=True,
    help="How it ended.",
)
@by_option
@pass_cli
def finish_task(cli: CliContext, task: str, *, outcome: str, actor: str) -> None:
    """Note that TASK is done; its first eight characters are enough.

    \b
    Example:
      onecard enrol task done 1f0c9a2b --outcome done
    """
    tasks = cli.app.store.tasks
    found = tasks.find_task(task)
    if found is None or found.institution not in cli.app.libraries:
        raise Refused(f"There is no task {task}. See: onecard enrol task list")
    if not tasks.finish_task(found.task_id, outcome=outcome, actor=actor):
        raise Refused("It is done already. See: onecard enrol task list --done")
    click.echo(f"{found.task_id[:_SHORT]}: {outcome}")


COMMANDS: tuple[click.Command, ...] = (task_group,)
