"""Every request pair over TCP, answered from the embedded ILS."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from connector.domain.ids import IlsPatronId
from connector.ports.ils import PatronInput
from connector.sip2.terminal import WireProfile
from tests.support.shelf import CODE, EVERYTHING, Shelf
from tests.support.world import World


@pytest.fixture
def shelf(make_world: Callable[..., World], tmp_path: Path) -> Shelf:
    return Shelf(make_world, tmp_path, terminal=EVERYTHING)


@pytest.fixture
def plain_shelf(make_world: Callable[..., World], tmp_path: Path) -> Shelf:
    return Shelf(make_world, tmp_path)


def test_99_sc_status(shelf: Shelf) -> None:
    answer = shelf.kiosk.ask(
        "99", {"status_code": "0", "max_print_width": "080", "protocol_version": "2.00"}
    )
    assert answer.code == "98"
    assert answer.fixed["online"] == "Y"
    assert answer.get("BX") == "Y" * 16
    assert answer.get("AO") == CODE


def test_23_patron_status(shelf: Shelf) -> None:
    answer = shelf.kiosk.ask("23", {"language": "019"}, ("AA", "S1"), ("AD", "2468"))
    assert (answer.code, answer.get("BL"), answer.get("CQ")) == ("24", "Y", "Y")
    assert answer.get("AE") == "张*"
    assert answer.fixed["patron_status"] == " " * 14
    wrong = shelf.kiosk.ask("23", {"language": "019"}, ("AA", "S1"), ("AD", "0000"))
    assert wrong.get("CQ") == "N"


def test_23_unknown_patron_is_blocked(shelf: Shelf) -> None:
    answer = shelf.kiosk.ask("23", {"language": "019"}, ("AA", "NOBODY"))
    assert (answer.code, answer.get("BL")) == ("24", "N")
    assert answer.fixed["patron_status"].startswith("YYYY")


def test_63_patron_information_lists_what_is_asked_for(shelf: Shelf) -> None:
    for number in ("1", "2", "3"):
        assert shelf.kiosk.checkout("S1", f"B{number}").fixed["ok"] == "1"
        shelf.world.clock.advance(seconds=1)
    answer = shelf.kiosk.information("S1")
    assert answer.fixed["charged_count"] == "0003"
    assert answer.get_all("AU") == ["B1", "B2", "B3"]
    assert answer.get("CB") == "0008"
    part = shelf.kiosk.ask(
        "63", {"language": "000", "summary": "  Y       "}, ("AA", "S1"), ("BP", "2"), ("BQ", "2")
    )
    assert part.get_all("AU") == ["B2"]
    legal = shelf.kiosk.ask("63", {"language": "000", "summary": "      Y   "}, ("AA", "S1"))
    assert legal.code == "64"


@pytest.mark.parametrize("nonsense", ["9" * 5000, "-1", "0", "1.5", "２", "x"])
def test_63_a_range_that_is_none_lists_everything(shelf: Shelf, nonsense: str) -> None:
    shelf.kiosk.checkout("S1", "B1")
    fixed = {"language": "000", "summary": "  Y       "}
    answer = shelf.kiosk.ask("63", fixed, ("AA", "S1"), ("BP", nonsense), ("BQ", nonsense))
    assert (answer.get("BL"), answer.get_all("AU")) == ("Y", ["B1"])


def test_11_29_65_09_the_life_of_a_loan(shelf: Shelf) -> None:
    lent = shelf.kiosk.checkout("S1", "B1", pin="2468")
    assert (lent.code, lent.fixed["ok"], lent.fixed["desensitize"]) == ("12", "1", "Y")
    assert lent.get("AJ") == "书名1"
    assert "成功" in lent.get("AF")
    shelf.kiosk.checkout("S1", "B2")
    shelf.world.clock.advance(days=3)
    renewed = shelf.kiosk.renew("S1", "B1")
    assert (renewed.code, renewed.fixed["ok"], renewed.fixed["renewal_ok"]) == ("30", "1", "Y")
    all_of_them = shelf.kiosk.ask("65", {}, ("AA", "S1"))
    assert all_of_them.code == "66"
    assert all_of_them.get_all("BM") == ["B2"]
    assert all_of_them.get_all("BN") == ["B1"]
    assert all_of_them.fixed["renewed_count"] == "0001"
    back = shelf.kiosk.checkin("B1")
    assert (back.code, back.fixed["ok"], back.fixed["resensitize"]) == ("10", "1", "Y")
    assert back.fixed["alert"] == "N"
    assert shelf.kiosk.charged("S1") == ["B2"]


def test_11_wrong_pin_is_refused_before_anything_happens(shelf: Shelf) -> None:
    answer = shelf.kiosk.checkout("S1", "B1", pin="1111")
    assert answer.fixed["ok"] == "0"
    assert answer.get("AF") == "密码不正确"
    assert shelf.world.rows("loan") == []


def test_11_unknown_item(shelf: Shelf) -> None:
    answer = shelf.kiosk.checkout("S1", "NOTHING")
    assert (answer.code, answer.fixed["ok"], answer.fixed["desensitize"]) == ("12", "0", "N")


def test_15_hold_place_and_cancel(shelf: Shelf) -> None:
    shelf.kiosk.checkout("S1", "B1")
    placed = shelf.kiosk.hold("S2", "B1")
    assert (placed.code, placed.fixed["ok"], placed.fixed["available"]) == ("16", "1", "N")
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"
    holds = shelf.kiosk.ask("63", {"language": "000", "summary": "     Y    "}, ("AA", "S2"))
    assert holds.fixed["unavailable_hold_count"] == "0001"
    assert holds.fixed["hold_count"] == "0000", "position 0 lists what waits on the shelf"
    assert holds.get_all("CD") == ["B1"]
    back = shelf.kiosk.checkin("B1")
    assert (back.fixed["alert"], back.get("CV")) == ("Y", "01")
    assert back.get("CY") == "", "who waits is nobody's business at a public machine"
    cancelled = shelf.kiosk.ask("15", {"hold_mode": "-"}, ("AA", "S2"), ("AB", "B1"))
    assert cancelled.fixed["ok"] == "1"


def test_37_fee_paid_once_per_transaction(shelf: Shelf) -> None:
    fee_id = shelf.ils.charge_fee(IlsPatronId("S1"), Decimal("2.50"))
    owed = shelf.kiosk.information("S1")
    assert owed.get("BV") == "2.50"
    codes = {"fee_type": "04", "payment_type": "00", "currency": "CNY"}
    fields = (("AA", "S1"), ("BV", "2.50"), ("CG", fee_id), ("BK", "T-1"))
    for _ in range(2):
        paid = shelf.kiosk.ask("37", codes, *fields)
        assert (paid.code, paid.fixed["payment_accepted"]) == ("38", "Y")
    assert shelf.kiosk.information("S1").get("BV") == ""
    nonsense = shelf.kiosk.ask("37", codes, ("AA", "S1"), ("BV", "two"))
    assert (nonsense.code, nonsense.fixed["payment_accepted"]) == ("38", "N")


def test_17_item_information(shelf: Shelf) -> None:
    free = shelf.kiosk.item("B1")
    assert (free.code, free.fixed["circulation_status"], free.get("AJ")) == ("18", "03", "书名1")
    assert free.get("CS") == "I287/1"
    shelf.kiosk.checkout("S1", "B1")
    out = shelf.kiosk.item("B1")
    assert out.fixed["circulation_status"] == "04"
    assert out.get("AH")
    unknown = shelf.kiosk.item("NOTHING")
    assert (unknown.code, unknown.fixed["circulation_status"]) == ("18", "01")


def test_19_item_status_update(shelf: Shelf) -> None:
    answer = shelf.kiosk.ask("19", {}, ("AB", "B1"), ("CH", "spine label torn"))
    assert (answer.code, answer.fixed["item_properties_ok"]) == ("20", "1")
    assert shelf.kiosk.item("B1").get("CH") == "spine label torn"


def test_01_block_and_25_enable(shelf: Shelf) -> None:
    blocked = shelf.kiosk.ask("01", {"card_retained": "Y"}, ("AL", "left behind"), ("AA", "S1"))
    assert blocked.code == "24"
    assert blocked.fixed["patron_status"][0] == "Y"
    assert shelf.kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    enabled = shelf.kiosk.ask("25", {}, ("AA", "S1"))
    assert enabled.code == "26"
    assert enabled.fixed["patron_status"] == " " * 14
    assert shelf.kiosk.checkout("S1", "B1").fixed["ok"] == "1"


def test_35_end_session(shelf: Shelf) -> None:
    answer = shelf.kiosk.ask("35", {}, ("AA", "S1"))
    assert (answer.code, answer.fixed["end_session"]) == ("36", "Y")


@pytest.mark.parametrize(
    ("code", "fixed", "fields", "answer_code", "flag", "value"),
    [
        ("01", {"card_retained": "N"}, (("AL", ""), ("AA", "S1")), "24", "patron_status", "YYYY"),
        ("25", {}, (("AA", "S1"),), "26", "patron_status", "YYYY"),
        ("19", {}, (("AB", "B1"), ("CH", "x")), "20", "item_properties_ok", "0"),
    ],
)
def test_what_the_terminal_may_not_do(
    plain_shelf: Shelf, code, fixed, fields, answer_code, flag, value
) -> None:
    answer = plain_shelf.kiosk.ask(code, fixed, *fields)
    assert answer.code == answer_code
    assert answer.fixed[flag].startswith(value)
    assert plain_shelf.ils.fetch_patron(IlsPatronId("S1")).flags == frozenset()


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("11", (("AA", ""), ("AB", "B1"))),
        ("11", (("AA", "S1"), ("AB", ""))),
        ("29", (("AA", "S1"),)),
        ("65", (("AA", " "),)),
        ("09", (("AB", ""),)),
        ("15", (("AA", "S1"),)),
        ("63", (("AA", ""),)),
        ("37", (("AA", "S1"),)),
    ],
)
def test_incomplete_requests_get_a_refusal_of_their_own_pair(shelf: Shelf, code, fields) -> None:
    answer = shelf.kiosk.ask(code, {}, *fields)
    assert answer.code == {"63": "64"}.get(code, f"{int(code) + 1:02d}")
    positive = ("ok", "payment_accepted")
    assert all(answer.fixed.get(name, "0") in {"0", "N"} for name in positive)
    assert answer.get("AF")


@pytest.mark.parametrize(
    ("code", "fields", "tag", "value"),
    [
        ("81", (("AA", "S9"), ("XK", "01")), "OK", "0"),
        ("91", (("AA", "S9"), ("XK", "0")), "AC", "1"),
        ("85", (("XO", "500230201503010015"),), "OX", ""),
    ],
)
def test_registration_at_a_kiosk_is_refused_in_its_own_pair(
    make_world: Callable[..., World], tmp_path: Path, code, fields, tag, value
) -> None:
    shelf = Shelf(make_world, tmp_path, terminal='dialect = "chinese-kiosk"')
    shelf.kiosk.client.profile = WireProfile(dialect="chinese-kiosk")
    answer = shelf.kiosk.ask(code, {}, *fields)
    assert answer.code == f"{int(code) + 1}"
    assert answer.get(tag) == value
    assert answer.get("AF") == "本机不提供此功能"


def test_a_number_that_only_the_ils_knows_does_not_lead_round_the_policy(shelf: Shelf) -> None:
    shelf.ils.upsert_patron(
        PatronInput(
            "S1", IlsPatronId("S1"), "张小江", "student", identifiers={"old_card": "OLD777"}
        )
    )
    assert shelf.ils.fetch_patron(IlsPatronId("OLD777")).ils_patron == "S1"
    assert shelf.kiosk.checkout("OLD777", "B1").fixed["ok"] == "1"
    assert [loan["ils_patron"] for loan in shelf.world.rows("loan")] == ["S1"]
    assert shelf.kiosk.charged("S1") == ["B1"]


def test_where_no_pin_is_asked_for_none_is_checked(make_world, tmp_path: Path) -> None:
    shelf = Shelf(make_world, tmp_path, terminal='pin = "never"')
    assert shelf.kiosk.checkout("S1", "B1", pin="000000").fixed["ok"] == "1"
    answer = shelf.kiosk.ask("23", {"language": "019"}, ("AA", "S1"), ("AD", "000000"))
    assert (answer.get("BL"), answer.has("CQ")) == ("Y", False)


def test_control_characters_of_a_scanner_do_no_harm(shelf: Shelf) -> None:
    assert shelf.world.app.libraries[CODE].barcodes.normalise("\x07B1\x00") == "B1"
    standing = shelf.world.app.circulation.desk.facts.resolve_patron(
        "S1\x07", shelf.world.app.libraries[CODE]
    )
    assert standing is not None
