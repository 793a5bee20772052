"""The PROXY header of a balancer: read byte by byte, and believed only from there."""

from __future__ import annotations

import socket
import ssl
import struct
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import RemoteProtocolError
from connector.sip2 import front_door
from connector.sip2.proxy_protocol import MAX_HEADER, ProxyHeader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UDP4, UNIX, UNSPEC = 0x11, 0x21, 0x12, 0x31, 0x00
STATUS = b"9900802.00\r"
LOOPBACK = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("198.51.100.0/24"),)


def header(command=PROXY, family=TCP4, block=None, more=b""):
    if block is None:
        block = addresses("203.0.113.7")
    data = block + more
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(data)) + data


def addresses(source, destination=None):
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = [socket.inet_pton(kind, end) for end in (source, destination or source)]
    return b"".join(ends) + struct.pack("!HH", 40000, 6001)


def read(data, piece=None):
    """Give the bytes to a header as a socket would; return it and what it left."""
    parsed = ProxyHeader()
    while not parsed.is_complete:
        size = min(parsed.missing, piece or parsed.missing)
        assert size
        parsed.feed(data[:size])
        data = data[size:]
    return parsed, data


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (header(), "203.0.113.7"),
        (header(family=TCP6, block=addresses("2001:db8::7")), "2001:db8::7"),
        (header(more=b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\x00\x00\x00\x00"), "203.0.113.7"),
        (header(command=LOCAL), None),
        (header(command=LOCAL, family=UNSPEC, block=b""), None),
        (header(family=UNSPEC, block=b""), None),
        (header(family=UNIX, block=b"\0" * 216), None),
    ],
)
def test_address_is_read_and_the_rest_left(data, source):
    parsed, rest = read(data + STATUS)
    assert (parsed.source, rest) == (source, STATUS)
    assert read(data, piece=1)[0].source == source


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (STATUS + b"\0" * 20, "no_proxy_header"),
        (b"PROXY TCP4 203.0.113.7 203.0.113.1 1 2\r\n", "no_proxy_header"),
        (SIGNATURE[:-1] + b"X" + b"\0" * 8, "no_proxy_header"),
        (header(more=b"\0" * MAX_HEADER), "proxy_header_too_long"),
        (header(command=0x11), "proxy_command_unknown"),
        (header(command=0x22), "proxy_command_unknown"),
        (header(family=UDP4), "proxy_family_unknown"),
        (header(block=b"\0" * 11), "proxy_header_too_short"),
        (header(family=TCP6, block=addresses("203.0.113.7")), "proxy_header_too_short"),
    ],
)
def test_what_is_no_header_of_ours_is_refused(data, why):
    with pytest.raises(RemoteProtocolError, match=why):
        read(data)


@given(st.binary(max_size=80).map(lambda tail: SIGNATURE + tail) | st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    parsed = ProxyHeader()
    while not parsed.is_complete and data:
        size = parsed.missing
        try:
            parsed.feed(data[:size])
        except RemoteProtocolError:
            return
        data = data[size:]
    assert parsed.is_complete or parsed.missing > 0


# ── over sockets ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def behind_balancer(serve, kit):
    """A server whose balancer is on the loopback, and its handler."""

    def start(**options):
        handler = kit.handler(kit.terminal(**options.pop("terminal", {})))
        options.setdefault("anonymous", lambda _peer: None)
        return serve(handler, proxy_from=LOOPBACK, **options), handler

    return start


def login(user="kiosk1", password="secret"):
    return f"9300CN{user}|CO{password}|".encode() + b"\r"


def test_kiosk_is_known_by_the_address_that_the_balancer_names(behind_balancer, connect):
    running, handler = behind_balancer(terminal={"allow_from": (ip_network("203.0.113.0/24"),)})
    wire = connect(running.port)
    wire.send(header() + login())
    assert wire.read() == b"941\r"
    assert handler.logins[0][3] == "203.0.113.7"
    assert running.server._state.counts._by_address == {"203.0.113.7": 1}
    other = connect(running.port)
    other.send(header(block=addresses("192.0.2.1")) + login())
    assert other.read() == b"940\r"


def test_header_byte_by_byte(behind_balancer, connect):
    running, handler = behind_balancer()
    wire = connect(running.port)
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header() + login():
        wire.send(bytes([byte]))
    assert wire.read() == b"941\r"
    assert handler.logins[0][3] == "203.0.113.7"


def test_address_list_of_the_port_is_about_the_kiosk(behind_balancer, connect):
    running, _ = behind_balancer(allow_from=(ip_network("203.0.113.0/24"),))
    wire = connect(running.port)
    wire.send(header() + STATUS)
    assert wire.read().startswith(b"98")
    wire = connect(running.port)
    wire.send(header(block=addresses("192.0.2.1")) + STATUS)
    assert wire.is_closed()


def test_cap_per_address_is_about_the_kiosk(behind_balancer, connect):
    running, _ = behind_balancer(max_per_address=1)
    wires = []
    for source in ("203.0.113.7", "203.0.113.8"):
        wires.append(connect(running.port))
        wires[-1].send(header(block=addresses(source)) + STATUS)
        assert wires[-1].read().startswith(b"98")
    third = connect(running.port)
    third.send(header() + STATUS)
    assert third.is_closed()


def test_health_check_of_the_balancer_itself(behind_balancer, connect):
    running, _ = behind_balancer()
    wire = connect(running.port)
    wire.send(header(command=LOCAL) + STATUS)
    assert wire.read().startswith(b"98")
    assert running.server._state.counts._by_address == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    "data", [STATUS, b"PROXY TCP4 203.0.113.7 203.0.113.1 1 2\r\n" + STATUS, b"\x00" * 40]
)
def test_balancer_without_its_header_is_closed(behind_balancer, connect, eventually, data):
    running, handler = behind_balancer()
    wire = connect(running.port)
    wire.send(data)
    assert wire.is_closed()
    eventually(lambda: not running.server._state.doors)
    assert (handler.handled, handler.logins) == ([], [])


def test_slow_header_is_closed(behind_balancer, connect, eventually, monkeypatch, log_lines):
    monkeypatch.setattr(front_door, "HEADER_TIMEOUT_S", 0.05)
    running, _ = behind_balancer()
    wire = connect(running.port)
    wire.send(header()[:20])
    assert wire.is_closed()
    eventually(lambda: not running.server._state.doors)
    assert "no_proxy_header" in log_lines.getvalue()


def test_connection_that_ends_within_its_header(behind_balancer, connect, eventually):
    running, _ = behind_balancer()
    wire = connect(running.port)
    wire.send(header()[:20])
    eventually(lambda: running.server._state.doors)
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.is_closed()
    eventually(lambda: not running.server._state.doors)


def test_address_is_not_believed_from_anybody_else(serve, connect, kit):
    handler = kit.handler()
    running = serve(handler, anonymous=lambda _peer: None, proxy_from=ELSEWHERE)
    wire = connect(running.port)
    wire.send(login())
    assert wire.read() == b"941\r"
    assert handler.logins[0][3] == "127.0.0.1"
    liar = connect(running.port)
    liar.send(header() + b"\r" + login())
    assert liar.read() == b"941\r"
    assert {peer for *_, peer in handler.logins} == {"127.0.0.1"}
    assert set(running.server._state.counts._by_address) == {"127.0.0.1"}


def test_too_many_before_their_header(behind_balancer, connect, eventually):
    running, _ = behind_balancer(max_connections=2)
    waiting = [connect(running.port) for _ in range(2)]
    eventually(lambda: len(running.server._state.doors) == 2)
    assert connect(running.port).is_closed()
    for wire in waiting:
        wire.send(header() + STATUS)
        assert wire.read().startswith(b"98")


def test_stop_closes_who_is_in_the_door(behind_balancer, connect, eventually):
    running, _ = behind_balancer()
    wire = connect(running.port)
    eventually(lambda: running.server._state.doors)
    running.stop()
    assert wire.is_closed()


# ── with TLS behind the header ───────────────────────────────────────────────────────────────────


class TlsWire:
    """A TLS client whose first bytes are a header, in the same packet as its hello if wished."""

    def __init__(self, port, context, before, *, together):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._pending = before if together else b""
        if not together:
            self.sock.sendall(before)

    def run(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionResetError from None
                self._in.write(data)

    def flush(self):
        data, self._pending = self._pending + self._out.read(), b""
        if data:
            self.sock.sendall(data)

    def ask(self, data):
        self.tls.write(data)
        self.flush()
        return self.run(lambda: self.tls.read(65536))


@pytest.mark.parametrize("together", [False, True])
def test_tls_after_the_header(behind_balancer, tls_pair, together):
    running, handler = behind_balancer(tls=tls_pair[0])
    wire = TlsWire(running.port, tls_pair[1], header(), together=together)
    wire.run(wire.tls.do_handshake)
    assert wire.ask(login()) == b"941\r"
    assert wire.ask(STATUS).startswith(b"98")
    assert handler.logins[0][3] == "203.0.113.7"
    wire.sock.close()


def test_message_in_the_packet_that_ends_the_handshake(behind_balancer, tls_pair):
    running, handler = behind_balancer(tls=tls_pair[0])
    wire = TlsWire(running.port, tls_pair[1], header(), together=True)
    wire.run(wire.tls.do_handshake)
    assert wire.ask(login() + STATUS).startswith(b"941\r")
    assert handler.logins[0][3] == "203.0.113.7"
    wire.sock.close()


def test_tls_without_header_from_elsewhere(serve, kit, tls_pair):
    handler = kit.handler()
    running = serve(handler, anonymous=lambda _peer: None, proxy_from=ELSEWHERE, tls=tls_pair[0])
    wire = TlsWire(running.port, tls_pair[1], b"", together=False)
    wire.run(wire.tls.do_handshake)
    assert wire.ask(login()) == b"941\r"
    assert handler.logins[0][3] == "127.0.0.1"
    wire.sock.close()


def test_plain_text_after_the_header_of_a_tls_port(behind_balancer, connect, eventually, tls_pair):
    running, handler = behind_balancer(tls=tls_pair[0])
    wire = connect(running.port)
    wire.send(header() + login())
    while wire.sock.recv(4096):
        pass
    eventually(lambda: not running.server._state.doors)
    assert (running.server.connections, handler.logins) == (0, [])


def test_stop_during_the_handshake(behind_balancer, connect, eventually, tls_pair):
    running, _ = behind_balancer(tls=tls_pair[0])
    wire = connect(running.port)
    wire.send(header())
    eventually(lambda: any(door._handshake for door in running.server._state.doors))
    running.stop()
    assert wire.is_closed()
