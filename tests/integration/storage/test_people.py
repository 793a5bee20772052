"""People on both databases: identifiers, accounts, standing, encryption, erasure, key rotation."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import NotFound, StorageConflict
from connector.ports.store import PersonalData
from connector.storage.store import Store

FDX, WZX = InstitutionId("FDX"), InstitutionId("WZX")
DATA = PersonalData(
    name="张晓明",
    id_number="500230201503010015",
    phone="13800000000",
    guardian_name="张建国",
    guardian_phone="13900000000",
    birth_date=date(2015, 3, 1),
)
CARD = Identifier("card", "S0001")
ID_CARD = Identifier("id_card", "500230201503010015")


def add(store: Store, *identifiers: Identifier) -> PatronId:
    return store.people.add_person(
        DATA,
        identifiers or (CARD, ID_CARD),
        home=FDX,
        category="student",
        stage="primary",
        state=StandingState.ACTIVE,
    )


def test_s24_any_number_of_a_person_resolves_to_the_same_standing(store):
    patron_id = add(store)
    store.people.set_account(patron_id, FDX, IlsPatronId("A-77"))
    by_card = store.people.resolve([CARD], FDX)
    by_id = store.people.resolve([ID_CARD], FDX)
    assert (by_card.patron_id, by_card.ils_patron) == (patron_id, "A-77")
    assert (by_card.scanned_kind, by_id.scanned_kind) == ("card", "id_card")
    assert by_id.patron_id == patron_id
    assert (by_card.category, by_card.home, by_card.stage) == ("student", FDX, "primary")


def test_account_belongs_to_one_library(store):
    patron_id = add(store)
    store.people.set_account(patron_id, FDX, IlsPatronId("A-77"))
    assert store.people.resolve([CARD], WZX).ils_patron is None
    store.people.set_account(patron_id, WZX, IlsPatronId("V-1"), kind="visiting")
    store.people.set_account(patron_id, WZX, IlsPatronId("V-2"), kind="visiting")
    assert store.people.find_standing(patron_id, WZX).ils_patron == "V-2"
    assert store.people.find_standing(patron_id, FDX).ils_patron == "A-77"


def test_account_that_has_ended_is_none(store):
    patron_id = add(store)
    store.people.set_account(patron_id, FDX, IlsPatronId("A-77"), expires=date(2026, 11, 20))
    assert store.people.find_standing(patron_id, FDX).ils_patron is None
    store.people.set_account(patron_id, FDX, IlsPatronId("A-77"), expires=date(2026, 11, 21))
    assert store.people.find_standing(patron_id, FDX).ils_patron == "A-77"


def test_unknown_number_resolves_to_nobody(store):
    add(store)
    assert store.people.resolve([Identifier("card", "S0002")], FDX) is None
    assert store.people.resolve([Identifier("ssc", "S0001")], FDX) is None
    assert store.people.resolve([], FDX) is None
    assert store.people.find_standing(PatronId("nobody"), FDX) is None
    assert store.people.find_person([Identifier("card", "S0002")]) is None


def test_first_number_in_the_callers_order_decides(store):
    first = add(store, CARD)
    second = add(store, Identifier("old_card", "S0001"))
    old = Identifier("old_card", "S0001")
    assert store.people.resolve([CARD, old], FDX).patron_id == first
    assert store.people.resolve([old, CARD], FDX).patron_id == second


def test_number_of_another_person_is_a_conflict_and_leaves_nothing(store):
    add(store)
    with pytest.raises(StorageConflict):
        add(store, Identifier("card", "S0002"), ID_CARD)
    assert store.people.find_person([Identifier("card", "S0002")]) is None
    assert store.database.fetch("SELECT COUNT(*) FROM person", ())[0][0] == 1


def test_number_can_be_added_twice_to_the_same_person_only(store):
    patron_id = add(store, CARD)
    other = add(store, Identifier("card", "S0002"))
    ssc = Identifier("ssc", "5002300001")
    store.people.add_identifier(patron_id, ssc)
    store.people.add_identifier(patron_id, ssc)
    with pytest.raises(StorageConflict):
        store.people.add_identifier(other, ssc)
    assert store.people.find_person([ssc]) == patron_id
    with pytest.raises(NotFound):
        store.people.add_identifier(PatronId("nobody"), ssc)


def test_s34_lost_card_is_dead_and_the_id_card_still_works(store):
    patron_id = add(store)
    assert store.people.retire_identifier(patron_id, CARD)
    assert not store.people.retire_identifier(patron_id, CARD)
    assert store.people.resolve([CARD], FDX).is_retired
    for scanned in ([ID_CARD], [CARD, ID_CARD]):
        found = store.people.resolve(scanned, FDX)
        assert (found.patron_id, found.is_retired) == (patron_id, False)
    assert store.people.find_person([CARD]) == patron_id


def test_personal_data_come_back_and_are_not_in_the_database(store, store_url):
    patron_id = add(store)
    assert store.people.fetch_personal(patron_id) == DATA
    changed = PersonalData(name="张小明", phone="13700000000")
    store.people.update_personal(patron_id, changed)
    assert store.people.fetch_personal(patron_id) == changed
    stored = b"".join(
        repr(tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)).encode()
        for table in ("person", "identifier", "person_key", "audit", "event")
        for row in store.database.fetch(f"SELECT * FROM {table}", ())
    )
    for secret in ("张晓明", "张小明", "500230201503010015", "13700000000", "S0001", "2015-03-01"):
        assert secret.encode() not in stored
        assert repr(secret.encode())[2:-1].encode() not in stored


def test_ciphertext_moved_to_another_person_or_column_does_not_open(store):
    one = add(store, CARD)
    two = add(store, Identifier("card", "S0002"))
    from connector.errors import StorageUnavailable

    with store.work.begin() as unit:
        unit.fetch("SELECT 1", ())
        unit.connection.exec_driver_sql("UPDATE person SET phone = name")
    with pytest.raises(StorageUnavailable):
        store.people.fetch_personal(one)
    store.people.update_personal(one, DATA)
    store.people.update_personal(two, DATA)
    with store.work.begin() as unit:
        unit.connection.exec_driver_sql(
            f"UPDATE person SET name = (SELECT name FROM person WHERE person_id = '{two}') "
            f"WHERE person_id = '{one}'"
        )
    with pytest.raises(StorageUnavailable):
        store.people.fetch_personal(one)


def test_erasure_destroys_the_key_and_every_trace(store):
    patron_id = add(store)
    store.people.set_account(patron_id, FDX, IlsPatronId("A-77"))
    (sealed,) = store.database.fetch("SELECT name FROM person", ())
    store.people.erase_person(patron_id, actor="cli")
    for sql in (
        "SELECT COUNT(*) FROM person_key",
        "SELECT COUNT(*) FROM identifier",
        "SELECT COUNT(*) FROM ils_account",
        "SELECT COUNT(*) FROM person WHERE name IS NOT NULL OR phone IS NOT NULL",
    ):
        assert store.database.fetch(sql, ())[0][0] == 0
    assert len(sealed[0]) > 0
    with pytest.raises(NotFound):
        store.people.fetch_personal(patron_id)
    assert store.people.resolve([CARD], FDX) is None
    assert store.people.find_standing(patron_id, FDX) is None
    with pytest.raises(NotFound):
        store.people.erase_person(patron_id, actor="cli")
    add(store)


def test_person_with_loans_out_is_not_erased(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1")
    with pytest.raises(StorageConflict):
        scene.store.people.erase_person(patron_id, actor="cli")
    scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=scene.clock())
    scene.store.people.erase_person(patron_id, actor="cli")
    assert scene.ledger.fetch_loan(loan.loan_id) is None
    assert scene.rows("SELECT COUNT(*) FROM event WHERE person_id IS NOT NULL") == [(0,)]


def test_after_rotation_old_numbers_are_found_and_old_data_open(store, store_url, clock):
    patron_id = add(store)
    rotated = store.keyring.rotate()
    later = Store(store_url, rotated, now=clock)
    try:
        assert later.people.resolve([ID_CARD], FDX).patron_id == patron_id
        assert later.people.fetch_personal(patron_id) == DATA
        with pytest.raises(StorageConflict):
            add(later, ID_CARD)
        assert later.people.rewrap_keys() == 1
        assert later.people.rewrap_keys() == 0
        assert later.people.fetch_personal(patron_id) == DATA
        assert later.keyring.pseudonym(patron_id) == store.keyring.pseudonym(patron_id)
        assert later.audit.verify()[0]
    finally:
        later.close()


def test_state_expiry_and_violations_are_part_of_the_standing(store):
    patron_id = add(store)
    store.people.set_state(patron_id, StandingState.BLOCKED, expires=date(2027, 7, 1))
    store.people.set_state(patron_id, StandingState.ACTIVE)
    now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    violation = store.violations.add_violation(patron_id, "damage", set_by="staff1", now=now)
    standing = store.people.resolve([CARD], FDX)
    assert (standing.state, standing.expires) == (StandingState.ACTIVE, date(2027, 7, 1))
    assert standing.violations == 1
    (listed,) = store.violations.list_violations(patron_id)
    assert (listed.violation_id, listed.kind, listed.set_at) == (violation, "damage", now)
    store.violations.lift_violation(violation, lifted_by="staff2", now=now)
    store.violations.lift_violation(violation, lifted_by="staff3", now=now)
    assert store.people.resolve([CARD], FDX).violations == 0
    assert store.violations.list_violations() == ()
    (row,) = store.database.fetch("SELECT lifted_by FROM violation", ())
    assert row[0] == "staff2"


def test_violation_of_nobody_is_not_found(store):
    now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    with pytest.raises(NotFound):
        store.violations.add_violation(PatronId("nobody"), "damage", set_by="staff1", now=now)
    with pytest.raises(NotFound):
        store.violations.lift_violation("none", lifted_by="staff1", now=now)
