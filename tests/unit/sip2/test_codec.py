"""The codec as tables: legal frames of every message, and the dirty ones that kiosks were seen to send."""

from __future__ import annotations

import pysip2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.patron import PatronFlag
from connector.errors import LocalProtocolError
from connector.sip2.codec import (
    Checksum,
    Message,
    checksum,
    decode,
    encode,
    format_patron_status,
)
from connector.sip2.framing import FrameBuffer
from connector.sip2.spec import SPECS, STANDARD_SPECS
from connector.sip2.terminal import WireProfile

PLAIN = WireProfile()
GBK = WireProfile(encoding="gb18030")
KIOSK = WireProfile(dialect="chinese-kiosk")
D = "20261121    193616"
E = "20261221    193616"
NONE = " " * 18


def seal(text: str, number: int = 1, encoding: str = "utf-8") -> bytes:
    body = f"{text}AY{number}AZ".encode(encoding)
    return body + checksum(body)


# (id, frame without error detection, fixed part, fields); every one is also built back byte for byte.
LEGAL = [
    (
        "23",
        f"23001{D}AOlib|AAc1|AC|AD1|",
        {"language": "001", "transaction_date": D},
        "AO=lib AA=c1 AC= AD=1",
    ),
    (
        "11",
        f"11YN{D}{E}AOlib|AAc1|ABb1|AC|BON|",
        {"sc_renewal_policy": "Y", "no_block": "N", "transaction_date": D, "nb_due_date": E},
        "AO=lib AA=c1 AB=b1 AC= BO=N",
    ),
    (
        "11-blank-due-date",
        f"11NN{D}{NONE}AOlib|AAc1|ABb1|AC|",
        {"sc_renewal_policy": "N", "no_block": "N", "transaction_date": D, "nb_due_date": NONE},
        "AO=lib AA=c1 AB=b1 AC=",
    ),
    (
        "09",
        f"09N{D}{E}APhall|AOlib|ABb1|AC|",
        {"no_block": "N", "transaction_date": D, "return_date": E},
        "AP=hall AO=lib AB=b1 AC=",
    ),
    (
        "01",
        f"01Y{D}AOlib|ALlost|AAc1|AC|",
        {"card_retained": "Y", "transaction_date": D},
        "AO=lib AL=lost AA=c1 AC=",
    ),
    (
        "99",
        "9900802.00",
        {"status_code": "0", "max_print_width": "080", "protocol_version": "2.00"},
        "",
    ),
    ("97", "97", {}, ""),
    (
        "93",
        "9300CNme|COpw|CPhall|",
        {"uid_algorithm": "0", "pwd_algorithm": "0"},
        "CN=me CO=pw CP=hall",
    ),
    (
        "93-blank-algorithms",
        "93  CNme|COpw|",
        {"uid_algorithm": " ", "pwd_algorithm": " "},
        "CN=me CO=pw",
    ),
    (
        "63",
        f"63019{D}  Y       AOlib|AAc1|BP1|BQ5|",
        {"language": "019", "transaction_date": D, "summary": "  Y       "},
        "AO=lib AA=c1 BP=1 BQ=5",
    ),
    ("35", f"35{D}AOlib|AAc1|", {"transaction_date": D}, "AO=lib AA=c1"),
    (
        "37",
        f"37{D}0100CNYBV2.50|AOlib|AAc1|",
        {"transaction_date": D, "fee_type": "01", "payment_type": "00", "currency": "CNY"},
        "BV=2.50 AO=lib AA=c1",
    ),
    ("17", f"17{D}AOlib|ABb1|", {"transaction_date": D}, "AO=lib AB=b1"),
    ("19", f"19{D}AOlib|ABb1|CHnew|", {"transaction_date": D}, "AO=lib AB=b1 CH=new"),
    ("25", f"25{D}AOlib|AAc1|", {"transaction_date": D}, "AO=lib AA=c1"),
    (
        "15",
        f"15+{D}AOlib|AAc1|BY2|ABb1|",
        {"hold_mode": "+", "transaction_date": D},
        "AO=lib AA=c1 BY=2 AB=b1",
    ),
    (
        "29",
        f"29NN{D}{NONE}AOlib|AAc1|ABb1|",
        {"third_party_allowed": "N", "no_block": "N", "transaction_date": D, "nb_due_date": NONE},
        "AO=lib AA=c1 AB=b1",
    ),
    ("65", f"65{D}AOlib|AAc1|", {"transaction_date": D}, "AO=lib AA=c1"),
    (
        "24",
        f"24YYYY          019{D}AOlib|AAc1|AE张*|BLN|AFno|AFreally no|",
        {"patron_status": "YYYY          ", "language": "019", "transaction_date": D},
        "AO=lib AA=c1 AE=张* BL=N AF=no AF=really_no",
    ),
    (
        "12",
        f"121NNY{D}AOlib|AAc1|ABb1|AJ红楼梦|AH20261221|CK001|",
        {"ok": "1", "renewal_ok": "N", "magnetic": "N", "desensitize": "Y", "transaction_date": D},
        "AO=lib AA=c1 AB=b1 AJ=红楼梦 AH=20261221 CK=001",
    ),
    (
        "10-extensions",
        f"101YNY{D}AOlib|ABb1|AQmain|AAc1|CRlocal|CSI247|CTmain|CV02|CYc9|DA李*|",
        {"ok": "1", "resensitize": "Y", "magnetic": "N", "alert": "Y", "transaction_date": D},
        "AO=lib AB=b1 AQ=main AA=c1 CR=local CS=I247 CT=main CV=02 CY=c9 DA=李*",
    ),
    (
        "98",
        f"98YYYYNN600003{D}2.00AOlib|BXYYYYYYYYYYYNNNYY|AMlibrary|",
        {
            "online": "Y",
            "checkin_ok": "Y",
            "checkout_ok": "Y",
            "acs_renewal_policy": "Y",
            "status_update_ok": "N",
            "offline_ok": "N",
            "timeout_period": "600",
            "retries_allowed": "003",
            "date_time_sync": D,
            "protocol_version": "2.00",
        },
        "AO=lib BX=YYYYYYYYYYYNNNYY AM=library",
    ),
    ("96", "96", {}, ""),
    ("94", "941", {"ok": "1"}, ""),
    (
        "64-repeats-and-unknown",
        f"64              001{D}000000020000000100000000AOlib|AAc1|AEname|BLY|AUb1|AUb2|AVfee|AFhi|PA20310101|ZZx|PA2|",
        {
            "patron_status": " " * 14,
            "language": "001",
            "transaction_date": D,
            "hold_count": "0000",
            "overdue_count": "0002",
            "charged_count": "0000",
            "fine_count": "0001",
            "recall_count": "0000",
            "unavailable_hold_count": "0000",
        },
        "AO=lib AA=c1 AE=name BL=Y AU=b1 AU=b2 AV=fee AF=hi PA=20310101 ZZ=x PA=2",
    ),
    ("36", f"36Y{D}AOlib|AAc1|", {"end_session": "Y", "transaction_date": D}, "AO=lib AA=c1"),
    (
        "38",
        f"38N{D}AOlib|AAc1|AFno|",
        {"payment_accepted": "N", "transaction_date": D},
        "AO=lib AA=c1 AF=no",
    ),
    (
        "18",
        f"18030001{D}ABb1|AJtitle|CF0|CK001|AQmain|",
        {
            "circulation_status": "03",
            "security_marker": "00",
            "fee_type": "01",
            "transaction_date": D,
        },
        "AB=b1 AJ=title CF=0 CK=001 AQ=main",
    ),
    (
        "20",
        f"201{D}ABb1|AJtitle|",
        {"item_properties_ok": "1", "transaction_date": D},
        "AB=b1 AJ=title",
    ),
    (
        "26",
        f"26              001{D}AOlib|AAc1|AEname|",
        {"patron_status": " " * 14, "language": "001", "transaction_date": D},
        "AO=lib AA=c1 AE=name",
    ),
    (
        "16",
        f"161Y{D}AOlib|AAc1|BR1|",
        {"ok": "1", "available": "Y", "transaction_date": D},
        "AO=lib AA=c1 BR=1",
    ),
    (
        "30",
        f"300NUN{D}AOlib|AAc1|ABb1|AJ|AH|AFno|",
        {"ok": "0", "renewal_ok": "N", "magnetic": "U", "desensitize": "N", "transaction_date": D},
        "AO=lib AA=c1 AB=b1 AJ= AH= AF=no",
    ),
    (
        "66",
        f"66100020001{D}AOlib|BMb1|BMb2|BNb3|",
        {"ok": "1", "renewed_count": "0002", "unrenewed_count": "0001", "transaction_date": D},
        "AO=lib BM=b1 BM=b2 BN=b3",
    ),
]


def fields_of(text: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=")[::2] for part in text.split()]
    return [(tag, value.replace("_", " ")) for tag, value in pairs]


def test_the_table_has_every_message_of_the_standard():
    assert {name[:2] for name, *_ in LEGAL} == set(STANDARD_SPECS)


@pytest.mark.parametrize(
    ("text", "fixed", "fields"), [case[1:] for case in LEGAL], ids=[case[0] for case in LEGAL]
)
@pytest.mark.parametrize("profile", [PLAIN, GBK], ids=["utf-8", "gb18030"])
def test_a_legal_frame_says_what_it_says_and_is_built_back(text, fixed, fields, profile):
    message = Message(text[:2], fixed, fields_of(fields))
    bare = text.encode(profile.encoding)
    if text[:2] in {"96", "97"}:
        sealed = bare + b"AZ" + checksum(bare + b"AZ")
        number = None
    else:
        sealed = seal(text, 3, profile.encoding)
        number = "3"
    for raw, verdict, sequence in ((bare, Checksum.ABSENT, None), (sealed, Checksum.GOOD, number)):
        frame = decode(raw, profile)
        assert frame.message == message
        assert (frame.code, frame.checksum, frame.sequence, frame.problems) == (
            text[:2],
            verdict,
            sequence,
            (),
        )
        assert frame.error_detection is (verdict is Checksum.GOOD)
        built = encode(message, profile, sequence=sequence, error_detection=frame.error_detection)
        if text[:2] != "23" and SPECS[text[:2]].required_set <= {tag for tag, _ in message.fields}:
            assert built == raw + b"\r"


@pytest.mark.parametrize("text", [case[1] for case in LEGAL], ids=[case[0] for case in LEGAL])
def test_a_frame_reads_the_same_whole_byte_by_byte_and_with_more_behind_it(text):
    raw = seal(text)
    wanted = decode(raw, PLAIN)
    whole = FrameBuffer().feed(raw + b"\r")
    slow = FrameBuffer()
    drops = [frame for at in range(len(raw) + 1) for frame in slow.feed((raw + b"\r")[at : at + 1])]
    followed = FrameBuffer().feed(raw + b"\r\n99008")
    assert [decode(frame, PLAIN) for frame in (*whole, *drops, *followed)] == [wanted] * 3


# (id, frame, fixed values to look at, fields, checksum, sequence, problems)
DIRTY = [
    (
        "14-digit-date",
        b"1720261121193616AOlib|ABb1|",
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"short_date"},
    ),
    (
        "upper-case-institution-in-the-date",
        b"1720261121193616AOXXXXAA|ABb1|",
        {"transaction_date": D},
        "AO=XXXXAA AB=b1",
        "absent",
        None,
        {"short_date"},
    ),
    (
        "three-blanks-between-dates",
        b"11YN20261121193616   20261221193616AOLIBRARY|AAc1|ABb1|AC|",
        {"sc_renewal_policy": "Y", "no_block": "N", "transaction_date": D, "nb_due_date": E},
        "AO=LIBRARY AA=c1 AB=b1 AC=",
        "absent",
        None,
        {"short_date"},
    ),
    (
        "one-blank-zone-and-short-summary",
        b"6301920261121 193616 Y|AAc1",
        {"language": "019", "transaction_date": D, "summary": " Y        "},
        "AA=c1",
        "absent",
        None,
        {"short_date", "short_fixed", "extra_delimiter"},
    ),
    (
        "three-blank-zone",
        b"1720261121   193616AOlib|ABb1|",
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"short_date"},
    ),
    (
        "14-digit-date-before-digits",
        b"37202611211936160100CNYBV2.50|AOlib|AAc1|",
        {"transaction_date": D, "fee_type": "01", "payment_type": "00", "currency": "CNY"},
        "BV=2.50 AO=lib AA=c1",
        "absent",
        None,
        {"short_date"},
    ),
    (
        "delimiter-before-the-first-tag",
        f"17{D}|AOlib|ABb1|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"extra_delimiter"},
    ),
    (
        "14-digit-date-and-delimiter",
        b"1720261121193616|AOlib|ABb1|",
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"short_date", "extra_delimiter"},
    ),
    (
        "no-fixed-part",
        b"29AO|AAc1|ABb1|",
        {"no_block": "N", "transaction_date": NONE, "nb_due_date": NONE},
        "AO= AA=c1 AB=b1",
        "absent",
        None,
        {"no_fixed_part"},
    ),
    (
        "no-fixed-part-date-only",
        b"17AOlib|ABb1|",
        {"transaction_date": NONE},
        "AO=lib AB=b1",
        "absent",
        None,
        {"no_fixed_part"},
    ),
    (
        "no-fixed-part-login",
        b"93CNUSER|COpw|",
        {"uid_algorithm": "0"},
        "CN=USER CO=pw",
        "absent",
        None,
        {"no_fixed_part"},
    ),
    (
        "language-before-the-date-of-17",
        f"17001{D}AOlib|ABb1|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"resync"},
    ),
    (
        "lower-case-flags",
        f"11yn{D}{E}AOlib|AAc1|ABb1|AC|".encode(),
        {"sc_renewal_policy": "y", "nb_due_date": E},
        "AO=lib AA=c1 AB=b1 AC=",
        "absent",
        None,
        {"resync"},
    ),
    (
        "lower-case-flags-and-short-dates",
        b"11yn2026112119361620261221193616AOlib|AAc1|ABb1|AC|",
        {"sc_renewal_policy": "y", "transaction_date": D, "nb_due_date": E},
        "AO=lib AA=c1 AB=b1 AC=",
        "absent",
        None,
        {"resync"},
    ),
    (
        "junk-before-a-date-with-a-tail",
        b"37xx202611211936160100CNYBV1|AOlib|AAc1|",
        {"transaction_date": D, "currency": "CNY"},
        "BV=1 AO=lib AA=c1",
        "absent",
        None,
        {"resync"},
    ),
    (
        "junk-and-no-date",
        b"17junkAOlib|ABb1|",
        {"transaction_date": NONE},
        "AO=lib AB=b1",
        "absent",
        None,
        {"resync"},
    ),
    (
        "date-of-another-kind",
        b"172026-11-21 19:36:0AOlib|ABb1|",
        {"transaction_date": "2026-11-21 19:36:0"},
        "AO=lib AB=b1",
        "absent",
        None,
        {"resync"},
    ),
    (
        "login-with-junk",
        b"930CNme|COpw|",
        {"uid_algorithm": "0"},
        "CN=me CO=pw",
        "absent",
        None,
        {"resync"},
    ),
    (
        "literal-date",
        b"23001YYYYMMDDZZZZHHMMSSAOlib|AAc1|AC|AD|",
        {"transaction_date": "YYYYMMDDZZZZHHMMSS"},
        "AO=lib AA=c1 AC= AD=",
        "absent",
        None,
        set(),
    ),
    (
        "zone-of-zeros",
        b"23001202611210000193616AOlib|AAc1|AC|AD|",
        {"transaction_date": "202611210000193616"},
        "AO=lib AA=c1 AC= AD=",
        "absent",
        None,
        set(),
    ),
    (
        "tag-of-another-message-first",
        b"1720261121193616CPx|ABb1|",
        {"transaction_date": D},
        "CP=x AB=b1",
        "absent",
        None,
        {"resync"},
    ),
    (
        "unknown-tag-first",
        f"17{D}ZZx|ABb1|".encode(),
        {"transaction_date": D},
        "ZZ=x AB=b1",
        "absent",
        None,
        set(),
    ),
    (
        "no-last-delimiter",
        f"17{D}AOlib|ABb1".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        set(),
    ),
    (
        "empty-field",
        f"17{D}AOlib||ABb1|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        set(),
    ),
    (
        "delimiter-in-a-value",
        f"17{D}AOa|b|ABb1|".encode(),
        {"transaction_date": D},
        "AO=a|b AB=b1",
        "absent",
        None,
        {"stray_delimiter"},
    ),
    (
        "nothing-known",
        b"17lower|x|",
        {"transaction_date": "lower             "},
        "",
        "absent",
        None,
        {"resync"},
    ),
    ("nothing-at-all", b"17", {"transaction_date": NONE}, "", "absent", None, {"no_fixed_part"}),
    (
        "short-and-no-delimiter",
        b"99x",
        {"status_code": "x", "max_print_width": "000"},
        "",
        "absent",
        None,
        {"resync"},
    ),
    (
        "sequence-without-checksum",
        f"17{D}AOlib|ABb1|AY4".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        "4",
        {"stray_sequence"},
    ),
    (
        "sequence-in-the-middle",
        f"17{D}AOlib|AY|ABb1|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"stray_sequence"},
    ),
    (
        "sequence-that-is-none",
        f"17{D}AOlib|ABb1|AYx|AZ|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "bad",
        None,
        {"stray_sequence"},
    ),
    (
        "constant-checksum",
        f"17{D}AOlib|ABb1|AY3AZEDB7".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "bad",
        "3",
        set(),
    ),
    (
        "checksum-that-is-none",
        f"17{D}AOlib|ABb1|AY3AZ    ".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "bad",
        "3",
        set(),
    ),
    (
        "not-hexadecimal",
        f"17{D}AOlib|ABb1|AY3AZ0x1F".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "bad",
        "3",
        set(),
    ),
    (
        "delimiter-after-the-checksum",
        seal(f"17{D}AOlib|ABb1|") + b"|",
        {"transaction_date": D},
        "AO=lib AB=b1",
        "good",
        "1",
        set(),
    ),
    (
        "fields-after-the-checksum",
        seal(f"17{D}AOlib|ABb1|") + b"|ACx|",
        {"transaction_date": D},
        "AO=lib AB=b1 AC=x",
        "good",
        "1",
        {"after_checksum"},
    ),
    (
        "two-digit-sequence",
        f"17{D}AOlib|ABb1|AY12AZ".encode() + checksum(f"17{D}AOlib|ABb1|AY12AZ".encode()),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "good",
        "12",
        set(),
    ),
    (
        "delimiter-between-ay-and-az",
        f"17{D}AOlib|ABb1|AY1|AZ0000".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "bad",
        "1",
        set(),
    ),
    (
        "checksum-without-sequence",
        f"17{D}AOlib|ABb1|AZ".encode() + checksum(f"17{D}AOlib|ABb1|AZ".encode()),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "good",
        None,
        set(),
    ),
    (
        "the-letters-az-in-a-name",
        f"17{D}AOlib|ABAZNAVOUR|".encode(),
        {"transaction_date": D},
        "AO=lib AB=AZNAVOUR",
        "absent",
        None,
        set(),
    ),
    (
        "a-barcode-that-looks-like-a-checksum",
        f"17{D}AOlib|ABAZ1234".encode(),
        {"transaction_date": D},
        "AO=lib AB=AZ1234",
        "absent",
        None,
        set(),
    ),
    (
        "a-name-before-the-checksum",
        seal(f"17{D}AOlib|ABAY1AZNAVOUR|"),
        {"transaction_date": D},
        "AO=lib AB=AY1AZNAVOUR",
        "good",
        "1",
        set(),
    ),
    (
        "checksum-field-that-is-none",
        f"17{D}AOlib|ABb1|AZzz|".encode(),
        {"transaction_date": D},
        "AO=lib AB=b1",
        "absent",
        None,
        {"stray_checksum"},
    ),
    (
        "checksum-right-after-the-fixed-part",
        b"9900802.00AZ" + checksum(b"9900802.00AZ"),
        {"status_code": "0"},
        "",
        "good",
        None,
        set(),
    ),
    (
        "another-encoding",
        f"17{D}AOlib|ABb1|AJ".encode() + "红楼梦".encode("gbk") + b"|",
        {"transaction_date": D},
        None,
        "absent",
        None,
        {"undecodable"},
    ),
]


@pytest.mark.parametrize(
    ("raw", "fixed", "fields", "verdict", "sequence", "problems"),
    [case[1:] for case in DIRTY],
    ids=[case[0] for case in DIRTY],
)
def test_a_dirty_frame_is_understood(raw, fixed, fields, verdict, sequence, problems):
    frame = decode(raw, PLAIN)
    assert frame.message is not None
    assert {name: frame.message.fixed[name] for name in fixed} == fixed
    assert {one.name: one.length for one in SPECS[frame.code].fixed} == {
        name: len(value) for name, value in frame.message.fixed.items()
    }
    if fields is not None:
        assert frame.message.fields == fields_of(fields)
    assert (frame.checksum, frame.sequence) == (verdict, sequence)
    assert set(frame.problems) == problems


def test_patron_creation_of_the_chinese_drivers():
    for head in (f"81{D}", f"81YN{D}", f"81YN{D}{E}"):
        message = decode(f"{head}AOlib|AAc1|AE张三|XO310|XT01|XK01|".encode(), KIOSK).message
        assert message.fixed == {"transaction_date": D}
        assert message.get("XK") == "01"
    assert decode(f"81{D}AOlib|AAc1|".encode(), PLAIN).message is None


def test_an_unpadded_checksum_in_lower_case_is_good():
    for number in range(5000):
        body = f"17{D}AOlib|AB{'x' * number}|AY1AZ".encode()
        digits = checksum(body)
        if digits.startswith(b"0"):
            short = body + digits.lstrip(b"0").lower()
            assert decode(short, PLAIN).checksum is Checksum.GOOD
            return
    pytest.fail("no checksum with a leading zero found")


@pytest.mark.parametrize("raw", [b"", b"1", b"41x", "张三".encode(), b"\x00\x01abc", b"  "])
def test_what_is_no_known_message_has_none(raw):
    frame = decode(raw, PLAIN)
    assert frame.message is None
    assert frame.code in {"", "1", "41", "  "}


@pytest.mark.parametrize(
    ("body", "digits"),
    [
        (b"9300CNsip_01|COsip_01|CPBR1|AY0AZ", b"F5C8"),
        (b"96AZ", b"FEF6"),
        (b"97AZ", b"FEF5"),
        (b"941AY0AZ", b"FDFD"),
    ],
)
def test_checksums_recorded_from_a_live_server(body, digits):
    assert checksum(body) == digits


@given(st.binary(max_size=2000))
def test_the_checksum_is_the_complement_of_the_sum(body):
    assert (sum(body) + int(checksum(body), 16)) & 0xFFFF == 0


@pytest.mark.parametrize(("encoding", "name"), [("gbk", "東瑋珅飢駖"), ("big5", "四會育稅聖漏罵")])
def test_characters_that_end_in_the_delimiter_are_not_cut(encoding, name):
    assert name.encode(encoding).count(b"|") >= 5
    frame = decode(
        seal(f"24{' ' * 14}019{D}AOlib|AAc1|AE{name}|AFx|", 1, encoding),
        WireProfile(encoding=encoding),
    )
    assert frame.message.get("AE") == name
    assert frame.message.get("AF") == "x"
    assert frame.problems == ()


# -- writing


def line(**profile):
    return WireProfile(**profile)


def test_required_tags_are_always_sent_and_come_first():
    message = Message(
        "12",
        {"ok": "0", "transaction_date": D},
        [("AF", "no"), ("ZZ", "1"), ("AB", "b1"), ("AA", "c1"), ("XX", "2"), ("AF", "never")],
    )
    assert encode(message, PLAIN) == f"120NUN{D}AO|AAc1|ABb1|AJ|AH|AFno|AFnever|ZZ1|XX2|\r".encode()
    assert message.fields[0] == ("AF", "no")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a|b", "a b"),
        ("a\rb\nc", "a b c"),
        ("a\r\nAFx", "a AFx"),
        ("a\x00b\x07\x7f", "ab"),
        ("a\x80b\x9b1m\x9f", "ab1m"),
        ("a\x85b", "a b"),
        ("\u3000a\u2028b\u200b", "\u3000a\u2028b\u200b"),
        ("100%s %d %%", "100%s %d %%"),
        ("\u3000全角", "\u3000全角"),
        ("\r", ""),
    ],
)
def test_a_value_cannot_break_the_frame(value, sent):
    raw = encode(Message("17", {"transaction_date": D}, [("AO", "lib"), ("AB", value)]), PLAIN)
    assert raw.decode() == f"17{D}AOlib|AB{sent}|\r"


def test_a_percent_sign_may_stand_anywhere():
    message = Message("17", {"transaction_date": D}, [("AB", "5%"), ("%s", "x"), ("Z%", "%(a)s")])
    raw = encode(message, line(delimiter="%"))
    assert raw.decode() == f"17{D}AO%AB5 % sx%Z  (a)s%\r"


def test_a_value_is_cleaned_before_it_is_cut():
    message = Message("17", {"transaction_date": D}, [("AO", "\x01ab\x85c"), ("AB", "a|bcd")])
    assert encode(message, line(max_value_length=3)).decode() == f"17{D}AOab |ABa b|\r"


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 512, 513, 5000])
@pytest.mark.parametrize("byte", [b"\x00", b"A", b"\xff"])
def test_checksums_of_any_length(length, byte):
    body = byte * length
    assert int(checksum(body), 16) == -sum(body) & 0xFFFF


def test_a_value_is_cut_on_a_character_boundary():
    raw = encode(
        Message("17", {"transaction_date": D}, [("AO", "lib"), ("AB", "红" * 300)]),
        line(max_value_length=255),
    )
    assert raw.decode() == f"17{D}AOlib|AB{'红' * 255}|\r"
    raw = encode(
        Message("17", {"transaction_date": D}, [("AO", "lib"), ("AB", "红" * 300)]),
        line(max_value_length=0),
    )
    assert raw.decode() == f"17{D}AOlib|AB{'红' * 300}|\r"
    raw = encode(
        Message("17", {"transaction_date": D}, [("AO", "l" * 200), ("AB", "b" * 200)]), PLAIN
    )
    assert raw.decode() == f"17{D}AO{'l' * 200}|AB{'b' * 200}|\r"


def test_what_the_encoding_lacks_becomes_a_question_mark():
    raw = encode(
        Message("17", {"transaction_date": D}, [("AO", "lib"), ("AB", "红é")]),
        line(encoding="cp850"),
    )
    assert raw == f"17{D}AOlib|AB?".encode() + "é".encode("cp850") + b"|\r"


def test_an_encoding_with_escapes_does_not_loop():
    assert encode(Message("94", {"ok": "1"}, [("AF", "红")]), line(encoding="hz")).endswith(b"|\r")
    assert encode(
        Message("94", {"ok": "1"}, [("AF", "日本")]), line(encoding="iso2022_jp")
    ).endswith(b"|\r")


@pytest.mark.parametrize("terminator", ["\r", "\r\n", "\n"])
def test_the_profile_chooses_terminator_and_delimiter(terminator):
    profile = line(terminator=terminator, delimiter="^")
    raw = encode(
        Message("17", {"transaction_date": D}, [("AO", "a^b"), ("AB", "c|d")]),
        profile,
        sequence="7",
        error_detection=True,
    )
    body = f"17{D}AOa b^ABc|d^AY7AZ".encode()
    assert raw == body + checksum(body) + terminator.encode()
    assert decode(raw.rstrip(), profile).message.get("AB") == "c|d"


def test_hidden_and_allowed_tags():
    message = Message(
        "24",
        {"transaction_date": D},
        [("AO", "lib"), ("AA", "c"), ("AE", "name"), ("BL", "Y"), ("PA", "x"), ("AF", "hi")],
    )
    head = f"24{' ' * 14}000{D}"
    assert (
        encode(message, line(hidden_tags=frozenset({"AE", "PA"}))).decode()
        == f"{head}AOlib|AAc|AE|BLY|AFhi|\r"
    )
    assert (
        encode(message, line(allowed_tags=frozenset({"AF"}))).decode()
        == f"{head}AOlib|AAc|AEname|AFhi|\r"
    )
    assert (
        encode(
            message, line(allowed_tags=frozenset({"AF"}), hidden_tags=frozenset({"AF"}))
        ).decode()
        == f"{head}AOlib|AAc|AEname|\r"
    )


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("8", "0008"),
        ("12345", "9999"),
        ("", "0000"),
        ("x", "x   "),
        ("0|00", "0 00"),
        ("一", "    "),
    ],
)
def test_fixed_fields_get_their_exact_length(value, sent):
    raw = encode(
        Message("66", {"ok": "1", "renewed_count": value, "transaction_date": D}, []), PLAIN
    )
    assert raw.decode() == f"661{sent}0000{D}AO|\r"


def test_a_long_fixed_value_does_not_run_into_a_short_neighbour():
    fixed = {"ok": "1", "renewal_ok": "", "magnetic": "YU", "desensitize": "N"}
    message = Message("12", {**fixed, "transaction_date": D})
    assert encode(message, PLAIN).startswith(f"121NYN{D}AO|".encode())
    fixed = {"uid_algorithm": "", "pwd_algorithm": "01"}
    assert encode(Message("93", fixed), PLAIN) == b"9300CN|CO|\r"


def test_error_detection_fields():
    assert encode(Message("96"), PLAIN, sequence="3", error_detection=True) == b"96AZFEF6\r"
    assert encode(Message("97"), PLAIN) == b"97\r"
    assert encode(Message("94", {"ok": "1"}), PLAIN, error_detection=True) == b"941AY0AZFDFD\r"


def test_a_message_that_does_not_exist_is_a_bug():
    with pytest.raises(LocalProtocolError):
        encode(Message("41"), PLAIN)


def test_a_dialect_message_can_be_sent_by_any_profile():
    assert (
        encode(Message("82", {"transaction_date": D}, [("OK", "1")]), PLAIN).decode()
        == f"82{D}AO|AA|XD|OK1|XK|\r"
    )


def test_many_tag_orders_do_not_pile_up():
    spec = SPECS["94"]
    for number in range(1200):
        encode(Message("94", {"ok": "1"}, [(f"Z{number % 10}", "")] * (number // 10 + 1)), PLAIN)
    assert len(spec.plans) <= 512


def test_nothing_of_the_values_shows_in_a_repr():
    frame = decode(seal(f"23001{D}AOlib|AAcard-canary|AC|ADpin-canary|"), PLAIN)
    shown = f"{frame!r} {frame.message!r} {frame}"
    assert "canary" not in shown
    assert "AA" in shown


def test_looking_up_fields():
    message = Message("64", {}, [("AU", "1"), ("AU", "2"), ("AE", "")])
    assert message.get("AU") == "1"
    assert message.get("AF", "none") == "none"
    assert message.get_all("AU") == ["1", "2"]
    assert message.has("AE")
    assert not message.has("AF")


def test_patron_status_positions():
    assert format_patron_status(frozenset()) == " " * 14
    assert format_patron_status(frozenset(PatronFlag)) == "Y" * 14
    assert (
        format_patron_status(frozenset({PatronFlag.TOO_MANY_CHARGED, PatronFlag.CHARGE_DENIED}))
        == "Y    Y        "
    )


# -- properties

_VALUES = st.text(
    st.characters(exclude_characters="|", exclude_categories=("Cc", "Cs")), max_size=40
)
_TAGS = st.from_regex(r"[B-Z][A-Z0-9]", fullmatch=True)


@given(
    code=st.sampled_from(sorted(set(STANDARD_SPECS) - {"96", "97"})),
    extra=st.lists(st.tuples(_TAGS, _VALUES), max_size=6),
    values=st.lists(_VALUES, min_size=8, max_size=8),
    number=st.integers(0, 9),
    encoding=st.sampled_from(["utf-8", "gb18030"]),
)
def test_what_is_sent_is_read_back(code, extra, values, number, encoding):
    spec = SPECS[code]
    profile = WireProfile(encoding=encoding)
    fields = [*zip(spec.required, values, strict=False), *extra]
    raw = encode(Message(code, {}, fields), profile, sequence=str(number), error_detection=True)
    frame = decode(raw[:-1], profile)
    assert (frame.checksum, frame.sequence, frame.problems) == (Checksum.GOOD, str(number), ())
    assert sorted(frame.message.fields) == sorted(fields)
    assert frame.message.fixed == spec.defaults
    assert encode(frame.message, profile, sequence=str(number), error_detection=True) == raw


_PIECES = st.sampled_from(
    [
        b"11",
        b"63",
        b"93",
        b"37",
        b"|",
        b"AY",
        b"AZ",
        b"AY1AZ",
        b"AO",
        b"AA",
        b"20261121193616",
        b"    ",
        b"YN",
        b"\xcf\x7c",
        b"FFFF",
        b"\r",
        b"^",
    ]
)


@given(
    raw=st.one_of(st.binary(max_size=200), st.lists(_PIECES, max_size=20).map(b"".join)),
    profile=st.sampled_from(
        [
            PLAIN,
            GBK,
            KIOSK,
            WireProfile(encoding="big5"),
            WireProfile(encoding="cp850", delimiter="^"),
            WireProfile(encoding="gbk"),
        ]
    ),
)
def test_no_bytes_make_decode_raise(raw, profile):
    frame = decode(raw, profile)
    assert frame.raw == raw
    if frame.message is not None:
        again = encode(frame.message, profile, sequence=frame.sequence, error_detection=True)
        assert again[:2] == raw[:2]
        assert again.count(b"\r") == 1


@pytest.mark.parametrize(
    "text",
    [
        case[1]
        for case in LEGAL
        if case[0][:2] in SPECS and "unknown" not in case[0] and "extensions" not in case[0]
    ],
)
def test_an_independent_reader_agrees_on_legal_frames(text):
    """pysip2, where it can: it refuses blank dates and blank algorithms, which kiosks send."""
    if NONE in text or text.startswith("93  "):
        pytest.skip("pysip2 refuses this legal frame")
    raw = encode(decode(seal(text), PLAIN).message, PLAIN, sequence="1", error_detection=True)
    if text[:2] in {"96", "97"}:
        assert pysip2.decode_message(raw, encoding="utf-8").checksum == raw[-5:-1].decode()
    else:
        assert pysip2.decode_message(raw, encoding="utf-8").sequence_number == 1


def test_an_ilss_own_answer_keeps_its_order_and_gets_what_it_lacks_last():
    fields = [("AF", "first"), ("ZZ", "1"), ("AA", "S1"), ("ZZ", "2"), ("AF", "second")]
    message = Message("24", {}, fields, in_order=True)
    sent = encode(message, WireProfile())
    assert sent.endswith(b"AFfirst|ZZ1|AAS1|ZZ2|AFsecond|AO|AE|\r")
    sorted_out = encode(Message("24", {}, fields), WireProfile())
    assert sorted_out.endswith(b"AO|AAS1|AE|AFfirst|AFsecond|ZZ1|ZZ2|\r")
    assert encode(message, WireProfile()) == sent


def test_an_ilss_own_answer_still_obeys_the_terminal_and_breaks_no_frame():
    fields = [("PB", "2015"), ("ZZ", "a|b\rc"), ("AA", "S1")]
    message = Message("24", {}, fields, in_order=True)
    sent = encode(message, WireProfile(hidden_tags=frozenset({"PB", "AA"})))
    assert sent.endswith(b"ZZa b c|AA|AO|AE|\r")
