"""Numbers that are sealed beside their digests, on both databases."""

from __future__ import annotations

import pytest

from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.errors import NotFound, StorageUnavailable
from connector.ports.store import PersonalData

FDX = InstitutionId("FDX")
CARD, STUDENT_NO = Identifier("card", "S0001"), Identifier("student_no", "G500230201503010015")


def add(store, *identifiers):
    return store.people.add_person(
        PersonalData(name="张晓明"), identifiers, home=FDX, category="student"
    )


def change(store, sql):
    with store.database.write() as connection:
        connection.exec_driver_sql(sql)


def test_numbers_come_back_with_the_moment_since_when_they_are_dead(store):
    patron_id = add(store, CARD)
    store.people.add_identifier(patron_id, STUDENT_NO)
    assert store.people.list_identifiers(patron_id) == ((CARD, None), (STUDENT_NO, None))
    store.people.retire_identifier(patron_id, CARD)
    (card, retired_at), _ = store.people.list_identifiers(patron_id)
    assert card == CARD
    assert retired_at is not None


def test_number_of_the_first_release_is_told_by_its_kind(store):
    patron_id = add(store, CARD)
    change(store, "UPDATE identifier SET sealed = NULL")
    assert store.people.list_identifiers(patron_id) == ((Identifier("card", ""), None),)


def test_sealed_number_opens_with_its_person_and_kind_only(store):
    one = add(store, CARD)
    two = add(store, STUDENT_NO)
    change(store, "UPDATE identifier SET kind = 'student_no'")
    with pytest.raises(StorageUnavailable):
        store.people.list_identifiers(one)
    change(store, "UPDATE identifier SET kind = 'card'")
    assert store.people.list_identifiers(one) == ((CARD, None),)
    source = f"SELECT sealed FROM identifier WHERE person_id = '{two}'"
    change(store, f"UPDATE identifier SET sealed = ({source}) WHERE person_id = '{one}'")
    with pytest.raises(StorageUnavailable):
        store.people.list_identifiers(one)


def test_erased_person_has_no_numbers_and_gets_none(store):
    patron_id = add(store, CARD)
    store.people.erase_person(patron_id, actor="cli")
    for act in (
        lambda: store.people.list_identifiers(patron_id),
        lambda: store.people.add_identifier(patron_id, CARD),
        lambda: store.people.list_identifiers(PatronId("nobody")),
    ):
        with pytest.raises(NotFound):
            act()
