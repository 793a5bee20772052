"""Numbers that only a SIP2 ILS takes for a pupil's card lead round nothing: logins, account numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import AdapterUnavailable
from connector.ports.store import PersonalData
from connector.sip2.codec import Message
from tests.support.sip2_world import Sip2World

CODE = "SIP-A"
LOGIN, CARD = "xiaojiang", "S1"
Make = Callable[..., Sip2World]


@pytest.fixture
def make_net(tmp_path: Path, store_url: str) -> Iterator[Make]:
    made: list[Sip2World] = []

    def build(**more: Any) -> Sip2World:
        one = Sip2World(tmp_path, store_url, codes=(CODE,), **more)
        made.append(one)
        return one

    yield build
    for one in made:
        one.close()


def let_ils_know(net: Sip2World, login: str, card: str) -> None:
    """Let the ILS take a login name for a card, in every message."""
    answers = net.sites[CODE].server.answers

    def behind(act: Callable[..., Message]) -> Callable[..., Message]:
        def answer(request: Message, caller: Any) -> Message:
            fields = [
                (tag, card if tag == "AA" and value == login else value)
                for tag, value in request.fields
            ]
            return act(replace(request, fields=fields), caller)

        return answer

    for code, act in list(answers.items()):
        answers[code] = behind(act)


def let_ils_ignore_case(net: Sip2World) -> None:
    """Let the ILS find items as a database does that sees neither case nor width."""
    answers = net.sites[CODE].server.answers

    def behind(act: Callable[..., Message]) -> Callable[..., Message]:
        def answer(request: Message, caller: Any) -> Message:
            fields = [
                (tag, unicodedata.normalize("NFKC", value).upper() if tag == "AB" else value)
                for tag, value in request.fields
            ]
            return act(replace(request, fields=fields), caller)

        return answer

    for code, act in list(answers.items()):
        answers[code] = behind(act)


def bar(net: Sip2World, patron: PatronId) -> None:
    net.app.store.people.set_state(patron, StandingState.BLOCKED)


def hold(net: Sip2World, number: str, barcode: str = "B1", mode: str = "+") -> Message:
    return net.kiosk(CODE).ask("15", {"hold_mode": mode}, ("AA", number), ("AB", barcode))


def holds(net: Sip2World, card: str = CARD) -> int:
    return len(net.desk(CODE).list_holds(IlsPatronId(card)))


def ready(net: Sip2World) -> PatronId:
    patron = net.add_pupil(CARD, pin="1234")
    net.add_items(CODE, "B1", "B2")
    net.add_reader(CODE, "A1")
    net.lend_at_desk(CODE, "A1", "B1")
    let_ils_know(net, LOGIN, CARD)
    return patron


def test_a_barred_pupil_places_no_hold_by_his_login_name(make_net: Make) -> None:
    net = make_net()
    bar(net, ready(net))
    assert hold(net, CARD).fixed["ok"] == "0"
    assert hold(net, LOGIN).fixed["ok"] == "0"
    assert holds(net) == 0


def test_a_pupil_in_good_standing_places_a_hold_by_his_login_name(make_net: Make) -> None:
    net = make_net()
    ready(net)
    assert hold(net, LOGIN).fixed["ok"] == "1"
    assert holds(net) == 1
    assert hold(net, LOGIN, mode="-").fixed["ok"] == "1"
    assert holds(net) == 0


def test_a_login_name_needs_the_pin_that_the_card_needs(make_net: Make) -> None:
    net = make_net(terminal='pin = "always"')
    ready(net)
    assert hold(net, LOGIN).fixed["ok"] == "0"
    assert holds(net) == 0


def test_nobody_guesses_whose_number_it_is(make_net: Make) -> None:
    """The ILS does not answer the question whose number it is, but would do what it is told."""
    net = make_net(ils={"failures": 1000})
    bar(net, ready(net))

    def hang_up(*_: Any) -> Message:
        raise AdapterUnavailable("local", CODE, "hangs up")

    net.sites[CODE].server.answers["63"] = hang_up
    assert hold(net, LOGIN).fixed["ok"] == "0"
    assert net.kiosk(CODE).checkout(LOGIN, "B2").fixed["ok"] == "0"
    assert holds(net) == 0
    assert net.ils_loan(CODE, "B2") is None


def test_the_number_of_the_account_is_the_pupils_too(make_net: Make) -> None:
    """The ILS knows the pupil by a number of its own, which is none of his cards."""
    net = make_net()
    people = net.app.store.people
    patron = people.add_person(
        PersonalData(name="张小江"),
        [Identifier("card", "CARD1")],
        home=InstitutionId(CODE),
        category="student",
        stage="primary",
        state=StandingState.BLOCKED,
    )
    net.add_reader(CODE, "R100", category="student", name="张小江")
    people.set_account(patron, InstitutionId(CODE), IlsPatronId("R100"))
    net.add_reader(CODE, "A1")
    net.add_items(CODE, "B1", "B2")
    net.lend_at_desk(CODE, "A1", "B1")
    kiosk = net.kiosk(CODE)
    for number in ("CARD1", "R100"):
        assert kiosk.checkout(number, "B2").fixed["ok"] == "0"
        assert hold(net, number).fixed["ok"] == "0"
        assert kiosk.information(number).fixed["patron_status"][0] == "Y"
    assert net.ils_loan(CODE, "B2") is None
    assert net.desk(CODE).fetch_item_loan(Barcode("B1")).patron == "A1"  # type: ignore[union-attr]


def test_a_payment_by_a_login_name_is_the_pupils(make_net: Make) -> None:
    net = make_net()
    patron = ready(net)
    fee = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}
    net.kiosk(CODE).ask("37", fee, ("AA", LOGIN), ("BV", "1.00"))
    assert [row["person_id"] for row in net.rows("payment")] == [patron]


@pytest.mark.parametrize("typed", ["b1", "Ｂ１"])
def test_a_book_typed_in_otherwise_is_the_same_book(make_net: Make, typed: str) -> None:
    net = make_net(ils={"renews_on_checkout": True})
    patron = net.add_pupil(CARD)
    net.add_items(CODE, "B1")
    let_ils_ignore_case(net)
    kiosk = net.kiosk(CODE)
    assert kiosk.checkout(CARD, "B1").fixed["ok"] == "1"
    net.clock.advance(hours=48)
    again = kiosk.checkout(CARD, typed)
    assert (again.fixed["ok"], again.fixed["renewal_ok"]) == ("1", "N")
    assert net.ils_loan(CODE, "B1").renewals == 0  # type: ignore[union-attr]
    loans = net.app.store.ledger.list_unclosed(patron)
    assert [loan.item.barcode for loan in loans] == ["B1"]
