"""One item that a SIP2 ILS stumbles over holds up no other: in the queue of what it is to hear, and in settlement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.domain.loan import LoanState
from connector.errors import AdapterUnavailable
from connector.sip2.codec import Message
from tests.support.sip2_world import Sip2World

CODE = "SIP-A"


@pytest.fixture
def net(tmp_path: Path, store_url: str) -> Iterator[Sip2World]:
    one = Sip2World(
        tmp_path,
        store_url,
        codes=(CODE,),
        ils={"failures": 1000, "answer_s": 2.0, "connect_s": 2.0},
        library='[libraries.away]\ncheckouts = "permit"\nitems = 5',
    )
    yield one
    one.close()


def stumble(net: Sip2World, code: str, barcode: str, by: Callable[[], Message]) -> None:
    """Let the ILS fail at every such message about one item."""
    answers = net.sites[CODE].server.answers
    act = answers[code]

    def answer(request: Message, caller: Any) -> Message:
        return by() if request.get("AB") == barcode else act(request, caller)

    answers[code] = answer


def hang_up() -> Message:
    raise AdapterUnavailable("local", CODE, "hangs up")


def states(net: Sip2World, table: str) -> dict[object, object]:
    return {row["barcode"]: row["state"] for row in net.rows(table)}


def test_a_return_that_the_ils_does_not_understand_holds_up_no_other(net: Sip2World) -> None:
    net.add_items(CODE, "B1", "B2")
    kiosk = net.kiosk(CODE)
    net.stop_ils(CODE)
    for barcode in ("B1", "B2"):
        assert kiosk.checkin(barcode).fixed["ok"] == "1"
    net.start_ils(CODE)
    stumble(net, "17", "B1", lambda: Message("96"))
    net.clock.advance(minutes=1)
    net.app.replay.run_all()
    assert states(net, "deferred") == {"B1": "waiting", "B2": "done"}
    for _ in range(14):
        net.clock.advance(minutes=20)
        net.app.replay.run_all()
    assert states(net, "deferred") == {"B1": "conflict", "B2": "done"}


@pytest.mark.parametrize("by", [hang_up, lambda: Message("96")])
def test_an_item_that_the_ils_does_not_tell_of_keeps_no_other_unsettled(
    net: Sip2World, by: Callable[[], Message]
) -> None:
    patron = net.add_pupil("S1")
    net.add_items(CODE, "B1", "B2")
    kiosk = net.kiosk(CODE)
    answers = net.sites[CODE].server.answers
    lend = answers["11"]
    answers["11"] = lambda *_: hang_up()
    for barcode in ("B1", "B2"):
        assert kiosk.checkout("S1", barcode).fixed["ok"] == "0"
    answers["11"] = lend
    assert states(net, "loan") == {"B1": "unknown", "B2": "unknown"}
    stumble(net, "17", "B1", by)
    for _ in range(3):
        net.clock.advance(seconds=200)
        net.app.settlement.run_once()
    assert states(net, "loan") == {"B1": "unknown", "B2": "refused"}
    assert not net.rows("task")
    net.clock.advance(hours=2)
    net.app.settlement.run_once()
    assert len(net.rows("task")) == 1, "nothing stays open silently"
    loans = net.app.store.ledger.list_unclosed(patron)
    assert [loan.state for loan in loans] == [LoanState.UNKNOWN]


def test_an_ils_that_says_it_did_not_understand_is_not_away(net: Sip2World) -> None:
    """It is there, and its word on the loan is wanted."""
    patron = net.add_pupil("S1")
    net.add_items(CODE, "B1")
    stumble(net, "11", "B1", lambda: Message("96"))
    assert net.kiosk(CODE).checkout("S1", "B1").fixed["ok"] == "0"
    assert net.app.store.ledger.list_unclosed(patron) == ()
    assert not net.rows("deferred")
