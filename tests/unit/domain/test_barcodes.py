"""Barcodes as scanners give them and as an ILS writes them."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.barcodes import BarcodeRule, CheckDigit
from connector.domain.ids import InstitutionId
from connector.domain.library import Library, is_misread, resolve_owners

MOD10 = BarcodeRule(check_digit=CheckDigit.MOD10)
CODABAR = BarcodeRule(codabar=True, check_digit=CheckDigit.CODABAR14)
WITHOUT = BarcodeRule(check_digit=CheckDigit.MOD10, strip_check_digit=True, digits=8)


def library(code, **more):
    return Library(InstitutionId(code), code, ZoneInfo("Asia/Shanghai"), **more)


def with_check_digit(number):
    """The number with the digit that makes its weighed sum a multiple of ten."""
    return next(number + digit for digit in "0123456789" if not MOD10.is_misread(number + digit))


@pytest.mark.parametrize(
    ("rule", "scanned", "written"),
    [
        (BarcodeRule(), " 0001234\r\n", "0001234"),
        (BarcodeRule(), "\x020001234\x03", "0001234"),
        (BarcodeRule(upper=True), "fd12", "FD12"),
        (BarcodeRule(strip_isil=True), "CN-500230-1:0001234", "0001234"),
        (BarcodeRule(strip_isil=True), "CN-500230-1-BN: 0001234", "0001234"),
        (BarcodeRule(strip_isil=True), "0001234", "0001234"),
        (BarcodeRule(strip_isil=True), "FD:0001234", "FD:0001234"),
        (BarcodeRule(), "CN-500230-1:0001234", "CN-500230-1:0001234"),
        (BarcodeRule(strip_prefix="500230"), "5002300001234", "0001234"),
        (BarcodeRule(codabar=True), "A0001234B", "0001234"),
        (BarcodeRule(codabar=True), "d0001234c", "0001234"),
        (BarcodeRule(codabar=True), "AB12CD", "AB12CD"),
        (BarcodeRule(codabar=True), "A0001234", "A0001234"),
        (BarcodeRule(), "A0001234B", "A0001234B"),
        (BarcodeRule(digits=7), "1234", "0001234"),
        (BarcodeRule(digits=7), "0000001234", "0001234"),
        (BarcodeRule(digits=7), "12345678", "12345678"),
        (BarcodeRule(digits=7), "0012345678", "0012345678"),
        (BarcodeRule(digits=7), "FD12", "FD12"),
        (BarcodeRule(digits=7), "0001234", "0001234"),
        (BarcodeRule(digits=7), "١٢٣", "١٢٣"),
        (BarcodeRule(digits=7), "", ""),
        (WITHOUT, "000012344", "00001234"),
        (WITHOUT, "00001234", "00001234"),
        (WITHOUT, "1234", "00001234"),
    ],
)
def test_barcode_is_written_as_the_ils_writes_it(rule, scanned, written):
    assert rule.normalise(scanned) == written


@pytest.mark.parametrize(
    ("rule", "scanned", "misread"),
    [
        (BarcodeRule(), "79927398710", False),
        (MOD10, "79927398713", False),
        (MOD10, "79927398710", True),
        (MOD10, " 79927398713\r", False),
        (MOD10, "FD79927398710", False),
        (MOD10, "", False),
        (CODABAR, "A31117013206375B", False),
        (CODABAR, "31117013206375", False),
        (CODABAR, "31117013206374", True),
        (CODABAR, "79927398713", True),
        (WITHOUT, "000012344", False),
        (WITHOUT, "000012345", True),
        (WITHOUT, "00001234", False),
        (WITHOUT, "1234", False),
    ],
)
def test_wrong_check_digit_is_a_misread(rule, scanned, misread):
    assert rule.is_misread(scanned) is misread


@given(st.from_regex(r"[0-9]{1,13}", fullmatch=True), st.data())
def test_every_wrong_digit_is_noticed(number, data):
    right = with_check_digit(number)
    place = data.draw(st.integers(0, len(right) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != right[place]]))
    assert MOD10.is_misread(right[:place] + other + right[place + 1 :])


RULES = st.builds(
    BarcodeRule,
    strip_isil=st.booleans(),
    codabar=st.booleans(),
    upper=st.booleans(),
    digits=st.integers(0, 14),
    check_digit=st.sampled_from(CheckDigit),
)
SCANNED = st.text(st.sampled_from("0123456789ABDabf-:. \r\x02"), max_size=20) | st.text(max_size=20)


@given(RULES, SCANNED.filter(lambda text: ":" not in text))
def test_what_is_normalised_stays_as_it_is(rule, scanned):
    once = rule.normalise(scanned)
    assert rule.normalise(once) == once
    assert once == once.strip()
    assert once.isprintable()


@given(st.from_regex(r"[0-9]{1,8}", fullmatch=True))
def test_a_stripped_check_digit_is_stripped_once(number):
    written = number.rjust(8, "0")
    assert WITHOUT.normalise(with_check_digit(written)) == written
    assert WITHOUT.normalise(written) == written


def test_prefix_is_seen_behind_the_start_character_of_codabar():
    fengdu = library("FD", barcodes=BarcodeRule(prefixes=("3401",), codabar=True))
    plain = library("PL", barcodes=BarcodeRule(prefixes=("99",)))
    assert [str(item) for item in resolve_owners("A34010001B", plain, (fengdu, plain))] == [
        "FD:34010001"
    ]
    assert [str(item) for item in resolve_owners("A99010001B", plain, (fengdu, plain))] == [
        "PL:A99010001B"
    ]
    assert [str(item) for item in resolve_owners("34010001", plain, (fengdu, plain))] == [
        "FD:34010001"
    ]


def test_misread_is_judged_by_the_owner_s_rule():
    checked = library(
        "FD",
        isil="CN-500230-1",
        barcodes=BarcodeRule(prefixes=("79",), check_digit=CheckDigit.MOD10),
    )
    plain = library("PL", barcodes=BarcodeRule())
    both = (checked, plain)
    assert is_misread("79927398710", plain, both)
    assert not is_misread("79927398713", plain, both)
    assert not is_misread("12345", plain, both)
    assert is_misread("12345", checked, both)
    assert is_misread("CN-500230-1:12345", plain, both)


def test_misread_needs_every_possible_owner_to_say_so():
    checked = library("FD", barcodes=BarcodeRule(prefixes=("79",), check_digit=CheckDigit.MOD10))
    other = library("W2", barcodes=BarcodeRule(prefixes=("7",)))
    assert not is_misread("79927398710", other, (checked, other))
