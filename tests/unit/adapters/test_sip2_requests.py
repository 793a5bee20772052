"""Requests to an ILS: our own values, the terminal's in between, dates and identity as it wants them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from adapters.sip2.dates import Dates
from adapters.sip2.requests import RequestRules, Requests
from connector.domain.wire import WireMessage
from connector.ports.ils import ExchangeContext

AT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
KIOSK = WireMessage(
    "11",
    {
        "sc_renewal_policy": "Y",
        "no_block": "N",
        "transaction_date": "20261121    120000",
        "nb_due_date": "20261221    235959",
    },
    (
        ("AO", "KIOSK-AO"),
        ("AA", "scanned"),
        ("XA", "one"),
        ("AB", "scanned-too"),
        ("AC", "kiosk-secret"),
        ("XA", "two"),
        ("AD", "kiosk-pin"),
    ),
)
RULES = RequestRules("LIB", location="HALL", language="019")


def requests(style="local", **rules):
    return Requests(replace(RULES, **rules), Dates(ZoneInfo("Asia/Shanghai"), style=style))


def context(**more):
    return ExchangeContext(at=AT, **more)


def test_without_a_terminal_there_is_only_ours():
    message = requests().build("17", AT, values={"AB": "B1"})
    assert message.fixed == {"transaction_date": "20261121    120000"}
    assert message.fields == [("AO", "LIB"), ("AB", "B1")]


def test_the_language_of_questions_is_a_setting():
    assert requests().build("63", AT).fixed["language"] == "019"


def test_what_means_nothing_to_us_goes_on_in_its_place():
    message = requests().build(
        "11", AT, context=context(request=KIOSK), values={"AA": "CARD", "AB": "B1"}
    )
    assert message.fixed["sc_renewal_policy"] == "Y"
    assert message.fields == [
        ("AO", "LIB"),
        ("AA", "CARD"),
        ("XA", "one"),
        ("AB", "B1"),
        ("XA", "two"),
    ]


def test_a_terminals_message_of_another_code_is_no_base():
    message = requests().build("29", AT, context=context(request=KIOSK), values={"AA": "CARD"})
    assert ("XA", "one") not in message.fields


def test_a_terminals_passwords_stay_here():
    text = str(requests().build("11", AT, context=context(request=KIOSK)).fields)
    assert "kiosk-secret" not in text
    assert "kiosk-pin" not in text


def test_the_pin_and_our_own_password_go_on():
    message = requests(terminal_password="ils-secret").build("63", AT, pin="1234")
    assert (message.get("AC"), message.get("AD")) == ("ils-secret", "1234")
    assert not requests(sends_pin=False).build("63", AT, pin="1234").has("AD")
    assert not requests().build("63", AT).has("AD")


def test_institution_may_be_echoed():
    echo = requests(echo_institution=True)
    assert echo.build("11", AT, context=context(request=KIOSK)).get("AO") == "KIOSK-AO"
    assert echo.build("11", AT).get("AO") == "LIB"


@pytest.mark.parametrize(
    ("style", "due"),
    [
        ("local", "20261221    235959"),
        ("zeros", "202612210000235959"),
        ("utc", "20261221   Z155959"),
    ],
)
def test_a_terminals_dates_are_written_as_the_ils_wants_them(style, due):
    message = requests(style).build("11", AT, context=context(request=KIOSK))
    assert message.fixed["nb_due_date"] == due


def test_the_location_of_the_terminal_wins():
    assert requests().location_of(context(location="BRANCH")) == "BRANCH"
    assert requests().location_of(context()) == "HALL"


def test_a_message_handed_on_keeps_its_order_and_repeats():
    message = WireMessage(
        "63",
        {"language": "001", "transaction_date": "20261121    120000", "summary": "Y" + " " * 9},
        (("ZZ", "1"), ("AA", "X"), ("AO", "K"), ("ZZ", "2"), ("AC", "s"), ("AD", "1234")),
    )
    sent = requests("zeros").adapt(message, context())
    assert sent.fixed["summary"] == "Y" + " " * 9
    assert sent.fixed["transaction_date"] == "202611210000120000"
    assert sent.fields == [("ZZ", "1"), ("AA", "X"), ("AO", "LIB"), ("ZZ", "2"), ("AD", "1234")]


def test_a_checkin_handed_on_gets_its_place():
    message = WireMessage("09", {"no_block": "N"}, (("AP", "elsewhere"), ("AB", "B1")))
    assert requests().adapt(message, context(location="BRANCH")).get("AP") == "BRANCH"
    assert requests(location="").adapt(message, context()).get("AP") == "elsewhere"


def test_a_status_handed_on_gets_no_institution():
    assert requests().adapt(WireMessage("99", {"status_code": "1"}), context()).fields == []
