"""Sessions as playbooks: what comes in, what goes out; no sockets, no sleeps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import LocalProtocolError
from connector.sip2.codec import Checksum, Message, checksum, decode
from connector.sip2.replies import answer_code
from connector.sip2.session import MAX_WAITING, Close, Handle, Send, Session
from connector.sip2.spec import SPECS
from connector.sip2.terminal import ChecksumPolicy, WireProfile

D = "20261121    193616"
LOGIN = b"9300CNme|COpw|\r"


def seal(text, number=1):
    body = f"{text}AY{number}AZ".encode()
    return body + checksum(body)


STATUS = seal(f"23001{D}AOlib|AAc1|AC|AD|") + b"\r"
CHECKOUT = seal(f"11NN{D}{D}AOlib|AAc1|ABb1|AC|", 2) + b"\r"


def session(*, login_required=False, **profile):
    return Session(WireProfile(**profile), login_required=login_required)


def sent(outputs):
    assert all(isinstance(output, Send) for output in outputs)
    return [output.data for output in outputs]


def handled(outputs):
    (output,) = outputs
    assert isinstance(output, Handle)
    return output.frame


def test_login_then_work_with_the_terminals_own_profile():
    kiosk = session(login_required=True)
    frame = handled(kiosk.receive(LOGIN))
    kiosk.log_in(WireProfile(terminator="\r\n", encoding="gbk"))
    assert kiosk.logged_in
    assert sent(kiosk.answer(frame, Message("94", {"ok": "1"}))) == [b"941\r\n"]
    assert (
        handled(kiosk.receive(f"17{D}AOlib|AB".encode() + "東".encode("gbk") + b"|\r")).message.get(
            "AB"
        )
        == "東"
    )


def test_before_login_only_status_and_login_are_served():
    kiosk = session(login_required=True)
    (refused,) = sent(kiosk.receive(STATUS))
    assert refused.startswith(b"24YYYY")
    assert b"AY1AZ" in refused
    assert D.encode() in refused
    frame = handled(kiosk.receive(b"9900802.00\r"))
    assert sent(kiosk.answer(frame, Message("98", {"online": "Y"})))[0].startswith(b"98Y")
    assert handled(kiosk.receive(LOGIN)).code == "93"


def test_a_bad_checksum_is_asked_for_again_and_nothing_is_done():
    kiosk = session()
    bad = CHECKOUT[:-5] + b"0000\r"
    assert sent(kiosk.receive(bad)) == [b"96AZFEF6\r"]
    assert sent(kiosk.receive(bad)) == [b"96AZFEF6\r"]
    assert handled(session(checksum=ChecksumPolicy.LOG).receive(bad)).checksum is Checksum.BAD


def test_resend_brings_the_last_answer_whatever_it_was():
    kiosk = session()
    assert sent(kiosk.receive(b"97AZFEF5\r97\r")) == [b"96AZFEF6\r", b"96AZFEF6\r"]
    frame = handled(kiosk.receive(CHECKOUT))
    answer = sent(kiosk.answer(frame, Message("12", {"ok": "1"}, [("AB", "b1")])))
    assert sent(kiosk.receive(b"97\r\n")) == answer


def test_the_same_bytes_and_sequence_are_answered_again_without_being_done():
    kiosk = session()
    frame = handled(kiosk.receive(CHECKOUT + CHECKOUT))
    first, second = sent(kiosk.answer(frame, Message("12", {"ok": "1"})))
    assert first == second
    assert sent(kiosk.receive(CHECKOUT)) == [first]
    assert handled(kiosk.receive(STATUS)).code == "23"


@pytest.mark.parametrize(
    "raw", [seal("9900802.00") + b"\r", seal("9300CNme|COpw|") + b"\r", CHECKOUT[:-10] + b"\r"]
)
def test_login_status_and_frames_without_sequence_are_never_replayed(raw):
    kiosk = session()
    for _ in range(2):
        frame = handled(kiosk.receive(raw))
        assert len(kiosk.answer(frame, Message(answer_code(frame.code)))) == 1


def test_silence_is_not_replayed_with_an_older_answer():
    kiosk = session()
    kiosk.answer(handled(kiosk.receive(STATUS)), Message("24"))
    assert kiosk.answer(handled(kiosk.receive(CHECKOUT)), None) == []
    assert handled(kiosk.receive(CHECKOUT)).code == "11"


def test_one_request_at_a_time():
    kiosk = session()
    frame = handled(kiosk.receive(STATUS))
    assert kiosk.receive(CHECKOUT + b"41\r") == []
    answer, following = kiosk.answer(frame, Message("24"))
    assert isinstance(answer, Send)
    assert handled([following]).code == "11"


@pytest.mark.parametrize("raw", [b"41x\r", b"12x\r", b"96\r", b"\xff\xff\r"])
def test_what_has_no_answer(raw):
    assert session().receive(raw) == []
    assert sent(session(answer_unknown="96").receive(raw)) == [b"96\r"]


@pytest.mark.parametrize(
    ("policy", "raw", "tail"),
    [("always", LOGIN, b"AY0AZFDFD\r"), ("never", STATUS, b"\r"), ("auto", LOGIN, b"941\r")],
)
def test_error_detection_by_profile(policy, raw, tail):
    kiosk = session(error_detection=policy)
    frame = handled(kiosk.receive(raw))
    (data,) = sent(
        kiosk.answer(
            frame, Message(answer_code(frame.code), {"ok": "1"} if frame.code == "93" else {})
        )
    )
    assert data.endswith(tail)
    assert (b"AZ" in data) is (policy == "always")


def test_a_status_may_answer_anything_but_another_pair_may_not():
    kiosk = session()
    frame = handled(kiosk.receive(CHECKOUT))
    with pytest.raises(LocalProtocolError):
        kiosk.answer(frame, Message("24"))
    assert sent(kiosk.answer(frame, Message("98")))[0].startswith(b"98")
    with pytest.raises(LocalProtocolError):
        kiosk.answer(frame, Message("98"))


def test_floods_are_closed():
    kiosk = session(login_required=True)
    assert kiosk.receive(b"x" * 70_000) == [Close("frame_too_long")]
    assert kiosk.receive(LOGIN) == []
    known = session()
    assert known.receive(b"x" * 70_000) == []
    assert known.receive(b"\r") == []
    *_, last = known.receive(STATUS * (MAX_WAITING + 2))
    assert last == Close("too_many_requests")


def test_nothing_of_the_bytes_shows():
    assert "AAc1" not in repr(Send(STATUS)) + repr(Handle(decode(STATUS[:-1], WireProfile())))


_PIECES = st.sampled_from(
    [
        STATUS,
        CHECKOUT,
        LOGIN,
        b"97\r",
        b"11",
        b"|AA",
        b"AY1AZ",
        b"\r",
        b"\n",
        b"99",
        b"\x00",
        b"\xd6|",
        D.encode(),
    ]
)


@given(
    packets=st.lists(st.one_of(st.binary(max_size=60), _PIECES), max_size=12),
    login_required=st.booleans(),
    unknown=st.sampled_from(["silence", "96"]),
)
def test_no_bytes_make_a_session_raise_or_answer_with_another_pair(
    packets, login_required, unknown
):
    kiosk = session(login_required=login_required, answer_unknown=unknown)
    asked = {"96"}
    for packet in packets:
        outputs = kiosk.receive(packet)
        asked |= {
            answer_code(code) for code in ("11", "23", "93", "99") if login_required
        } | _answers(packets)
        while outputs:
            output = outputs.pop(0)
            if isinstance(output, Send):
                assert output.data[:2].decode() in asked
                assert output.data.count(b"\r") == 1
            else:
                assert isinstance(output, Handle)
                outputs += kiosk.answer(output.frame, Message(answer_code(output.frame.code)))


def _answers(packets):
    frames = b"".join(packets).replace(b"\n", b"\r").split(b"\r")
    codes = {frame.lstrip(b" \t\x00")[:2].decode("ascii", "replace") for frame in frames}
    return {answer_code(code) for code in codes}


RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "evergreen"


def test_recorded_traffic_is_read():
    files = sorted(RECORDED.glob("sip2-*.txt"))
    if not files:
        pytest.skip("no recordings here")
    count = 0
    for path in files:
        for text in path.read_text("utf-8").splitlines():
            if text[:3] not in {"> b", "< b"} or text.endswith("<EOF>'"):
                continue
            raw = ast.literal_eval(text[2:])
            for piece in raw.replace(b"\n", b"\r").split(b"\r"):
                frame = decode(piece, WireProfile())
                if frame.message is None:
                    continue
                count += 1
                assert frame.code == piece[:2].decode()
                required = SPECS[frame.code].required
                assert frame.message.fields or frame.problems or not required
    assert count > 200
