"""Schools, batches, applications, consents and card numbers on SQLite and PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import update

from connector.domain.card import CardRange
from connector.domain.enrolment import (
    ApplicationState,
    ConsentScope,
    Route,
    RowProblem,
    SchoolStage,
)
from connector.domain.ids import Identifier, InstitutionId
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.ports.enrolment import CARD_TAKEN, NewApplication, RowOutcome, School
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.store import Store

LIBRARY = InstitutionId("FDX")
CARDS = CardRange("FD", 1, 500)
S = ApplicationState


@pytest.fixture
def school(store):
    return store.enrolment.save_school(School("", LIBRARY, "s1", "一小", SchoolStage.PRIMARY))


@pytest.fixture
def enter(store, school, clock):
    """Enter an application of a new person."""

    def enter(number="1", **more):
        patron_id = store.people.add_person(
            PersonalData("丁一一"),
            [Identifier("id_card", number)],
            home=LIBRARY,
            category="student",
        )
        new = NewApplication(patron_id, LIBRARY, school.school_id, Route.BATCH, **more)
        return store.enrolment.add_application(new, actor="clerk", now=clock())

    return enter


@pytest.fixture
def approved(store, enter, clock):
    """Enter an application and bring it to the library's approval."""

    def approve(number="1"):
        application = enter(number)
        for old, new in ((S.ENTERED, S.SCHOOL_REVIEWED), (S.SCHOOL_REVIEWED, S.LIBRARY_APPROVED)):
            assert store.enrolment.move_application(
                application.application_id, old, new, actor="staff", now=clock()
            )
        return application

    return approve


def begin(store, application, clock, cards=CARDS):
    return store.enrolment.begin_activation(
        application.application_id, cards=cards, actor="staff", now=clock()
    )


def test_a_school_is_saved_under_its_code(store, school):
    changed = store.enrolment.save_school(
        School(
            "", LIBRARY, "s1", "第一小学", None, "individual", review_individual=True, disabled=True
        )
    )
    assert changed.school_id == school.school_id
    assert (changed.stage, changed.entry_mode, changed.disabled) == (None, "individual", True)
    assert store.enrolment.find_school(LIBRARY, "s1") == changed
    assert store.enrolment.find_school(InstitutionId("WZX"), "s1") is None
    assert store.enrolment.list_schools(LIBRARY) == (changed,)


def test_a_batch_keeps_counts_and_codes(store, school, clock):
    opened = store.enrolment.open_batch(
        school, layout="a49", rows=3, source_digest="d", actor="clerk", now=clock()
    )
    problem = RowProblem("id_length", 4, "id_number")
    closed = store.enrolment.close_batch(
        opened.batch_id,
        counts={RowOutcome.CREATED: 2, RowOutcome.INVALID: 1},
        problems=[problem],
        now=clock(),
    )
    assert (closed.number, closed.rows, closed.problems) == ("2026-0001", 3, (problem,))
    assert closed.counts[RowOutcome.CREATED] == 2
    assert closed.counts[RowOutcome.HELD] == 0
    assert store.enrolment.find_batch(LIBRARY, "2026-0001") == closed
    second = store.enrolment.open_batch(
        school, layout="a41", rows=0, source_digest="d", actor="clerk", now=clock()
    )
    assert [batch.number for batch in store.enrolment.list_batches(LIBRARY)] == [
        second.number,
        closed.number,
    ]
    with pytest.raises(NotFound):
        store.enrolment.close_batch("nowhere", counts={}, problems=[], now=clock())


def test_one_open_application_per_person(store, enter, school, clock):
    application = enter()
    new = NewApplication(application.patron_id, LIBRARY, school.school_id, Route.INDIVIDUAL)
    with pytest.raises(StorageConflict):
        store.enrolment.add_application(new, actor="clerk", now=clock())
    store.enrolment.move_application(
        application.application_id, S.ENTERED, S.WITHDRAWN, actor="staff", now=clock()
    )
    again = store.enrolment.add_application(new, actor="clerk", now=clock())
    assert store.enrolment.find_application(application.patron_id) == again


def test_a_state_changes_only_from_the_one_that_was_seen(store, enter, clock):
    application = enter()
    move = (application.application_id, S.ENTERED, S.SCHOOL_REVIEWED)
    assert store.enrolment.move_application(*move, actor="a", now=clock())
    assert not store.enrolment.move_application(*move, actor="b", now=clock())


def test_card_numbers_are_unique_under_a_race(store, approved, clock):
    applications = [approved(str(n)) for n in range(12)]

    def take(application):
        for _ in range(20):
            try:
                return begin(store, application, clock)
            except StorageConflict:
                continue
        raise AssertionError

    with ThreadPoolExecutor(6) as pool:
        cards = [application.card for application in pool.map(take, applications)]
    assert sorted(cards) == sorted(CARDS.number_of(n) for n in range(1, 13))


def test_a_number_is_kept_until_the_ils_has_it_already(store, approved, clock):
    application = approved()
    first = begin(store, application, clock)
    assert begin(store, application, clock) is None
    store.enrolment.save_error(application.application_id, "ils_unavailable", now=clock())
    second = begin(store, application, clock)
    assert (second.card, second.attempts) == (first.card, 2)
    store.enrolment.save_error(application.application_id, CARD_TAKEN, now=clock())
    third = begin(store, application, clock)
    assert (third.card, third.error) == (CARDS.number_of(2), "")


def test_an_attempt_that_was_never_heard_of_again(store, approved, clock):
    application = approved()
    assert begin(store, application, clock) is not None
    clock.advance(minutes=3)
    assert begin(store, application, clock) is not None


def test_a_range_ends(store, approved, clock):
    small = CardRange("X", 3, 3)
    assert begin(store, approved("1"), clock, small).card == small.number_of(3)
    second = approved("2")
    with pytest.raises(ConfigurationError):
        begin(store, second, clock, small)
    found = store.enrolment.fetch_application(second.application_id)
    assert (found.state, found.attempts) == (S.LIBRARY_APPROVED, 0)


def test_only_approved_applications_begin(store, enter, clock):
    assert begin(store, enter(), clock) is None


def test_consents(store, enter, clock):
    patron_id = enter().patron_id
    answer = {"text_version": "v1", "evidence": "folder 7", "actor": "teacher"}

    def say(scope, *, given):
        store.enrolment.record_consent(
            patron_id, LIBRARY, scope, given=given, now=clock(), **answer
        )

    def held():
        return {c.scope for c in store.enrolment.list_consents(patron_id) if c.holds}

    say(ConsentScope.CARD, given=False)
    assert held() == set()
    say(ConsentScope.CARD, given=True)
    say(ConsentScope.ONLINE, given=True)
    assert held() == {ConsentScope.CARD, ConsentScope.ONLINE}
    assert store.enrolment.withdraw_consent(
        patron_id, ConsentScope.ONLINE, actor="staff", now=clock()
    )
    assert held() == {ConsentScope.CARD}
    store.enrolment.record_undertaking(patron_id, LIBRARY, now=clock(), **answer)


def test_a_refusal_leaves_a_digest_only(store, enter, clock):
    application = enter("500230201503010015")
    number = Identifier("id_card", "500230201503010015")
    store.enrolment.erase_applicant(
        application.patron_id, refused=[number], actor="teacher", now=clock()
    )
    assert store.enrolment.fetch_application(application.application_id) is None
    assert store.people.find_person([number]) is None
    assert store.enrolment.is_refused([Identifier("student_no", "L1"), number], LIBRARY)
    assert not store.enrolment.is_refused([Identifier("student_no", "L1")], LIBRARY)
    assert not store.enrolment.is_refused([], LIBRARY)
    store.enrolment.forget_refusal([number], LIBRARY)
    assert not store.enrolment.is_refused([number], LIBRARY)


def test_each_library_remembers_and_forgets_for_itself(store, clock):
    number, other = Identifier("id_card", "500230201503010015"), InstitutionId("OTHER")
    for library in (LIBRARY, other):
        store.enrolment.remember_refusal([number], library, actor="teacher", now=clock())
    store.enrolment.forget_refusal([number], other)
    assert store.enrolment.is_refused([number], LIBRARY)
    assert not store.enrolment.is_refused([number], other)


def test_nobody_is_erased_whose_account_may_exist(store, approved, clock):
    application = approved()
    begin(store, application, clock)
    with pytest.raises(StorageConflict):
        store.enrolment.erase_applicant(application.patron_id, actor="staff", now=clock())


def test_nobody_is_erased_whose_activation_begins_at_this_moment(store, approved, clock, store_url):
    application = approved()
    other = Store(store_url, store.keyring, now=clock)
    with ThreadPoolExecutor(1) as pool, closing(other):
        with store.work.begin() as unit:
            unit.connection.execute(
                update(tables.application).values(state=S.ACTIVATING.value, activating_at=unit.now)
            )
            erasing = pool.submit(
                other.enrolment.erase_applicant,
                application.patron_id,
                actor="staff",
                now=clock(),
            )
            if not store.database.is_sqlite:
                wait_for_a_waiter(store)
        with pytest.raises(StorageConflict) as caught:
            erasing.result()
    assert caught.value.code == "card_was_opened"
    assert store.enrolment.fetch_application(application.application_id) is not None


def wait_for_a_waiter(store):
    """Return when another session waits for a lock of ours."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if store.database.fetch("SELECT 1 FROM pg_locks WHERE NOT granted", ()):
            return
    raise AssertionError


def test_erasing_a_person_leaves_nothing_of_his_application(store, approved, clock):
    application = begin(store, approved(), clock)
    store.enrolment.record_consent(
        application.patron_id,
        LIBRARY,
        ConsentScope.CARD,
        text_version="2026-09",
        given=True,
        evidence="form of 丁一一",
        actor="a",
        now=clock(),
    )
    store.people.erase_person(application.patron_id, actor="a")
    left = store.enrolment.fetch_application(application.application_id)
    assert (left.card, left.class_name, left.district, left.card_proposal) == ("", "", "", "")
    (consent,) = store.enrolment.list_consents(application.patron_id)
    assert (consent.given, consent.evidence) == (True, "")


def test_states_of_a_batch(store, school, enter, clock):
    batch = store.enrolment.open_batch(
        school, layout="a49", rows=2, source_digest="d", actor="clerk", now=clock()
    )
    first = enter("1", batch_id=batch.batch_id, batch_row=2)
    enter("2", batch_id=batch.batch_id, batch_row=3)
    store.enrolment.move_application(
        first.application_id, S.ENTERED, S.SCHOOL_REVIEWED, actor="x", now=clock()
    )
    assert store.enrolment.count_states(batch.batch_id) == {S.ENTERED: 1, S.SCHOOL_REVIEWED: 1}
    listed = store.enrolment.list_applications(LIBRARY, batch_id=batch.batch_id, states=[S.ENTERED])
    assert [application.batch_row for application in listed] == [3]


def test_everything_is_in_an_unbroken_audit(store, approved, clock):
    begin(store, approved(), clock)
    intact, entries = store.audit.verify()
    assert intact
    assert entries > 4
