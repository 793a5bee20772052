"""The queues for absent library systems, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.ports.deferred import Deferral, DeferredState, DeferredVerb
from connector.ports.ledger import Place
from connector.ports.privacy import RetentionRule
from connector.ports.tasks import TaskKind

LIB = InstitutionId("LIB")
OTHER = InstitutionId("OTHER")
LEASE = timedelta(seconds=60)


@pytest.fixture
def take_back(store, clock):
    """Take an item back in the place of an absent library system."""

    def act(barcode, *, code=LIB, verb=DeferredVerb.CHECKIN):
        now = clock()
        place = Place(institution=code, at=now, local_date=now.date())
        item = ItemId(code, Barcode(barcode))
        if verb is DeferredVerb.CONFIRM_RETURN:
            store.ledger.defer_question(item, place, Deferral(code, verb), occurred_at=now)
        else:
            store.ledger.record_return(item, place, returned_at=now, defer=Deferral(code, verb))
        return item

    return act


def lease(store, code=LIB):
    work = store.deferred.lease_next(code, lease=LEASE)
    return None if work is None else work.item.barcode


def test_rows_are_leased_in_their_order_and_by_one_worker_each(store, take_back, clock):
    for barcode in ("B1", "B2"):
        take_back(barcode)
    take_back("X1", code=OTHER)
    assert [lease(store), lease(store), lease(store)] == ["B1", "B2", None]
    assert lease(store, OTHER) == "X1"
    clock.advance(seconds=61)
    assert lease(store) == "B1", "a worker that died gives its row back"


def test_a_row_waits_for_the_earlier_ones_of_its_item_only(store, take_back, clock):
    item = take_back("B1")
    take_back("B2")
    first = store.deferred.lease_next(LIB, lease=LEASE)
    store.deferred.put_off(first.seq, until=clock() + timedelta(hours=1), failed=True, reason="x")
    with store.work.begin() as unit:
        unit.connection.exec_driver_sql("UPDATE deferred SET verb = 'checkout' WHERE seq = 1")
    take_back("B1")
    assert lease(store) == "B2"
    assert lease(store) is None
    store.deferred.finish(first.seq, DeferredState.DONE)
    assert lease(store) == "B1"
    assert store.deferred.is_waiting(LIB, item)


def test_a_question_keeps_nothing_waiting(store, take_back):
    item = take_back("B1", verb=DeferredVerb.CONFIRM_RETURN)
    take_back("B1", verb=DeferredVerb.CONFIRM_RETURN)
    assert not store.deferred.is_waiting(LIB, item)
    take_back("B1")
    verbs = [work.verb.value for work in store.deferred.list_unresolved(LIB)]
    assert verbs == ["confirm_return", "checkin"]
    assert [lease(store), lease(store)] == ["B1", "B1"]


def test_what_was_sent_stays_sent_until_the_system_says_no(store, take_back):
    take_back("B1")
    work = store.deferred.lease_next(LIB, lease=LEASE)
    assert store.deferred.mark_sent(work, lease=LEASE)
    store.deferred.release(work.seq, was_sent=True)
    assert store.deferred.find_work(work.seq).sent_at is not None
    store.deferred.release(work.seq, was_sent=False)
    assert store.deferred.find_work(work.seq).sent_at is None
    work = store.deferred.lease_next(LIB, lease=LEASE)
    assert store.deferred.mark_sent(work, lease=LEASE)
    store.deferred.finish(work.seq, DeferredState.CONFLICT, reason="no", refused=True)
    assert store.deferred.find_work(work.seq).sent_at is None


def test_a_worker_that_took_too_long_tells_nothing_any_more(store, take_back, clock):
    take_back("B1")
    slow = store.deferred.lease_next(LIB, lease=LEASE)
    clock.advance(seconds=61)
    quick = store.deferred.lease_next(LIB, lease=LEASE)
    assert store.deferred.mark_sent(quick, lease=LEASE)
    assert not store.deferred.mark_sent(slow, lease=LEASE), "another one is telling it"


@pytest.mark.parametrize("state", [DeferredState.DROPPED, DeferredState.WAITING])
def test_a_row_that_a_person_took_away_meanwhile_is_not_told(store, take_back, state):
    take_back("B1")
    work = store.deferred.lease_next(LIB, lease=LEASE)
    assert store.deferred.resolve(work.seq, DeferredState.DROPPED, actor="staff", reason="by_hand")
    if state is DeferredState.WAITING:
        with store.work.begin() as unit:
            unit.connection.exec_driver_sql("UPDATE deferred SET state = 'skipped'")
        assert store.deferred.resolve(work.seq, state, actor="staff", reason="again")
    assert not store.deferred.mark_sent(work, lease=LEASE)


def test_the_first_silence_is_remembered_until_the_system_is_away(store, take_back, clock):
    take_back("B1")
    seq = store.deferred.lease_next(LIB, lease=LEASE).seq
    first = store.deferred.note_absent(seq)
    clock.advance(minutes=4)
    assert store.deferred.note_absent(seq) == first
    store.deferred.forget_absent(LIB)
    assert store.deferred.note_absent(seq) > first


def test_a_row_ends_once_and_a_conflict_has_one_task(store, take_back):
    take_back("B1")
    seq = store.deferred.lease_next(LIB, lease=LEASE).seq
    store.deferred.finish(seq, DeferredState.SKIPPED, reason="renewed", facts={"renewals": 1})
    store.deferred.finish(seq, DeferredState.DONE)
    (task,) = store.tasks.list_tasks(LIB, kind=TaskKind.AWAY_CONFLICT)
    assert (task.detail["seq"], task.detail["ils_renewals"]) == (seq, 1)
    assert store.deferred.find_work(seq).state is DeferredState.SKIPPED
    assert store.deferred.resolve(seq, DeferredState.WAITING, actor="li", reason="again")
    assert store.tasks.list_tasks(LIB, kind=TaskKind.AWAY_CONFLICT) == ()
    assert lease(store) == "B1"
    assert store.audit.verify()[0]


def test_backlogs_are_counted_by_library_and_owner(store, take_back, clock):
    take_back("B1")
    oldest = store.deferred.list_unresolved()[0].recorded_at
    clock.advance(minutes=5)
    take_back("B2")
    take_back("X1", code=OTHER)
    seq = store.deferred.lease_next(LIB, lease=LEASE).seq
    store.deferred.put_off(seq, until=clock(), failed=True, reason="failed")
    first, second = store.deferred.list_backlogs()
    assert (first.institution, first.waiting, first.owners) == (LIB, 2, {LIB: 2})
    assert (first.oldest, second.waiting) == (oldest, 1)
    assert first.untried_since > oldest
    store.deferred.finish(seq, DeferredState.CONFLICT, reason="no")
    first = store.deferred.list_backlogs()[0]
    assert (first.waiting, first.conflicts) == (1, 1)


def test_rows_that_ended_are_removed_in_time_and_others_stay(store, take_back, clock):
    for barcode in ("B1", "B2", "B3"):
        take_back(barcode)
    for state in (DeferredState.DONE, DeferredState.SKIPPED):
        seq = store.deferred.lease_next(LIB, lease=LEASE).seq
        store.deferred.finish(seq, state)
    clock.advance(days=91)
    rule, border = RetentionRule.DEFERRED, clock() - timedelta(days=90)
    assert store.privacy.count_due(rule, border).count == 1
    assert store.privacy.remove_due(rule, border, limit=10, actor="worker") == 1
    left = [work.item.barcode for work in store.deferred.list_unresolved()]
    assert left == ["B2", "B3"]
