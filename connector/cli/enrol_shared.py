"""What the ``enrol`` commands share: options, and how a library, a school or a batch is named.

Nothing here is a command. Rule: where one library is configured, nobody has to name it.
"""

from __future__ import annotations

import getpass
import re
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused
from connector.domain.ids import InstitutionId
from connector.errors import NotFound
from connector.ports.clock import utc_now
from connector.ports.enrolment import Application as PupilApplication
from connector.ports.enrolment import Batch, School

__all__ = [
    "by_option",
    "check_pin_options",
    "choose_applications",
    "find_batch",
    "find_school",
    "lang_option",
    "libraries_of",
    "library_option",
    "only_library",
    "parse_rows",
    "passphrase_option",
    "print_table",
    "rows_option",
    "slips_option",
]

library_option = click.option("--library", help="Code of the library; needed where several fit.")
by_option = click.option(
    "--by", "actor", default=getpass.getuser, show_default="your login", help="Who does it."
)
rows_option = click.option("--rows", help="Row numbers of the sheet, such as 2-30,35.")
lang_option = click.option(
    "--lang", type=click.Choice(["zh", "en"]), help="Language of the messages."
)
slips_option = click.option(
    "--slips",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for PIN slips instead: one PDF for each class, sealed with a passphrase.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the passphrase of the slips is written, mode 0600; by default it is shown once.",
)

_FORM = "form:"
_APPLICATION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_LARGEST_RANGE = 100_000


def check_pin_options(pins: Path | None, slips: Path | None, passphrase_file: Path | None) -> None:
    """Raise ``click.UsageError`` where ``--pins`` and the slips do not go together."""
    if (pins and slips) or (passphrase_file and not slips):
        raise click.UsageError("Give --pins, or --slips with or without --passphrase-file.")


def parse_rows(text: str | None) -> list[int]:
    """Return row numbers from ``2-30,35``; raises ``click.UsageError``."""
    rows: list[int] = []
    for part in (text or "").replace(" ", "").split(",") if text else ():
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + _LARGEST_RANGE:
            raise click.UsageError(
                f"--rows takes numbers and ranges such as 2-30,35; not {part!r}."
            )
        rows += range(first, last + 1)
    return rows


def choose_applications(
    app: Application, number: str, rows: str | None, library: str | None
) -> tuple[Batch, tuple[PupilApplication, ...]]:
    """Return a batch and its applications, or those of some rows.

    Applications that no roster brought are named by ``form:SCHOOL``, or one by its own id.
    """
    if number.startswith(_FORM) or _APPLICATION_ID.fullmatch(number):
        if rows:
            raise click.UsageError("--rows is for a roster's batch; name one by its id instead.")
        return _choose_individual(app, number, library)
    batch = find_batch(app, number, library)
    try:
        return batch, app.enrolment.list_applications(batch, rows=parse_rows(rows))
    except NotFound as err:
        raise Refused(
            f"{err}: it was not taken, or its guardian refused. See: onecard enrol show {number}"
        ) from err


def _choose_individual(
    app: Application, number: str, library: str | None
) -> tuple[Batch, tuple[PupilApplication, ...]]:
    """Return applications that no roster brought, with what stands for their batch."""
    if not number.startswith(_FORM):
        one = app.enrolment.store.fetch_application(number)
        if one is None or one.institution not in libraries_of(app, library):
            raise Refused(f"There is no application {number}.")
        return _form_batch(number, one.institution, one.school_id, 1), (one,)
    code = number.removeprefix(_FORM)
    for institution in libraries_of(app, library):
        school = app.enrolment.store.find_school(institution, code)
        if school is not None:
            found = app.enrolment.list_individual(school)
            return _form_batch(number, institution, school.school_id, len(found)), found
    raise Refused(f"There is no school {code}. See: onecard enrol school list")


def _form_batch(number: str, institution: InstitutionId, school_id: str, rows: int) -> Batch:
    return Batch(
        batch_id=school_id,
        number=number.replace(":", "-"),
        institution=institution,
        school_id=school_id,
        layout="",
        rows=rows,
        counts={},
        problems=(),
        source_digest="",
        created_by="",
        created_at=utc_now(),
        source="form",
    )


def find_batch(app: Application, number: str, library: str | None) -> Batch:
    """Return the batch with a number, at the library that was named or the only one that has it."""
    found = [
        batch
        for code in libraries_of(app, library)
        if (batch := app.enrolment.store.find_batch(code, number)) is not None
    ]
    if not found:
        raise Refused(f"There is no batch {number}. See: onecard enrol batches")
    if len(found) > 1:
        raise click.UsageError("Several libraries have this batch; name one with --library.")
    return found[0]


def print_table(rows: list[dict[str, Any]], *, empty: str = "") -> None:
    """Print rows as a table whose columns are the keys of the first; empty columns are left out."""
    if not rows:
        click.echo(empty)
        return
    texts = [["" if cell is None else str(cell) for cell in row.values()] for row in rows]
    kept = [place for place in range(len(rows[0])) if any(line[place] for line in texts)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    keys = list(rows[0])
    for place in kept:
        table.add_column(keys[place].replace("_", " "), overflow="fold")
    for line in texts:
        table.add_row(*(line[place] for place in kept))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(table)


def libraries_of(app: Application, library: str | None) -> list[InstitutionId]:
    """Return the library that was named, or all."""
    return [only_library(app, library)] if library else list(app.libraries)


def only_library(app: Application, library: str | None) -> InstitutionId:
    """Return the library that was named, or the only one."""
    if library is None and len(app.libraries) > 1:
        raise click.UsageError("There are several libraries; name one with --library.")
    code = InstitutionId(library) if library else next(iter(app.libraries))
    if code not in app.libraries:
        raise Refused(f"There is no library {code}. Use one of: {', '.join(app.libraries)}.")
    return code


def find_school(cli: CliContext, code: str, library: str | None) -> School:
    """Return the school with a code, at the library that was named or the only one that has it."""
    app = cli.app
    found = [
        school
        for institution in libraries_of(app, library)
        if (school := app.enrolment.store.find_school(institution, code)) is not None
    ]
    if len(found) > 1:
        raise click.UsageError("Several libraries have this school; name one with --library.")
    if found:
        return found[0]
    raise Refused(f"There is no school {code}. Add it with: onecard enrol school add {code} NAME")
