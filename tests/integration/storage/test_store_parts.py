"""Audit chains, outbox, item facts, institutions, and what database errors become."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import LanguageClass, Shelving
from connector.domain.library import Library, Mode
from connector.errors import ConfigurationError, StorageConflict, StorageUnavailable
from connector.ports.store import ItemFacts
from connector.storage.crypto import Keyring
from connector.storage.engine import Database
from connector.storage.store import Store, open_store

FDX = InstitutionId("FDX")
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


def fill_audit(store, entries=5):
    for number in range(entries):
        store.audit.append("patron.shown", actor="cli", subject=f"p{number}", detail={"n": number})


def test_audit_chain_of_one_writer_is_whole(store):
    fill_audit(store)
    assert store.audit.verify() == (True, 5)
    assert store.database.fetch("SELECT COUNT(DISTINCT chain_id) FROM audit", ())[0][0] == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET actor = 'nobody' WHERE seq = 2",
        "UPDATE audit SET detail = '{\"n\":9}' WHERE seq = 5",
        "UPDATE audit SET subject = 'p9' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET seq = 99 WHERE seq = 5",
        "UPDATE audit SET chain_id = 'x'",
        "UPDATE audit SET key_id = 'kffffffff' WHERE seq = 2",
    ],
)
def test_tampering_with_the_audit_is_seen(store, tampering):
    fill_audit(store)
    with store.database.write() as connection:
        connection.exec_driver_sql(tampering)
    assert store.audit.verify()[0] is False


def test_many_writers_keep_their_chains_apart(store):
    threads = [threading.Thread(target=fill_audit, args=(store, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.audit.verify() == (True, 40)


def send(store, dedupe, destination="WZX"):
    with store.work.begin() as unit:
        unit.send(
            "loan.opened",
            institution=FDX,
            destination=destination,
            dedupe=dedupe,
            payload={"loan_id": dedupe},
        )


def take(store, at, **more):
    found = store.outbox.lease("WZX", at, lease=timedelta(seconds=30), **more)
    return [message.payload["loan_id"] for message in found], found


def test_outbox_keeps_a_message_once_and_in_order(store, clock):
    for dedupe in ("a", "b", "a", "c"):
        send(store, dedupe)
    send(store, "d", destination="ELSE")
    assert store.outbox.list_destinations() == {"WZX": 3, "ELSE": 1}
    ids, messages = take(store, clock(), limit=2)
    assert ids == ["a", "b"]
    assert take(store, clock())[0] == []
    for message in messages:
        assert store.outbox.mark_sent(message.message_id, clock())
        assert not store.outbox.mark_sent(message.message_id, clock())
    assert take(store, clock())[0] == ["c"]


def test_message_of_a_dead_worker_is_handed_out_again(store, clock):
    send(store, "a")
    take(store, clock())
    clock.advance(seconds=31)
    _, (again,) = take(store, clock())
    assert again.attempts == 2


def test_postponed_message_holds_back_those_after_it_and_a_parked_one_does_not(store, clock):
    for dedupe in ("a", "b"):
        send(store, dedupe)
    _, (first,) = take(store, clock(), limit=1)
    store.outbox.postpone(first.message_id, clock() + timedelta(minutes=5), error="unavailable")
    assert take(store, clock())[0] == []
    clock.advance(minutes=6)
    _, (first,) = take(store, clock(), limit=1)
    store.outbox.park(first.message_id, clock(), error="rejected")
    assert take(store, clock())[0] == ["b"]


def fact(barcode, **more):
    base = ItemFacts(
        ItemId(FDX, Barcode(barcode)),
        LanguageClass.FOREIGN,
        Shelving.OPEN_SHELF,
        "import",
        NOW,
        "H31",
    )
    return replace(base, **more)


def test_item_facts_are_inserted_replaced_and_counted(store):
    assert store.item_facts.fetch_item_facts(ItemId(FDX, Barcode("B1"))) is None
    assert store.item_facts.save_item_facts([fact("B1"), fact("B2")]) == 2
    assert store.item_facts.save_item_facts([fact("B1"), fact("B2")]) == 0
    changed = fact("B2", shelving=Shelving.REFERENCE)
    other_owner = fact("B2", item=ItemId(InstitutionId("WZX"), Barcode("B2")))
    assert store.item_facts.save_item_facts([fact("B2"), changed, other_owner]) == 2
    assert store.item_facts.fetch_item_facts(ItemId(FDX, Barcode("B1"))) == fact("B1")
    assert store.item_facts.fetch_item_facts(ItemId(FDX, Barcode("B2"))) == changed
    assert store.item_facts.save_item_facts([]) == 0


def test_item_facts_beyond_one_chunk(store):
    facts = [fact(f"B{number}") for number in range(1201)]
    assert store.item_facts.save_item_facts(facts) == 1201
    assert store.item_facts.save_item_facts(facts) == 0


def test_institutions_follow_the_configuration(store):
    library = Library(FDX, "丰都县图书馆", ZoneInfo("Asia/Shanghai"))
    store.institutions.save([library])
    store.institutions.save([library])
    assert store.audit.verify() == (True, 1)
    store.institutions.save([replace(library, mode=Mode.OBSERVE)])
    assert store.database.fetch("SELECT institution, mode FROM institution", ()) == [
        ("FDX", "observe")
    ]


def test_broken_constraint_is_a_conflict_without_values(store):
    def insert_twice():
        with store.database.write() as connection:
            for _ in range(2):
                connection.exec_driver_sql(
                    "INSERT INTO institution (institution, name, timezone, updated_at) "
                    "VALUES ('SECRET-1', 'x', 'x', '2026-11-21T02:00:00.000000+00:00')"
                )

    with pytest.raises(StorageConflict) as caught:
        insert_twice()
    assert "SECRET-1" not in f"{caught.value} {caught.value.__cause__}"


def test_missing_table_is_unavailable(store):
    with pytest.raises(StorageUnavailable):
        store.database.fetch("SELECT 1 FROM nothing", ())
    with pytest.raises(StorageUnavailable), store.database.read() as connection:
        connection.exec_driver_sql("SELECT 1 FROM nothing")
    assert store.database.fetch("SELECT COUNT(*) FROM loan", ())[0][0] == 0


def test_server_out_of_reach_is_unavailable(tmp_path):
    for url in (f"sqlite:///{tmp_path}/no/such/folder/x.db", "postgresql:///x?host=/nowhere"):
        database = Database(url)
        try:
            with pytest.raises(StorageUnavailable):
                database.fetch("SELECT 1", ())
            with pytest.raises(StorageUnavailable), database.write():
                pass
        finally:
            database.close()


def test_sqlite_file_locked_by_another_program_is_a_conflict(tmp_path, monkeypatch):
    monkeypatch.setattr("connector.storage.engine._BUSY_TIMEOUT_S", 0.05)
    file = tmp_path / "locked.db"
    database = Database(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageConflict), database.write():
            pass
    finally:
        other.close()
        database.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense", "sqlite:///:memory:"])
def test_other_databases_are_refused_with_a_remedy(url):
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert "sqlite:///onecard.db" in caught.value.remedy


def test_store_opens_on_a_migrated_database_only(bare_url, tmp_path):
    key_file = tmp_path / "onecard.key"
    Keyring.generate().save(key_file)
    with pytest.raises(ConfigurationError) as caught:
        open_store(bare_url, key_file)
    assert caught.value.remedy == "Run: onecard db upgrade"


def test_store_opens_and_reads_its_keys(store_url, tmp_path):
    opened = open_store(store_url, tmp_path / "onecard.key")
    try:
        assert opened.audit.verify() == (True, 0)
        assert isinstance(opened, Store)
    finally:
        opened.close()


def test_keys_of_another_database_are_refused(store_url, scene, tmp_path):
    scene.person()
    open_store(store_url, tmp_path / "onecard.key").close()
    Keyring.generate().save(tmp_path / "other.key")
    with pytest.raises(ConfigurationError, match="does not belong"):
        open_store(store_url, tmp_path / "other.key")


def test_sqlite_is_opened_durably(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with database.write() as connection:
            asked = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
            }
    finally:
        database.close()
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


@pytest.mark.postgresql
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_store_goes_on_after_the_server_closed_its_connections(store, store_url):
    fill_audit(store, 1)
    closing = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    other = Database(store_url)

    def close_all():
        with other.write() as connection:
            connection.exec_driver_sql(f"{closing} AND datname = current_database()")

    try:
        with store.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        close_all()
        assert store.database.fetch("SELECT COUNT(*) FROM audit", ())[0][0] == 1
        close_all()
        assert store.audit.verify() == (True, 1)
        close_all()
        fill_audit(store, 1)
        assert store.audit.verify() == (True, 2)
    finally:
        other.close()


def test_a_new_sqlite_file_is_its_owners_only(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/new.db")
    try:
        with database.write() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("new.db*")}
    finally:
        database.close()
    assert set(modes.values()) == {0o600}, modes
