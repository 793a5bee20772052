"""The server over real sockets: exchanges, repeats, deadlines, caps, logins, the end."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.sip2.codec import Message, checksum, decode, encode
from connector.sip2.connection import MAX_WAITING_BYTES
from connector.sip2.pool import BoundedPool
from connector.sip2.replies import answer_code
from connector.sip2.session import MAX_WAITING
from connector.sip2.spec import SPECS
from connector.sip2.terminal import ChecksumPolicy, WireProfile

NOON = "20261121    120000"
PROFILE = WireProfile()


def frame(body, sequence=None):
    """Bytes of a frame, with AY and AZ when a sequence is given."""
    data = body.encode()
    if sequence is not None:
        data += b"AY%dAZ" % sequence
        data += checksum(data)
    return data + b"\r"


def checkout(item="B1", sequence=None, at=NOON):
    return frame(f"11NN{at}{' ' * 18}AOMAIN|AAP1|AB{item}|AC|", sequence)


def patron_status(language="019"):
    return frame(f"23{language}{NOON}AOMAIN|AAP1|AC|AD|")


def login(user="kiosk1", password="secret", sequence=None):
    return frame(f"9300CN{user}|CO{password}|CPhall|", sequence)


STATUS = frame("9900802.00")


def read_message(raw):
    return decode(raw.rstrip(b"\r\n"), PROFILE).message


@pytest.fixture
def pool():
    pools = []

    def make(workers=4, queued=16):
        pools.append(BoundedPool(workers, queued=queued))
        return pools[-1]

    yield make
    for one in pools:
        one.shutdown(wait=True)


@pytest.fixture
def gated(kit, pool):
    """A handler that answers when its gate opens; opens at the end whatever happens."""
    handler = kit.handler()
    handler.gate = threading.Event()
    yield handler
    handler.gate.set()


# ── exchanges ────────────────────────────────────────────────────────────────────────────────────


def test_request_gets_answer_of_its_pair(serve, connect):
    wire = connect(serve().port)
    reply = read_message(wire.ask(checkout()))
    assert (reply.code, reply.fixed["ok"], reply.get("AB")) == ("12", "1", "B1")


def test_answer_is_in_style_of_request(serve, connect):
    wire = connect(serve().port)
    assert b"AY" not in wire.ask(checkout())
    raw = wire.ask(checkout("B2", 7))
    assert decode(raw.rstrip(b"\r"), PROFILE).checksum == "good"
    assert decode(raw.rstrip(b"\r"), PROFILE).sequence == "7"


def test_frame_byte_by_byte(serve, connect):
    wire = connect(serve().port)
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in checkout(sequence=1):
        wire.send(bytes([byte]))
    assert wire.read().startswith(b"121")


def test_pipelined_frames_are_answered_in_order(serve, connect, kit, pool):
    handler = kit.handler()
    threads = pool()
    wire = connect(serve(handler, executor_for=lambda _institution: threads).port)
    wire.send(b"".join(checkout(f"B{n}", n) for n in range(10)))
    assert [read_message(wire.read()).get("AB") for _ in range(10)] == [f"B{n}" for n in range(10)]
    assert [request.get("AB") for request in handler.handled] == [f"B{n}" for n in range(10)]


def test_many_pipelined_frames_on_the_loop(serve, connect):
    wire = connect(serve().port)
    wire.send(b"".join(checkout(f"B{n}") for n in range(MAX_WAITING)))
    answers = [read_message(wire.read()).get("AB") for _ in range(MAX_WAITING)]
    assert answers == [f"B{n}" for n in range(MAX_WAITING)]


def test_half_closed_socket_gets_its_answers(serve, connect, gated, pool):
    threads = pool()
    wire = connect(serve(gated, executor_for=lambda _institution: threads).port)
    wire.send(checkout("B1", 1) + checkout("B2", 2))
    assert gated.started.wait(10)
    wire.sock.shutdown(socket.SHUT_WR)
    gated.gate.set()
    assert read_message(wire.read()).get("AB") == "B1"
    assert read_message(wire.read()).get("AB") == "B2"
    assert wire.is_closed()


def test_end_of_stream_closes_the_connection(serve, connect, eventually):
    running = serve()
    wire = connect(running.port)
    wire.ask(patron_status())
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.is_closed()
    eventually(lambda: running.server.connections == 0)


def test_language_is_remembered_until_the_session_ends(serve, connect, kit):
    handler = kit.handler()
    wire = connect(serve(handler).port)
    wire.ask(checkout())
    wire.ask(patron_status("001"))
    wire.ask(checkout("B2"))
    wire.ask(frame(f"35{NOON}AOMAIN|AAP1|"))
    wire.ask(checkout("B3"))
    languages = [exchange.language for exchange in handler.exchanges]
    assert languages == ["000", "001", "001", "001", "000"]


def test_handler_may_stay_silent(serve, connect, kit):
    handler = kit.handler()
    handler.handle = lambda request, _exchange: (
        None if request.code == "11" else kit.answer(request)
    )
    wire = connect(serve(handler).port)
    wire.send(checkout() + patron_status())
    assert wire.read().startswith(b"24")


# ── whatever the handler does ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("threaded", [False, True])
def test_exception_becomes_a_refusal(serve, connect, kit, pool, threaded):
    handler = kit.handler()
    handler.raises = RuntimeError("张三 440682201305012317")
    threads = pool()
    wire = connect(serve(handler, executor_for=(lambda _i: threads) if threaded else None).port)
    raw = wire.ask(checkout())
    assert raw.startswith(b"120")
    assert "张三".encode() not in raw
    assert handler.exchanges[0].slot.claim() is False
    handler.raises = None
    assert wire.ask(checkout("B2")).startswith(b"121")


def test_exception_in_the_refusal_too(serve, connect, kit):
    handler = kit.handler()
    handler.raises = RuntimeError()
    handler.refuse_late = None
    wire = connect(serve(handler).port)
    reply = read_message(wire.ask(checkout()))
    assert (reply.code, reply.fixed["ok"], reply.fixed["desensitize"]) == ("12", "0", "N")


def test_answer_of_another_pair_is_not_sent(serve, connect, kit):
    handler = kit.handler()
    handler.reply = Message("64", {}, [("AE", "张三")])
    reply = read_message(connect(serve(handler).port).ask(checkout()))
    assert (reply.code, reply.fixed["ok"]) == ("12", "0")


def test_98_may_answer_anything(serve, connect, kit):
    handler = kit.handler()
    handler.reply = kit.answer(Message("99", {}, []))
    assert connect(serve(handler).port).ask(checkout()).startswith(b"98")


def test_answer_that_cannot_be_encoded_becomes_a_refusal(serve, connect, kit):
    handler = kit.handler()
    handler.reply = Message("12", {"ok": 1}, [("AJ", None)])
    wire = connect(serve(handler).port)
    assert wire.ask(checkout()).startswith(b"120")


@pytest.mark.parametrize(
    "code", sorted(code for code, spec in SPECS.items() if spec.answer and code != "93")
)
def test_every_request_is_refused_in_its_own_pair(serve, connect, kit, code):
    handler = kit.handler()
    handler.raises = RuntimeError()
    handler.refuse_late = None
    terminal = kit.terminal("desk", wire=WireProfile(dialect="chinese-kiosk"))
    wire = connect(serve(handler, anonymous=lambda _peer: terminal).port)
    raw = wire.ask(encode(Message(code, {}, []), terminal.wire))
    assert raw[:2].decode() == answer_code(code)


# ── deadlines ────────────────────────────────────────────────────────────────────────────────────


def test_late_answer_is_refused_and_dropped(serve, connect, gated, pool):
    threads = pool()
    wire = connect(serve(gated, executor_for=lambda _i: threads, answer_within_s=0.05).port)
    raw = wire.ask(checkout())
    assert raw.startswith(b"120")
    gated.gate.set()
    assert gated.started.wait(10)
    assert gated.exchanges[0].slot.claim() is False
    assert wire.ask(frame(f"35{NOON}AOMAIN|AAP1|"))[:2] == b"36"


def test_claimed_answer_is_waited_for(serve, connect, gated, pool, eventually):
    gated.claim_first = True
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60, grace_s=60)
    wire = connect(running.port)
    wire.send(checkout())
    assert gated.started.wait(10)
    eventually(lambda: running.dispatcher.running == 1)
    running.run(running.dispatcher.expire_all)
    gated.gate.set()
    assert wire.read().startswith(b"121")
    assert gated.late == []


def test_grace_ends_too(serve, connect, gated, pool, eventually):
    gated.claim_first = True
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60, grace_s=0.05)
    wire = connect(running.port)
    wire.send(checkout())
    assert gated.started.wait(10)
    eventually(lambda: running.dispatcher.running == 1)
    running.run(running.dispatcher.expire_all)
    assert wire.read().startswith(b"120")


def test_full_pool_refuses_at_once_and_is_not_remembered(serve, connect, gated, pool):
    threads = pool(workers=1, queued=0)
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60)
    first, second = connect(running.port), connect(running.port)
    first.send(checkout("B1", 1))
    assert gated.started.wait(10)
    assert second.ask(checkout("B2", 2)).startswith(b"120")
    gated.gate.set()
    assert first.read().startswith(b"121")
    third = connect(running.port)
    assert third.ask(checkout("B2", 2)).startswith(b"121")


@pytest.mark.parametrize("expired", ["by its timer", "by the server's end"])
def test_what_waits_for_a_thread_at_its_deadline_is_never_started(
    serve, connect, gated, pool, eventually, expired
):
    threads = pool(workers=1)
    running = serve(
        gated,
        executor_for=lambda _i: threads,
        answer_within_s=0.2 if expired == "by its timer" else 60,
        grace_s=60,
    )
    gated.claim_first = True
    first, second = connect(running.port), connect(running.port)
    first.send(checkout("B1", 1))
    assert gated.started.wait(10)
    second.send(checkout("B2", 2))
    eventually(lambda: running.dispatcher.running == 2)
    if expired == "by the server's end":
        running.run(running.dispatcher.expire_all)
    assert second.read().startswith(b"120")
    gated.gate.set()
    assert first.read().startswith(b"121")
    threads.shutdown(wait=True)
    assert [request.get("AB") for request in gated.handled] == ["B1"]


def test_what_was_never_started_may_be_asked_again(serve, connect, gated, pool, eventually):
    threads = pool(workers=1)
    gated.claim_first = True
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60, grace_s=60)
    first, second = connect(running.port), connect(running.port)
    first.send(checkout("B1", 1))
    assert gated.started.wait(10)
    second.send(checkout("B2", 2))
    eventually(lambda: running.dispatcher.running == 2)
    running.run(running.dispatcher.expire_all)
    assert second.read().startswith(b"120")
    gated.gate.set()
    assert first.read().startswith(b"121")
    third = connect(running.port)
    assert third.ask(checkout("B2", 2)).startswith(b"121")


def test_hanging_library_leaves_another_alone(serve, connect, kit, gated, pool):
    pools = {"MAIN": pool(workers=1, queued=0), "TOWN": pool()}
    handler = kit.handler(
        kit.terminal("a", "x"),
        kit.terminal("b", "x", wire=WireProfile()),
    )
    town = handler.terminals["b"] = type(handler.terminals["b"])(
        handler.terminals["b"].terminal_id, "TOWN", password="x"
    )
    handler.gate = gate = threading.Event()
    handler.handle = lambda request, exchange: (
        kit.answer(request) if exchange.terminal is town else gate.wait(30) and kit.answer(request)
    )
    running = serve(
        handler, anonymous=lambda _p: None, executor_for=pools.__getitem__, answer_within_s=60
    )
    one, two = connect(running.port), connect(running.port)
    assert one.ask(login("a", "x")) == b"941\r"
    assert two.ask(login("b", "x")) == b"941\r"
    one.send(checkout())
    assert two.ask(checkout()).startswith(b"121")
    gate.set()
    assert one.read().startswith(b"121")


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────


def test_repeat_on_a_new_connection_is_not_executed_again(serve, connect, kit):
    handler = kit.handler()
    running = serve(handler)
    first = connect(running.port).ask(checkout(sequence=3))
    again = connect(running.port).ask(checkout(sequence=3))
    assert first == again
    assert len(handler.handled) == 1


def test_repeat_joins_the_request_that_still_runs(serve, connect, gated, pool, eventually):
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60)
    first, second = connect(running.port), connect(running.port)
    first.send(checkout(sequence=3))
    assert gated.started.wait(10)
    first.sock.close()
    second.send(checkout(sequence=3))
    eventually(lambda: [len(work.waiters) for work in running.dispatcher._running] == [2])
    gated.gate.set()
    assert second.read().startswith(b"121")
    assert len(gated.handled) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (checkout(), checkout()),
        (checkout(sequence=1), checkout(sequence=2)),
        (patron_status(), patron_status()),
        (frame(f"23019{NOON}AOMAIN|AAP1|AC|AD|", 1), frame(f"23019{NOON}AOMAIN|AAP1|AC|AD|", 1)),
    ],
    ids=["no AY", "another AY", "reads", "reads with AY"],
)
def test_new_requests_are_executed(serve, connect, kit, one, other):
    handler = kit.handler()
    running = serve(handler)
    connect(running.port).ask(one)
    connect(running.port).ask(other)
    assert len(handler.handled) == 2


def test_repeat_of_another_terminal_is_a_new_request(serve, connect, kit):
    handler = kit.handler(kit.terminal("a", "x"), kit.terminal("b", "x"))
    running = serve(handler, anonymous=lambda _peer: None)
    for name in "ab":
        wire = connect(running.port)
        wire.ask(login(name, "x"))
        wire.ask(checkout(sequence=3))
    assert len(handler.handled) == 2


def test_made_up_checksum_does_not_make_a_repeat(serve, connect, kit):
    handler = kit.handler()
    lenient = kit.terminal("desk", wire=WireProfile(checksum=ChecksumPolicy.IGNORE))
    running = serve(handler, anonymous=lambda _peer: lenient)
    raw = checkout()[:-1] + b"AY3AZEDB7\r"
    assert connect(running.port).ask(raw).startswith(b"121")
    assert connect(running.port).ask(raw).startswith(b"121")
    assert len(handler.handled) == 2


# ── login ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=[False, True], ids=["on the loop", "in threads"])
def logins(request, serve, pool, kit):
    def start(handler, **options):
        if request.param:
            threads = pool()
            options["executor_for"] = lambda _institution: threads
        return serve(handler, anonymous=lambda _peer: None, **options)

    return start


def test_login_then_work(logins, connect, kit):
    handler = kit.handler()
    wire = connect(logins(handler).port)
    assert wire.ask(login()) == b"941\r"
    assert handler.logins == [("kiosk1", "secret", "hall", "127.0.0.1")]
    assert wire.ask(checkout()).startswith(b"121")
    assert handler.exchanges[0].terminal is handler.terminals["kiosk1"]


def test_wrong_password(logins, connect, kit):
    wire = connect(logins(kit.handler()).port)
    assert wire.ask(login(password="guess")) == b"940\r"
    assert wire.ask(login()) == b"941\r"


def test_nothing_is_executed_before_login(logins, connect, kit):
    handler = kit.handler()
    wire = connect(logins(handler).port)
    assert wire.ask(checkout()).startswith(b"120")
    assert handler.handled == []


def test_status_before_login(logins, connect, kit):
    wire = connect(logins(kit.handler()).port)
    assert wire.ask(STATUS).startswith(b"98Y")
    assert wire.ask(login()) == b"941\r"


def test_status_before_login_in_the_name_of_a_terminal(logins, connect, kit):
    handler = kit.handler()
    wire = connect(logins(handler, before_login=kit.terminal("greeter")).port)
    assert read_message(wire.ask(STATUS)).get("AO") == "MAIN"
    assert handler.exchanges[0].terminal.terminal_id == "greeter"
    assert wire.ask(checkout()).startswith(b"120")


def test_failing_login_handler_says_no(logins, connect, kit):
    handler = kit.handler()
    handler.log_in = None
    assert connect(logins(handler).port).ask(login()) == b"940\r"


def test_hanging_login_says_no(serve, connect, kit, pool):
    handler, gate = kit.handler(), threading.Event()
    handler.log_in = lambda *_arguments: gate.wait(30) and None
    threads = pool()
    running = serve(
        handler, anonymous=lambda _peer: None, executor_for=lambda _i: threads, answer_within_s=0.05
    )
    assert connect(running.port).ask(login()) == b"940\r"
    gate.set()


def test_login_from_a_wrong_address(logins, connect, kit):
    terminal = kit.terminal(allow_from=(ip_network("10.0.0.0/8"),))
    assert connect(logins(kit.handler(terminal)).port).ask(login()) == b"940\r"


def test_login_from_the_right_address(logins, connect, kit):
    terminal = kit.terminal(allow_from=(ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8")))
    assert connect(logins(kit.handler(terminal)).port).ask(login()) == b"941\r"


def test_third_failure_closes_the_connection(logins, connect, kit):
    wire = connect(logins(kit.handler()).port)
    wire.send(b"".join(login(password=str(n)) for n in range(5)))
    assert [wire.read() for _ in range(3)] == [b"940\r"] * 3
    assert wire.is_closed()


def test_failed_login_is_delayed_also_on_other_connections(serve, connect, kit, eventually):
    handler = kit.handler(kit.terminal(), kit.terminal("kiosk2"))
    running = serve(handler, anonymous=lambda _peer: None, login_delay_s=60)
    guess, honest, other = (connect(running.port) for _ in range(3))
    guess.send(login(password="guess"))
    eventually(lambda: len(handler.logins) == 1)
    honest.send(login())
    eventually(lambda: any(c.is_busy and c._delay_timer for c in running.server._state.open))
    assert other.ask(login("kiosk2", "secret")) == b"941\r"  # another name is not slowed down
    assert [name for name, *_ in handler.logins] == ["kiosk1", "kiosk2"]


def test_delayed_answer_comes(serve, connect, kit):
    wire = connect(serve(kit.handler(), anonymous=lambda _peer: None, login_delay_s=0.01).port)
    assert wire.ask(login(password="guess")) == b"940\r"
    assert wire.ask(login()) == b"941\r"


def test_relogin_as_another_terminal(logins, connect, kit):
    handler = kit.handler(kit.terminal("a", "x"), kit.terminal("b", "x"))
    running = logins(handler)
    wire = connect(running.port)
    assert wire.ask(login("a", "x", 0)).startswith(b"941")
    assert wire.ask(login("b", "x", 1)).startswith(b"941")
    wire.ask(checkout())
    assert handler.exchanges[0].terminal.terminal_id == "b"
    seats = running.server._state.seats
    assert (seats.taken("a"), seats.taken("b")) == (0, 1)


def test_newer_connection_replaces_an_idle_one_of_the_terminal(logins, connect, kit):
    running = logins(kit.handler(), max_per_terminal=1)
    old, new = connect(running.port), connect(running.port)
    assert old.ask(login()) == b"941\r"
    assert new.ask(login()) == b"941\r"
    assert old.is_closed()
    assert new.ask(checkout()).startswith(b"121")


def test_busy_connection_of_the_terminal_is_not_replaced(serve, connect, gated, pool):
    threads = pool()
    running = serve(
        gated,
        anonymous=lambda _peer: None,
        executor_for=lambda _i: threads,
        max_per_terminal=1,
        answer_within_s=60,
    )
    old, new = connect(running.port), connect(running.port)
    assert old.ask(login()) == b"941\r"
    old.send(checkout())
    assert gated.started.wait(10)
    assert new.ask(login()) == b"940\r"
    gated.gate.set()
    assert old.read().startswith(b"121")


# ── caps and time-outs ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cap", ["max_connections", "max_per_address"])
def test_one_connection_too_many(serve, connect, eventually, cap):
    running = serve(**{cap: 2})
    first, second = connect(running.port), connect(running.port)
    first.ask(patron_status())
    second.ask(patron_status())
    assert connect(running.port).is_closed()
    first.sock.close()
    eventually(lambda: running.server.connections == 1)
    assert connect(running.port).ask(patron_status()).startswith(b"24")


def test_listener_allows_some_networks_only(serve, connect):
    assert connect(serve(allow_from=(ip_network("10.0.0.0/8"),)).port).is_closed()
    assert connect(serve(allow_from=(ip_network("127.0.0.0/8"),)).port).ask(STATUS)


def test_idle_connection_is_closed(serve, connect):
    wire = connect(serve(idle_timeout_s=0.05).port)
    wire.ask(patron_status())
    assert wire.is_closed()


def test_running_exchange_is_not_idle(serve, connect, gated, pool, eventually):
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, idle_timeout_s=0.02, answer_within_s=60)
    wire = connect(running.port)
    wire.send(checkout())
    assert gated.started.wait(10)
    connection = next(iter(running.server._state.open))
    first_timer = connection._timer
    eventually(lambda: connection._timer is not first_timer)  # the idle check has come and gone
    gated.gate.set()
    assert wire.read().startswith(b"121")


def test_no_login_in_time(serve, connect):
    wire = connect(serve(anonymous=lambda _peer: None, login_timeout_s=0.05).port)
    assert wire.is_closed()


def test_login_in_time_stays(serve, connect, kit, eventually):
    running = serve(kit.handler(), anonymous=lambda _peer: None, login_timeout_s=1.0)
    wire = connect(running.port)
    wire.ask(login())
    connection = next(iter(running.server._state.open))
    assert connection._login_timer.cancelled()
    assert wire.ask(checkout()).startswith(b"121")


def test_kiosk_that_sends_ahead_is_not_read(serve, connect, gated, pool, eventually):
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60)
    wire = connect(running.port)
    wire.send(checkout())
    assert gated.started.wait(10)
    wire.send(frame(f"23019{NOON}AOMAIN|AA{'x' * MAX_WAITING_BYTES}|") * 2)
    connection = next(iter(running.server._state.open))
    eventually(lambda: connection._reading_paused)
    gated.gate.set()
    assert wire.read().startswith(b"121")
    assert wire.read().startswith(b"24")
    eventually(lambda: not connection._reading_paused)


def test_kiosk_that_does_not_read_is_dropped(serve, connect, kit, eventually):
    handler = kit.handler()
    reply = kit.answer(Message("23", {"language": "019"}, []))
    reply.fields.extend(("AF", "x" * 200) for _ in range(200))
    handler.reply = reply
    running = serve(handler, write_timeout_s=0.05)
    wire = connect(running.port)
    wire.sock.settimeout(30)
    requests = patron_status() * 10

    def send_for_ever():
        for _ in range(100_000):
            wire.send(requests)

    with pytest.raises((ConnectionError, TimeoutError)):
        send_for_ever()
    eventually(lambda: running.server.connections == 0)


def test_frame_without_end_is_dropped(serve, connect):
    wire = connect(serve().port)
    wire.send(b"23" + b"x" * 200_000 + b"\r" + patron_status())
    assert wire.read().startswith(b"24")


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def test_tls(serve, tls_pair):
    server_context, client_context = tls_pair
    running = serve(tls=server_context)
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as plain,
        client_context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(patron_status())
        assert secure.recv(4096).startswith(b"24")


def test_plain_text_on_the_tls_port(serve, connect, tls_pair):
    running = serve(tls=tls_pair[0])
    wire = connect(running.port)
    wire.send(patron_status())
    assert b"24" not in wire.read()


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_stop_answers_what_runs_and_closes_the_idle(serve, connect, gated, pool):
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60)
    busy, idle = connect(running.port), connect(running.port)
    idle.ask(login())
    busy.send(checkout("B1", 1) + checkout("B2", 2))
    assert gated.started.wait(10)
    stopping = running.call_later(running.server.stop(30))
    assert idle.is_closed()
    gated.gate.set()
    assert read_message(busy.read()).get("AB") == "B1"
    assert busy.is_closed()
    stopping.result(30)
    assert [request.get("AB") for request in gated.handled] == ["B1"]
    assert running.server.listeners[0].server.sockets == ()


def test_stop_refuses_what_takes_too_long(serve, connect, gated, pool):
    threads = pool()
    running = serve(gated, executor_for=lambda _i: threads, answer_within_s=60)
    wire = connect(running.port)
    wire.send(checkout())
    assert gated.started.wait(10)
    running.call(running.server.stop(0.05))
    assert wire.read().startswith(b"120")
    assert wire.is_closed()


def test_port_in_use(serve):
    running = serve()
    from connector.sip2.server import Sip2Server

    server = Sip2Server(running.handler)
    with pytest.raises(OSError):
        running.call(server.start("127.0.0.1", running.port))


def test_executor_that_is_shut_down(serve, connect):
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    assert connect(serve(executor_for=lambda _i: closed).port).ask(checkout()).startswith(b"120")


def test_observer_and_log_hold_no_values(serve, connect, log_lines):
    seen = []
    running = serve(observer=lambda *facts: seen.append(facts[:2]))
    connect(running.port).ask(
        frame(f"11NN{NOON}{' ' * 18}AOMAIN|AA440682201305012317|ABB-77|AD4711|")
    )
    running.stop()
    assert seen == [("11", "accepted")]
    out = log_lines.getvalue()
    assert "sip2.exchange_done" in out
    for value in ("440682201305012317", "B-77", "4711", "红楼梦"):
        assert value not in out


# ── anything at all ──────────────────────────────────────────────────────────────────────────────

_FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["AA", "AB", "AD", "AO", "AY", "AZ", "CN", "ZZ", "A|"]),
        st.text(max_size=12).map(lambda text: text.replace("\r", "").replace("\n", "")),
    ),
    max_size=5,
).map(lambda fields: "|".join(tag + value for tag, value in fields))
_LIKE_SIP2 = st.builds(
    lambda code, head, fields: (code + head + fields).encode("utf-8", "replace"),
    st.sampled_from(sorted(SPECS)),
    st.text(alphabet="0123456789YN ", max_size=40),
    _FIELDS,
)
_CHUNKS = st.lists(st.one_of(st.binary(max_size=60), _LIKE_SIP2), max_size=6)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_CHUNKS)
def test_bytes_of_any_kind_leave_the_server_well(fuzzed, chunks):
    """Whatever came before, the connection answers frames that it knows, and the server the next kiosk."""
    connect, running = fuzzed
    wire = connect(running.port)
    with contextlib.suppress(OSError):  # the server may have closed on what it was sent
        for chunk in chunks:
            wire.send(chunk + b"\r")
        wire.sock.shutdown(socket.SHUT_WR)
    answers = {spec.answer for spec in SPECS.values()} | {"96"}
    while raw := wire.read():
        assert raw[:2].decode("ascii") in answers
    wire.sock.close()
    again = connect(running.port)
    assert again.ask(checkout(sequence=1)).startswith(b"121")
    again.sock.close()


@pytest.fixture
def fuzzed(serve, connect):
    return connect, serve(idle_timeout_s=30)


def test_loop_reports_nothing(serve, connect):
    """No callback raises into the loop's exception handler."""
    running = serve()
    reports = []
    running._loop.call_soon_threadsafe(
        running._loop.set_exception_handler, lambda _loop, context: reports.append(context)
    )
    for data in (b"\r\n\x00\xff\xfe|AZ\r", checkout()[:20], b"97\r96\r99\r", STATUS * 3):
        wire = connect(running.port)
        wire.send(data)
        wire.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        wire.sock.close()
    assert connect(running.port).ask(STATUS).startswith(b"98")
    running.stop()
    assert reports == []
