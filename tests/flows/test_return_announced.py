"""That a return is being told is committed before the ILS hears of it, and is taken back once its answer is known."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from connector.domain.loan import LoanState
from connector.testing.faults import Fault, FaultKind
from tests.support.fault_proxy import wait_until
from tests.support.world import World

REFUSE = "away = { returns = 'refuse' }"


def lend(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "A1")
    assert world.kiosk().checkout("S1", "A1").fixed["ok"] == "1"


def questions(world: World) -> list[tuple[object, object]]:
    return [(row["verb"], row["state"]) for row in world.rows("deferred")]


def test_while_the_ils_works_the_question_is_there_and_nobody_asks_it(world: World) -> None:
    lend(world)
    gate = threading.Event()
    world.ils("KOHA-A").fail("checkin", Fault(gate=gate))
    kiosk = world.kiosk()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(kiosk.checkin("A1").fixed["ok"]))
    thread.start()
    wait_until(lambda: questions(world) == [("confirm_return", "waiting")])
    asked = [call.operation for call in world.ils("KOHA-A").calls]
    report = world.app.replay.run_all()
    assert (report.done, report.conflicts) == (0, 0)
    assert [call.operation for call in world.ils("KOHA-A").calls] == asked
    gate.set()
    thread.join(20)
    assert answers == ["1"]
    assert questions(world) == []


def test_a_refused_return_leaves_no_question(world: World) -> None:
    lend(world)
    world.ils("KOHA-A").fail("checkin", Fault(FaultKind.REFUSED))
    assert world.kiosk().checkin("A1").fixed["ok"] == "0"
    assert questions(world) == []


def test_a_return_that_was_not_sent_leaves_no_question(make_world: Callable[..., World]) -> None:
    world = make_world(library=REFUSE)
    lend(world)
    world.ils("KOHA-A").fail("checkin", Fault(FaultKind.NOT_SENT))
    assert world.kiosk().checkin("A1").fixed["ok"] == "0"
    assert questions(world) == []


@pytest.mark.parametrize("kind", [FaultKind.DONE_NO_ANSWER, FaultKind.NO_ANSWER])
def test_after_silence_the_question_may_be_asked_at_once(
    make_world: Callable[..., World], kind: FaultKind
) -> None:
    world = make_world(library=REFUSE)
    lend(world)
    world.ils("KOHA-A").fail("checkin", Fault(kind))
    world.ils("KOHA-A").fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
    assert world.kiosk().checkin("A1").fixed["ok"] == "0"
    (row,) = world.rows("deferred")
    assert (row["verb"], row["state"], row["lease_until"]) == ("confirm_return", "waiting", None)
    for _ in range(3):
        world.app.replay.run_all()
        world.clock.advance(seconds=200)
    (loan,) = world.rows("loan")
    done = kind is FaultKind.DONE_NO_ANSWER
    assert loan["state"] == (LoanState.RETURNED if done else LoanState.OPEN)
    assert questions(world) == [("confirm_return", "done" if done else "dropped")]


def test_a_question_that_a_crash_left_is_asked_when_nobody_can_wait_any_more(world: World) -> None:
    lend(world)
    gate = threading.Event()
    world.ils("KOHA-A").fail("checkin", Fault(gate=gate, gate_after=True))
    thread = threading.Thread(target=world.kiosk().checkin, args=("A1",))
    thread.start()
    wait_until(lambda: questions(world) != [])
    (row,) = world.rows("deferred")
    waits = row["lease_until"] - row["sent_at"]
    assert timedelta(seconds=8) < waits < timedelta(minutes=1)
    gate.set()
    thread.join(20)


def test_a_book_of_nobody_we_enrolled_needs_no_question(world: World) -> None:
    world.add_items("KOHA-A", "A1")
    world.ils("KOHA-A").new_patron("ADULT")
    kiosk = world.kiosk()
    assert kiosk.checkout("ADULT", "A1").fixed["ok"] == "1"
    gate = threading.Event()
    world.ils("KOHA-A").fail("checkin", Fault(gate=gate))
    thread = threading.Thread(target=kiosk.checkin, args=("A1",))
    thread.start()
    wait_until(lambda: any(call.operation == "checkin" for call in world.ils("KOHA-A").calls))
    assert questions(world) == []
    gate.set()
    thread.join(20)
