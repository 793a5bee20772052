"""The tables' revision: bringing a database up to date, and saying whether it is.

Nothing here describes a table; ``tables`` and the scripts in ``migrations/versions`` do. Rules —

- migrations run in one transaction where the database allows it (PostgreSQL), under a lock, so that
  two processes that start at once do not both migrate;
- a database of the next release works with this one: a revision that we don't
  know counts as current.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from connector.storage.engine import Database, sqlite_file

__all__ = [
    "DatabaseState",
    "check_database",
    "check_writing",
    "downgrade_database",
    "is_known_revision",
    "migrate_connection",
    "newest_revision",
    "read_state",
    "upgrade_database",
]

_ADVISORY_LOCK = 7_261_905_118
"""Any number, the same in every release."""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """How the tables of a database compare with this release.

    Attributes:
        found: the revision of the database; None when it has no tables of ours.
        wanted: the newest revision that this release knows.
        is_known: False when a newer release has migrated the database.
    """

    found: str | None
    wanted: str
    is_known: bool = True

    @property
    def is_current(self) -> bool:
        """Whether this release can work with the database: the same revision, or a newer one."""
        return self.found is not None and (self.found == self.wanted or not self.is_known)


def check_database(url: str) -> DatabaseState:
    """Compare the tables of a database with this release; an absent SQLite file is not made.

    Raises:
        ConfigurationError: the URL cannot be read.
        StorageUnavailable: the database cannot be reached.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return DatabaseState(None, _head())
    database = Database(url)
    try:
        return read_state(database)
    finally:
        database.close()


def check_writing(url: str) -> None:
    """Write what is there already; beginning to write is not refused by a read-only SQLite file.

    Raises:
        StorageConflict: another program is writing all the time.
        StorageUnavailable: the database may only be read.
    """
    database = Database(url)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
    finally:
        database.close()


def read_state(database: Database) -> DatabaseState:
    """Compare the tables of an open database with this release."""
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    return DatabaseState(found, _head(), found is None or found in known)


def upgrade_database(url: str, revision: str = "head") -> None:
    """Bring the tables up to a revision; nothing happens when they are there already, or when a
    newer release has brought them further.

    Raises:
        ConfigurationError: the URL cannot be read.
        StorageUnavailable: the database cannot be reached.
    """
    if check_database(url).is_known:
        _run(url, lambda config: command.upgrade(config, revision))


def downgrade_database(url: str, revision: str) -> None:
    """Take the tables back to a revision; ``base`` removes them."""
    _run(url, lambda config: command.downgrade(config, revision))


def migrate_connection(connection: Connection, revision: str) -> None:
    """Bring the tables to a revision within an open transaction; ``base`` removes them."""
    _migrate(
        connection,
        lambda config: (command.downgrade if revision == "base" else command.upgrade)(
            config, revision
        ),
    )


def newest_revision() -> str:
    """Return the revision of this release's tables."""
    return _head()


def is_known_revision(revision: str) -> bool:
    """Say whether this release has brought tables to a revision, or could."""
    scripts = ScriptDirectory.from_config(_config())
    return revision in {script.revision for script in scripts.walk_revisions()}


def _run(url: str, migrate: Callable[[Config], None]) -> None:
    database = Database(url)
    try:
        with database.write() as connection:
            _migrate(connection, migrate)
    finally:
        database.close()


def _migrate(connection: Connection, migrate: Callable[[Config], None]) -> None:
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    config = _config()
    config.attributes["connection"] = connection
    migrate(config)


def _head() -> str:
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # noqa: S101 - the package ships its scripts
    return revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config
