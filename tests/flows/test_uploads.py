"""What a machine uploads with its own time, when the item has changed since (decision 14)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from connector.domain.ids import Barcode, InstitutionId
from connector.ports.tasks import TaskKind
from connector.sip2.codec import Message
from tests.support.world import SHANGHAI, Kiosk, World


@pytest.fixture
def uploading(make_world: Callable[..., World]) -> World:
    return make_world(terminal='permissions = ["offline_upload"]')


def stamp(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y%m%d    %H%M%S")


def upload_return(kiosk: Kiosk, barcode: str, at: datetime) -> Message:
    kiosk.item(barcode)  # its clock is compared with ours
    fixed = {"no_block": "Y", "transaction_date": kiosk.stamp(), "return_date": stamp(at)}
    fields = [("AP", ""), ("AO", ""), ("AB", barcode), ("AC", "")]
    return kiosk.client.exchange(Message("09", fixed, fields))


def upload_checkout(kiosk: Kiosk, card: str, barcode: str, at: datetime) -> Message:
    kiosk.item(barcode)
    request = kiosk.checkout_request(card, barcode)
    request.fixed |= {"no_block": "Y", "transaction_date": stamp(at)}
    return kiosk.client.exchange(request)


def tasks_of(world: World) -> list[Any]:
    found = world.app.store.tasks.list_tasks(InstitutionId("KOHA-A"), kind=TaskKind.AWAY_CONFLICT)
    return list(found)


def test_an_uploaded_return_older_than_the_loan_closes_nothing(uploading: World) -> None:
    world = uploading
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    before = world.clock()
    world.clock.advance(hours=2)
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    for _ in range(2):
        answer = upload_return(kiosk, "B1", before)
        assert answer.fixed["ok"] == "0"
        assert "工作人员" in answer.get("AF")
    assert Barcode("B1") in ils.stock.loans
    assert len(world.app.store.ledger.list_unclosed(patron)) == 1
    (task,) = tasks_of(world)
    assert (task.detail["verb"], task.detail["reason"]) == ("checkin", "outdated")
    assert datetime.fromisoformat(task.detail["occurred_at"]) == before
    world.clock.advance(minutes=1)
    assert kiosk.charged("S1") == ["B1"]
    assert upload_return(kiosk, "B1", world.clock()).fixed["ok"] == "1", "one of today is taken"
    assert ils.stock.loans == {}


def test_an_uploaded_return_older_than_a_desk_loan_closes_nothing(uploading: World) -> None:
    """The ledger knows nothing of it; the library system tells since when it is out."""
    world = uploading
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.new_patron("ADULT-1")
    before = world.clock()
    world.clock.advance(hours=2)
    ils.desk_checkout("ADULT-1", "B1")
    world.clock.advance(hours=1)
    assert upload_return(kiosk, "B1", before).fixed["ok"] == "0"
    assert Barcode("B1") in ils.stock.loans
    assert len(tasks_of(world)) == 1


def test_an_uploaded_checkout_older_than_the_return_lends_nothing(uploading: World) -> None:
    world = uploading
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    before = world.clock()
    world.clock.advance(hours=2)
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    assert upload_checkout(kiosk, "S1", "B1", before).fixed["ok"] == "0"
    assert ils.stock.loans == {}
    assert world.app.store.ledger.list_unclosed(patron) == ()
    (task,) = tasks_of(world)
    assert task.patron_id == patron, "staff must know whom to ask"


@pytest.mark.parametrize("away", [False, True])
def test_uploads_in_their_order_are_carried_out(uploading: World, *, away: bool) -> None:
    world = uploading
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    first = world.clock()
    world.clock.advance(hours=1)
    second = world.clock()
    world.clock.advance(hours=1)
    if away:
        ils.set_down()
    assert upload_checkout(kiosk, "S1", "B1", first).fixed["ok"] == "1"
    assert upload_return(kiosk, "B1", second).fixed["ok"] == "1"
    ils.set_down(down=False)
    world.app.replay.run_all()
    assert [change.kind for change in ils.stock.changes] == ["checkout", "checkin"]
    assert ils.stock.returned[Barcode("B1")] == second
    assert tasks_of(world) == []
