"""A fresh store for a test, on SQLite and on PostgreSQL; loaded as a plugin.

Nothing here is a test. ``store_url`` names an empty, migrated database, and the key file
``onecard.key`` lies in the test's ``tmp_path``; whoever asks for it runs once on each database.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.storage.store import Store
from tests.support.postgres import Postgres

DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgresql),
]
START = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


class TickingClock:
    """A clock that goes on by a millisecond whenever it is read, and further when a test says so."""

    def __init__(self, start: datetime = START) -> None:
        self.moment = start

    def __call__(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def advance(self, **step: float) -> None:
        self.moment += timedelta(**step)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated, empty SQLite file to copy."""
    file = tmp_path_factory.mktemp("template") / "empty.db"
    upgrade_database(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """Return the name of a migrated, empty PostgreSQL database to copy."""
    name = postgres.create()
    upgrade_database(postgres.url(name))
    return name


@pytest.fixture(params=DATABASES)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a new database without tables; runs once on each database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a new, migrated database; runs once on each database."""
    Keyring.generate().save(tmp_path / "onecard.key")
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def store(store_url: str, tmp_path: Path, clock: TickingClock) -> Iterator[Store]:
    """Return an open store that reads ``clock``."""
    opened = Store(store_url, Keyring.load(tmp_path / "onecard.key"), now=clock)
    yield opened
    opened.close()
