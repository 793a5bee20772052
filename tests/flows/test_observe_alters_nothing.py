"""Scenario 41: in ``observe`` every would-be refusal is listed, and no answer differs from the ILS's.

Byte by byte: a SIP2-only ILS asked directly, and ILSs with an API behind a gateway that is bypassed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from connector.cli.library_report import collect_report
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.testing.faults import Fault, FaultKind
from tests.flows.test_same_as_direct import STAFF, STEPS, Answers, play_both
from tests.support.world import World

CODES = ["KOHA-A", "FOLIO-B", "SIP-C"]
BLANK = " " * 18
OUR_WORDS = re.compile(r"AF(?:借书成功|续借成功)[^|]*\|")
"""What a bypassed gateway adds where an ILS with an API has no words of its own."""


@pytest.fixture(scope="module")
def of_pupils(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("observed")
    return play_both(folder, pupils=True, terminal=STAFF, modes={"SIP-A": "observe"})


@pytest.mark.parametrize("step", [name for name, _ in STEPS])
def test_s41_a_sip2_ils_is_heard_by_a_pupil_byte_for_byte(of_pupils: Answers, step: str) -> None:
    assert of_pupils.gateway[step] == of_pupils.direct[step]


def script() -> Iterator[tuple[str, str]]:
    """Yield steps that the policy would refuse in many ways: (days to wait, frame)."""
    for number in range(1, 11):
        yield "", f"11YN{{now}}{BLANK}AO|AAS1|ABB{number}|AC|"
    for number in (1, 2, 3, 4):
        yield "", f"11NN{{now}}{BLANK}AO|AAS2|ABE{number}|AC|"
    yield "", f"11NN{{now}}{BLANK}AO|AAS1|ABC1|AC|"
    yield "", f"11NN{{now}}{BLANK}AO|AAS3|ABB9|AC|"
    yield "", f"11NN{{now}}{BLANK}AO|AAS1|ABNONE|AC|"
    yield "", f"11NN{{now}}{BLANK}AO|AANOBODY|ABB9|AC|"
    yield "", f"11NN{{now}}{BLANK}AO|AAS1|ABB1|AC|AD0000|"
    yield "", f"11YN{{now}}{BLANK}AO|AAS1|ABB1|AC|"
    for _ in range(2):
        yield "2", f"29NN{{now}}{BLANK}AO|AAS1|ABB2|"
    yield "", f"29NN{{now}}{BLANK}AO|AAS2|ABB2|"
    yield "", "65{now}AO|AAS2|AC|"
    for summary in ("Y         ", "  Y       ", "   Y      "):
        yield "", f"63000{{now}}{summary}AO|AAS1|AD|"
        yield "", f"63000{{now}}{summary}AO|AAS3|AD|"
    yield "", "23000{now}AO|AAS1|AC|AD|"
    yield "", "15+{now}AO|AAS3|ABB1|BY2|AC|"
    yield "", "15-{now}AO|AAS3|ABB1|AC|"
    yield "", "37{now}0100CNYBV1.00|AO|AAS1|AC|BKT-1|"
    yield "", "37{now}0100CNYBV1.00|AO|AAS1|AC|BKT-1|"
    yield "", "17{now}AO|ABB1|AC|"
    yield "", "09N{now}{now}AP|AO|ABB1|AC|"
    yield "", "09N{now}{now}AP|AO|ABB1|AC|"
    yield "40", f"29NN{{now}}{BLANK}AO|AAS1|ABB3|"
    yield "", f"11NN{{now}}{BLANK}AO|AAS1|ABB9|AC|"
    yield "", "35{now}AO|AAS1|AC|"


def play(world: World, code: str) -> list[str]:
    """Let three pupils do what the policy forbids."""
    for card in ("S1", "S2", "S3"):
        world.add_pupil(card, at=(code,), pin="1357" if card == "S1" else None)
    blocked = world.app.store.people.find_by_account(IlsPatronId("S3"), InstitutionId(code))
    assert blocked is not None
    world.app.store.people.set_state(blocked.patron_id, StandingState.BLOCKED)
    world.add_items(code, *(f"B{number}" for number in range(1, 11)))
    world.add_items(code, *(f"E{number}" for number in range(1, 5)), languages=("eng",))
    world.add_items(code, "C1", location="stack 3")
    ils = world.ils(code)
    ils.charge_fee(IlsPatronId("S1"), Decimal("1.00"))
    ils.fail("checkout", Fault(FaultKind.REFUSED, code="item_on_hold", message="Item is on hold"))
    kiosk = world.kiosk(code)
    said = []
    for days, frame in script():
        if days:
            world.clock.advance(days=int(days))
        world.clock.advance(seconds=1)
        raw = frame.format(now=kiosk.stamp())
        said.append(f"{raw[:2]}: {kiosk.client.exchange_raw(raw.encode()).decode()}")
    return said


@pytest.mark.parametrize("code", CODES)
def test_s41_no_answer_differs_from_the_ils_own(
    make_world: Callable[..., World], tmp_path: Path, code: str
) -> None:
    observed = make_world(modes={code: "observe"})
    said = play(observed, code)
    (tmp_path / "alone").mkdir()
    alone = World(
        tmp_path / "alone", f"sqlite:///{tmp_path / 'alone' / 'db'}", modes={code: "bypass"}
    )
    try:
        assert said == [OUR_WORDS.sub("", answer) for answer in play(alone, code)]
    finally:
        alone.close()
    report = collect_report(observed.app, InstitutionId(code), 60)
    would = {row["reason"] for row in report["by_reason"] if row["outcome"] == "would_be_refused"}
    assert {"item_limit", "closed_stack", "card_blocked"} <= would
    assert {"foreign_limit", "renewal.renewed_already"} <= would or code == "SIP-C"
    assert report["refused"] == 0
    assert {row["terminal_kind"] for row in report["by_day"]} == {"selfcheck"}
    assert not any(card in json.dumps(report) for card in ("S1", "S2", "S3"))
