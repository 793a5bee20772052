"""``onecard enrol find``, ``export``, ``log`` and ``stats``: lists of a school, and figures.

Nothing here decides. Rules: a name or a number is asked for, never an argument; what is shown is
masked; a file is new and only its owner may read it; whatever is given out stands in the audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_batch,
    find_school,
    lang_option,
    libraries_of,
    library_option,
    only_library,
    print_table,
)
from connector.cli.moments import in_zone, since_option, until_option
from connector.cli.patron_option import ask_number
from connector.cli.private_file import PrivateFile
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import InstitutionId
from connector.enrolment.tables import ENDINGS, make_table
from connector.ports.enrolment import School
from connector.services.figures import FIGURES, Figures
from connector.services.lists import ExportReason, LogLine, PupilQuery

__all__ = ["COMMANDS"]

_HEADERS: Mapping[str, tuple[str, str]] = {
    "batch": ("批次号", "batch"),
    "row": ("行号", "row"),
    "name": ("姓名", "name"),
    "id_number": ("身份证号", "ID number"),
    "phone": ("联系电话", "phone"),
    "guardian_name": ("家长姓名", "guardian"),
    "guardian_phone": ("家长电话", "guardian's phone"),
    "class": ("班级", "class"),
    "state": ("状态", "state"),
    "reason": ("原因", "reason"),
    "consent": ("监护人同意", "consent"),
    "card": ("读者卡号", "card"),
    "error": ("开卡问题", "error"),
    "person": ("系统编号", "person"),
    "library": ("图书馆", "library"),
    "school": ("学校", "school"),
    "grade": ("年级", "grade"),
    "on_roster": ("在册", "on roster"),
    "applied": ("申请", "applied"),
    "willing": ("愿意办证", "willing"),
    "reviewed": ("学校已审", "reviewed"),
    "consent_given": ("监护人已同意", "consent given"),
    "consent_refused": ("监护人不同意", "consent refused"),
    "consent_withdrawn": ("同意已撤回", "consent withdrawn"),
    "consent_pending": ("未答复", "no answer"),
    "approved": ("图书馆已批", "approved"),
    "active": ("已开卡", "active"),
    "closed": ("已关闭", "closed"),
    "at": ("时间", "time"),
    "action": ("操作", "action"),
    "actor": ("操作人", "by"),
    "subject": ("对象", "subject"),
    "count": ("数量", "count"),
}
_SHOWN = ("batch", "row", "name", "id_number", "class", "state", "consent", "card", "person")
_EXPORTED = tuple(list(_HEADERS)[:14])
_COUNTED = ("library", "school", "grade", "class", *FIGURES)
_LOGGED = ("at", "action", "actor", "subject", "count", "reason")
_MOST_LINES = 100_000

out_type = click.Path(dir_okay=False, path_type=Path)


@click.command("find")
@click.option("--school", "code", required=True, help="Code of the school; only its own pupils.")
@click.option("--id-number", "by_number", is_flag=True, help="By a number that is asked for.")
@click.option("--name", "by_name", is_flag=True, help="By a name, or a part, that is asked for.")
@click.option("--class", "class_name", default="", help="By class, such as 3/2 or 三年级2班.")
@click.option("--grade", default="", help="By grade, such as 3 or 三年级.")
@library_option
@by_option
@json_option
@pass_cli
def find(
    cli: CliContext,
    *,
    code: str,
    by_number: bool,
    by_name: bool,
    class_name: str,
    grade: str,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Find pupils of a school; names and numbers are masked, looking is logged.

    The number or name is asked for, or read from standard input. A pupil of another school is not
    found. Exit code 1 when nobody is found.

    \b
    Example:
      onecard enrol find --school s1 --id-number
      onecard enrol find --school s1 --class 3/2
    """
    if sum([by_number, by_name, bool(class_name), bool(grade)]) != 1:
        raise click.UsageError("Give one of --id-number, --name, --class and --grade.")
    school = find_school(cli, code, library)
    query = PupilQuery(
        id_number=ask_number() if by_number else "",
        name=click.prompt("Name / 姓名", err=True) if by_name else "",
        class_name=class_name,
        grade=grade,
    )
    found = [pupil.as_row() for pupil in cli.app.lists.find_pupils(school, query, actor=actor)]
    rows = [{key: row[key] for key in _SHOWN} for row in found]
    if as_json:
        write_json(rows)
    elif rows:
        print_table(rows)
    if not rows:
        raise Refused(
            "查无此人，或不是本校学生。" if cli.lang == "zh" else "No such pupil at this school."
        )


@click.command("export")
@click.option("--school", "code", required=True, help="Code of the school; only its own pupils.")
@click.option("--batch", "number", help="Only this batch.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in ApplicationState]),
    help="Only this state; may be repeated.",
)
@click.option("--out", required=True, type=out_type, help="A new file, .xlsx or .csv, mode 0600.")
@click.option("--full", is_flag=True, help="Names and numbers in full; needs --reason.")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in ExportReason]),
    help="Why it is needed in full; it stays in the audit.",
)
@library_option
@by_option
@lang_option
@pass_cli
def export(
    cli: CliContext,
    *,
    code: str,
    number: str | None,
    states: Sequence[str],
    out: Path,
    full: bool,
    reason: str | None,
    library: str | None,
    actor: str,
    lang: str | None,
) -> None:
    """Write a list of a school's pupils: masked, or in full with a reason; each one is logged.

    \b
    Example:
      onecard enrol export --school s1 --state active --out pupils.xlsx
      onecard enrol export --school s1 --full --reason card_printing --out cards.csv
    """
    if full != bool(reason):
        raise click.UsageError("Give --full together with --reason, or neither.")
    school = find_school(cli, code, library)
    batch = find_batch(cli.app, number, school.institution) if number else None
    if batch is not None and batch.school_id != school.school_id:
        raise Refused(f"There is no batch {number} of this school.")
    _check_ending(out)
    with PrivateFile(out) as file:
        pupils = cli.app.lists.export_pupils(
            school,
            batch=batch,
            states=[ApplicationState(state) for state in states],
            reason=ExportReason(reason) if reason else None,
            actor=actor,
        )
        rows = [pupil.as_row(full=full) for pupil in pupils]
        file.write(_table(rows, _EXPORTED, out, lang or cli.lang))
    click.echo(f"{len(rows)} pupils in {out}{'' if full else ', masked'}.")


@click.command("stats")
@click.option("--school", "code", help="Code of the school; by default all of them.")
@click.option("--year", "school_year", type=int, help="School year, such as 2026 for 2026/27.")
@click.option("--out", type=out_type, help="A new file, .xlsx or .csv, mode 0600.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def stats(
    cli: CliContext,
    *,
    code: str | None,
    school_year: int | None,
    out: Path | None,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Figures of each class: on the roster, applied, agreed, approved, open, closed.

    Guardians who refused before a card was opened are not counted: nothing is left of them. On a
    terminal, figures that are zero everywhere are left out.

    \b
    Example:
      onecard enrol stats --school s1
      onecard enrol stats --year 2026 --out figures.xlsx
    """
    school = find_school(cli, code, library) if code else None
    libraries = [school.institution] if school else libraries_of(cli.app, library)
    rows = [
        _figures_row(institution, figures)
        for institution in libraries
        for figures in cli.app.figures.count(institution, school=school, school_year=school_year)
    ]
    if out is not None:
        _write_out(cli, out, "stats", rows, _COUNTED, school=school, actor=actor, lang=lang)
    elif as_json:
        write_json(rows)
    else:
        met = [key for key in _COUNTED[1:] if any(row[key] != 0 for row in rows)]
        titles = _titles(met, lang or cli.lang)
        print_table(
            [{title: row[key] for key, title in titles.items()} for row in rows],
            empty="There are no pupils.",
        )


@click.command("log")
@click.option("--school", "code", help="About this school and its own pupils only.")
@since_option
@until_option
@click.option("--action", default="", help="Such as pupils.exported; a kind ends with a dot.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, _MOST_LINES))
@click.option("--export", "out", type=out_type, help="A new file, .xlsx or .csv, mode 0600.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def log(
    cli: CliContext,
    *,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
    action: str,
    limit: int,
    out: Path | None,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Who did what to pupils' data, the newest first: ids and codes, no names.

    \b
    Example:
      onecard enrol log --school s1 --since 2026-09-01 --action pupils.
    """
    school = find_school(cli, code, library) if code else None
    institution = school.institution if school else only_library(cli.app, library)
    zone = cli.app.libraries[institution].zone
    lines = cli.app.lists.read_log(
        institution,
        school=school,
        since=in_zone(since, zone),
        until=in_zone(until, zone),
        action=action,
        limit=_MOST_LINES if out else limit,
    )
    rows = [_log_row(line, cli, institution) for line in lines]
    if out is not None:
        _write_out(cli, out, "log", rows, _LOGGED, school=school, actor=actor, lang=lang)
    elif as_json:
        write_json(rows)
    else:
        print_table(rows, empty="Nothing was done.")


def _write_out(
    cli: CliContext,
    out: Path,
    what: str,
    rows: Sequence[Mapping[str, str | int]],
    columns: Sequence[str],
    *,
    school: School | None,
    actor: str,
    lang: str | None,
) -> None:
    _check_ending(out)
    with PrivateFile(out) as file:
        cli.app.lists.note_export(what, school=school, count=len(rows), actor=actor)
        file.write(_table(rows, columns, out, lang or cli.lang))
    click.echo(f"{len(rows)} lines in {out}.")


def _check_ending(out: Path) -> None:
    if out.suffix.lower() not in ENDINGS:
        raise click.UsageError("The file ends in .xlsx or .csv.")


def _table(
    rows: Sequence[Mapping[str, str | int]], columns: Sequence[str], out: Path, lang: str
) -> bytes:
    titles = _titles(columns, lang)
    lines = [[row.get(key, "") for key in titles] for row in rows]
    return make_table([list(titles.values()), *lines], out.suffix)


def _titles(columns: Sequence[str], lang: str) -> dict[str, str]:
    return {key: _HEADERS[key][lang != "zh"] for key in columns}


def _figures_row(institution: InstitutionId, figures: Figures) -> dict[str, str | int]:
    return {
        "library": institution,
        "school": figures.school.code,
        "grade": figures.grade,
        "class": figures.class_name,
        **figures.counts,
    }


def _log_row(line: LogLine, cli: CliContext, institution: InstitutionId) -> dict[str, str | int]:
    at = line.at.astimezone(cli.app.libraries[institution].zone)
    return {
        "at": at.isoformat(sep=" ", timespec="seconds"),
        "action": line.action,
        "actor": line.actor,
        "subject": line.subject,
        "count": "" if line.count is None else line.count,
        "reason": line.reason,
    }


COMMANDS: tuple[click.Command, ...] = (find, export, stats, log)
