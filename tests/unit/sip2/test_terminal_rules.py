"""What holds for every request of a terminal: kind, misreads, PINs, clock, fixed flags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connector.domain.barcodes import BarcodeRule, CheckDigit
from connector.domain.circulation import Reason
from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.errors import StorageUnavailable
from connector.ports.answer import AnswerSlot
from connector.ports.terminals import TerminalClock
from connector.sip2.clocks import TerminalClocks
from connector.sip2.codec import Message
from connector.sip2.dispatch import Exchange
from connector.sip2.kinds import may_ask
from connector.sip2.spec import BX_ORDER
from connector.sip2.terminal import Permission, TerminalKind
from connector.sip2.terminal_rules import TerminalRules

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)  # noon in Shanghai
MAIN = InstitutionId("MAIN")


def library(**more):
    return Library(MAIN, "Main", SHANGHAI, **more)


def rules(**more):
    return TerminalRules({MAIN: library(**more)}, monotonic=lambda: 0.0)


def exchange(terminal, reason=""):
    return Exchange(terminal, AnswerSlot(), 0.0, "000", reason)


def request(code="63", stamp="20261121    120000", no_block="", **fields):
    fixed = {"transaction_date": stamp} | ({"no_block": no_block} if no_block else {})
    return Message(code, fixed, list(fields.items()))


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [TerminalKind.BOOKDROP, TerminalKind.SORTER])
def test_what_only_takes_back(kit, kind):
    terminal = kit.terminal(kind=kind)
    allowed = {code for code in (*BX_ORDER, "81", "85", "91") if may_ask(terminal, code)}
    assert allowed == {"09", "17", "93", "97", "99"}


@pytest.mark.parametrize("kind", [TerminalKind.SELFCHECK, TerminalKind.DESK, TerminalKind.MOBILE])
def test_who_may_ask_for_everything(kit, kind):
    assert all(may_ask(kit.terminal(kind=kind), code) for code in (*BX_ORDER, "81", "XX"))


@pytest.mark.parametrize(
    ("permission", "codes"),
    [
        (Permission.CHECKOUT, {"11"}),
        (Permission.RENEW, {"29", "65"}),
        (Permission.PATRON, {"23", "63", "35"}),
        (Permission.HOLD, {"15"}),
        (Permission.FEE, {"37"}),
        (Permission.BLOCK_PATRON, {"01"}),
        (Permission.ENABLE_PATRON, {"25"}),
        (Permission.ITEM_STATUS, {"19"}),
        (Permission.OFFLINE_UPLOAD, set()),
    ],
)
def test_permissions_widen_a_book_drop(kit, permission, codes):
    plain = kit.terminal(kind=TerminalKind.BOOKDROP)
    wide = kit.terminal(kind=TerminalKind.BOOKDROP, permissions=frozenset({permission}))
    assert {c for c in BX_ORDER if may_ask(wide, c) and not may_ask(plain, c)} == codes


def test_request_of_another_kind_is_barred(kit):
    turn = exchange(kit.terminal(kind=TerminalKind.BOOKDROP))
    assert rules().find_bar(request("11"), turn, NOW) is Reason.NOT_PERMITTED_HERE
    assert rules().find_bar(request("09"), turn, NOW) is None


# ── misreads ─────────────────────────────────────────────────────────────────────────────────────


def test_misread_barcode_is_barred(kit):
    checked = rules(barcodes=BarcodeRule(check_digit=CheckDigit.MOD10))
    turn = exchange(kit.terminal())
    wrong, right = request("11", AB="79927398710"), request("11", AB="79927398713")
    assert checked.find_bar(wrong, turn, NOW) is Reason.MISREAD_BARCODE
    assert checked.find_bar(right, turn, NOW) is None
    assert checked.find_bar(request("63"), turn, NOW) is None
    assert rules().find_bar(wrong, turn, NOW) is None


# ── PINs ─────────────────────────────────────────────────────────────────────────────────────────


def patron_answer(**fields):
    return Message("64", {}, list(fields.items()))


def try_pin(one, turn, reply, code="63", card="P1"):
    asked = request(code, AA=card, AD="1234")
    bar = one.find_bar(asked, turn, NOW)
    if bar is None:
        one.finish(asked, turn, reply)
    return bar


def test_wrong_pin_of_a_valid_patron_is_counted(kit):
    one, turn = rules(), exchange(kit.terminal())
    wrong = patron_answer(BL="Y", CQ="N")
    assert [try_pin(one, turn, wrong) for _ in range(4)] == [None] * 3 + [Reason.PIN_LOCKED]
    assert try_pin(one, turn, wrong, code="11") is Reason.PIN_LOCKED
    assert try_pin(one, turn, wrong, card=" P1 ") is Reason.PIN_LOCKED
    assert one.find_bar(request(AA="P1"), turn, NOW) is None  # without a PIN nothing is guessed
    assert one.find_bar(request("09", AA="P1", AD="1234"), turn, NOW) is None


def test_wrong_pin_that_we_refused_is_counted(kit):
    one, turn = rules(), exchange(kit.terminal(), reason=Reason.PIN_WRONG)
    refused = Message("12", {"ok": "0"}, [])
    assert [try_pin(one, turn, refused, "11") for _ in range(4)][3] is Reason.PIN_LOCKED


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (patron_answer(BL="N", CQ="N"), Reason.ILS_UNAVAILABLE),
        (patron_answer(BL="N", CQ="N"), ""),
        (patron_answer(BL="Y", CQ="Y"), ""),
        (patron_answer(BL="Y"), ""),
        (Message("12", {"ok": "0"}, []), Reason.ITEM_LIMIT),
    ],
)
def test_what_is_no_wrong_pin(kit, reply, reason):
    one, turn = rules(), exchange(kit.terminal(), reason=reason)
    assert [try_pin(one, turn, reply) for _ in range(9)] == [None] * 9
    assert len(one.pins) == 0


@pytest.mark.parametrize(
    "reply",
    [
        patron_answer(BL="Y", CQ="Y"),
        Message("12", {"ok": "1"}, []),
        Message("38", {"payment_accepted": "Y"}, []),
    ],
)
def test_right_pin_forgets(kit, reply):
    one, turn = rules(), exchange(kit.terminal())
    for _ in range(2):
        try_pin(one, turn, patron_answer(BL="Y", CQ="N"))
    try_pin(one, turn, reply)
    for _ in range(2):
        assert try_pin(one, turn, patron_answer(BL="Y", CQ="N")) is None
    assert try_pin(one, turn, patron_answer(BL="Y", CQ="N")) is None
    assert try_pin(one, turn, patron_answer(BL="Y", CQ="N")) is Reason.PIN_LOCKED


# ── fixed flags ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "code", "ok", "flags"),
    [
        ({}, "12", "1", "YU"),
        ({"renewal_ok": "N", "magnetic": "N"}, "12", "1", "NN"),
        ({"renewal_ok": "Y", "magnetic": "Y"}, "30", "1", "YY"),
        ({"renewal_ok": "N"}, "12", "1", "NU"),
        ({"renewal_ok": "N", "magnetic": "N"}, "12", "0", "YU"),
        ({"renewal_ok": "N", "magnetic": "N"}, "10", "1", "YU"),
    ],
)
def test_flags_of_a_yes_are_as_the_kiosk_wants_them(kit, setting, code, ok, flags):
    reply = Message(code, {"ok": ok, "renewal_ok": "Y", "magnetic": "U", "desensitize": "Y"}, [])
    reply = rules().finish(request("11"), exchange(kit.terminal(**setting)), reply)
    assert reply.fixed["renewal_ok"] + reply.fixed["magnetic"] == flags
    assert reply.fixed["desensitize"] == "Y"


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────


class Shelf:
    """A store of clocks that may be away."""

    def __init__(self, *clocks):
        self.clocks = list(clocks)
        self.saved = []
        self.is_away = False

    def list_clocks(self):
        if self.is_away:
            raise StorageUnavailable
        return self.clocks

    def save_clocks(self, clocks):
        if self.is_away:
            raise StorageUnavailable
        self.saved.append({clock.terminal: clock.offset.total_seconds() for clock in clocks})


def offset_of(clocks, now=NOW):
    offset = clocks.find_offset("kiosk1", now)
    return None if offset is None else offset.total_seconds()


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("20261121    120000", 0),
        ("20261121    121000", 600),
        ("20261121    115830", -90),
        ("20261121   Z040000", 0),
        ("20201121120000", -2191 * 86400),
        (" " * 18, None),
        ("YYYYMMDDZZZZHHMMSS", None),
        ("", None),
    ],
)
def test_clock_is_measured_by_the_transaction_date(kit, stamp, seconds):
    one = rules()
    one.find_bar(request(stamp=stamp), exchange(kit.terminal()), NOW)
    assert offset_of(one.clocks) == seconds


def test_upload_says_nothing_about_the_clock(kit):
    one = rules()
    one.find_bar(request("11", no_block="Y"), exchange(kit.terminal()), NOW)
    assert offset_of(one.clocks) is None
    one.find_bar(request("11", no_block="N"), exchange(kit.terminal()), NOW)
    assert offset_of(one.clocks) == 0


def test_zone_of_the_terminal_counts(kit):
    one = rules()
    tokyo = kit.terminal(zone=ZoneInfo("Asia/Tokyo"))
    one.find_bar(request(stamp="20261121    130000"), exchange(tokyo), NOW)
    assert offset_of(one.clocks) == 0


def test_measured_twice_a_minute_at_most(kit):
    clocks = TerminalClocks()
    clocks.measure(kit.terminal(), request(), NOW)
    clocks.measure(kit.terminal(), request(stamp="20261121    121000"), NOW + timedelta(seconds=29))
    assert offset_of(clocks) == 0
    clocks.measure(kit.terminal(), request(stamp="20261121    121030"), NOW + timedelta(seconds=30))
    assert offset_of(clocks) == 600


def test_old_measurement_counts_no_more(kit):
    clocks = TerminalClocks()
    clocks.measure(kit.terminal(), request(), NOW)
    assert offset_of(clocks, NOW + timedelta(days=7)) == 0
    assert offset_of(clocks, NOW + timedelta(days=7, seconds=1)) is None


def test_written_when_moved_or_daily(kit):
    shelf = Shelf()
    clocks = TerminalClocks(shelf)

    def measure(stamp, now):
        clocks.measure(kit.terminal(), request(stamp=stamp), now)
        return clocks.save()

    assert measure("20261121    120000", NOW) == 1
    assert measure("20261121    121100", NOW + timedelta(minutes=10)) == 0
    assert measure("20261121    122101", NOW + timedelta(minutes=20)) == 1
    assert measure("20261122    122101", NOW + timedelta(days=1, minutes=20)) == 1
    assert clocks.save() == 0
    assert shelf.saved == [{"kiosk1": 0}, {"kiosk1": 61}, {"kiosk1": 61}]


def test_memory_counts_while_the_database_is_away(kit, log_lines):
    shelf = Shelf()
    shelf.is_away = True
    clocks = TerminalClocks(shelf)
    clocks.load()
    clocks.measure(kit.terminal(), request(), NOW)
    assert clocks.save() == 0
    assert offset_of(clocks) == 0
    shelf.is_away = False
    assert clocks.save() == 1
    assert "clocks.not_read" in log_lines.getvalue()
    assert "clocks.not_saved" in log_lines.getvalue()


def test_what_was_stored_counts_until_it_is_measured(kit):
    shelf = Shelf(TerminalClock("kiosk1", timedelta(seconds=70), NOW - timedelta(hours=1)))
    clocks = TerminalClocks(shelf)
    clocks.load()
    assert offset_of(clocks) == 70
    clocks.measure(kit.terminal(), request(stamp="20261121    120030"), NOW)
    assert offset_of(clocks) == 30
    assert clocks.save() == 0
    clocks.load()
    assert offset_of(clocks) == 30


def test_without_a_store(kit):
    clocks = TerminalClocks()
    clocks.load()
    clocks.measure(kit.terminal(), request(), NOW)
    assert clocks.save() == 0
