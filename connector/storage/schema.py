"""The tables' revision: bringing a database up to date, and saying whether it is.

Nothing here describes a table; ``tables`` and the scripts in ``migrations/versions`` do. Rules —

- migrations run in one transaction where the database allows it (PostgreSQL), under a lock, so that
  two processes that start at once do not both migrate;
- a database of the next release works with this one: a revision that we don't know is ``NEWER``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from connector.storage.engine import Database

__all__ = ["SchemaState", "check_schema", "current", "downgrade", "head", "upgrade"]

_ADVISORY_LOCK = 7_261_905_118
"""Any number, the same in every release."""


class SchemaState(StrEnum):
    """How the tables of a database compare with this release."""

    EMPTY = "empty"
    OLD = "old"
    CURRENT = "current"
    NEWER = "newer"


def head() -> str:
    """Return the newest revision that this release knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # noqa: S101 - the package ships its scripts
    return revision


def current(url: str) -> str | None:
    """Return the revision of a database, or None when it has no tables of ours."""
    database = Database(url)
    try:
        return _revision(database)
    finally:
        database.close()


def check_schema(database: Database) -> SchemaState:
    """Say how the tables of an open database compare with this release."""
    revision = _revision(database)
    if revision is None:
        return SchemaState.EMPTY
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        return SchemaState.NEWER
    return SchemaState.CURRENT if revision == head() else SchemaState.OLD


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables up to a revision; nothing happens when they are there already.

    Raises:
        ConfigurationError: the URL cannot be read.
        StorageUnavailable: the database cannot be reached.
    """
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the tables back to a revision; ``base`` removes them."""
    _run(url, lambda config: command.downgrade(config, revision))


def _run(url: str, migrate: Callable[[Config], None]) -> None:
    database = Database(url)
    try:
        with database.write() as connection:
            if not database.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            config = _config()
            config.attributes["connection"] = connection
            migrate(config)
    finally:
        database.close()


def _revision(database: Database) -> str | None:
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config
