"""The client against our server, and against servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from connector.errors import LocalProtocolError, RemoteProtocolError
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, decode, encode
from connector.sip2.terminal import ChecksumPolicy, WireProfile

STATUS = Message("99", {"status_code": "0", "max_print_width": "080"}, [])


@pytest.fixture
def script():
    """Start a server that answers each received frame with the next bytes of a list, then closes.

    A callable gets the received frame. The frames that it saw are in ``seen``.
    """
    threads, listeners = [], []

    class Script:
        def __init__(self, *answers, keep_open=False):
            self.seen = []
            self._answers = answers
            self._keep_open = keep_open
            self.done = threading.Event()
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
            listeners.append((self._listener, self.done))
            thread = threading.Thread(target=self._run)
            threads.append(thread)
            thread.start()

        def _run(self):
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(10)
                    for answer in self._answers:
                        data = b""
                        while not data.endswith(b"\r"):
                            data += connection.recv(1)
                        self.seen.append(data)
                        connection.sendall(answer(data) if callable(answer) else answer)
                    if self._keep_open:
                        self.done.wait(10)

    yield Script
    for listener, done in listeners:
        done.set()
        listener.close()
    for thread in threads:
        thread.join(15)


def status_reply(request):
    """A good 98 with the sequence of the request."""
    frame = decode(request.rstrip(b"\r"), WireProfile())
    return encode(
        Message("98", {"online": "Y"}, [("AO", "MAIN"), ("BX", "Y" * 16)]),
        WireProfile(),
        sequence=frame.sequence,
        error_detection=frame.sequence is not None,
    )


def open_client(port, **more):
    return Sip2Client("127.0.0.1", port, **more)


def test_login_and_exchange(serve, kit):
    running = serve(kit.handler(), anonymous=lambda _peer: None)
    with open_client(running.port) as client:
        assert client.login("kiosk1", "guess") is False
        assert client.login("kiosk1", "secret", "hall") is True
        assert client.exchange(STATUS).code == "98"
    assert running.handler.logins[-1] == ("kiosk1", "secret", "hall", "127.0.0.1")


def test_sequence_goes_round(script):
    server = script(*[status_reply] * 11)
    with open_client(server.port) as client:
        for _ in range(11):
            assert client.exchange(STATUS).get("AO") == "MAIN"
    sequences = [decode(raw.rstrip(b"\r"), WireProfile()).sequence for raw in server.seen]
    assert sequences == [*"0123456789", "0"]


def test_without_error_detection(script):
    server = script(status_reply)
    with open_client(server.port, profile=WireProfile(error_detection="never")) as client:
        assert client.exchange(STATUS).code == "98"
    assert b"AY" not in server.seen[0]
    assert b"AZ" not in server.seen[0]


def test_chinese_in_gb18030(serve, kit):
    profile = WireProfile(encoding="gb18030")
    running = serve(anonymous=lambda _peer: kit.terminal(wire=profile))
    checkout = Message("11", {}, [("AO", "MAIN"), ("AA", "東瑋"), ("AB", "B1")])
    with open_client(running.port, profile=profile) as client:
        reply = client.exchange(checkout)
    assert (reply.get("AA"), reply.get("AJ")) == ("東瑋", "红楼梦")


def test_tls(serve, tls_pair):
    running = serve(tls=tls_pair[0])
    with open_client(running.port, tls=tls_pair[1], server_hostname="localhost") as client:
        assert client.is_open
        assert client.exchange(STATUS).code == "98"


def test_tls_with_a_wrong_name(tls_pair):
    def accept(listener):
        with contextlib.suppress(OSError):
            plain, _ = listener.accept()
            with tls_pair[0].wrap_socket(plain, server_side=True) as secure:
                secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        with pytest.raises(OSError, match="certificate"):
            open_client(
                listener.getsockname()[1], tls=tls_pair[1], server_hostname="library.example"
            )
        thread.join(10)


def test_96_makes_it_send_the_same_again(script):
    server = script(b"96AZFEF6\r", b"96AZFEF6\r", status_reply)
    with open_client(server.port) as client:
        assert client.exchange(STATUS).code == "98"
    assert len(set(server.seen)) == 1


def test_96_for_ever(script):
    server = script(*[b"96AZFEF6\r"] * 4)
    with (
        open_client(server.port) as client,
        pytest.raises(RemoteProtocolError, match="not_understood"),
    ):
        client.exchange(STATUS)
    assert len(server.seen) == 4


def test_bad_checksum_brings_97_not_the_request(script):
    first = []

    def damaged(raw):
        first.append(raw)
        return status_reply(raw)[:-5] + b"0000\r"

    server = script(damaged, lambda _raw: status_reply(first[0]))
    with open_client(server.port) as client:
        assert client.exchange(STATUS).code == "98"
    assert server.seen[1] == b"97AZFEF5\r"


def test_an_answer_that_lost_its_checksum_is_asked_for_again(script):
    server = script(status_reply, b"98Y\r", b"98YYYYNN60000320261121    1200002.00AOAGAIN|BXY|\r")
    with open_client(server.port) as client:
        client.exchange(STATUS)
        assert client.exchange(STATUS).get("AO") == "AGAIN"
    assert [raw[:2] for raw in server.seen] == [b"99", b"99", b"97"]


def test_a_server_without_checksums_is_taken_as_it_is(script):
    server = script(*[b"98YYYYNN60000320261121    1200002.00AOMAIN|BXY|\r"] * 2)
    with open_client(server.port) as client:
        for _ in range(2):
            assert client.exchange(STATUS).get("AO") == "MAIN"


def test_96_in_answer_to_97_does_not_bring_the_request_again(script):
    server = script(lambda raw: status_reply(raw)[:-5] + b"0000\r", b"96AZFEF6\r", keep_open=True)
    with (
        open_client(server.port) as client,
        pytest.raises(RemoteProtocolError, match="bad_checksum"),
    ):
        client.exchange(STATUS)
    assert [raw[:2] for raw in server.seen] == [b"99", b"97"]


def test_answer_to_97_may_have_another_number(script):
    again = encode(
        Message("98", {}, [("AO", "AGAIN")]), WireProfile(), sequence="7", error_detection=True
    )
    server = script(lambda raw: status_reply(raw)[:-5] + b"0000\r", again)
    with open_client(server.port) as client:
        assert client.exchange(STATUS).get("AO") == "AGAIN"


def test_a_connection_is_quiet_only_without_bytes_that_nobody_asked_for(script, eventually):
    server = script(lambda raw: status_reply(raw) + b"\n", lambda raw: status_reply(raw) + b"98Y")
    with open_client(server.port) as client:
        client.exchange(STATUS)
        assert client.is_quiet
        client.exchange(STATUS)
        eventually(lambda: not client.is_quiet)
        assert not client.is_quiet


def test_a_quiet_connection_over_tls(serve, tls_pair):
    running = serve(tls=tls_pair[0])
    with open_client(running.port, tls=tls_pair[1], server_hostname="localhost") as client:
        assert client.is_quiet
        assert client.exchange(STATUS).code == "98"
        assert client.is_quiet


def test_one_exchange_may_have_its_own_time(script):
    server = script(b"98Y", keep_open=True)
    with open_client(server.port, timeout_s=30) as client, pytest.raises(TimeoutError):
        client.exchange(STATUS, timeout_s=0.1)


def test_bad_checksums_for_ever(script):
    server = script(*[b"98YYYYNN60000320261121    1200002.00AOX|BXY|AY0AZ0000\r"] * 4)
    with (
        open_client(server.port) as client,
        pytest.raises(RemoteProtocolError, match="bad_checksum"),
    ):
        client.exchange(STATUS)


def test_bad_checksum_may_be_ignored(script):
    server = script(lambda raw: status_reply(raw)[:-5] + b"0000\r")
    profile = WireProfile(checksum=ChecksumPolicy.IGNORE)
    with open_client(server.port, profile=profile) as client:
        assert client.exchange(STATUS).code == "98"


def test_answer_to_an_earlier_message_is_passed_over(script):
    old = encode(
        Message("98", {}, [("AO", "OLD")]), WireProfile(), sequence="7", error_detection=True
    )
    server = script(lambda raw: old + status_reply(raw))
    with open_client(server.port) as client:
        assert client.exchange(STATUS).get("AO") == "MAIN"


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        ("11", [("AA", "S1"), ("AB", "B1")], [("AA", "S1"), ("AB", "B2")]),
        ("17", [("AB", "B1")], [("AB", "B2")]),
        ("63", [("AA", "S1")], [("AA", "S2")]),
    ],
)
def test_an_answer_without_a_number_that_is_about_the_request_before(script, code, first, second):
    """The server answers the first request twice: what comes then is one answer behind."""
    answers = {"11": ("12", {"ok": "1"}), "17": ("18", {}), "63": ("64", {})}
    pair, fixed = answers[code]
    profile = WireProfile(error_detection="never")
    late = encode(Message(pair, fixed, [("AA", "S1"), *first]), profile)
    server = script(late, late)
    with open_client(server.port, profile=profile) as client:
        assert client.exchange(Message(code, {}, first)).code == pair
        with pytest.raises(RemoteProtocolError, match="wrong_pair"):
            client.exchange(Message(code, {}, second))
        assert not client.is_open


def test_an_answer_that_names_an_item_otherwise_is_an_answer(script):
    profile = WireProfile(error_detection="never")
    said = [encode(Message("18", {}, [("AB", own)]), profile) for own in ("0001", "0002", "0002")]
    with open_client(script(*said).port, profile=profile) as client:
        for scanned in ("1", "2", "2"):
            assert client.exchange(Message("17", {}, [("AB", scanned)])).code == "18"


def test_answer_in_pieces_with_crlf(script):
    server = script(lambda raw: b"\r\n" + status_reply(raw) + b"\n")
    with open_client(server.port) as client:
        assert client.exchange(STATUS).code == "98"


def test_answer_of_another_pair(script):
    server = script(lambda raw: status_reply(raw).replace(b"98", b"36", 1))
    profile = WireProfile(checksum=ChecksumPolicy.IGNORE)
    with open_client(server.port, profile=profile) as client:
        with pytest.raises(RemoteProtocolError, match="wrong_pair"):
            client.exchange(STATUS)
        assert not client.is_open


def test_answer_that_is_no_message(script):
    server = script(b"Problems handling the request:\r")
    with open_client(server.port) as client, pytest.raises(RemoteProtocolError, match="unreadable"):
        client.exchange(STATUS)


@pytest.mark.parametrize(
    "answer", [b"12\r", b"12 \r", b"12AO|AA|AB|AJ|AH|\r", b"12UNUN20261121    120000AO|\r"]
)
def test_an_answer_without_yes_or_no_is_no_no(script, answer):
    server = script(answer)
    with open_client(server.port) as client, pytest.raises(RemoteProtocolError, match="unreadable"):
        client.exchange(Message("11", {}, [("AA", "P"), ("AB", "B")]))


def test_98_may_answer_anything(script):
    server = script(status_reply)
    with open_client(server.port) as client:
        assert client.exchange(Message("17", {}, [("AB", "B1")])).code == "98"


def test_closed_before_the_answer(script):
    server = script(b"")
    with open_client(server.port) as client, pytest.raises(RemoteProtocolError, match="closed"):
        client.exchange(STATUS)


def test_no_answer_in_time(script):
    server = script(b"98Y", keep_open=True)
    with open_client(server.port, timeout_s=0.1) as client:
        with pytest.raises(TimeoutError):
            client.exchange(STATUS)
        with pytest.raises(LocalProtocolError, match="connection_closed"):
            client.exchange(STATUS)


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        open_client(port)


def test_connection_that_the_server_closed_is_not_open(script, eventually):
    server = script(status_reply)
    with open_client(server.port) as client:
        client.exchange(STATUS)
        eventually(lambda: not client.is_open)


def test_raw_bytes(serve):
    with open_client(serve().port) as client:
        assert client.exchange_raw(b"9900802.00").startswith(b"98")
        assert client.exchange_raw(b"9900802.00\r").startswith(b"98")


def test_close_twice(serve):
    client = open_client(serve().port)
    client.close()
    client.close()
    assert not client.is_open


def test_errors_hold_no_values(script):
    server = script(b"64 AESECRET|\r")
    with open_client(server.port) as client, pytest.raises(RemoteProtocolError) as caught:
        client.exchange(Message("23", {}, [("AA", "4711")]))
    assert "SECRET" not in str(caught.value)
    assert "4711" not in repr(caught.value)
