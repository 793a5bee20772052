"""``onecard enrol add``, ``edit``, ``remove``: single pupils.

Nothing here decides. Rules (A36 to A38): personal data come from standard input or a prompt, never
from the command line; a card that is open is closed, never silently deleted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    choose_applications,
    find_school,
    lang_option,
    library_option,
)
from connector.domain.closing import ClosingReason
from connector.enrolment.columns import HEADERS
from connector.enrolment.messages import describe_problem
from connector.ports.enrolment import Application
from connector.services.individual import EDITABLE_FIELDS, EntryReport

__all__ = ["COMMANDS"]

_ASKED = (
    "name",
    "id_number",
    "student_no",
    "phone",
    "guardian_name",
    "guardian_phone",
    "class_name",
    "district",
)
_SECRET = frozenset({"id_number", "student_no"})
_LONGEST_INPUT = 20_000
_DONE = frozenset({"created", "updated", "unchanged"})


@click.command("add")
@click.argument("source", type=click.Choice(["-"]), required=False)
@click.option("--school", "code", required=True, help="Code of the pupil's school.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def add(
    cli: CliContext,
    *,
    source: str | None,
    code: str,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Enter one pupil of a school: asked for on a terminal, or as a JSON object on standard input
    with `-`.

    Keys: name, id_number or student_no, phone, guardian_name, guardian_phone, class_name, grade,
    district, willing. Exit code 1 when the pupil was not entered. In place of a batch, the steps
    that follow take form:SCHOOL for all who were entered one by one, or an application's id.

    \b
    Example:
      onecard enrol add --school s1
      onecard enrol add --school s1 - --json < pupil.json
      onecard enrol approve form:s1
    """
    school = find_school(cli, code, library)
    language = lang or cli.lang
    cells = _read_json() if source == "-" else _ask(_ASKED, language)
    entry = cli.app.enrolment.individual(school.institution)
    report = entry.enter(school, cells, actor=actor)
    _finish(report, language, as_json=as_json)


@click.command("edit")
@click.argument("batch_or_id")
@click.argument("source", type=click.Choice(["-"]), required=False)
@click.option("--row", type=int, help="Row number of the sheet, after a batch.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def edit(
    cli: CliContext,
    batch_or_id: str,
    *,
    source: str | None,
    row: int | None,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Change an application before the library's approval: of a row of a batch, or by its id.

    What is to change is asked for on a terminal (Enter keeps a value), or read as a JSON object
    from standard input with `-`: phone, guardian_name, guardian_phone, grade, class_name, district,
    willing.

    \b
    Example:
      onecard enrol edit 2026-0001 --row 5
      echo '{"class_name": "三年级2班"}' | onecard enrol edit 2026-0001 --row 5 -
    """
    application = _find(cli, batch_or_id, row, library)
    language = lang or cli.lang
    changes = _read_json() if source == "-" else _ask(EDITABLE_FIELDS, language)
    entry = cli.app.enrolment.individual(application.institution)
    report = entry.edit(application, changes, actor=actor)
    _finish(report, language, as_json=as_json)


@click.command("remove")
@click.argument("batch_or_id")
@click.option("--row", type=int, help="Row number of the sheet, after a batch.")
@click.option(
    "--reason",
    type=click.Choice([ClosingReason.LEFT.value, ClosingReason.ERASURE_REQUESTED.value]),
    default=ClosingReason.LEFT.value,
    show_default=True,
    help="Why an open card is closed; with erasure_requested the person is erased at the end.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@library_option
@by_option
@json_option
@pass_cli
def remove(
    cli: CliContext,
    batch_or_id: str,
    *,
    row: int | None,
    reason: str,
    yes: bool,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Take a pupil away: of a row of a batch, or by the application's id.

    An applicant whose card was never opened is removed with all data. An open card takes returns
    only from now on, and is closed when the last book is back.

    \b
    Example:
      onecard enrol remove 2026-0001 --row 5
    """
    application = _find(cli, batch_or_id, row, library)
    if not yes:
        click.confirm(f"Remove the pupil ({application.state.value})?", abort=True, err=True)
    entry = cli.app.enrolment.individual(application.institution)
    is_closing = entry.remove(application, reason=ClosingReason(reason), actor=actor)
    outcome = "closing" if is_closing else "removed"
    if as_json:
        write_json({"application": application.application_id, "outcome": outcome})
    else:
        click.echo("The card is being closed." if is_closing else "Removed.")


def _find(cli: CliContext, batch_or_id: str, row: int | None, library: str | None) -> Application:
    if row is not None:
        _, found = choose_applications(cli.app, batch_or_id, str(row), library)
        return found[0]
    application = cli.app.enrolment.store.fetch_application(batch_or_id)
    if application is None or application.institution not in cli.app.libraries:
        raise Refused("There is no such application. Give a batch with --row, or its id.")
    return application


def _read_json() -> Mapping[str, object]:
    document = _parse(sys.stdin.read(_LONGEST_INPUT))
    if not isinstance(document, dict) or not all(
        value is None or isinstance(value, str | int) for value in document.values()
    ):
        raise Refused(
            'Standard input is no JSON object of texts. Write it as {"name": "…", "phone": "…"}.'
        )
    return {str(key): value for key, value in document.items() if value is not None}


def _parse(text: str) -> object:
    with suppress(ValueError, RecursionError):
        parsed: object = json.loads(text)
        return parsed
    return None


def _ask(fields: Sequence[str], language: str) -> Mapping[str, object]:
    if not sys.stdin.isatty():
        raise click.UsageError("Give a JSON object on standard input with -, or use a terminal.")
    cells: dict[str, object] = {}
    for key in fields:
        label = HEADERS[key][language == "en"]
        said = click.prompt(
            label, default="", show_default=False, hide_input=key in _SECRET, err=True
        )
        if said.strip():
            cells[key] = said.strip()
    return cells


def _finish(report: EntryReport, language: str, *, as_json: bool) -> None:
    problems: list[dict[str, Any]] = [
        {
            "column": problem.column,
            "code": problem.code,
            "message": describe_problem(problem.code, language),
        }
        for problem in (*report.problems, *report.notes)
    ]
    application = report.application
    if as_json:
        write_json(
            {
                "outcome": report.outcome.value,
                "application": application.application_id if application else None,
                "state": application.state.value if application else None,
                "problems": problems,
            }
        )
    else:
        for problem in problems:
            header = HEADERS.get(problem["column"], ("", ""))[language == "en"]
            click.echo(f"{header}: {problem['message']}" if header else problem["message"])
        where = f" ({application.application_id})" if application else ""
        click.echo(f"{report.outcome.value}{where}")
    sys.exit(0 if report.outcome.value in _DONE else 1)


COMMANDS: tuple[click.Command, ...] = (add, edit, remove)
