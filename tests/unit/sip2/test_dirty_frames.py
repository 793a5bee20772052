"""The frames that real kiosks and servers were seen to send, each test named after one.

Where a shape has its test already it is not doubled. Shapes by what was seen:

================================================  ===================================================
blank algorithms (``93  CN``)                     test_codec ``93-blank-algorithms``
constant wrong AY/AZ                              here; test_codec ``constant-checksum``
``|`` between fixed part and first tag            test_codec ``delimiter-before-the-first-tag``
14-digit dates; three blanks between two          test_codec ``14-digit-date``, ``three-blanks-…``
one blank as zone, short summary                  test_codec ``one-blank-zone-and-short-summary``
no fixed part at all                              test_codec ``no-fixed-part*``
``AY|`` in the middle                             test_codec ``sequence-in-the-middle``
AZ followed by ``|`` or fields                    test_codec ``delimiter-after-…``, ``fields-after-…``
17 with a language before the date                test_codec ``language-before-the-date-of-17``
AZNAVOUR as a name                                here; test_codec ``the-letters-az-in-a-name``
zone 0000, literal YYYYMMDDZZZZHHMMSS             test_codec ``zone-of-zeros``, ``literal-date``
unpadded checksum (FF9 for 0FF9)                  test_codec ``test_an_unpadded_checksum_…``
CRLF, LF alone, LF and blanks first               here; test_framing
split at every byte, pipelined                    here; test_codec, test_server
checksum variants (a) to (e)                      here
GBK and Big5 characters that end in ``|``         here, every one of them
blank nb due date                                 test_codec ``11-blank-due-date``
NUL and control characters, 10 kB values          here; test_codec ``test_a_value_cannot_break_…``
over the gateway, with its answers                tests/flows/test_what_breaks_kiosks
================================================  ===================================================
"""

from __future__ import annotations

import pytest

from connector.sip2.codec import Checksum, Message, checksum, decode, encode
from connector.sip2.framing import FrameBuffer
from connector.sip2.replies import answer_code
from connector.sip2.session import Handle, Send, Session
from connector.sip2.terminal import ChecksumPolicy, WireProfile

D = "20261121    193616"
PLAIN = WireProfile()


def seal(text: str, number: int | str = 1, encoding: str = "utf-8") -> bytes:
    body = f"{text}AY{number}AZ".encode(encoding)
    return body + checksum(body)


def complement(total: int) -> str:
    return f"{-total & 0xFFFF:04X}"


def checkout(number: int | str = 1, item: str = "B1") -> bytes:
    return seal(f"11NN{D}{'':18}AOlib|AAc1|AB{item}|AC|", number)


class Kiosk:
    """A session that answers whatever it is asked, and counts what it was asked."""

    def __init__(self, **profile) -> None:
        self.session = Session(WireProfile(**profile), login_required=False)
        self.done: list[Message] = []

    def receive(self, data: bytes) -> list[bytes]:
        sent: list[bytes] = []
        outputs = self.session.receive(data)
        while outputs:
            output = outputs.pop(0)
            if isinstance(output, Send):
                sent.append(output.data)
            else:
                assert isinstance(output, Handle)
                assert output.frame.message is not None
                self.done.append(output.frame.message)
                reply = Message(answer_code(output.frame.code), {}, [])
                outputs = self.session.answer(output.frame, reply) + outputs
        return sent


def ends_in_delimiter(encoding: str) -> list[str]:
    """Every character of two bytes whose second is 0x7C: 117 and 85 of them are ideographs."""
    found = []
    for lead in range(0x81, 0xFF):
        try:
            found.append(bytes((lead, 0x7C)).decode(encoding))
        except UnicodeDecodeError:
            continue
    return [text for text in found if len(text) == 1 and not 0xE000 <= ord(text) <= 0xF8FF]


# ── framing ──────────────────────────────────────────────────────────────────────────────────────


def test_frame_split_in_two_at_every_byte() -> None:
    data = seal(f"63019{D}  Y       AOlib|AA東瑋c1|AC|", 1, "gbk") + b"\r"
    for at in range(len(data) + 1):
        kiosk = Kiosk(encoding="gbk")
        answers = kiosk.receive(data[:at]) + kiosk.receive(data[at:])
        assert [answer[:2] for answer in answers] == [b"64"], at
        assert kiosk.done[0].get("AA") == "東瑋c1"


def test_frames_pipelined_and_cut_anywhere_are_all_answered_in_order() -> None:
    data = b"\r".join(checkout(n, f"B{n}") for n in range(4)) + b"\r"
    for at in range(0, len(data), 7):
        kiosk = Kiosk()
        answers = kiosk.receive(data[:at]) + kiosk.receive(data[at:])
        assert [answer[answer.index(b"AY") + 2] - 48 for answer in answers] == [0, 1, 2, 3]
        assert [message.get("AB") for message in kiosk.done] == ["B0", "B1", "B2", "B3"]


@pytest.mark.parametrize(
    "wrap",
    [
        b"%s\r",
        b"%s\r\n",
        b"%s\n",
        b"\n%s\r",
        b"\r\n%s\r\n",
        b" %s\r",
        b"\x00\x00%s\r",
        b"\r\r\r%s\r",
        b"%s\r\x00\n",
    ],
    ids=["CR", "CRLF", "LF", "LF-first", "CRLF-both", "blank-first", "NUL", "CRs", "odd-end"],
)
def test_terminators_of_every_kind_and_what_stands_before_the_command(wrap: bytes) -> None:
    kiosk = Kiosk()
    for number in (1, 2):
        (answer,) = kiosk.receive(wrap % checkout(number))
        assert answer.startswith(b"12")
        assert answer.count(b"\r") == 1
        assert answer.endswith(b"\r")
    assert len(kiosk.done) == 2


def test_720_byte_chinese_answer_comes_whole_and_with_a_right_checksum() -> None:
    titles = [("AU", f"3000{n} 红楼梦 第{n}回 人民文学出版社一九八二年版") for n in range(10)]
    message = Message("64", {"transaction_date": D}, [("AO", "lib"), ("AA", "c1"), *titles])
    for encoding in ("utf-8", "gb18030"):
        profile = WireProfile(encoding=encoding)
        data = encode(message, profile, sequence="4", error_detection=True)
        assert len(data) > 460
        body, _, digits = data[:-1].rpartition(b"AZ")
        assert (sum(body + b"AZ") + int(digits, 16)) & 0xFFFF == 0
        frame = decode(data[:-1], profile)
        assert frame.message.get_all("AU") == [value for _, value in titles]
    assert len(encode(message, PLAIN, sequence="4", error_detection=True)) > 720


def test_a_clients_single_recv_gets_the_whole_answer(serve, connect, kit) -> None:
    """Drivers read one ``recv``; an answer is written at once, never in pieces."""
    handler = kit.handler()
    titles = [("AU", "红楼梦" * 20)] * 8
    handler.reply = Message("64", {"transaction_date": D}, [("AO", "lib"), ("AA", "c1"), *titles])
    wire = connect(serve(handler).port)
    wire.send(seal(f"63019{D}  Y       AOlib|AAc1|") + b"\r")
    data = wire.sock.recv(64 * 1024)
    assert data.startswith(b"64")
    assert data.endswith(b"\r")


# ── characters ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("encoding", "count"), [("gbk", 118), ("big5", 88), ("gb18030", 119)])
def test_every_character_whose_trail_byte_is_the_delimiter(encoding: str, count: int) -> None:
    characters = ends_in_delimiter(encoding)
    assert len(characters) == count
    profile = WireProfile(encoding=encoding)
    for character in characters:
        name = f"張{character}明"
        raw = seal(f"63019{D}{'':10}AOlib|AA{name}|AB{character}|AC|", 1, encoding)
        frame = decode(raw, profile)
        assert (frame.checksum, frame.problems) == (Checksum.GOOD, ())
        assert frame.message.fields == [("AO", "lib"), ("AA", name), ("AB", character), ("AC", "")]
        answer = Message("24", {"transaction_date": D}, [("AA", name), ("AE", character)])
        back = decode(encode(answer, profile)[:-1], profile).message
        assert (back.get("AA"), back.get("AE")) == (name, character)


def test_final_chinese_value_without_a_delimiter_keeps_its_last_character() -> None:
    """SIPServer and Koha strip what is not ASCII at the end of a frame."""
    for encoding in ("utf-8", "gbk", "big5"):
        raw = f"17{D}AOlib|AB東".encode(encoding)
        for one in (raw, seal(f"17{D}AOlib|AB東", 1, encoding)):
            assert decode(one, WireProfile(encoding=encoding)).message.get("AB") == "東"


def test_fixed_parts_are_counted_in_characters_and_chinese_may_follow_at_once() -> None:
    raw = f"23019{D}AO江北区图书馆|AA张三|AC|AD|".encode()
    frame = decode(raw, PLAIN)
    assert frame.problems == ()
    assert frame.message.get("AO") == "江北区图书馆"


@pytest.mark.parametrize("junk", ["\x00", "\x07", "\x14", "\x1b[2J", "\x7f", "\x85", "\u2028"])
def test_control_characters_in_a_value_are_read_and_never_sent(junk: str) -> None:
    frame = decode(seal(f"17{D}AOlib|ABB{junk}1|"), PLAIN)
    assert frame.message is not None
    assert frame.message.get("AB").replace(junk, "") == "B1"
    sent = encode(Message("18", {}, [("AB", f"B{junk}1"), ("AF", f"a{junk}b")]), PLAIN)
    assert len(FrameBuffer().feed(sent)) == 1
    assert not any(byte < 0x20 or byte == 0x7F for byte in sent[:-1])


def test_a_value_of_10_kb_is_read_whole_and_sent_cut() -> None:
    long = "长" * 10_000
    frame = decode(seal(f"17{D}AOlib|AB{long}|"), PLAIN)
    assert frame.message.get("AB") == long
    sent = encode(Message("18", {}, [("AB", long)]), PLAIN)
    assert decode(sent[:-1], PLAIN).message.get("AB") == "长" * 255


# ── checksums ────────────────────────────────────────────────────────────────────────────────────

_TEXT = f"11NN{D}{'':18}AO江|AAc1|ABb1|AC|"
_CODE_POINTS = f"{_TEXT}AY3AZ"
VARIANTS = {
    "a-bytes-as-sent": seal(_TEXT, 3),
    "b-code-points": f"{_CODE_POINTS}{complement(sum(map(ord, _CODE_POINTS)))}".encode(),
    "c-body-without-the-tail": f"{_TEXT}AY4AZ{complement(sum(map(ord, _TEXT)))}".encode(),
    "d-constant-EDB7": f"{_TEXT}AY3AZEDB7".encode(),
    "d-constant-B92E": f"{_TEXT}AY1AZB92E".encode(),
    "d-constant-F4A6": f"{_TEXT}AY1AZF4A6".encode(),
    "e-redacted": f"{_TEXT}AY3AZ0000".encode(),
}


@pytest.mark.parametrize("policy", list(ChecksumPolicy))
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_checksum_variants_under_each_policy(variant: str, policy: ChecksumPolicy) -> None:
    kiosk = Kiosk(checksum=policy)
    (answer,) = kiosk.receive(VARIANTS[variant] + b"\r")
    if policy is ChecksumPolicy.STRICT and not variant.startswith("a"):
        assert (answer, kiosk.done) == (b"96AZFEF6\r", [])
    else:
        assert answer.startswith(b"12")
        assert len(kiosk.done) == 1
        body, _, digits = answer[:-1].rpartition(b"AZ")
        assert (sum(body + b"AZ") + int(digits, 16)) & 0xFFFF == 0  # ours is right all the same


@pytest.mark.parametrize(
    ("body", "digits"), [("941", "FF62"), ("9300CNsip|COsip|", "")], ids=["941", "93"]
)
def test_checksums_recorded_from_dp2capo_are_its_own_kind(body: str, digits: str) -> None:
    """It sums the text before ``|AY4AZ``, in UTF-16 units: our policy is to be told to look away."""
    claimed = digits or complement(sum(map(ord, body)))
    assert complement(sum(map(ord, body))) == claimed
    raw = f"{body}|AY4AZ{claimed}".encode()
    assert decode(raw, PLAIN).checksum is Checksum.BAD
    assert decode(raw, PLAIN).message.code == body[:2]


def test_a_name_with_the_letters_az_is_no_checksum() -> None:
    """fsip2 takes the first ``AZ`` of the text: AZNAVOUR breaks it."""
    for text in ("AZNAVOUR", "BAZAR AZ1234", "AY1AZNAVOUR"):
        kiosk = Kiosk()
        (answer,) = kiosk.receive(seal(f"23019{D}AOlib|AA{text}|AC|AD|") + b"\r")
        assert answer.startswith(b"24")
        assert kiosk.done[0].get("AA") == text


def test_small_sums_are_sent_padded_with_zeros() -> None:
    """invenio and the package sip2 send ``FF9`` for ``0FF9``."""
    seen = 0
    for number in range(800):
        texts = [("AF", "z" * min(255, max(0, number - at))) for at in (0, 255, 510)]
        message = Message("18", {"transaction_date": D}, [("AB", "b"), *texts])
        data = encode(message, PLAIN, sequence="1", error_detection=True)
        digits = data[:-1].rpartition(b"AZ")[2]
        assert len(digits) == 4
        assert digits == digits.upper()
        seen += digits.startswith(b"0")
    assert seen


def test_the_answer_to_a_payment_has_a_right_checksum() -> None:
    """edge-sip2 once sent a wrong one in 38."""
    data = encode(
        Message("38", {"payment_accepted": "Y", "transaction_date": D}, [("AF", "缴费成功 ¥2.50")]),
        PLAIN,
        sequence="7",
        error_detection=True,
    )
    assert decode(data[:-1], PLAIN).checksum is Checksum.GOOD


# ── sequence numbers and repeats ─────────────────────────────────────────────────────────────────


def test_sequence_numbers_go_round_and_each_answer_carries_its_own() -> None:
    kiosk = Kiosk()
    for turn in range(25):
        (answer,) = kiosk.receive(checkout(turn % 10, f"B{turn}") + b"\r")
        assert f"AY{turn % 10}AZ".encode() in answer
    assert len(kiosk.done) == 25


def test_a_client_that_counts_past_nine_is_understood() -> None:
    """SIP2.NET ran into endless 96s."""
    kiosk = Kiosk()
    for number in range(8, 14):
        (answer,) = kiosk.receive(checkout(number, f"B{number}") + b"\r")
        assert answer.startswith(b"12")
    assert len(kiosk.done) == 6


def test_a_constant_sequence_never_gets_a_stale_status() -> None:
    """pysip2 answered the same 98 for ever to a kiosk that always says AY1."""
    kiosk = Kiosk()
    for _ in range(3):
        (answer,) = kiosk.receive(seal("9900802.00", 1) + b"\r")
        assert answer.startswith(b"98")
    assert len(kiosk.done) == 3
    for item in ("B1", "B2"):
        kiosk.receive(checkout(1, item) + b"\r")
    assert [message.get("AB") for message in kiosk.done[3:]] == ["B1", "B2"]


def test_a_jump_in_the_sequence_is_no_error() -> None:
    kiosk = Kiosk()
    answers = [kiosk.receive(checkout(n, f"B{n}") + b"\r")[0] for n in (3, 3, 9, 0, 7)]
    assert all(answer.startswith(b"12") for answer in answers)
    assert len(kiosk.done) == 4  # the second was the first again


@pytest.mark.parametrize("times", [2, 5])
def test_duplicates_are_done_once_and_answered_each_time(times: int) -> None:
    kiosk = Kiosk()
    answers = kiosk.receive((checkout(2) + b"\r") * times)
    assert len(set(answers)) == 1
    assert (len(answers), len(kiosk.done)) == (times, 1)


@pytest.mark.parametrize("before", [None, "9900802.00", "checkout", "bad", "unknown", "97"])
def test_97_after_everything_brings_the_answer_before_it(before: str | None) -> None:
    frames = {
        "checkout": checkout(),
        "bad": checkout()[:-4] + b"0000",
        "unknown": b"41what",
        "97": b"97AZFEF5",
    }
    kiosk = Kiosk()
    answers = [] if before is None else kiosk.receive(frames.get(before, b"9900802.00") + b"\r")
    expected = answers[-1:] or [b"96AZFEF6\r"]
    assert kiosk.receive(b"97AZFEF5\r") == expected
    assert kiosk.receive(b"97AZFEF5\r") == expected
    (answer,) = kiosk.receive(checkout(5, "B9") + b"\r")
    assert answer.startswith(b"12")


# ── what is no message ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "junk", [b"login:", b"password: ", b"\xff\xfb\x01", b"GET / HTTP/1.1", b"ZZfoo", b"|||", b"4"]
)
def test_telnet_prompts_and_other_junk_are_passed_over(junk: bytes) -> None:
    kiosk = Kiosk()
    assert kiosk.receive(junk + b"\r\n") == []
    (answer,) = kiosk.receive(checkout() + b"\r")
    assert answer.startswith(b"12")
    assert len(kiosk.done) == 1


def test_what_the_session_did_by_itself_is_told_to_the_log() -> None:
    kiosk = Kiosk()
    for data in (checkout(1), checkout(1), b"97", checkout(2)[:-4] + b"0000", b"41x"):
        kiosk.receive(data + b"\r")
    notes = [(note.frame.code, note.outcome) for note in kiosk.session.take_notes()]
    assert notes == [("11", "replayed"), ("97", "resent"), ("11", "asked_again"), ("41", "ignored")]
    assert kiosk.session.take_notes() == []
