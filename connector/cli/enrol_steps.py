"""``onecard enrol``: what comes after the import — review, consent, approval, activation.

Nothing here decides. Rules: applications are named by batch and row, so that no name and no number
is typed; an answer of guardians is never recorded for a whole batch unless ``--all`` says so; a PIN
goes into a file that only its owner may read, before the next card is opened.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from connector.bootstrap import Application as App
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_batch,
    libraries_of,
    library_option,
    print_table,
)
from connector.cli.pin_file import PinFile
from connector.cli.progress import Progress
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.identity import mask_name, mask_number
from connector.errors import NotFound
from connector.ports.enrolment import Application, Batch
from connector.ports.store import PersonalData
from connector.services.enrolment import StepReport
from connector.services.provisioning import ActivationOutcome

__all__ = ["COMMANDS", "parse_rows"]

_S = ApplicationState
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_LARGEST_RANGE = 100_000


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


rows_option = click.option("--rows", help="Row numbers of the sheet, such as 2-30,35.")


@click.command("show")
@click.argument("batch")
@library_option
@by_option
@json_option
@pass_cli
def show(cli: CliContext, batch: str, *, library: str | None, actor: str, as_json: bool) -> None:
    """Show the applications of BATCH, names and numbers masked; looking is logged.

    \b
    Example:
      onecard enrol show 2026-0001
    """
    app = cli.app
    found = find_batch(app, batch, library)
    rows: list[dict[str, Any]] = []
    for application in app.enrolment.list_applications(found):
        try:
            known = app.enrolment.register.fetch_personal(application.patron_id)
        except NotFound:
            known = _ERASED
        consents = app.enrolment.store.list_consents(application.patron_id)
        rows.append(
            {
                "row": application.batch_row,
                "name": mask_name(known.name),
                "id_number": mask_number(known.id_number),
                "class": application.class_name,
                "state": application.state.value,
                "consent": [consent.scope.value for consent in consents if consent.holds],
                "card": application.card,
                "error": application.error,
            }
        )
    app.enrolment.audit.append("enrolment.shown", actor=actor, subject=found.batch_id)
    if as_json:
        write_json(rows)
    else:
        shown = [row | {"consent": ", ".join(row["consent"])} for row in rows]
        print_table(shown, empty="No application is left in this batch.")


@click.command("review")
@click.argument("batch")
@rows_option
@library_option
@by_option
@pass_cli
def review(
    cli: CliContext, batch: str, *, rows: str | None, library: str | None, actor: str
) -> None:
    """The school's review of BATCH, or of some of its rows.

    \b
    Example:
      onecard enrol review 2026-0001 --rows 2-30,35
    """
    app = cli.app
    found, applications = _choose(app, batch, rows, library)
    report = app.enrolment.review(applications, actor=actor)
    click.echo(f"{report.done} reviewed in batch {found.number}.")


@click.command("approve")
@click.argument("batch")
@rows_option
@library_option
@by_option
@pass_cli
def approve(
    cli: CliContext, batch: str, *, rows: str | None, library: str | None, actor: str
) -> None:
    """The library's approval of BATCH, or of some of its rows, after the school's review.

    \b
    Example:
      onecard enrol approve 2026-0001
    """
    app = cli.app
    found, applications = _choose(app, batch, rows, library)
    report = app.enrolment.approve(applications, actor=actor)
    click.echo(f"{report.done} approved in batch {found.number}.")
    _, applications = _choose(app, batch, rows, library)
    waiting = sum(application.state is _S.ENTERED for application in applications)
    if waiting:
        raise Refused(f"{waiting} wait for the school's review. Run: onecard enrol review {batch}")


@click.command("consent")
@click.argument("batch")
@rows_option
@click.option("--all", "everybody", is_flag=True, help="The answer is that of every row.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=[ConsentScope.CARD.value],
    show_default=True,
    type=click.Choice([scope.value for scope in ConsentScope]),
    help="What it is about; may be repeated.",
)
@click.option(
    "--answer",
    type=click.Choice(["given", "refused", "withdrawn"]),
    default="given",
    show_default=True,
)
@click.option("--evidence", default="", help="Where the signed forms are kept.")
@click.option("--text-version", default="", help="The text that was signed, if an older one.")
@library_option
@by_option
@pass_cli
def consent(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    everybody: bool,
    scopes: Sequence[str],
    answer: str,
    evidence: str,
    text_version: str,
    library: str | None,
    actor: str,
) -> None:
    """Record what guardians answered for rows of BATCH.

    A refusal removes the applicant and is remembered; a withdrawal ends the consent, and an open
    card with it.

    \b
    Example:
      onecard enrol consent 2026-0001 --rows 2-30 --scope card --scope online --evidence "folder 7"
    """
    if bool(rows) == everybody:
        raise click.UsageError("Give --rows for the rows that the answer is about, or --all.")
    app = cli.app
    found, applications = _choose(app, batch, rows, library)
    chosen = [ConsentScope(scope) for scope in scopes]
    if answer == "given":
        report = app.enrolment.record_consent(
            applications, chosen, evidence=evidence, actor=actor, text_version=text_version
        )
    elif answer == "refused":
        if chosen != [ConsentScope.CARD]:
            raise click.UsageError("Only the card itself can be refused; leave other scopes out.")
        report = app.enrolment.refuse_consent(applications, actor=actor)
    else:
        report = _withdraw(app, applications, chosen, actor)
    click.echo(f"{answer}: {report.done} in batch {found.number}, {report.skipped} passed over.")
    if report.skipped:
        what = "have an open card: use --answer withdrawn" if answer == "refused" else "had none"
        raise Refused(f"{report.skipped} {what}.")


@click.command("activate")
@click.argument("batch")
@rows_option
@click.option(
    "--pins",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file for the PINs, mode 0600; by default pins-BATCH.csv. Each PIN is given out once.",
)
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
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Open the cards of BATCH in the library system: approved applications with consent.

    Running it again takes up what failed. Exit code 1 when an activation failed, or when no card
    is open in the end.

    \b
    Example:
      onecard enrol activate 2026-0001 --pins pins.csv
    """
    app = cli.app
    found, applications = _choose(app, batch, rows, library)
    target = pins or _free_name(Path(f"pins-{found.number}.csv"))
    with PinFile(target) as pin_file, Progress(f"batch {found.number}") as progress:
        results = app.provisioning(found.institution).activate(
            applications, actor=actor, on_progress=progress.show, on_result=pin_file.write
        )
    counts = Counter(result.outcome for result in results)
    document: dict[str, Any] = {
        "batch": found.number,
        **{outcome.value: counts[outcome] for outcome in ActivationOutcome},
        "pins_file": str(target) if pin_file.is_written else None,
        "cards": [
            {"row": result.application.batch_row, "card": result.card}
            for result in results
            if result.card
        ],
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
        if pin_file.is_written:
            click.echo(f"PINs, given out once: {target}")
    failed = counts[ActivationOutcome.FAILED] + counts[ActivationOutcome.NOT_TRIED]
    opened = sum(counts[outcome] for outcome in _OPEN)
    sys.exit(1 if failed or (results and not opened) else 0)


def _choose(
    app: App, number: str, rows: str | None, library: str | None
) -> tuple[Batch, tuple[Application, ...]]:
    batch = find_batch(app, number, library)
    try:
        return batch, app.enrolment.list_applications(batch, rows=parse_rows(rows))
    except NotFound as err:
        raise Refused(
            f"{err}: it was not taken, or its guardian refused. See: onecard enrol show {number}"
        ) from err


def _withdraw(
    app: App, applications: Sequence[Application], scopes: Sequence[ConsentScope], actor: str
) -> StepReport:
    done = 0
    for scope in sorted(scopes, key=lambda scope: scope is ConsentScope.CARD):
        done += app.enrolment.withdraw_consent(applications, scope, actor=actor).done
    if ConsentScope.CARD in scopes:
        for institution in {application.institution for application in applications}:
            here = [a for a in applications if a.institution == institution]
            app.provisioning(institution).block_withdrawn(here)
    return StepReport(done, len(applications) * len(scopes) - done)


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
@library_option
@by_option
@json_option
@pass_cli
def purge(
    cli: CliContext, *, dry_run: bool, library: str | None, actor: str, as_json: bool
) -> None:
    """Remove applicants whose guardians have not answered within purge_unanswered_days.

    `onecard serve` does it every hour; nothing of them is kept, and a roster may bring them again.

    \b
    Example:
      onecard enrol purge --dry-run
    """
    app = cli.app
    purged = {
        code: app.enrolment.purge_unanswered(code, actor=actor, dry_run=dry_run)
        for code in libraries_of(app, library)
    }
    if as_json:
        write_json({"dry_run": dry_run, "purged": purged})
        return
    for code, count in purged.items():
        click.echo(f"{code}: {count} {'would be removed' if dry_run else 'removed'}.")


COMMANDS: tuple[click.Command, ...] = (show, review, consent, approve, activate, purge)
