"""Every request gets its own pair with every required tag, whatever an ILS that speaks SIP2 answers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.sip2.codec import Message, decode
from connector.sip2.replies import answer_code
from connector.sip2.spec import SPECS
from connector.sip2.terminal import WireProfile
from tests.support.passing_world import NO_DATE, PassingWorld
from tests.support.scripted_ils import Reply
from tests.support.scripted_ils import answer as reply
from tests.support.world import World

TERMINAL = "permissions = ['block_patron', 'enable_patron', 'item_status']"
FEATURES = {"features": {"block_patron": True, "patron_enable": True}}

REQUESTS = {
    "23": "23019{now}AOK|AA{card}|AC|AD2580|",
    "63": "63019{now}  Y       AOK|AA{card}|",
    "63 AS": "63019{now}Y         AOK|AA{card}|",
    "11": "11NN{now}{no}AOK|AA{card}|ABB1|AC|",
    "11 no block": "11NY{now}{now}AOK|AA{card}|ABB2|AC|",
    "29": "29NN{now}{no}AOK|AA{card}|ABB1|",
    "65": "65{now}AOK|AA{card}|",
    "09": "09N{now}{now}AP|AOK|ABB1|AC|",
    "01": "01N{now}AOK|ALlost|AA{card}|AC|",
    "25": "25{now}AOK|AA{card}|",
    "15": "15+{now}AOK|AA{card}|ABB1|",
    "15 -": "15-{now}AOK|AA{card}|ABB1|",
    "17": "17{now}AOK|ABB1|",
    "19": "19{now}AOK|ABB1|CHtorn|AC|",
    "35": "35{now}AOK|AA{card}|",
    "37": "37{now}0100CNYBV1.00|AOK|AA{card}|",
}

FAULTS: dict[str, Callable[[Message], Reply]] = {
    "closes": lambda _: None,
    "says nothing": lambda _: b"",
    "garbage": lambda _: b"\x00\xff\xfe|||AA\r",
    "half a frame, then closes": lambda request: None if request.code == "17" else b"6",
    "plain text": lambda _: b"Problems handling the request: java.lang.NullPointerException\r\n",
    "an empty line": lambda _: b"\r\r",
    "a telnet prompt": lambda _: b"login: \r",
    "nothing but the code": lambda request: f"{answer_code(request.code)}\r".encode(),
    "the code and ok": lambda request: f"{answer_code(request.code)}1\r".encode(),
    "tags without a fixed part": lambda request: f"{answer_code(request.code)}AAX|ZZ|\r".encode(),
    "another pair": lambda request: (
        b"361" if request.code == "35" else b"36Y20261121    100000AO|\r"
    ),
    "a bad checksum": lambda request: f"{answer_code(request.code)}1AY0AZ0000\r".encode(),
    "send again": lambda _: b"96AZFEF6\r",
    "off-line": lambda _: Message("98", {"online": "N"}, [("AO", ""), ("BX", "N" * 16)]),
    "control characters": lambda request: (
        f"{answer_code(request.code)}1{' ' * 60}|AA\x01\x02|AFa\x00b\x0bc|\r".encode()
    ),
}
REFUSE = "away = { returns = 'refuse' }"
YES = {"12": "ok", "10": "ok", "30": "ok", "16": "ok", "38": "payment_accepted"}

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""What the ILS answers is nothing to the database."""


@pytest.fixture
def library(make_world: Callable[..., World], tmp_path: Path) -> Iterator[PassingWorld]:
    one = PassingWorld(
        make_world, tmp_path, answer_s=0.15, settings=FEATURES, terminal=TERMINAL, library=REFUSE
    )
    one.enrol("S1", ils_number="700123")
    yield one
    one.close()


@pytest.mark.parametrize("card", ["A9", "S1"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_gets_its_own_pair(library: PassingWorld, fault: str, card: str) -> None:
    library.ils.answers |= dict.fromkeys({name[:2] for name in REQUESTS}, FAULTS[fault])
    for name, frame in REQUESTS.items():
        text = frame.format(now=library.now, no=NO_DATE, card=card)
        raw = library.raw(text).encode()
        code = answer_code(name[:2]) or ""
        answer = decode(raw, WireProfile())
        assert answer.code == code, name
        assert answer.problems == (), name
        assert answer.message is not None
        lacking = [tag for tag in SPECS[code].required if not answer.message.has(tag)]
        assert lacking == [], name
        if code in YES and "ok" not in fault and "control" not in fault:
            assert answer.message.fixed[YES[code]] in {"0", "N"}, name
        if code == "66" and "control" not in fault:
            assert answer.message.fixed["renewed_count"] == "0000"
        library.world.clock.advance(seconds=1)
    still_there = library.kiosk.ask("35", {}, ("AA", card))
    assert still_there.fixed["end_session"] == "Y"


@pytest.mark.parametrize("card", ["A9", "S1"])
@pytest.mark.parametrize("fault", ["closes", "plain text", "another pair", "says nothing"])
def test_when_only_what_changes_something_fails(
    library: PassingWorld, fault: str, card: str
) -> None:
    for code in ("11", "29", "09", "65", "15", "37", "01", "25", "19"):
        library.ils.answers[code] = FAULTS[fault]
    library.ils.answers["17"] = lambda request: reply(
        request, {"AJ": "书"}, circulation_status="04"
    )
    for name in ("11", "29", "65", "09", "15", "37", "01", "25", "19"):
        text = REQUESTS[name].format(now=library.now, no=NO_DATE, card=card)
        answer = decode(library.raw(text).encode(), WireProfile())
        assert answer.code == answer_code(name)
        assert answer.message is not None
        if answer.code in YES:
            assert answer.message.fixed[YES[answer.code]] in {"0", "N"}, name
            assert answer.message.get("AF"), name
    assert library.ils.counts["11"] <= 1, "never told twice"
    assert library.ils.counts["29"] <= 1
    assert library.ils.counts["37"] == 1
