"""pysip2, a strict codec by others, reads every answer that the gateway gives, yes or no."""

from __future__ import annotations

import pytest

from connector.sip2.codec import Message, encode
from connector.sip2.terminal import WireProfile
from tests.support.shelf import Shelf

pysip2 = pytest.importorskip("pysip2", reason="the package pysip2 is not installed")
pytestmark = pytest.mark.interop

BLANK = " " * 10
CARD, ITEM = ("AA", "S1"), ("AB", "B1")
NOBODY, NOTHING = ("AA", "NOBODY"), ("AB", "NOTHING")
CODES = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}
VISIT = [
    ("99", {"status_code": "0", "protocol_version": "2.00"}, ()),
    ("23", {"language": "019"}, (CARD, ("AD", "2468"))),
    ("23", {"language": "019"}, (NOBODY,)),
    ("63", {"language": "019", "summary": "  Y       "}, (CARD,)),
    ("63", {"language": "019", "summary": BLANK}, (NOBODY,)),
    ("17", {}, (ITEM,)),
    ("17", {}, (NOTHING,)),
    ("11", {"sc_renewal_policy": "N", "no_block": "N"}, (CARD, ITEM)),
    ("11", {"sc_renewal_policy": "N", "no_block": "N"}, (CARD, NOTHING)),
    ("11", {"sc_renewal_policy": "N", "no_block": "N"}, (NOBODY, ITEM)),
    ("63", {"language": "019", "summary": "  Y       "}, (CARD,)),
    ("29", {"third_party_allowed": "N", "no_block": "N"}, (CARD, ITEM)),
    ("29", {"third_party_allowed": "N", "no_block": "N"}, (CARD, ITEM)),
    ("65", {}, (CARD,)),
    ("15", {"hold_mode": "+"}, (("AA", "S2"), ITEM)),
    ("15", {"hold_mode": "-"}, (("AA", "S2"), ("AB", "B3"))),
    ("37", CODES, (CARD, ("BV", "1.00"), ("BK", "T1"))),
    ("37", CODES, (NOBODY, ("BV", "1.00"))),
    ("19", {}, (ITEM, ("CH", "torn"))),
    ("09", {"no_block": "N"}, (("AP", "hall"), ITEM)),
    ("09", {"no_block": "N"}, (("AP", "hall"), NOTHING)),
    ("01", {"card_retained": "N"}, (("AL", "left"), CARD)),
    ("25", {}, (CARD,)),
    ("35", {}, (CARD,)),
]


def test_every_answer_is_legal_to_others(shelf: Shelf) -> None:
    wire = WireProfile()
    seen = set()
    for number, (code, fixed, fields) in enumerate(VISIT):
        dated = {"transaction_date": shelf.kiosk.stamp(), "return_date": shelf.kiosk.stamp()}
        request = Message(code, {**dated, **fixed}, [("AO", "FDX"), *fields])
        frame = encode(request, wire, sequence=str(number % 10), error_detection=True)
        raw = shelf.kiosk.client.exchange_raw(frame)
        theirs = pysip2.decode_message(raw.rstrip(b"\r") + b"\r", encoding="utf-8")
        assert theirs.sequence_number == number % 10, code
        assert theirs.checksum is not None, code
        seen.add(raw[:2].decode())
    assert seen == {"98", "24", "64", "18", "12", "30", "66", "16", "38", "20", "10", "26", "36"}
