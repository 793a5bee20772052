"""``onecard enrol school``: schools, grades, classes, calendars and liaisons.

Nothing here decides. Rules: a liaison's name and phone come from a prompt or standard input, never
from the command line, and are shown masked; what was used is disabled, never removed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_school,
    lang_option,
    libraries_of,
    library_option,
    only_library,
    print_table,
)
from connector.domain.class_names import ClassName, parse_class_name, parse_grade
from connector.domain.enrolment import SchoolStage
from connector.domain.identity import mask_name, mask_number
from connector.domain.school import SchoolSystem, grade_name
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import School
from connector.ports.schools import Calendar, Grade, Liaison

__all__ = ["COMMANDS", "read_class"]

_day = click.DateTime(["%Y-%m-%d"])
_IN_USE = "It was used and stays, for its history; give --disabled instead."


def read_class(cli: CliContext, school: School, text: str) -> ClassName:
    """Return the class that was named the way schools write it: 3/2, 3(2), 三年级2班, 2023级2班."""
    year = cli.app.school_year.year_on(school)
    found = parse_class_name(text, stage=school.stage, system=school.system, school_year=year)
    if found is None:
        level = parse_grade(text, stage=school.stage, system=school.system, school_year=year)
        found = None if level is None else ClassName(level)
    if found is None:
        raise Refused(
            f"{text!r} is no class of school {school.code}. Write it as 3/2, 3(2) or 三年级2班."
        )
    return found


@click.group("school")
def school_group() -> None:
    """Schools and kindergartens that the library serves, with grades, classes and liaisons."""


# --- schools


@school_group.command("add")
@click.argument("code")
@click.argument("name")
@click.option(
    "--stage",
    type=click.Choice([stage.value for stage in SchoolStage]),
    help="Kind of school; a pupil's age and grade are checked against it.",
)
@click.option(
    "--system",
    type=click.Choice([system.value for system in SchoolSystem]),
    help="6-3: six primary years; 5-4: five, and four junior years. At first 6-3.",
)
@click.option(
    "--entry-mode",
    type=click.Choice(["batch", "individual", "both"]),
    help="Who enters pupils: the school by roster, families, or both.",
)
@click.option(
    "--review-individual/--no-review-individual",
    default=None,
    help="The school reviews what families enter.",
)
@click.option(
    "--create-classes/--known-classes",
    default=None,
    help="A roster may bring classes that do not exist yet, or not.",
)
@click.option("--disabled/--enabled", default=None, help="The school takes no part for now.")
@click.option("--sort", "sort_order", type=int, help="Its place in lists.")
@click.option("--remark", help="A note; no name and no number of a person.")
@library_option
@by_option
@pass_cli
def add_school(
    cli: CliContext,
    /,
    code: str,
    name: str,
    *,
    stage: str | None,
    system: str | None,
    library: str | None,
    actor: str,
    **changes: Any,
) -> None:
    """Add a school under CODE, or change the one with this code; what is not said stays.

    \b
    Example:
      onecard enrol school add s1 "First Primary School" --stage primary --system 6-3
    """
    institution = only_library(cli.app, library)
    defaults = cli.settings.enrolment
    known = cli.app.enrolment.store.find_school(institution, code) or School(
        school_id="",
        institution=institution,
        code=code,
        name=name,
        entry_mode=defaults.entry_mode,
        review_individual=defaults.school_review,
    )
    said = {key: value for key, value in changes.items() if value is not None}
    if stage is not None:
        said["stage"] = SchoolStage(stage)
    if system is not None:
        said["system"] = SchoolSystem(system)
    school = cli.app.schools.save_school(replace(known, name=name, **said), actor=actor)
    click.echo(f"{school.code}: {school.name}")


@school_group.command("remove")
@click.argument("code")
@library_option
@by_option
@pass_cli
def remove_school(cli: CliContext, code: str, *, library: str | None, actor: str) -> None:
    """Remove the school CODE, if nobody was ever imported or appointed for it.

    \b
    Example:
      onecard enrol school remove s1
    """
    school = find_school(cli, code, library)
    try:
        cli.app.schools.remove_school(school, actor=actor)
    except StorageConflict as err:
        raise Refused(_IN_USE) from err
    click.echo(f"{school.code}: removed.")


@school_group.command("list")
@json_option
@pass_cli
def list_schools(cli: CliContext, *, as_json: bool) -> None:
    """List the schools of every library.

    \b
    Example:
      onecard enrol school list --json
    """
    app = cli.app
    schools = [school for code in app.libraries for school in app.enrolment.list_schools(code)]
    rows = [
        {
            "library": school.institution,
            "code": school.code,
            "name": school.name,
            "stage": school.stage.value if school.stage else None,
            "system": school.system.value,
            "entry_mode": school.entry_mode,
            "review_individual": school.review_individual,
            "create_classes": school.create_classes,
            "disabled": school.disabled,
            "sort": school.sort_order,
            "remark": school.remark,
        }
        for school in sorted(schools, key=lambda each: (each.institution, each.sort_order))
    ]
    if as_json:
        write_json(rows)
    else:
        print_table(rows, empty="No school yet; add one with: onecard enrol school add CODE NAME")


# --- grades and classes


@school_group.command("grades")
@click.argument("code")
@library_option
@lang_option
@json_option
@pass_cli
def list_grades(
    cli: CliContext, code: str, *, library: str | None, lang: str | None, as_json: bool
) -> None:
    """List the grades of the school CODE.

    \b
    Example:
      onecard enrol school grades s1 --lang en
    """
    school = find_school(cli, code, library)
    classes = cli.app.store.schools.list_classes(school.school_id)
    rows = [
        {
            "level": grade.level,
            "name": _grade_title(grade, lang or cli.lang),
            "classes": sum(each.level == grade.level for each in classes),
            "disabled": grade.disabled,
            "sort": grade.sort_order,
            "remark": grade.remark,
        }
        for grade in cli.app.store.schools.list_grades(school.school_id)
    ]
    _report(rows, lang or cli.lang, as_json=as_json)


@school_group.command("grade")
@click.argument("code")
@click.argument("grade")
@click.option("--name", help="What the school calls it.")
@click.option("--disabled/--enabled", default=None, help="Takes no pupils for now.")
@click.option("--sort", "sort_order", type=int, help="Its place in lists.")
@click.option("--remark", help="A note; no name and no number of a person.")
@click.option("--remove", is_flag=True, help="Remove it, if it has no classes.")
@library_option
@by_option
@lang_option
@pass_cli
def change_grade(
    cli: CliContext,
    /,
    code: str,
    grade: str,
    *,
    remove: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    **changes: Any,
) -> None:
    """Add GRADE (3, 三年级, 小班) to the school CODE, or change it; what is not said stays.

    \b
    Example:
      onecard enrol school grade s1 3 --name "Third Year" --sort 3
    """
    school = find_school(cli, code, library)
    level = read_class(cli, school, grade).level
    service = cli.app.schools
    if remove:
        _remove(lambda: service.remove_grade(school, level, actor=actor), "grade")
        click.echo(f"{school.code} {grade_name(level, lang or cli.lang)}: removed.")
        return
    known = service.find_grade(school, level) or Grade(
        "", school.institution, school.school_id, level, grade_name(level)
    )
    said = {key: value for key, value in changes.items() if value is not None}
    saved = service.save_grade(school, replace(known, **said), actor=actor)
    click.echo(f"{school.code}: {_grade_title(saved, lang or cli.lang)}")


@school_group.command("classes")
@click.argument("code")
@library_option
@lang_option
@json_option
@pass_cli
def list_classes(
    cli: CliContext, code: str, *, library: str | None, lang: str | None, as_json: bool
) -> None:
    """List the classes of the school CODE, and how many pupils each has.

    \b
    Example:
      onecard enrol school classes s1
    """
    school = find_school(cli, code, library)
    store = cli.app.store.schools
    pupils: dict[str, int] = {}
    for member in store.list_members(school.school_id):
        key = member.school_class.class_id
        pupils[key] = pupils.get(key, 0) + 1
    rows = [
        {
            "level": each.level,
            "class": ClassName(each.level, each.name).title(lang or cli.lang),
            "pupils": pupils.get(each.class_id, 0),
            "disabled": each.disabled,
            "sort": each.sort_order,
            "remark": each.remark,
        }
        for each in store.list_classes(school.school_id)
    ]
    _report(rows, lang or cli.lang, as_json=as_json)


@school_group.command("class")
@click.argument("code")
@click.argument("name")
@click.option("--rename", help="Its new name within the grade.")
@click.option("--disabled/--enabled", default=None, help="Takes no pupils for now.")
@click.option("--sort", "sort_order", type=int, help="Its place in lists.")
@click.option("--remark", help="A note; no name and no number of a person.")
@click.option("--remove", is_flag=True, help="Remove it, if nobody was ever in it.")
@library_option
@by_option
@lang_option
@pass_cli
def change_class(
    cli: CliContext,
    /,
    code: str,
    name: str,
    *,
    remove: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    **changes: Any,
) -> None:
    """Add the class NAME (3/2, 三年级2班) to the school CODE, or change it.

    \b
    Example:
      onecard enrol school class s1 3/2 --remark "from the branch school"
    """
    school = find_school(cli, code, library)
    place = read_class(cli, school, name)
    service = cli.app.schools
    if remove:
        _remove(lambda: service.remove_class(school, place, actor=actor), "class")
        click.echo(f"{school.code} {place.title(lang or cli.lang)}: removed.")
        return
    try:
        saved = service.save_class(school, place, **changes, actor=actor)
    except StorageConflict as err:
        raise Refused("Another class of the grade has this name. Choose another.") from err
    click.echo(f"{school.code}: {ClassName(saved.level, saved.name).title(lang or cli.lang)}")


def _remove(run: Any, what: str) -> None:
    try:
        run()
    except StorageConflict as err:
        raise Refused(_IN_USE) from err
    except NotFound as err:
        raise Refused(f"The school has no such {what}. See: onecard enrol school classes") from err


def _grade_title(grade: Grade, language: str) -> str:
    """Return the school's own name, or the usual one in the language."""
    usual = grade.name == grade_name(grade.level)
    return grade_name(grade.level, language) if usual else grade.name


# --- calendars


@school_group.command("calendar")
@click.argument("code", required=False)
@click.option("--year", type=click.IntRange(2000, 2100), help="School year, as 2026 for 2026/27.")
@click.option("--first", "first_day", type=_day, help="Its first day.")
@click.option("--last", "last_day", type=_day, help="Its last day.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def calendar(
    cli: CliContext,
    code: str | None,
    *,
    year: int | None,
    first_day: datetime | None,
    last_day: datetime | None,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Show school years, or set one of the school CODE; without CODE of every school.

    Without a calendar a school year runs from 1 September to 31 August.

    \b
    Example:
      onecard enrol school calendar s1 --year 2026 --first 2026-08-31 --last 2027-07-10
    """
    app = cli.app
    school = find_school(cli, code, library) if code else None
    if year is not None or first_day is not None or last_day is not None:
        if year is None or first_day is None or last_day is None:
            raise click.UsageError("Give --year, --first and --last together.")
        app.schools.save_calendar(
            Calendar(
                school.institution if school else only_library(app, library),
                school.code if school else "",
                year,
                first_day.date(),
                last_day.date(),
            ),
            actor=actor,
        )
    rows = [
        {
            "library": each.institution,
            "school": each.school_code or None,
            "year": each.school_year,
            "first": each.first_day.isoformat(),
            "last": each.last_day.isoformat(),
        }
        for institution in ([school.institution] if school else libraries_of(app, library))
        for each in app.schools.list_calendars(institution)
        if school is None or each.school_code in {"", school.code}
    ]
    _report(rows, lang or cli.lang, as_json=as_json)


# --- liaisons


@school_group.command("liaison")
@click.argument("code", required=False)
@click.option("--json-input", is_flag=True, help='Read {"name": …, "phone": …} from stdin.')
@library_option
@by_option
@json_option
@pass_cli
def appoint_liaison(
    cli: CliContext,
    code: str | None,
    *,
    json_input: bool,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Appoint the liaison of the school CODE, or without CODE that of the library (A21).

    Name and phone are asked for, or read from standard input. Whoever was it before is erased.

    \b
    Example:
      onecard enrol school liaison s1
    """
    app = cli.app
    school = find_school(cli, code, library) if code else None
    institution = school.institution if school else only_library(app, library)
    name, phone = _read_liaison(json_input=json_input)
    liaison = app.schools.appoint_liaison(institution, school, name=name, phone=phone, actor=actor)
    row = _describe_liaison(liaison, {school.school_id: school} if school else {})
    if as_json:
        write_json(row)
    else:
        click.echo(f"{school.code if school else institution}: {row['name']} {row['phone']}")


def _read_liaison(*, json_input: bool) -> tuple[str, str]:
    if not json_input:
        return click.prompt("Name / 姓名", err=True), click.prompt("Phone / 电话", err=True)
    try:
        document = json.load(sys.stdin)
        return str(document["name"]), str(document["phone"])
    except (ValueError, KeyError, TypeError) as err:
        raise Refused('Standard input must be {"name": …, "phone": …}.') from err


@school_group.command("liaisons")
@click.option("--overdue", is_flag=True, help="Only schools without one; exit code 1 past the day.")
@library_option
@lang_option
@json_option
@pass_cli
def list_liaisons(
    cli: CliContext, *, overdue: bool, library: str | None, lang: str | None, as_json: bool
) -> None:
    """List liaisons, masked, and which schools have named none (A21).

    \b
    Example:
      onecard enrol school liaisons --overdue
    """
    app = cli.app
    rows: list[dict[str, Any]] = []
    is_overdue = False
    for institution in libraries_of(app, library):
        report = app.schools.report_liaisons(institution)
        is_overdue |= report.is_overdue
        schools = {each.school_id: each for each in app.enrolment.list_schools(institution)}
        if not overdue:
            rows += [
                _describe_liaison(each, schools) for each in app.schools.list_liaisons(institution)
            ]
        missing: list[str | None] = [None] if report.library_is_missing else []
        rows += [
            {
                "library": institution,
                "school": code,
                "name": None,
                "phone": None,
                "since": None,
                "deadline": report.deadline.isoformat() if report.deadline else None,
                "overdue": report.is_overdue,
            }
            for code in [*missing, *(school.code for school in report.schools)]
        ]
    _report(rows, lang or cli.lang, as_json=as_json)
    sys.exit(1 if overdue and is_overdue else 0)


def _describe_liaison(liaison: Liaison, schools: dict[str, School]) -> dict[str, Any]:
    school = schools.get(liaison.school_id or "")
    return {
        "library": liaison.institution,
        "school": school.code if school else None,
        "name": mask_name(liaison.name),
        "phone": mask_number(liaison.phone),
        "since": liaison.appointed_at.date().isoformat(),
        "deadline": None,
        "overdue": False,
    }


# --- what is printed


_HEADERS = {
    "level": "级别",
    "name": "名称",
    "classes": "班级数",
    "class": "班级",
    "pupils": "学生数",
    "disabled": "是否停用",
    "sort": "排序",
    "remark": "备注",
    "library": "图书馆",
    "school": "学校",
    "year": "学年",
    "first": "开始",
    "last": "结束",
    "phone": "电话",
    "since": "自",
    "deadline": "截止日期",
    "overdue": "逾期",
}
_WORDS = {True: "是", False: "否"}


def _report(rows: list[dict[str, Any]], language: str, *, as_json: bool) -> None:
    """Print rows, with Chinese headers where that is the language; JSON keys stay."""
    if as_json:
        write_json(rows)
    elif language.startswith("en"):
        print_table(rows, empty="None.")
    else:
        print_table(
            [
                {
                    _HEADERS.get(key, key): _WORDS[value] if isinstance(value, bool) else value
                    for key, value in row.items()
                }
                for row in rows
            ],
            empty="无。",
        )


COMMANDS: tuple[click.Command, ...] = (school_group,)
