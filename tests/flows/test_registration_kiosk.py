"""A registration kiosk that speaks 81, 91 and 85 enrols a pupil into the ordinary review (part of A08)."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from prometheus_client import generate_latest

from connector import log
from connector.domain.enrolment import ApplicationState, ConsentScope, SchoolStage
from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable, ConnectorError
from connector.ports.tasks import TaskKind
from connector.services.provisioning import ActivationOutcome
from connector.settings import LogSettings
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, decode
from connector.sip2.terminal import ChecksumPolicy, WireProfile
from tests.support.full_person import read_texts
from tests.support.id_numbers import id_number
from tests.support.pupils import enrol_pupil
from tests.support.world import PASSWORD, Kiosk, World
from tests.support.world import SHANGHAI as ZONE

LIB = InstitutionId("KOHA-A")
GBK = WireProfile(encoding="gbk", dialect="chinese-kiosk", checksum=ChecksumPolicy.IGNORE)
DAY, LONG, SHORT = "20261121    100000", "20261121    100000", "20261121100000"
LATER = "8120261121    100130"
NAME, NUMBER, PHONE, PIN, ADDRESS = "金絲雀", id_number(1), "13977700001", "24681357", "笼子路7号"
TERMINAL = """
dialect = "chinese-kiosk"
encoding = "gbk"
checksum = "ignore"
school = "s1"
permissions = ["register_patrons", "find_by_id"]
"""
MakeWorld = Callable[..., World]


def frame(
    operation: str = "11", *, head: str = f"81{LONG}", name: str = NAME, **more: str
) -> bytes:
    """Return an 81 as the drivers send it: every tag, and a checksum that is never right."""
    tags = {
        "AO": "", "AA": "", "AD": PIN, "AE": name, "AM": "", "BP": "", "MP": PHONE, "BE": "a@b.cn",
        "BD": ADDRESS, "XO": NUMBER, "XT": "03", "BV": "", "XM": "1", "XH": "20150301",
        "XN": "汉族", "XF": "备注", "XD": "", "XE": "", "XK": operation,
    } | more  # fmt: skip
    text = head + "".join(f"{tag}{value}|" for tag, value in tags.items())
    return f"{text}AY3AZEDB7".encode("gbk")


@contextmanager
def machine(world: World, code: str = "KOHA-A") -> Iterator[Sip2Client]:
    with closing(Sip2Client("127.0.0.1", world.server.port, profile=GBK)) as client:
        assert client.login(f"kiosk-{code}", PASSWORD)
        yield client


def say(client: Sip2Client, raw: bytes) -> Message:
    answer = decode(client.exchange_raw(raw), GBK).message
    assert answer is not None
    return answer


def ask(client: Sip2Client, code: str, **tags: str) -> Message:
    text = f"{code}{DAY}AO|" + "".join(f"{tag}{value}|" for tag, value in tags.items())
    return say(client, text.encode("gbk"))


def add_school(world: World, code: str = "s1", **more: object) -> None:
    world.app.enrolment.save_school(
        LIB,
        code,
        f"学校{code}",
        stage=SchoolStage.PRIMARY,
        **more,  # type: ignore[arg-type]
    )


def applications(world: World):
    return world.app.enrolment.store.list_applications(LIB)


@pytest.fixture
def kiosk_world(make_world: MakeWorld) -> World:
    world = make_world(terminal=TERMINAL)
    add_school(world)
    return world


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    log.configure(LogSettings(level="debug", format="json"), stream=text)
    yield text
    logging.getLogger().removeHandler(handler)
    log.configure()


def test_from_the_kiosk_to_the_first_book(kiosk_world: World, stream: io.StringIO) -> None:
    world, app = kiosk_world, kiosk_world.app
    with machine(world) as client:
        assert ask(client, "91", XO=NUMBER, XK="1").get("AC") == "0"
        answer = say(client, frame())
        assert (answer.code, answer.get("OK"), answer.get("XK")) == ("82", "1", "11")
        assert answer.get("AF") == "申请提交成功，待审核"
        assert answer.get("AA") == ""
        assert say(client, frame()).fields == answer.fields
        assert say(client, frame(head=LATER)).fields == answer.fields
        assert ask(client, "91", XO=NUMBER, XK="1").get("AC") == "1"
        assert ask(client, "85", XO=NUMBER, XK="13").get("OX") == ""

        (application,) = applications(world)
        assert application.state is ApplicationState.ENTERED
        assert application.batch_id is None
        assert app.store.enrolment.list_consents(application.patron_id) == ()
        known = app.store.people.fetch_personal(application.patron_id)
        assert (known.name, known.id_number, known.phone) == (NAME, NUMBER, PHONE)

        app.enrolment.approve(applications(world), actor="librarian")
        (refused,) = app.provisioning(LIB).activate(applications(world), actor="librarian")
        assert refused.outcome is ActivationOutcome.NO_CONSENT
        assert world.ils("KOHA-A").stock.patrons == {}, "nothing reaches the ILS before consent"

        app.consents.record(applications(world), [ConsentScope.CARD], evidence="F1", actor="clerk")
        (opened,) = app.provisioning(LIB).activate(applications(world), actor="librarian")
        assert opened.outcome is ActivationOutcome.ACTIVATED
        found = ask(client, "85", XO=NUMBER, XK="13")
        assert (found.code, found.get("OX"), found.get("XK")) == ("86", opened.card, "13")
        assert not found.has("AE")
        there = say(client, frame(head="8120261121    110000"))
        assert (there.get("OK"), there.get("AF")) == ("0", "已经办过证，如有疑问请到服务台")

        world.add_items("KOHA-A", "A1")
        kiosk = Kiosk(client, world.clock, ZONE)
        assert kiosk.checkout(NUMBER, "A1").fixed["ok"] == "1"
        assert kiosk.charged(found.get("OX")) == ["A1"]

    actors = {entry.actor for entry in app.store.audit.search(action="enrolment.entered")}
    assert actors == {"kiosk-KOHA-A"}
    asked = app.store.audit.search(action="registration.asked")
    assert [entry.detail for entry in sorted(asked, key=lambda entry: entry.seq)] == [
        {"by": "id_card", "found": 0},
        {"by": "id_card", "found": 1},
        {"by": "cards", "found": 0},
        {"by": "cards", "found": 1},
    ]
    written = stream.getvalue() + generate_latest(world.app.metrics.registry).decode()
    markers = [NAME, NUMBER, PHONE, PIN, ADDRESS, "汉族", "a@b.cn", opened.pin]
    assert "sip2.exchange_done" in written
    assert [marker for marker in markers if marker in written] == []
    stored = " ".join(text for _, text in read_texts(world.app.store))
    assert [marker for marker in markers if marker in stored] == []


@pytest.mark.parametrize(
    "head",
    [f"81{LONG}", f"81YN{LONG}", f"81YN{LONG}{LONG}", f"81{SHORT}", f"81YN{SHORT}", "81", "81|"],
)
def test_every_shape_of_the_drivers_enters_a_pupil(kiosk_world: World, head: str) -> None:
    with machine(kiosk_world) as client:
        answer = say(client, frame(head=head))
    assert (answer.get("OK"), answer.get("AF")) == ("1", "申请提交成功，待审核")
    (application,) = applications(kiosk_world)
    known = kiosk_world.app.store.people.fetch_personal(application.patron_id)
    assert (known.name, known.id_number, known.phone) == (NAME, NUMBER, PHONE)


def test_what_is_wrong_is_said_without_the_value(kiosk_world: World) -> None:
    wrong = NUMBER[:-1] + ("0" if NUMBER[-1] != "0" else "1")
    with machine(kiosk_world) as client:
        answer = say(client, frame(XO=wrong, MP="12345"))
        assert answer.get("OK") == "0"
        assert "校验位" in answer.get("AF")
        assert "电话" in answer.get("AF")
        assert not any(value in answer.get("AF") for value in (wrong, "12345", NAME))
        assert say(client, frame(MP="", BP="")).get("OK") == "0"
        checked = ask(client, "91", XO=wrong, XK="1")
        assert (checked.get("AC"), "校验位" in checked.get("AF")) == ("1", True)
    assert applications(kiosk_world) == ()


def test_no_deposit_is_taken_and_no_operation_goes_around_the_staff(kiosk_world: World) -> None:
    with machine(kiosk_world) as client:
        for amount in ("100.00", "一百", "0.01"):
            refused = say(client, frame("01", BV=amount))
            assert (refused.get("OK"), "免押金" in refused.get("AF")) == ("0", True)
        assert applications(kiosk_world) == ()
        assert say(client, frame("01", BV="0.00")).get("OK") == "1"
        (application,) = applications(kiosk_world)

        changed = say(client, frame("02", name="别人", MP="13900000009"))
        assert changed.get("OK") == "0"
        stranger = say(client, frame("02", XO=id_number(7)))
        assert stranger.get("AF") == changed.get("AF"), "a machine does not learn who is known"
        assert say(client, frame("14", KD="1357")).get("OK") == "0"
        assert say(client, frame("77")).get("OK") == "0"
    known = kiosk_world.app.store.people.fetch_personal(application.patron_id)
    assert (known.name, known.phone) == (NAME, PHONE)
    (task,) = kiosk_world.app.store.tasks.list_tasks(LIB, kind=TaskKind.CHANGE_WANTED)
    assert task.patron_id == application.patron_id
    assert task.detail == {"application": application.application_id}


def test_machines_that_send_the_same_pupil_at_once_enter_him_once(make_world: MakeWorld) -> None:
    world = make_world(terminal=TERMINAL, sip2="max_connections_per_terminal = 10")
    add_school(world)
    started = threading.Barrier(6)

    def send(second: int) -> str:
        with machine(world) as client:
            started.wait(timeout=10)
            return say(client, frame(head=f"8120261121    1000{second:02}")).get("OK")

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(send, range(6))) == ["1"] * 6
    assert len(applications(world)) == 1


def test_a_terminal_without_the_permission_learns_nothing(make_world: MakeWorld) -> None:
    world = make_world(terminal='dialect = "chinese-kiosk"\nencoding = "gbk"\nchecksum = "ignore"')
    add_school(world)
    with machine(world) as client:
        texts = {
            say(client, frame()).get("AF"),
            ask(client, "91", XO=NUMBER, XK="1").get("AF"),
            ask(client, "85", XO=NUMBER, XK="13").get("AF"),
        }
        assert texts == {"本机不提供此功能"}
        assert ask(client, "91", XO=NUMBER, XK="1").get("AC") == "1"
    assert applications(world) == ()
    assert world.app.store.audit.search(action="registration.asked") == ()


@pytest.mark.parametrize("dialect", ["chinese-kiosk", "standard"])
def test_who_has_not_logged_in_or_has_another_dialect_enters_and_learns_nothing(
    make_world: MakeWorld, dialect: str
) -> None:
    world = make_world(terminal=TERMINAL.replace("chinese-kiosk", dialect))
    add_school(world)
    requests = (
        frame() + b"\r",
        f"91{DAY}AO|XO{NUMBER}|XK1|\r".encode(),
        f"85{DAY}AO|XO{NUMBER}|XK13|\r".encode(),
    )
    for is_in in (False, True):
        if is_in and dialect == "chinese-kiosk":
            continue
        client = Sip2Client("127.0.0.1", world.server.port, profile=GBK, timeout_s=0.5)
        with closing(client), contextlib.suppress(ConnectorError, OSError):
            assert not is_in or client.login("kiosk-KOHA-A", PASSWORD)
            for raw in requests:
                answer = decode(client.exchange_raw(raw), GBK).message
                assert answer is None or answer.get("OX") == answer.get("OK").strip("0") == ""
    assert applications(world) == ()
    assert world.app.store.audit.search(action="registration.asked") == ()


def test_asking_again_and_again_gets_no_answer(kiosk_world: World) -> None:
    with machine(kiosk_world) as client:
        assert ask(client, "91", XO=NUMBER, XK="1").get("AC") == "0"
        for serial in range(2, 40):
            last = ask(client, "91", XO=id_number(serial), XK="1")
        assert (last.get("AC"), last.get("AF")) == ("1", "操作过于频繁，请稍后再试")
        assert ask(client, "85", XO=NUMBER, XK="13").get("AF") == last.get("AF")
        assert say(client, frame()).get("OK") == "0"
        assert len(kiosk_world.app.store.audit.search(action="registration.asked")) == 30
        kiosk_world.clock.advance(seconds=61)
        assert say(client, frame(head=LATER)).get("OK") == "1"


def test_cards_are_free_or_not(kiosk_world: World) -> None:
    world = kiosk_world
    world.add_pupil("S000000018", id_number=id_number(3))
    world.ils("KOHA-A").new_patron("OLD-7", name="老读者")
    mine = world.app.enrolment.rules_of(LIB).cards.number_of(4711)
    with machine(world) as client:
        taken = [ask(client, "91", AA=card, XK="0") for card in ("S000000018", "OLD-7", mine)]
        assert [answer.get("AC") for answer in taken] == ["1", "1", "1"]
        free = ask(client, "91", AA="NEW-9", XK="0")
        assert (free.get("AC"), free.get("AA")) == ("0", "NEW-9")
        assert ask(client, "91", XO=id_number(3), XK="1").get("AC") == "1"
        assert ask(client, "85", XO=id_number(3), XK="13").get("OX") == "S000000018"


def test_a_card_that_cannot_be_looked_for_counts_as_there(kiosk_world: World, monkeypatch) -> None:
    def away(*_args: object, **_kwargs: object) -> None:
        raise AdapterUnavailable("fake", LIB, "no_connection")

    monkeypatch.setattr(type(kiosk_world.ils("KOHA-A")), "find_patron", away)
    with machine(kiosk_world) as client:
        answer = ask(client, "91", AA="NEW-9", XK="0")
        assert (answer.get("AC"), "无法连接" in answer.get("AF")) == ("1", True)
        assert ask(client, "91", XO=NUMBER, XK="1").get("AC") == "0", "only we are asked for people"
        assert say(client, frame()).get("OK") == "1", "applying needs no library system"


def test_nothing_about_a_child_reaches_the_library_system(
    kiosk_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ils = type(kiosk_world.ils("KOHA-A"))
    for name in ("find_patron", "fetch_patron", "upsert_patron"):
        usual = getattr(ils, name)

        def spy(*args: object, usual=usual, **kwargs: object) -> object:
            asked.append(f"{args[1:]} {kwargs}")
            return usual(*args, **kwargs)

        monkeypatch.setattr(ils, name, spy)
    wrong = NUMBER[:-1] + ("0" if NUMBER[-1] != "0" else "1")
    with machine(kiosk_world) as client:
        for _ in range(2):  # before and after he has applied
            assert ask(client, "85", XO=NUMBER, XK="13").get("OX") == ""
            for number in (NUMBER, "G" + NUMBER, NUMBER.lower(), f" {NUMBER} ", wrong):
                for operation in ("0", "1", "00", "01", ""):
                    ask(client, "91", AA=number, XO=number, XK=operation)
                kiosk_world.clock.advance(seconds=61)
            say(client, frame(AA=NUMBER))
            say(client, frame("02", AA=NUMBER))
            say(client, frame("14", AA=NUMBER, KD="1357"))
        assert asked == []
        assert ask(client, "91", AA=NUMBER, XK="0").get("AC") == "1", "he has applied"
        assert ask(client, "91", AA=wrong, XK="0").get("AC") == "1"
        assert ask(client, "91", AA="NEW-9", XK="0").get("AC") == "0"
    assert len(asked) == 1
    assert "NEW-9" in asked[0]


def test_a_machine_learns_nothing_of_other_schools_and_libraries(kiosk_world: World) -> None:
    world, app = kiosk_world, kiosk_world.app
    add_school(world, "s9")
    there = enrol_pupil(app, app.enrolment.find_school(LIB, "s9"), "李四", id_number(9))
    here = enrol_pupil(app, app.enrolment.find_school(LIB, "s1"), "王五", id_number(10))
    other = app.enrolment.save_school(InstitutionId("FOLIO-B"), "s1", "别馆一小")
    enrol_pupil(app, other, "赵六", id_number(11))
    with machine(world) as client:
        answers = {
            serial: (
                ask(client, "91", XO=id_number(serial), XK="1").get("AC"),
                ask(client, "91", AA=id_number(serial), XK="0").get("AC"),
                ask(client, "85", XO=id_number(serial), XK="13").get("OX"),
            )
            for serial in (8, 9, 10, 11)
        }
        nobody, elsewhere = ask(client, "85", XO=id_number(8)), ask(client, "85", XO=id_number(9))
        assert nobody.get("AF") == elsewhere.get("AF")
        assert {tag for tag, _ in nobody.fields} == {tag for tag, _ in elsewhere.fields}
        refused = say(client, frame(XO=id_number(9), name="李四"))
        library = say(client, frame(head=LATER, XO=id_number(11), name="赵六"))
    assert answers == {
        8: ("0", "0", ""),
        9: ("0", "0", ""),
        10: ("1", "1", here.card),
        11: ("0", "0", ""),
    }
    assert refused.get("AF") == library.get("AF") == "本机无法办理，请联系学校或图书馆"
    assert there.card not in str(answers)


def test_a_machine_without_a_school_serves_the_whole_library(make_world: MakeWorld) -> None:
    world = make_world(terminal=TERMINAL.replace('school = "s1"\n', ""))
    add_school(world, "s9")
    pupil = enrol_pupil(world.app, world.app.enrolment.find_school(LIB, "s9"), "李四", id_number(9))
    with machine(world) as client:
        assert ask(client, "91", XO=id_number(9), XK="1").get("AC") == "1"
        assert ask(client, "85", XO=id_number(9), XK="13").get("OX") == pupil.card


def test_the_school_is_named_by_the_terminal_or_by_the_machine(make_world: MakeWorld) -> None:
    world = make_world(terminal=TERMINAL.replace('school = "s1"\n', ""))
    with machine(world) as client:
        assert say(client, frame(AM="s2")).get("AF") == "未指明学校，请联系工作人员"
        add_school(world, "s2")
        assert say(client, frame()).get("AF") == "未指明学校，请联系工作人员"
        assert say(client, frame(AM="学校s2")).get("OK") == "1"
        add_school(world, "s3", entry_mode="batch")
        assert say(client, frame(AM="s3", XO=id_number(5))).get("AF") == (
            "本机无法办理，请联系学校或图书馆"
        )


def test_who_refused_or_is_elsewhere_is_not_told_at_a_machine(kiosk_world: World) -> None:
    world, app = kiosk_world, kiosk_world.app
    add_school(world, "s9")
    with machine(world) as client:
        assert say(client, frame()).get("OK") == "1"
        app.consents.refuse(applications(world), actor="clerk")
        at_desk = say(client, frame(head=LATER))
        assert (at_desk.get("OK"), at_desk.get("AF")) == ("0", "本机无法办理，请联系学校或图书馆")
        assert say(client, frame(XO=id_number(8))).get("OK") == "1"
        other = app.enrolment.find_school(LIB, "s9")
        app.enrolment.individual(LIB).enter(
            other,
            {"name": "李四", "id_number": id_number(9), "phone": PHONE},
            actor="clerk",
        )
        assert say(client, frame(XO=id_number(9), name="李四")).get("AF") == at_desk.get("AF")
        assert say(client, frame(XO=id_number(8), name="王五")).get("AF") == at_desk.get("AF")
