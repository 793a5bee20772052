"""98 tells the truth: about the ILS behind the gateway, about the library's choice, about BX."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable
from connector.ports.ils import API_CAPABILITIES, Capability
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.handlers.status import KEEP_S, IlsPulse
from connector.testing.fake_ils import FakeIls, koha_a, sip_c
from tests.support.world import World

KOHA = InstitutionId("KOHA-A")
ASKED = {"status_code": "0", "max_print_width": "080", "protocol_version": "2.00"}
BX = [
    "23",
    "11",
    "09",
    "01",
    "99",
    "97",
    "93",
    "63",
    "35",
    "37",
    "17",
    "19",
    "25",
    "15",
    "29",
    "65",
]


class Pinged(FakeIls):
    """An ILS that a test switches off, and that counts how often it is asked whether it is there."""

    pings = 0
    is_up = True

    def ping(self) -> None:
        self.pings += 1
        if not self.is_up:
            raise AdapterUnavailable("koha", "KOHA-A", "no_connection")


def one_library(make_world: Callable[..., World], **options: str) -> tuple[World, Pinged]:
    ils = Pinged("KOHA-A", name="koha")
    return make_world(adapters={"KOHA-A": ils}, **options), ils


def supported(answer: Message) -> set[str]:
    return {code for code, said in zip(BX, answer.get("BX"), strict=True) if said == "Y"}


def test_all_is_well(make_world: Callable[..., World]) -> None:
    world, _ = one_library(make_world)
    answer = world.kiosk().ask("99", ASKED)
    flags = [answer.fixed[name] for name in ("online", "checkin_ok", "checkout_ok")]
    assert flags == ["Y", "Y", "Y"]
    assert answer.fixed["acs_renewal_policy"] == "Y"
    assert answer.fixed["status_update_ok"] == "N", "19 needs a permission"
    assert answer.fixed["offline_ok"] == "N"
    assert supported(answer) == set(BX) - {"01", "19", "25"}


def test_the_ils_is_down(make_world: Callable[..., World]) -> None:
    world, ils = one_library(make_world, library="away = { returns = 'refuse' }")
    ils.is_up = False
    answer = world.kiosk().ask("99", ASKED)
    for name in ("online", "checkin_ok", "checkout_ok", "acs_renewal_policy", "status_update_ok"):
        assert answer.fixed[name] == "N", name
    assert "11" in supported(answer), "BX tells what there is, not what works at this moment"


@pytest.mark.parametrize(
    ("away", "said"),
    [
        ("returns = 'queue', checkouts = 'refuse'", "NYN"),
        ("returns = 'queue', checkouts = 'permit'", "NYY"),
        ("returns = 'refuse', checkouts = 'permit'", "NNY"),
        ("returns = 'queue', checkouts = 'permit', say_online = true", "YYY"),
    ],
)
def test_what_is_taken_in_its_place(make_world: Callable[..., World], away: str, said: str) -> None:
    world, ils = one_library(make_world, library=f"away = {{ {away} }}")
    ils.is_up = False
    answer = world.kiosk().ask("99", ASKED)
    flags = [answer.fixed[name] for name in ("online", "checkin_ok", "checkout_ok")]
    assert "".join(flags) == said
    assert answer.fixed["acs_renewal_policy"] == "N"


def test_off_line_ok_is_the_terminals_permission(make_world: Callable[..., World]) -> None:
    world, ils = one_library(make_world, terminal="permissions = ['offline_upload']")
    assert world.kiosk().ask("99", ASKED).fixed["offline_ok"] == "Y"
    ils.is_up = False
    assert world.kiosk().ask("99", ASKED).fixed["offline_ok"] == "Y", "it may come later"


def test_many_kiosks_ask_the_ils_once(make_world: Callable[..., World]) -> None:
    world, ils = one_library(make_world)
    kiosk = world.kiosk()
    for _ in range(5):
        kiosk.ask("99", ASKED)
    assert ils.pings == 1


def test_before_the_login_with_one_library(make_world: Callable[..., World]) -> None:
    world, ils = one_library(make_world, library="away = { returns = 'refuse' }")
    ils.is_up = False
    with Sip2Client("127.0.0.1", world.server.port) as client:
        answer = client.exchange(Message("99", ASKED, []))
    assert (answer.code, answer.fixed["online"], answer.fixed["checkin_ok"]) == ("98", "N", "N")


def test_before_the_login_with_several_libraries(world: World) -> None:
    with Sip2Client("127.0.0.1", world.server.port) as client:
        answer = client.exchange(Message("99", ASKED, []))
    assert (answer.code, answer.fixed["online"]) == ("98", "Y")


@pytest.mark.parametrize(
    ("lacking", "codes"),
    [
        (Capability.RENEW, {"29", "65"}),
        (Capability.PLACE_HOLD, {"15"}),
        (Capability.PAY_FEE, {"37"}),
        (Capability.FETCH_PATRON, {"23", "63"}),
        (Capability.FETCH_ITEM, {"17"}),
        (Capability.CHECKIN, {"09"}),
        (Capability.CHECKOUT, {"11"}),
    ],
)
def test_bx_lacks_what_the_ils_cannot_do(
    make_world: Callable[..., World], lacking: Capability, codes: set[str]
) -> None:
    ils = koha_a(capabilities=API_CAPABILITIES - {lacking})
    world = make_world(adapters={"KOHA-A": ils})
    answer = world.kiosk().ask("99", ASKED)
    assert set(BX) - {"01", "19", "25"} - supported(answer) == codes
    assert answer.fixed["checkin_ok"] == ("N" if lacking is Capability.CHECKIN else "Y")
    assert answer.fixed["checkout_ok"] == ("N" if lacking is Capability.CHECKOUT else "Y")


def test_bx_of_a_book_drop(make_world: Callable[..., World]) -> None:
    world = make_world(adapters={"SIP-C": sip_c()}, terminal="kind = 'bookdrop'")
    kiosk = world.kiosk("SIP-C")
    answer = kiosk.ask("99", ASKED)
    assert supported(answer) == {"09", "17", "93", "97", "99"}
    assert answer.fixed["checkout_ok"] == "N"
    refused = kiosk.ask("11", {}, ("AA", "S1"), ("AB", "B1"))
    assert (refused.code, refused.fixed["ok"]) == ("12", "0")


class Slow:
    """An ILS whose ping waits until it is let go."""

    def __init__(self) -> None:
        self.pings = 0
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def ping(self) -> None:
        self.pings += 1
        self.asked.set()
        assert self.go_on.wait(10)


def test_a_slow_ils_is_asked_by_one_and_the_others_are_not_held_up() -> None:
    ils, now = Slow(), [100.0]
    ils.go_on.set()
    pulse = IlsPulse({KOHA: ils}, monotonic=lambda: now[0])  # type: ignore[dict-item]
    assert pulse.is_up(KOHA)
    assert pulse.is_up(KOHA)
    assert ils.pings == 1
    now[0] += KEEP_S
    ils.asked.clear()
    ils.go_on.clear()
    asker = threading.Thread(target=pulse.is_up, args=(KOHA,))
    asker.start()
    assert ils.asked.wait(10)
    assert pulse.is_up(KOHA), "the answer before, at once"
    assert ils.pings == 2
    ils.go_on.set()
    asker.join(10)


def test_a_ping_that_fails_holds_no_longer_than_one_that_works() -> None:
    ils, now = Pinged("KOHA-A", name="koha"), [0.0]
    ils.is_up = False
    pulse = IlsPulse({KOHA: ils}, monotonic=lambda: now[0])
    assert not pulse.is_up(KOHA)
    ils.is_up = True
    assert not pulse.is_up(KOHA)
    now[0] += KEEP_S
    assert pulse.is_up(KOHA)
