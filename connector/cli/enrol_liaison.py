"""``onecard enrol school``: school years, and who speaks for a school (A21).

Nothing here decides. Rule: a liaison's name and phone come from a prompt or standard input, never
from the command line, and are shown masked.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_school import print_report
from connector.cli.enrol_shared import (
    by_option,
    find_school,
    lang_option,
    libraries_of,
    library_option,
    only_library,
)
from connector.domain.identity import mask_name, mask_number
from connector.ports.enrolment import School
from connector.ports.schools import Calendar, Liaison

__all__ = ["COMMANDS"]

_day = click.DateTime(["%Y-%m-%d"])


# --- calendars


@click.command("calendar")
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
    print_report(rows, lang or cli.lang, as_json=as_json)


# --- liaisons


@click.command("liaison")
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


@click.command("liaisons")
@click.option("--overdue", is_flag=True, help="Only schools without one; exit code 1 past the day.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def list_liaisons(
    cli: CliContext,
    *,
    overdue: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """List liaisons, masked, and which schools have named none (A21); looking is logged.

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
            liaisons = app.schools.list_liaisons(institution)
            app.store.audit.append(
                "liaisons.shown",
                actor=actor,
                detail={"count": len(liaisons)},
                institution=institution,
            )
            rows += [_describe_liaison(each, schools) for each in liaisons]
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
    print_report(rows, lang or cli.lang, as_json=as_json)
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


COMMANDS: tuple[click.Command, ...] = (calendar, appoint_liaison, list_liaisons)
"""Commands of the group ``onecard enrol school``."""
