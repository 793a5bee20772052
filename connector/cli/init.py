"""``onecard init``: settings, keys, a first password and the database of a new installation.

Nothing here is overwritten: what exists stops the command before it writes anything.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from connector.cli.context import CliContext, Refused, pass_cli
from connector.cli.private_file import write_private
from connector.errors import ConnectorError
from connector.settings import example_toml, load_settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database

__all__ = ["init"]

_SETTINGS, _KEYS, _PASSWORD = "onecard.toml", "onecard.key", "kiosk-1.password"


@click.command("init")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--code", default="LIB", show_default=True, help="Short code of the library.")
@click.option("--name", default="我的图书馆", show_default=True, help="Name of the library.")
@click.option("--timezone", default="Asia/Shanghai", show_default=True, help="IANA name.")
@pass_cli
def init(cli: CliContext, directory: Path | None, *, code: str, name: str, timezone: str) -> None:
    """Write onecard.toml, a key file (mode 0600), a password and the database into DIRECTORY.

    \b
    Example:
      onecard init my-library --code MAIN --name "First Library"
    """
    del cli
    folder = directory or Path()
    folder.mkdir(parents=True, exist_ok=True)
    for present in (_SETTINGS, _KEYS, _PASSWORD, "onecard.db"):
        if (folder / present).exists():
            raise Refused(
                f"{folder / present} exists; nothing was written. Choose an empty folder."
            )
    written: list[Path] = []
    try:
        _write_secret(folder / _PASSWORD, secrets.token_hex(16) + "\n", written)
        _write(folder / _SETTINGS, example_toml(code=code, name=name, timezone=timezone), written)
        settings = load_settings(folder / _SETTINGS)
        written.append(settings.store.key_file)
        Keyring.generate().save(settings.store.key_file)
        upgrade_database(settings.store.url)
    except (ConnectorError, OSError):
        for path in written:
            path.unlink(missing_ok=True)
        raise
    _print_next_steps(folder)


def _write(path: Path, text: str, written: list[Path]) -> None:
    with path.open("x", encoding="utf-8") as file:
        written.append(path)
        file.write(text)


def _write_secret(path: Path, text: str, written: list[Path]) -> None:
    write_private(path, text.encode())
    written.append(path)


def _print_next_steps(folder: Path) -> None:
    config = folder / _SETTINGS
    option = "" if folder == Path() else f" --config {config}"
    click.echo(f"Written: {config}, {folder / _KEYS}, {folder / _PASSWORD} and the database.")
    click.echo(f"Keep a copy of {folder / _KEYS} elsewhere: losing it is losing the personal data.")
    click.echo("Next:")
    click.echo(f"  1. Read {config}: name the library, its system and its self-check machines.")
    click.echo(f"  2. onecard{option} doctor")
    click.echo(f"  3. onecard{option} serve")
