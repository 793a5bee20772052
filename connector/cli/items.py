"""``onecard items``: facts about items that the catalogue cannot tell (decision 13).

Nothing here classifies; it reads a table and stores what stands there. Rules —

- a row with a mistake is reported and skipped, the others are stored;
- columns: ``barcode``, and at least one of ``language``, ``shelving``, ``clc_class``; ``owner``
  where the item belongs to another library.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.domain.ids import InstitutionId, ItemId
from connector.domain.item import NOT_FOREIGN, LanguageClass, Shelving
from connector.domain.library import Library, resolve_owners
from connector.errors import RecordError
from connector.ports.store import ItemFacts
from connector.storage.overview import Overview

__all__ = ["items", "read_item_rows"]

COLUMNS = ("barcode", "owner", "language", "shelving", "clc_class")
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was skipped."""

    row: int
    code: str


@click.group("items")
def items() -> None:
    """Facts about items that the catalogue cannot tell."""


@items.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--library", "code", help="Whose items they are; needed where there are several.")
@click.option("--dry-run", is_flag=True, help="Check the file and store nothing.")
@json_option
@pass_cli
def import_items(
    cli: CliContext, file: Path, *, code: str | None, dry_run: bool, as_json: bool
) -> None:
    """Import language class, shelving and CLC class of items from a CSV file.

    The first line names the columns: barcode, owner, language (chinese, foreign, unknown or a MARC
    code such as eng), shelving (open-shelf, closed-stack, reference, unknown), clc_class. UTF-8 or
    GB18030.

    \b
    Example:
      onecard items import foreign.csv --library MAIN
    """
    app = cli.app
    if code is None and len(app.libraries) > 1:
        raise click.UsageError("There are several libraries; name one with --library.")
    chosen = cli.settings.find_library(code) if code else cli.settings.libraries[0]
    library = app.libraries[InstitutionId(chosen.code)]
    facts: list[ItemFacts] = []
    problems: list[Problem] = []
    for row, found in read_item_rows(_decode(file.read_bytes()), library, app.libraries, app.now()):
        if isinstance(found, RecordError):
            problems.append(Problem(row, found.code))
        else:
            facts.append(found)
    saved = 0
    if not dry_run:
        for start in range(0, len(facts), _BATCH):
            saved += app.store.item_facts.save_item_facts(facts[start : start + _BATCH])
    report = {
        "file": file.name,
        "rows": len(facts) + len(problems),
        "valid": len(facts),
        "saved": saved,
        "invalid": len(problems),
        "problems": [asdict(problem) for problem in problems],
    }
    if as_json:
        write_json(report)
    else:
        for problem in problems:
            click.echo(f"row {problem.row}: {problem.code}", err=True)
        what = "would be stored" if dry_run else "stored or changed"
        done = len(facts) if dry_run else saved
        click.echo(f"{done} of {report['rows']} items {what}, {len(problems)} skipped.")
    sys.exit(1 if problems else 0)


def read_item_rows(
    text: str, library: Library, libraries: Mapping[InstitutionId, Library], now: datetime
) -> Iterator[tuple[int, ItemFacts | RecordError]]:
    """Yield (row number, facts or problem) of a CSV text; the header is row 1.

    Raises:
        Refused: the header does not fit.
    """
    reader = csv.DictReader(io.StringIO(text))
    header = [name.strip().lower() for name in reader.fieldnames or ()]
    unknown = [name for name in header if name not in COLUMNS]
    if "barcode" not in header or unknown or len(header) < 2:
        raise Refused(
            f"The first line must name columns among {', '.join(COLUMNS)}, barcode included."
        )
    reader.fieldnames = header
    for row, values in enumerate(reader, start=2):
        try:
            yield row, _read_row(row, values, library, libraries, now)
        except RecordError as err:
            yield row, err


def _read_row(
    row: int,
    values: Mapping[str | None, str | Sequence[str] | None],
    library: Library,
    libraries: Mapping[InstitutionId, Library],
    now: datetime,
) -> ItemFacts:
    if None in values or any(value is None for value in values.values()):
        raise RecordError(row, "column_count")
    text = {str(key): str(value).strip() for key, value in values.items()}
    if not text["barcode"]:
        raise RecordError(row, "barcode_missing")
    return ItemFacts(
        item=_item_of(row, text, library, libraries),
        language=_language_of(row, text.get("language", ""), library),
        shelving=_shelving_of(row, text.get("shelving", "")),
        source="import",
        as_of=now,
        clc_class=text.get("clc_class", ""),
    )


def _item_of(
    row: int, text: Mapping[str, str], library: Library, libraries: Mapping[InstitutionId, Library]
) -> ItemId:
    if owner := text.get("owner", ""):
        if InstitutionId(owner) not in libraries:
            raise RecordError(row, "owner_unknown")
        home = libraries[InstitutionId(owner)]
        return ItemId(home.code, home.barcodes.normalise(text["barcode"]))
    owners = resolve_owners(text["barcode"], library, libraries.values())
    if len(owners) > 1:
        raise RecordError(row, "owner_ambiguous")
    return owners[0]


def _language_of(row: int, text: str, library: Library) -> LanguageClass:
    word = text.lower()
    if word in ("", *LanguageClass):
        return LanguageClass(word or "unknown")
    if len(word) == 3 and word.isascii() and word.isalpha():
        at_home = NOT_FOREIGN | library.item_rules.minority_languages
        return LanguageClass.CHINESE if word in at_home else LanguageClass.FOREIGN
    raise RecordError(row, "language_unknown")


def _shelving_of(row: int, text: str) -> Shelving:
    try:
        return Shelving(text.lower() or "unknown")
    except ValueError as err:
        raise RecordError(row, "shelving_unknown") from err


def _decode(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Refused("The file is neither UTF-8 nor GB18030. Save it as UTF-8.")


@items.command("list")
@json_option
@pass_cli
def list_items(cli: CliContext, *, as_json: bool) -> None:
    """List items whose language is unknown: they were lent as Chinese until somebody says more.

    \b
    Example:
      onecard items list
      onecard items import answers.csv
    """
    found = Overview(cli.app.store.database).list_unknown_items()
    if as_json:
        write_json([{"owner": item.owner, "barcode": item.barcode} for item in found])
        return
    for item in found:
        click.echo(f"{item.owner}  {item.barcode}")
    click.echo(f"{len(found)} items of unknown language. Tell them with: onecard items import")
