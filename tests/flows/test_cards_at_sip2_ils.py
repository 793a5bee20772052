"""Opening cards in an ILS that is reachable by SIP2 alone: by 81, 91 and 85, or by a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.handoff import HandoffColumn, HandoffField
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.enrolment.handoff_file import HandoffLayout
from connector.errors import OutcomeUnknown, UnexpectedResponse, UnsupportedOperation
from connector.ports.ils import Capability, PatronInput
from connector.ports.tasks import TaskKind
from connector.services.activation import Activation
from connector.services.handoff import HandoffService
from connector.services.handoff_result import HandoffOutcome
from connector.services.pacing import Pacing
from connector.services.provisioning import ActivationOutcome
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from tests.support.id_numbers import id_number
from tests.support.pupils import add_school, enrol_pupil
from tests.support.sip2_world import Sip2World

LIB = InstitutionId("SIP-A")
KIOSK = {"provisioning": "chinese-kiosk", "answer_s": 1.5}
NAME, NUMBER = "欧阳瑋", id_number(1)
MakeSip2World = Callable[..., Sip2World]


@pytest.fixture
def make(tmp_path: Path, store_url: str) -> Iterator[MakeSip2World]:
    made: list[Sip2World] = []

    def build(**options: Any) -> Sip2World:
        world = Sip2World(tmp_path, store_url, codes=("SIP-A",), **options)
        made.append(world)
        return world

    yield build
    for world in made:
        world.close()


def enrol(world: Sip2World, number: str = NUMBER, name: str = NAME):
    school = add_school(world.app, f"s{number[-4:]}", LIB)
    return enrol_pupil(
        world.app, school, name, number, open_card=False, phone="13800000001"
    ).application


def activate(world: Sip2World, *applications):
    naps: list[float] = []
    service = world.app.provisioning(LIB)
    return type(service)(
        adapter=world.adapters[LIB],
        store=service.store,
        register=service.register,
        rules=service.rules,
        now=service.now,
        tasks=service.tasks,
        sleep=naps.append,
    ).activate(applications, actor="librarian")


def accounts(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "ils-SIP-A.db") as own:
        rows = own.execute("SELECT card, name FROM patron ORDER BY id").fetchall()
    own.close()
    return rows


class TestByTheRegistrationDialect:
    def test_an_account_is_opened_once_and_lends(self, make: MakeSip2World, tmp_path: Path) -> None:
        world = make(ils=KIOSK, speaks=WireProfile(encoding="gbk"))
        assert Capability.UPSERT_PATRON in world.adapters[LIB].capabilities
        assert Capability.FIND_PATRON not in world.adapters[LIB].capabilities
        application = enrol(world)
        (opened,) = activate(world, application)
        assert (opened.outcome, opened.is_pin_new) == (ActivationOutcome.ACTIVATED, False)
        assert accounts(tmp_path) == [(opened.card, NAME)]
        facts = world.desk("SIP-A").fetch_patron(IlsPatronId(opened.card))
        assert (facts.category, facts.phone) == ("student", "13800000001")
        assert facts.expires is not None
        assert world.desk("SIP-A").verify_pin(IlsPatronId(opened.card), opened.pin)
        (again,) = activate(world, application)
        assert again.outcome is ActivationOutcome.ALREADY_ACTIVE

        world.add_items("SIP-A", "A1")
        kiosk = world.kiosk("SIP-A")
        assert kiosk.checkout(NUMBER, "A1", pin=opened.pin).fixed["ok"] == "1"
        assert kiosk.charged(opened.card) == ["A1"]

    def test_an_unknown_outcome_makes_no_second_account(
        self, make: MakeSip2World, tmp_path: Path
    ) -> None:
        world = make(ils=KIOSK)
        application = enrol(world)
        server = world.sites["SIP-A"].server
        slow, register = server.answers["81"], []

        def late(request, caller):
            answer = slow(request, caller)
            register.append(request)
            world.sites["SIP-A"].server.slow_s = 4.0  # it did it, and says so too late
            return answer

        server.answers["81"] = late
        (first,) = activate(world, application)
        assert (first.outcome, first.error) == (ActivationOutcome.FAILED, "outcome_unknown")
        server.slow_s = 0.0
        server.answers["81"] = slow
        assert len(register) == 1, "81 is not repeated before anybody asked"
        world.clock.advance(minutes=5)
        (second,) = activate(world, application)
        assert second.outcome is ActivationOutcome.ACTIVATED
        assert accounts(tmp_path) == [(second.card, NAME)]
        assert second.is_pin_new
        assert second.pin == "", "the PIN of the first attempt is gone: the desk sets it"

    def test_an_account_of_the_child_is_found_and_left_alone(
        self, make: MakeSip2World, tmp_path: Path
    ) -> None:
        world = make(ils=KIOSK)
        world.desk("SIP-A").add_desk_patron("OLD-1", name=NAME, identifiers={"id_card": NUMBER})
        (result,) = activate(world, enrol(world))
        assert result.outcome is ActivationOutcome.EXISTING_CARD
        assert accounts(tmp_path) == [("OLD-1", NAME)]
        assert len(world.app.store.tasks.list_tasks(LIB, kind=TaskKind.EXISTING_CARD)) == 1

    def test_85_finds_whom_63_does_not_take(self, make: MakeSip2World) -> None:
        world = make(ils=KIOSK)
        world.desk("SIP-A").add_desk_patron("OLD-1", name=NAME, identifiers={"id_card": NUMBER})
        server = world.sites["SIP-A"].server
        usual = server.answers["63"]

        def cards_only(request, caller):
            if request.get("AA") == NUMBER:
                request.fields = [(t, "?" if t == "AA" else v) for t, v in request.fields]
            return usual(request, caller)

        server.answers["63"] = cards_only
        facts = world.adapters[LIB].fetch_patron(IlsPatronId(NUMBER))
        assert (facts.valid, facts.ils_patron) == (True, "OLD-1")
        assert not world.adapters[LIB].fetch_patron(IlsPatronId(id_number(9))).valid

    def test_another_ones_number_is_passed_over(self, make: MakeSip2World, tmp_path: Path) -> None:
        world = make(ils=KIOSK)
        number = world.app.enrolment.rules_of(LIB).cards.number_of(1)
        world.desk("SIP-A").add_desk_patron(number, name="别人")
        (result,) = activate(world, enrol(world))
        assert result.outcome is ActivationOutcome.ACTIVATED
        assert result.card != number
        assert accounts(tmp_path) == [(number, "别人"), (result.card, NAME)]

    def test_what_the_adapter_says_no_to(self, make: MakeSip2World, tmp_path: Path) -> None:
        world = make(ils=KIOSK)
        adapter, desk = world.adapters[LIB], world.desk("SIP-A")
        patron = PatronInput("x", IlsPatronId("S1"), NAME, "student", pin="135790")
        assert adapter.upsert_patron(patron).created
        again = adapter.upsert_patron(PatronInput("x", IlsPatronId("S1"), NAME, "junior"))
        assert not again.created
        assert desk.fetch_patron(IlsPatronId("S1")).category == "junior"
        assert desk.verify_pin(IlsPatronId("S1"), "135790")
        with pytest.raises(UnexpectedResponse) as taken:
            adapter.upsert_patron(PatronInput("y", IlsPatronId("S1"), "别人", "student"))
        assert taken.value.code == "duplicate_card"
        desk.add_desk_patron("OLD-1", name="王五", identifiers={"id_card": NUMBER})
        with pytest.raises(UnexpectedResponse) as known:
            adapter.upsert_patron(
                PatronInput(
                    "z", IlsPatronId("S2"), NAME, "student", identifiers={"id_card": NUMBER}
                )
            )
        assert known.value.code == "duplicate_identifier"
        assert NUMBER not in f"{known.value} {known.value!r}"
        with pytest.raises(UnsupportedOperation):
            adapter.upsert_patron(
                PatronInput("z", IlsPatronId("S2"), NAME, "student", adopt=IlsPatronId("OLD-1"))
            )
        assert [card for card, _ in accounts(tmp_path)] == ["S1", "OLD-1"]
        world.sites["SIP-A"].server.answers.pop("81")
        with pytest.raises(OutcomeUnknown):
            adapter.upsert_patron(PatronInput("q", IlsPatronId("S3"), NAME, "student"))


TERMINAL = """
dialect = "chinese-kiosk"
permissions = ["register_patrons"]
"""


class TestPinsAtTheMachine:
    """XK 14 goes to an ILS that takes 81 itself, and to no other."""

    def change(self, world: Sip2World, card: str, old: str, new: str) -> Message:
        fields = {"AO": "", "AA": card, "AD": old, "KD": new, "XK": "14", "BD": "地址"}
        kiosk = world.kiosk("SIP-A")
        kiosk.client.profile = WireProfile(dialect="chinese-kiosk")
        return kiosk.client.exchange(
            Message("81", {"transaction_date": kiosk.stamp()}, list(fields.items()))
        )

    def test_the_old_pin_makes_way_for_the_new_one(self, make: MakeSip2World) -> None:
        world = make(ils=KIOSK, terminal=TERMINAL, sip2="pin_attempts = 2")
        (opened,) = activate(world, enrol(world))
        desk, card = world.desk("SIP-A"), IlsPatronId(opened.card)
        assert self.change(world, NUMBER, "000000", "192837").get("OK") == "0"
        changed = self.change(world, NUMBER, opened.pin, "192837")
        assert (changed.get("OK"), changed.get("AF"), changed.get("AA")) == (
            "1",
            "密码修改成功",
            NUMBER,
        )
        assert desk.verify_pin(card, "192837")
        assert self.change(world, NUMBER, "192837", "").get("OK") == "0"
        assert self.change(world, NUMBER, "192837", NUMBER[8:14]).get("OK") == "0"
        assert desk.verify_pin(card, "192837")

        for guess in ("111111", "222222"):
            assert self.change(world, opened.card, guess, "333333").get("AF") == "密码不正确"
        locked = self.change(world, opened.card, "192837", "333333")
        assert (locked.get("OK"), locked.get("AF") != "密码不正确") == ("0", True)
        assert desk.verify_pin(card, "192837"), "a machine cannot try PINs through"

        world.app.store.people.set_state(opened.application.patron_id, StandingState.BLOCKED)
        assert self.change(world, NUMBER, "192837", "444444").get("OK") == "0"
        assert desk.verify_pin(card, "192837")

    def test_elsewhere_the_desk_changes_it(self, make: MakeSip2World) -> None:
        world = make(terminal=TERMINAL)
        world.add_pupil("S1", id_number=NUMBER, pin="135790")
        answer = self.change(world, "S1", "135790", "192837")
        assert (answer.get("OK"), answer.get("AF")) == ("0", "修改密码请到图书馆服务台")
        assert world.desk("SIP-A").verify_pin(IlsPatronId("S1"), "135790")


def handoff(world: Sip2World, *applications, has_pin: bool = True) -> HandoffService:
    fields = [HandoffField.CARD, HandoffField.NAME, HandoffField.ID_NUMBER]
    columns = [HandoffColumn(field.value, field) for field in fields]
    if has_pin:
        columns.append(HandoffColumn("pin", HandoffField.PIN))
    opening = world.app.provisioning(LIB).opening(Pacing(), applications)
    return HandoffService(opening, HandoffLayout(tuple(columns), encoding="gbk", header=False))


class TestByAFile:
    def test_63_tells_what_the_staff_have_loaded(self, make: MakeSip2World) -> None:
        world = make()
        assert Capability.UPSERT_PATRON not in world.adapters[LIB].capabilities
        first, second = enrol(world), enrol(world, id_number(2), "戴二二")
        written: list[bytes] = []
        given: list[Activation] = []
        service = handoff(world, first, second)
        results = service.export(
            [first, second], actor="librarian", give_out=given.append, write=written.append
        )
        assert {result.outcome for result in results} == {HandoffOutcome.HANDED_OFF}
        lines = [line.split(",") for line in written[0].decode("gbk").splitlines()]
        assert [line[1] for line in lines] == [NAME, "戴二二"]
        assert [line[3] for line in lines] == [one.pin for one in given]

        world.add_items("SIP-A", "A1", "A2")
        card, name, number, pin = lines[0]
        world.desk("SIP-A").add_desk_patron(
            card, name=name, category="student", pin=pin, identifiers={"id_card": number}
        )
        kiosk = world.kiosk("SIP-A")
        assert kiosk.checkout(card, "A1", pin=pin).fixed["ok"] == "0", "it is not confirmed yet"
        results = service.confirm([first, second], actor="librarian")
        assert [result.outcome for result in results] == [
            HandoffOutcome.OPENED,
            HandoffOutcome.NOT_THERE_YET,
        ]
        assert kiosk.checkout(card, "A1", pin=pin).fixed["ok"] == "1"
        assert kiosk.checkout(number, "A2").fixed["ok"] == "1"

    def test_an_ils_that_is_away_opens_nobody(self, make: MakeSip2World) -> None:
        world = make(ils={"answer_s": 0.5, "connect_s": 0.3})
        applications = [enrol(world, id_number(serial), NAME) for serial in range(1, 6)]
        service = handoff(world, *applications)
        service.opening.pacing.stop()  # nobody waits for an ILS here
        written: list[bytes] = []
        world.stop_ils("SIP-A")
        results = service.export(
            applications, actor="x", give_out=lambda _: None, write=written.append
        )
        assert written == []
        assert [result.outcome for result in results] == [
            *[HandoffOutcome.FAILED] * 3,
            *[HandoffOutcome.NOT_TRIED] * 2,
        ]
        world.start_ils("SIP-A")
        world.clock.advance(minutes=3)
        service = handoff(world, *applications)
        results = service.export(
            applications, actor="x", give_out=lambda _: None, write=written.append
        )
        assert {result.outcome for result in results} == {HandoffOutcome.HANDED_OFF}
        world.stop_ils("SIP-A")
        service.opening.pacing.stop()
        results = service.confirm(applications, actor="x")
        assert HandoffOutcome.OPENED not in {result.outcome for result in results}

    def test_who_withdraws_after_the_export_is_named_to_the_staff(
        self, make: MakeSip2World
    ) -> None:
        world = make()
        application = enrol(world)
        service = handoff(world, application)
        (result,) = service.export(
            [application], actor="x", give_out=lambda _: None, write=lambda _: None
        )
        world.app.consents.withdraw([application], ConsentScope.CARD, actor="clerk")
        world.app.closing.sweep(LIB)
        tasks = world.app.store.tasks.list_tasks(LIB, kind=TaskKind.CLOSING_STUCK)
        assert [task.detail.get("account") for task in tasks] == [result.card]
        world.desk("SIP-A").add_desk_patron(result.card, name=NAME, category="student")
        (after,) = service.confirm([application], actor="x")
        assert after.outcome is HandoffOutcome.CLOSING
        found = world.app.store.enrolment.fetch_application(application.application_id)
        assert found is not None
        assert (found.state, found.reason) == (
            ApplicationState.WITHDRAWN,
            ClosingReason.CONSENT_WITHDRAWN.value,
        )
