"""``onecard enrol handoff``: opening cards by a file that the library system loads.

Nothing here decides; ``connector.services.handoff`` does. Rules: the file and the PINs are private
files, made before anybody is taken up; a PIN is given out with the file and never shown; what a
load report says of a row is shown and not kept.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    check_pin_options,
    choose_applications,
    library_option,
    passphrase_option,
    print_table,
    rows_option,
    slips_option,
)
from connector.cli.pin_file import PinFile
from connector.cli.private_file import PrivateFile
from connector.cli.progress import Progress
from connector.cli.slip_folder import SlipFolder
from connector.domain.enrolment import ApplicationState
from connector.domain.handoff import LAYOUTS
from connector.enrolment.handoff_file import read_rejections
from connector.errors import RecordError
from connector.ports.enrolment import Application, Batch
from connector.services.activation import Activation
from connector.services.handoff import HandoffService
from connector.services.handoff_result import HandoffOutcome, HandoffResult

__all__ = ["COMMANDS"]

_LARGEST_REPORT = 20_000_000
_PRINTED = frozenset({ApplicationState.ACTIVATING, ApplicationState.ACTIVE})
_QUIET = frozenset(
    {HandoffOutcome.HANDED_OFF, HandoffOutcome.OPENED, HandoffOutcome.ALREADY_ACTIVE}
)
_BROKEN = frozenset({HandoffOutcome.FAILED, HandoffOutcome.NOT_TRIED})
_WHAT_TO_DO = {
    HandoffOutcome.HANDED_OFF_BEFORE: "in an earlier file; --again puts them into this one, too",
    HandoffOutcome.NOT_THERE_YET: "not in the library system yet: load the file, confirm again",
    HandoffOutcome.OTHER_NAME: "the card is there under another name: look, then --name-checked",
    HandoffOutcome.CLOSING: "withdrawn since: take the row out, or close the account there",
    HandoffOutcome.NO_CONSENT: "no consent that holds: nothing is opened",
    HandoffOutcome.EXISTING_CARD: "has an account there already: see onecard enrol task list",
    HandoffOutcome.REJECTED: "not taken by the library system: mend it, then export again",
    HandoffOutcome.NOT_APPROVED: "not approved yet",
    HandoffOutcome.NOT_HANDED_OFF: "in no file yet: export first",
}


@click.group("handoff")
def handoff_group() -> None:
    """Open cards by a file, where no program may open them in the library system.

    `export` writes the approved pupils in the layout of [library.ils.handoff]; the library's staff
    load it; `confirm` asks the library system for each card and opens those that are there.

    \b
    Example:
      onecard enrol handoff export 2026-0001 --out new-readers.csv --slips slips/
      onecard enrol handoff confirm 2026-0001
    """


@handoff_group.command("export")
@click.argument("batch")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file, mode 0600; it never replaces one.",
)
@click.option(
    "--layout", type=click.Choice(list(LAYOUTS)), help="Instead of the layout of the settings."
)
@click.option("--again", is_flag=True, help="Those of an earlier file, too; with new PINs.")
@rows_option
@click.option(
    "--pins",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file for the PINs where the layout has them; by default OUT with -pins.csv.",
)
@slips_option
@passphrase_option
@library_option
@by_option
@json_option
@pass_cli
def export(
    cli: CliContext,
    batch: str,
    *,
    out: Path,
    layout: str | None,
    again: bool,
    rows: str | None,
    pins: Path | None,
    slips: Path | None,
    passphrase_file: Path | None,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Write the approved pupils of BATCH, with consent, for the library system to load.

    Each gets his card number. Consent is asked for at this moment, and so is the library system for
    accounts that it has already. With a PIN column each PIN is random, and given out here, once.
    Exit code 1 when a row failed, or nobody stands in the file.

    \b
    Example:
      onecard enrol handoff export 2026-0001 --out new-readers.csv
      onecard enrol handoff export 2026-0001 --out new-readers.csv --layout koha-csv --slips slips/
    """
    check_pin_options(pins, slips, passphrase_file)
    app = cli.app
    found, applications = choose_applications(app, batch, rows, library)
    service = app.handoff(found.institution, applications, layout or "")
    if (pins or slips) and not service.layout.has_pin:
        raise click.UsageError("The layout has no PIN, so that there are none to give out.")
    target = pins or out.with_name(f"{out.stem}-pins.csv")
    with ExitStack() as stack:
        file = stack.enter_context(PrivateFile(out, lest="so nobody was exported"))
        taker: PinFile | SlipFolder | None = None
        if service.layout.has_pin:
            taker = PinFile(target)
            if slips is not None:
                taker = SlipFolder(
                    slips,
                    app,
                    found,
                    lang=cli.lang,
                    passphrase_file=passphrase_file,
                    to_stderr=as_json,
                    states=_PRINTED,
                )
        pin_file: AbstractContextManager[Any] = nullcontext() if taker is None else taker
        with pin_file, Progress(f"batch {found.number}") as progress:
            results = service.export(
                applications,
                actor=actor,
                give_out=_nobody if taker is None else taker.write,
                write=file.write,
                again=again,
                on_progress=progress.show,
            )
    document = _describe(found, results)
    document["file"] = str(out) if file.is_written else None
    is_pins = slips is None and taker is not None and taker.is_written
    document["pins_file"] = str(target) if is_pins else None
    document["slips"] = [str(path) for path in taker.files] if taker else []
    if as_json:
        write_json(document)
    else:
        _print(document)
        if file.is_written:
            click.echo(f"Load this file, then run onecard enrol handoff confirm {batch}: {out}")
        if is_pins:
            click.echo(f"PINs, given out once: {target}")
        if anew := [str(row) for row in document["again"]]:
            click.echo(f"Once more, an earlier PIN is no longer right: rows {', '.join(anew)}")
    written = document["counts"].get(HandoffOutcome.HANDED_OFF.value, 0)
    sys.exit(1 if _is_broken(results) or (results and not written) else 0)


@handoff_group.command("confirm")
@click.argument("batch")
@click.option(
    "--file",
    "report",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The library system's load report: card numbers that it did not take, and why.",
)
@click.option(
    "--name-checked",
    is_flag=True,
    help="The cards are the children's though the names differ; needs --rows.",
)
@rows_option
@library_option
@by_option
@json_option
@pass_cli
def confirm(
    cli: CliContext,
    batch: str,
    *,
    report: Path | None,
    name_checked: bool,
    rows: str | None,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Open the cards of BATCH that the library system has by now.

    It is asked for each card (SIP2 63, or its API). The report is a table in the layout's encoding:
    card number, reason. Cards that it names can be exported again; where the library system cannot
    be asked, all others count as loaded. Exit code 1 when a row failed, or a row still waits.

    \b
    Example:
      onecard enrol handoff confirm 2026-0001
      onecard enrol handoff confirm 2026-0001 --file not-loaded.csv
    """
    if name_checked and not rows:
        raise click.UsageError("Give --rows for the rows whose names you have looked at.")
    app = cli.app
    found, applications = choose_applications(app, batch, rows, library)
    service = app.handoff(found.institution, applications)
    rejected = None if report is None else _read_report(report, service)
    with Progress(f"batch {found.number}") as progress:
        results = service.confirm(
            applications,
            actor=actor,
            rejected=rejected,
            is_name_checked=name_checked,
            on_progress=progress.show,
        )
    document = _describe(found, results)
    known = {result.card for result in results}
    document["unknown_cards"] = sum(card not in known for card in rejected or {})
    if as_json:
        write_json(document)
    else:
        _print(document)
        if document["unknown_cards"]:
            click.echo(f"{document['unknown_cards']} cards of the report are not of this batch.")
    waits = document["counts"].get(HandoffOutcome.NOT_THERE_YET.value, 0)
    sys.exit(1 if _is_broken(results) or waits else 0)


def _nobody(result: Activation) -> None:
    """Take nothing: the layout has no PIN."""


def _read_report(path: Path, service: HandoffService) -> dict[str, str]:
    if path.stat().st_size > _LARGEST_REPORT:
        raise Refused(f"{path} is too large for a load report.")
    try:
        return read_rejections(path.read_bytes(), service.layout)
    except RecordError as err:
        raise Refused(
            f"{path}, line {err.position}: {err.code}. Write a table of card number and reason, in"
            f" {service.layout.encoding}."
        ) from None


def _describe(batch: Batch, results: Sequence[HandoffResult]) -> dict[str, Any]:
    return {
        "batch": batch.number,
        "counts": dict(Counter(result.outcome.value for result in results)),
        "cards": [
            {"row": result.application.batch_row, "card": result.card}
            for result in results
            if result.outcome in _QUIET
        ],
        "again": [_name(result.application) for result in results if result.is_again],
        "others": [
            {
                "row": _name(result.application),
                "card": result.card,
                "outcome": result.outcome.value,
                "why": result.error,
            }
            for result in results
            if result.outcome not in _QUIET
        ],
    }


def _name(application: Application) -> int | str:
    """Return the row of the sheet, else the application's id: an erased one has no row."""
    return application.batch_row or application.application_id


def _print(document: dict[str, Any]) -> None:
    if document["others"]:
        print_table(document["others"])
    for outcome, text in _WHAT_TO_DO.items():
        if document["counts"].get(outcome.value):
            click.echo(f"{outcome.value}: {text}", err=True)
    parts = [f"{count} {outcome}" for outcome, count in document["counts"].items()]
    click.echo(f"batch {document['batch']}: {', '.join(parts) or 'no application'}.")


def _is_broken(results: Sequence[HandoffResult]) -> bool:
    return any(result.outcome in _BROKEN for result in results)


COMMANDS: tuple[click.Command, ...] = (handoff_group,)
