"""``onecard enrol school``: schools, grades and classes; calendars and liaisons are in
``enrol_liaison``, whose commands are of this group too.

Nothing here decides. Rule: what was used is disabled, never removed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_school,
    lang_option,
    library_option,
    only_library,
    print_table,
)
from connector.domain.class_names import ClassName, parse_class_name, parse_grade
from connector.domain.enrolment import SchoolStage
from connector.domain.school import SchoolSystem, grade_name
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import School
from connector.ports.schools import Grade

__all__ = ["COMMANDS", "print_report", "read_class", "school_group"]

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


def print_report(rows: list[dict[str, Any]], language: str, *, as_json: bool) -> None:
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
    print_report(rows, lang or cli.lang, as_json=as_json)


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
    print_report(rows, lang or cli.lang, as_json=as_json)


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


COMMANDS: tuple[click.Command, ...] = (school_group,)
