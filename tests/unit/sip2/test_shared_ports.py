"""Several ports of one server: what guards one guards them all; and terminals that change."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import ip_network

import pytest

from connector.sip2.client import Sip2Client
from connector.sip2.codec import checksum, decode
from connector.sip2.pool import BoundedPool
from connector.sip2.terminal import ChecksumPolicy, WireProfile
from connector.sip2.terminals import TerminalRegistry, follow_change

NOON = "20261121    120000"


def frame(body, sequence):
    data = f"{body}AY{sequence}AZ".encode()
    return data + checksum(data) + b"\r"


CHECKOUT = frame(f"11NN{NOON}{' ' * 18}AOMAIN|AAP1|ABB1|AC|", 5)
LOGIN = b"9300CNkiosk1|COsecret|\r"
WRONG = b"9300CNkiosk1|COguess|\r"


@pytest.fixture
def two_ports(serve, kit, tls_pair):
    """A running server with a plain and a TLS port, and its handler."""

    def start(handler=None, **options):
        handler = handler or kit.handler()
        running = serve(handler, anonymous=lambda _peer: None, **options)
        return running, running.listen(tls=tls_pair[0]), handler

    return start


@pytest.fixture
def secure(tls_pair):
    clients = []

    def connect(listener):
        clients.append(
            Sip2Client("127.0.0.1", listener.port, tls=tls_pair[1], server_hostname="localhost")
        )
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def send_raw(client, data):
    """Send bytes over a client's socket and return the next frame."""
    client._socket.sendall(data)
    rest = b""
    while b"\r" not in rest:
        rest += client._socket.recv(4096)
    return rest


def test_repeat_on_the_other_port_is_not_executed_again(two_ports, connect, secure):
    running, tls, handler = two_ports()
    wire = connect(running.port)
    wire.ask(LOGIN)
    first = wire.ask(CHECKOUT)
    wire.sock.close()
    client = secure(tls)
    assert client.login("kiosk1", "secret")
    assert send_raw(client, CHECKOUT) == first
    assert [request.code for request in handler.handled] == ["11"]


def test_guesses_on_both_ports_are_delayed_together(two_ports, connect, secure):
    running, tls, _ = two_ports(login_delay_s=0.2)
    assert connect(running.port).ask(WRONG) == b"940\r"
    throttle = running.server._state.desk._throttle
    assert throttle._entries["127.0.0.1", "kiosk1"].count == 1
    assert not secure(tls).login("kiosk1", "guess")
    assert throttle._entries["127.0.0.1", "kiosk1"].count == 2


def test_seats_are_counted_over_both_ports(two_ports, connect, secure, eventually):
    running, tls, _ = two_ports(max_per_terminal=1)
    wire = connect(running.port)
    assert wire.ask(LOGIN) == b"941\r"
    assert secure(tls).login("kiosk1", "secret")
    assert wire.is_closed()
    eventually(lambda: running.server.connections == 1)


def test_own_number_of_connections_wins(two_ports, connect, kit):
    handler = kit.handler(kit.terminal(max_connections=2), kit.terminal("other"))
    running, _, _ = two_ports(handler, max_per_terminal=1)
    wires = [connect(running.port) for _ in range(3)]
    assert [wire.ask(LOGIN) for wire in wires] == [b"941\r"] * 3
    assert wires[0].is_closed()
    assert wires[1].ask(b"9900802.00\r").startswith(b"98")


def test_cap_per_address_is_over_both_ports(two_ports, connect, secure):
    running, tls, _ = two_ports(max_per_address=1)
    wire = connect(running.port)
    assert wire.ask(b"9900802.00\r").startswith(b"98")
    with pytest.raises(Exception):  # noqa: B017 - closed somewhere in the handshake
        secure(tls).login("kiosk1", "secret")


def test_each_port_has_its_own_networks(two_ports, connect):
    running, _, _ = two_ports()
    closed = running.listen(allow_from=(ip_network("10.0.0.0/8"),))
    assert connect(closed.port).is_closed()
    assert connect(running.port).ask(LOGIN) == b"941\r"


def test_address_is_looked_at_before_any_handshake(two_ports, connect, tls_pair):
    running, _, _ = two_ports()
    closed = running.listen(tls=tls_pair[0], allow_from=(ip_network("10.0.0.0/8"),))
    assert connect(closed.port).is_closed()


def test_handshakes_that_do_not_end_count_as_connections(two_ports, connect, secure, eventually):
    running, tls, _ = two_ports(max_connections=2)
    waiting = [connect(tls.port) for _ in range(2)]
    eventually(lambda: len(running.server._state.doors) == 2)
    assert connect(tls.port).is_closed()
    waiting[0].sock.close()
    eventually(lambda: len(running.server._state.doors) == 1)
    assert secure(tls).login("kiosk1", "secret")


def test_stop_closes_every_port(two_ports, connect):
    running, tls, _ = two_ports()
    running.stop()
    for port in (running.server.listeners[0], tls):
        assert port.server.sockets == ()


# ── terminals that change ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def changing(serve, kit):
    """A server over a registry, and what puts other terminals in their place."""
    handler = kit.handler()
    registry = TerminalRegistry({"kiosk1": kit.terminal()})
    handler.terminals = registry
    running = serve(handler, anonymous=lambda _peer: None)

    def change(*terminals):
        changes = registry.replace({one.terminal_id: one for one in terminals})
        running.run(lambda: running.server.refresh(registry))
        return changes

    return running, handler, change


def test_what_is_not_of_the_wire_counts_at_the_next_message(changing, connect, kit):
    running, handler, change = changing
    wire = connect(running.port)
    wire.ask(LOGIN)
    changes = change(kit.terminal(location="hall", language="en"))
    assert (changes.added, changes.changed, changes.removed) == ((), ("kiosk1",), ())
    wire.ask(CHECKOUT)
    terminal = handler.exchanges[-1].terminal
    assert (terminal.location, terminal.language) == ("hall", "en")


def test_hidden_tags_count_at_the_next_message(changing, connect, kit):
    running, _, change = changing
    wire = connect(running.port)
    wire.ask(LOGIN)
    status = f"23019{NOON}AOMAIN|AAP1|\r".encode()
    assert b"BLY" in wire.ask(status)
    change(kit.terminal(wire=WireProfile(hidden_tags=frozenset({"BL"}))))
    assert b"BLY" not in wire.ask(status)


def test_encoding_counts_at_the_next_login(changing, connect, kit):
    running, _, change = changing
    wire = connect(running.port)
    wire.ask(LOGIN)
    change(kit.terminal(wire=WireProfile(encoding="gb18030", checksum=ChecksumPolicy.LOG)))
    title = "红楼梦"
    assert title.encode() in wire.ask(CHECKOUT)
    wire.ask(LOGIN)
    again = wire.ask(frame(f"11NN{NOON}{' ' * 18}AOMAIN|AAP1|ABB2|AC|", 6))
    assert title.encode("gb18030") in again
    assert title.encode() not in again


@pytest.mark.parametrize("how", ["removed", "password", "network", "certificate"])
def test_terminal_that_may_not_any_more_is_closed(changing, connect, kit, how):
    running, _, change = changing
    wire = connect(running.port)
    wire.ask(LOGIN)
    left = {
        "removed": [],
        "password": [kit.terminal(password="other")],
        "network": [kit.terminal(allow_from=(ip_network("10.0.0.0/8"),))],
        "certificate": [kit.terminal(certificate="kiosk.lib")],
    }[how]
    change(*left)
    assert wire.is_closed()
    assert connect(running.port).ask(LOGIN) == b"940\r"


def test_exchange_under_way_is_answered_before_the_end(serve, connect, kit):
    handler = kit.handler()
    registry = TerminalRegistry({"kiosk1": kit.terminal()})
    handler.terminals = registry
    handler.gate = threading.Event()
    pool = BoundedPool(2, queued=4)
    running = serve(
        handler,
        anonymous=lambda _peer: None,
        executor_for=lambda _i: pool,
        answer_within_s=60,
    )
    wire = connect(running.port)
    wire.ask(LOGIN)
    wire.send(CHECKOUT)
    assert handler.started.wait(10)
    changes = registry.replace({})
    running.run(lambda: running.server.refresh(registry))
    handler.gate.set()
    assert changes.removed == ("kiosk1",)
    assert decode(wire.read().rstrip(b"\r"), WireProfile()).message.fixed["ok"] == "1"
    assert wire.is_closed()
    pool.shutdown(wait=True)


def test_networks_of_a_port_may_change(changing, connect):
    running, _, _ = changing
    wire = connect(running.port)
    wire.ask(LOGIN)
    listener = running.server.listeners[0]
    listener.allow_from = (ip_network("10.0.0.0/8"),)
    running.run(lambda: running.server.refresh(running.handler.terminals))
    assert wire.is_closed()
    assert connect(running.port).is_closed()
    listener.allow_from = ()
    assert connect(running.port).ask(LOGIN) == b"941\r"


def test_login_that_was_judged_before_the_change_is_refused(changing, connect, kit):
    running, handler, change = changing
    before = kit.terminal()
    change(kit.terminal(location="hall"))
    handler.log_in = lambda *_arguments: before
    assert connect(running.port).ask(LOGIN) == b"940\r"


def test_change_before_the_first_login_counts(changing, connect, kit):
    running, _, change = changing
    wire = connect(running.port)
    wire.ask(b"9900802.00\r")
    assert change(kit.terminal(), kit.terminal("new")).added == ("new",)
    assert wire.ask(b"9300CNnew|COsecret|\r") == b"941\r"


def test_nothing_changed_is_false(kit):
    registry = TerminalRegistry({"kiosk1": kit.terminal()})
    assert not registry.replace({"kiosk1": kit.terminal()})
    assert len(registry) == 1
    assert list(registry) == ["kiosk1"]


def test_other_library_is_another_terminal(kit):
    before = kit.terminal()
    assert follow_change(before, replace(before, institution="OTHER")) is None
    assert follow_change(before, None) is None
    assert follow_change(before, before) == before
