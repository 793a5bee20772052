"""Which wire profiles the codec can work with."""

from __future__ import annotations

import pytest

from connector.domain.ids import InstitutionId, TerminalId
from connector.errors import ConfigurationError
from connector.sip2.codec import Message, decode, encode
from connector.sip2.profiles import check_profile, profile_before_login
from connector.sip2.terminal import ChecksumPolicy, Terminal, WireProfile

D = "20261121    193616"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "UTF8", "gb18030", "gbk", "gb2312", "big5", "cp950", "cp850", "latin-1", "ascii"],
)
def test_encodings_that_keep_ascii_are_accepted(encoding):
    profile = WireProfile(encoding=encoding)
    check_profile(profile)
    message = Message("17", {"transaction_date": D}, [("AO", "a+b~{x}"), ("AB", "é张")])
    raw = encode(message, profile, sequence="1", error_detection=True)
    assert decode(raw[:-1], profile).message.get("AO") == "a+b~{x}"


@pytest.mark.parametrize(
    "encoding",
    [
        *("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig", "cp037", "cp500"),
        *("hz", "iso2022_jp", "iso2022_kr", "unicode_escape", "raw_unicode_escape", "punycode"),
    ],
)
def test_encodings_that_change_ascii_or_shift_states_are_refused(encoding):
    with pytest.raises(ConfigurationError, match="ASCII") as caught:
        check_profile(WireProfile(encoding=encoding))
    assert "gb18030" in caught.value.remedy


@pytest.mark.parametrize("encoding", ["no-such-encoding", "base64", "rot13", "idna", "undefined"])
def test_what_is_no_text_encoding_is_refused(encoding):
    with pytest.raises(ConfigurationError, match="not known here") as caught:
        check_profile(WireProfile(encoding=encoding))
    assert "utf-8" in caught.value.remedy


def test_a_dialect_that_is_not_registered_is_refused():
    check_profile(WireProfile(dialect="chinese-kiosk"))
    with pytest.raises(ConfigurationError, match="'klingon' is not registered") as caught:
        check_profile(WireProfile(dialect="klingon"))
    assert caught.value.remedy == "Use one of: chinese-kiosk, standard."


@pytest.mark.parametrize("delimiter", ["|", "^", "~", "\\"])
def test_punctuation_delimits(delimiter):
    check_profile(WireProfile(delimiter=delimiter))


@pytest.mark.parametrize("delimiter", ["", "||", "A", "7", " ", "\r", "\x1f", "\x7f", "｜"])
def test_what_is_no_punctuation_mark_does_not(delimiter):
    with pytest.raises(ConfigurationError, match="delimiter"):
        check_profile(WireProfile(delimiter=delimiter))


def terminals(*profiles):
    return [
        Terminal(TerminalId(f"k{number}"), InstitutionId("A"), wire=profile)
        for number, profile in enumerate(profiles)
    ]


def test_before_login_what_all_terminals_have_in_common_is_used():
    gbk = WireProfile(encoding="gbk", delimiter="^", terminator="\r\n")
    assert profile_before_login([]) == WireProfile()
    assert profile_before_login(terminals(gbk, gbk)) == gbk
    mixed = profile_before_login(terminals(gbk, WireProfile(encoding="big5")))
    assert mixed == WireProfile()


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (["strict", "strict"], "strict"),
        (["strict", "log"], "log"),
        (["log", "ignore", "strict"], "ignore"),
    ],
)
def test_before_login_the_most_lenient_checksum_policy_holds(policies, expected):
    """A kiosk with constants for checksums would be asked to repeat its login for ever."""
    profiles = [WireProfile(checksum=ChecksumPolicy(policy)) for policy in policies]
    assert profile_before_login(terminals(*profiles)).checksum is ChecksumPolicy(expected)
