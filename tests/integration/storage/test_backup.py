"""Backup and restore: from one database to the other, damaged, killed, and what erasure reaches."""

from __future__ import annotations

import gzip
import io
import json
import signal
import stat
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector.domain.ids import Identifier
from connector.errors import ConfigurationError, NotFound
from connector.ports.store import PersonalData
from connector.storage import backup as backup_module
from connector.storage import tables
from connector.storage.backup import copy_sqlite, make_backup
from connector.storage.crypto import Keyring
from connector.storage.key_rotation import KeyRotation
from connector.storage.migrate import check_database, downgrade_database, upgrade_database
from connector.storage.restore import restore_backup
from connector.storage.store import Store, open_store
from tests.support.full_store import FDX, NAMES, add_people, dump, fill_every_table, secrets_of
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[3]


def nothing(done: int, total: int) -> None:
    pass


class Place:
    """The folders of a test, and the two commands in short."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.key_file = folder / "onecard.key"
        self.data_dir, self.keys_dir = folder / "data", folder / "keys"

    def backup(self, *, keys_only: bool = False, verify: bool = True, accept_fewer: bool = False):
        self.store.work.now.advance(seconds=2)
        return make_backup(
            self.store,
            self.key_file,
            data_dir=None if keys_only else self.data_dir,
            keys_dir=self.keys_dir,
            verify=verify,
            accept_fewer=accept_fewer,
            progress=nothing,
        )

    def restore(self, url: str, data: Path, keys: Path | None = None, **more: object):
        return restore_backup(
            url,
            more.pop("key_file", self.folder / "new.key"),
            data=data,
            keys=keys or self.keys_dir / "onecard-keys.tar.gz",
            actor="cli",
            progress=nothing,
            now=self.store.work.now,
            **more,
        )


@pytest.fixture
def place(tmp_path, store):
    return Place(tmp_path, store)


@pytest.fixture
def people(store):
    found = add_people(store)
    fill_every_table(store, found[0])
    return found


@pytest.fixture
def other_url(store_url, tmp_path, request):
    """Name a new database of the other kind, without tables."""
    if not store_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'other.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


def is_empty(url):
    database = Path(url.removeprefix("sqlite:///"))
    return (
        not url.startswith("sqlite") or not database.exists() or check_database(url).found is None
    )


def test_restored_on_the_other_database_everything_is_the_same(place, people, other_url):
    before = dump(place.store, without=("audit",))
    report = place.backup()
    assert (report.is_verified, report.is_sound, report.persons) == (True, True, 3)
    assert report.rows == sum(report.tables.values()) > len(tables.metadata.tables)
    restored = place.restore(other_url, report.data)
    assert (restored.persons, restored.erased, restored.unreadable) == (3, 0, 0)
    assert restored.is_sound
    assert restored.key_file_written
    there = open_store(other_url, place.folder / "new.key")
    try:
        assert dump(there, without=("audit",)) == before
        assert [e.action for e in there.audit.search(action="database.restored")]
        for patron_id, name in zip(people, NAMES, strict=True):
            assert there.people.fetch_personal(patron_id).name == name
        # Numbers go on after those that were restored.
        again = add_person(there)
        assert there.people.fetch_personal(again).name == "新来"
        with there.work.begin() as unit:
            unit.send("x", institution=FDX, destination="Y", dedupe="new", payload={})
    finally:
        there.close()


def add_person(store, card="S9"):
    return store.people.add_person(
        PersonalData(name="新来"), [Identifier("card", card)], home=FDX, category="student"
    )


def test_archives_are_private_and_hold_fixed_names(place, people):
    report = place.backup()
    for path in (report.data, report.keys):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(report.keys) as tar:
        assert tar.getnames() == ["onecard.key", "person_key.jsonl", "manifest.json"]
    with tarfile.open(report.data) as tar:
        names = tar.getnames()
    assert "person_key.jsonl" not in names
    assert "onecard.key" not in names
    assert sorted(names) == sorted(
        ["manifest.json", *(f"{t}.jsonl" for t in tables.metadata.tables if t != "person_key")]
    )
    left = {path.name for folder in (place.data_dir, place.keys_dir) for path in folder.iterdir()}
    assert left == {report.data.name, report.keys.name}


def test_every_sealed_column_is_opened_by_the_check(place):
    sealed = {
        (table.name, column.name)
        for table in tables.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, tables.Encrypted)
    }
    assert sealed == {
        *(("person", name) for name in (
            "name", "id_number", "phone", "guardian_name", "guardian_phone", "birth_date")),
        ("identifier", "sealed"),
    }, "sealed_check._sealed_values must open the new one too"  # fmt: skip


def test_damage_in_the_database_is_told_by_the_check(place, people):
    with place.store.database.write() as connection:
        one, two, _ = people
        connection.exec_driver_sql(
            f"UPDATE person SET name = (SELECT name FROM person WHERE person_id = '{two}') "
            f"WHERE person_id = '{one}'"
        )
        connection.exec_driver_sql("UPDATE audit SET actor = 'x' WHERE seq = 2")
    report = place.backup()
    assert report.unreadable == 1
    assert report.audit.breaks[0].seq == 2
    assert not report.is_sound
    assert report.data.exists(), "a doubtful backup is better than none"


def test_who_was_erased_after_the_backup_comes_back_without_a_name(place, people, other_url):
    old = place.backup()
    place.store.people.erase_person(people[1], actor="cli")
    place.backup(keys_only=True)
    restored = place.restore(other_url, old.data)
    assert (restored.persons, restored.erased) == (2, 1)
    assert restored.is_sound
    there = open_store(other_url, place.folder / "new.key")
    try:
        with pytest.raises(NotFound):
            there.people.fetch_personal(people[1])
        rows = dump(there)
        assert not any(people[1] in row for row in rows["identifier"] + rows["ils_account"])
        assert there.people.fetch_personal(people[0]).name == NAMES[0]
        assert [e.subject for e in there.audit.search(action="person.erased")] == [people[1]]
    finally:
        there.close()
    text = repr(rows)
    assert NAMES[1] not in text


def test_erased_person_has_no_open_application_and_no_book(place, people, other_url):
    store = place.store
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE application SET state = 'entered'")
        connection.exec_driver_sql("UPDATE loan SET state = 'open'")
        connection.exec_driver_sql(
            "UPDATE item_position SET position = 'on_loan', loan_id = (SELECT loan_id FROM loan)"
        )
    old = place.backup()
    with store.database.write() as connection:
        connection.execute(sa.delete(tables.person_key).filter_by(person_id=people[0]))
    place.backup(keys_only=True)
    place.restore(other_url, old.data)
    there = open_store(other_url, place.folder / "new.key")
    try:
        fetch = there.database.fetch
        assert fetch("SELECT state, reason FROM application", ())[0][0] == "withdrawn"
        assert fetch("SELECT COUNT(*) FROM loan", ())[0][0] == 0
        assert tuple(fetch("SELECT position, loan_id FROM item_position", ())[0]) == (
            "at_owner", None,
        )  # fmt: skip
    finally:
        there.close()


def test_emptied_database_does_not_take_the_older_backups_with_it(place, people, other_url):
    former = place.backup()
    kept = former.keys.read_bytes()
    with place.store.database.write() as connection:
        connection.execute(sa.delete(tables.person_key))
    with pytest.raises(ConfigurationError, match="3 of 3 persons"):
        place.backup(keys_only=True)
    with pytest.raises(ConfigurationError, match="accept-fewer"):
        place.backup()
    assert former.keys.read_bytes() == kept
    assert [path.name for path in place.data_dir.iterdir()] == [former.data.name]
    assert place.restore(other_url, former.data).persons == 3
    assert place.backup(keys_only=True, accept_fewer=True).persons == 0


def test_more_than_a_quarter_of_the_people_gone_is_asked_about(place, people):
    for number in range(21):
        add_person(place.store, f"T{number}")
    place.backup(keys_only=True)

    def lose(count):
        ids = sa.select(tables.person_key.c.person_id).limit(count)
        with place.store.database.write() as connection:
            gone = list(connection.scalars(ids))
            connection.execute(
                sa.delete(tables.person_key).where(tables.person_key.c.person_id.in_(gone))
            )

    lose(6)
    place.backup(keys_only=True)
    lose(5)
    place.backup(keys_only=True)
    lose(6)
    with pytest.raises(ConfigurationError, match="6 of 13 persons"):
        place.backup(keys_only=True)


def test_keys_that_are_older_than_the_data_are_refused_unless_wanted(place, people, other_url):
    first = place.backup()
    old_keys = place.folder / "old-keys.tar.gz"
    old_keys.write_bytes(first.keys.read_bytes())
    add_person(place.store)
    second = place.backup()
    with pytest.raises(ConfigurationError, match="older than the data"):
        place.restore(other_url, second.data, old_keys)
    restored = place.restore(other_url, second.data, old_keys, accept_older_keys=True)
    assert (restored.persons, restored.erased) == (3, 1)


def test_old_data_open_after_keys_were_rotated_and_the_old_one_retired(
    place, people, other_url, monkeypatch
):
    old = place.backup()
    rotation = KeyRotation(place.store, place.key_file, settle_s=0)
    middle = rotation.rotate(actor="cli", progress=nothing).key_id
    between = place.backup()
    rotation.rotate(actor="cli", progress=nothing)
    with place.store.database.write() as connection:
        connection.execute(sa.delete(tables.audit).filter_by(key_id=middle))
    rotation.retire(middle, actor="cli")
    place.backup(keys_only=True)
    del old
    restored = place.restore(other_url, between.data)
    assert (restored.persons, restored.unreadable, restored.erased) == (3, 0, 0)
    there = open_store(other_url, place.folder / "new.key")
    try:
        assert there.people.find_person([Identifier("card", "S0000001")]) == people[1]
    finally:
        there.close()


def positions(size):
    return [12, size // 4, size // 2, size * 3 // 4, size - 2]


def is_damage(content, whole):
    """Say whether other bytes unpack to anything else: a code that is not used may change."""
    try:
        return gzip.decompress(content) != gzip.decompress(whole)
    except (OSError, EOFError, zlib.error):
        return True


def test_damaged_archive_is_refused_before_anything_is_written(place, people, other_url):
    report = place.backup(verify=False)
    for path in (report.data, report.keys):
        whole = path.read_bytes()
        broken = [whole[:cut] for cut in positions(len(whole))]
        for position in positions(len(whole)):
            flipped = bytearray(whole)
            flipped[position] ^= 0x10
            if is_damage(bytes(flipped), whole):
                broken.append(bytes(flipped))
        broken += [b"", b"not an archive", gzip.compress(b"x" * 600)]
        for content in broken:
            path.write_bytes(content)
            with pytest.raises(ConfigurationError):
                place.restore(other_url, report.data)
            assert not (place.folder / "new.key").exists()
        path.write_bytes(whole)
    assert is_empty(other_url)
    place.restore(other_url, report.data)


def repack(path, change):
    """Write an archive anew, its members changed."""
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info, content in change(members):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(out.getvalue())


def renamed(name):
    def change(members):
        info = tarfile.TarInfo(name)
        return [(info, b"x"), *members]

    return change


def linked(members):
    info = tarfile.TarInfo("person.jsonl")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return [(info, b""), *(m for m in members if m[0].name != "person.jsonl")]


def forged(members):
    """Change a row and its digest in the manifest, as who has no key would."""
    import hashlib

    changed = {}
    for info, content in members:
        new = content
        if info.name == "person.jsonl":
            new = content.replace(b"student", b"teacher")
            changed[info.name] = hashlib.sha256(new).hexdigest()
        if info.name == "manifest.json":
            manifest = json.loads(content)
            for member in manifest["members"]:
                member["sha256"] = changed.get(member["name"], member["sha256"])
            new = json.dumps(manifest).encode()
        yield info, new


@pytest.mark.parametrize(
    "change",
    [
        renamed("../evil.jsonl"), renamed("/etc/cron.d/x"), renamed("onecard.sh"), linked, forged,
        renamed("person.jsonl"),
        lambda members: [m for m in members if m[0].name != "person.jsonl"],
        lambda members: [m for m in members if m[0].name != "manifest.json"],
        lambda members: [*members, members[-1]],
    ],
    ids=["climbs", "absolute", "stranger", "link", "forged", "twice", "missing", "no manifest",
         "two manifests"],
)  # fmt: skip
def test_archive_with_other_members_is_refused(place, people, tmp_path, change):
    report = place.backup(verify=False)
    repack(report.data, change)
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    with pytest.raises(ConfigurationError):
        place.restore(url, report.data)
    assert not (tmp_path / "fresh.db").exists()
    assert not (place.folder / "new.key").exists()


def test_what_is_there_is_never_replaced(place, people, store_url, other_url):
    report = place.backup()
    with pytest.raises(ConfigurationError, match="not empty"):
        place.restore(store_url, report.data)
    Keyring.generate().save(place.folder / "new.key")
    with pytest.raises(ConfigurationError, match="key file"):
        place.restore(other_url, report.data)
    assert is_empty(other_url)
    restored = place.restore(other_url, report.data, key_file=place.key_file)
    assert not restored.key_file_written


def test_tables_with_nothing_but_the_configured_libraries_are_empty(place, people, other_url):
    from zoneinfo import ZoneInfo

    from connector.domain.library import Library

    report = place.backup()
    upgrade_database(other_url)
    Keyring.load(place.key_file).save(place.folder / "new.key")
    there = open_store(other_url, place.folder / "new.key")
    there.institutions.save([Library(FDX, "丰都县图书馆", ZoneInfo("Asia/Shanghai"))])
    there.close()
    assert place.restore(other_url, report.data).is_sound


def test_keys_and_data_of_two_installations_do_not_fit(place, people, other_url, tmp_path):
    report = place.backup()
    second = tmp_path / "second"
    second.mkdir()
    Keyring.generate().save(second / "onecard.key")
    url = f"sqlite:///{second / 'second.db'}"
    upgrade_database(url)
    store = open_store(url, second / "onecard.key", now=place.store.work.now)
    try:
        theirs = Place(second, store)
        foreign = theirs.backup()
        with pytest.raises(ConfigurationError, match="other keys"):
            place.restore(other_url, report.data, foreign.keys)
        theirs.keys_dir = place.keys_dir
        with pytest.raises(ConfigurationError, match="another installation"):
            theirs.backup()
    finally:
        store.close()
    assert place.restore(other_url, report.data).is_sound


@pytest.mark.parametrize(("data", "keys"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_data_and_keys_in_one_place_are_refused(place, data, keys):
    place.data_dir, place.keys_dir = place.folder / data, place.folder / keys
    with pytest.raises(ConfigurationError, match="two folders"):
        place.backup()


def test_backup_of_the_first_release_is_restored_and_upgraded(
    place, store_url, other_url, monkeypatch
):
    add_people(place.store)
    downgrade_database(store_url, "0001")
    monkeypatch.setattr(backup_module, "newest_revision", lambda: "0001")
    old = sa.MetaData()
    with place.store.database.read() as connection:
        there = {
            table: {column["name"] for column in sa.inspect(connection).get_columns(table)}
            for table in sa.inspect(connection).get_table_names()
        }
    for table in tables.metadata.sorted_tables:
        if table.name in there:
            sa.Table(table.name, old, *(
                sa.Column(c.name, c.type, primary_key=c.primary_key)
                for c in table.columns if c.name in there[table.name]
            ))  # fmt: skip
    order = [t for t in tables.metadata.sorted_tables if t.name in there and t.name != "person_key"]
    monkeypatch.setattr(backup_module, "_DATA_TABLES", tuple(old.tables[t.name] for t in order))
    report = place.backup(verify=False)
    monkeypatch.undo()
    restored = place.restore(other_url, report.data)
    assert (restored.revision, restored.persons, restored.is_sound) == ("0001", 3, True)
    assert check_database(other_url).is_current


def test_backup_of_a_newer_release_is_refused(place, people, other_url, monkeypatch):
    monkeypatch.setattr(backup_module, "_revision", lambda connection: "9999")
    report = place.backup(verify=False)
    with pytest.raises(ConfigurationError, match="newer release"):
        place.restore(other_url, report.data)
    assert is_empty(other_url)


def test_database_of_another_release_is_not_saved(place, store_url):
    downgrade_database(store_url, "0001")
    with pytest.raises(ConfigurationError, match="another release"):
        place.backup()


def test_backup_is_of_one_moment(place, people, other_url, monkeypatch):
    """Whoever is added while it runs is in neither archive."""
    real = backup_module.read_rows
    added = []

    def read_rows(connection, table, columns, key):
        if table == "person" and not added:
            added.append(add_person(place.store))
        return real(connection, table, columns, key)

    monkeypatch.setattr(backup_module, "read_rows", read_rows)
    report = place.backup()
    assert added
    assert report.is_sound
    assert (report.tables["person"], report.persons) == (3, 3)


KILLED = """
import sys, os, signal
from pathlib import Path
from connector.storage import backup
from connector.storage.store import open_store
url, folder, step = sys.argv[1:]
folder = Path(folder)
real, count = backup.publish, []
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "finished":
    backup.publish = die
elif step == "between":
    def publish(part, path):
        real(part, path)
        die()
    backup.publish = publish
else:
    rows = backup.read_rows
    def read_rows(connection, table, columns, key):
        if table == "school": die()
        return rows(connection, table, columns, key)
    backup.read_rows = read_rows
store = open_store(url, folder / "onecard.key")
backup.make_backup(store, folder / "onecard.key", data_dir=folder / "data",
    keys_dir=folder / "keys", verify=True, progress=lambda d, t: None)
"""


@pytest.mark.parametrize("step", ["half", "finished", "between"])
def test_killed_backup_leaves_the_former_one(place, people, store_url, other_url, step):
    former = place.backup()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, store_url, str(place.folder), step],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in place.data_dir.glob("*.tar.gz")] == [former.data.name]
    assert list(place.data_dir.glob("*.part")) + list(place.keys_dir.glob("*.part"))
    assert place.restore(other_url, former.data).is_sound
    again = place.backup()
    assert again.is_sound
    assert not list(place.data_dir.glob("*.part")) + list(place.keys_dir.glob("*.part"))
    assert not (place.data_dir / ".onecard-verify").exists()


def test_killed_restore_leaves_an_empty_database(place, people, tmp_path):
    report = place.backup()
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from connector.storage import restore\n"
        "restore.set_sequences = lambda c: os.kill(os.getpid(), signal.SIGKILL)\n"
        "restore.restore_backup(sys.argv[1], Path(sys.argv[2]), data=Path(sys.argv[3]),\n"
        "    keys=Path(sys.argv[4]), actor='cli', progress=lambda d, t: None)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, url, str(tmp_path / "new.key"), str(report.data), str(report.keys)],
        cwd=ROOT, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert check_database(url).found is None
    assert place.restore(url, report.data).is_sound


def test_one_backup_at_a_time(place, people):
    place.backup()
    with backup_module._turn(place.keys_dir), pytest.raises(ConfigurationError, match="Another"):
        place.backup()


def test_failed_backup_leaves_nothing_behind(place, people, monkeypatch):
    def fail(*_, **__):
        raise ConfigurationError("x")

    monkeypatch.setattr(backup_module, "verify_archives", fail)
    with pytest.raises(ConfigurationError):
        place.backup()
    assert not list(place.data_dir.glob("*tar*")) + list(place.keys_dir.glob("*tar*"))


def test_library_systems_file_is_copied_while_it_is_used(tmp_path):
    import sqlite3

    source = tmp_path / "local.db"
    connection = sqlite3.connect(source)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    copy_sqlite(source, tmp_path / "copy.db")
    connection.close()
    copied = sqlite3.connect(tmp_path / "copy.db")
    assert copied.execute("SELECT a FROM t").fetchall() == [(1,)]
    copied.close()
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError):
        copy_sqlite(tmp_path / "absent.db", tmp_path / "copy2.db")
    assert not [path for path in tmp_path.iterdir() if "copy2" in path.name]


def test_archives_hold_nothing_readable(place, people):
    report = place.backup()
    content = gzip.decompress(report.data.read_bytes())
    for secret in secrets_of():
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "gb18030"):
            assert secret.encode(encoding) not in content
        assert json.dumps(secret)[1:-1].encode() not in content
    for key in json.loads(place.key_file.read_text())["keys"].values():
        assert key.encode() not in content
