"""Holds, blocks and item status without an answer: asked once, told as not confirmed, not repeated."""

from __future__ import annotations

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.sip2.codec import Message
from connector.testing.faults import Fault, FaultKind
from tests.support.world import World

PERMISSIONS = 'permissions = ["block_patron", "enable_patron", "item_status"]'


def hold(world: World, mode: str, code: str = "KOHA-A", *more: tuple[str, str]) -> Message:
    world.clock.advance(seconds=1)  # the same frame again would be a retransmission
    kiosk = world.kiosk(code)
    return kiosk.ask("15", {"hold_mode": mode}, ("AA", "S1"), ("AB", "B1"), *more)


@pytest.fixture
def lent(world: World) -> World:
    """Somebody else has B1 out at two libraries."""
    world.add_pupil("S1", at=("KOHA-A", "SIP-C"))
    for code in ("KOHA-A", "SIP-C"):
        world.add_items(code, "B1")
        world.ils(code).new_patron("X1")
        world.ils(code).desk_checkout("X1", "B1")
    return world


def test_a_hold_that_was_placed_is_found_by_asking_once(lent: World) -> None:
    ils = lent.ils("KOHA-A")
    ils.fail("place_hold", Fault(FaultKind.DONE_NO_ANSWER))
    assert hold(lent, "+").fixed["ok"] == "1"
    assert (ils.count_calls("place_hold"), ils.count_calls("list_holds")) == (1, 1)
    ils.fail("cancel_hold", Fault(FaultKind.DONE_NO_ANSWER))
    assert hold(lent, "-").fixed["ok"] == "1"
    assert ils.count_calls("cancel_hold") == 1
    assert ils.list_holds(IlsPatronId("S1")) == ()


def test_one_that_is_not_seen_is_not_confirmed(lent: World) -> None:
    ils = lent.ils("KOHA-A")
    ils.fail("place_hold", Fault(FaultKind.NO_ANSWER))
    answer = hold(lent, "+")
    assert (answer.fixed["ok"], "尚未确认" in answer.get("AF")) == ("0", True)
    assert hold(lent, "+").fixed["ok"] == "1"
    ils.fail("cancel_hold", Fault(FaultKind.NO_ANSWER))
    answer = hold(lent, "-")
    assert (answer.fixed["ok"], "尚未确认" in answer.get("AF")) == ("0", True)


def test_another_pickup_place_counts_only_when_it_is_seen(lent: World) -> None:
    ils = lent.ils("KOHA-A")
    assert hold(lent, "+").fixed["ok"] == "1"
    ils.fail("place_hold", Fault(FaultKind.NO_ANSWER))
    assert hold(lent, "*", "KOHA-A", ("BS", "EAST")).fixed["ok"] == "0"


def test_an_ils_that_cannot_list_holds_is_not_asked(lent: World) -> None:
    ils = lent.ils("SIP-C")
    ils.fail("place_hold", Fault(FaultKind.DONE_NO_ANSWER))
    answer = hold(lent, "+", "SIP-C")
    assert (answer.fixed["ok"], "尚未确认" in answer.get("AF")) == ("0", True)
    assert ils.count_calls("place_hold") == 1


def test_a_block_without_an_answer_shows_the_card_as_it_is_then(make_world) -> None:
    world: World = make_world(terminal=PERMISSIONS)
    world.add_pupil("S1")
    kiosk, ils = world.kiosk(), world.ils("KOHA-A")
    fields = (("AA", "S1"), ("AL", ""), ("AC", ""))
    ils.fail("block_patron", Fault(FaultKind.NO_ANSWER), Fault(FaultKind.DONE_NO_ANSWER))
    first = kiosk.ask("01", {"card_retained": "Y"}, *fields)
    assert first.fixed["patron_status"][0] == " "
    world.clock.advance(seconds=1)
    second = kiosk.ask("01", {"card_retained": "Y"}, *fields)
    assert second.fixed["patron_status"][0] == "Y"
    assert ils.count_calls("block_patron") == 2


def test_an_item_status_without_an_answer_is_not_confirmed(make_world) -> None:
    world: World = make_world(terminal=PERMISSIONS)
    world.add_items("KOHA-A", "B1")
    ils = world.ils("KOHA-A")
    ils.fail("update_item_status", Fault(FaultKind.NO_ANSWER))
    answer = world.kiosk().ask("19", {}, ("AB", "B1"), ("CH", "damaged"))
    assert (answer.fixed["item_properties_ok"], "尚未确认" in answer.get("AF")) == ("0", True)
    assert ils.count_calls("update_item_status") == 1
    assert Barcode("B1") in ils.stock.items
