"""What is held about one person, what erasing leaves, and what retention removes, on both
databases.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from connector.domain.closing import ClosingReason
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import NotFound, StorageConflict
from connector.ports.privacy import RetentionRule
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.services.privacy_words import LANGUAGES, words_in
from connector.storage import tables
from connector.storage.repositories.erasing import CLEARED, DELETED
from connector.storage.repositories.privacy import IMPERSONAL, INDIRECT, PERSON_TABLES
from connector.storage.store import Store
from tests.support.full_person import DATA, IDENTIFIERS, MARKS, SEALED, FullPerson, read_texts

LIB = InstitutionId("LIB")


@pytest.fixture
def full(store, clock):
    person = FullPerson(store, clock)
    person.defer(person.lend("B1"))
    return person


def close_account(store, clock, patron_id, *, step=""):
    """Bring a person where the sweep has closed his account and keeps him."""
    store.people.set_state(patron_id, StandingState.EXPIRED)
    with store.work.begin() as unit:
        unit.connection.execute(
            update(tables.person)
            .where(tables.person.c.person_id == patron_id)
            .values(
                closing=ClosingReason.LEFT.value,
                closing_step=step,
                closing_at=clock(),
            )
        )


# --- nothing is forgotten ---------------------------------------------------------------------


def test_every_table_is_known_to_export_and_to_erasure():
    direct = {table.name for table in PERSON_TABLES}
    known = direct | set(INDIRECT) | IMPERSONAL
    assert known == set(tables.metadata.tables), "say in repositories/privacy.py what it holds"
    assert len(direct) + len(INDIRECT) + len(IMPERSONAL) == len(known)
    handled = [table.name for table in (*DELETED, *CLEARED)]
    assert sorted(handled) == sorted(direct), "say in repositories/erasing.py what erasing does"


def test_everything_that_refers_to_a_person_is_found_by_its_name():
    for table in tables.metadata.tables.values():
        refers = {
            column.name for column in table.c for key in column.foreign_keys
            if key.column is tables.person.c.person_id
        }  # fmt: skip
        assert refers <= {"person_id"}, f"{table.name} refers to a person by another name"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_table_and_column_has_its_words(lang):
    words = words_in(lang)
    shown = [*PERSON_TABLES, *(tables.metadata.tables[name] for name in INDIRECT)]
    assert set(words.tables) == {table.name for table in shown}
    secret = {"key_id", "wrapped", "sealed", "digest", "data_digest", "mac"}
    for table in shown:
        missing = {column.name for column in table.c} - words.columns - secret
        assert not missing, f"{table.name}: {missing} in privacy_words.toml"
        for part in ("title", "purpose", "kept"):
            blanks = dict.fromkeys(("loans", "people", "refusals", "audit", "outbox", "tasks"), 1)
            assert words.about_table(table.name, part, **blanks) != table.name
    for rule in RetentionRule:
        assert words("rules", rule.value) != rule.value


def test_full_person_has_a_row_in_every_table(store, full):
    held = store.privacy.collect_records(full.patron_id)
    without = {name for name, rows in held.tables.items() if not rows}
    assert without == {"refusal"}


def test_collected_records_are_opened_and_hold_no_key(store, full):
    held = store.privacy.collect_records(full.patron_id)
    (person,) = held.tables["person"]
    assert PersonalData(**{name: person[name] for name in PersonalData.__slots__}) == DATA
    numbers = {(row["kind"], row["value"]) for row in held.tables["identifier"]}
    assert numbers == {(identifier.kind, identifier.value) for identifier in IDENTIFIERS}
    assert {row["verb"] for row in held.tables["event"]} == {"checkout"}
    assert {row["action"] for row in held.tables["audit"]} >= {
        "person.added", "consent.given", "enrolment.entered", "loan.checkout", "task.opened",
    }  # fmt: skip
    assert full.school_id in held.names
    for rows in held.tables.values():
        for row in rows:
            assert not any(isinstance(value, bytes) for value in row.values())
    assert repr(held).count(DATA.name) == 0


def test_a_refusal_of_the_same_child_is_found(store, full):
    digests = store.keyring.refusal_digests(Identifier("id_card", DATA.id_number))
    with store.work.begin() as unit:
        for key_id, digest in digests:
            unit.connection.execute(
                insert(tables.refusal).values(
                    digest=digest, key_id=key_id, institution=LIB, refused_at=unit.now
                )
            )
    (refusal,) = store.privacy.collect_records(full.patron_id).tables["refusal"]
    assert "digest" not in refusal


def test_records_of_another_person_are_not_collected(store, clock, full):
    other = store.people.add_person(
        PersonalData(name="李不同"), [Identifier("card", "S9")], home=LIB, category="student"
    )
    held = store.privacy.collect_records(other)
    assert {name for name, rows in held.tables.items() if rows} == {
        "person", "person_key", "identifier", "audit",
    }  # fmt: skip
    with pytest.raises(NotFound):
        store.privacy.collect_records(PatronId("nobody"))
    assert store.privacy.find_person(PatronId("nobody")) is None


# --- erasing ------------------------------------------------------------------------------------


def test_erasing_leaves_no_value_anywhere(store, full):
    before = list(read_texts(store))
    for mark in MARKS:
        if mark not in SEALED and mark != "2015-03-01":
            assert any(mark in text for _, text in before), mark
    assert store.privacy.find_person(full.patron_id).unclosed_loans == 1
    with pytest.raises(StorageConflict):
        store.people.erase_person(full.patron_id, actor="clerk")
    full.give_back("B1")
    pseudonym = store.keyring.pseudonym(full.patron_id)
    assert any(text == pseudonym for _, text in read_texts(store))
    store.people.erase_person(full.patron_id, actor="clerk")
    for place, text in read_texts(store):
        for mark in MARKS:
            assert mark not in text, f"{place} still holds what should be gone"
        assert text != pseudonym, place
    left = store.privacy.count_left(full.patron_id)
    assert left.personal == {}
    assert left.records == {"person": 1, "application": 1, "consent": 1, "undertaking": 1,
                            "exchange": 1}  # fmt: skip
    person = store.privacy.find_person(full.patron_id)
    assert person.erased_at is not None
    assert store.audit.verify()[0]


def test_what_was_not_erased_is_counted(store, full):
    left = store.privacy.count_left(full.patron_id)
    assert left.personal["person.name"] == 1
    assert left.personal["identifier"] == 3
    assert left.personal["consent.evidence"] == 1
    assert left.personal["application.class_text"] == 1
    assert left.personal["event.person_id"] == 1
    assert left.personal["circulation_fact"] == 1


def test_statistics_keep_their_lines_and_distinct_persons(store, full):
    full.give_back("B1")
    facts = "SELECT COUNT(*), COUNT(DISTINCT pseudonym) FROM circulation_fact WHERE pseudonym <> ''"
    before = store.database.fetch(facts, ())[0]
    store.people.erase_person(full.patron_id, actor="clerk")
    assert tuple(store.database.fetch(facts, ())[0]) == tuple(before)


def test_deposit_that_is_owed_survives_the_erasure(store, full):
    full.give_back("B1")
    with store.work.begin() as unit:
        unit.connection.execute(update(tables.exchange).values(closed_at=None, state="open"))
    store.tasks.open_task(
        LIB, TaskKind.DEPOSIT_REFUND, about="x", patron_id=full.patron_id, actor="clerk"
    )
    store.people.erase_person(full.patron_id, actor="clerk")
    (task,) = store.tasks.list_tasks(LIB)
    assert (task.kind, task.patron_id) == (TaskKind.DEPOSIT_REFUND, None)
    (row,) = store.database.fetch("SELECT old_account FROM exchange", ())
    assert row[0]


# --- retention ----------------------------------------------------------------------------------


def remove(store, rule, before, limit=100):
    return store.privacy.remove_due(rule, before, limit=limit, actor="worker")


def test_old_loans_go_and_their_events_name_nobody(store, clock, full):
    for barcode in ("B2", "B3"):
        full.lend(barcode)
        full.give_back(barcode)
    before = clock() + timedelta(seconds=1)
    assert store.privacy.count_due(RetentionRule.LOANS, before).count == 2
    assert store.privacy.count_due(RetentionRule.LOANS, clock() - timedelta(days=1)).count == 0
    facts = store.database.fetch("SELECT COUNT(*) FROM circulation_fact", ())[0][0]
    assert remove(store, RetentionRule.LOANS, before, limit=1) == 1
    assert remove(store, RetentionRule.LOANS, before, limit=5) == 1
    assert remove(store, RetentionRule.LOANS, before) == 0
    assert remove(store, RetentionRule.EVENTS, before) == 0, "the loan that is out keeps its event"
    named = store.database.fetch("SELECT barcode FROM event WHERE person_id IS NOT NULL", ())
    assert [row[0] for row in named] == ["B1"]
    assert store.database.fetch("SELECT COUNT(*) FROM event", ())[0][0] == 5
    assert store.database.fetch("SELECT COUNT(*) FROM circulation_fact", ())[0][0] == facts
    assert [loan.item.barcode for loan in store.ledger.list_unclosed(full.patron_id)] == ["B1"]


def test_event_without_a_loan_loses_its_person(store, clock, full):
    with store.work.begin() as unit:
        unit.connection.execute(
            insert(tables.event).values(
                institution=LIB, at=unit.now, local_date=unit.now.date(), verb="refuse",
                person_id=full.patron_id, barcode="B9",
            )
        )  # fmt: skip
    due = store.privacy.count_due(RetentionRule.EVENTS, clock())
    assert (due.count, due.oldest is not None) == (1, True)
    assert remove(store, RetentionRule.EVENTS, clock()) == 1
    assert store.privacy.count_due(RetentionRule.EVENTS, clock()).count == 0


def test_closed_people_are_erased_and_their_rows_go_later(store, clock, full):
    close_account(store, clock, full.patron_id)
    assert remove(store, RetentionRule.CLOSED_PEOPLE, clock()) == 0, "a book is out"
    full.give_back("B1")
    assert remove(store, RetentionRule.ERASED_PEOPLE, clock()) == 0
    assert remove(store, RetentionRule.CLOSED_PEOPLE, clock()) == 1
    assert remove(store, RetentionRule.CLOSED_PEOPLE, clock()) == 0
    assert store.privacy.count_left(full.patron_id).personal == {}
    assert remove(store, RetentionRule.ERASED_PEOPLE, clock()) == 1
    assert store.privacy.find_person(full.patron_id) is None
    assert not any(full.patron_id == text for place, text in read_texts(store)
                   if not place.startswith("audit"))  # fmt: skip


def test_closing_that_is_under_way_is_not_retentions_business(store, clock, full):
    full.give_back("B1")
    close_account(store, clock, full.patron_id, step="closing")
    assert store.privacy.count_due(RetentionRule.CLOSED_PEOPLE, clock()).count == 0


def test_refusals_messages_and_tasks_go_when_they_are_old(store, clock, full):
    (task,) = store.tasks.list_tasks(LIB)
    store.tasks.finish_task(task.task_id, outcome="kept", actor="clerk")
    with store.work.begin() as unit:
        unit.connection.execute(
            insert(tables.refusal).values(
                digest=b"d" * 32, key_id="k", institution=LIB, refused_at=unit.now
            )
        )
        for number in range(2):
            unit.send(
                "loan.opened", institution=LIB, destination=LIB, dedupe=f"x:{number}", payload={}
            )
        unit.connection.execute(
            update(tables.outbox).where(tables.outbox.c.dedupe == "x:0").values(sent_at=unit.now)
        )
    for rule in (RetentionRule.REFUSALS, RetentionRule.OUTBOX, RetentionRule.TASKS):
        assert store.privacy.count_due(rule, clock() - timedelta(days=1)).count == 0
        assert store.privacy.count_due(rule, clock()).count == 1, rule
        assert remove(store, rule, clock()) == 1
        assert store.privacy.count_due(rule, clock()).count == 0
    kept = [row[0] for row in store.database.fetch("SELECT dedupe FROM outbox", ())]
    assert "x:1" in kept
    assert "x:0" not in kept


def test_whole_audit_chains_go_and_the_others_verify(store, store_url, clock):
    store.audit.append("a.done", actor="x")
    old = Store(store_url, store.keyring, now=clock)
    try:
        for _ in range(3):
            old.audit.append("b.done", actor="x")
    finally:
        old.close()
    clock.advance(days=10)
    border = clock()
    store.audit.append("a.done", actor="x")
    assert store.privacy.count_due(RetentionRule.AUDIT, border).count == 3
    assert remove(store, RetentionRule.AUDIT, border, limit=1) == 1
    assert store.audit.verify() == (True, 5), "a run that is killed leaves chains that verify"
    assert remove(store, RetentionRule.AUDIT, border) == 2
    assert remove(store, RetentionRule.AUDIT, border) == 0
    # an old and a new entry of the living chain, and the two removals
    assert store.audit.verify() == (True, 4)


# --- counting -------------------------------------------------------------------------------------


def test_children_are_counted_by_opened_birth_dates(store, clock, full):
    store.people.add_person(
        PersonalData(name="联络员"), [Identifier("card", "L1")], home=LIB, category="liaison"
    )
    store.people.add_person(
        PersonalData(name="无日期"), [Identifier("card", "S3")], home=LIB, category="student"
    )
    children = sorted((child.birth_date or date.min) for child in store.privacy.list_children())
    assert children == [date.min, DATA.birth_date]


def test_many_children_are_read_page_by_page(store, monkeypatch):
    monkeypatch.setattr("connector.storage.repositories.privacy_figures._PAGE", 2)
    for number in range(5):
        store.people.add_person(
            PersonalData(name="某"), [Identifier("card", f"S{number}")], home=LIB,
            category="student",
        )  # fmt: skip
    assert len(list(store.privacy.list_children())) == 5


def test_actions_are_counted_by_actor_and_scope(store, clock, full):
    since = datetime(2026, 1, 1, tzinfo=UTC)
    counts = {
        (entry.action, entry.actor, entry.scope): entry.count
        for entry in store.privacy.count_actions(since, clock())
    }
    assert counts["consent.given", "teacher", "card"] == 1
    assert counts["person.added", "register", ""] == 1
    assert store.privacy.count_actions(since - timedelta(days=9), since) == ()
    assert store.privacy.find_last_action("consent.given") is not None
    assert store.privacy.find_last_action("nothing.done") is None


def test_old_keys_old_tasks_and_old_closings_are_counted(store, store_url, clock, full):
    later = Store(store_url, store.keyring.rotate(), now=clock)
    try:
        old = later.privacy.count_old_keys()
        assert (old.people, old.identifiers) == (1, 3)
    finally:
        later.close()
    assert store.privacy.count_old_keys().people == 0
    assert store.privacy.count_open_tasks(clock() - timedelta(days=1)) == ()
    (tasks,) = store.privacy.count_open_tasks(clock())
    assert (tasks.kind, tasks.count) == ("two_schools", 1)
    close_account(store, clock, full.patron_id, step="waiting")
    assert store.privacy.count_closings(clock()) == 1
    full.give_back("B1")
    assert store.privacy.count_closings(clock()) == 0
    with store.work.begin() as unit:
        unit.connection.execute(insert(tables.feed_state).values(institution=LIB, name="f"))
    assert [feed.name for feed in store.privacy.list_feeds()] == ["f"]
