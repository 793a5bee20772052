"""Cutting the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sip2.framing import FrameBuffer

CASES = [
    ("cr", b"99a\r99b\r", [b"99a", b"99b"]),
    ("lf", b"99a\n99b\n", [b"99a", b"99b"]),
    ("crlf", b"99a\r\n99b\r\n", [b"99a", b"99b"]),
    ("mixed", b"99a\r\n99b\r99c\n", [b"99a", b"99b", b"99c"]),
    ("blanks-before", b" \t\x0099a\r\n  99b\r", [b"99a", b"99b"]),
    ("only-blanks", b"\r\n \r\r\n", []),
    ("unfinished", b"99a\r99b", [b"99a"]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(
    ("data", "frames"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_frames_whole_and_byte_by_byte(data, frames):
    assert FrameBuffer().feed(data) == frames
    slow = FrameBuffer()
    assert [frame for at in range(len(data)) for frame in slow.feed(data[at : at + 1])] == frames


@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_frame_that_is_too_long_is_dropped_up_to_its_end(step):
    buffer = FrameBuffer(max_frame=8)
    data = b"12345678\r123456789abcdefghi\r99\r"
    frames = [
        frame for at in range(0, len(data), step) for frame in buffer.feed(data[at : at + step])
    ]
    assert frames == [b"12345678", b"99"]
    assert buffer.overflows == 1


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(1, 50))
def test_the_cut_does_not_depend_on_the_packets(parts, step):
    data = b"\r".join(parts) + b"\r"
    slow = FrameBuffer()
    assert [
        f for at in range(0, len(data), step) for f in slow.feed(data[at : at + step])
    ] == FrameBuffer().feed(data)
