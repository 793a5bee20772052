"""``onecard enrol``: promotion, expiry, campaigns, and pupils who change class or school.

Nothing here decides. Rules: a promotion is shown before it is run; what is printed of a pupil is
how many there are, never who; a card number may be typed, any other number is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_school import read_class
from connector.cli.enrol_shared import (
    by_option,
    find_school,
    lang_option,
    libraries_of,
    library_option,
    only_library,
    print_table,
)
from connector.cli.patron_option import find_patron
from connector.cli.progress import Progress
from connector.domain.class_names import ClassName, parse_grade
from connector.domain.enrolment import CLOSED_STATES
from connector.domain.ids import InstitutionId, PatronId
from connector.domain.promotion import ClassTarget, PromotionPlan
from connector.domain.school import SchoolSystem, grade_name
from connector.enrolment.class_map import (
    describe_map_problem,
    describe_target,
    read_class_map,
    write_class_map,
)
from connector.errors import NotFound, RecordError
from connector.ports.enrolment import School
from connector.ports.schools import Campaign
from connector.ports.tasks import TaskKind
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
@library_option
@by_option
@json_option
@pass_cli
def expire(
    cli: CliContext, *, dry_run: bool, library: str | None, actor: str, as_json: bool
) -> None:
    """Begin to close the cards whose last day is over.

    `onecard serve` does it every hour. Nothing more is lent on them, and books can be brought back
    anywhere; when the last one is back, the account is closed.

    \b
    Example:
      onecard enrol expire --dry-run
    """
    app = cli.app
    counts = {
        code: app.school_year.expire_due(code, actor=actor, dry_run=dry_run)
        for code in libraries_of(app, library)
    }
    if as_json:
        write_json({"dry_run": dry_run, "expired": counts})
        return
    for code, count in counts.items():
        click.echo(f"{code}: {count} {'would expire' if dry_run else 'expired'}.")


# --- another class, another school


@click.command("transfer")
@click.argument("card", required=False)
@click.option("--to", "code", help="Code of the new school.")
@click.option("--task", "task_id", help="Task of a pupil whom two schools name; instead of CARD.")
@click.option("--class", "class_text", help="His class there, such as 3/2.")
@library_option
@by_option
@json_option
@pass_cli
def transfer(
    cli: CliContext,
    card: str | None,
    *,
    code: str | None,
    task_id: str | None,
    class_text: str | None,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Transfer the pupil with CARD to another school of the library.

    His card, his loans and his guardian's consent stay; the old school no longer sees him. Without
    CARD his number is asked for; a task of the kind two_schools names pupil and school itself.

    \b
    Example:
      onecard enrol transfer S00000012 --to s2 --class 3/2
      onecard enrol transfer --task 6f1e2a90
    """
    app = cli.app
    if task_id is not None:
        patron_id, institution, from_task = _read_task(cli, task_id)
        school = find_school(cli, code or from_task, institution)
    else:
        if code is None:
            raise click.UsageError("Give --to, the code of the new school, or --task.")
        patron_id = _ask_patron(cli, card)
        school = find_school(cli, code, library)
    place = read_class(cli, school, class_text) if class_text else None
    try:
        moved = app.school_year.transfer_pupil(patron_id, school, place, actor=actor)
    except NotFound as err:
        raise Refused("The pupil has no open application; import him at the school.") from err
    if as_json:
        write_json({"patron": patron_id, "school": school.code, "transferred": moved})
    else:
        click.echo(f"{school.code}: {'transferred' if moved else 'he is at this school already'}.")


def _read_task(cli: CliContext, task_id: str) -> tuple[PatronId, InstitutionId, str]:
    task = cli.app.store.tasks.find_task(task_id)
    if task is None or task.kind is not TaskKind.TWO_SCHOOLS or task.patron_id is None:
        raise Refused("There is no such task of a pupil whom two schools name.")
    if task.done_at is not None:
        raise Refused(f"This task is done already ({task.outcome}).")
    return task.patron_id, task.institution, str(task.detail.get("school", ""))


@click.command("move")
@click.argument("card", required=False)
@click.option("--class", "class_text", required=True, help="His new class, such as 3/2.")
@by_option
@lang_option
@json_option
@pass_cli
def move(
    cli: CliContext,
    card: str | None,
    *,
    class_text: str,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Move the pupil with CARD to another class of his school; without CARD a number is asked for.

    \b
    Example:
      onecard enrol move S00000012 --class 3/2
    """
    app = cli.app
    patron_id = _ask_patron(cli, card)
    application = app.enrolment.store.find_application(patron_id)
    school = next(
        (
            school
            for institution in app.libraries
            for school in app.enrolment.list_schools(institution)
            if application is not None
            and application.state not in CLOSED_STATES
            and school.school_id == application.school_id
        ),
        None,
    )
    if school is None:
        raise Refused("The pupil has no open application at a school.")
    place = read_class(cli, school, class_text)
    moved = app.school_year.move_pupil(patron_id, school, place, actor=actor)
    if as_json:
        write_json({"patron": patron_id, "school": school.code, "moved": moved})
    else:
        title = place.title(lang or cli.lang)
        click.echo(f"{school.code} {title}: {'moved' if moved else 'he is there already'}.")


def _ask_patron(cli: CliContext, card: str | None) -> PatronId:
    return find_patron(cli.app, card or click.prompt("Number / 证号", hide_input=True, err=True))


# --- campaigns


@click.group("campaign")
def campaign_group() -> None:
    """Yearly intakes: when, and for which grades (A04)."""


@campaign_group.command("add")
@click.argument("code")
@click.option("--opens", type=_day, required=True, help="First day.")
@click.option("--closes", type=_day, required=True, help="Last day.")
@click.option("--year", type=click.IntRange(2000, 2100), help="School year; of its first day.")
@click.option("--grades", default="", help="Target grades, such as 1,7,小班; empty = all.")
@click.option("--name", default="", help="What it is called.")
@library_option
@by_option
@lang_option
@pass_cli
def add_campaign(
    cli: CliContext,
    code: str,
    *,
    opens: datetime,
    closes: datetime,
    year: int | None,
    grades: str,
    name: str,
    library: str | None,
    actor: str,
    lang: str | None,
) -> None:
    """Add the campaign CODE, or change it.

    \b
    Example:
      onecard enrol campaign add 2026 --opens 2026-09-01 --closes 2026-10-31 --grades 1,7,小班
    """
    app = cli.app
    institution = only_library(app, library)
    first = opens.date()
    saved = app.school_year.save_campaign(
        Campaign(
            campaign_id="",
            institution=institution,
            code=code,
            name=name,
            school_year=year or app.schools.school_year_on(institution, None, first),
            opens=first,
            closes=closes.date(),
            levels=_read_levels(grades, first.year),
        ),
        actor=actor,
    )
    click.echo(f"{saved.code}: {_describe_levels(saved, lang or cli.lang)}")


def _read_levels(text: str, year: int) -> frozenset[int]:
    levels = set()
    for part in text.replace("，", ",").replace("、", ",").split(","):
        if not part.strip():
            continue
        level = parse_grade(part, stage=None, system=SchoolSystem.SIX_THREE, school_year=year)
        if level is None:
            raise Refused(f"{part.strip()!r} is no grade. Write 1, 三年级, 初一 or 小班.")
        levels.add(level)
    return frozenset(levels)


def _describe_levels(campaign: Campaign, language: str) -> str:
    if not campaign.levels:
        return "all grades" if language.startswith("en") else "全部年级"
    separator = ", " if language.startswith("en") else "、"
    return separator.join(grade_name(level, language) for level in sorted(campaign.levels))


@campaign_group.command("list")
@library_option
@lang_option
@json_option
@pass_cli
def list_campaigns(
    cli: CliContext, *, library: str | None, lang: str | None, as_json: bool
) -> None:
    """List campaigns, the newest first.

    \b
    Example:
      onecard enrol campaign list
    """
    rows = [
        _describe_campaign(campaign, lang or cli.lang)
        for institution in libraries_of(cli.app, library)
        for campaign in cli.app.school_year.list_campaigns(institution)
    ]
    if as_json:
        write_json(rows)
    else:
        print_table(rows, empty="No campaign yet; add one with: onecard enrol campaign add CODE")


def _describe_campaign(campaign: Campaign, language: str) -> dict[str, Any]:
    return {
        "code": campaign.code,
        "library": campaign.institution,
        "name": campaign.name,
        "year": campaign.school_year,
        "opens": campaign.opens.isoformat(),
        "closes": campaign.closes.isoformat(),
        "grades": _describe_levels(campaign, language),
    }


@campaign_group.command("show")
@click.argument("code")
@library_option
@lang_option
@json_option
@pass_cli
def show_campaign(
    cli: CliContext, code: str, *, library: str | None, lang: str | None, as_json: bool
) -> None:
    """Show how far the campaign CODE is: known pupils of its grades, applications, consents, cards.

    \b
    Example:
      onecard enrol campaign show 2026
    """
    language = lang or cli.lang
    institution = only_library(cli.app, library)
    try:
        progress = cli.app.school_year.find_progress(institution, code)
    except NotFound as err:
        raise Refused(f"There is no campaign {code}. See: onecard enrol campaign list") from err
    rows = [
        {
            "school": school.code,
            "name": school.name,
            "pupils": counts.pupils,
            "applied": counts.applied,
            "agreed": counts.agreed,
            "active": counts.active,
        }
        for school, counts in progress.schools
    ]
    if as_json:
        write_json(_describe_campaign(progress.campaign, language) | {"schools": rows})
        return
    described = _describe_campaign(progress.campaign, language)
    click.echo(f"{code}: {described['grades']}, {described['opens']} – {described['closes']}")
    if not language.startswith("en"):
        names = ("学校", "名称", "学生数", "已申请", "已授权", "已办证")
        rows = [dict(zip(names, row.values(), strict=True)) for row in rows]
    print_table(rows)


COMMANDS: tuple[click.Command, ...] = (promote, expire, transfer, move, campaign_group)
