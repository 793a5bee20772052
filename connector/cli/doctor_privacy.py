"""What ``onecard doctor`` looks at for the sake of children's data.

Nothing here prints or changes anything. Rule: a warning says what to run.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from connector.bootstrap import Application
from connector.plugins.hookspecs import HealthResult
from connector.settings import Settings

__all__ = ["check_files", "check_keys_backup", "check_retention"]

_DATABASES = "*.db*"
_ERASURE_REACHES_BACKUPS = timedelta(days=2)
"""Within this time the keys of whoever was erased should be gone from the backup (decision 22)."""


def check_files(settings: Settings) -> HealthResult:
    """Say whether anybody but the owner may read a database of the installation, or a secret."""
    candidates = [*settings.data_dir.glob(_DATABASES), *_list_secret_files(settings)]
    open_ones = sorted(
        path
        for path in set(candidates)
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    )
    if not open_ones:
        return HealthResult("ok", "Databases and secrets are readable by their owner only.")
    names = ", ".join(path.name for path in open_ones)
    return HealthResult("warn", f"Others may read: {names}.", f"Run: {_close_to_others(open_ones)}")


def _list_secret_files(settings: Settings) -> Iterator[Path]:
    """Yield the files with passwords and the private key of the kiosks' port."""
    named: list[object] = [terminal.password_file for terminal in settings.sip2.terminals]
    named.append(settings.store.password_file)
    if settings.sip2.tls is not None:
        named.append(settings.sip2.tls.key_file)
    for ils in (settings.ils, *(library.ils for library in settings.libraries)):
        options = ils.options if ils is not None else {}
        named += [value for key, value in options.items() if key.endswith("password_file")]
    yield from (settings.data_dir / str(name) for name in named if name)


def _close_to_others(paths: list[Path]) -> str:
    return " ".join(["chmod 600", *map(str, paths)])


def check_keys_backup(app: Application) -> HealthResult:
    """Say whether the keys of people who were erased still lie in the last backup."""
    find, now = app.store.privacy.find_last_action, app.now()
    saved, erased = find("backup.made", until=now), find("person.erased", until=now)
    if saved is None:
        return HealthResult("ok", "No backup was made by this program.")
    if erased is None or erased < saved or now - erased < _ERASURE_REACHES_BACKUPS:
        return HealthResult("ok", f"The last backup is of {saved:%Y-%m-%d}.")
    return HealthResult(
        "warn",
        "People were erased after the last backup, which still has their keys.",
        "Run: onecard backup --keys-only --keys-to FOLDER",
    )


def check_retention(app: Application) -> HealthResult:
    """Say whether what is older than its time is removed."""
    status = app.retention.status()
    by_hand = "Check the date of this machine, then: onecard privacy retention --run"
    if status.is_late:
        return HealthResult("warn", "Nothing was removed in time for 40 days.", by_hand)
    if app.safeguard.check_clock():
        message = "The clock is far from the last run: the worker removes and closes nothing."
        return HealthResult("warn", message, by_hand)
    if status.overdue:
        return HealthResult(
            "warn",
            f"{status.overdue} records are past their time.",
            "Run onecard serve with its worker, or: onecard privacy retention --run",
        )
    return HealthResult("ok", "Nothing is kept longer than [privacy] says.")
