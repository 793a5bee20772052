from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from adapters.local.engine import REVISION, Database, alembic_config
from adapters.local.tables import METADATA
from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable


def tables(path):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {row[0] for row in found}


def test_the_code_names_the_newest_migration():
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == REVISION


def test_the_migrations_add_up_to_the_tables(world):
    with world.adapter.database.read() as connection:
        migrated = MigrationContext.configure(connection)
        assert compare_metadata(migrated, METADATA) == []


def test_down_and_up_again_with_rows(world):
    world.patron(identifiers={"id_card": "1"})
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    path = world.adapter.database.path
    world.adapter.database.migrate("base")
    assert tables(path) == {"alembic_version"}
    world.adapter.database.migrate()
    assert tables(path) >= set(METADATA.tables)
    assert world.adapter.fetch_patron("P1").valid is False
    world.patron()
    world.title("B1")
    assert world.adapter.checkout("P1", "B1", world.at()).ok


def test_rows_are_there_when_the_file_is_opened_again(make_world):
    first = make_world()
    first.patron()
    first.title("B1")
    due = first.adapter.checkout("P1", "B1", first.at()).due
    first.adapter.close()
    again = make_world()
    assert again.adapter.fetch_item_loan("B1").due == due


def test_the_file_is_durable_and_keeps_its_links(world):
    world.adapter.ping()
    with world.adapter.database.read() as connection:
        read = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert read == ["wal", 2, 1]


def test_a_writer_holds_the_lock_from_its_first_moment(world):
    world.adapter.ping()
    with (
        world.adapter.database.write(),
        closing(sqlite3.connect(world.adapter.database.path, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_an_exception_rolls_everything_back(world):
    def delete_and_fail():
        with world.adapter.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM patron")
            raise ZeroDivisionError

    world.patron()
    with pytest.raises(ZeroDivisionError):
        delete_and_fail()
    assert world.adapter.fetch_patron("P1").valid


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "broken.db"
    path.write_text("这不是数据库" * 100, encoding="utf-8")
    database = Database(path, InstitutionId("LIB"))
    with pytest.raises(AdapterUnavailable), database.read():
        pass
    database.close()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    database = Database(tmp_path / "file" / "x.db", InstitutionId("LIB"))
    with pytest.raises(AdapterUnavailable), database.read():
        pass
    database.close()


def test_a_closed_adapter_is_unavailable(world):
    world.adapter.close()
    with pytest.raises(AdapterUnavailable) as refused:
        world.adapter.ping()
    assert refused.value.code == "closed"
