"""``onecard privacy``: what guardians may ask for, what is removed in time, the yearly report.

Nothing here decides what is held or removed; the services do. Rules —

- an identity number is typed at a prompt or comes from standard input, never from the command line;
- nothing about a person goes to standard output: copies go into a file that its owner alone may
  read, the rest is counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option, print_table
from connector.cli.holds import confirm_holds
from connector.cli.patron_option import look_up_patron, read_number
from connector.cli.private_file import PrivateFile
from connector.cli.progress import Progress
from connector.domain.ids import PatronId
from connector.ports.privacy import Due, HeldPerson, RetentionRule
from connector.services.privacy import Erasure, ErasureState
from connector.services.privacy_words import LANGUAGES, PrivacyWords, words_in
from connector.services.retention import RetentionRun

__all__ = ["privacy"]

_LANG = click.option(
    "--lang", type=click.Choice(LANGUAGES), help="Language; by default that of the terminal."
)


@click.group("privacy")
def privacy() -> None:
    """Copies, erasure, retention and the yearly report of personal data."""


@privacy.command("export")
@click.argument("person")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A new file, .json or .md; only you may read it.",
)
@_LANG
@by_option
@pass_cli
def export(cli: CliContext, person: str, out: Path, lang: str | None, actor: str) -> None:
    """Write everything that is held about one PERSON into a file, for him or his guardian.

    PERSON is a card number, our own id, or - to be asked for an identity number (or to read it from
    standard input). The library systems where he has an account are asked, too.

    \b
    Example:
      onecard privacy export S00000012 --out copy.md --lang zh
      onecard privacy export - --out copy.json
    """
    kind = _file_kind(out)
    app = cli.app
    patron_id = _find_person(app, person, actor)
    with PrivateFile(out) as file:
        copy = app.privacy.collect_file(patron_id, lang=lang or cli.lang, actor=actor)
        file.write(copy.markdown() if kind == ".md" else _as_json(copy.document()))
    click.echo(str(out))


@privacy.command("erase")
@click.argument("person")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_LANG
@by_option
@json_option
@pass_cli
def erase(
    cli: CliContext, person: str, lang: str | None, actor: str, *, yes: bool, as_json: bool
) -> None:
    """Erase one PERSON: now, or by itself when his last book is back.

    PERSON is a card number, our own id, or - to be asked for an identity number. From this moment
    on nothing is lent to him. It can be repeated; it cannot be undone.

    \b
    Example:
      onecard privacy erase S00000012
    """
    app, words = cli.app, words_in(lang or cli.lang)
    patron_id = _find_person(app, person, actor)
    held = app.privacy.describe_person(patron_id)
    if held.erased_at is None and not yes:
        if as_json:
            raise click.UsageError("With --json, say --yes.")
        _print_plan(held, words)
        if not click.confirm(words("erase", "question")):
            raise Refused("Nothing was changed.")
    erasure = app.privacy.erase(patron_id, actor=actor)
    if as_json:
        write_json(_erasure_document(erasure))
    else:
        _print_erasure(erasure, words)
    if erasure.left is not None and erasure.left.personal:
        raise Refused(
            "The erasure is not whole; see what is left above. Run: onecard doctor, and report it."
        )


@privacy.command("retention")
@click.option("--run", "is_run", is_flag=True, help="Remove it; without this, only count.")
@click.option("--yes", is_flag=True, help="Do not ask, though it is much or the clock jumped.")
@by_option
@_LANG
@json_option
@pass_cli
def retention(
    cli: CliContext, actor: str, lang: str | None, *, is_run: bool, yes: bool, as_json: bool
) -> None:
    """Count, and with --run remove, what is older than [privacy] of the settings says.

    The worker of ``onecard serve`` does it every day. A run that was killed goes on with the next.
    Where it would be a large part of all that there is, or the clock is far from the last run, the
    worker waits for you to run it: check the date and the figures first.

    \b
    Example:
      onecard privacy retention
      onecard privacy retention --run
    """
    service, words = cli.app.retention, words_in(lang or cli.lang)
    due = list(service.list_due(actor=actor))
    run: RetentionRun | None = None
    if is_run:
        confirm_holds(
            service.check(actor=actor),
            now=cli.app.now(),
            yes=yes,
            english=words.lang == "en",
            as_json=as_json,
        )
        total = sum(part.count for part in due)
        with Progress("Removing") as bar:
            done: dict[RetentionRule, int] = {}

            def show(rule: RetentionRule, count: int) -> None:
                done[rule] = count
                bar.show(sum(done.values()), max(total, sum(done.values())))

            run = service.run(actor=actor, progress=show)
    rows = [_due_row(part, run) for part in due]
    if as_json:
        write_json({"run": is_run, "rules": rows})
        return
    told = [row | {"rule": words("rules", row["rule"])} for row in rows]
    print_table([{words("report", key): value for key, value in row.items()} for row in told])
    if run is None:
        click.echo(words("retention", "nothing_removed"))


@privacy.command("report")
@click.option("--year", type=click.IntRange(2020, 2200), help="Default: the year before this one.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A new file, .md or .json."
)
@_LANG
@by_option
@json_option
@pass_cli
def report(
    cli: CliContext,
    year: int | None,
    out: Path | None,
    lang: str | None,
    actor: str,
    *,
    as_json: bool,
) -> None:
    """Report a year in figures: children held, consents, erasures, who looked, open problems.

    It holds no personal data. Whether the figures comply with the law is for the library to judge.

    \b
    Example:
      onecard privacy report --year 2026 --lang zh --out report-2026.md
    """
    kind = _file_kind(out) if out is not None else ".json" if as_json else ".md"
    app = cli.app
    year = year or app.now().year - 1
    found = app.compliance.make_report(year, actor=actor)
    content = (
        found.markdown(words_in(lang or cli.lang))
        if kind == ".md"
        else json.dumps(found.document(), ensure_ascii=False, indent=1) + "\n"
    )
    if out is None:
        click.echo(content, nl=False)
        return
    with PrivateFile(out) as file:
        file.write(content)
    click.echo(str(out))


def _find_person(app: Application, text: str, actor: str) -> PatronId:
    """Return the person whom the argument or the answer to a prompt names, erased or not."""
    number = read_number(text)
    erased = app.store.privacy.find_person(PatronId(number.strip().lower()))
    if erased is not None:
        return erased.patron_id
    try:
        return look_up_patron(app, number)
    except Refused:
        app.store.audit.append("privacy.not_found", actor=actor)
        raise


def _file_kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in {".json", ".md"}:
        raise click.BadParameter("The file must end with .json or .md.", param_hint="--out")
    return kind


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _print_plan(held: HeldPerson, words: PrivacyWords) -> None:
    none = words("report", "none")
    click.echo(words("erase", "person", patron=held.patron_id, library=held.home))
    click.echo(words("erase", "records", counts=_counts(held.records, words)))
    click.echo(words("erase", "accounts", names=", ".join(held.accounts) or none))
    for kind in held.open_tasks:
        click.echo(words("erase", "task", kind=words.value("task", kind)))
    click.echo(words("erase", "loans" if held.unclosed_loans else "now", count=held.unclosed_loans))
    click.echo(words("erase", "gone"))


def _print_erasure(erasure: Erasure, words: PrivacyWords) -> None:
    click.echo(words("erase", erasure.state.value, count=erasure.person.unclosed_loans))
    if erasure.left is not None:
        click.echo(words("erase", "left", counts=_counts(erasure.left.records, words)))
        click.echo(words("erase", "personal", counts=_counts(erasure.left.personal, words)))
    if erasure.state is ErasureState.ERASED:
        click.echo(words("erase", "backup"))


def _counts(counts: Mapping[str, int], words: PrivacyWords) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or words("report", "none")


def _erasure_document(erasure: Erasure) -> dict[str, Any]:
    left = erasure.left
    return {
        "patron": erasure.person.patron_id,
        "state": erasure.state.value,
        "loans_out": erasure.person.unclosed_loans,
        "left": None
        if left is None
        else {"records": dict(left.records), "personal": dict(left.personal)},
    }


def _due_row(due: Due, run: RetentionRun | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "rule": due.rule.value,
        "count": due.count,
        "oldest": None if due.oldest is None else due.oldest.date().isoformat(),
    }
    return row if run is None else row | {"removed": run.removed.get(due.rule, 0)}
