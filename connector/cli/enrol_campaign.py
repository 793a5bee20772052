"""``onecard enrol campaign``: yearly intakes and how far they are (A04).

Nothing here decides.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    lang_option,
    libraries_of,
    library_option,
    only_library,
    print_table,
)
from connector.domain.class_names import parse_grade
from connector.domain.school import SchoolSystem, grade_name
from connector.errors import NotFound
from connector.ports.schools import Campaign

__all__ = ["COMMANDS"]

_day = click.DateTime(["%Y-%m-%d"])


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
    saved = app.campaigns.save_campaign(
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
        for campaign in cli.app.campaigns.list_campaigns(institution)
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
        progress = cli.app.campaigns.find_progress(institution, code)
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


COMMANDS: tuple[click.Command, ...] = (campaign_group,)
