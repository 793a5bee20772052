"""``onecard enrol``: rosters and batches.

Nothing here checks a row. Rules: what is printed of a row is its number, the column and the reason,
never what stands in the cell; a row that was not taken makes the exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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
from connector.cli.progress import Progress
from connector.domain.enrolment import RowProblem
from connector.enrolment.columns import HEADERS, Layout
from connector.enrolment.messages import describe_problem
from connector.enrolment.remarks import write_remarks
from connector.enrolment.workbook import write_template
from connector.errors import RecordError
from connector.ports.enrolment import RowOutcome, Valve
from connector.services.roster import ImportReport

__all__ = ["COMMANDS"]


# --- rosters


@click.command("template")
@click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("roster-template.xlsx"),
)
@click.option(
    "--layout",
    type=click.Choice([layout.value for layout in Layout]),
    default=Layout.A49.value,
    show_default=True,
    help="a49: seven columns with class and district; a41: five columns.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@lang_option
@pass_cli
def template(cli: CliContext, file: Path, *, layout: str, force: bool, lang: str | None) -> None:
    """Write an empty roster to FILE for a school to fill in.

    \b
    Example:
      onecard enrol template roster.xlsx --layout a49 --lang zh
    """
    language = lang or cli.lang
    if file.exists() and not force:
        raise Refused(f"{file} exists. Choose another name, or give --force.")
    try:
        write_template(file, Layout(layout), language=language)
    except RecordError as err:
        raise Refused(f"{file}: {describe_problem(err.code, language)}") from err
    click.echo(f"{file}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--school", "code", required=True, help="Code of the school whose roster it is.")
@click.option("--dry-run", is_flag=True, help="Say what would happen and store nothing.")
@click.option(
    "--complete",
    is_flag=True,
    help="The roster names every pupil of the school; who is not in it has left.",
)
@click.option("--campaign", default="", help="Code of the yearly intake that it belongs to.")
@click.option(
    "--remarks", is_flag=True, help="Write a copy of the sheet with remarks beside FILE (0600)."
)
@click.option("--force", is_flag=True, help="Import the same file once more.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def import_roster(
    cli: CliContext,
    file: Path,
    *,
    code: str,
    dry_run: bool,
    complete: bool,
    campaign: str,
    remarks: bool,
    force: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Import the roster FILE (xlsx, xls, ods or csv) of a school.

    Both layouts are taken, with five columns or seven; the header row is looked for. Every row has
    one outcome: created, updated, unchanged, duplicate, conflict, invalid, needs_guardian or held.
    Importing is not consent: no card is opened by it. Exit code 1 when a row was not taken.

    The same file again changes nothing; one whose import broke off is gone on with. With
    --complete, pupils whom the file does not name leave; where they are many, or something was not
    read, the batch is held until `onecard enrol leavers` has been answered.

    \b
    Example:
      onecard enrol import roster.xlsx --school s1 --dry-run
      onecard enrol import roster.xlsx --school s1 --complete --remarks
    """
    language = lang or cli.lang
    app = cli.app
    school = find_school(cli, code, library)
    try:
        with Progress(file.name) as progress:
            report = app.enrolment.import_roster(
                file,
                school,
                actor=actor,
                dry_run=dry_run,
                complete=complete,
                campaign=campaign,
                force=force,
                on_row=progress.show,
            )
    except RecordError as err:
        where = f" ({err.position})" if err.position else ""
        raise Refused(f"{file.name}{where}: {describe_problem(err.code, language)}") from err
    written = _write_remarks(file, report, language) if remarks else None
    document = {
        "batch": report.batch.number if report.batch else None,
        "file": file.name,
        "school": school.code,
        "dry_run": dry_run,
        **_describe(report, language),
        "remarks": str(written) if written else None,
    }
    if as_json:
        write_json(document)
    else:
        _print_report(report, document, language)
    is_held = report.valve is Valve.HELD
    sys.exit(1 if report.problems or is_held or (remarks and written is None) else 0)


def _write_remarks(file: Path, report: ImportReport, language: str) -> Path | None:
    """Write the sheet with remarks; None when it cannot be, which undoes no import."""
    try:
        said = (*report.problems, *report.notes)
        return write_remarks(file, report.roster, said, language=language)
    except RecordError as err:
        click.echo(f"{file.name}: {describe_problem(err.code, language)}", err=True)
        return None


def _describe(report: ImportReport, language: str) -> dict[str, Any]:
    roster = report.roster
    return {
        "layout": roster.columns.layout.value,
        "sheet": roster.sheet,
        "rows": report.rows,
        **{outcome.value: report.counts[outcome] for outcome in RowOutcome},
        "unknown_columns": list(roster.columns.unknown),
        "unread_sheets": list(roster.unread_sheets),
        "hidden_sheets": list(roster.hidden_sheets),
        "repeated": report.repeated,
        "missing": report.missing,
        "valve": report.valve.value,
        "problems": _list_problems(report, report.problems, language),
        "notes": _list_problems(report, report.notes, language),
    }


def _list_problems(
    report: ImportReport, problems: Sequence[RowProblem], language: str
) -> list[dict[str, Any]]:
    return [
        {
            "row": problem.row,
            "column": problem.column,
            "cell": report.roster.cell_of(problem.row, problem.column),
            "code": problem.code,
            "message": describe_problem(problem.code, language),
        }
        for problem in problems
    ]


def _print_report(report: ImportReport, document: dict[str, Any], language: str) -> None:
    said = document["problems"] + document["notes"]
    if said:
        print_table(
            [
                {
                    "row": problem["row"],
                    "cell": problem["cell"],
                    "column": HEADERS.get(problem["column"], ("", ""))[language == "en"],
                    "code": problem["code"],
                    "message": problem["message"],
                }
                for problem in sorted(said, key=lambda problem: problem["row"])
            ]
        )
    words = _WORDS[language]
    for header in report.roster.columns.unknown:
        click.echo(words["unknown_column"].format(header), err=True)
    for sheet in report.roster.unread_sheets:
        is_hidden = sheet in report.roster.hidden_sheets
        click.echo(words["hidden_sheet" if is_hidden else "unread_sheet"].format(sheet), err=True)
    batch = report.batch
    parts = [
        words["count"].format(n, _OUTCOMES[outcome] if language == "zh" else outcome.value)
        for outcome, n in report.counts.items()
        if n
    ]
    what = words["batch"].format(batch.number) if batch else words["dry_run"]
    if batch is not None and report.repeated:
        what = words["repeated"].format(batch.number)
    click.echo(words["rows"].format(report.rows, what, words["comma"].join(parts) or words["none"]))
    if report.valve is Valve.HELD:
        number = batch.number if batch else "BATCH"
        click.echo(words["held"].format(report.missing, number), err=True)
    elif report.missing:
        click.echo(words["left" if batch else "would_leave"].format(report.missing))
    if document["remarks"]:
        click.echo(words["remarks"].format(document["remarks"]))


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "unknown_column": "Note: the column {!r} is not known and was not read.",
        "unread_sheet": "Note: the sheet {!r} looks like a roster too and was not read.",
        "hidden_sheet": "Note: the hidden sheet {!r} looks like a roster too and was not read.",
        "batch": "batch {}",
        "repeated": "the same file as batch {}, nothing to change",
        "dry_run": "dry run, nothing stored",
        "rows": "{} rows ({}): {}.",
        "count": "{} {}",
        "comma": ", ",
        "none": "none",
        "held": "{} pupils of the school are not in it; nobody is closed. "
        "Run: onecard enrol leavers {}",
        "left": "{} pupils of the school are not in it and have left.",
        "would_leave": "{} pupils of the school are not in it and would leave.",
        "remarks": "Sheet with remarks: {} (holds personal data; delete it when it is mended)",
    },
    "zh": {
        "unknown_column": "提示：不认识的列 {!r}，未读取。",
        "unread_sheet": "提示：工作表 {!r} 也像名册，未读取。",
        "hidden_sheet": "提示：隐藏的工作表 {!r} 也像名册，未读取。",
        "batch": "批次 {}",
        "repeated": "与批次 {} 是同一文件，没有变化",
        "dry_run": "试运行，未保存",
        "rows": "共 {} 行（{}）：{}。",
        "count": "{1} {0}",
        "comma": "，",
        "none": "无",
        "held": "本校有 {} 名学生不在名册中，未关闭任何人。请运行：onecard enrol leavers {}",
        "left": "本校有 {} 名学生不在名册中，已按离校处理。",
        "would_leave": "本校有 {} 名学生不在名册中，将按离校处理。",
        "remarks": "带备注的表格：{}（含个人信息，改好后请删除）",
    },
}


_OUTCOMES: Mapping[RowOutcome, str] = {
    RowOutcome.CREATED: "新增",
    RowOutcome.UPDATED: "更新",
    RowOutcome.UNCHANGED: "无变化",
    RowOutcome.DUPLICATE: "重复",
    RowOutcome.CONFLICT: "冲突",
    RowOutcome.INVALID: "有误",
    RowOutcome.NEEDS_GUARDIAN: "缺家长信息",
    RowOutcome.HELD: "暂缓",
}


@click.command("batches")
@click.option("--school", "code", help="Only batches of this school.")
@library_option
@json_option
@pass_cli
def list_batches(cli: CliContext, *, code: str | None, library: str | None, as_json: bool) -> None:
    """List import batches, newest first, and how far each is at every step (A43).

    The note tells what is not zero of the rest: pending, applications that wait for the guardian's
    consent; failed, cards that could not be opened; unwilling, families that want no card. A batch
    in state importing broke off: import its file again.

    \b
    Example:
      onecard enrol batches --school s1
    """
    app = cli.app
    school = find_school(cli, code, library) if code else None
    codes = [school.institution] if school else libraries_of(app, library)
    rows: list[dict[str, Any]] = []
    for institution in codes:
        zone = app.libraries[institution].zone
        for progress in app.enrolment.list_progress(institution, school=school):
            batch = progress.batch
            rows.append(
                {
                    "batch": batch.number,
                    "library": batch.institution,
                    "school": progress.school.code if progress.school else None,
                    "created_at": batch.created_at.astimezone(zone).isoformat(timespec="minutes"),
                    "rows": batch.rows,
                    **{outcome.value: n for outcome, n in batch.counts.items()},
                    "states": {state.value: n for state, n in progress.states.items()},
                    "state": batch.state,
                    "taken_rows": batch.taken_rows,
                    "pending": progress.pending,
                    "failed": progress.failed,
                    "unwilling": progress.unwilling,
                    "missing": batch.missing,
                    "valve": batch.valve.value,
                }
            )
    if as_json:
        write_json(rows)
        return
    several = len({row["library"] for row in rows}) > 1
    shown = [
        {"batch": row["batch"]}
        | ({"library": row["library"]} if several else {})
        | {"school": row["school"], "imported": row["created_at"][:10], "rows": row["rows"]}
        | {"total": sum(row["states"].values())}
        | {word: row["states"].get(state, 0) for word, state in _STEPS}
        | {"note": _note_of(row)}
        for row in rows
    ]
    print_table(shown, empty="No batch yet.")


_STEPS = (
    ("entered", "entered"),
    ("reviewed", "school_reviewed"),
    ("approved", "library_approved"),
    ("active", "active"),
)
"""Column of the table → state of an application."""
_NOTED = (
    ("activating", "activating"),
    ("existing_card", "with an existing card"),
    ("withdrawn", "closed"),
    ("refused", "refused"),
)
"""State that few are in → its words in the note."""


def _note_of(row: Mapping[str, Any]) -> str:
    """Return what is not zero of the rarer figures: the table fits a terminal."""
    parts = []
    if row["state"] != "imported":
        parts.append(f"{row['state']}, {row['taken_rows']} of {row['rows']}")
    parts += [
        f"{row['states'][state]} {words}" for state, words in _NOTED if state in row["states"]
    ]
    parts += [f"{row[key]} {key}" for key in ("pending", "failed", "unwilling") if row[key]]
    if row["missing"]:
        parts.append(f"{row['missing']} leavers {row['valve'] or 'left'}")
    return "; ".join(parts)


COMMANDS: tuple[click.Command, ...] = (template, import_roster, list_batches)
