"""``onecard enrol``: what comes after the import — review, approval, activation.

Nothing here decides. Rules: applications are named by batch and row, so that no name and no number
is typed; a PIN goes into a file that only its owner may read, before the next card is opened.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    check_pin_options,
    choose_applications,
    libraries_of,
    library_option,
    parse_rows,
    passphrase_option,
    print_table,
    rows_option,
    slips_option,
)
from connector.cli.holds import confirm_due
from connector.cli.pin_file import PinFile
from connector.cli.progress import Progress
from connector.cli.slip_folder import SlipFolder
from connector.domain.enrolment import ApplicationState
from connector.domain.identity import mask_name, mask_number
from connector.ports.enrolment import Application, Batch
from connector.ports.ils import Capability
from connector.ports.store import PersonalData
from connector.services.enrolment import REJECTIONS
from connector.services.provisioning import ActivationOutcome

__all__ = ["COMMANDS", "parse_rows"]

_S = ApplicationState


class_option = click.option(
    "--class", "class_name", help="Only pupils of a class, LEVEL/NAME such as 3/2班, or of a level."
)


@click.command("show")
@click.argument("batch")
@rows_option
@class_option
@library_option
@by_option
@json_option
@pass_cli
def show(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    class_name: str | None,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Show the applications of BATCH, names and numbers masked; looking is logged.

    \b
    Example:
      onecard enrol show 2026-0001 --class 3/2班
    """
    app = cli.app
    found, applications = _choose(cli, batch, rows, class_name, library)
    people = app.enrolment.register.fetch_personal_many(
        [application.patron_id for application in applications]
    )
    lines: list[dict[str, Any]] = []
    for application in applications:
        known = people.get(application.patron_id, _ERASED)
        consents = app.enrolment.store.list_consents(application.patron_id)
        lines.append(
            {
                "row": application.batch_row,
                "application": application.application_id,
                "name": mask_name(known.name),
                "id_number": mask_number(known.id_number),
                "class": application.class_name,
                "on_roster": application.on_roster,
                "willing": application.willing,
                "state": application.state.value,
                "consent": [consent.scope.value for consent in consents if consent.holds],
                "card": application.card,
                "error": application.error,
            }
        )
    app.enrolment.audit.append("enrolment.shown", actor=actor, subject=found.batch_id)
    if as_json:
        write_json(lines)
    else:
        is_form = found.source == "form"
        shown = [
            {key: value for key, value in row.items() if is_form or key != "application"}
            | {
                "on_roster": "yes" if row["on_roster"] else "no",
                "consent": ", ".join(row["consent"]),
            }
            for row in lines
        ]
        print_table(shown, empty="No application is left in this batch.")


@click.command("review")
@click.argument("batch")
@rows_option
@class_option
@click.option("--reject", is_flag=True, help="End these applications instead; needs --rows.")
@click.option(
    "--reason", type=click.Choice(REJECTIONS), default="other", show_default=True, help="Why."
)
@library_option
@by_option
@pass_cli
def review(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    class_name: str | None,
    reject: bool,
    reason: str,
    library: str | None,
    actor: str,
) -> None:
    """The school's review of BATCH, or of some of its rows; families that want no card are passed
    over.

    \b
    Example:
      onecard enrol review 2026-0001 --rows 2-30,35
      onecard enrol review 2026-0001 --class 3/2班
      onecard enrol review 2026-0001 --reject --rows 7 --reason not_a_pupil
    """
    app = cli.app
    if reject and not rows:
        raise click.UsageError("Give --rows for the rows that are rejected.")
    found, applications = _choose(cli, batch, rows, class_name, library)
    if reject:
        report = app.enrolment.reject(applications, reason, actor=actor)
        click.echo(f"{report.done} rejected in batch {found.number}.")
        if report.skipped:
            raise Refused(f"{report.skipped} cannot be rejected: the card is open, or it is over.")
        return
    report = app.enrolment.review(applications, actor=actor)
    click.echo(f"{report.done} reviewed in batch {found.number}.")
    _tell_unwilling(applications)


@click.command("approve")
@click.argument("batch")
@rows_option
@class_option
@library_option
@by_option
@pass_cli
def approve(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    class_name: str | None,
    library: str | None,
    actor: str,
) -> None:
    """The library's approval of BATCH, or of some of its rows, after the school's review.

    \b
    Example:
      onecard enrol approve 2026-0001
    """
    app = cli.app
    found, applications = _choose(cli, batch, rows, class_name, library)
    report = app.enrolment.approve(applications, actor=actor)
    click.echo(f"{report.done} approved in batch {found.number}.")
    _, applications = _choose(cli, batch, rows, class_name, library)
    _tell_unwilling(applications)
    waiting = sum(
        application.state is _S.ENTERED and application.willing != "unwilling"
        for application in applications
    )
    if waiting:
        raise Refused(f"{waiting} wait for the school's review. Run: onecard enrol review {batch}")


def _choose(
    cli: CliContext, number: str, rows: str | None, class_name: str | None, library: str | None
) -> tuple[Batch, tuple[Application, ...]]:
    found, applications = choose_applications(cli.app, number, rows, library)
    if class_name is None:
        return found, applications
    match = re.fullmatch(r"(-?[0-9]{1,2})(?:/(.+))?", class_name.strip())
    if match is None:
        raise click.UsageError(f"--class takes LEVEL/NAME such as 3/2班; not {class_name!r}.")
    name = match[2] or ""
    if name.isascii() and name.isdigit():
        name += "班"
    return found, cli.app.enrolment.choose_class(applications, int(match[1]), name)


def _tell_unwilling(applications: Sequence[Application]) -> None:
    unwilling = sum(
        application.willing == "unwilling" and application.state is not _S.LIBRARY_APPROVED
        for application in applications
    )
    if unwilling:
        click.echo(f"{unwilling} passed over: the family wants no card.", err=True)


@click.command("activate")
@click.argument("batch")
@rows_option
@click.option(
    "--pins",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file for the PINs, mode 0600; by default pins-BATCH.csv. Each PIN is given out once.",
)
@slips_option
@passphrase_option
@library_option
@by_option
@json_option
@pass_cli
def activate(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    pins: Path | None,
    slips: Path | None,
    passphrase_file: Path | None,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Open the cards of BATCH in the library system: approved applications with consent.

    Several cards are opened at once (provisioning_workers). Ctrl-C finishes those under way;
    running it again takes up the rest, and what failed. Exit code 1 when an activation failed, or
    when no card is open in the end.

    \b
    Example:
      onecard enrol activate 2026-0001 --pins pins.csv
      onecard enrol activate 2026-0001 --slips slips/
    """
    check_pin_options(pins, slips, passphrase_file)
    app = cli.app
    found, applications = choose_applications(app, batch, rows, library)
    if Capability.UPSERT_PATRON not in app.adapters[found.institution].capabilities:
        raise Refused(
            "No program may open accounts in this library system."
            f" Run: onecard enrol handoff export {batch} --out FILE"
        )
    target = pins or _free_name(Path(f"pins-{found.number}.csv"))
    pin_file: PinFile | SlipFolder = PinFile(target)
    if slips is not None:
        pin_file = SlipFolder(
            slips,
            app,
            found,
            lang=cli.lang,
            passphrase_file=passphrase_file,
            to_stderr=as_json,
        )
    with pin_file, Progress(f"batch {found.number}") as progress:
        results = app.provisioning(found.institution).activate(
            applications, actor=actor, on_progress=progress.show, on_result=pin_file.write
        )
    counts = Counter(result.outcome for result in results)
    document: dict[str, Any] = {
        "batch": found.number,
        **{outcome.value: counts[outcome] for outcome in ActivationOutcome},
        "pins_file": str(target) if slips is None and pin_file.is_written else None,
        "slips": [str(path) for path in pin_file.files],
        "cards": [
            {"row": result.application.batch_row, "card": result.card}
            for result in results
            if result.card
        ],
        "pins_anew": [result.application.batch_row for result in results if result.is_pin_new],
        "failures": [
            {"row": result.application.batch_row, "code": result.error or result.outcome.value}
            for result in results
            if result.outcome not in _OPEN
        ],
    }
    if as_json:
        write_json(document)
    else:
        if document["failures"]:
            print_table(document["failures"])
        parts = [f"{n} {outcome.value}" for outcome, n in counts.items()]
        click.echo(f"batch {found.number}: {', '.join(parts) or 'no application'}.")
        if slips is None and pin_file.is_written:
            click.echo(f"PINs, given out once: {target}")
        if document["pins_anew"]:
            rows_anew = ", ".join(map(str, document["pins_anew"]))
            click.echo(f"Set anew, an earlier PIN is no longer right: rows {rows_anew}")
    failed = counts[ActivationOutcome.FAILED] + counts[ActivationOutcome.NOT_TRIED]
    opened = sum(counts[outcome] for outcome in _OPEN)
    sys.exit(1 if failed or (results and not opened) else 0)


def _free_name(path: Path) -> Path:
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return candidate


_ERASED = PersonalData(name="")
_OPEN = frozenset(
    {
        ActivationOutcome.ACTIVATED,
        ActivationOutcome.ALREADY_ACTIVE,
        ActivationOutcome.EXISTING_CARD,
    }
)


@click.command("purge")
@click.option("--dry-run", is_flag=True, help="Say how many it would be and remove nobody.")
@click.option("--yes", is_flag=True, help="Do not ask, though it is many or the clock jumped.")
@library_option
@by_option
@json_option
@pass_cli
def purge(
    cli: CliContext, *, dry_run: bool, yes: bool, library: str | None, actor: str, as_json: bool
) -> None:
    """Remove applicants whose guardians have not answered within purge_unanswered_days.

    `onecard serve` does it every hour, except where it is a large part of all people, or the clock
    jumped: then it waits for you to look and to run this. Nothing of them is kept, and a roster may
    bring them again.

    \b
    Example:
      onecard enrol purge --dry-run
    """
    app = cli.app
    codes = libraries_of(app, library)
    if not dry_run:
        confirm_due(
            cli,
            {
                code: app.enrolment.purge_unanswered(code, actor=actor, dry_run=True)
                for code in codes
            },
            job="purge",
            yes=yes,
            as_json=as_json,
        )
    purged = {
        code: app.enrolment.purge_unanswered(code, actor=actor, dry_run=dry_run) for code in codes
    }
    if as_json:
        write_json({"dry_run": dry_run, "purged": purged})
        return
    for code, count in purged.items():
        click.echo(f"{code}: {count} {'would be removed' if dry_run else 'removed'}.")


COMMANDS: tuple[click.Command, ...] = (show, review, approve, activate, purge)
