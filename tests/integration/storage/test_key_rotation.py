"""A new installation key on both databases: nothing is lost, nobody is a stranger meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

from connector.domain.ids import Identifier, IlsPatronId, InstitutionId
from connector.errors import ConfigurationError, StorageConflict
from connector.ports.store import PersonalData
from connector.storage import key_rotation
from connector.storage.crypto import Keyring
from connector.storage.key_rotation import KeyRotation, locked_key_file
from connector.storage.repositories import person_rows
from connector.storage.store import Store, open_store

FDX = InstitutionId("FDX")
ID_NUMBER = "500230201503010015"
SETTLE_S = 0.2


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("connector.storage.crypto.CHECK_EVERY_S", 0.03)
    monkeypatch.setattr("connector.storage.key_rotation._BATCH", 3)


@pytest.fixture
def key_file(tmp_path):
    return tmp_path / "onecard.key"


@pytest.fixture
def rotation(store, key_file):
    return KeyRotation(store, key_file, settle_s=SETTLE_S)


@pytest.fixture
def other(store_url, key_file, store, clock):
    """Give the same database as a process that runs on has it."""
    opened = Store(store_url, Keyring.load(key_file), now=clock)
    yield opened
    opened.close()


def card(number):
    return Identifier("card", f"S{number:04d}")


def add(store, number, *more, id_number=""):
    return store.people.add_person(
        PersonalData(name=f"张晓{number}", id_number=id_number),
        [card(number), *more],
        home=FDX,
        category="student",
    )


def rotate(rotation):
    return rotation.rotate(actor="cli", progress=lambda done, total: None)


def change(store, sql):
    with store.database.write() as connection:
        connection.exec_driver_sql(sql)


def key_ids(store, table):
    return {row[0] for row in store.database.fetch(f"SELECT DISTINCT key_id FROM {table}", ())}


def test_everything_is_under_the_new_key_and_opens(store, rotation, key_file, store_url):
    people = {add(store, number): number for number in range(8)}
    dead = next(iter(people))
    store.people.retire_identifier(dead, card(0))
    (before,) = Keyring.load(key_file).key_ids
    report = rotate(rotation)
    assert (report.is_new, report.persons, report.identifiers, report.unreadable) == (True, 8, 8, 0)
    assert report.key_id == store.keyring.active != before
    assert key_ids(store, "person_key") == key_ids(store, "identifier") == {report.key_id}
    for patron_id, number in people.items():
        assert store.people.fetch_personal(patron_id).name == f"张晓{number}"
        assert store.people.list_identifiers(patron_id)[0][0] == card(number)
        assert store.people.find_person([card(number)]) == patron_id
    assert store.people.list_identifiers(dead)[0][1] is not None, "a lost card stays dead"
    assert [entry.subject for entry in store.audit.search(action="keys.rotated")] == [report.key_id]
    assert store.audit.verify()[0]
    open_store(store_url, key_file).close()


def test_process_that_runs_on_knows_everybody_all_the_time(store, rotation, other):
    people = {card(number): add(store, number) for number in range(20)}
    strangers, rounds, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            rounds.append(1)
            for identifier, patron_id in people.items():
                found = other.people.resolve([identifier], FDX)
                if found is None or found.patron_id != patron_id:
                    strangers.append(identifier)
                other.people.fetch_personal(patron_id)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        report = rotate(rotation)
    finally:
        stop.set()
        asking.join()
    assert strangers == []
    assert len(rounds) > 2
    assert other.keyring.active == report.key_id
    assert other.people.find_person([card(3)]) == people[card(3)]
    late = add(other, 77)
    assert store.people.find_person([card(77)]) == late


def test_number_stored_by_a_process_that_learnt_last_is_made_anew_too(
    store, rotation, key_file, store_url, clock, monkeypatch
):
    add(store, 1)
    slow = Store(store_url, Keyring.parse(key_file.read_text(), "x"), now=clock)
    real, added = time.sleep, []

    def sleep(seconds):
        real(seconds)
        if len(added) < 2:
            added.append(add(slow, 50 + len(added)))

    monkeypatch.setattr(key_rotation.time, "sleep", sleep)
    try:
        report = rotate(rotation)
    finally:
        slow.close()
    assert len(added) == 2
    assert key_ids(store, "identifier") == key_ids(store, "person_key") == {report.key_id}


@pytest.mark.parametrize("step", ["staged", "active", "half"])
def test_run_that_was_killed_is_finished_by_the_next_without_a_further_key(
    store, rotation, key_file, step, monkeypatch
):
    people = [add(store, number) for number in range(8)]

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    if step == "staged":
        monkeypatch.setattr(key_rotation.time, "sleep", die)
    elif step == "active":
        monkeypatch.setattr(rotation, "_make_anew", lambda **_: die())
    else:
        batches = iter([3])
        real = store.people.rewrap_keys
        monkeypatch.setattr(
            store.people,
            "rewrap_keys",
            lambda limit: real(limit=limit) if next(batches, 0) else die(),
        )
    with pytest.raises(Killed):
        rotate(rotation)
    monkeypatch.undo()
    for number, patron_id in enumerate(people):
        assert store.people.find_person([card(number)]) == patron_id
        assert store.people.fetch_personal(patron_id).name == f"张晓{number}"
    report = rotate(KeyRotation(store, key_file, settle_s=0))
    assert len(Keyring.load(key_file).key_ids) == 2
    assert Keyring.load(key_file).staged == ""
    assert key_ids(store, "identifier") == key_ids(store, "person_key") == {report.key_id}


def test_numbers_of_the_first_release_are_read_from_what_is_known(store, rotation):
    patron_id = add(store, 1, Identifier("id_card", ID_NUMBER), Identifier("ssc", "5002300001"),
                    id_number=ID_NUMBER)  # fmt: skip
    store.people.set_account(patron_id, FDX, IlsPatronId("S0001"))
    change(store, "UPDATE identifier SET sealed = NULL")
    old = store.keyring.active
    report = rotate(rotation)
    assert (report.identifiers, report.unreadable) == (2, 1)
    assert {i.kind: i.value for i, _ in store.people.list_identifiers(patron_id)} == {
        "card": "S0001", "id_card": ID_NUMBER, "ssc": "",
    }  # fmt: skip
    ssc = Identifier("ssc", "5002300001")
    assert store.people.find_person([ssc]) == patron_id
    uses = {use.key_id: use for use in rotation.list_uses()}
    assert (uses[old].identifiers, uses[old].persons, uses[old].role) == (1, 0, "old")
    again = rotate(rotation)
    assert again.is_new, "what cannot be read does not hold up the next rotation"
    assert store.people.find_person([ssc]) == patron_id


def test_number_that_was_altered_keeps_its_digest_and_holds_nothing_up(store, rotation):
    one, two = add(store, 1), add(store, 2)
    change(store, f"UPDATE identifier SET kind = 'ssc' WHERE person_id = '{one}'")
    report = rotate(rotation)
    assert (report.identifiers, report.unreadable) == (1, 1)
    assert store.people.find_person([card(2)]) == two


def test_same_number_is_not_given_out_twice_by_processes_with_different_keys(
    store, store_url, clock
):
    staged = store.keyring.stage()
    before = Store(store_url, staged, now=clock)
    after = Store(store_url, staged.activate_staged(), now=clock)
    taken, refused = [], []

    def give():
        try:
            taken.append(add(after, 9))
        except StorageConflict:
            refused.append(1)

    second = threading.Thread(target=give)
    try:
        with before.work.begin() as unit:
            person_rows.add_person(
                unit, PersonalData(name="张晓"), [card(9)], home=FDX, category="student"
            )
            second.start()
            second.join(timeout=0.5)
        second.join()
    finally:
        before.close()
        after.close()
    assert (taken, refused) == ([], [1])


def test_uses_say_what_a_key_protects_and_what_is_needed_is_not_retired(store, rotation):
    patron_id = add(store, 1)
    store.enrolment.erase_applicant(
        add(store, 2), refused=[Identifier("id_card", ID_NUMBER)], actor="cli", now=store.work.now()
    )
    first = store.keyring.active
    (use,) = rotation.list_uses()
    assert (use.role, use.is_lasting, use.persons, use.identifiers, use.refusals) == (
        "active", True, 1, 1, 1,
    )  # fmt: skip
    second = rotate(rotation).key_id
    third = rotate(rotation).key_id
    uses = {use.key_id: use for use in rotation.list_uses()}
    assert (uses[first].refusals, uses[first].persons, uses[third].persons) == (1, 0, 1)
    for key_id, why in (
        (third, "active key"), (first, "1 refusals"), (second, "audit entries"), ("k0", "no key k0"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=why):
            rotation.retire(key_id, actor="cli")
    change(store, f"DELETE FROM audit WHERE key_id = '{second}'")
    rotation.retire(second, actor="cli")
    assert set(store.keyring.key_ids) == {first, third}
    assert store.people.find_person([card(1)]) == patron_id
    with pytest.raises(ConfigurationError, match="for good"):
        rotation.retire(first, actor="cli")


def test_two_rotations_at_once_would_lose_a_key_and_are_refused(rotation, key_file):
    with locked_key_file(key_file), pytest.raises(ConfigurationError, match="Another program"):
        rotate(rotation)
    assert rotate(rotation).is_new


def test_key_file_of_another_installation_or_a_damaged_one_is_not_taken_over(
    store, other, key_file
):
    patron_id = add(store, 1)
    good = key_file.read_text()
    for bad in ("nonsense", Keyring.generate().to_text()):
        key_file.write_text(bad)
        time.sleep(0.05)
        assert other.people.find_person([card(1)]) == patron_id
    key_file.write_text(good)
    time.sleep(0.05)
    assert other.people.fetch_personal(patron_id).name == "张晓1"


def test_key_that_a_database_needs_and_the_file_has_not_is_refused(store, store_url, tmp_path):
    add(store, 1)
    Keyring.generate().save(tmp_path / "other.key")
    with pytest.raises(ConfigurationError, match="does not belong"):
        open_store(store_url, tmp_path / "other.key")
