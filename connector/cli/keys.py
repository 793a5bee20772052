"""``onecard keys``: what the installation's keys protect, a new one, and taking an old one out.

Nothing here prints a key. What a rotation does, and in which order, is in
``connector.storage.key_rotation``.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import print_table
from connector.cli.progress import Progress
from connector.errors import ConfigurationError
from connector.storage.key_rotation import KeyRotation
from connector.storage.store import Store, open_store

__all__ = ["keys"]

_TEXTS = {
    "en": {
        "rotated": "The key {key} is active now.",
        "finished": "The rotation to {key} is finished.",
        "counts": "Made anew: {persons} persons, {identifiers} numbers.",
        "unreadable": "{count} numbers cannot be read and are still found by an old key; it stays.",
        "backup": "Make a backup now: the keys of the last one do not open what is stored from "
        "now on.",
        "hosts": "Where the program runs on several hosts, copy the key file to each.",
        "retired": "The key {key} is out of the key file. Make a backup of the keys.",
    },
    "zh": {
        "rotated": "密钥 {key} 已启用。",
        "finished": "密钥 {key} 的轮换已完成。",
        "counts": "已更新:{persons} 人,{identifiers} 个号码。",
        "unreadable": "{count} 个号码无法读出,仍靠旧密钥查找;旧密钥须保留。",
        "backup": "请立即备份:上一次备份的密钥打不开今后存入的数据。",
        "hosts": "程序在多台主机上运行时,请把密钥文件复制到每一台。",
        "retired": "密钥 {key} 已从密钥文件中移除。请备份密钥。",
    },
}
_actor_option = click.option(
    "--by", "actor", default=getpass.getuser, show_default="your login", help="Who does it."
)


@click.group("keys")
def keys() -> None:
    """Keys of the installation: list, rotate, retire."""


@keys.command("list")
@json_option
@pass_cli
def list_keys(cli: CliContext, *, as_json: bool) -> None:
    """List the keys of the key file and what each still protects; never a key itself.

    \b
    Example:
      onecard keys list
    """
    store = _open(cli)
    try:
        uses = KeyRotation(store, cli.settings.store.key_file).list_uses()
    finally:
        store.close()
    rows = [{**asdict(use), "is_free": use.is_free} for use in uses]
    if as_json:
        write_json(rows)
    else:
        print_table(rows)


@keys.command("rotate")
@_actor_option
@json_option
@pass_cli
def rotate_keys(cli: CliContext, *, actor: str, as_json: bool) -> None:
    """Make a new key and bring all data under it, while machines are being served.

    The new key is written to the key file first. Running processes on this host read the file by
    themselves within a second; after three seconds the key is used: the persons' keys are wrapped
    anew and all numbers get new digests. Where a run was killed, run it again: it finishes without
    a further key. The old key stays in the file until `onecard keys retire`.

    Where the program runs on several hosts over one database, stop the other hosts first, and copy
    the key file to them before they start again.

    \b
    Example:
      onecard keys rotate
      onecard backup --to /backup/data --keys-to /mnt/safe/keys
      onecard keys list
    """
    store = _open(cli)
    try:
        rotation = KeyRotation(store, cli.settings.store.key_file)
        with Progress("keys") as progress:
            report = rotation.rotate(actor=actor, progress=progress.show)
    finally:
        store.close()
    if as_json:
        write_json(asdict(report))
        return
    texts = _TEXTS[cli.lang]
    click.echo(texts["rotated" if report.is_new else "finished"].format(key=report.key_id))
    click.echo(texts["counts"].format(persons=report.persons, identifiers=report.identifiers))
    if report.unreadable:
        click.echo(texts["unreadable"].format(count=report.unreadable))
    click.echo(texts["hosts"])
    click.echo(texts["backup"])


@keys.command("retire")
@click.argument("key_id")
@_actor_option
@json_option
@pass_cli
def retire_key(cli: CliContext, key_id: str, *, actor: str, as_json: bool) -> None:
    """Take the old key KEY_ID out of the key file; refused while anything needs it.

    Refusals and audit entries cannot be made anew by another key: they hold an old key until the
    retention job has removed them. The first key stays for good. A data backup that still holds
    audit entries under a retired key can be restored, and those entries cannot be checked.

    \b
    Example:
      onecard keys list
      onecard keys retire k0f3a1b2c
    """
    store = _open(cli)
    try:
        KeyRotation(store, cli.settings.store.key_file).retire(key_id, actor=actor)
    except ConfigurationError as err:
        raise Refused(str(err)) from err
    finally:
        store.close()
    if as_json:
        write_json({"key_id": key_id, "retired": True})
    else:
        click.echo(_TEXTS[cli.lang]["retired"].format(key=key_id))


def _open(cli: CliContext) -> Store:
    return open_store(cli.settings.store.url, cli.settings.store.key_file)
