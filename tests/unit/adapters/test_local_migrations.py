from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from adapters.local.engine import REVISION, Database, alembic_config
from adapters.local.tables import METADATA
from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable, OutcomeUnknown


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
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
    assert read == ["wal", 2, 1, 1]


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


def test_a_commit_that_fails_is_an_unknown_outcome_and_leaves_no_lock(world):
    def break_a_link():
        with world.adapter.database.write() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql("UPDATE item SET bib_id = 999")

    world.patron()
    world.title("B1")
    with pytest.raises(OutcomeUnknown):
        break_a_link()
    with closing(sqlite3.connect(world.adapter.database.path, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
    assert world.adapter.checkout("P1", "B1", world.at()).ok


OPEN_AND_LEND = """
import sys
from datetime import UTC, datetime
from adapters.local.adapter import build_adapter
from adapters.local.settings import LocalSettings
from connector.domain.bib import BibSummary
from connector.marc.write import build_record
from connector.ports.clock import utc_now
from connector.ports.ils import AdapterContext, ExchangeContext, ItemInput, PatronInput

me, folder = sys.argv[1:]
adapter = build_adapter(LocalSettings(), AdapterContext("LIB", "Asia/Shanghai", folder, utc_now))
print("ready", flush=True)
sys.stdin.readline()
adapter.upsert_patron(PatronInput("x" + me, "P" + me, name="n", category="adult"))
bib_id = adapter.add_bib(build_record(BibSummary("T")), "marc21")
try:
    adapter.add_item(bib_id, ItemInput("B1"))
except Exception as err:
    assert err.code == "duplicate_barcode", err
print(adapter.checkout("P" + me, "B1", ExchangeContext(at=datetime.now(UTC))).code or "ok")
adapter.close()
"""


def test_processes_that_start_at_once_make_one_file_and_one_loan(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPEN_AND_LEND, str(number), str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = sorted(worker.communicate(timeout=60)[0].strip() for worker in workers)
    assert said == ["item_on_loan", "item_on_loan", "ok"]
