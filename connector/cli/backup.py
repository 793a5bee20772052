"""``onecard backup``: data and keys into two places, checked by restoring a copy.

Nothing here reads a table; ``connector.storage.backup`` does.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from connector.cli.audit import audit_document
from connector.cli.context import CliContext, json_option, pass_cli, write_json
from connector.cli.progress import Progress
from connector.settings import Settings
from connector.storage.backup import BackupReport, copy_sqlite, make_backup
from connector.storage.store import open_store

__all__ = ["backup"]

_LOCAL_ILS = "local"
_TEXTS = {
    "en": {
        "data": "Data:  {path} ({rows} rows)",
        "keys": "Keys:  {path} ({persons} persons); it replaces the former one.",
        "local": "Library system, IN CLEAR: {path}",
        "verified": "A copy was restored: every row is the same, the audit is whole, everybody's "
        "data open.",
        "unchecked": "It was not checked. Leave out --no-verify to have a copy restored.",
        "unreadable": "WARNING: the data of {count} persons do not open, here and in the backup. "
        "The backup was kept.",
        "audit": "WARNING: the audit is broken, here and in the backup. See: onecard audit verify",
        "apart": "Keep the two on different machines: who has both has everything.",
    },
    "zh": {
        "data": "数据:{path}({rows} 行)",
        "keys": "密钥:{path}({persons} 人);已替换原有的密钥备份。",
        "local": "图书馆系统(明文):{path}",
        "verified": "已恢复一份副本核对:每一行相同,审计记录完整,每个人的数据都能打开。",
        "unchecked": "未核对。去掉 --no-verify 即可恢复一份副本核对。",
        "unreadable": "警告:有 {count} 人的数据无法打开(本机与备份相同)。备份已保留。",
        "audit": "警告:审计记录不完整(本机与备份相同)。请运行:onecard audit verify",
        "apart": "请把两者存放在不同的机器上:同时得到两者即得到全部数据。",
    },
}


@click.command("backup")
@click.option(
    "--to",
    "data_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the data; each backup is a new file.",
)
@click.option(
    "--keys-to",
    "keys_dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Another folder for the keys; one file, replaced each time.",
)
@click.option("--keys-only", is_flag=True, help="Only the keys, as after a person was erased.")
@click.option("--verify/--no-verify", default=True, help="Restore a copy and compare.")
@click.option(
    "--with-local-ils",
    is_flag=True,
    help="Copy the embedded library system's file too: names and numbers IN CLEAR.",
)
@click.option(
    "--accept-fewer",
    is_flag=True,
    help="Go on though many persons of the former keys archive are gone from the database.",
)
@click.option("--by", "actor", default=getpass.getuser, show_default="your login")
@json_option
@pass_cli
def backup(
    cli: CliContext,
    *,
    data_dir: Path | None,
    keys_dir: Path,
    keys_only: bool,
    verify: bool,
    with_local_ils: bool,
    accept_fewer: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Write a backup while everything runs: the data to one folder, the keys to another.

    The data archive (SQLite and PostgreSQL alike) has every table, names and numbers sealed, and
    no key. The keys archive has the key file and each person's key. Only the latest keys archive
    is kept: erasing a person destroys his key, so after the next backup (or one with --keys-only)
    nobody reads his name, numbers and phones in an older data archive either. Do not keep copies of
    old keys archives.

    A copy is restored and compared unless you say --no-verify. A backup that is interrupted leaves
    the former one. The embedded library system is not part of it, unless you say --with-local-ils.

    \b
    Example:
      onecard backup --to /backup/onecard --keys-to /mnt/safe/onecard
      onecard backup --keys-only --keys-to /mnt/safe/onecard
    """
    if keys_only is (data_dir is not None):
        raise click.UsageError("Give --to, or --keys-only.")
    if keys_only and with_local_ils:
        raise click.UsageError("--with-local-ils needs --to.")
    store = open_store(cli.settings.store.url, cli.settings.store.key_file)
    try:
        with Progress("backup") as progress:
            report = make_backup(
                store,
                cli.settings.store.key_file,
                data_dir=data_dir,
                keys_dir=keys_dir,
                verify=verify,
                accept_fewer=accept_fewer,
                progress=progress.show,
            )
        copies = []
        if with_local_ils and data_dir is not None:
            for code, file in _local_files(cli.settings).items():
                copy = data_dir / f"onecard-local-{code}-{report.created:%Y%m%dT%H%M%SZ}.db"
                copy_sqlite(file, copy)
                copies.append(copy)
        store.audit.append(
            "backup.made",
            actor=actor,
            detail={"rows": report.rows, "persons": report.persons, "in_clear": len(copies)},
        )
    finally:
        store.close()
    if as_json:
        write_json(_document(report, copies))
    else:
        _print(report, copies, _TEXTS[cli.lang])
    if not report.is_sound:
        raise click.exceptions.Exit(1)


def _local_files(settings: Settings) -> Mapping[str, Path]:
    """Return library → file of the embedded library system, as its adapter names it."""
    found: dict[str, Path] = {}
    for library in settings.libraries:
        ils = settings.ils_of(library)
        if ils.adapter == _LOCAL_ILS:
            name = str(ils.options.get("path") or f"local-{library.code}.db")
            found[library.code] = settings.data_dir / name
    return found


def _print(report: BackupReport, copies: list[Path], texts: Mapping[str, str]) -> None:
    if report.data is not None:
        click.echo(texts["data"].format(path=report.data, rows=report.rows))
    click.echo(texts["keys"].format(path=report.keys, persons=report.persons))
    for copy in copies:
        click.echo(texts["local"].format(path=copy))
    if report.unreadable:
        click.echo(texts["unreadable"].format(count=report.unreadable), err=True)
    if report.audit is not None and not report.audit.is_intact:
        click.echo(texts["audit"], err=True)
    if report.is_verified and report.is_sound:
        click.echo(texts["verified"])
    if report.data is not None:
        if not report.is_verified:
            click.echo(texts["unchecked"])
        click.echo(texts["apart"])


def _document(report: BackupReport, copies: list[Path]) -> dict[str, Any]:
    return {
        "ok": report.is_sound,
        "created": report.created.isoformat(),
        "data": None if report.data is None else str(report.data),
        "keys": str(report.keys),
        "local_ils": [str(copy) for copy in copies],
        "rows": report.rows,
        "persons": report.persons,
        "verified": report.is_verified,
        "unreadable": report.unreadable,
        "audit": None if report.audit is None else audit_document(report.audit),
        "tables": report.tables,
    }
