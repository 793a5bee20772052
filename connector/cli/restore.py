"""``onecard restore``: a backup into an empty database.

Nothing here writes a table; ``connector.storage.restore`` does.
"""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from connector.cli.audit import audit_document
from connector.cli.context import CliContext, json_option, pass_cli, write_json
from connector.cli.progress import Progress
from connector.storage.restore import RestoreReport, restore_backup

__all__ = ["restore"]

_TEXTS = {
    "en": {
        "done": "Restored: {rows} rows of {created:%Y-%m-%d %H:%M} UTC, {persons} persons.",
        "erased": "{count} persons have no key any more and came back as erased.",
        "keys": "The key file {path} was written.",
        "sound": "Checked: every row is as it was saved, the audit is whole, everybody's data "
        "open.",
        "unreadable": "WARNING: the data of {count} persons do not open.",
        "audit": "WARNING: the audit is broken. See: onecard audit verify",
        "next": "Next:\n"
        "  1. onecard doctor\n"
        "  2. onecard ledger adopt --all   (loans made or returned since the backup)\n"
        "  3. onecard serve\n"
        "  4. onecard backup: data archives younger than this one open only with the keys archive "
        "you used now; the next backup replaces it.",
    },
    "zh": {
        "done": "已恢复 {created:%Y-%m-%d %H:%M} UTC 的 {rows} 行数据,{persons} 人。",
        "erased": "有 {count} 人的密钥已不存在,按已删除恢复。",
        "keys": "已写入密钥文件 {path}。",
        "sound": "已核对:每一行与备份相同,审计记录完整,每个人的数据都能打开。",
        "unreadable": "警告:有 {count} 人的数据无法打开。",
        "audit": "警告:审计记录不完整。请运行:onecard audit verify",
        "next": "接下来:\n"
        "  1. onecard doctor\n"
        "  2. onecard ledger adopt --all   (补上备份之后的借还)\n"
        "  3. onecard serve\n"
        "  4. onecard backup:比这份更新的数据备份只能用现在这份密钥备份打开,"
        "下一次备份会将其替换。",
    },
}


@click.command("restore")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--keys",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The latest keys archive, onecard-keys.tar.gz.",
)
@click.option(
    "--accept-older-keys",
    is_flag=True,
    help="Go on though the keys are older: whoever was enrolled since comes back as erased.",
)
@click.option("--by", "actor", default=getpass.getuser, show_default="your login")
@json_option
@pass_cli
def restore(
    cli: CliContext,
    data: Path,
    *,
    keys: Path,
    accept_older_keys: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Fill the empty database of the settings from the DATA archive and the keys archive.

    Both are read to the end before anything is written, and everything is written in one
    transaction: a damaged archive or an interruption leaves the database as it was. A database that
    is not empty and a key file that is there are never replaced. A backup of an older release is
    brought up to this one. Whoever has no key in the keys archive was erased since: he comes back
    without name and numbers.

    \b
    Example:
      onecard restore /backup/onecard/onecard-data-20261121T020000Z.tar.gz \\
        --keys /mnt/safe/onecard/onecard-keys.tar.gz
    """
    settings = cli.settings
    with Progress("restore") as progress:
        report = restore_backup(
            settings.store.url,
            settings.store.key_file,
            data=data,
            keys=keys,
            actor=actor,
            accept_older_keys=accept_older_keys,
            progress=progress.show,
        )
    if as_json:
        write_json(
            {
                "ok": report.is_sound,
                "created": report.created.isoformat(),
                "keys_created": report.keys_created.isoformat(),
                "revision": report.revision,
                "rows": report.rows,
                "persons": report.persons,
                "erased": report.erased,
                "unreadable": report.unreadable,
                "key_file_written": report.key_file_written,
                "audit": audit_document(report.audit),
            }
        )
    else:
        _print(report, settings.store.key_file, cli.lang)
    if not report.is_sound:
        raise click.exceptions.Exit(1)


def _print(report: RestoreReport, key_file: Path, lang: str) -> None:
    texts = _TEXTS[lang]
    click.echo(
        texts["done"].format(rows=report.rows, created=report.created, persons=report.persons)
    )
    if report.erased:
        click.echo(texts["erased"].format(count=report.erased))
    if report.key_file_written:
        click.echo(texts["keys"].format(path=key_file))
    if report.unreadable:
        click.echo(texts["unreadable"].format(count=report.unreadable), err=True)
    if not report.audit.is_intact:
        click.echo(texts["audit"], err=True)
    if report.is_sound:
        click.echo(texts["sound"])
    click.echo(texts["next"])
