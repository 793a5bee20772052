"""Whatever a kiosk sends, the gateway answers with a frame of the right pair, 96 or silence."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.ports.answer import AnswerSlot
from connector.sip2.codec import Message, decode, encode
from connector.sip2.dispatch import Exchange
from connector.sip2.replies import answer_code
from connector.sip2.session import Handle, Send, Session
from connector.sip2.spec import SPECS
from connector.sip2.terminal import WireProfile
from tests.support.world import World

REQUESTS = sorted(code for code, spec in SPECS.items() if spec.answer)
STANDARD = ["01", "09", "11", "15", "17", "19", "23", "25", "29", "35", "37", "63", "65", "99"]
TAGS = st.sampled_from(
    [
        "AA",
        "AB",
        "AC",
        "AD",
        "AF",
        "AH",
        "AJ",
        "AO",
        "AP",
        "BI",
        "BK",
        "BO",
        "BP",
        "BQ",
        "BS",
        "BV",
        "BW",
        "BY",
        "CG",
        "CH",
        "CN",
        "CO",
        "XX",
    ]
)
TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "S1",
        "B1",
        "B2",
        "NOBODY",
        "999999999999",
        "-1",
        "NaN",
        "1e9999",
        "张小江",
        "'; DROP TABLE loan",
    ]
)
BYTES = st.lists(
    st.sampled_from([b"|", b"AA", b"S1", b"AY", b"AZ", b"0", b"Y", b" ", b"\xff", b"\xe5"])
)
RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def turn(world: World) -> Exchange:
    terminal = next(iter(world.app.terminals.values()))
    return Exchange(terminal, AnswerSlot(), time.monotonic() + 10, "000")


def test_any_message_gets_an_answer_of_its_own_pair(world: World) -> None:
    world.add_pupil("S1", pin="2468")
    world.add_items("KOHA-A", "B1", "B2")
    wire = WireProfile()

    @RELAXED
    @given(
        code=st.sampled_from(REQUESTS),
        fixed=st.dictionaries(st.sampled_from(["no_block", "summary", "hold_mode"]), TEXT),
        fields=st.lists(st.tuples(TAGS, TEXT), max_size=8),
    )
    def check(code: str, fixed: dict[str, str], fields: list[tuple[str, str]]) -> None:
        answer = world.app.gateway.handle(Message(code, fixed, fields), turn(world))
        if code in STANDARD:
            assert answer is not None
        if answer is not None:
            assert answer.code == answer_code(code)
            again = decode(encode(answer, wire).rstrip(b"\r"), wire)
            assert again.code == answer.code
            assert again.problems == ()
            late = world.app.gateway.refuse_late(Message(code, fixed, fields), turn(world))
            assert late is not None
            assert late.code == answer.code

    check()


def test_any_bytes_on_a_session_over_the_gateway(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")

    @RELAXED
    @given(code=st.sampled_from([*STANDARD, "97", "93", "42"]), parts=BYTES)
    def check(code: str, parts: list[bytes]) -> None:
        session = Session(WireProfile(), login_required=False)
        for output in session.receive(code.encode() + b"".join(parts) + b"\r"):
            if isinstance(output, Send):
                assert output.data[:2] == b"96"
            if isinstance(output, Handle):
                assert output.frame.message is not None
                answer = world.app.gateway.handle(output.frame.message, turn(world))
                for reply in session.answer(output.frame, answer):
                    assert isinstance(reply, Send)
                    expected = answer_code(output.frame.code) or ""
                    assert reply.data[:2] in {expected.encode(), b"96"}

    check()
