"""A book is lost; it keeps its place until the library has settled it (scenario 43)."""

from __future__ import annotations

import pytest

from connector.domain.ids import InstitutionId, PatronId
from connector.domain.loan import Loan, LoanState
from connector.ports.tasks import TaskKind
from connector.services.losses import LossOutcome
from tests.support.world import Kiosk, World

KOHA_A = InstitutionId("KOHA-A")
STAFF = "cli:staff"


def lend(world: World, count: int) -> tuple[PatronId, Kiosk]:
    patron, kiosk = world.add_pupil("S1"), world.kiosk()
    barcodes = [f"B{number}" for number in range(1, 10)]
    world.add_items("KOHA-A", *barcodes)
    for barcode in barcodes[:count]:
        assert kiosk.checkout("S1", barcode).fixed["ok"] == "1"
    return patron, kiosk


def loan_of(world: World, barcode: str) -> Loan:
    (loan,) = world.app.store.ledger.find_by_barcode(barcode)
    return loan


def position_of(world: World, barcode: str) -> object:
    (row,) = [row for row in world.rows("item_position") if row["barcode"] == barcode]
    return row["position"]


def tasks(world: World) -> list[tuple[str, str]]:
    found = world.app.store.tasks.list_tasks(KOHA_A, kind=TaskKind.LOST_ITEM, include_done=True)
    return [(str(task.detail["item"]), task.outcome) for task in found]


def test_s43_a_lost_item_keeps_its_place_until_the_library_has_settled_it(world: World) -> None:
    patron, kiosk = lend(world, 8)
    losses = world.app.losses
    assert losses.declare(loan_of(world, "B1"), LoanState.LOST, actor=STAFF) is LossOutcome.DONE

    assert kiosk.checkout("S1", "B9").fixed["ok"] == "0"
    world.clock.advance(days=3)
    assert kiosk.renew("S1", "B2").fixed["ok"] == "0"
    assert position_of(world, "B1") == "lost"
    assert tasks(world) == [("KOHA-A:B1", "")]

    world.clock.advance(days=18)
    assert losses.settle(loan_of(world, "B1"), actor=STAFF) is LossOutcome.STILL_IN_ILS
    world.ils("KOHA-A").desk_checkin("B1")
    world.ils("KOHA-A").delete_item(loan_of(world, "B1").item.barcode)
    assert losses.settle(loan_of(world, "B1"), actor=STAFF) is LossOutcome.DONE

    assert tasks(world) == [("KOHA-A:B1", "compensated")]
    assert position_of(world, "B1") == "withdrawn"
    assert kiosk.renew("S1", "B2").fixed["ok"] == "1"
    assert kiosk.checkout("S1", "B9").fixed["ok"] == "1"
    assert len(world.app.store.ledger.list_unclosed(patron)) == 8
    states = {row["barcode"]: row["state"] for row in world.rows("loan")}
    assert states["B1"] == "closed"
    assert world.app.store.audit.verify()[0]


def test_s43_a_read_of_the_ils_does_not_end_a_loss(world: World) -> None:
    patron, kiosk = lend(world, 2)
    world.app.losses.declare(loan_of(world, "B1"), LoanState.LOST, actor=STAFF)
    world.ils("KOHA-A").desk_checkin("B1")
    kiosk.information("S1")
    assert {loan.state for loan in world.app.store.ledger.list_unclosed(patron)} == {
        LoanState.OPEN,
        LoanState.LOST,
    }


def test_s43_a_lost_item_that_is_brought_back_is_simply_returned(world: World) -> None:
    patron, kiosk = lend(world, 2)
    world.app.losses.declare(loan_of(world, "B1"), LoanState.LOST, actor=STAFF)
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert tasks(world) == [("KOHA-A:B1", "returned")]
    assert position_of(world, "B1") == "at_owner"
    assert [loan.item.barcode for loan in world.app.store.ledger.list_unclosed(patron)] == ["B2"]
    world.clock.advance(days=3)
    assert kiosk.renew("S1", "B2").fixed["ok"] == "1"


def test_s43_a_lost_item_that_turns_up_at_home_goes_on_being_lent(world: World) -> None:
    _, kiosk = lend(world, 1)
    losses = world.app.losses
    losses.declare(loan_of(world, "B1"), LoanState.LOST, actor=STAFF)
    losses.declare(loan_of(world, "B1"), LoanState.LOST, actor=STAFF)
    assert losses.declare(loan_of(world, "B1"), LoanState.OPEN, actor=STAFF) is LossOutcome.DONE
    assert tasks(world) == [("KOHA-A:B1", "open")]
    world.clock.advance(days=3)
    assert kiosk.renew("S1", "B1").fixed["ok"] == "1"


@pytest.mark.parametrize("state", [LoanState.CLAIMED_RETURNED, LoanState.LOST])
def test_only_what_is_lost_can_be_settled(world: World, state: LoanState) -> None:
    _, kiosk = lend(world, 1)
    losses = world.app.losses
    assert losses.settle(loan_of(world, "B1"), actor=STAFF) is LossOutcome.WRONG_STATE
    losses.declare(loan_of(world, "B1"), state, actor=STAFF)
    world.ils("KOHA-A").desk_checkin("B1")
    wanted = LossOutcome.DONE if state is LoanState.LOST else LossOutcome.WRONG_STATE
    assert losses.settle(loan_of(world, "B1"), actor=STAFF) is wanted
    assert kiosk.client is not None
