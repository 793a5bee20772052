"""Settlement when one library's adapter breaks: the others are settled, and the worker goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from connector.cli.worker import repeating
from connector.domain.loan import LoanState
from connector.services.settlement import Settlement, SettlementReport
from connector.testing.faults import Fault, FaultKind
from tests.support.world import World

BROKEN = Fault(FaultKind.REFUSED)
"""The fake cannot refuse a question and raises ``ValueError``: a bug of an adapter."""


def test_a_broken_adapter_keeps_no_other_library_waiting(world: World) -> None:
    patron = world.add_pupil("S1", at=("KOHA-A", "FOLIO-B"))
    for code, barcode in (("KOHA-A", "A1"), ("FOLIO-B", "B1")):
        world.add_items(code, barcode)
        world.ils(code).fail("checkout", Fault(FaultKind.DONE_NO_ANSWER))
        world.ils(code).fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
        assert world.kiosk(code).checkout("S1", barcode).fixed["ok"] == "0"
    world.ils("KOHA-A").fail("fetch_item_loan", BROKEN)
    report = world.app.settlement.run_once()
    assert (report.opened, report.unreachable) == (1, 1)
    states = {loan.lender: loan.state for loan in world.app.store.ledger.list_unclosed(patron)}
    assert states == {"KOHA-A": LoanState.UNKNOWN, "FOLIO-B": LoanState.DISPUTED}
    world.clock.advance(seconds=15)
    assert world.app.settlement.run_once().opened == 1


def test_a_hung_ils_keeps_no_other_library_waiting(world: World) -> None:
    patron = world.add_pupil("S1", at=("KOHA-A", "FOLIO-B"))
    for code, barcode in (("KOHA-A", "A1"), ("FOLIO-B", "B1")):
        world.add_items(code, barcode)
        world.ils(code).fail("checkout", Fault(FaultKind.DONE_NO_ANSWER))
        world.ils(code).fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
        assert world.kiosk(code).checkout("S1", barcode).fixed["ok"] == "0"
    app = world.app
    settlement = Settlement(
        libraries=app.libraries,
        adapters=app.adapters,
        ledger=app.store.ledger,
        payments=app.store.payments,
        tasks=app.store.tasks,
        now=world.clock,
        patience=timedelta(seconds=2),
    )
    gate = threading.Event()
    world.ils("KOHA-A").fail("fetch_item_loan", Fault(gate=gate))
    try:
        report = settlement.run_once()
        assert (report.opened, report.unreachable) == (1, 1)
        world.clock.advance(seconds=15)
        asked = world.ils("KOHA-A").count_calls("fetch_item_loan")
        assert settlement.run_once() == SettlementReport(), "it is left alone until it is back"
        assert world.ils("KOHA-A").count_calls("fetch_item_loan") == asked
    finally:
        gate.set()
    for _ in range(100):
        states = {loan.state for loan in app.store.ledger.list_unclosed(patron)}
        if states == {LoanState.DISPUTED}:
            break
        time.sleep(0.05)
    assert states == {LoanState.DISPUTED}


def test_how_far_apart_two_answers_must_lie_is_a_setting(make_world: Callable[..., World]) -> None:
    world = make_world(sip2="settle_apart_s = 600")
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "A1")
    world.ils("KOHA-A").fail("checkout", Fault(FaultKind.NO_ANSWER))
    assert world.kiosk().checkout("S1", "A1").fixed["ok"] == "0"
    for seconds in (0, 590):
        world.clock.advance(seconds=seconds)
        assert world.app.settlement.run_once().waiting == 1
    world.clock.advance(seconds=15)
    assert world.app.settlement.run_once().released == 1
    assert world.app.store.ledger.list_unclosed(patron) == ()


def test_a_failing_round_is_followed_by_another() -> None:
    rounds: list[int] = []

    async def work() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def run_once() -> None:
            rounds.append(len(rounds))
            if len(rounds) == 3:
                loop.call_soon_threadsafe(over.set)
            raise ValueError("broken")

        async with repeating("settle", run_once, 0.0):
            await asyncio.wait_for(over.wait(), 30)

    asyncio.run(work())
    assert rounds[:3] == [0, 1, 2]
