"""pysip2, a strict codec by others, reads every legal frame that our encoder sends."""

from __future__ import annotations

import pytest

from connector.sip2.codec import Message, decode, encode
from connector.sip2.spec import STANDARD_SPECS
from connector.sip2.terminal import WireProfile

pysip2 = pytest.importorskip("pysip2", reason="the package pysip2 is not installed")
pytestmark = pytest.mark.interop

NOON = "20261121    120000"
PROFILE = WireProfile(encoding="utf-8")
# Legal values where the defaults of a fixed part would not be: blanks are legal for patron status and summary only.
FIXED = {
    "status_code": "0",
    "max_print_width": "080",
    "language": "019",
    "fee_type": "04",
    "payment_type": "00",
    "currency": "CNY",
    "hold_mode": "+",
    "circulation_status": "03",
    "security_marker": "01",
    "timeout_period": "100",
    "retries_allowed": "003",
}
SHORT = {
    **dict.fromkeys(["BL", "CQ", "BO", "BI", "CI"], "Y"),
    **dict.fromkeys(["BZ", "CA", "CB"], "0008"),
    **dict.fromkeys(["BW", "CJ", "CM"], NOON),
    "BH": "CNY",
    "BT": "04",
    "CK": "001",
    "BY": "2",
    "BX": "Y" * 16,
    "BV": "1.50",
    "CC": "9.00",
    "BP": "1",
    "BQ": "10",
    "CF": "2",
    "BR": "1",
}
# The 3M extension tags are not in its model; it drops what it does not know.
EXTENSIONS = {"CR", "CS", "CT", "CV", "CY", "DA"}


def build(spec, tags):
    fixed = {
        one.name: NOON if one.is_date else FIXED.get(one.name, one.default) for one in spec.fixed
    }
    return Message(spec.code, fixed, [(tag, SHORT.get(tag, f"值{tag}")) for tag in tags])


def text_values(decoded):
    values = []
    for name in decoded.__struct_fields__:
        value = getattr(decoded, name)
        values += value if isinstance(value, tuple) else [value]
    return {str(getattr(value, "value", value)) for value in values}


@pytest.mark.parametrize("tail", [None, "7"], ids=["plain", "AY and AZ"])
@pytest.mark.parametrize("which", ["required", "all"])
@pytest.mark.parametrize("code", sorted(STANDARD_SPECS))
def test_pysip2_reads_every_message(code, which, tail):
    spec = STANDARD_SPECS[code]
    tags = spec.required if which == "required" else (*spec.required, *spec.optional)
    message = build(spec, tags)
    raw = encode(message, PROFILE, sequence=tail, error_detection=tail is not None)
    theirs = pysip2.decode_message(raw, encoding="utf-8")
    dropped = EXTENSIONS | ({"BF"} if code == "10" else set())
    expected = {
        value for tag, value in message.fields if tag not in dropped and value.startswith("值")
    }
    assert expected <= text_values(theirs.message)
    if tail is not None:
        assert theirs.checksum is not None
        assert theirs.sequence_number == (None if code in {"96", "97"} else 7)


@pytest.mark.parametrize("code", sorted(STANDARD_SPECS))
def test_we_read_what_pysip2_writes(code):
    spec = STANDARD_SPECS[code]
    message = build(spec, spec.required)
    theirs = pysip2.decode_message(encode(message, PROFILE), encoding="utf-8").message
    number = None if code in {"96", "97"} else 3
    raw = pysip2.encode_message(theirs, sequence_number=number, checksum=True, encoding="utf-8")
    ours = decode(raw.rstrip(b"\r"), PROFILE)
    assert (ours.code, ours.checksum, ours.problems) == (code, "good", ())
    assert ours.message.fixed == message.fixed
    assert sorted(ours.message.fields) == sorted(message.fields)
