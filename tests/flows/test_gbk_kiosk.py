"""A Chinese kiosk as they are: GBK, constant wrong checksums, CRLF, odd frames, one ``recv`` per answer.

Behind it stands an ILS that speaks SIP2 only, in GB18030. Run as a program it prints the
transcript: ``python -m tests.flows.test_gbk_kiosk``.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.sip2.terminal import WireProfile
from tests.support.sip2_world import Sip2World
from tests.support.world import PASSWORD

TERMINAL = """encoding = "gbk"
terminator = "CRLF"
checksum = "log"
dialect = "chinese-kiosk"
mask_name = false"""
TITLE = "東瑋|的飢餓，珅"
"""With GBK characters whose second byte is the delimiter, and with the delimiter itself."""
Wire = Callable[[str], str]
STAMP = "20261121    100000"


@pytest.fixture
def net(tmp_path: Path, store_url: str) -> Iterator[Sip2World]:
    world = make_net(tmp_path, store_url)
    yield world
    world.close()


def make_net(folder: Path, store_url: str) -> Sip2World:
    net = Sip2World(
        folder,
        store_url,
        codes=("SIP-A",),
        speaks=WireProfile(encoding="gb18030", terminator="\r\n"),
        terminal=TERMINAL,
    )
    net.add_pupil("S1", pin="2580")
    net.add_items("SIP-A", "B1", title=TITLE)
    return net


class RawKiosk:
    """Sends the text with a checksum that is a constant in its program, and reads once."""

    def __init__(self, net: Sip2World) -> None:
        self._socket = socket.create_connection(("127.0.0.1", net.server.port), timeout=10)
        self.lines: list[tuple[bytes, bytes]] = []

    def __call__(self, text: str) -> str:
        sent = f"{text}AY3AZEDB7\r\n".encode("gbk")
        self._socket.sendall(sent)
        got = self._socket.recv(64 * 1024)
        self.lines.append((sent, got))
        return got.decode("gbk")

    def close(self) -> None:
        self._socket.close()


def play(kiosk: RawKiosk, net: Sip2World) -> list[str]:
    """Log in, look, borrow, renew, return; as the drivers write their frames."""
    answers = [
        kiosk(f"93  CNkiosk-SIP-A|CO{PASSWORD}|"),
        kiosk(f"63019{STAMP}  Y       AOSIP-A|AAS1|AD2580|"),
        kiosk(f"11YN{STAMP}{STAMP}|AOSIP-A|AAS1|ABB1|AC|"),
    ]
    net.clock.advance(days=10)
    answers += [
        kiosk("29AO|AAS1|ABB1|"),
        kiosk(f"09N{STAMP}{STAMP}AP|AOSIP-A|ABB1|AC|"),
    ]
    return answers


def test_a_gbk_kiosk_with_wrong_checksums_works_with_a_sip2_only_ils(net: Sip2World) -> None:
    kiosk = RawKiosk(net)
    login, information, checkout, renewal, checkin = play(kiosk, net)
    kiosk.close()
    assert login.startswith("941AY3AZ")
    assert information.startswith("64")
    assert "|AE张小江|" in information
    assert "|CQY|" in information
    shown = TITLE.replace("|", " ")
    assert checkout.startswith("121")
    assert f"|AJ{shown}|" in checkout
    assert "|AF借书成功，应还日期 2026-12-21|" in checkout
    assert renewal.startswith("301")
    assert "|AF续借成功，应还日期 2026-12-31|" in renewal
    assert checkin.startswith("101")
    assert "|AF还书成功" in checkin
    assert net.ils_loan("SIP-A", "B1") is None
    assert [row["state"] for row in net.rows("loan")] == ["returned"]
    for _, got in kiosk.lines:
        assert got.endswith(b"\r\n")
        body, _, given = got.rstrip(b"\r\n").rpartition(b"AZ")
        assert (sum(body + b"AZ") + int(given, 16)) & 0xFFFF == 0


def main() -> None:
    """Print what went over the wire, as the kiosk would show it."""
    with tempfile.TemporaryDirectory() as folder:
        net = make_net(Path(folder), f"sqlite:///{folder}/onecard.db")
        kiosk = RawKiosk(net)
        play(kiosk, net)
        kiosk.close()
        net.close()
    for sent, got in kiosk.lines:
        said, answered = sent.decode("gbk").strip(), got.decode("gbk").strip()
        sys.stdout.write(f"> {said.replace(PASSWORD, '****')}\n< {answered}\n")


if __name__ == "__main__":
    main()
