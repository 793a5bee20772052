"""A child who has applied, and has no card yet, at an ordinary kiosk: nothing about him reaches the ILS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.store import PersonalData
from connector.sip2.codec import Message
from tests.support.sip2_world import Sip2World

ID_NUMBER = "500230201503010015"
ASKED: dict[str, dict[str, str]] = {
    "23": {"language": "019"},
    "63": {"language": "019", "summary": "  Y       "},
    "11": {"sc_renewal_policy": "N", "no_block": "N"},
    "29": {"third_party_allowed": "N", "no_block": "N"},
    "65": {},
    "15": {"hold_mode": "+"},
    "37": {"fee_type": "01", "payment_type": "00", "currency": "CNY"},
    "01": {"card_retained": "N"},
    "25": {},
}


@pytest.fixture
def net(tmp_path: Path, store_url: str) -> Iterator[Sip2World]:
    world = Sip2World(
        tmp_path,
        store_url,
        codes=("SIP-A",),
        ils={"features": {"block_patron": True, "patron_enable": True}},
        terminal='permissions = ["block_patron", "enable_patron"]',
    )
    yield world
    world.close()


@pytest.mark.parametrize("code", ASKED)
def test_s05_an_identity_number_stays_here_before_the_card_is_open(
    net: Sip2World, code: str
) -> None:
    net.app.store.people.add_person(
        PersonalData(name="张小江", id_number=ID_NUMBER),
        [Identifier("id_card", ID_NUMBER)],
        home=InstitutionId("SIP-A"),
        category="student",
        state=StandingState.INACTIVE,
    )
    net.add_items("SIP-A", "B1")
    heard: list[str] = []
    answers = net.sites["SIP-A"].server.answers
    for name, answer in list(answers.items()):
        answers[name] = _listening(answer, heard)
    fields = (("AA", ID_NUMBER), ("AB", "B1"), ("BV", "1.00"))
    reply = net.kiosk("SIP-A").ask(code, ASKED[code], *fields)
    assert heard == []
    assert reply.get("AF")
    if "ok" in reply.fixed:
        assert reply.fixed["ok"] == "0"


def _listening(answer: Callable[..., Message], heard: list[str]) -> Callable[..., Message]:
    def listen(request: Message, *rest: object) -> Message:
        heard.extend(value for _, value in request.fields if ID_NUMBER in value)
        return answer(request, *rest)

    return listen
