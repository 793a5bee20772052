"""The channel to an ILS that speaks SIP2, on real sockets: every way in which an exchange can go wrong."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.sip2.channel import Sip2Channel
from adapters.sip2.options import ChannelOptions
from connector.errors import (
    AdapterAuthFailed,
    AdapterUnavailable,
    OutcomeUnknown,
    UnsupportedOperation,
)
from connector.sip2.codec import Message, encode
from connector.sip2.terminal import ChecksumPolicy, WireProfile
from tests.support.scripted_ils import SILENCE, ScriptedIls, answer, status, until

CHECKOUT = Message("11", {}, [("AA", "P-4711"), ("AB", "B-0815")])
ITEM = Message("17", {}, [("AB", "B-0815")])
STATUS = Message("99", {"status_code": "0"}, [])


@pytest.fixture
def ils():
    with ScriptedIls() as one:
        yield one


@pytest.fixture
def connect(ils):
    opened = []

    def make(**more):
        options = {"login": "gw", "password": "secret", "answer_s": 5.0, "verdict_s": 0.0} | more
        opened.append(
            Sip2Channel("LIB", ChannelOptions(host="127.0.0.1", port=ils.port, **options))
        )
        return opened[-1]

    yield make
    for channel in opened:
        channel.close()


def checkout(channel, **more):
    return channel.exchange(CHECKOUT, changes=True, **more)


def test_login_status_then_the_request_on_one_connection(ils, connect):
    channel = connect(location="HALL")
    assert checkout(channel).fixed["ok"] == "1"
    assert checkout(channel).fixed["ok"] == "1"
    assert [one.code for one in ils.seen] == ["93", "99", "11", "11"]
    assert [(one.get("CN"), one.get("CO"), one.get("CP")) for one in ils.seen[:1]] == [
        ("gw", "secret", "HALL")
    ]
    assert ils.connections == 1


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({"status": "before_login"}, ["99", "93", "11"]),
        ({"status": "never"}, ["93", "11"]),
        ({"login": ""}, ["99", "11"]),
        ({"login": "", "status": "never"}, ["11"]),
    ],
)
def test_how_a_connection_begins_is_a_setting(ils, connect, options, codes):
    checkout(connect(**options))
    assert [one.code for one in ils.seen] == codes


def test_each_connection_counts_its_own_sequence(ils, connect):
    channel = connect(connections=2)
    both = threading.Barrier(2)

    def meet(request):
        both.wait(5)
        return answer(request, ok="1")

    ils.once("11", meet, meet)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: checkout(channel), range(2)))
    assert ils.connections == 2
    numbers = [raw[-7:-6] for raw in ils.raw if raw.startswith(b"11")]
    assert numbers == [b"2", b"2"]


# -- nothing was sent ------------------------------------------------------------------------------


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    channel = Sip2Channel("LIB", ChannelOptions(host="127.0.0.1", port=port))
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel)
    assert caught.value.code == "no_connection"
    channel.close()


@pytest.mark.parametrize("reply", [None, b"99\r", b"Problems\r"])
def test_a_login_without_an_answer_to_trust(ils, connect, reply):
    ils.once("93", reply)
    channel = connect()
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel)
    assert caught.value.code == "login_unanswered"
    assert ils.counts["11"] == 0
    assert checkout(channel).fixed["ok"] == "1"


def test_a_login_that_hangs_takes_only_its_own_time(ils, connect):
    ils.once("93", SILENCE)
    channel = connect(connect_s=0.2)
    started = time.monotonic()
    with pytest.raises(AdapterUnavailable):
        checkout(channel)
    assert time.monotonic() - started < 2


def test_a_refused_login_is_not_tried_again(ils, connect):
    ils.answers["93"] = lambda request: answer(request, ok="0")
    channel = connect()
    for _ in range(3):
        with pytest.raises(AdapterAuthFailed) as caught:
            checkout(channel)
        assert caught.value.code == "login_refused"
    assert ils.counts == {"93": 1}
    assert channel.statistics.breaker == "open"


def test_a_refused_login_is_tried_again_after_its_time(ils, connect):
    ils.once("93", lambda request: answer(request, ok="0"))
    channel = connect(refused_login_s=0.05)
    with pytest.raises(AdapterAuthFailed):
        checkout(channel)
    time.sleep(0.1)
    assert checkout(channel).fixed["ok"] == "1"


def test_an_ils_that_allows_two_connections_is_content_with_two(ils, connect):
    gate = threading.Event()

    def slow(request):
        gate.wait(5)
        return answer(request, ok="1")

    ils.once("11", slow, slow)
    ils.answers["93"] = lambda request: answer(request, ok="1" if ils.counts["93"] <= 2 else "0")
    channel = connect(connections=4)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(checkout, channel) for _ in range(2)]
        until(lambda: ils.counts["11"] == 2)
        with pytest.raises(AdapterUnavailable) as caught:
            checkout(channel)
        assert caught.value.code == "busy"
        with pytest.raises(AdapterUnavailable):
            checkout(channel, timeout_s=0.1)
        assert ils.counts["93"] == 3
        gate.set()
        assert [one.result(5).fixed["ok"] for one in both] == ["1", "1"]
    assert checkout(channel).fixed["ok"] == "1"
    assert channel.statistics.breaker == "closed"


def test_what_changes_something_is_not_sent_when_the_time_is_nearly_over(ils, connect):
    ils.answers["93"] = lambda request: ils.wait(0.4) or answer(request, ok="1")
    channel = connect()
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel, timeout_s=0.5)
    assert caught.value.code == "busy"
    assert ils.counts["11"] == 0
    assert checkout(channel, timeout_s=0.5).fixed["ok"] == "1"


def test_an_ils_that_says_it_is_off_line_is_asked_nothing(ils, connect):
    ils.once("99", lambda request: status(request, online="N"))
    channel = connect(verdict_s=0.2)
    for _ in range(2):
        with pytest.raises(AdapterUnavailable) as caught:
            checkout(channel)
        assert caught.value.code == "offline"
    assert ils.counts == {"93": 1, "99": 1}
    time.sleep(0.25)
    assert checkout(channel).fixed["ok"] == "1"


def test_96_for_ever_means_that_nothing_was_done(ils, connect):
    ils.once("11", *[b"96AZFEF6\r"] * 4)
    channel = connect()
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel)
    assert caught.value.code == "not_understood"
    assert checkout(channel).fixed["ok"] == "1"


def test_all_connections_are_taken(ils, connect):
    gate = threading.Event()

    def slow(request):
        gate.wait(5)
        return answer(request, ok="1")

    ils.once("11", slow)
    channel = connect(connections=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(checkout, channel)
        until(lambda: ils.counts["11"] == 1)
        with pytest.raises(AdapterUnavailable) as caught:
            checkout(channel, timeout_s=0.1)
        assert caught.value.code == "busy"
        gate.set()
        assert first.result(5).fixed["ok"] == "1"
    assert ils.counts["11"] == 1


def test_who_waits_for_a_connection_gets_it(ils, connect):
    def slow(request):
        ils.wait(0.05)
        return answer(request, ok="1")

    ils.answers["11"] = slow
    channel = connect(connections=1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: checkout(channel), range(4)))
    assert [one.fixed["ok"] for one in answers] == ["1"] * 4
    assert ils.connections == 1


def test_a_message_that_does_not_exist(connect):
    with pytest.raises(UnsupportedOperation):
        connect().exchange(Message("88", {}, []), changes=True)


# -- it was sent, and nobody knows -----------------------------------------------------------------

GARBLED = b"120NUN20261121    120000AOLIB|AA|AB|AJ|AH|AY2AZ0000\r"


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([None], "closed"),
        ([b"121NNY2026112"], "no_answer"),
        ([SILENCE], "no_answer"),
        ([b"Problems handling the request\r"], "unreadable"),
        ([b"36Y20261121    120000AO|AA|\r"], "wrong_pair"),
        ([status], "status_instead"),
        ([lambda request: status(request, online="N")], "status_instead"),
    ],
)
def test_a_checkout_without_an_answer_is_unknown_and_sent_once(ils, connect, replies, code):
    ils.once("11", *replies)
    channel = connect(answer_s=0.5)
    with pytest.raises(OutcomeUnknown) as caught:
        checkout(channel)
    assert ils.counts["11"] == 1
    assert "4711" not in str(caught.value)
    assert caught.value.code == code


@pytest.mark.parametrize("code", ["01", "09", "11", "15", "19", "25", "29", "37", "65", "35", "81"])
def test_nothing_that_changes_something_is_ever_sent_again(ils, connect, code):
    ils.answers[code] = lambda _: None
    channel = connect(profile=WireProfile(dialect="chinese-kiosk"))
    with pytest.raises(OutcomeUnknown):
        channel.exchange(Message(code, {}, [("AA", "P")]), changes=True)
    time.sleep(0.05)
    assert ils.counts[code] == 1


def test_a_bad_checksum_is_asked_for_again_and_not_done_again(ils, connect):
    sent = []

    def damaged(request):
        sent.append(answer(request, ok="1"))
        return GARBLED

    ils.once("11", damaged)
    again = encode(
        Message("12", {"ok": "1"}, []), WireProfile(), sequence="2", error_detection=True
    )
    ils.once("97", again)
    assert checkout(connect()).fixed["ok"] == "1"
    assert ils.counts["11"] == 1


def test_a_96_to_our_97_is_an_unknown_outcome(ils, connect):
    ils.once("11", GARBLED)
    ils.once("97", b"96AZFEF6\r")
    with pytest.raises(OutcomeUnknown) as caught:
        checkout(connect())
    assert caught.value.code == "bad_checksum"
    assert ils.counts["11"] == 1


def test_wrong_checksums_may_be_ignored(ils, connect):
    ils.once("11", GARBLED.replace(b"120", b"121", 1))
    channel = connect(profile=WireProfile(checksum=ChecksumPolicy.IGNORE))
    assert checkout(channel).fixed["ok"] == "1"


def test_a_late_answer_is_never_taken_for_the_next_ones(ils, connect):
    def late(request):
        ils.wait(0.4)
        return answer(request, {"AJ": "the late one"}, ok="1")

    ils.once("11", late)
    channel = connect(connections=1)
    with pytest.raises(OutcomeUnknown):
        checkout(channel, timeout_s=0.2)
    assert checkout(channel).get("AJ") == "红楼梦"
    time.sleep(0.4)
    assert checkout(channel).get("AJ") == "红楼梦"
    assert ils.connections == 2


def test_bytes_that_nobody_asked_for_end_a_connection(ils, connect):
    ils.once("17", lambda _: b"1803000020261121    120000AB|AJ|AY2AZ\r98YY")
    channel = connect(profile=WireProfile(checksum=ChecksumPolicy.IGNORE), connections=1)
    channel.exchange(ITEM, changes=False)
    time.sleep(0.05)
    assert checkout(channel).fixed["ok"] == "1"
    assert ils.connections == 2


def test_the_time_of_a_call_includes_everything(ils, connect):
    ils.answers["93"] = lambda request: ils.wait(0.3) or answer(request, ok="1")
    ils.answers["11"] = lambda _: SILENCE
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        checkout(connect(), timeout_s=0.6)
    assert 0.5 < time.monotonic() - started < 1.0


def test_a_slow_drip_does_not_stretch_the_time(ils, connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                try:
                    for _ in range(100):
                        connection.sendall(b"1")
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        options = ChannelOptions("127.0.0.1", listener.getsockname()[1], status="never")
        channel = Sip2Channel("LIB", options)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            checkout(channel, timeout_s=0.3)
        assert time.monotonic() - started < 1
        channel.close()
        thread.join(10)


# -- reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [None, b"Problems\r", b"36Y20261121    120000AO|AA|\r"])
def test_a_read_is_tried_once_more_on_a_fresh_connection(ils, connect, reply):
    ils.once("17", reply)
    channel = connect()
    assert channel.exchange(ITEM, changes=False).get("AJ") == "红楼梦"
    assert (ils.counts["17"], ils.connections) == (2, 2)


def test_a_read_is_not_tried_a_third_time(ils, connect):
    ils.answers["17"] = lambda _: None
    with pytest.raises(OutcomeUnknown):
        connect().exchange(ITEM, changes=False)
    assert ils.counts["17"] == 2


def test_a_read_that_took_all_its_time_is_not_tried_again(ils, connect):
    ils.answers["17"] = lambda _: SILENCE
    with pytest.raises(OutcomeUnknown):
        connect().exchange(ITEM, timeout_s=0.2, changes=False)
    assert ils.counts["17"] == 1


def test_98_instead_of_a_read_brings_it_again(ils, connect):
    ils.once("17", status)
    assert connect().exchange(ITEM, changes=False).code == "18"


def test_98_with_off_line_instead_of_a_read(ils, connect):
    ils.once("17", lambda request: status(request, online="N"))
    with pytest.raises(AdapterUnavailable) as caught:
        connect().exchange(ITEM, changes=False)
    assert caught.value.code == "offline"


def test_a_fresh_connection_takes_the_place_of_an_idle_one(ils, connect):
    channel = connect(connections=2)
    both = threading.Barrier(2)
    ils.once("11", *[lambda request: (both.wait(5) and None) or answer(request, ok="1")] * 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: checkout(channel), range(2)))
    ils.once("17", None)
    assert channel.exchange(ITEM, changes=False).code == "18"
    assert channel.statistics.connections <= 2


# -- connections -----------------------------------------------------------------------------------


def test_a_connection_that_the_ils_closed_is_replaced_before_anything_is_sent(ils, connect):
    channel = connect()
    checkout(channel)
    ils.cut()
    until(lambda: ils.open == 0)
    assert checkout(channel).fixed["ok"] == "1"
    assert (ils.counts["11"], ils.connections) == (2, 2)


def test_an_idle_connection_is_not_trusted_for_ever(ils, connect):
    channel = connect(max_idle_s=0.05)
    checkout(channel)
    time.sleep(0.1)
    checkout(channel)
    assert ils.connections == 2


def test_the_heartbeat_asks_only_on_idle_connections(ils, connect):
    channel = connect(heartbeat_s=0.2)
    checkout(channel)
    until(lambda: ils.counts["99"] >= 3)
    assert ils.connections == 1
    threads = [one.name for one in threading.enumerate()]
    assert "sip2-LIB-heartbeat" in threads
    channel.close()
    assert "sip2-LIB-heartbeat" not in [one.name for one in threading.enumerate()]


def test_a_connection_that_the_ils_closed_for_idleness_is_no_failure(ils, connect):
    channel = connect(heartbeat_s=0.2, failures=1)
    checkout(channel)
    ils.cut()
    until(lambda: channel.statistics.idle == 0)
    assert channel.statistics.breaker == "closed"


def test_a_busy_connection_has_no_heartbeat(ils, connect):
    channel = connect(heartbeat_s=0.4)
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        checkout(channel)
        time.sleep(0.02)
    assert ils.counts["99"] == 1


def test_no_heartbeat_no_thread(connect):
    checkout(connect(heartbeat_s=0))
    assert "sip2-LIB-heartbeat" not in [one.name for one in threading.enumerate()]


def test_after_the_end_nothing_is_sent(ils, connect):
    channel = connect()
    checkout(channel)
    channel.close()
    channel.close()
    with pytest.raises(AdapterUnavailable):
        checkout(channel)
    assert ils.counts["11"] == 1
    until(lambda: ils.open == 0)


# -- the circuit -----------------------------------------------------------------------------------


def test_failures_in_a_row_open_the_circuit_and_one_probe_closes_it(ils, connect):
    ils.answers["11"] = lambda _: None
    channel = connect(failures=3, open_s=0.2, max_open_s=0.2)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            checkout(channel)
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel)
    assert (caught.value.code, ils.counts["11"]) == ("circuit_open", 3)
    assert 0 < caught.value.retry_after_s <= 0.2
    del ils.answers["11"]
    ils.answers["11"] = lambda request: answer(request, ok="1")
    time.sleep(0.25)
    before = ils.counts["99"]
    assert checkout(channel).fixed["ok"] == "1"
    assert ils.counts["99"] == before + 1
    assert channel.statistics.breaker == "closed"


def test_while_the_probe_is_out_the_others_wait_outside(ils, connect):
    gate = threading.Event()
    ils.answers["93"] = lambda _: None
    channel = connect(failures=1, open_s=0.05, max_open_s=0.05)
    with pytest.raises(AdapterUnavailable):
        checkout(channel)
    time.sleep(0.1)
    ils.answers["93"] = lambda request: gate.wait(5) and answer(request, ok="1")
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(checkout, channel)
        until(lambda: ils.counts["93"] == 2)
        with pytest.raises(AdapterUnavailable) as caught:
            checkout(channel)
        assert caught.value.code == "circuit_open"
        gate.set()
        assert probe.result(5).fixed["ok"] == "1"
    assert checkout(channel).fixed["ok"] == "1"


def test_a_front_end_that_answers_logins_does_not_hide_what_hangs_behind_it(ils, connect):
    ils.answers["11"] = lambda _: SILENCE
    channel = connect(failures=3, open_s=30)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            checkout(channel, timeout_s=0.1)
    with pytest.raises(AdapterUnavailable) as caught:
        checkout(channel)
    assert caught.value.code == "circuit_open"


# -- is it there? ----------------------------------------------------------------------------------


def test_five_hundred_ask_and_the_ils_is_asked_once(ils, connect):
    channel = connect(verdict_s=5)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda _: channel.ping(), range(500)))
    assert ils.counts == {"93": 1, "99": 1 + 1}


def test_traffic_tells_that_it_is_there(ils, connect):
    channel = connect(verdict_s=5)
    checkout(channel)
    channel.ping()
    assert ils.counts["99"] == 1


def test_it_is_asked_again_after_a_failure(ils, connect):
    channel = connect(verdict_s=5)
    checkout(channel)
    ils.once("11", None)
    with pytest.raises(OutcomeUnknown):
        checkout(channel)
    ils.stop()
    with pytest.raises(AdapterUnavailable) as caught:
        channel.ping()
    assert caught.value.code == "no_connection"


def test_a_bad_verdict_holds_for_a_moment_too(ils, connect):
    ils.answers["99"] = lambda request: status(request, online="N")
    channel = connect(verdict_s=0.3)
    for _ in range(5):
        with pytest.raises(AdapterUnavailable) as caught:
            channel.ping()
        assert caught.value.code == "offline"
    assert ils.counts["99"] == 1
    ils.answers["99"] = status
    time.sleep(0.35)
    channel.ping()


def test_a_ping_without_an_answer_is_no_unknown_outcome(ils, connect):
    ils.answers["99"] = lambda _: SILENCE
    with pytest.raises(AdapterUnavailable):
        connect(answer_s=0.2, connect_s=0.1).ping()


def test_a_ping_of_an_ils_without_status(ils, connect):
    channel = connect(status="never")
    channel.ping()
    assert ils.counts == {"93": 1}
    ils.stop()
    with pytest.raises(AdapterUnavailable):
        channel.ping()


def test_the_channel_counts_what_it_does(ils, connect):
    channel = connect()
    checkout(channel)
    ils.once("11", None)
    with pytest.raises(OutcomeUnknown):
        checkout(channel)
    told = channel.statistics
    assert (told.messages["11"].count, told.messages["11"].failed) == (2, 1)
    assert told.messages["11"].seconds > 0
    assert (told.breaker, told.connections, told.idle, told.limit) == ("closed", 0, 0, 4)


def in_trouble(ils):
    """Answer 11, or not, or half, or late, or with a byte too few."""
    dice, lock = random.Random(4), threading.Lock()

    def answer_somehow(request):
        with lock:
            kind = dice.randrange(16)
        told = answer(request, ok="1")
        if kind == 2:
            ils.wait(0.25)
        return {
            0: None,
            1: b"121NNY2026\r",
            3: encode(told, WireProfile())[:-1],
        }.get(kind, told)

    return answer_somehow


def test_under_every_kind_of_trouble_no_answer_is_ever_anothers(ils, connect):
    """Sixteen callers, four connections, one exchange in four goes wrong in some way."""
    ils.answers["11"] = in_trouble(ils)
    ils.answers["97"] = lambda _: b"96AZFEF6\r"
    channel = connect(failures=1000)
    outcomes = []

    def lend(number):
        barcode = f"B{number}"
        message = Message("11", {}, [("AA", "P"), ("AB", barcode)])
        try:
            assert channel.exchange(message, timeout_s=0.2, changes=True).get("AB") == barcode
        except AdapterUnavailable:
            return
        except OutcomeUnknown:
            pass
        outcomes.append(barcode)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(lend, number) for number in range(400)]:
            done.result(30)
    arrived = Counter(one.get("AB") for one in ils.seen if one.code == "11")
    assert set(arrived.values()) == {1}
    assert set(arrived) <= set(outcomes)
    assert len(outcomes) > 100
