"""``onecard audit``: is the record of who did what whole, and giving it out.

Nothing here prints personal data: the audit holds ids and codes only (decision 23). Rules —

- giving entries out is itself recorded, before the first one is read;
- files are made with mode 0600 and never replace one;
- a cell of a CSV file is never a formula.
"""

from __future__ import annotations

import csv
import getpass
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.moments import in_zone, since_option, until_option
from connector.cli.private_file import PrivateFile
from connector.domain.tabular import defuse
from connector.ports.store import AuditCheck, AuditEntry, AuditHead
from connector.storage.store import Store, open_store

__all__ = ["audit", "audit_document"]

_ANCHOR = "onecard-audit-anchor-1"
_COLUMNS = ("at", "institution", "action", "actor", "subject", "detail", "chain", "seq")
_TEXTS = {
    "en": {
        "whole": "{entries} entries in {chains} chains: every one is there and as it was written.",
        "broken": "{count} of {chains} chains are broken ({entries} entries).",
        "altered": "entry {seq} was altered, moved or put in",
        "missing": "an entry before {seq} is missing",
        "cut": "entry {seq}, noted earlier, and what followed is gone",
        "replaced": "entry {seq} is not the one that was noted earlier",
        "key_missing": "entry {seq} cannot be checked: its key is not in the key file",
        "exported": "{count} entries written to {file}.",
        "anchored": "The ends of {count} chains are in {file}. Keep it on another machine.",
    },
    "zh": {
        "whole": "共 {chains} 条链、{entries} 条记录:全部完整,未被改动。",
        "broken": "{chains} 条链中有 {count} 条不完整(共 {entries} 条记录)。",
        "altered": "第 {seq} 条被改动、移动或插入",
        "missing": "第 {seq} 条之前缺少记录",
        "cut": "先前登记过的第 {seq} 条及其后的记录已不存在",
        "replaced": "第 {seq} 条不是先前登记的那一条",
        "key_missing": "第 {seq} 条无法核对:密钥文件中没有它的密钥",
        "exported": "已将 {count} 条记录写入 {file}。",
        "anchored": "已将 {count} 条链的末端写入 {file}。请保存在另一台机器上。",
    },
}
_by_option = click.option(
    "--by", default=getpass.getuser, show_default="your login", help="Who does it."
)


@click.group("audit")
def audit() -> None:
    """The record of who did what to whose data: verify, export, anchor."""


@audit.command("verify")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of `onecard audit anchor`, to find an end that was cut off since.",
)
@json_option
@pass_cli
def verify_audit(cli: CliContext, *, against: Path | None, as_json: bool) -> None:
    """Check every entry of every chain; exit code 1 and the place where one is broken.

    A chain shows by itself what was altered or taken out of its middle, not that its end is gone:
    note the ends now and then with `onecard audit anchor`, and give that file here.

    \b
    Example:
      onecard audit verify --against /mnt/safe/audit-2026-11.json
    """
    noted = _read_anchor(against) if against else ()
    with _opened(cli) as store:
        found = store.audit.check(noted)
    if as_json:
        write_json(audit_document(found))
    else:
        texts = _TEXTS[cli.lang]
        for broken in found.breaks:
            click.echo(f"{broken.chain_id}: {texts[broken.code].format(seq=broken.seq)}")
        summary = texts["whole" if found.is_intact else "broken"]
        click.echo(
            summary.format(count=len(found.breaks), chains=found.chains, entries=found.entries)
        )
    if not found.is_intact:
        raise click.exceptions.Exit(1)


@audit.command("export")
@since_option
@until_option
@click.option("--actor", default="", help="Who did it.")
@click.option("--subject", default="", help="Id of a person, batch, loan or other thing.")
@click.option("--action", default="", help="Such as consent.given, or consent. for all of a kind.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file, readable by you only; standard output by default.",
)
@_by_option
@pass_cli
def export_audit(
    cli: CliContext,
    *,
    since: datetime | None,
    until: datetime | None,
    actor: str,
    subject: str,
    action: str,
    form: str,
    out: Path | None,
    by: str,
) -> None:
    """Give entries out as JSON lines or CSV: ids and codes, in the order of their time.

    Days are those of the first library's time zone. The export itself is recorded.

    \b
    Example:
      onecard audit export --since 2026-09-01 --action consent. --format csv --out consents.csv
    """
    zone = ZoneInfo(cli.settings.libraries[0].timezone)
    after, before = in_zone(since, zone), in_zone(until, zone)
    with _opened(cli) as store, _output(out) as file:
        asked = {"format": form, "asked_actor": actor, "asked_action": action}
        store.audit.append("audit.exported", actor=by, subject=subject, detail=asked)
        find = partial(
            store.audit.search,
            since=after,
            until=before,
            actor=actor,
            subject=subject,
            action=action,
        )
        count = 0
        page = find()
        write = _writer(file, form)
        while page:
            for entry in page:
                write(_row(entry))
            count += len(page)
            page = find(after=page[-1])
    if out is not None:
        click.echo(_TEXTS[cli.lang]["exported"].format(count=count, file=out), err=True)


@audit.command("anchor")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_by_option
@json_option
@pass_cli
def anchor_audit(cli: CliContext, file: Path, *, by: str, as_json: bool) -> None:
    """Note the end of every chain in a new FILE; keep it where nobody of this machine can write.

    Whoever later cuts entries off the end of a chain, or writes a chain anew, is found by
    `onecard audit verify --against FILE`. Make a new one after old entries were removed by
    `onecard privacy retention`.

    \b
    Example:
      onecard audit anchor /mnt/safe/audit-2026-11.json
    """
    with _opened(cli) as store, _output(file) as out:
        store.audit.append("audit.anchored", actor=by)
        heads = store.audit.list_heads()
        document = {
            "format": _ANCHOR,
            "heads": [
                {"chain": head.chain_id, "seq": head.seq, "mac": head.mac.hex()} for head in heads
            ],
        }
        out.write(json.dumps(document, indent=1) + "\n")
    if as_json:
        write_json({"file": str(file), "chains": len(heads)})
    else:
        click.echo(_TEXTS[cli.lang]["anchored"].format(count=len(heads), file=file))


def audit_document(found: AuditCheck) -> dict[str, Any]:
    """Return a check of the audit as ``--json`` prints it."""
    return {
        "ok": found.is_intact,
        "chains": found.chains,
        "entries": found.entries,
        "breaks": [
            {"chain": broken.chain_id, "seq": broken.seq, "code": broken.code}
            for broken in found.breaks
        ],
    }


def _read_anchor(path: Path) -> tuple[AuditHead, ...]:
    try:
        content = json.loads(path.read_text("ascii"))
        if content["format"] != _ANCHOR:
            raise Refused(f"{path} is of another format. Use a file of: onecard audit anchor")
        return tuple(
            AuditHead(str(head["chain"]), int(head["seq"]), bytes.fromhex(head["mac"]))
            for head in content["heads"]
        )
    except (ValueError, KeyError, TypeError) as err:
        raise Refused(f"{path} cannot be read. Use a file of: onecard audit anchor") from err


def _row(entry: AuditEntry) -> Mapping[str, object]:
    values = (
        entry.at.isoformat(),
        entry.institution,
        entry.action,
        entry.actor,
        entry.subject,
        dict(entry.detail),
        entry.chain_id,
        entry.seq,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _writer(file: TextIO, form: str) -> Callable[[Mapping[str, object]], object]:
    if form == "jsonl":
        return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
    lines = csv.writer(file)
    lines.writerow(_COLUMNS)

    def write(row: Mapping[str, object]) -> None:
        detail = json.dumps(row["detail"], ensure_ascii=False, sort_keys=True)
        lines.writerow(defuse(str(value)) for value in {**row, "detail": detail}.values())

    return write


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Open standard output or a new private file, which goes again when something fails."""
    if path is None:
        yield sys.stdout
        return
    with PrivateFile(path, option="") as private, private.open_text() as file:
        yield file


@contextmanager
def _opened(cli: CliContext) -> Iterator[Store]:
    store = open_store(cli.settings.store.url, cli.settings.store.key_file)
    try:
        yield store
    finally:
        store.close()
