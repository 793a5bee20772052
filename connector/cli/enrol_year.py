"""``onecard enrol promote`` and ``expire``: the school year.

Nothing here decides. Rules: a promotion is shown before it is run; what is printed of pupils is how
many there are, never who.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_school,
    lang_option,
    libraries_of,
    library_option,
    print_table,
)
from connector.cli.holds import confirm_due
from connector.cli.progress import Progress
from connector.domain.class_names import ClassName
from connector.domain.promotion import ClassTarget, PromotionPlan
from connector.enrolment.class_map import (
    describe_map_problem,
    describe_target,
    read_class_map,
    write_class_map,
)
from connector.errors import RecordError
from connector.ports.enrolment import School
from connector.services.account_expiry import ExtensionReport
from connector.services.school_year import PromotionReport

__all__ = ["COMMANDS"]

_day = click.DateTime(["%Y-%m-%d"])


# --- promotion


@click.command("promote")
@click.option("--school", "code", required=True, help="Code of the school.")
@click.option("--year", type=click.IntRange(2000, 2100), help="School year to promote to.")
@click.option(
    "--map",
    "map_file",
    type=click.Path(path_type=Path),
    help="Class map (xlsx or csv) where classes are merged, renamed or split.",
)
@click.option(
    "--template",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a class map to this file, to be changed by hand, and do nothing else.",
)
@click.option("--dry-run", is_flag=True, help="Show who would go where and change nothing.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def promote(
    cli: CliContext,
    code: str,
    *,
    year: int | None,
    map_file: Path | None,
    template: Path | None,
    dry_run: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Put the pupils of a school into the classes of the new school year.

    Every class goes up a grade under its own name, unless a class map says otherwise; the last
    grade has finished the school, and its cards are valid until the end of the days of grace.
    Running it twice moves nobody twice. Exit code 1 when a class has no place to go to.

    \b
    Example:
      onecard enrol promote --school s1 --template map.xlsx
      onecard enrol promote --school s1 --map map.xlsx --dry-run
      onecard enrol promote --school s1 --map map.xlsx
    """
    language = lang or cli.lang
    service = cli.app.school_year
    school = find_school(cli, code, library)
    target_year = year or service.next_year(school)
    if template is not None:
        _write_template(cli, school, template, language)
        return
    class_map = _read_map(cli, school, map_file, target_year, language) if map_file else {}
    plan = service.plan(school, class_map, school_year=target_year)
    report: PromotionReport | None = None
    if not as_json:
        _print_plan(plan, school, language, dry_run=dry_run)
    if not dry_run:
        with Progress(school.code) as progress:
            report = service.promote(
                school, class_map, school_year=target_year, actor=actor, on_progress=progress.show
            )
        plan = report.plan
    document = _describe_plan(plan, school, language) | _describe_report(report)
    if report is not None:
        told = cli.app.account_expiry.extend(school.institution)
        document |= {"accounts": asdict(told)}
    if as_json:
        write_json(document)
    elif report is not None:
        click.echo(_summary(report, told, language))
    sys.exit(1 if plan.problems else 0)


def _write_template(cli: CliContext, school: School, path: Path, language: str) -> None:
    if path.exists():
        raise Refused(f"{path} exists. Choose another name.")
    targets = cli.app.school_year.list_targets(school)
    if not targets:
        raise Refused(f"School {school.code} has no pupils in classes yet.")
    try:
        write_class_map(path, targets, language=language)
    except RecordError as err:
        raise Refused(f"{path}: {describe_map_problem(err.code, language)}") from err
    click.echo(f"{path}")


def _read_map(
    cli: CliContext, school: School, path: Path, year: int, language: str
) -> Mapping[ClassName, ClassTarget]:
    try:
        return read_class_map(
            path,
            stage=school.stage,
            system=school.system,
            school_year=year - 1,
            classes=cli.app.school_year.list_class_names(school),
        )
    except RecordError as err:
        row = f" ({err.position})" if err.position else ""
        raise Refused(f"{path.name}{row}: {describe_map_problem(err.code, language)}") from err


def _describe_plan(plan: PromotionPlan, school: School, language: str) -> dict[str, Any]:
    return {
        "school": school.code,
        "year": plan.school_year,
        "classes": _describe_classes(plan, language),
        "moving": plan.moving,
        "leaving": plan.leaving,
        "unplaced": plan.unplaced,
        "settled": plan.settled,
    }


def _describe_classes(plan: PromotionPlan, language: str) -> list[dict[str, Any]]:
    rows = [
        {
            "from": describe_target(move.source, language),
            "to": describe_target(move.target, language),
            "pupils": len(move.patrons),
            "outcome": move.reason,
        }
        for move in plan.moves
    ]
    rows += [
        {
            "from": describe_target(leaving.source, language),
            "to": "-",
            "pupils": len(leaving.patrons),
            "outcome": "left",
        }
        for leaving in plan.leavings
    ]
    rows += [
        {
            "from": describe_target(problem.source, language),
            "to": None,
            "pupils": len(problem.patrons),
            "outcome": problem.problem.value,
        }
        for problem in plan.problems
    ]
    return rows


def _describe_report(report: PromotionReport | None) -> dict[str, Any]:
    if report is None:
        return {"dry_run": True}
    return {
        "dry_run": False,
        "moved": report.moved,
        "left": report.left,
        "dropped": report.dropped,
        "expiries": report.expiries,
    }


_OUTCOMES = {
    "promoted": ("升级", "promoted"),
    "merged": ("并班", "merged"),
    "left": ("离校", "leaves"),
}


def _print_plan(plan: PromotionPlan, school: School, language: str, *, dry_run: bool) -> None:
    english = language.startswith("en")
    headers = (
        ("from", "to", "pupils", "outcome") if english else ("原班级", "新班级", "人数", "说明")
    )
    rows = []
    for row in _describe_classes(plan, language):
        said = _OUTCOMES.get(row["outcome"])
        row["outcome"] = said[english] if said else describe_map_problem(row["outcome"], language)
        rows.append(dict(zip(headers, row.values(), strict=True)))
    if english:
        title = f"{school.code}, school year {plan.school_year}"
        count = (
            f"{plan.moving} to another class, {plan.leaving} leave, {plan.unplaced} without a "
            f"place, {plan.settled} there already."
        )
        ending = " Dry run, nothing changed." if dry_run else ""
    else:
        title = f"{school.code}，{plan.school_year}学年"
        count = (
            f"升级{plan.moving}人，离校{plan.leaving}人，未安排{plan.unplaced}人，"
            f"已在新班级{plan.settled}人。"
        )
        ending = "仅预览，未作改动。" if dry_run else ""
    click.echo(title)
    print_table(rows, empty="Nobody." if english else "无人。")
    click.echo(count + ending)


def _summary(report: PromotionReport, told: ExtensionReport, language: str) -> str:
    open_ones = told.failed + told.by_hand
    if language.startswith("en"):
        rest = "; the worker tries again" if told.failed else "; change them there"
        return (
            f"Done: {report.moved} moved, {report.left} left; {report.dropped} applications "
            f"without a card closed, {report.expiries} cards with another last day."
        ) + (f" {open_ones} accounts end too early in the library system{rest}." * bool(open_ones))
    rest = "，后台将重试" if told.failed else "，请在馆方系统中修改"
    return (
        f"已完成：升级{report.moved}人，离校{report.left}人；关闭未办证的申请{report.dropped}件，"
        f"更改证件有效期{report.expiries}张。"
    ) + (f"馆方系统中有{open_ones}个账户有效期过短{rest}。" * bool(open_ones))


# --- expiry


@click.command("expire")
@click.option("--dry-run", is_flag=True, help="Say how many it would be and close none.")
@click.option("--yes", is_flag=True, help="Do not ask, though it is many or the clock jumped.")
@library_option
@by_option
@json_option
@pass_cli
def expire(
    cli: CliContext, *, dry_run: bool, yes: bool, library: str | None, actor: str, as_json: bool
) -> None:
    """Begin to close the cards whose last day is over.

    `onecard serve` does it every hour, except where it is a large part of all cards, or the clock
    jumped: then it waits for you to look and to run this. Nothing more is lent on them, and books
    can be brought back anywhere; when the last one is back, the account is closed.

    \b
    Example:
      onecard enrol expire --dry-run
    """
    app = cli.app
    codes = libraries_of(app, library)
    if not dry_run:
        confirm_due(
            cli,
            {code: app.school_year.expire_due(code, actor=actor, dry_run=True) for code in codes},
            job="expire",
            yes=yes,
            as_json=as_json,
        )
    counts = {
        code: app.school_year.expire_due(code, actor=actor, dry_run=dry_run) for code in codes
    }
    if as_json:
        write_json({"dry_run": dry_run, "expired": counts})
        return
    for code, count in counts.items():
        click.echo(f"{code}: {count} {'would expire' if dry_run else 'expired'}.")


COMMANDS: tuple[click.Command, ...] = (promote, expire)
