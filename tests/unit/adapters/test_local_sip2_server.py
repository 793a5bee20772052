"""The embedded ILS's own SIP2 server, over real sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters.local.sip2_server import LocalSip2Server
from connector.ports.ils import BlockReason
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, checksum
from connector.sip2.dialects import CHINESE_KIOSK
from connector.sip2.terminal import ChecksumPolicy, WireProfile

STAMP = "20260907    100000"
DUE = "20261007    235959"
DIALECT = WireProfile(dialect=CHINESE_KIOSK.name)


class Desk:
    """The server over one embedded ILS, and clients of it."""

    def __init__(self, world, stack: ExitStack) -> None:
        self.world = world
        self.adapter = world.adapter
        self._stack = stack
        self.server: LocalSip2Server | None = None

    def serve(self, **options) -> LocalSip2Server:
        self.server = self._stack.enter_context(LocalSip2Server(self.adapter, **options))
        return self.server

    def client(self, profile: WireProfile | None = None) -> Sip2Client:
        server = self.server or self.serve()
        return self._stack.enter_context(
            Sip2Client("127.0.0.1", server.port, profile=profile, timeout_s=20)
        )

    def socket(self) -> socket.socket:
        server = self.server or self.serve()
        return self._stack.enter_context(
            socket.create_connection(("127.0.0.1", server.port), timeout=20)
        )


@pytest.fixture
def desk(world) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(world, stack)


@pytest.fixture
def ask(desk):
    """Return a function that sends one request on a connection that stays open."""
    client = desk.client(DIALECT)

    def send(code: str, fields: dict[str, str], **fixed: str) -> Message:
        return client.exchange(
            Message(code, {"transaction_date": STAMP, **fixed}, [*fields.items()])
        )

    return send


def read(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith((b"\r", b"\n")):
        more = sock.recv(4096)
        if not more:
            return data
        data += more
    return data


# -- the line --------------------------------------------------------------------------------------


def test_an_answer_is_in_kind(desk):
    sock = desk.socket()
    sock.sendall(b"9900802.00\r")
    plain = read(sock)
    assert plain.startswith(b"98YYYYYY100003")
    assert b"AY" not in plain
    body = b"9900802.00AY4AZ"
    sock.sendall(body + checksum(body) + b"\r")
    assert b"AY4AZ" in read(sock)


def test_a_wrong_checksum_is_answered_with_96_and_nothing_is_done(desk):
    desk.world.patron()
    desk.world.title("B1")
    sock = desk.socket()
    sock.sendall(f"11NN{STAMP}{' ' * 18}AOLIB|AAP1|ABB1|AC|AY0AZ0001\r".encode())
    assert read(sock).startswith(b"96AZ")
    assert desk.adapter.fetch_item_loan("B1") is None


def test_97_brings_the_last_answer_byte_for_byte_even_a_96(desk):
    sock = desk.socket()
    sock.sendall(b"97AZFEF5\r")
    assert read(sock) == b"96AZFEF6\r"
    sock.sendall(b"9900802.00AY1AZ0000\r97AZFEF5\r")
    both = read(sock)
    while both.count(b"\r") < 2:
        both += read(sock)
    assert both == b"96AZFEF6\r" * 2
    sock.sendall(b"9900802.00\r")
    status = read(sock)
    sock.sendall(b"97\r")
    assert read(sock) == status


def test_an_unknown_message_is_met_with_silence(desk):
    sock = desk.socket()
    sock.sendall(b"ZZ1\r9900802.00\r")
    assert read(sock).startswith(b"98")


def test_before_login_the_line_is_cut(desk):
    desk.serve(logins={"gateway": "secret"})
    sock = desk.socket()
    sock.sendall(f"23019{STAMP}AOLIB|AAP1|AC|AD|\r".encode())
    assert read(sock) == b""
    client = desk.client()
    assert not client.login("gateway", "guess")
    assert not client.login("nobody", "secret")
    assert client.login("gateway", "secret", "hall")
    assert client.exchange(Message("99", {})).get("AN") == "hall"


def test_a_gbk_library(desk):
    desk.world.patron(name="张三丰")
    desk.serve(profile=WireProfile(encoding="gbk", delimiter="^", terminator="\r\n"))
    client = desk.client(WireProfile(encoding="gbk", delimiter="^"))
    told = client.exchange(Message("23", {}, [("AO", ""), ("AA", "P1"), ("AC", ""), ("AD", "")]))
    assert told.get("AE") == "张三丰"
    sock = desk.socket()
    sock.sendall(f"23019{STAMP}AOLIB^AAP1^AC^AD^\r\n".encode("gbk"))
    line = read(sock)
    assert "AE张三丰^".encode("gbk") in line
    assert line.endswith(b"\r\n")


def test_when_the_ils_fails_the_connection_ends_without_an_answer(desk):
    client = desk.client()
    desk.adapter.close()
    sock = desk.socket()
    sock.sendall(f"17{STAMP}AOLIB|ABB1|\r".encode())
    assert read(sock) == b""
    assert client.exchange(Message("99", {})).code == "98"


def test_the_same_message_twice_is_done_twice(desk):
    desk.world.patron()
    desk.world.title("B1")
    desk.adapter.checkout("P1", "B1", desk.world.at())
    client = desk.client(WireProfile(error_detection="never"))
    request = Message("29", {"transaction_date": STAMP}, [("AO", ""), ("AA", "P1"), ("AB", "B1")])
    assert client.exchange(request).fixed["ok"] == "1"
    assert client.exchange(request).fixed["ok"] == "1"
    assert desk.adapter.fetch_item_loan("B1").renewals == 2


# -- loans -----------------------------------------------------------------------------------------


def test_checkout_then_item_then_return(desk, ask):
    desk.world.patron()
    desk.world.title("B1", title="江上的纸船", call_number="I287/1", location="kids")
    lent = ask("11", {"AO": "", "AA": "P1", "AB": "B1", "AC": ""})
    assert (lent.code, lent.fixed["ok"], lent.fixed["renewal_ok"], lent.fixed["desensitize"]) == (
        *("12", "1", "N", "Y"),
    )
    assert (lent.get("AJ"), lent.get("AH"), lent.get("AF")) == ("江上的纸船", DUE, "借书成功")
    item = ask("17", {"AO": "", "AB": "B1"})
    assert (item.fixed["circulation_status"], item.get("AH"), item.get("AQ"), item.get("CS")) == (
        *("04", DUE, "kids", "I287/1"),
    )
    assert "P1" not in [value for _, value in item.fields]
    back = ask("09", {"AP": "", "AO": "", "AB": "B1", "AC": ""}, return_date=STAMP)
    assert (back.fixed["ok"], back.fixed["resensitize"], back.fixed["alert"]) == ("1", "Y", "N")
    assert (back.get("AA"), back.get("AQ"), back.get("AF")) == ("P1", "kids", "还书成功")
    assert ask("17", {"AO": "", "AB": "B1"}).fixed["circulation_status"] == "03"


def test_a_refusal_never_disarms_and_keeps_the_words_of_the_ils(desk, ask):
    desk.world.patron()
    refused = ask("11", {"AO": "", "AA": "P1", "AB": "NOTHING", "AC": ""})
    assert (refused.fixed["ok"], refused.fixed["desensitize"]) == ("0", "N")
    assert (refused.get("AF"), refused.get("AB")) == ("馆藏中没有这本书", "NOTHING")


@pytest.mark.parametrize(("policy", "ok"), [("Y", "1"), ("N", "0")])
def test_a_checkout_renews_when_the_terminal_says_so(desk, ask, policy, ok):
    desk.world.patron()
    desk.world.title("B1")
    desk.adapter.checkout("P1", "B1", desk.world.at())
    desk.world.clock.forward(days=3)
    again = ask("11", {"AO": "", "AA": "P1", "AB": "B1", "AC": ""}, sc_renewal_policy=policy)
    assert (again.fixed["ok"], again.fixed["renewal_ok"]) == (ok, "Y" if ok == "1" else "N")
    assert desk.adapter.fetch_item_loan("B1").renewals == int(ok)


def test_a_checkout_never_renews_where_the_ils_is_set_so(desk):
    desk.serve(renew_on_checkout=False)
    desk.world.patron()
    desk.world.title("B1")
    desk.adapter.checkout("P1", "B1", desk.world.at())
    fields = [("AO", ""), ("AA", "P1"), ("AB", "B1"), ("AC", "")]
    again = desk.client().exchange(Message("11", {"sc_renewal_policy": "Y"}, fields))
    assert (again.fixed["ok"], again.get("AF")) == ("0", "您已借阅该书")


def test_no_block_records_what_has_happened_with_its_own_dates(desk, ask):
    desk.world.patron()
    desk.adapter.block_patron("P1", BlockReason.STAFF)
    desk.world.title("B1")
    done = ask(
        "11",
        {"AO": "", "AA": "P1", "AB": "B1", "AC": ""},
        no_block="Y",
        transaction_date="20260905    090000",
        nb_due_date="20260920    235959",
    )
    assert (done.fixed["ok"], done.get("AH")) == ("1", "20260920    235959")
    loan = desk.adapter.fetch_item_loan("B1")
    assert loan.checked_out_at == datetime(2026, 9, 5, 1, 0, tzinfo=UTC)


def test_a_fee_is_asked_for_and_then_agreed_to(make_world):
    world = make_world(rules=[{"item_type": "dvd", "fee": "2.00"}])
    with ExitStack() as stack:
        desk = Desk(world, stack)
        world.patron()
        world.title("B1", item_type="dvd")
        client = desk.client()
        fields = [("AO", ""), ("AA", "P1"), ("AB", "B1"), ("AC", "")]
        asked = client.exchange(Message("11", {}, fields))
        assert (asked.fixed["ok"], asked.get("BT"), asked.get("BV")) == ("0", "06", "2.00")
        item = client.exchange(Message("17", {}, [("AO", ""), ("AB", "B1")]))
        assert (item.fixed["fee_type"], item.get("BV")) == ("06", "2.00")
        agreed = client.exchange(Message("11", {}, [*fields, ("BO", "Y")]))
        assert agreed.fixed["ok"] == "1"


def test_renew_by_item_or_by_title_and_all(desk, ask):
    desk.world.patron()
    desk.world.title("B1", title="雾里的灯塔")
    desk.world.title("B2")
    for barcode in ("B1", "B2"):
        desk.adapter.checkout("P1", barcode, desk.world.at())
    renewed = ask("29", {"AO": "", "AA": "P1", "AB": "B1"})
    assert (renewed.code, renewed.fixed["ok"], renewed.fixed["renewal_ok"]) == ("30", "1", "Y")
    titled = ask("29", {"AO": "", "AA": "P1", "AJ": "雾里的灯塔"})
    assert (titled.fixed["ok"], titled.get("AB")) == ("1", "B1")
    everything = ask("65", {"AO": "", "AA": "P1"})
    assert (everything.fixed["ok"], everything.get_all("BM"), everything.get_all("BN")) == (
        *("1", ["B2"], ["B1"]),
    )
    assert ask("29", {"AO": "", "AA": "P1", "AB": "B1"}).get("AF") == "已达到续借次数上限"
    assert ask("65", {"AO": "", "AA": "NOBODY"}).fixed["ok"] == "0"


def test_a_returned_item_that_somebody_waits_for(desk, ask):
    for card in ("P1", "P2"):
        desk.world.patron(card, name=f"读者{card}")
    desk.world.title("B1")
    ask("11", {"AO": "", "AA": "P1", "AB": "B1", "AC": ""})
    held = ask("15", {"AO": "", "AA": "P2", "AB": "B1", "BS": "hall"}, hold_mode="+")
    assert (held.code, held.fixed["ok"], held.get("BR"), held.get("BS")) == ("16", "1", "1", "hall")
    back = ask("09", {"AP": "hall", "AO": "", "AB": "B1", "AC": ""}, return_date=STAMP)
    assert (back.fixed["alert"], back.get("CV"), back.get("CY"), back.get("DA")) == (
        *("Y", "01", "P2", "读者P2"),
    )
    gone = ask("15", {"AO": "", "AA": "P2", "AB": "B1"}, hold_mode="-")
    assert gone.fixed["ok"] == "1"
    assert ask("15", {"AO": "", "AA": "P2", "AB": "B1"}, hold_mode="-").fixed["ok"] == "0"


# -- patrons ---------------------------------------------------------------------------------------


def test_patron_status_and_pin(desk, ask):
    desk.world.patron(pin="2468", phone="13800000000")
    told = ask("23", {"AO": "", "AA": "P1", "AC": "", "AD": "2468"}, language="019")
    assert (told.fixed["patron_status"], told.get("BL"), told.get("CQ")) == (" " * 14, "Y", "Y")
    assert told.fixed["language"] == "019"
    assert ask("23", {"AO": "", "AA": "P1", "AC": "", "AD": "1"}).get("CQ") == "N"
    nobody = ask("23", {"AO": "", "AA": "NOBODY", "AC": "", "AD": ""})
    assert (nobody.fixed["patron_status"][:4], nobody.get("BL"), nobody.has("CQ")) == (
        *("YYYY", "N", False),
    )


def test_every_list_of_63_in_its_range(desk, ask):
    desk.world.patron()
    desk.world.patron("P2")
    desk.world.title("B1", title="等着取的书")
    desk.world.title("B2", title="还没到的书")
    desk.adapter.checkout("P2", "B1", desk.world.at())
    desk.adapter.checkout("P2", "B2", desk.world.at())
    for barcode in ("B1", "B2"):
        ask("15", {"AO": "", "AA": "P1", "AB": barcode}, hold_mode="+")
    ask("09", {"AP": "", "AO": "", "AB": "B1", "AC": ""}, return_date=STAMP)
    for number in range(3, 8):
        desk.world.title(f"B{number}")
        desk.adapter.checkout("P1", f"B{number}", desk.world.at())
    fee = desk.adapter.charge_fee("P1", Decimal("1.50"))
    desk.world.clock.forward(days=33)

    def listed(place: int, **limits: str) -> Message:
        summary = "".join("Y" if at == place else " " for at in range(10))
        return ask("63", {"AO": "", "AA": "P1", **limits}, summary=summary)

    plain = ask("63", {"AO": "", "AA": "P1"})
    counts = [
        plain.fixed[f"{name}_count"]
        for name in ("hold", "overdue", "charged", "fine", "recall", "unavailable_hold")
    ]
    assert counts == ["0001", "0005", "0005", "0001", "0000", "0001"]
    assert not {"AS", "AT", "AU", "AV", "BU", "CD"} & {tag for tag, _ in plain.fields}
    assert (plain.get("CB"), plain.get("BV")) == ("0020", "1.50")
    assert listed(0).get_all("AS") == ["B1"]
    assert listed(1).get_all("AT") == [f"B{number}" for number in range(3, 8)]
    assert listed(2, BP="2", BQ="3").get_all("AU") == ["B4", "B5"]
    assert listed(2, BP="5").get_all("AU") == ["B7"]
    assert listed(3).get_all("AV") == [f"{fee} 1.50"]
    assert listed(4).get_all("BU") == []
    assert listed(5).get_all("CD") == ["还没到的书"]
    both = ask("63", {"AO": "", "AA": "P1"}, summary="Y Y       ")
    assert (both.get_all("AS"), len(both.get_all("AU"))) == (["B1"], 5)


def test_block_and_enable(desk, ask):
    desk.world.patron()
    blocked = ask("01", {"AO": "", "AL": "card kept", "AA": "P1", "AC": ""}, card_retained="Y")
    assert (blocked.code, blocked.fixed["patron_status"][:4]) == ("24", "YYYY")
    enabled = ask("25", {"AO": "", "AA": "P1"})
    assert (enabled.code, enabled.fixed["patron_status"]) == ("26", " " * 14)
    desk.adapter.block_patron("P1", BlockReason.CARD_LOST)
    assert ask("25", {"AO": "", "AA": "P1"}).fixed["patron_status"][:4] == "YYYY"
    assert ask("01", {"AO": "", "AL": "", "AA": "NOBODY", "AC": ""}).get("BL") == "N"
    assert ask("25", {"AO": "", "AA": "NOBODY"}).get("BL") == "N"


def test_fee_item_status_and_end(desk, ask):
    desk.world.patron()
    desk.world.title("B1")
    desk.adapter.charge_fee("P1", Decimal("3.00"))
    paid = {"AO": "", "AA": "P1", "BV": "1.00", "BK": "T1"}
    codes = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}
    told = ask("37", paid, **codes)
    assert (told.code, told.fixed["payment_accepted"], told.get("BK")) == ("38", "Y", "T1")
    assert ask("23", {"AO": "", "AA": "P1", "AC": "", "AD": ""}).get("BV") == "2.00"
    assert ask("37", {**paid, "BV": "much", "BK": ""}, **codes).get("AF") == "金额不正确"
    assert ask("19", {"AO": "", "AB": "B1", "CH": "torn"}).fixed["item_properties_ok"] == "1"
    assert ask("19", {"AO": "", "AB": "B9", "CH": "torn"}).fixed["item_properties_ok"] == "0"
    assert ask("17", {"AO": "", "AB": "B1"}).get("CH") == "torn"
    assert ask("17", {"AO": "", "AB": "B9"}).fixed["circulation_status"] == "01"
    assert ask("35", {"AO": "", "AA": "P1"}).fixed["end_session"] == "Y"


def test_status(ask):
    told = ask("99", {}, status_code="0")
    assert (told.fixed["online"], told.fixed["offline_ok"], told.get("BX")) == ("Y", "Y", "Y" * 16)


# -- registration machines -------------------------------------------------------------------------

NUMBER = "500230201503010015"
NEW = {
    "AO": "",
    "AA": "L0001",
    "AD": "1357",
    "AE": "李小河",
    "XO": NUMBER,
    "XT": "student",
    "XH": "20150301",
    "XE": "20300831",
    "MP": "13800000001",
    "XK": "11",
}


def test_a_card_is_opened_once(desk, ask):
    done = ask("81", NEW)
    assert (done.code, done.get("OK"), done.get("AF")) == ("82", "1", "操作成功")
    facts = desk.adapter.fetch_patron("L0001", pin="1357")
    assert (facts.name, facts.category, facts.pin_valid) == ("李小河", "student", True)
    assert (str(facts.birth_date), str(facts.expires)) == ("2015-03-01", "2030-08-31")
    assert ask("81", NEW).get("OK") == "0"
    assert ask("81", {**NEW, "AA": "L0002"}).get("OK") == "0"
    assert not desk.adapter.fetch_patron("L0002").valid
    assert ask("81", {**NEW, "AA": ""}).get("OK") == "0"
    assert ask("81", {**NEW, "AA": "L0003", "XO": "", "XK": "99"}).get("OK") == "0"


def test_a_change_touches_only_what_it_names(desk, ask):
    ask("81", NEW)
    assert ask("81", {"AO": "", "AA": "L0001", "AE": "李小江", "XK": "02"}).get("OK") == "1"
    facts = desk.adapter.fetch_patron("L0001", pin="1357")
    assert (facts.name, facts.category, facts.phone) == ("李小江", "student", "13800000001")
    assert (facts.pin_valid, str(facts.expires)) == (True, "2030-08-31")
    assert desk.adapter.find_patron(identifiers={"id_card": NUMBER}) == "L0001"
    assert ask("81", {"AO": "", "AA": "NOBODY", "XK": "02"}).get("AF") == "读者证不存在"
    desk.adapter.add_desk_patron("D1", name="王一禾")
    assert ask("81", {"AO": "", "AA": "D1", "MP": "139", "XK": "02"}).get("OK") == "1"
    assert desk.adapter.fetch_patron("D1").name == "王一禾"


def test_a_password_is_changed_by_who_knows_it(desk, ask):
    ask("81", NEW)
    change = {"AO": "", "AA": "L0001", "AD": "1357", "KD": "8642", "XK": "14"}
    assert ask("81", {**change, "AD": "0000"}).get("OK") == "0"
    assert ask("81", change).get("OK") == "1"
    assert desk.adapter.verify_pin("L0001", "8642")
    assert ask("81", {**change, "AA": "NOBODY"}).get("OK") == "0"


def test_duplicates_and_the_reader_of_an_identity_card(desk, ask):
    ask("81", NEW)
    assert ask("91", {"AO": "", "AA": "L0001", "XK": "0"}).get("AC") == "1"
    assert ask("91", {"AO": "", "AA": "L0002", "XK": "0"}).get("AC") == "0"
    assert ask("91", {"AO": "", "XO": NUMBER, "XK": "1"}).get("AC") == "1"
    assert ask("91", {"AO": "", "XO": "500230201503010023", "XK": "1"}).get("AC") == "0"
    assert ask("85", {"AO": "", "XO": NUMBER, "XK": "13"}).get("OX") == "L0001"
    nobody = ask("85", {"AO": "", "XO": "500230201503010023", "XK": "13"})
    assert (nobody.code, nobody.get("OX"), nobody.get("AF")) == ("86", "", "读者证不存在")


# -- as a process ----------------------------------------------------------------------------------


def test_a_process_serves_until_it_is_told_to_end(make_world, tmp_path):
    world = make_world(path="ils.db")
    world.patron()
    secret = tmp_path / "secret"
    secret.write_text("geheim\n", encoding="utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "adapters.local.sip2_server", "--db", str(tmp_path / "ils.db")),
            *("--institution", "LIB", "--login", "gateway", "--password-file", str(secret)),
            *("--encoding", "gbk", "--language", "en", "--checksum", "ignore"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = json.loads(process.stdout.readline())["port"]
        profile = WireProfile(encoding="gbk", checksum=ChecksumPolicy.IGNORE)
        with Sip2Client("127.0.0.1", port, profile=profile, timeout_s=20) as client:
            assert client.login("gateway", "geheim")
            told = client.exchange(Message("23", {}, [("AA", "P1"), ("AD", "")]))
            assert told.get("AE") == "王小明"
            refused = client.exchange(Message("11", {}, [("AA", "P1"), ("AB", "B1")]))
            assert refused.get("AF") == "This item is not known"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out, err) == (0, "", "")
