"""Settlement when one library's adapter breaks: the others are settled, and the worker goes on."""

from __future__ import annotations

import asyncio

from connector.cli.serve import repeating
from connector.domain.loan import LoanState
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
