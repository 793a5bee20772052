"""Scenario 37, as far as one library goes: many returns in a burst for a library system that is down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from connector.domain.ids import Barcode, InstitutionId
from connector.testing.fake_ils import Fault
from tests.support.world import World

RETURNS = 400
MACHINES = 4


def test_s37_a_burst_for_a_system_that_is_down_is_kept_and_told_in_order(world: World) -> None:
    ils = world.ils("KOHA-A")
    pupils = [world.add_pupil(f"S{n}") for n in range(RETURNS // 8)]
    barcodes = [f"B{n}" for n in range(RETURNS)]
    world.add_items("KOHA-A", *barcodes)
    for n, barcode in enumerate(barcodes):
        ils.desk_checkout(f"S{n // 8}", barcode)
    world.clock.advance(hours=1)
    first = world.kiosk()
    for n in range(len(pupils)):
        first.information(f"S{n}")  # adopts what the desk lent
    world.clock.advance(hours=1)
    ils.set_down()
    kiosks = [first, *(world.kiosk() for _ in range(MACHINES - 1))]
    world.add_pupil("T1", at=("FOLIO-B",))
    world.add_items("FOLIO-B", *(f"X{n}" for n in range(8)))
    other = world.kiosk("FOLIO-B")

    def give_back(machine: int) -> list[str]:
        mine = barcodes[machine::MACHINES]
        return [kiosks[machine].checkin(barcode).fixed["ok"] for barcode in mine]

    with ThreadPoolExecutor(MACHINES) as pool:
        waiting = [pool.submit(give_back, machine) for machine in range(MACHINES)]
        lent = [other.checkout("T1", f"X{n}").fixed["ok"] for n in range(8)]
        answers = [ok for future in waiting for ok in future.result()]
    assert set(answers) == {"1"}
    assert lent == ["1"] * 8, "the other library does not notice"
    ledger = world.app.store.ledger
    assert not any(ledger.list_unclosed(patron) for patron in pupils), "all places are free"
    (backlog,) = world.app.away.list_backlogs()
    assert (backlog.institution, backlog.waiting) == ("KOHA-A", RETURNS)
    assert backlog.owners == {"KOHA-A": RETURNS}
    ils.set_down(down=False)
    told_from = len(ils.stock.changes)
    assert world.app.replay.run_all().done == RETURNS
    assert ils.stock.loans == {}
    rows = world.rows("deferred")
    assert [change.barcode for change in ils.stock.changes[told_from:]] == [
        row["barcode"] for row in rows
    ]
    assert {row["state"] for row in rows} == {"done"}
    assert world.app.away.list_backlogs() == ()


def test_s37_a_hung_system_keeps_no_other_waiting(world: World) -> None:
    gate = threading.Event()
    for code, barcodes in (("KOHA-A", ("A1", "A2")), ("FOLIO-B", ("B1", "B2"))):
        kiosk, ils = world.kiosk(code), world.ils(code)
        ils.new_patron("ADULT-1")
        world.add_items(code, *barcodes)
        for barcode in barcodes:
            ils.desk_checkout("ADULT-1", barcode)
        world.clock.advance(hours=1)
        ils.set_down()
        for barcode in barcodes:
            assert kiosk.checkin(barcode).fixed["ok"] == "1"
        ils.set_down(down=False)
    hung, alive = world.ils("KOHA-A"), world.ils("FOLIO-B")
    hung.fail("checkin", Fault(gate=gate))
    try:
        world.app.replay.kick()
        wait_for(lambda: not alive.stock.loans)
        assert len(hung.stock.loans) == 2
        world.app.replay.kick()
        assert world.app.replay.run_library(InstitutionId("KOHA-A")).done == 0, "one round each"
    finally:
        gate.set()
    wait_for(lambda: not hung.stock.loans)


def test_s37_one_item_that_never_answers_lets_the_others_through(world: World) -> None:
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.new_patron("ADULT-1")
    barcodes = [f"B{n}" for n in range(20)]
    world.add_items("KOHA-A", *barcodes)
    for barcode in barcodes:
        ils.desk_checkout("ADULT-1", barcode)
    world.clock.advance(hours=1)
    ils.set_down()
    for barcode in barcodes:
        assert kiosk.checkin(barcode).fixed["ok"] == "1"
    ils.set_down(down=False)
    poison(world, "B3")
    for _ in range(4):
        world.app.replay.run_all()
        world.clock.advance(seconds=15)
    assert list(ils.stock.loans) == ["B3"]
    for _ in range(100):
        world.app.replay.run_all()
        world.clock.advance(minutes=5)
    (row,) = [row for row in world.rows("deferred") if row["state"] != "done"]
    assert (row["barcode"], row["state"], row["reason"]) == ("B3", "conflict", "failed")


def poison(world: World, barcode: str) -> None:
    """Let the library system answer nonsense whenever it is told of this item."""
    ils = world.ils("KOHA-A")
    real = ils.checkin

    def checkin(number: Barcode, *arguments: object, **more: object) -> object:
        if number == barcode:
            raise ValueError("nonsense")
        return real(number, *arguments, **more)  # type: ignore[arg-type]

    ils.checkin = checkin  # type: ignore[method-assign, assignment]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a thread of the worker has come so far."""
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came so far")
