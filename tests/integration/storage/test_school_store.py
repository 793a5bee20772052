"""Grades, classes, memberships, calendars, liaisons and campaigns on SQLite and PostgreSQL."""

import time
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from connector.domain.enrolment import ApplicationState, ConsentScope, Route, SchoolStage
from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState
from connector.errors import NotFound, StorageConflict
from connector.ports.enrolment import NewApplication, School
from connector.ports.schools import Calendar, Campaign, CampaignCounts, Grade, SchoolClass
from connector.ports.store import PersonalData
from connector.storage import tables

LIBRARY = InstitutionId("FDX")
SEPTEMBER = date(2026, 9, 1)
NEXT = date(2027, 9, 1)


@pytest.fixture
def school(store):
    return store.enrolment.save_school(School("", LIBRARY, "s1", "一小", SchoolStage.PRIMARY))


@pytest.fixture
def other(store):
    return store.enrolment.save_school(School("", LIBRARY, "s2", "二小", SchoolStage.PRIMARY))


@pytest.fixture
def pupil(store):
    """Store a pupil."""
    numbers = iter(range(100_000))

    def pupil(state=StandingState.INACTIVE):
        return store.people.add_person(
            PersonalData("丁一一"),
            [Identifier("id_card", str(next(numbers)))],
            home=LIBRARY,
            category="student",
            state=state,
        )

    return pupil


def put(store, school, patrons, into, *, year=2026, on=SEPTEMBER, reason="moved"):
    return store.schools.place_pupils(
        school,
        dict.fromkeys(patrons, into.class_id),
        school_year=year,
        on=on,
        reason=reason,
        actor="clerk",
    )


# --- grades and classes


def test_a_grade_is_saved_under_its_level(store, school):
    added = store.schools.save_grade(
        Grade("", LIBRARY, school.school_id, 3, "三年级"), actor="clerk"
    )
    changed = store.schools.save_grade(
        Grade("", LIBRARY, school.school_id, 3, "三年級", disabled=True, sort_order=7, remark="r"),
        actor="clerk",
    )
    assert changed.grade_id == added.grade_id
    assert (changed.name, changed.disabled, changed.sort_order) == ("三年級", True, 7)
    first = store.schools.save_grade(
        Grade("", LIBRARY, school.school_id, 4, "四年级"), actor="clerk"
    )
    assert store.schools.list_grades(school.school_id) == (first, changed)


def test_a_class_is_made_with_its_grade_once(store, school):
    made = store.schools.ensure_class(school, 3, "2", actor="clerk")
    assert store.schools.ensure_class(school, 3, "2", actor="clerk") == made
    assert [grade.name for grade in store.schools.list_grades(school.school_id)] == ["三年级"]
    tenth = store.schools.ensure_class(school, 3, "10", actor="clerk")
    assert store.schools.list_classes(school.school_id) == (made, tenth)


def test_a_class_can_be_renamed_but_not_to_the_name_of_another(store, school):
    second = store.schools.ensure_class(school, 3, "2", actor="clerk")
    store.schools.ensure_class(school, 3, "3", actor="clerk")

    def named(name):
        return SchoolClass(
            second.class_id, LIBRARY, school.school_id, second.grade_id, 3, name, remark="x"
        )

    renamed = store.schools.save_class(named("8"), actor="clerk")
    assert (renamed.class_id, renamed.name, renamed.remark) == (second.class_id, "8", "x")
    with pytest.raises(StorageConflict):
        store.schools.save_class(named("3"), actor="clerk")


def test_only_what_was_never_used_is_removed(store, school, pupil):
    used = store.schools.ensure_class(school, 3, "2", actor="clerk")
    spare = store.schools.ensure_class(school, 4, "1", actor="clerk")
    put(store, school, [pupil()], used)
    with pytest.raises(StorageConflict):
        store.schools.remove_class(used.class_id, actor="clerk")
    with pytest.raises(StorageConflict):
        store.schools.remove_grade(spare.grade_id, actor="clerk")
    with pytest.raises(StorageConflict):
        store.schools.remove_school(school, actor="clerk")
    store.schools.remove_class(spare.class_id, actor="clerk")
    store.schools.remove_grade(spare.grade_id, actor="clerk")
    with pytest.raises(NotFound):
        store.schools.remove_class(spare.class_id, actor="clerk")
    assert store.schools.list_classes(school.school_id) == (used,)


def test_an_unused_school_goes_with_its_classes(store, school):
    store.schools.ensure_class(school, 3, "2", actor="clerk")
    store.schools.remove_school(school, actor="clerk")
    assert store.enrolment.find_school(LIBRARY, "s1") is None
    assert store.schools.list_grades(school.school_id) == ()


# --- memberships


def test_a_pupil_is_placed_once(store, school, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    patron = pupil()
    assert put(store, school, [patron], third) == 1
    assert put(store, school, [patron], third, on=date(2026, 11, 1)) == 0
    (member,) = store.schools.list_members(school.school_id)
    assert (member.patron_id, member.school_class, member.school_year) == (patron, third, 2026)
    assert store.schools.list_members(school.school_id, class_id=third.class_id) == (member,)
    assert store.schools.find_memberships([patron, "nobody"]) == {patron: member}


def test_a_new_year_ends_the_membership_before_with_its_date(store, school, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    fourth = store.schools.ensure_class(school, 4, "1", actor="clerk")
    patron = pupil()
    put(store, school, [patron], third)
    assert put(store, school, [patron], fourth, year=2027, on=NEXT, reason="merged") == 1
    old, new = store.schools.list_history(patron)
    assert (old.class_id, old.since, old.until, old.reason) == (
        third.class_id,
        SEPTEMBER,
        date(2027, 8, 31),
        "merged",
    )
    assert (new.class_id, new.school_year, new.since, new.until) == (
        fourth.class_id,
        2027,
        NEXT,
        None,
    )


def test_the_stage_of_a_pupil_follows_his_grade(store, school, other, pupil, clock):
    sixth, seventh = (
        store.schools.ensure_class(school, level, "1", actor="clerk") for level in (6, 7)
    )
    patron = pupil()
    put(store, school, [patron], sixth)
    assert store.people.find_standing(patron, LIBRARY).stage == "primary"
    put(store, school, [patron], seventh, year=2027, on=NEXT)
    assert store.people.find_standing(patron, LIBRARY).stage == "junior"
    store.enrolment.add_application(
        NewApplication(patron, LIBRARY, school.school_id, Route.BATCH), actor="clerk", now=clock()
    )
    store.schools.transfer_pupil(patron, other, None, school_year=2027, on=NEXT, actor="staff")
    assert store.people.find_standing(patron, LIBRARY).stage == "primary"


def test_nobody_goes_back_to_an_earlier_year(store, school, other, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    fourth = store.schools.ensure_class(school, 4, "2", actor="clerk")
    theirs = store.schools.ensure_class(other, 4, "1", actor="clerk")
    patron = pupil()
    put(store, school, [patron], fourth, year=2027, on=NEXT)
    assert put(store, school, [patron], third, on=date(2027, 8, 25)) == 0
    assert put(store, other, [patron], theirs, on=date(2027, 8, 25)) == 1


def test_who_has_left_is_told_until_he_is_back(store, school, pupil):
    sixth = store.schools.ensure_class(school, 6, "1", actor="clerk")
    patron = pupil()
    put(store, school, [patron, pupil()], sixth)
    assert store.schools.list_finished(school.school_id) == frozenset()
    store.schools.end_memberships([patron], on=date(2027, 8, 31), reason="left", actor="clerk")
    assert store.schools.list_finished(school.school_id) == {patron}
    put(store, school, [patron], sixth, year=2027, on=NEXT)
    assert store.schools.list_finished(school.school_id) == frozenset()


def test_a_membership_never_ends_before_it_began(store, school, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    other = store.schools.ensure_class(school, 3, "3", actor="clerk")
    patron = pupil()
    put(store, school, [patron], third)
    put(store, school, [patron], other)
    store.schools.end_memberships([patron], on=date(2026, 1, 1), reason="left", actor="clerk")
    history = store.schools.list_history(patron)
    assert [(each.since, each.until) for each in history] == [(SEPTEMBER, SEPTEMBER)] * 2


def test_ending_twice_ends_once(store, school, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    patrons = [pupil(), pupil()]
    put(store, school, patrons, third)
    day = date(2026, 11, 20)
    assert store.schools.end_memberships(patrons, on=day, reason="left", actor="clerk") == 2
    assert store.schools.end_memberships(patrons, on=day, reason="left", actor="clerk") == 0
    assert store.schools.list_members(school.school_id) == ()
    (ended,) = store.schools.list_history(patrons[0])
    assert (ended.until, ended.reason) == (day, "left")


def test_a_class_of_another_school_is_refused(store, school, other, pupil):
    theirs = store.schools.ensure_class(other, 3, "2", actor="clerk")
    patron = pupil()
    with pytest.raises(NotFound):
        put(store, school, [patron], theirs)
    assert store.schools.list_history(patron) == ()


def test_a_thousand_pupils_are_placed_in_seconds(store, school, pupil):
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    fourth = store.schools.ensure_class(school, 4, "1", actor="clerk")
    patron = pupil()
    with store.work.begin() as unit:
        row = unit.connection.execute(select(tables.person).filter_by(person_id=patron)).one()
        patrons = [f"p{number}" for number in range(1000)]
        unit.connection.execute(
            tables.person.insert(), [row._asdict() | {"person_id": each} for each in patrons]
        )
    begun = time.monotonic()
    assert put(store, school, patrons, third) == 1000
    assert put(store, school, patrons, fourth, year=2027, on=NEXT) == 1000
    assert put(store, school, patrons, fourth, year=2027, on=NEXT) == 0
    assert time.monotonic() - begun < 10
    assert len(store.schools.find_memberships(patrons)) == 1000


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    moves=st.lists(
        st.tuples(st.integers(0, 3), st.integers(2026, 2028), st.integers(0, 900)), max_size=6
    )
)
def test_memberships_of_a_pupil_are_a_line_without_two_at_once(store, school, pupil, moves):
    classes = [store.schools.ensure_class(school, 3, str(n), actor="clerk") for n in range(4)]
    patron = pupil()
    for which, year, day in sorted(moves, key=lambda move: move[2]):
        on = date.fromordinal(SEPTEMBER.toordinal() + day)
        put(store, school, [patron], classes[which], year=year, on=on)
    history = store.schools.list_history(patron)
    assert sum(each.until is None for each in history) == bool(moves)
    for before, after in pairwise(history):
        assert before.since <= before.until <= after.since


# --- transfer


def test_a_transfer_moves_application_and_membership(store, school, other, pupil, clock):
    patron = pupil()
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    theirs = store.schools.ensure_class(other, 3, "1", actor="clerk")
    store.enrolment.add_application(
        NewApplication(patron, LIBRARY, school.school_id, Route.BATCH), actor="clerk", now=clock()
    )
    put(store, school, [patron], third)
    day = date(2026, 11, 21)

    def transfer():
        return store.schools.transfer_pupil(
            patron, other, theirs.class_id, school_year=2026, on=day, actor="staff"
        )

    assert transfer()
    assert not transfer()
    assert store.enrolment.find_application(patron).school_id == other.school_id
    assert store.schools.list_members(school.school_id) == ()
    old, new = store.schools.list_history(patron)
    assert (old.until, old.reason) == (date(2026, 11, 20), "transferred")
    assert (new.school_id, new.class_id, new.since) == (other.school_id, theirs.class_id, day)


def test_a_transfer_to_a_class_that_is_not_there_changes_nothing(
    store, school, other, pupil, clock
):
    patron = pupil()
    third = store.schools.ensure_class(school, 3, "2", actor="clerk")
    store.enrolment.add_application(
        NewApplication(patron, LIBRARY, school.school_id, Route.BATCH), actor="clerk", now=clock()
    )
    put(store, school, [patron], third)
    with pytest.raises(NotFound):
        store.schools.transfer_pupil(
            patron, other, third.class_id, school_year=2026, on=SEPTEMBER, actor="staff"
        )
    assert store.enrolment.find_application(patron).school_id == school.school_id
    assert store.schools.find_memberships([patron])[patron].school_class == third


# --- calendars, liaisons, campaigns, last days


def test_a_calendar_is_replaced(store):
    for first in (date(2026, 8, 20), date(2026, 8, 25)):
        calendar = Calendar(LIBRARY, "s1", 2026, first, date(2027, 7, 10))
        store.schools.save_calendar(calendar, actor="clerk")
    assert store.schools.list_calendars(LIBRARY) == (calendar,)
    assert store.schools.list_calendars(InstitutionId("WZX")) == ()


def test_the_next_liaison_erases_the_one_before(store, school):
    first = store.schools.appoint_liaison(
        LIBRARY, school.school_id, name="王老师", phone="13900000001", actor="staff"
    )
    of_library = store.schools.appoint_liaison(
        LIBRARY, None, name="李馆员", phone="13900000002", actor="staff"
    )
    second = store.schools.appoint_liaison(
        LIBRARY, school.school_id, name="赵老师", phone="13900000003", actor="staff"
    )
    assert store.schools.list_liaisons(LIBRARY) == (of_library, second)
    with pytest.raises(NotFound):
        store.people.fetch_personal(first.patron_id)
    with store.work.database.read() as connection:
        person = connection.execute(
            select(tables.person).filter_by(person_id=first.patron_id)
        ).one()
        entries = connection.execute(select(tables.audit.c.detail)).scalars().all()
    assert person.erased_at is not None
    assert person.name is None
    assert person.phone is None
    assert not any("老师" in entry or "1390000000" in entry for entry in entries)


def test_a_campaign_counts_the_pupils_of_its_grades(store, school, pupil, clock):
    first = store.schools.ensure_class(school, 1, "1", actor="clerk")
    third = store.schools.ensure_class(school, 3, "1", actor="clerk")
    patrons = [pupil() for _ in range(4)]
    put(store, school, patrons[:3], first)
    put(store, school, patrons[3:], third)
    for patron in patrons[:2]:
        application = store.enrolment.add_application(
            NewApplication(patron, LIBRARY, school.school_id, Route.BATCH),
            actor="clerk",
            now=clock(),
        )
    store.enrolment.move_application(
        application.application_id,
        ApplicationState.ENTERED,
        ApplicationState.ACTIVE,
        actor="clerk",
        now=clock(),
    )
    for patron, says_yes in ((patrons[1], True), (patrons[0], True), (patrons[0], False)):
        store.enrolment.record_consent(
            patron,
            LIBRARY,
            ConsentScope.CARD,
            text_version="1",
            given=says_yes,
            evidence="f",
            actor="clerk",
            now=clock(),
        )

    def campaign(levels):
        return store.schools.save_campaign(
            Campaign(
                "", LIBRARY, "2026", "", 2026, SEPTEMBER, date(2026, 10, 31), frozenset(levels)
            ),
            actor="staff",
        )

    everyone, entry = campaign(()), campaign({1, -2})
    assert everyone.campaign_id == entry.campaign_id
    assert store.schools.find_campaign(LIBRARY, "2026") == entry
    assert store.schools.list_campaigns(LIBRARY) == (entry,)
    assert store.schools.count_campaign(everyone)[school.school_id].pupils == 4
    assert store.schools.count_campaign(entry) == {
        school.school_id: CampaignCounts(pupils=3, applied=2, agreed=1, active=1)
    }


def test_a_card_expires_after_its_last_day(store, pupil):
    ending, staying, closed = pupil(), pupil(), pupil()
    day = date(2026, 9, 30)
    for patron in (ending, staying):
        store.people.set_state(patron, StandingState.ACTIVE, expires=day)
    store.people.set_state(closed, StandingState.WITHDRAWN, expires=day)
    later = {staying: date(2027, 9, 30), closed: date(2027, 9, 30)}
    assert store.schools.set_expiries(later, actor="staff") == 1
    assert store.schools.set_expiries(later, actor="staff") == 0
    assert store.schools.list_expired(LIBRARY, day) == ()
    assert store.schools.list_expired(LIBRARY, date(2026, 10, 1)) == (ending,)
    assert store.schools.list_expired(InstitutionId("WZX"), date(2026, 10, 1)) == ()
    ends = [store.people.find_standing(each, LIBRARY).expires for each in (ending, staying, closed)]
    assert ends == [day, later[staying], day]
