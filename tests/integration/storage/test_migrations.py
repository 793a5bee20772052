"""Migrations up and down on both databases, with rows in the tables."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    Boolean,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    String,
    insert,
    inspect,
    select,
)

from connector.errors import StorageUnavailable
from connector.storage.crypto import Keyring
from connector.storage.engine import Database
from connector.storage.migrate import check_database, downgrade_database, upgrade_database
from connector.storage.store import Store
from connector.storage.tables import Encrypted, UtcDateTime, metadata
from tests.support.store import START, TickingClock


def test_fresh_database_is_empty_then_current_and_upgrading_again_is_nothing(bare_url):
    before = check_database(bare_url)
    assert (before.found, before.is_current) == (None, False)
    upgrade_database(bare_url)
    after = check_database(bare_url)
    assert after.found == after.wanted
    assert after.is_current
    upgrade_database(bare_url)
    assert check_database(bare_url) == after


def test_upgrading_what_a_newer_release_has_upgraded_is_nothing(store_url):
    database = Database(store_url)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    finally:
        database.close()
    upgrade_database(store_url)
    after = check_database(store_url)
    assert (after.found, after.is_known, after.is_current) == ("9999", False, True)


def test_migrations_make_exactly_the_tables_of_the_code(bare_url):
    upgrade_database(bare_url)
    database = Database(bare_url)
    try:
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        database.close()


def test_up_and_down_with_rows_in_every_table(bare_url):
    upgrade_database(bare_url)
    database = Database(bare_url)
    try:
        with database.write() as connection:
            for table in metadata.sorted_tables:
                connection.execute(insert(table).values(_row(table)))
        with database.read() as connection:
            counts = {
                table.name: connection.exec_driver_sql(
                    f'SELECT COUNT(*) FROM "{table.name}"'
                ).scalar()
                for table in metadata.sorted_tables
            }
    finally:
        database.close()
    assert set(counts.values()) == {1}
    downgrade_database(bare_url, "base")
    assert check_database(bare_url).found is None
    upgrade_database(bare_url)
    store = Store(bare_url, Keyring.generate(), now=TickingClock())
    try:
        assert store.database.fetch("SELECT COUNT(*) FROM loan", ())[0][0] == 0
    finally:
        store.close()


def test_rows_of_the_first_release_survive_up_and_down(bare_url):
    upgrade_database(bare_url, "0001")
    database = Database(bare_url)
    try:
        with database.write() as connection:
            first = MetaData()
            first.reflect(connection)
            old = [t for t in first.sorted_tables if t.name != "alembic_version"]
            for table in old:
                own = metadata.tables[table.name]
                row = {column.name: _value(own.c[column.name].type) for column in table.columns}
                connection.execute(insert(own).values(row))
        upgrade_database(bare_url)
        assert _counts(database, old) == {1}
        with database.read() as connection:
            school = connection.execute(select(metadata.tables["school"])).one()
            assert (school.system, school.create_classes) == ("6-3", True)
    finally:
        database.close()
    downgrade_database(bare_url, "0001")
    database = Database(bare_url)
    try:
        assert _counts(database, old) == {1}
    finally:
        database.close()


def test_database_of_a_newer_release_is_worked_with(bare_url):
    upgrade_database(bare_url)
    database = Database(bare_url)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    finally:
        database.close()
    state = check_database(bare_url)
    assert (state.is_known, state.is_current) == (False, True)


def test_looking_at_an_absent_file_does_not_make_it(tmp_path):
    file = tmp_path / "absent.db"
    assert check_database(f"sqlite:///{file}").found is None
    assert not file.exists()


def test_failed_migration_leaves_the_database_as_it_was(bare_url):
    database = Database(bare_url)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE violation (x INTEGER)")
        with pytest.raises(StorageUnavailable):
            upgrade_database(bare_url)
        with database.read() as connection:
            names = set(inspect(connection).get_table_names())
    finally:
        database.close()
    assert names == {"violation"}


def _counts(database, tables):
    with database.read() as connection:
        return {
            connection.exec_driver_sql(f'SELECT COUNT(*) FROM "{table.name}"').scalar()
            for table in tables
        }


def _row(table):
    """Return a row with a value in every column; ids agree, so that references hold."""
    return {column.name: _value(column.type) for column in table.columns}


def _value(kind):
    match kind:
        case UtcDateTime():
            return START
        case Encrypted() | LargeBinary():
            return b"\x00\xff"
        case Boolean():
            return True
        case Integer():
            return 1
        case Date():
            return START.date()
        case String():
            return "one"
