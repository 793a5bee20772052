"""What a terminal is configured to be, seen from the wire: kind, PINs, clock, words and flags."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.ports.ils import ExchangeContext, HoldRequest
from connector.sip2.codec import Message, format_date
from tests.support.world import Kiosk, World

SHANGHAI = ZoneInfo("Asia/Shanghai")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def status(kiosk: Kiosk) -> str:
    return kiosk.ask("99", {"status_code": "0", "protocol_version": "2.00"}).get("BX")


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["bookdrop", "sorter"])
def test_a_machine_that_only_takes_back(make_world, kind: str) -> None:
    world: World = make_world(terminal=f'kind = "{kind}"')
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert status(kiosk) == "NNYNYYYNNNYNNNNN"
    checkout = kiosk.checkout("S1", "B1")
    assert (checkout.code, checkout.fixed["ok"]) == ("12", "0")
    assert checkout.get("AF") == "本机不提供此功能"
    information = kiosk.information("S1")
    assert (information.code, information.get("BL"), information.get("AE")) == ("64", "N", "")
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert kiosk.item("B1").code == "18"
    assert {call.operation for call in world.ils("KOHA-A").calls} <= {
        "fetch_item", "fetch_item_loan", "checkin", "ping",
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "shows_whom"), [("sorter", True), ("bookdrop", False)])
def test_a_sorter_is_told_whose_hold_it_is(make_world, kind: str, shows_whom: bool) -> None:
    """CV says what to do; for whom (CY, DA) only where no reader looks."""
    world: World = make_world(terminal=f'kind = "{kind}"')
    for card in ("S1", "S2"):
        world.add_pupil(card)
    world.add_items("KOHA-A", "B1")
    ils = world.ils("KOHA-A")
    ils.desk_checkout("S1", "B1")
    hold = HoldRequest(barcode=Barcode("B1"))
    at = ExchangeContext(at=world.clock())
    assert ils.place_hold(IlsPatronId("S2"), hold, at).ok
    answer = world.kiosk().checkin("B1")
    assert (answer.fixed["ok"], answer.fixed["alert"], answer.get("CV")) == ("1", "Y", "01")
    assert (answer.get("CY") == "S2") is shows_whom
    assert shows_whom or not (answer.has("CY") or answer.has("DA"))


# ── PINs ─────────────────────────────────────────────────────────────────────────────────────────


def ask_information(kiosk: Kiosk, card: str, pin: str) -> Message:
    return kiosk.ask("63", {"language": "019", "summary": " " * 10}, ("AA", card), ("AD", pin))


@pytest.mark.parametrize("is_enrolled", [True, False])
def test_a_pin_cannot_be_guessed(world: World, is_enrolled: bool) -> None:
    if is_enrolled:
        world.add_pupil("S1", pin="2468")
    else:
        world.ils("KOHA-A").new_patron("S1", pin="2468", name="张小江")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    for pin in ("0000", "0001", "0002"):
        assert ask_information(kiosk, "S1", pin).get("CQ") == "N"
    asked = len(world.ils("KOHA-A").calls)
    for pin in ("0003", "2468"):
        locked = ask_information(kiosk, "S1", pin)
        assert (locked.code, locked.get("BL"), locked.get("AE")) == ("64", "N", "")
        assert locked.get("AF") == "密码错误次数过多，请稍后再试"
    checkout = kiosk.checkout("S1", "B1", "2468")
    assert (checkout.code, checkout.fixed["ok"], checkout.fixed["desensitize"]) == ("12", "0", "N")
    assert len(world.ils("KOHA-A").calls) == asked, "the ILS was asked about a guess"
    other_kiosk, other_card = world.kiosk(), "S2"
    assert ask_information(other_kiosk, "S1", "2468").get("AF") == locked.get("AF")
    world.add_pupil(other_card, pin="1357")
    assert ask_information(kiosk, other_card, "1357").get("CQ") == "Y"
    assert kiosk.checkin("B1").code == "10"


def test_wrong_pins_at_checkout_count_too(make_world) -> None:
    world: World = make_world(sip2="pin_attempts = 2\npin_delay_s = 60")
    world.add_pupil("S1", pin="2468")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    answers = [kiosk.checkout("S1", "B1", pin).get("AF") for pin in ("0000", "0001", "2468")]
    assert answers == ["密码不正确", "密码不正确", "密码错误次数过多，请稍后再试"]
    assert not [row for row in world.rows("loan") if row["state"] == "open"]


def test_a_right_pin_forgets_the_wrong_ones(world: World) -> None:
    world.add_pupil("S1", pin="2468")
    kiosk = world.kiosk()
    for _ in range(3):
        for pin in ("0000", "0001"):
            assert ask_information(kiosk, "S1", pin).get("CQ") == "N"
        assert ask_information(kiosk, "S1", "2468").get("CQ") == "Y"


def test_an_ils_that_is_away_is_no_wrong_pin(world: World) -> None:
    world.add_pupil("S1", pin="2468")
    kiosk = world.kiosk()
    world.ils("KOHA-A").is_up = False
    for _ in range(5):
        assert "密码" not in ask_information(kiosk, "S1", "2468").get("AF")
    assert len(world.app.terminal_rules.pins) == 0


# ── misread barcodes ─────────────────────────────────────────────────────────────────────────────


def test_a_misread_barcode_is_refused_in_every_pair(make_world) -> None:
    world: World = make_world(library='[libraries.barcodes]\ncheck_digit = "mod10"')
    world.add_pupil("S1")
    world.add_items("KOHA-A", "79927398713")
    kiosk = world.kiosk()
    for answer, code in (
        (kiosk.checkout("S1", "79927398710"), "12"),
        (kiosk.renew("S1", "79927398710"), "30"),
        (kiosk.checkin("79927398710"), "10"),
        (kiosk.item("79927398710"), "18"),
        (kiosk.hold("S1", "79927398710"), "16"),
    ):
        assert answer.code == code
        assert answer.fixed.get("ok", "0") == "0"
        assert answer.get("AF") == "条码读取有误，请重新扫描"
    assert kiosk.checkout("S1", "79927398713").fixed["ok"] == "1"


def test_a_scanned_number_is_written_as_the_ils_has_it(make_world) -> None:
    world: World = make_world(
        library="[libraries.barcodes]\ndigits = 8\ncodabar = true\nstrip_isil = true"
    )
    world.add_pupil("S1")
    world.add_items("KOHA-A", "00001234")
    kiosk = world.kiosk()
    for scanned in ("A1234B", "CN-500230-1:00001234", "000000001234", "1234"):
        answer = kiosk.checkout("S1", scanned)
        assert answer.fixed["ok"] == "1", scanned
        assert answer.get("AB") == scanned
    assert [row["barcode"] for row in world.rows("loan")] == ["00001234"]


# ── words and flags ──────────────────────────────────────────────────────────────────────────────


def test_a_terminal_has_its_own_words(make_world) -> None:
    world: World = make_world(
        terminal='messages = { zh = { checkout_ok = "成功！{due}", item_limit = "满{limit}册" } }'
    )
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").get("AF") == "成功！2026-12-21"
    assert kiosk.checkin("B1").get("AF") == "还书成功"


@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("", "1NUY"),
        ('renewal_ok = "N"\nmagnetic = "N"', "1NNY"),
        ('renewal_ok = "Y"\nmagnetic = "Y"', "1YYY"),
    ],
)
def test_success_as_the_kiosk_knows_it(make_world, setting: str, flags: str) -> None:
    world: World = make_world(terminal=setting)
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    fixed = world.kiosk().checkout("S1", "B1").fixed
    assert fixed["ok"] + fixed["renewal_ok"] + fixed["magnetic"] + fixed["desensitize"] == flags


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────


def upload(kiosk: Kiosk, item: str, at: datetime) -> Message:
    request = kiosk.checkout_request("S1", item)
    request.fixed |= {"no_block": "Y", "transaction_date": format_date(at, SHANGHAI)}
    return kiosk.client.exchange(request)


@pytest.fixture
def uploading(make_world) -> World:
    world: World = make_world(terminal='permissions = ["offline_upload"]')
    world.clock.set_local("2026-11-21 10:00")
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    return world


def opened_at(world: World) -> list[datetime]:
    return sorted(row["opened_at"] for row in world.rows("loan"))


@pytest.mark.parametrize("minutes", [0, 25, -25])
def test_a_kiosk_s_own_date_is_mended_by_what_its_clock_is_off(
    uploading: World, minutes: int
) -> None:
    kiosk, off = uploading.kiosk(), timedelta(minutes=minutes)
    stamp = format_date(uploading.clock() + off, SHANGHAI)
    kiosk.client.exchange(Message("17", {"transaction_date": stamp}, [("AO", ""), ("AB", "B2")]))
    happened = local("2026-11-21 08:30")
    assert upload(kiosk, "B1", happened + off).fixed["ok"] == "1"
    assert opened_at(uploading) == [happened]


def test_a_date_of_an_unknown_clock_does_not_count(uploading: World) -> None:
    assert upload(uploading.kiosk(), "B1", local("2026-11-21 08:30")).fixed["ok"] == "1"
    assert opened_at(uploading) == [local("2026-11-21 10:00")]


def test_a_date_beyond_the_bounds_does_not_count(uploading: World) -> None:
    kiosk = uploading.kiosk()
    kiosk.item("B2")
    assert upload(kiosk, "B1", local("2026-11-13 08:30")).fixed["ok"] == "1"
    assert opened_at(uploading) == [local("2026-11-21 10:00")]
