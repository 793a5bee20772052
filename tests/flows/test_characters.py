"""Names and titles that do not fit the wire (scenario 33)."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from tests.support.world import PASSWORD, SHANGHAI, Kiosk, World

RARE = "𠮷"
NAME = "张,小江"
TITLE = f"江|上的{RARE}船"


def checksum_of(frame: bytes) -> int:
    """Return the sum that a right checksum makes zero, over everything up to ``AZ``."""
    body, _, digits = frame.rpartition(b"AZ")
    return (sum(body + b"AZ") + int(digits, 16)) & 0xFFFF


@pytest.fixture
def kiosk_at(make_world: Callable[..., World]) -> Callable[[str], tuple[World, Kiosk]]:
    def make(encoding: str) -> tuple[World, Kiosk]:
        terminal = f'encoding = "{encoding}"\nmask_name = false'
        world = make_world(terminal=terminal)
        world.add_pupil("S1")
        ils = world.ils("KOHA-A")
        ils.stock.patrons["S1"].name = NAME
        ils.new_item("B1", TITLE)
        client = Sip2Client(
            "127.0.0.1", world.server.port, profile=WireProfile(encoding=encoding), timeout_s=30
        )
        assert client.login("kiosk-KOHA-A", PASSWORD)
        return world, Kiosk(client, world.clock, SHANGHAI)

    return make


@pytest.mark.parametrize(
    ("encoding", "title", "replaced"),
    [
        ("utf-8", f"江 上的{RARE}船", False),
        ("gb18030", f"江 上的{RARE}船", False),
        ("gbk", "江 上的?船", True),
    ],
)
def test_s33_characters_of_each_kiosk(kiosk_at, encoding: str, title: str, replaced: bool) -> None:
    _, kiosk = kiosk_at(encoding)
    with kiosk.client, capture_logs() as logs:
        answer = kiosk.checkout("S1", "B1")
        assert (answer.fixed["ok"], answer.get("AJ")) == ("1", title)
        assert kiosk.information("S1").get("AE") == NAME
    noted = [line for line in logs if line["event"] == "sip2.characters_replaced"]
    assert bool(noted) is replaced
    assert RARE not in str(logs)
    assert "船" not in str(logs)


def test_s33_length_and_checksum_count_the_bytes_that_are_sent(kiosk_at) -> None:
    world, kiosk = kiosk_at("gbk")
    kiosk.client.close()
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=30) as raw:
        stream = raw.makefile("rb")
        login = f"9300CNkiosk-KOHA-A|CO{PASSWORD}|AY1AZ".encode()
        raw.sendall(login + _digits(login) + b"\r")
        assert _read_frame(stream).startswith(b"941")
        request = f"11NN{kiosk.stamp()}{'':18}AO|AAS1|ABB1|AC|AY2AZ".encode()
        raw.sendall(request + _digits(request) + b"\r")
        frame = _read_frame(stream)
        stream.close()
    assert frame.startswith(b"121")
    assert checksum_of(frame) == 0
    assert "AJ江 上的?船|".encode("gbk") in frame


def test_s33_a_delimiter_that_somebody_scans_breaks_nothing(kiosk_at) -> None:
    _, kiosk = kiosk_at("gb18030")
    with kiosk.client:
        request = kiosk.checkout_request("S1", "B1")
        request.fields[:] = [
            (tag, "B1|AAS2" if tag == "AB" else value) for tag, value in request.fields
        ]
        answer = kiosk.client.exchange(request)
        assert isinstance(answer, Message)
        assert answer.fixed["ok"] == "0"


def _digits(body: bytes) -> bytes:
    return f"{-sum(body) & 0xFFFF:04X}".encode()


def _read_frame(stream) -> bytes:
    data = b""
    while not data.endswith(b"\r"):
        data += stream.read(1)
    return data.strip(b"\r\n")
