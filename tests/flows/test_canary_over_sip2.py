"""The canary again, with ILSs that are reachable by SIP2 alone, among them rude ones: marked names,
numbers and PINs go through registration machines, payments, holds, work beside an ILS that is away,
and hand-off; none comes out in a log, a metric, an exception, a task, the audit or a table.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from connector import log
from connector.domain.enrolment import ConsentScope, SchoolStage
from connector.domain.handoff import HandoffColumn, HandoffField
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.enrolment.handoff_file import HandoffLayout
from connector.errors import ConnectorError
from connector.ports.ils import ExchangeContext, PatronInput
from connector.services.activation import Activation
from connector.services.handoff import HandoffService
from connector.services.pacing import Pacing
from connector.settings import LogSettings
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.terminal import ChecksumPolicy, WireProfile
from tests.support.full_person import read_texts
from tests.support.sip2_world import Sip2World
from tests.support.world import PASSWORD

LIB = InstitutionId("SIP-A")
NAME, GUARDIAN, ADULT_NAME = "金絲雀", "鳥籠主", "成年金丝雀"
ID_NUMBER, OTHER_ID, BROKEN_ID = "500230201503010015", "500230201503020088", "500230201503010016"
PHONE, PIN, NEW_PIN = "13977700001", "24681357", "97531864"
ADULT, ADDRESS = "CANARYADULT", "笼子路7号"
MARKERS = (NAME, GUARDIAN, ADULT_NAME, ID_NUMBER, OTHER_ID, BROKEN_ID, PHONE, PIN, NEW_PIN)
MARKERS += (ADULT, ADULT.lower(), ADDRESS)
BARCODES = tuple(f"CANARYB{n}" for n in range(6))
DAY = "20261121    100000"
GBK = WireProfile(encoding="gbk", dialect="chinese-kiosk", checksum=ChecksumPolicy.IGNORE)
TERMINAL = """
dialect = "chinese-kiosk"
encoding = "gbk"
checksum = "ignore"
school = "s1"
permissions = ["register_patrons", "find_by_id", "block_patron", "enable_patron", "item_status"]
"""
AWAY = '[libraries.away]\nreturns = "queue"\ncheckouts = "permit"\nitems = 5\nhours = 1000\n'
HEADS = (f"81{DAY}", f"81YN{DAY}", f"81YN{DAY}{DAY}", "8120261121100000", "81", "81|")
Answer = Callable[[Message, Any], Message]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    log.configure(LogSettings(level="debug", format="json"), stream=text)
    yield text
    logging.getLogger().removeHandler(handler)
    log.configure()


def registration(head: str, operation: str, **more: str) -> bytes:
    tags = {
        "AO": "", "AA": ID_NUMBER, "AD": PIN, "KD": NEW_PIN, "AE": NAME, "AM": NAME, "BP": PHONE,
        "MP": PHONE, "BE": f"{ADULT}@b.cn", "BD": ADDRESS, "XO": ID_NUMBER, "XT": NAME, "BV": "",
        "XM": "1", "XH": "20150301", "XN": ADDRESS, "XF": GUARDIAN, "XK": operation, "ZZ": NAME,
    } | more  # fmt: skip
    text = head + "".join(f"{tag}{value}|" for tag, value in tags.items())
    return f"{text}AY3AZEDB7\r".encode("gbk")


def send(client: Sip2Client, raw: bytes) -> None:
    """Send a frame, of which nothing but that it does no harm is expected."""
    with contextlib.suppress(ConnectorError, OSError):  # what is no message gets no answer
        client.exchange_raw(raw)


def use_registration(world: Sip2World) -> None:
    """Send what registration machines send, and much that they should not."""

    def client() -> Sip2Client:
        return Sip2Client("127.0.0.1", world.server.port, profile=GBK, timeout_s=3)

    with closing(client()) as stranger:  # before any login
        for raw in (registration(f"81{DAY}", "11"), f"91{DAY}AO|XO{ID_NUMBER}|XK1|\r".encode()):
            send(stranger, raw)
    with closing(client()) as kiosk:
        assert kiosk.login("kiosk-SIP-A", PASSWORD)
        for head, operation in itertools.product(HEADS, ("11", "01", "02", "14", NAME)):
            send(kiosk, registration(head, operation))
            world.clock.advance(seconds=20)
        for wrong in ({"XO": BROKEN_ID}, {"MP": NAME}, {"AE": ID_NUMBER}, {"BV": PHONE}):
            send(kiosk, registration(f"81{DAY}", "11", **wrong))
            world.clock.advance(seconds=20)
        for code, operation in itertools.product(("91", "85"), ("0", "1", "13", NAME)):
            for number in (ID_NUMBER, BROKEN_ID, PHONE, NAME):
                send(kiosk, f"{code}{DAY}AO|AA{number}|XO{number}|XK{operation}|\r".encode("gbk"))
                world.clock.advance(seconds=20)
        whole = registration(f"81{DAY}", "11").rstrip(b"\r")
        for cut in range(2, len(whole), 37):
            send(kiosk, b"81" + whole[cut:] + b"\r")
            world.clock.advance(seconds=20)


def use_kiosk(world: Sip2World) -> None:
    """Send every message with a patron in it."""
    with closing(Sip2Client("127.0.0.1", world.server.port, profile=GBK, timeout_s=8)) as client:
        assert client.login("kiosk-SIP-A", PASSWORD)
        for card in (ADULT, ID_NUMBER):
            who = f"AO|AA{card}|AC|AD{PIN}|"
            for text in (
                f"63019{DAY}{'':10}{who}",
                f"23019{DAY}{who}",
                f"11NN{DAY}{DAY}{who}AB{BARCODES[0]}|CH{NAME}|",
                f"29NN{DAY}{DAY}{who}AB{BARCODES[0]}|AJ{NAME}|",
                f"65{DAY}{who}",
                f"15+{DAY}{who}AB{BARCODES[1]}|AJ{NAME}|BS{GUARDIAN}|",
                f"37{DAY}0100CNY{who}BV1.00|CG{NAME}|BK{DAY[:8]}{card.lower()}01|ZZ{NAME}|",
                f"01Y{DAY}AO|AL{NAME} {ID_NUMBER}|AA{card}|AC|",
                f"25{DAY}{who}",
                f"35{DAY}{who}",
                f"09N{DAY}{DAY}AP|AO|AB{BARCODES[0]}|AC|CH{NAME}|",
            ):
                send(client, f"{text}\r".encode("gbk"))


def hand_over(world: Sip2World) -> list[Activation]:
    """Approve who was registered, and hand him over by a file; return what was given out."""
    app = world.app
    found = app.enrolment.store.list_applications(LIB)
    app.consents.record(found, [ConsentScope.CARD], evidence="F1", actor="clerk")
    app.enrolment.approve(app.enrolment.store.list_applications(LIB), actor="librarian")
    pupils = app.enrolment.store.list_applications(LIB)
    fields = (HandoffField.CARD, HandoffField.NAME, HandoffField.ID_NUMBER, HandoffField.PIN)
    layout = HandoffLayout(tuple(HandoffColumn(each.value, each) for each in fields))
    pacing = Pacing()
    pacing.stop()
    given: list[Activation] = []
    service = HandoffService(app.provisioning(LIB).opening(pacing, pupils), layout)
    service.export(pupils, actor="librarian", give_out=given.append, write=lambda _: None)
    service.confirm(pupils, actor="librarian", rejected={"S1": f"{NAME} {ID_NUMBER}"})
    world.clock.advance(minutes=3)
    rejected = {one.card: f"{NAME} {ID_NUMBER}" for one in pupils}
    service.confirm(pupils, actor="librarian", rejected=rejected)
    return given


def look_for_markers(world: Sip2World, written: str, *more: str) -> None:
    """Fail when a marker came out anywhere."""
    app = world.app
    written += generate_latest(app.metrics.registry).decode()
    written += repr(app.store.audit.search())
    for code in app.libraries:
        written += repr(app.store.tasks.list_tasks(code))
    markers = [*MARKERS, *more]
    assert "sip2.exchange_done" in written
    assert [marker for marker in markers if marker in written] == []
    assert [marker for marker in markers if ascii(marker)[1:-1] in written] == []
    assert [barcode for barcode in BARCODES if barcode in written] == []
    found = [(where, m) for where, text in read_texts(app.store) for m in markers if m in text]
    assert found == []


def add_people(world: Sip2World) -> None:
    world.app.enrolment.save_school(LIB, "s1", "丰都一小", stage=SchoolStage.PRIMARY)
    world.desk("SIP-A").upsert_patron(
        PatronInput("adult", IlsPatronId(ADULT), ADULT_NAME, "adult", pin=PIN)
    )
    world.add_items("SIP-A", *BARCODES)


def talk(answer: Answer) -> Answer:
    """Let an ILS say the names of people where it may say anything."""

    def call(request: Message, caller: Any) -> Message:
        reply = answer(request, caller)
        for tag in ("AF", "AG", "ZZ", "CH", "XF"):
            reply.fields.append((tag, f"{NAME} {ID_NUMBER} {PHONE} {request.get('AD')}"))
        return reply

    return call


@pytest.mark.parametrize("provisioning", ["none", "chinese-kiosk"])
def test_no_marker_comes_out_of_a_talkative_ils(
    tmp_path: Path, store_url: str, stream: io.StringIO, provisioning: str
) -> None:
    world = Sip2World(
        tmp_path,
        store_url,
        codes=("SIP-A",),
        speaks=WireProfile(encoding="gbk"),
        ils={"provisioning": provisioning, "answer_s": 1.5, "connect_s": 0.5},
        terminal=TERMINAL,
        library=AWAY,
    )
    try:
        add_people(world)
        server = world.sites["SIP-A"].server
        for code in list(server.answers):
            server.answers[code] = talk(server.answers[code])
        use_registration(world)
        assert len(world.app.enrolment.store.list_applications(LIB)) == 1
        use_kiosk(world)
        given = hand_over(world)
        assert given
        world.stop_ils("SIP-A")
        use_kiosk(world)
        world.start_ils("SIP-A")
        world.clock.advance(minutes=20)
        errors = ""
        for work in (world.app.settlement.run_once, lambda: world.app.closing.sweep(LIB)):
            try:
                work()
            except ConnectorError as err:
                errors += f"{err} {err!r}"
        assert {row["transaction_id"] for row in world.rows("payment")} >= {
            f"{DAY[:8]}{'*' * len(ADULT)}01"
        }
        assert world.rows("deferred")
        look_for_markers(world, stream.getvalue() + errors, *(one.pin for one in given))
    finally:
        world.close()


class RudeIls(socketserver.ThreadingTCPServer):
    """Answers logins, and anything else with garbage that names people."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Rude)
        self.turn = itertools.count()


_GARBAGE = [
    text.encode("gbk")
    for text in (
        f"{NAME} {ID_NUMBER}\r",
        f"64|AE{NAME}|AA{ID_NUMBER}|AF{NAME}{PHONE}|\r",
        f"121NNY{NAME}|AA{ID_NUMBER}|AB{BARCODES[0]}|AF{GUARDIAN}\r",
        f"24{ID_NUMBER}{NAME}\r",
        f"64{'':14}019{DAY}{ID_NUMBER}{PHONE}AO|AE{NAME}|AA{ADULT}|AS{NAME}|BH{NAME}|BV{PHONE}|\r",
        f"38Y{NAME}|AF{NAME} {PIN}|\r",
        f"82{NAME}OK{NAME}|XK{ID_NUMBER}|\r",
        f"92AC{NAME}|AA{ADULT}|\r",
        f"86OX{NAME}]]{ID_NUMBER}|\r",
        f"98{NAME}\r",
        f"96AF{NAME}\r",
        f"10{NAME}|CV{NAME}|CT{GUARDIAN}|AH{ID_NUMBER}|\r",
    )
] + [NAME.encode("utf-16"), b"\xff\xfe" + NAME.encode() + b"\r", b"\r"]


class _Rude(socketserver.StreamRequestHandler):
    server: RudeIls

    def handle(self) -> None:
        buffer = b""
        while data := self.request.recv(65536):
            buffer += data
            while b"\r" in buffer:
                request, buffer = buffer.lstrip(b"\n").split(b"\r", 1)
                if request.startswith(b"93"):
                    self.request.sendall(b"941\r")
                elif request.startswith(b"99"):
                    status = f"98YYYYNN100005{DAY}2.00AO|AMx|BX{'Y' * 16}|\r"
                    self.request.sendall(status.encode())
                else:
                    self.request.sendall(_GARBAGE[next(self.server.turn) % len(_GARBAGE)])


def test_no_marker_comes_out_of_a_rude_ils(
    tmp_path: Path, store_url: str, stream: io.StringIO
) -> None:
    with RudeIls() as rude:
        threading.Thread(target=rude.serve_forever, daemon=True).start()
        world = Sip2World(
            tmp_path,
            store_url,
            codes=("SIP-A",),
            ils={
                "port": rude.server_address[1],
                "provisioning": "chinese-kiosk",
                "encoding": "gbk",
                "answer_s": 0.5,
                "failures": 50,
                "checksum": "ignore",
            },
            terminal=TERMINAL,
            library=AWAY,
        )
        try:
            add_people(world)
            use_registration(world)
            for _ in range(3):
                use_kiosk(world)
            hand_over(world)
            errors = ask_directly(world)
            look_for_markers(world, stream.getvalue() + errors)
        finally:
            world.close()
            rude.shutdown()


def ask_directly(world: Sip2World) -> str:
    """Call the adapter until every answer has come once to every question; return what it raised."""
    adapter, said = world.adapters[LIB], ""
    context = ExchangeContext(at=world.clock(), pin=PIN)
    patron = PatronInput(
        "x", IlsPatronId("S1"), NAME, "student", pin=PIN, phone=PHONE,
        identifiers={"id_card": ID_NUMBER},
    )  # fmt: skip
    questions: list[Callable[[], object]] = [
        lambda: adapter.fetch_patron(IlsPatronId(ID_NUMBER), PIN),
        lambda: adapter.upsert_patron(patron),
        lambda: adapter.checkout(IlsPatronId(ADULT), Barcode(BARCODES[0]), context),
        lambda: adapter.checkin(Barcode(BARCODES[0]), context),
        lambda: adapter.fetch_item(Barcode(BARCODES[0])),
    ]
    for question in questions:
        for _ in range(len(_GARBAGE) + 1):
            try:
                question()
            except ConnectorError as err:
                said += f"{err} {err!r} {err.__cause__!r} {err.__context__!r}\n"
    assert said
    return said
