"""Refusals: each of its own pair, complete, and promising nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connector.sip2.codec import Message, decode, encode
from connector.sip2.replies import answer_code, build_refusal
from connector.sip2.spec import SPECS
from connector.sip2.terminal import WireProfile

NOW = datetime(2026, 11, 21, 11, 36, 16, tzinfo=UTC)
ZONE = ZoneInfo("Asia/Shanghai")
REQUESTS = sorted(code for code, spec in SPECS.items() if spec.answer)
GRANTING = (
    "ok",
    "renewal_ok",
    "desensitize",
    "resensitize",
    "payment_accepted",
    "available",
    "item_properties_ok",
    "online",
)


def refusal(code, *fields, text="try again", fixed=None):
    request = Message(code, {**SPECS[code].defaults, **(fixed or {})}, list(fields))
    return build_refusal(request, institution="lib", screen_message=text, now=NOW, zone=ZONE)


@pytest.mark.parametrize("code", REQUESTS)
def test_every_request_is_refused_in_its_pair_with_every_required_field(code):
    reply = refusal(code, ("AO", ""), ("AA", "c1"), ("AB", "b1"), ("AD", "1"))
    spec = SPECS[answer_code(code)]
    assert reply.code == spec.code
    assert spec.required_set <= {tag for tag, _ in reply.fields}
    assert {tag for tag, _ in reply.fields} <= spec.tags
    assert all(reply.fixed.get(name, "N") in {"N", "0"} for name in GRANTING)
    assert reply.fixed.get("transaction_date", "20261121    193616") == "20261121    193616"
    assert reply.has("AF") is ("AF" in spec.tags)
    profile = WireProfile(dialect="chinese-kiosk")
    frame = decode(encode(reply, profile)[:-1], profile)
    assert frame.problems == ()
    assert frame.message.fixed == reply.fixed


def test_what_was_sent_goes_back():
    reply = refusal("11", ("AO", "their"), ("AA", "c1"), ("AB", "b1"))
    assert reply.fields == [
        ("AO", "their"),
        ("AA", "c1"),
        ("AB", "b1"),
        ("AJ", ""),
        ("AH", ""),
        ("AF", "try again"),
    ]
    assert refusal("17").get("AB") == ""
    assert refusal("35").get("AO") == "lib"


def test_a_patron_is_neither_valid_nor_free():
    reply = refusal("63", ("AD", "1"), fixed={"language": "019"})
    assert (reply.get("BL"), reply.get("CQ"), reply.fixed["language"]) == ("N", "N", "019")
    assert reply.fixed["patron_status"] == "YYYY          "
    assert not refusal("63").has("CQ")
    assert refusal("25").fixed["language"] == "000"


def test_special_cases():
    assert refusal("35").fixed["end_session"] == "Y"
    assert refusal("93").fields == []
    assert refusal("81").get("OK") == "0"
    assert refusal("91").get("AC") == "1"
    assert not refusal("17", text="").has("AF")


def test_what_has_no_answer():
    assert [answer_code(code) for code in ("97", "96", "12", "00", "")] == [None] * 5
    with pytest.raises(KeyError):
        build_refusal(Message("12"), institution="", screen_message="", now=NOW, zone=ZONE)
