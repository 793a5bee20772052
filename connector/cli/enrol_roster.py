"""``onecard enrol``: rosters and batches.

Nothing here checks a row. Rules: what is printed of a row is its number, the column and the reason,
never what stands in the cell; a row that was not taken makes the exit code 1.
"""

from __future__ import annotations

import sys
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
from connector.enrolment.columns import HEADERS, Layout
from connector.enrolment.messages import describe_problem
from connector.enrolment.workbook import write_template
from connector.errors import RecordError
from connector.ports.enrolment import RowOutcome, School
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
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Import the roster FILE (xlsx, xls, ods or csv) of a school.

    Both layouts are taken, with five columns or seven; the header row is looked for. Every row has
    one outcome: created, updated, unchanged, duplicate, conflict, invalid, needs_guardian or held.
    Importing is not consent: no card is opened by it. Exit code 1 when a row was not taken.

    \b
    Example:
      onecard enrol import roster.xlsx --school s1 --dry-run
    """
    language = lang or cli.lang
    app = cli.app
    school = find_school(cli, code, library)
    try:
        with Progress(file.name) as progress:
            report = app.enrolment.import_roster(
                file, school, actor=actor, dry_run=dry_run, on_row=progress.show
            )
    except RecordError as err:
        where = f" ({err.position})" if err.position else ""
        raise Refused(f"{file.name}{where}: {describe_problem(err.code, language)}") from err
    document = _describe(report, file, school, language)
    if as_json:
        write_json(document)
    else:
        _print_report(report, document, language)
    sys.exit(1 if report.problems else 0)


def _describe(report: ImportReport, file: Path, school: School, language: str) -> dict[str, Any]:
    roster = report.roster
    return {
        "batch": report.batch.number if report.batch else None,
        "file": file.name,
        "school": school.code,
        "dry_run": report.batch is None,
        "layout": roster.columns.layout.value,
        "sheet": roster.sheet,
        "rows": report.rows,
        **{outcome.value: report.counts[outcome] for outcome in RowOutcome},
        "unknown_columns": list(roster.columns.unknown),
        "unread_sheets": list(roster.unread_sheets),
        "problems": [
            {
                "row": problem.row,
                "column": problem.column,
                "cell": roster.cell_of(problem.row, problem.column),
                "code": problem.code,
                "message": describe_problem(problem.code, language),
            }
            for problem in report.problems
        ],
    }


def _print_report(report: ImportReport, document: dict[str, Any], language: str) -> None:
    if document["problems"]:
        print_table(
            [
                {
                    "row": problem["row"],
                    "cell": problem["cell"],
                    "column": HEADERS.get(problem["column"], ("", ""))[language == "en"],
                    "code": problem["code"],
                    "message": problem["message"],
                }
                for problem in document["problems"]
            ]
        )
    for header in report.roster.columns.unknown:
        click.echo(f"Note: the column {header!r} is not known and was not read.", err=True)
    for sheet in report.roster.unread_sheets:
        click.echo(f"Note: the sheet {sheet!r} looks like a roster too and was not read.", err=True)
    parts = [f"{n} {outcome.value}" for outcome, n in report.counts.items() if n]
    what = f"batch {report.batch.number}" if report.batch else "dry run, nothing stored"
    click.echo(f"{report.rows} rows ({what}): {', '.join(parts) or 'none'}.")


@click.command("batches")
@click.option("--school", "code", help="Only batches of this school.")
@library_option
@json_option
@pass_cli
def list_batches(cli: CliContext, *, code: str | None, library: str | None, as_json: bool) -> None:
    """List import batches, newest first, and how far each is.

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
                }
            )
    if as_json:
        write_json(rows)
        return
    shown = [
        {key: row[key] for key in ("batch", "library", "school", "created_at", "rows")}
        | {"states": ", ".join(f"{n} {state}" for state, n in row["states"].items())}
        for row in rows
    ]
    print_table(shown, empty="No batch yet.")


COMMANDS: tuple[click.Command, ...] = (template, import_roster, list_batches)
