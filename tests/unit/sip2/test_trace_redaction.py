"""What ``onecard sip2 trace`` and ``send`` write of a frame: nothing about a person, whatever the
dialect, the encoding or the delimiter.

Each value that must not show is an invented marker; the frames go through the real splitter, byte by
byte too, and through the lines that the command writes.
"""

from __future__ import annotations

import itertools

import pytest

from connector.cli.sip2 import _trace_line
from connector.sip2.codec import decode
from connector.sip2.framing import FrameBuffer
from connector.sip2.tags import MASK, OPEN_TAGS, TAG_NAMES, describe_fixed
from connector.sip2.terminal import WireProfile
from connector.sip2.tracer import PassedFrame

D = "20261121    193616"
NAME, NUMBER, PHONE, PIN = "東瑋珅", "500230201503010015", "13900000001", "7391"
PERSONAL = [
    "AA", "AC", "AD", "AE", "AF", "AG", "AL", "AS", "AT", "AU", "AV", "BC", "BD", "BE", "BF", "BU",
    "CD", "CN", "CO", "CY", "DA", "KD", "MP", "OX", "PA", "PB", "PC", "XB", "XD", "XE", "XF", "XH",
    "XI", "XM", "XN", "XO", "XR", "XT", "ZY", "ZZ",
]  # fmt: skip
MARKERS = (NAME, NUMBER, PHONE, PIN, "東", "張三")


def lines(data: bytes, *, encoding="utf-8", dialect="standard", step=None) -> str:
    """Everything that a trace of these bytes writes, in both forms and both directions."""
    profile = WireProfile(encoding=encoding, dialect=dialect, max_value_length=0)
    frames = FrameBuffer()
    pieces = [data] if step is None else [data[at : at + step] for at in range(0, len(data), step)]
    cut = [raw for piece in pieces for raw in frames.feed(piece)]
    return "\n".join(
        _trace_line(PassedFrame(1, direction, raw), profile, show=False, as_json=as_json)
        for raw, direction, as_json in itertools.product(cut, "<>", (False, True))
    )


def shows_nobody(text: str) -> None:
    for marker in MARKERS:
        assert marker not in text, marker
        assert ascii(marker)[1:-1] not in text, marker


def test_no_tag_is_open_that_may_hold_something_personal() -> None:
    assert not OPEN_TAGS & set(PERSONAL)


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("dialect", ["standard", "chinese-kiosk"])
@pytest.mark.parametrize("code", ["24", "64", "12", "10", "11", "63", "81", "82", "91", "92", "85"])
def test_personal_values_are_masked_in_every_message(code: str, dialect: str, step) -> None:
    fixed = {"24": f"{'':14}019{D}", "64": f"{'':14}019{D}{'0' * 24}", "12": f"1NNY{D}",
             "10": f"1YNN{D}", "11": f"NN{D}{D}", "63": f"019{D}{'':10}"}.get(code, D)  # fmt: skip
    values = itertools.cycle((NAME, NUMBER, PHONE, PIN))
    fields = "".join(f"{tag}{value}|" for tag, value in zip(PERSONAL, values, strict=False))
    if code == "81":
        fields += f"BP{PHONE}|AM{NAME}|"
    data = f"{code}{fixed}AOLIB|{fields}AY1AZ0000\r".encode()
    text = lines(data, dialect=dialect, step=step)
    assert text
    shows_nobody(text)


@pytest.mark.parametrize("read_as", ["gbk", "utf-8", "big5", "cp850", "ascii"])
def test_characters_that_end_in_the_delimiter_do_not_break_the_mask(read_as: str) -> None:
    data = f"64{'':14}019{D}{'0' * 24}AOLIB|AA{NUMBER}|AE{NAME}張三|BD{NAME}{PHONE}|AFhello|\r"
    text = lines(data.encode("gbk"), encoding=read_as)
    shows_nobody(text)
    assert NAME.encode("gbk").decode("latin-1") not in text
    assert PHONE not in text


@pytest.mark.parametrize("delimiter", list("^~#$@!;,:*-/\\\x1c"))
def test_another_delimiter_than_the_one_that_was_named_shows_nobody(delimiter: str) -> None:
    data = f"23019{D}AOLIB|AA{NUMBER}|AC|AD{PIN}|AE{NAME}|".replace("|", delimiter)
    shows_nobody(lines(data.encode() + b"\r"))


@pytest.mark.parametrize(
    "frame",
    [
        f"17{D}ABb1|{NAME}|AO|{PHONE}|",
        f"23AOLIB|AA{NUMBER}|AD{PIN}|",
        f"23{NUMBER}AOLIB|",
        f"17{NUMBER}|ABb1|",
        f"99{NAME}",
        f"{NUMBER}",
        f"{NAME}",
        f"63019{D} {PIN}{PHONE}AOLIB|",
        f"17{D}AOLIB|AB{NUMBER}|",
        f"11NN{D}{NUMBER}AOLIB|",
        f"9300CN{PHONE}|CO{PIN}|CPdesk|",
        f"17{D}AOLIB|AB{NUMBER}AY1AZ0000",
    ],
)
def test_frames_out_of_shape_show_nobody(frame: str) -> None:
    shows_nobody(lines(frame.encode() + b"\r"))


def test_the_frames_themselves_are_never_written() -> None:
    data = f"23019{D}AOLIB|AA{NUMBER}|AC|AD{PIN}|\r".encode()
    text = lines(data)
    assert data.decode().strip() not in text
    assert data.hex() not in text


def test_what_is_no_secret_is_shown() -> None:
    text = lines(f"17{D}AOCN-500105|ABCN-KOHA.001|AYxAZ|\r".encode())
    assert "CN-500105" in text
    assert "CN-KOHA.001" in text
    assert D in text
    for frame in (f"63019{D}  Y       ", "9900802.00", f"37{D}0100CNY", f"15+{D}", f"11yN{D}{D}"):
        message = decode(frame.encode(), WireProfile()).message
        assert MASK not in describe_fixed(message).values(), frame


def test_every_tag_that_is_open_has_a_name() -> None:
    assert set(TAG_NAMES) >= OPEN_TAGS
