"""What the worker does by itself when its clock or a number is wrong: nothing that is for good."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import update

from connector.cli.worker import list_jobs
from connector.domain.closing import ClosingReason
from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.privacy import RetentionRule
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.storage import tables
from tests.support.world import START, SteppingClock, World

HOME = InstitutionId("KOHA-A")
PUPILS = 30


@pytest.fixture
def world(tmp_path, store_url):
    made = World(tmp_path, store_url, clock=SteppingClock(START))
    yield made
    made.close()


def enrol(world, count=PUPILS, *, first=0):
    """Enrol pupils whose cards end in a year."""
    people = world.app.store.people
    ends = world.clock().date() + timedelta(days=365)
    patrons = [
        people.add_person(
            PersonalData(name="张小江"),
            [Identifier("card", f"S{first + number:08}")],
            home=HOME,
            category="student",
            stage="primary",
            state=StandingState.ACTIVE,
        )
        for number in range(count)
    ]
    with world.app.store.work.begin() as unit:
        person = tables.person
        unit.connection.execute(
            update(person).where(person.c.person_id.in_(patrons)).values(expires=ends)
        )
    return patrons


def work(world, *actions):
    for job in list_jobs(world.app):
        if job.action in actions:
            job.run_once()


def states(world):
    return [row["state"] for row in world.rows("person")]


def held(world):
    found = world.app.store.tasks.list_tasks(HOME, kind=TaskKind.REMOVAL_HELD)
    return {(task.detail["job"], task.detail["reason"]) for task in found}


def test_clock_that_jumped_closes_and_removes_nobody(world):
    enrol(world)
    work(world, "purge", "expire", "retention")
    assert held(world) == set()
    world.clock.advance(days=365 * 64)
    for _ in range(3):
        work(world, "purge", "expire", "retention", "close")
        world.clock.advance(hours=1)
    assert set(states(world)) == {"active"}
    assert held(world) == {("clock", "clock")}
    world.clock.moment = START + timedelta(days=1)
    work(world, "purge", "expire", "retention")
    assert held(world) == set()
    assert set(states(world)) == {"active"}


def test_clock_that_was_wrong_for_a_run_does_not_hide_the_next_jump(world):
    enrol(world)
    world.clock.advance(days=365 * 64)
    world.app.retention.run(actor="li", without=frozenset(RetentionRule))
    world.clock.moment = START
    work(world, "retention")
    world.clock.advance(days=400)
    work(world, "expire")
    assert set(states(world)) == {"active"}
    assert held(world) == {("clock", "clock")}


def test_more_cards_than_the_share_wait_for_a_person(world):
    enrol(world)
    for _ in range(12):
        work(world, "retention")
        world.clock.advance(days=31)
    work(world, "retention", "expire")
    assert set(states(world)) == {"active"}
    assert held(world) == {("expire", "share")}
    assert world.app.school_year.expire_due(HOME, actor="li") == PUPILS
    work(world, "expire")
    assert held(world) == set()


def test_fewer_cards_than_the_share_are_closed_by_the_worker(world):
    enrol(world)
    world.clock.advance(days=20)
    enrol(world, 3 * PUPILS, first=PUPILS)
    for _ in range(12):
        work(world, "retention")
        world.clock.advance(days=29)
    work(world, "retention", "expire")
    assert held(world) == set()
    assert sum(state == "expired" for state in states(world)) == PUPILS


def test_closed_people_beyond_the_share_are_held_and_the_rest_goes_on(world):
    patrons = enrol(world)
    for patron_id in patrons:
        world.app.closing.begin(patron_id, ClosingReason.EXPIRED, actor="li")
        world.app.store.people.update_personal(patron_id, PersonalData(name="张小江"))
    long_ago = START - timedelta(days=400)
    with world.app.store.work.begin() as unit:
        unit.connection.execute(update(tables.person).values(closing_step="", closing_at=long_ago))
    run = world.app.retention.run_guarded(actor="worker")
    assert [(hold.job, hold.count, hold.of) for hold in run.held] == [
        ("closed_people", PUPILS, PUPILS)
    ]
    assert all(row["erased_at"] is None for row in world.rows("person"))
    assert "retention.ran" in {row["action"] for row in world.rows("audit")}
    assert held(world) == {("closed_people", "share")}
    assert [hold.job for hold in world.app.retention.check(actor="li")] == ["closed_people"]
    world.app.retention.run(actor="li")
    world.app.retention.run_guarded(actor="worker")
    assert all(row["erased_at"] is not None for row in world.rows("person"))
    assert held(world) == set()


def test_nothing_of_who_was_erased_by_the_worker_stays_in_the_log_of_the_database(tmp_path):
    url = f"sqlite:///{tmp_path / 'onecard.db'}"
    with closing(World(tmp_path, url, clock=SteppingClock(START))) as world:
        patron_id = world.add_pupil("S00000012")
        world.app.closing.begin(patron_id, ClosingReason.CONSENT_WITHDRAWN, actor="li")
        log = tmp_path / "onecard.db-wal"
        assert log.stat().st_size > 0
        work(world, "close")
        assert all(row["erased_at"] is not None for row in world.rows("person"))
        assert log.stat().st_size == 0
