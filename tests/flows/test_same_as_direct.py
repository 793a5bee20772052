"""Whoever we did not enrol gets through the gateway, byte for byte, what the ILS answers directly.

Two equal ILSs (embedded ones behind their own plain SIP2 server), one behind the gateway and one not; the same frames go to both.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.local.adapter import LocalAdapter
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.store import PersonalData
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, decode
from connector.sip2.terminal import WireProfile
from connector.sip2.timestamps import format_date
from tests.support.sip2_world import ILS_PASSWORD, LOGIN, Sip2World
from tests.support.world import PASSWORD, SHANGHAI

SIP_A = InstitutionId("SIP-A")
SUMMARIES = {
    f"63 summary {at}": "".join("Y" if at == n else " " for n in range(10)) for at in range(10)
}
SUMMARIES |= {"63 no summary": " " * 10, "63 two at once": "Y Y       "}

STEPS: list[tuple[str, str]] = [
    ("23", "23019{now}AOSIP-A|AAA1|AC|AD1357|"),
    ("23 wrong PIN", "23019{now}AOSIP-A|AAA1|AC|AD0000|"),
    ("23 unknown card", "23000{now}AOSIP-A|AANOBODY|AC|AD|"),
    ("63 nothing on loan", "63019{now}  Y       AOSIP-A|AAA1|"),
    ("17", "17{now}AOSIP-A|ABB1|"),
    ("17 unknown item", "17{now}AOSIP-A|ABNOTHING|"),
    ("11", "11NN{now}{blank}AOSIP-A|AAA1|ABB1|AC|AD1357|"),
    ("11 unknown item", "11NN{now}{blank}AOSIP-A|AAA1|ABNOTHING|AC|"),
    ("11 unknown card", "11NN{now}{blank}AOSIP-A|AANOBODY|ABB2|AC|"),
    ("11 with an unknown tag", "11NN{now}{blank}AOSIP-A|AAA1|ABB2|AC|ZZkept|"),
    ("11 of an item that another has", "11NN{now}{blank}AOSIP-A|AAA2|ABB1|AC|"),
    ("11 of what he has already", "11NN{now}{blank}AOSIP-A|AAA1|ABB1|AC|"),
    ("17 on loan", "17{now}AOSIP-A|ABB1|"),
    *((name, f"63000{{now}}{summary}AOSIP-A|AAA1|AD1357|") for name, summary in SUMMARIES.items()),
    ("63 second of the list", "63000{now}  Y       AOSIP-A|AAA1|BP2|BQ2|"),
    ("29", "29NN{later}{blank}AOSIP-A|AAA1|ABB1|"),
    ("29 not on loan to him", "29NN{later}{blank}AOSIP-A|AAA2|ABB1|"),
    ("65", "65{later}AOSIP-A|AAA1|"),
    ("65 unknown card", "65{later}AOSIP-A|AANOBODY|"),
    ("11 that renews", "11YN{later}{blank}AOSIP-A|AAA1|ABB2|AC|"),
    ("15 place", "15+{later}AOSIP-A|AAA2|ABB1|BY3|"),
    ("15 other pickup place", "15*{later}AOSIP-A|AAA2|ABB1|BSBRANCH|"),
    ("15 nothing of the kind", "15-{later}AOSIP-A|AAA1|ABB3|"),
    ("63 holds that are not there yet", "63000{later}     Y    AOSIP-A|AAA2|"),
    ("09 with a hold", "09N{later}{later}APMAIN|AOSIP-A|ABB1|AC|"),
    ("63 holds on the shelf", "63000{later}Y         AOSIP-A|AAA2|"),
    ("17 on the hold shelf", "17{later}AOSIP-A|ABB1|"),
    ("15 cancel", "15-{later}AOSIP-A|AAA2|ABB1|"),
    ("09", "09N{later}{later}APMAIN|AOSIP-A|ABB2|AC|"),
    ("09 that was in", "09N{later}{later}APMAIN|AOSIP-A|ABB3|AC|"),
    ("09 unknown item", "09N{later}{later}APMAIN|AOSIP-A|ABNOTHING|AC|"),
    ("37 wrong amount", "37{later}0100CNYBV999.00|AOSIP-A|AAA1|CG{fee}|BKT0|"),
    ("37", "37{later}0100CNYBV2.50|AOSIP-A|AAA1|CG{fee}|BKT1|"),
    ("63 after the payment", "63000{later}   Y      AOSIP-A|AAA1|"),
]  # fmt: skip
"""In this order, for what was done before shows in what is answered."""


STAFF = 'mask_name = false\nkind = "desk"'


@dataclass
class Answers:
    """What the two sides said, by step."""

    gateway: dict[str, str] = field(default_factory=dict)
    direct: dict[str, str] = field(default_factory=dict)


def stock(world: Sip2World) -> str:
    """Fill an ILS; return the id of the fee that is owed there."""
    world.add_reader("SIP-A", "A1", pin="1357", name="王小明")
    world.add_reader("SIP-A", "A2", name="李四")
    world.add_items("SIP-A", "B1", "B2", "B3", "B4")
    desk: LocalAdapter = world.desk("SIP-A")
    return desk.charge_fee(IlsPatronId("A1"), Decimal("2.50"), description="逾期")


def play(client: Sip2Client, world: Sip2World, fee: str) -> dict[str, str]:
    now = format_date(world.clock(), SHANGHAI)
    said = {}
    for name, text in STEPS:
        if "{later}" in text and format_date(world.clock(), SHANGHAI) == now:
            world.clock.advance(days=12)
        frame = text.format(
            now=now, later=format_date(world.clock(), SHANGHAI), blank=" " * 18, fee=fee
        )
        said[name] = client.exchange_raw(frame.encode()).decode()
    return said


def enrol(world: Sip2World, card: str, name: str) -> None:
    """Make somebody whom the ILS knows a pupil of ours."""
    people = world.app.store.people
    person = people.add_person(
        PersonalData(name=name),
        [Identifier("card", card)],
        home=SIP_A,
        category="student",
        state=StandingState.ACTIVE,
    )
    people.set_account(person, SIP_A, IlsPatronId(card))


def play_both(folder: Path, *, pupils: bool = False, **options: Any) -> Answers:
    answers = Answers()
    for side in ("gateway", "direct"):
        (folder / side).mkdir()
        url = f"sqlite:///{folder / side / 'onecard.db'}"
        world = Sip2World(folder / side, url, codes=("SIP-A",), **options)
        with ExitStack() as stack:
            stack.callback(world.close)
            fee = stock(world)
            if pupils:
                enrol(world, "A1", "王小明")
                enrol(world, "A2", "李四")
            site = world.sites["SIP-A"]
            port = world.server.port if side == "gateway" else site.server.port
            client = stack.enter_context(Sip2Client("127.0.0.1", port))
            login = ("kiosk-SIP-A", PASSWORD) if side == "gateway" else (LOGIN, ILS_PASSWORD)
            assert client.login(*login)
            getattr(answers, side).update(play(client, world, fee))
    return answers


@pytest.fixture(scope="module", params=["enforce", "observe", "bypass"])
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("same")
    return play_both(folder, terminal=STAFF, modes={"SIP-A": request.param})


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return play_both(tmp_path_factory.mktemp("masked"))


@pytest.mark.parametrize("step", [name for name, _ in STEPS])
def test_the_same_bytes(answers: Answers, step: str) -> None:
    assert answers.gateway[step] == answers.direct[step]


def test_the_script_shows_something(answers: Answers) -> None:
    said = answers.direct
    assert "|AE王小明|" in said["23"]
    assert said["11"].startswith("121")
    assert said["29"].startswith("301")
    assert "|BM" in said["65"]
    assert said["09 with a hold"].startswith("101")
    assert said["37"].startswith("38Y")
    assert "|AV" in said["63 summary 3"]
    assert "|AUB2|" in said["63 second of the list"]


@pytest.mark.parametrize("step", [name for name, _ in STEPS])
def test_a_public_screen_masks_names_and_nothing_else(masked: Answers, step: str) -> None:
    direct = masked.direct[step].replace("|AE王小明|", "|AE王*|").replace("|AE李四|", "|AE李*|")
    fields = [one for one in direct.split("|") if one[:2] not in {"CY", "DA", "BF", "PB"}]
    assert masked.gateway[step] == "|".join(fields)


OURS = {
    "11 unknown item": {"AF"},
    "11 of an item that another has": {"AF", "CK"},
    "11 of what he has already": {"AF", "AH"},
    "11 that renews": {"AF"},
    "29 not on loan to him": {"AF", "AJ", "CK"},
    "65": {"AF", "BM"},
}
"""Where the policy answers in the ILS's place, or as it would not: another due date, other words, fewer renewals."""


@pytest.fixture(scope="module")
def of_pupils(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return play_both(tmp_path_factory.mktemp("pupils"), pupils=True, terminal=STAFF)


@pytest.mark.parametrize("step", [name for name, _ in STEPS])
def test_a_pupil_loses_no_field_of_the_ils(of_pupils: Answers, step: str) -> None:
    def read(raw: str) -> Message:
        message = decode(raw.encode(), WireProfile()).message
        assert message is not None
        return message

    ours, theirs = read(of_pupils.gateway[step]), read(of_pupils.direct[step])
    assert ours.code == theirs.code
    lost = {tag for tag, value in theirs.fields if (tag, value) not in ours.fields}
    assert lost == OURS.get(step, {"CB"} if theirs.has("CB") else set())
    assert not theirs.has("CB") or ours.get("CB") == "0008"
