"""``onecard enrol``: what guardians answer — record it, by hand or from a list; the texts; closing.

Nothing here decides. Rules: an answer is never recorded for a whole batch unless ``--all`` says so;
names are masked; a list with answers is read line by line, and every line gets its outcome.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from connector.bootstrap import Application as App
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    choose_applications,
    lang_option,
    libraries_of,
    library_option,
    only_library,
    print_table,
    rows_option,
)
from connector.cli.private_file import PrivateFile
from connector.cli.progress import Progress
from connector.domain.enrolment import ConsentScope
from connector.domain.identity import mask_name
from connector.domain.ids import InstitutionId
from connector.enrolment.consent_list import make_list, read_answers
from connector.enrolment.consent_texts import TextKind, list_versions
from connector.errors import NotFound, RecordError
from connector.ports.enrolment import Application, Batch
from connector.services.consent_answers import OUTCOME_WORDS, LineOutcome, list_lines, take_answers
from connector.services.consents import ConsentStanding
from connector.services.enrolment import StepReport

__all__ = ["COMMANDS"]

_TAKEN_BACK = "are closed: a new roster enters them again"
_PASSED_OVER = {
    "given": _TAKEN_BACK,
    "refused": "have an open card: use --answer withdrawn",
    "withdrawn": "had none",
}
_LIST_ERRORS = {
    "file_missing": "does not exist",
    "header_missing": "has no header with row and answer: use the file of enrol consent-list",
}


@click.command("consent")
@click.argument("batch")
@rows_option
@click.option("--all", "everybody", is_flag=True, help="The answer is that of every row.")
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A list with answers, made by: onecard enrol consent-list.",
)
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
    type=click.Choice(["given", "refused", "withdrawn", "unreadable", "other_child"]),
    default="given",
    show_default=True,
)
@click.option("--evidence", default="", help="Where the signed forms are kept.")
@click.option("--text-version", default="", help="The text that was signed, if an older one.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def consent(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    everybody: bool,
    source: Path | None,
    scopes: Sequence[str],
    answer: str,
    evidence: str,
    text_version: str,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Record what guardians answered for rows of BATCH.

    A refusal removes the applicant and is remembered; a withdrawal ends the consent: an open card
    is closed, and its holder erased, as soon as the last book is back. A form that is unreadable or
    for another child is noted, and the applicant waits.

    \b
    Example:
      onecard enrol consent 2026-0001 --rows 2-30 --scope card --scope online --evidence "folder 7"
      onecard enrol consent 2026-0001 --from class-3-2.csv --evidence "folder 7"
    """
    if sum((bool(rows), everybody, source is not None)) != 1:
        raise click.UsageError("Give --rows for the rows that it is about, --all or --from.")
    app = cli.app
    found, applications = choose_applications(app, batch, rows, library)
    chosen = [ConsentScope(scope) for scope in scopes]
    if source is not None:
        results = _take_list(
            app,
            source,
            (found, applications),
            chosen,
            evidence=evidence,
            actor=actor,
            version=text_version,
        )
        _report_list(found, results, language=lang or cli.lang, as_json=as_json)
        return
    if answer == "given":
        report = app.consents.record(
            applications, chosen, evidence=evidence, actor=actor, text_version=text_version
        )
    elif answer == "refused":
        if chosen != [ConsentScope.CARD]:
            raise click.UsageError("Only the card itself can be refused; leave other scopes out.")
        report = app.consents.refuse(applications, actor=actor)
    elif answer == "withdrawn":
        report = _withdraw(app, applications, chosen, actor)
    else:
        for application in applications:
            app.consents.note_unusable(application, answer, actor=actor)
        report = StepReport(len(applications), 0)
    if as_json:
        write_json({"batch": found.number, "answer": answer, **asdict(report)})
    else:
        click.echo(
            f"{answer}: {report.done} in batch {found.number}, {report.skipped} passed over."
        )
    if report.skipped:
        raise Refused(f"{report.skipped} {_PASSED_OVER[answer]}.")


def _withdraw(
    app: App, applications: Sequence[Application], scopes: Sequence[ConsentScope], actor: str
) -> StepReport:
    done = 0
    for scope in sorted(scopes, key=lambda scope: scope is ConsentScope.CARD):
        done += app.consents.withdraw(applications, scope, actor=actor).done
    return StepReport(done, len(applications) * len(scopes) - done)


def _take_list(
    app: App,
    source: Path,
    chosen: tuple[Batch, Sequence[Application]],
    scopes: Sequence[ConsentScope],
    *,
    evidence: str,
    actor: str,
    version: str,
) -> list[dict[str, Any]]:
    found, applications = chosen
    try:
        lines = read_answers(source)
    except RecordError as err:
        raise _refused_list(source, err) from err
    with Progress("answers") as progress:
        results = take_answers(
            app.consents,
            applications,
            lines,
            batch=found.number,
            scopes=scopes,
            evidence=evidence,
            actor=actor,
            text_version=version,
            on_line=progress.show,
        )
    return [{"line": each.line, "row": each.row, "outcome": each.outcome} for each in results]


def _report_list(
    batch: Batch, results: list[dict[str, Any]], *, language: str, as_json: bool
) -> None:
    words = 0 if language == "zh" else 1
    problems = [
        result | {"message": OUTCOME_WORDS[result["outcome"]][words]}
        for result in results
        if result["outcome"].is_problem
    ]
    counts = Counter(result["outcome"] for result in results)
    if as_json:
        write_json(
            {
                "batch": batch.number,
                "lines": len(results),
                **{outcome.value: counts[outcome] for outcome in LineOutcome},
                "problems": problems,
            }
        )
    else:
        if problems:
            print_table(problems)
        parts = [f"{OUTCOME_WORDS[outcome][words]} {count}" for outcome, count in counts.items()]
        click.echo(f"{batch.number}: {'; '.join(parts) or 'no line'}.")
    if problems:
        sys.exit(1)


@click.command("consent-list")
@click.argument("batch")
@rows_option
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV or xlsx file to make, mode 0600.",
)
@library_option
@by_option
@lang_option
@pass_cli
def consent_list(
    cli: CliContext,
    batch: str,
    *,
    rows: str | None,
    out: Path,
    library: str | None,
    actor: str,
    lang: str | None,
) -> None:
    """Write the list of BATCH that a class teacher ticks: row, class, masked name, answer.

    `enrol consent --from` reads it back, for this batch only. Making a list is logged.

    \b
    Example:
      onecard enrol consent-list 2026-0001 --rows 2-46 --out class-3-2.csv --lang zh
    """
    app = cli.app
    found, applications = choose_applications(app, batch, rows, library)
    with PrivateFile(out) as file:
        lines = list_lines(app.consents, applications, batch=found.number)
        app.consents.audit.append(
            "consents.listed",
            actor=actor,
            subject=found.batch_id,
            detail={"count": len(lines)},
            institution=found.institution,
        )
        file.write(make_list(lines, out.suffix, language=lang or cli.lang))
    click.echo(f"{len(lines)} lines in {out}.")


def _refused_list(file: Path, error: RecordError) -> Refused:
    why = _LIST_ERRORS.get(error.code, f"cannot be read ({error.code})")
    return Refused(f"{file} {why}.")


@click.command("consent-text")
@click.option("--version", "version", default="", help="By default the one in force.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in TextKind]),
    default=TextKind.CONSENT.value,
    show_default=True,
)
@click.option("--list", "listing", is_flag=True, help="Say which versions there are.")
@library_option
@lang_option
@json_option
@pass_cli
def consent_text(
    cli: CliContext,
    *,
    version: str,
    kind: str,
    listing: bool,
    library: str | None,
    lang: str | None,
    as_json: bool,
) -> None:
    """Print the text that guardians are shown, to be handed out with the form.

    \b
    Example:
      onecard enrol consent-text --lang zh > consent.md
      onecard enrol consent-text --kind undertaking --lang en
      onecard enrol consent-text --list
    """
    app = cli.app
    code = only_library(app, library)
    if listing:
        _print_versions(app, code, TextKind(kind), as_json=as_json)
        return
    found = app.consents.find_text(code, version=version, language=lang or "", kind=TextKind(kind))
    text = found.text.replace("{library}", app.libraries[code].name)
    if as_json:
        write_json(
            {
                "version": found.version,
                "language": found.language,
                "scopes": sorted(scope.value for scope in found.scopes),
                "widens": found.widens,
                "digest": found.digest,
                "text": text,
            }
        )
    else:
        click.echo(text, nl=False)


def _print_versions(app: App, code: InstitutionId, kind: TextKind, *, as_json: bool) -> None:
    rules = app.consents.rules_of(code)
    present = rules.consent_text_version if kind is TextKind.CONSENT else rules.undertaking_version
    rows = [
        {
            "version": version,
            "languages": ", ".join(languages),
            "widens": version in rules.widened_in,
            "in force": version == present,
        }
        for version, languages in list_versions(app.consents.folder, kind=kind).items()
    ]
    if as_json:
        write_json(rows)
    else:
        print_table(rows)


@click.command("consents")
@click.option("--outdated", is_flag=True, help="Only those whose guardians must be asked again.")
@library_option
@by_option
@json_option
@pass_cli
def consents(
    cli: CliContext, *, outdated: bool, library: str | None, actor: str, as_json: bool
) -> None:
    """Say how the consents for the card stand, and who must be asked again.

    A guardian is asked again when the text in force agrees to more than the one that was signed,
    and, with consent_at_fourteen, when the child has turned 14. Open cards work on.

    \b
    Example:
      onecard enrol consents --outdated
    """
    app = cli.app
    standings = [
        each for code in libraries_of(app, library) for each in app.consents.list_standings(code)
    ]
    counts = Counter(each.verdict.value for each in standings)
    rows = _rows_to_renew(app, standings) if outdated else []
    if outdated:
        app.consents.audit.append("consents.shown", actor=actor, detail={"count": len(rows)})
    if as_json:
        write_json(
            {"counts": dict(sorted(counts.items())), "outdated": rows}
            if outdated
            else {"counts": dict(sorted(counts.items()))}
        )
    elif outdated:
        print_table(rows, empty="Nobody has to be asked again.")
    else:
        print_table(
            [{"consent": verdict, "pupils": count} for verdict, count in sorted(counts.items())],
            empty="There is no application.",
        )


def _rows_to_renew(app: App, standings: Sequence[ConsentStanding]) -> list[dict[str, Any]]:
    batches = {
        batch.batch_id: batch.number
        for code in app.libraries
        for batch in app.enrolment.store.list_batches(code)
    }
    rows = []
    for each in standings:
        if not each.verdict.must_be_renewed:
            continue
        application = each.application
        try:
            name = mask_name(app.enrolment.register.fetch_personal(application.patron_id).name)
        except NotFound:
            continue
        rows.append(
            {
                "batch": batches.get(application.batch_id or "", ""),
                "row": application.batch_row,
                "class": application.class_name,
                "name": name,
                "state": application.state.value,
                "why": each.verdict.value,
            }
        )
    return rows


@click.command("close-due")
@click.option("--dry-run", is_flag=True, help="Say what is due and do nothing.")
@library_option
@json_option
@pass_cli
def close_due(cli: CliContext, *, dry_run: bool, library: str | None, as_json: bool) -> None:
    """Go on closing the cards of leavers and of those whose consent was withdrawn.

    `onecard serve` does it every 15 seconds: it blocks the accounts, cancels holds, and closes what
    has no books out any more. Exit code 1 when a library system could not be asked.

    \b
    Example:
      onecard enrol close-due --dry-run
    """
    app = cli.app
    codes = libraries_of(app, library)
    if dry_run:
        rows = [
            {
                "library": code,
                "reason": closing.reason.value,
                "step": closing.step.value,
                "since": closing.since.isoformat(timespec="seconds"),
                "books out": closing.has_loans,
                "accounts": len(closing.accounts),
            }
            for code in codes
            for closing in app.closing.list_due(code, limit=1_000_000)
        ]
        if as_json:
            write_json(rows)
        else:
            print_table(rows, empty="Nothing is due.")
        return
    reports = {code: app.closing.sweep(code, limit=1_000_000) for code in codes}
    if as_json:
        write_json({code: asdict(report) for code, report in reports.items()})
    else:
        for code, report in reports.items():
            click.echo(
                f"{code}: {report.erased} closed and erased, {report.kept} closed, "
                f"{report.waiting} wait for books, {report.failed} to be tried again."
            )
    if any(report.failed for report in reports.values()):
        sys.exit(1)


COMMANDS: tuple[click.Command, ...] = (consent, consent_list, consent_text, consents, close_due)
