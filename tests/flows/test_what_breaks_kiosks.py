"""What breaks self-check machines in front of other systems, sent to our gateway over a socket.

Each test names the bug that somebody had. After everything the same connection still answers the
next message: a machine that hangs is switched off by the staff. Themes with tests elsewhere:

==========================================  =====================================================
frames cut, joined, with odd ends           tests/unit/sip2/test_dirty_frames
checksum variants, sequence numbers         tests/unit/sip2/test_dirty_frames
duplicates across a reconnect               tests/unit/sip2/test_server ``test_repeat_*``
half-closed and stalled sockets             tests/unit/sip2/test_server ``test_half_closed_*``, …
one account after another on a connection   tests/unit/sip2/test_server ``test_relogin_*``
forced renewal at a repeated checkout       test_checkout_flows ``test_s12_*``
flags, counts, limits of ILS and policy     test_every_pair, test_checkout_flows
PIN not asked for is not checked            test_every_pair ``test_where_no_pin_*``
PINs and names in logs                      test_canary, test_no_value_in_clear
BP and BQ nonsense                          test_every_pair ``test_63_a_range_*``
no field, empty fields                      test_every_pair ``test_incomplete_*``
slow ILS, one library beside another        tests/unit/sip2/test_server ``test_hanging_library_*``
==========================================  =====================================================
"""

from __future__ import annotations

import io
import itertools
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

import connector.log
from connector.domain.ids import IlsPatronId
from connector.domain.patron import Fee
from connector.ports.ils import BlockReason, CheckoutResult
from connector.sip2.codec import Checksum, Frame, checksum, decode
from connector.sip2.connection import MAX_FAILED_LOGINS
from connector.sip2.spec import SPECS
from connector.sip2.terminal import WireProfile
from connector.testing.faults import Fault, FaultKind
from tests.support.world import PASSWORD, World

CODE = "KOHA-A"
D = "20261121    100000"
D14 = "20261121100000"
E = "20261221    100000"
NONE = " " * 18
_VARIABLE = 'password_env = "ONECARD_TERMINAL_KIOSK_KOHA_A_PASSWORD"\nlibrary = "KOHA-A"'
TERMINALS = "\n".join(
    f'[[sip2.terminals]]\nlogin = "{login}"\n{_VARIABLE}\n{more}'
    for login, more in {
        "gbk": 'encoding = "gbk"\nchecksum = "log"\nmask_name = false',
        "big5": 'encoding = "big5"\nchecksum = "ignore"\nmask_name = false',
        "lenient": 'checksum = "ignore"\nmask_name = false',
        "pin": 'pin = "always"',
        "asking": 'answer_unknown = "96"',
        "caret": 'delimiter = "^"',
        "crlf": 'terminator = "CRLF"',
    }.items()
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gateway for all of these: every test brings its own people and items."""
    folder: Path = tmp_path_factory.mktemp("kiosks")
    made = World(folder, f"sqlite:///{folder}/store.db", sip2=TERMINALS)
    yield made
    made.close()


class Wire:
    """A kiosk that sends what it likes; it fails where an answer is not in order."""

    def __init__(self, world: World, login: str = f"kiosk-{CODE}", **profile: str) -> None:
        self.profile = WireProfile(**profile)  # type: ignore[arg-type]
        self.sock = socket.create_connection(("127.0.0.1", world.server.port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        bar = self.profile.delimiter
        assert self.ask(f"9300CN{login}{bar}CO{PASSWORD}{bar}").message.fixed["ok"] == "1"

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self) -> bytes:
        while b"\r" not in self.rest:
            data = self.sock.recv(65536)
            assert data, "the gateway closed the connection"
            self.rest += data
        frame, _, self.rest = self.rest.partition(b"\r")
        return frame.lstrip(b"\n")

    def ask(self, what: str | bytes) -> Frame:
        """Send a frame; its answer must be of the pair, with every required tag, in order."""
        raw = what.encode(self.profile.encoding) if isinstance(what, str) else what
        self.send(raw if raw.endswith((b"\r", b"\n")) else raw + b"\r")
        answer = decode(self.read(), self.profile)
        code = raw.lstrip(b"\r\n \x00")[:2].decode()
        self.check(answer, code)
        return answer

    def check(self, answer: Frame, code: str) -> None:
        assert answer.message is not None
        assert answer.code == SPECS[code].answer
        assert answer.problems == ()
        assert answer.checksum is not Checksum.BAD
        tags = [tag for tag, _ in answer.message.fields]
        spec = SPECS[answer.code]
        assert spec.required_set <= set(tags)
        ranks = [spec.rank[tag] for tag in tags if tag in spec.rank]
        assert ranks == sorted(ranks), "the standard's order"

    def seal(self, text: str, number: int = 1) -> bytes:
        body = f"{text}AY{number}AZ".encode(self.profile.encoding)
        return body + checksum(body)

    def is_alive(self) -> bool:
        return self.ask("9900802.00").message.fixed["online"] == "Y"


@pytest.fixture
def wire(world: World) -> Iterator[Wire]:
    """The kiosk; whatever the test did, it answers afterwards."""
    made = Wire(world)
    yield made
    assert made.is_alive()
    made.close()


@pytest.fixture
def at(world: World) -> Iterator:
    """A kiosk of another kind, by its login."""
    made: list[Wire] = []

    def connect(login: str, **profile: str) -> Wire:
        made.append(Wire(world, login, **profile))
        return made[-1]

    yield connect
    for one in made:
        assert one.is_alive()
        one.close()


@pytest.fixture
def card(world: World) -> str:
    number = f"S{next(_numbers):05}"
    world.add_pupil(number, pin="2468")
    return number


@pytest.fixture
def book(world: World) -> str:
    barcode = f"B{next(_numbers):05}"
    world.add_items(CODE, barcode)
    return barcode


def checkout(card: str, book: str) -> str:
    return f"11NN{D}{NONE}AO|AA{card}|AB{book}|AC|"


# ── frames out of shape, answered by the real gateway ────────────────────────────────────────────

SHAPES = {
    "blank algorithms": f"93  CNkiosk-{CODE}|CO{PASSWORD}|",
    "delimiter between the fixed part and the first tag": f"23019{D}|AO|AA%c|AC|AD|",
    "14-digit date": f"17{D14}AO|AB%b|",
    "14-digit dates with three blanks between": f"11YN{D14}   {D14}AO|AA%c|AB%b|AC|",
    "14-digit date and a delimiter": f"35{D14}|AO|AA%c|",
    "no fixed part": "29AO|AA%c|AB%b|",
    "no fixed part, checkout": "11AO|AA%c|AB%b|AC|",
    "no fixed part, return": "09AP|AO|AB%b|AC|",
    "AY and a delimiter in the middle": f"17{D}AO|AY|AB%b|",
    "one-blank zone and short summary": "6301920261121 102456 Y|AA%c",
    "a language before the date of 17": f"17001{D}AO|AB%b|",
    "no last delimiter": f"17{D}AO|AB%b",
    "empty fields": f"17{D}AO||||AB%b||",
    "blank nb due date": f"11NN{D}{NONE}AO|AA%c|AB%b|AC|",
    "literal date": "23001YYYYMMDDZZZZHHMMSSAO|AA%c|AC|AD|",
    "zone of zeros": "23001202611210000100000AO|AA%c|AC|AD|",
    "UTC zone": "2300120261121   Z020000AO|AA%c|AC|AD|",
    "nonsense date": "17202613450000996199AO|AB%b|",
    "delimiter in a value": f"17{D}AOa|b|AB%b|",
    "unknown tag": f"17{D}ZZfoo|AO|AB%b|QQ|",
    "unknown tag first and last": f"23019{D}ZZfoo|AO|AA%c|AC|AD|ZZbar|",
    "lower case flags": f"11yn{D}{D}AO|AA%c|AB%b|AC|",
    "missing AC": f"11NN{D}{NONE}AO|AA%c|AB%b|",
    "missing AO": f"23019{D}AA%c|AC|AD|",
    "tags in another order": f"11NN{D}{NONE}AC|AB%b|AA%c|AO|",
    "repeated tags": f"17{D}AO|AO|AB%b|AB%b|",
    "LF first": f"\n17{D}AO|AB%b|",
    "blank first": f" 17{D}AO|AB%b|",
    "CRLF": f"17{D}AO|AB%b|\r\n",
    "LF alone": f"17{D}AO|AB%b|\n",
    "only the code": "17",
    "only the code of a status": "23",
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_frame_out_of_shape_is_answered(wire: Wire, card: str, book: str, shape: str) -> None:
    frame = SHAPES[shape].replace("%c", card).replace("%b", book)
    answer = wire.ask(frame)
    if frame.lstrip("\n ")[:2] == "17" and book in frame and shape != "nonsense date":
        assert answer.message.fixed["circulation_status"] == "03"
    if frame[:2] == "23" and card in frame:
        assert answer.message.get("BL") == "Y"
    if frame[:2] == "11":
        assert answer.message.fixed["ok"] == "1"


@pytest.mark.parametrize(
    "tail",
    [
        "AY3AZEDB7",
        "AY1AZB92E",
        "AY1AZF4A6",
        "AY4AZ0000",
        "AY1|AZ0000",
        "AY3AZ",
        "AY3AZEDB7|",
        "AZ|",
    ],
)
def test_constant_checksums_of_chinese_drivers_are_served_where_nobody_looks(
    at, card: str, book: str, tail: str
) -> None:
    kiosk = at("lenient")
    assert kiosk.ask(f"{checkout(card, book)}{tail}").message.fixed["ok"] == "1"
    assert kiosk.ask(f"23019{D}AO|AA{card}|AC|AD|{tail}").message.get("BL") == "Y"


def test_constant_sequence_brings_no_stale_answer(at, world: World, card: str) -> None:
    kiosk = at("lenient")
    for number in range(3):
        world.add_items(CODE, f"{card}-{number}")
        answer = kiosk.ask(kiosk.seal(checkout(card, f"{card}-{number}"), 1))
        assert (answer.message.fixed["ok"], answer.message.get("AB")) == ("1", f"{card}-{number}")
        assert kiosk.ask(kiosk.seal("9900802.00", 1)).code == "98"


def test_client_past_nine_is_answered(wire: Wire, card: str) -> None:
    """SIP2.NET went on to AY10 and into endless 96s."""
    for number in range(8, 13):
        assert wire.ask(wire.seal(f"23019{D}AO|AA{card}|AC|AD|", number)).message.get("BL") == "Y"


def test_duplicate_is_lent_once(wire: Wire, world: World, card: str, book: str) -> None:
    before = world.ils(CODE).count_calls("checkout")
    raw = wire.seal(checkout(card, book), 3)
    first = wire.ask(raw)
    assert [wire.ask(raw).raw for _ in range(3)] == [first.raw] * 3
    assert world.ils(CODE).count_calls("checkout") == before + 1


@pytest.mark.parametrize("before", ["17{D}AO|ABnone|", "9900802.00", "35{D}AO|AAx|", "ZZ", "11"])
def test_97_after_everything(wire: Wire, before: str) -> None:
    """fsip2 answers 96 to it: for the standard that is the end of the conversation."""
    raw = before.replace("{D}", D).encode() + b"\r"
    if before == "ZZ":
        wire.send(raw)
        wire.ask("9900802.00")
    else:
        wire.send(raw)
        last = wire.read()
        wire.send(b"97AZFEF5\r")
        assert wire.read() == last


def test_wrong_checksum_is_asked_for_again_and_the_next_frame_is_served(
    wire: Wire, world: World, card: str, book: str
) -> None:
    before = world.ils(CODE).count_calls("checkout")
    good = wire.seal(checkout(card, book), 1)
    wire.send(good[:-4] + b"0000\r")
    assert wire.read() == b"96AZFEF6"
    assert world.ils(CODE).count_calls("checkout") == before
    assert wire.ask(good).message.fixed["ok"] == "1"


def test_every_character_that_ends_in_the_delimiter_passes_the_gateway(at) -> None:
    """117 ideographs of GBK and 85 of Big5, among them 四 會 育 稅, cut names in two elsewhere."""
    for login in ("gbk", "big5"):
        kiosk = at(login, encoding=login)
        for lead in range(0x81, 0xFF):
            try:
                character = bytes((lead, 0x7C)).decode(login)
            except UnicodeDecodeError:
                continue
            answer = kiosk.ask(kiosk.seal(f"17{D}AO|AB{character}1|AC|", lead % 10))
            assert answer.message.get("AB") == f"{character}1", character
            assert answer.checksum is Checksum.GOOD


def test_long_chinese_answer_arrives_whole(at, world: World, card: str) -> None:
    """A 64 of 720 bytes and more, with titles in GBK; one recv of the driver must hold it."""
    kiosk = at("gbk", encoding="gbk")
    for number in range(8):
        world.add_items(CODE, f"{card}东瑋珅书库第{number}号馆藏图书条码")
        kiosk.ask(kiosk.seal(checkout(card, f"{card}东瑋珅书库第{number}号馆藏图书条码"), number))
    kiosk.send(kiosk.seal(f"63019{D}  Y       AO|AA{card}|AC|", 9) + b"\r")
    data = kiosk.sock.recv(64 * 1024)
    assert data.endswith(b"\r")
    frame = decode(data.strip(), kiosk.profile)
    kiosk.check(frame, "63")
    assert len(frame.message.get_all("AU")) == 8
    assert frame.checksum is Checksum.GOOD


# ── the connection dies on data that nobody expected ─────────────────────────────────────────────


def test_koha_27166_return_of_an_item_that_is_not_on_loan_and_belongs_elsewhere(
    wire: Wire, world: World
) -> None:
    barcode = f"CN-FOLIO-B.{next(_numbers)}"
    world.add_items(CODE, barcode)
    answer = wire.ask(f"09N{D}{D}APdesk|AO|AB{barcode}|AC|")
    assert answer.code == "10"


def test_koha_27196_hold_of_somebody_at_another_branch(
    wire: Wire, world: World, card: str, book: str
) -> None:
    other = f"S{next(_numbers):05}"
    world.add_pupil(other)
    held = wire.ask(f"15+{D}BSelsewhere|BY2|AO|AA{other}|AB{book}|AC|")
    assert held.message.fixed["ok"] == "1"
    assert wire.ask(f"09N{D}{D}APhere|AO|AB{book}|AC|").message.fixed["alert"] == "Y"
    assert wire.ask(checkout(card, book)).message.fixed["ok"] == "0"
    assert wire.ask(checkout(other, book)).message.fixed["ok"] == "1"


@pytest.mark.parametrize(
    "summary", [f"{'':6}Y   ", f"{'':9}Y", "YYYYYYYYYY", "NNNNNNNNNN", "xx%&/()=?!"]
)
def test_koha_25903_and_lp_1298985_summaries_that_mean_nothing(
    wire: Wire, card: str, summary: str
) -> None:
    assert wire.ask(f"63019{D}{summary}AO|AA{card}|AC|").message.get("BL") == "Y"


@pytest.mark.parametrize("note", ["a\rb", "a\r\nb", "a\x00b", "a|b", "a|AFb", "\r97\r"])
def test_koha_40675_line_ends_and_delimiters_in_what_the_ils_says(
    wire: Wire, world: World, card: str, book: str, note: str
) -> None:
    world.ils(CODE).fail("checkout", Fault(FaultKind.REFUSED, code="no", message=note))
    answer = wire.ask(checkout(card, book))
    assert answer.message.fixed["ok"] == "0"
    assert len(answer.message.get_all("AF")) <= 1


@pytest.mark.parametrize("value", ["a|b", "a\rb", "", "\x1b", "汉" * 300])
def test_koha_27589_fields_of_an_item_that_nobody_cleaned(
    wire: Wire, world: World, value: str
) -> None:
    barcode = f"B{next(_numbers):05}"
    world.add_items(CODE, barcode, title=value, collection=value, call_number=value, location=value)
    assert wire.ask(f"17{D}AO|AB{barcode}|AC|").message.get("AB") == barcode
    assert wire.ask(f"09N{D}{D}AP|AO|AB{barcode}|AC|").message.get("AB") == barcode


EVERYTHING = {
    "23": f"23019{D}AO|AA%c|AC|AD|",
    "63": f"63019{D}  Y       AO|AA%c|AC|",
    "11": f"11NN{D}{NONE}AO|AA%c|AB%b|AC|",
    "29": f"29NN{D}{NONE}AO|AA%c|AB%b|AC|",
    "65": f"65{D}AO|AA%c|AC|",
    "09": f"09N{D}{D}AP|AO|AB%b|AC|",
    "17": f"17{D}AO|AB%b|AC|",
    "15": f"15+{D}BY2|AO|AA%c|AB%b|AC|",
    "37": f"37{D}0100CNYBV2.50|AO|AA%c|AC|BKt1|",
    "01": f"01N{D}AO|ALx|AA%c|AC|",
    "25": f"25{D}AO|AA%c|AC|",
    "19": f"19{D}AO|AB%b|CHx|",
    "35": f"35{D}AO|AA%c|AC|",
    "99": "9900802.00",
}
FAULTS = {
    "away": FaultKind.NOT_SENT,
    "no answer": FaultKind.NO_ANSWER,
    "wrong password": FaultKind.AUTH_FAILED,
    "an answer that nobody knows": FaultKind.UNEXPECTED,
}


@pytest.mark.parametrize("code", list(EVERYTHING))
@pytest.mark.parametrize("fault", [*FAULTS, "a bug of the adapter"])
def test_edge_sip2_94_208_223_225_whatever_fails_the_pair_has_its_fields_and_its_cr(
    world: World, code: str, fault: str, monkeypatch
) -> None:
    """Plain-text exceptions, answers without ``\\r``, required fields missing on failure alone."""
    number, barcode = next(_numbers), f"B{next(_numbers):05}"
    world.add_pupil(f"S{number:05}", at=("FOLIO-B",))
    world.add_items("FOLIO-B", barcode)
    ils = world.ils("FOLIO-B")
    kiosk = Wire(world, "kiosk-FOLIO-B")
    if fault in FAULTS:
        ils.script.set_always("*", Fault(FAULTS[fault]))
    else:
        monkeypatch.setattr(ils, "_take", lambda *_: 1 / 0)
    try:
        kiosk.ask(EVERYTHING[code].replace("%c", f"S{number:05}").replace("%b", barcode))
    finally:
        ils.script.set_always("*", None)
        monkeypatch.undo()
    assert kiosk.ask("9900802.00").code == "98"
    kiosk.close()


def test_edge_sip2_136_nobody_ever_sent_a_99(world: World, card: str, book: str) -> None:
    kiosk = Wire(world)
    assert kiosk.ask(checkout(card, book)).message.fixed["ok"] == "1"
    assert kiosk.ask(f"63019{D}{'':10}AO|AA{card}|AC|").message.get("BL") == "Y"
    kiosk.close()


@pytest.mark.parametrize("code", ["11", "09", "17", "29", "15", "19"])
@pytest.mark.parametrize("barcode", ["", " ", "null", "\x00", "|", "NULL|AA"])
def test_edge_sip2_226_242_barcodes_that_are_none(
    wire: Wire, card: str, code: str, barcode: str
) -> None:
    answer = wire.ask(EVERYTHING[code].replace("%c", card).replace("%b", barcode))
    assert answer.message.fixed.get("ok", "0") == "0"


def test_invenio_unknown_tag_leaves_the_next_kiosk_alone(wire: Wire, at, card: str) -> None:
    assert wire.ask(f"63019{D}{'':10}ZZfoo|AO|AA{card}|AC|").message.get("BL") == "Y"
    assert at("lenient").ask("9900802.00").code == "98"


def test_unknown_message_is_met_with_silence_or_96_as_configured(wire: Wire, at) -> None:
    """SIPServer and invenio close the connection."""
    wire.send(b"41anything|\r")
    asking = at("asking")
    asking.send(b"41anything|\r")
    assert asking.read() == b"96"


@pytest.mark.parametrize(
    "junk", [b"login: \r\n", b"password:\r", b"\xff\xfd\x18\xff\xfe\r", b"\x00\r"]
)
def test_telnet_prompts_are_passed_over(wire: Wire, junk: bytes) -> None:
    wire.send(junk)
    assert wire.is_alive()


@pytest.mark.parametrize("tag", ["AA", "AB", "AD", "AO", "ZZ"])
def test_values_of_10_kb(wire: Wire, card: str, book: str, tag: str) -> None:
    """pysip2 drops the connection at 256."""
    answer = wire.ask(f"11NN{D}{NONE}{tag}{'长' * 10_000}|AO|AA{card}|AB{book}|AC|")
    assert max(len(value) for _, value in answer.message.fields) <= 255


# ── terminators, delimiters, half-open sockets ───────────────────────────────────────────────────


def test_libki_37_the_terminator_of_the_terminal_is_the_only_one(at, card: str) -> None:
    kiosk = at("crlf")
    kiosk.ask(f"23019{D}AO|AA{card}|AC|AD|")
    kiosk.send(f"23019{D}AO|AA{card}|AC|AD|\r".encode())
    data = kiosk.rest
    while data.count(b"\n") < 2:  # the first ends the answer before
        data += kiosk.sock.recv(65536)
    kiosk.rest = b""
    assert data.endswith(b"\r\n")
    assert data.strip(b"\r\n").count(b"\r") == 0


def test_another_delimiter(world: World, card: str) -> None:
    kiosk = Wire(world)
    assert kiosk.ask(f"9300CNcaret|CO{PASSWORD}|").message.fixed["ok"] == "1"
    kiosk.profile = replace(kiosk.profile, delimiter="^")
    answer = kiosk.ask(f"23019{D}AO^AA{card}^AC^AD^")
    assert (answer.message.get("AA"), answer.message.get("BL")) == (card, "Y")
    kiosk.close()


def test_lp_1042850_half_open_sockets_are_probed(world: World, wire: Wire) -> None:
    """A kiosk that lost its power says no goodbye: the system asks after two minutes."""
    (connection,) = [
        one for one in _server_sockets(world) if one.getpeername() == wire.sock.getsockname()
    ]
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10


def _server_sockets(world: World) -> list[socket.socket]:
    """The server's ends of the connections, which live in this process."""
    import gc

    port = world.server.port
    found = []
    for one in gc.get_objects():
        if isinstance(one, socket.socket) and one.fileno() >= 0:
            try:
                if one.getsockname()[1] == port and one.getpeername():
                    found.append(one)
            except (OSError, IndexError):
                continue
    return found


def test_kiosk_that_vanished_in_the_middle_harms_nobody(world: World, card: str, book: str) -> None:
    kiosk = Wire(world)
    kiosk.send(f"11NN{D}{NONE}AO|AA{card}|AB{book}".encode())
    kiosk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    kiosk.close()
    again = Wire(world)
    assert again.ask(checkout(card, book)).message.fixed["ok"] == "1"
    again.close()


def test_koha_min_servers_fifty_kiosks_connect_at_once(world: World) -> None:
    def visit(_number: int) -> bool:
        kiosk = Wire(world, f"kiosk-{CODE}" if _number % 2 else "lenient")
        alive = kiosk.is_alive()
        kiosk.close()
        return alive

    # a login has few places at a time, so that a cloned machine is noticed; five come together
    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(visit, range(50)))


def test_polls_every_seven_minutes_are_no_idling(world: World) -> None:
    """Koha: kiosks send a status every 5 to 7 minutes; less adds instability."""
    assert world.settings.sip2.idle_timeout_s > 7 * 60


def test_commit_16a0140_and_2006_the_status_tells_when_the_ils_is_gone(world: World) -> None:
    """94 answers for the terminal, 98 for the ILS behind it: on-line N while it is away."""
    ils = world.ils("SIP-C")
    ils.set_down()
    try:
        kiosk = Wire(world, "kiosk-SIP-C")
        assert not kiosk.is_alive()
    finally:
        ils.set_down(down=False)
    until = time.monotonic() + 20  # the status is kept for a moment
    while not kiosk.is_alive():
        assert time.monotonic() < until
        time.sleep(0.1)
    kiosk.close()


def test_lp_1348731_two_machines_with_one_login(world: World, card: str, book: str) -> None:
    first, second = Wire(world), Wire(world)
    assert second.ask(checkout(card, book)).message.fixed["ok"] == "1"
    assert first.ask(f"09N{D}{D}AP|AO|AB{book}|AC|").message.fixed["ok"] == "1"
    first.close()
    second.close()


def test_failed_logins_do_not_stop_the_next_kiosk(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=30) as raw:
        raw.sendall(b"9300CNnobody|COwrong|\r")
        assert raw.recv(100) == b"940\r"
    assert MAX_FAILED_LOGINS > 1
    kiosk = Wire(world)
    assert kiosk.is_alive()
    kiosk.close()


# ── flags, fees, PINs ────────────────────────────────────────────────────────────────────────────


def test_edge_sip2_177_a_pupil_in_order_has_no_flag(wire: Wire, card: str) -> None:
    for frame in (f"23019{D}AO|AA{card}|AC|AD|", f"63019{D}{'':10}AO|AA{card}|AC|"):
        assert wire.ask(frame).message.fixed["patron_status"] == " " * 14


def test_edge_sip2_310_313_a_block_shows_in_24_and_in_64(
    wire: Wire, world: World, card: str
) -> None:
    world.ils(CODE).block_patron(IlsPatronId(card), BlockReason.STAFF)
    status = wire.ask(f"23019{D}AO|AA{card}|AC|AD|").message.fixed["patron_status"]
    assert status.startswith("YYYY")
    again = wire.ask(f"63019{D}{'':10}AO|AA{card}|AC|").message.fixed["patron_status"]
    assert again == status


def test_koha_25761_33055_fees_bar_nobody_whom_neither_ils_nor_policy_bars(
    wire: Wire, world: World, card: str, book: str
) -> None:
    fee(world, card, "12.34")
    for frame in (f"23019{D}AO|AA{card}|AC|AD|", f"63019{D}{'':10}AO|AA{card}|AC|"):
        answer = wire.ask(frame).message
        assert answer.fixed["patron_status"] == " " * 14
        assert answer.get("BV") == "12.34"  # SIP2-188: the same in both; SIP2-180: with fractions
        assert answer.get("BH") == "CNY"  # SIP2-240 and others: the ILS's currency
    assert wire.ask(checkout(card, book)).message.fixed["ok"] == "1"


def test_edge_sip2_300_amounts_have_a_point_in_every_country(
    wire: Wire, world: World, card: str
) -> None:
    fee(world, card, "1234.5")
    answer = wire.ask(f"63019{D}   Y      AO|AA{card}|AC|").message
    assert answer.get("BV") == "1234.50"
    assert "1234.50" in answer.get("AV")


@pytest.mark.parametrize("amount", ["2,50", "NaN", "-1", "1e9", "", "0", "Infinity"])
def test_amounts_that_are_none_are_refused(
    wire: Wire, world: World, card: str, amount: str
) -> None:
    fee(world, card, "2.50")
    frame = f"37{D}0100CNYBV{amount}|AO|AA{card}|AC|BK{card}|"
    assert wire.ask(frame).message.fixed["payment_accepted"] == "N"


def fee(world: World, card: str, amount: str) -> None:
    ils = world.ils(CODE)
    number = str(next(_numbers))
    ils.stock.fees[number] = (IlsPatronId(card), Fee(number, Decimal(amount), "CNY"))


def test_koha_34767_bo_goes_to_the_ils_at_renewals_too(
    wire: Wire, world: World, card: str, book: str, monkeypatch
) -> None:
    ils = world.ils(CODE)
    assert wire.ask(checkout(card, book)).message.fixed["ok"] == "1"
    seen = []
    real = ils.renew

    def renew(patron, barcode, context, *, due=None) -> CheckoutResult:
        seen.append(context.fee_acknowledged)
        return real(patron, barcode, context, due=due)

    monkeypatch.setattr(ils, "renew", renew)
    wire.ask(f"29NN{D}{NONE}AO|AA{card}|AB{book}|AC|BOY|")
    assert seen == [True]


@pytest.mark.parametrize("pin", ["", " ", "|AD"])
def test_libki_351_a_blank_pin_is_no_pin(at, card: str, book: str, pin: str) -> None:
    kiosk = at("pin")
    answer = kiosk.ask(f"11NN{D}{NONE}AO|AA{card}|AB{book}|AC|AD{pin}|").message
    assert answer.fixed["ok"] == "0"
    assert kiosk.ask(f"23019{D}AO|AA{card}|AC|AD{pin}|").message.get("CQ") != "Y"
    assert kiosk.ask(f"{checkout(card, book)}AD2468|").message.fixed["ok"] == "1"


def test_edge_sip2_287_a_pin_that_nobody_sent_is_not_tried(
    wire: Wire, world: World, card: str, monkeypatch
) -> None:
    """Needless password checks locked patrons' accounts."""
    ils = world.ils(CODE)
    pins = []
    real = ils.fetch_patron
    monkeypatch.setattr(
        ils, "fetch_patron", lambda who, pin=None: (pins.append(pin), real(who, pin))[1]
    )
    wire.ask(f"23019{D}AO|AA{card}|AC|AD|")
    wire.ask(f"63019{D}{'':10}AO|AA{card}|AC|")
    assert pins
    assert set(pins) == {None}


def test_libki_245_waiting_and_available_holds_are_counted_apart(
    wire: Wire, world: World, card: str
) -> None:
    barcode = f"B{next(_numbers):05}"
    world.add_items(CODE, barcode)
    wire.ask(f"15+{D}BY2|AO|AA{card}|AB{barcode}|AC|")
    waiting = wire.ask(f"63019{D}{'':10}AO|AA{card}|AC|").message.fixed
    assert (waiting["hold_count"], waiting["unavailable_hold_count"]) == ("0000", "0001")
    wire.ask(f"09N{D}{D}AP|AO|AB{barcode}|AC|")
    there = wire.ask(f"63019{D}{'':10}AO|AA{card}|AC|").message.fixed
    assert (there["hold_count"], there["unavailable_hold_count"]) == ("0001", "0000")


# ── privacy and injection ────────────────────────────────────────────────────────────────────────


def test_lp_1528301_no_telephone_of_who_waits_on_a_public_screen(
    wire: Wire, world: World, book: str
) -> None:
    other = f"S{next(_numbers):05}"
    world.add_pupil(other)
    world.ils(CODE).stock.patrons[IlsPatronId(other)].phone = "13900000001"
    wire.ask(f"15+{D}BY2|AO|AA{other}|AB{book}|AC|")
    answer = wire.ask(f"09N{D}{D}AP|AO|AB{book}|AC|")
    assert answer.message.fixed["alert"] == "Y"
    assert b"13900000001" not in answer.raw
    assert other.encode() not in answer.raw
    assert not {"BF", "CY", "DA"} & {tag for tag, _ in answer.message.fields}


def test_pins_numbers_and_barcodes_stay_out_of_the_log(
    wire: Wire, world: World, card: str, book: str
) -> None:
    """Koha, SIPServer, dp2, invenio, edge-sip2 and the package sip2 write whole messages."""
    stream = io.StringIO()
    connector.log.configure(stream=stream)
    try:
        wire.ask(f"11NN{D}{NONE}AO|AA{card}|AB{book}|AC|AD2468|")
        wire.ask(f"63019{D}  Y       AO|AA{card}|AC|AD9753|")
        wire.send(f"97 AA{card}|AD2468|\r41AA{card}|AD2468|\r".encode())
        wire.read()
        wire.ask("9900802.00")
    finally:
        structlog.reset_defaults()
    text = stream.getvalue()
    assert text.count("sip2.exchange_done") >= 4
    for value in (card, book, "2468", "9753", "张"):
        assert value not in text


@pytest.mark.parametrize(
    "text",
    [
        "a/b",
        "a'b",
        'a"b',
        "a\\b",
        "%25",
        "*",
        "?x=1&y=2",
        "'; DROP TABLE loan; --",
        '") or barcode=("',
        "../../etc/passwd",
        "{{7*7}}",
        "%s%n",
        "<script>",
    ],
)
def test_edge_sip2_249_252_quotes_and_slashes_are_data(
    wire: Wire, world: World, card: str, text: str
) -> None:
    barcode = f"{text}{next(_numbers)}"
    world.add_items(CODE, barcode)
    assert wire.ask(checkout(card, barcode)).message.fixed["ok"] == "1"
    assert wire.ask(f"17{D}AO|AB{barcode}|AC|").message.fixed["circulation_status"] == "04"
    assert wire.ask(f"23019{D}AO|AA{text}|AC|AD|").message.get("BL") == "N"
    assert wire.ask(f"09N{D}{D}AP|AO|AB{barcode}|AC|").message.fixed["ok"] == "1"
    assert world.rows("loan")


@pytest.mark.parametrize("around", [" %s", "%s ", "  %s  ", "\x07%s", "%s\x14", "\t%s\t", "　%s"])
def test_edge_sip2_98_and_libki_422_blanks_and_controls_around_what_was_scanned(
    wire: Wire, card: str, book: str, around: str
) -> None:
    answer = wire.ask(checkout(around % card, around % book))
    assert answer.message.fixed["ok"] == "1"
    assert wire.ask(f"09N{D}{D}AP|AO|AB{around % book}|AC|").message.fixed["ok"] == "1"


# ── returns, renewals, security gates ────────────────────────────────────────────────────────────


def test_koha_26370_31296_what_is_refused_stays_sensitised(
    wire: Wire, world: World, card: str
) -> None:
    for number in range(4):
        world.add_items(CODE, f"{card}-E{number}", languages=("eng",))
        answer = wire.ask(checkout(card, f"{card}-E{number}")).message
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("0", "N")


def test_edge_sip2_115_147_231_232_refusals_have_aj_and_ah(wire: Wire, card: str) -> None:
    for code in ("11", "29"):
        answer = wire.ask(EVERYTHING[code].replace("%c", card).replace("%b", "none")).message
        assert (answer.fixed["ok"], answer.has("AJ"), answer.has("AH")) == ("0", True, True)


def test_edge_sip2_156_all_tags_of_18_come_after_its_fixed_part(wire: Wire, book: str) -> None:
    """The prose of the standard prints CF and AH in the middle of the fixed part."""
    raw = wire.ask(f"17{D}AO|AB{book}|AC|").raw
    assert raw[2:8] == b"030001"
    assert raw[26:28] == b"AB"


def test_koha_39842_the_place_is_told_where_the_ils_tells_it(wire: Wire, world: World) -> None:
    barcode = f"B{next(_numbers):05}"
    world.add_items(CODE, barcode, location="main-1")
    answer = wire.ask(f"17{D}AO|AB{barcode}|AC|").message
    assert (answer.get("AP"), answer.get("AQ")) == ("main-1", "main-1")


def test_edge_sip2_303_121_what_cannot_be_renewed_is_refused_in_30(
    wire: Wire, world: World, card: str, book: str
) -> None:
    assert wire.ask(f"29NN{D}{NONE}AO|AA{card}|AB{book}|AC|").message.fixed["ok"] == "0"
    assert wire.ask(checkout(card, book)).message.fixed["ok"] == "1"
    assert wire.ask(f"29NN{D}{NONE}AO|AA{card}|AB{book}|AC|").message.fixed["ok"] == "1"
    second = wire.ask(f"29NN{D}{NONE}AO|AA{card}|AB{book}|AC|").message
    assert (second.code, second.fixed["ok"]) == ("30", "0")
    assert second.get("AF")


def test_koha_12556_a_returned_item_that_somebody_waits_for_rings(
    wire: Wire, world: World, card: str, book: str
) -> None:
    other = f"S{next(_numbers):05}"
    world.add_pupil(other)
    wire.ask(checkout(card, book))
    wire.ask(f"15+{D}BY2|AO|AA{other}|AB{book}|AC|")
    answer = wire.ask(f"09N{D}{D}AP|AO|AB{book}|AC|").message
    assert (answer.fixed["ok"], answer.fixed["alert"], answer.get("CV")) == ("1", "Y", "01")


@pytest.mark.parametrize("cancel", ["Y", "N", ""])
def test_a_checkout_or_return_that_cancels_is_an_ordinary_one_at_worst(
    wire: Wire, card: str, book: str, cancel: str
) -> None:
    """BI: nearly nobody implements it; the failure mode elsewhere is a plain checkin."""
    assert wire.ask(f"{checkout(card, book)}BI{cancel}|").code == "12"
    assert wire.ask(f"09N{D}{D}AP|AO|AB{book}|AC|BI{cancel}|").code == "10"
