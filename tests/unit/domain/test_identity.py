"""Identity numbers: what is normalised, what is refused and why, what a kiosk's scan may stand for."""

from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stdnum.cn import ric

from connector.domain.identity import (
    PROVINCES,
    IdentityFault,
    IdentityKind,
    IdentityNumber,
    IdentityProblem,
    StudentNumber,
    age_on,
    mask_name,
    mask_number,
    normalise_identifier,
    normalise_scanned,
    parse_identity_number,
    parse_student_number,
)
from connector.domain.ids import Identifier

TODAY = date(2026, 9, 10)
FENGDU = "500230201503010015"
WITH_X = "50010220090908123X"


def with_check(first17):
    return first17 + ric.calc_check_digit(first17 + "0")


def parse(raw):
    return parse_identity_number(raw, today=TODAY)


@pytest.mark.parametrize(
    ("raw", "value", "birth"),
    [
        (FENGDU, FENGDU, date(2015, 3, 1)),
        ("500230202002290017", "500230202002290017", date(2020, 2, 29)),
        ("11010519491231002X", "11010519491231002X", date(1949, 12, 31)),
        (int(FENGDU), FENGDU, date(2015, 3, 1)),
    ],
    ids=["plain", "leap day", "sample of the standard", "exact integer"],
)
def test_valid_numbers(raw, value, birth):
    assert parse(raw) == IdentityNumber(value, IdentityKind.RESIDENT, birth)


@pytest.mark.parametrize(
    "raw",
    [
        "50010220090908123x",
        "50010220090908123ｘ",
        "50010220090908123Ｘ",
        "５００１０２２００９０９０８１２３Ｘ",
        " 500102 20090908 123X ",
        "\u3000500102\u00a020090908\t123X\n",
        "'50010220090908123X",
        "‘50010220090908123X",
        "＇50010220090908123X",
        "\ufeff50010220090908123X\u200b",
        "500102\u200d20090908\u2060123X\u00ad",
        "5001022009090812\u202d3X\u202c",
    ],
)
def test_written_forms_are_normalised(raw):
    number = parse(raw)
    assert isinstance(number, IdentityNumber)
    assert number.value == WITH_X


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, IdentityFault.MISSING),
        ("", IdentityFault.MISSING),
        (" \u200b'", IdentityFault.MISSING),
        ("5.00230E+17", IdentityFault.DIGITS_LOST),
        ("5.00230e17", IdentityFault.DIGITS_LOST),
        ("5E+17", IdentityFault.DIGITS_LOST),
        ("500230201503010015.0", IdentityFault.DIGITS_LOST),
        (5.0023020150301e17, IdentityFault.DIGITS_LOST),
        (float(FENGDU), IdentityFault.DIGITS_LOST),
        (float("nan"), IdentityFault.DIGITS_LOST),
        (12.5, IdentityFault.DIGITS_LOST),
        ("500230150301001", IdentityFault.LEGACY),
        (500230150301001.0, IdentityFault.LEGACY),
        (42.0, IdentityFault.LENGTH),
        ("50023020150301001", IdentityFault.LENGTH),
        (FENGDU + "0", IdentityFault.LENGTH),
        ("50023020150301X", IdentityFault.LENGTH),
        ("5002302015030100IS", IdentityFault.CHARACTERS),
        ("50023020150301O015", IdentityFault.CHARACTERS),
        ("5002302015X3010015", IdentityFault.CHARACTERS),
        ("500230-20150301-0015", IdentityFault.CHARACTERS),
        ("٥٠٠٢٣٠١٥٠٣٠١٠٠١", IdentityFault.CHARACTERS),
        ("-5", IdentityFault.CHARACTERS),
        (True, IdentityFault.CHARACTERS),
        (date(2015, 3, 1), IdentityFault.CHARACTERS),
        (with_check("00023020150301001"), IdentityFault.AREA),
        (with_check("66023020150301001"), IdentityFault.AREA),
        (with_check("84023020150301001"), IdentityFault.AREA),
        (with_check("50023020150230001"), IdentityFault.BIRTH_DATE),
        (with_check("50023020151301001"), IdentityFault.BIRTH_DATE),
        (with_check("50023000000101001"), IdentityFault.BIRTH_DATE),
        (with_check("50023018991231001"), IdentityFault.BIRTH_DATE),
        (with_check("50023020310301001"), IdentityFault.BIRTH_FUTURE),
        (with_check("50023020260911001"), IdentityFault.BIRTH_FUTURE),
        ("500230201503010016", IdentityFault.CHECK_DIGIT),
        ("50023020150301001X", IdentityFault.CHECK_DIGIT),
        ("500102200909081230", IdentityFault.CHECK_DIGIT),
    ],
)
def test_refused_with_the_reason(raw, code):
    assert parse(raw) == IdentityProblem(code)


def test_born_today_is_possible():
    assert isinstance(parse(with_check("50023020260910001")), IdentityNumber)


@pytest.mark.parametrize(
    ("first17", "kind"),
    [
        ("81000020150301001", IdentityKind.RESIDENCE_PERMIT),
        ("82000020150301001", IdentityKind.RESIDENCE_PERMIT),
        ("83000020150301001", IdentityKind.RESIDENCE_PERMIT),
        ("91112420150301001", IdentityKind.PERMANENT_RESIDENT),
    ],
)
def test_permits_are_kinds(first17, kind):
    number = parse(with_check(first17))
    assert isinstance(number, IdentityNumber)
    assert number.kind is kind


def test_there_are_32_provinces():
    assert len(PROVINCES) == 32
    assert {"50", "51", "11", "65", "71"} <= PROVINCES
    assert not {"16", "47", "55", "66", "72", "81"} & PROVINCES


@given(
    area=st.sampled_from(sorted(PROVINCES)),
    rest=st.integers(0, 9999),
    birth=st.dates(date(1900, 1, 1), TODAY),
    sequence=st.integers(0, 999),
)
def test_every_well_built_number_is_read(area, rest, birth, sequence):
    text = with_check(f"{area}{rest:04}{birth:%Y%m%d}{sequence:03}")
    assert parse(text.lower()) == IdentityNumber(text, IdentityKind.RESIDENT, birth)


@given(position=st.integers(0, 17), digit=st.sampled_from("0123456789X"))
def test_no_single_wrong_character_passes(position, digit):
    assume(FENGDU[position] != digit)
    assert isinstance(parse(FENGDU[:position] + digit + FENGDU[position + 1 :]), IdentityProblem)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.booleans(), st.binary()))
def test_nothing_makes_it_raise(raw):
    assert isinstance(parse(raw), IdentityNumber | IdentityProblem)
    assert isinstance(parse_student_number(raw, today=TODAY), StudentNumber | IdentityProblem)


def test_numbers_stay_out_of_reprs():
    for value in (parse(FENGDU), parse_student_number("G" + FENGDU, today=TODAY)):
        assert FENGDU not in repr(value)
        assert "2015" not in repr(value)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("g" + FENGDU, "G"),
        ("J" + FENGDU, "J"),
        (" L500230201503019999", "L"),
        ("J50023020150301001X", "J"),
    ],
)
def test_student_numbers(raw, kind):
    number = parse_student_number(raw, today=TODAY)
    assert isinstance(number, StudentNumber)
    assert (number.kind, number.birth_date) == (kind, date(2015, 3, 1))
    assert number.value[0] == kind
    assert len(number.value) == 19


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, IdentityFault.MISSING),
        ("G500230201503010016", IdentityFault.CHECK_DIGIT),
        (FENGDU, IdentityFault.STUDENT_NUMBER),
        ("H" + FENGDU, IdentityFault.STUDENT_NUMBER),
        ("L50023020150301999", IdentityFault.STUDENT_NUMBER),
        ("L500230201513019999", IdentityFault.BIRTH_DATE),
        ("J500230203103010011", IdentityFault.BIRTH_FUTURE),
    ],
)
def test_refused_student_numbers(raw, code):
    assert parse_student_number(raw, today=TODAY) == IdentityProblem(code)


def kinds(text):
    return [found.kind for found in normalise_scanned(text)]


def test_a_scanned_identity_number_may_be_a_card_of_several_kinds():
    assert normalise_scanned(" 50010220090908123x ") == tuple(
        Identifier(kind, WITH_X) for kind in ("card", "id_card", "ssc", "old_card")
    )


def test_other_scans():
    assert kinds("fd20260001") == ["card", "ssc", "old_card"]
    assert normalise_scanned("fd20260001")[0].value == "FD20260001"
    assert kinds("500230201503010016") == ["card", "ssc", "old_card"]
    assert kinds("L500230201503019999") == ["card", "student_no", "ssc", "old_card"]
    assert normalise_scanned(" \u200b ") == ()


def test_scans_stay_out_of_reprs():
    assert WITH_X not in repr(normalise_scanned(WITH_X))


@pytest.mark.parametrize(
    ("birth", "day", "age"),
    [
        (date(2012, 12, 31), date(2026, 12, 30), 13),
        (date(2012, 12, 31), date(2026, 12, 31), 14),
        (date(2012, 2, 29), date(2026, 2, 28), 13),
        (date(2012, 2, 29), date(2026, 3, 1), 14),
        (date(2012, 2, 29), date(2028, 2, 29), 16),
    ],
)
def test_age(birth, day, age):
    assert age_on(birth, day) == age


@given(
    birth=st.dates(date(1900, 1, 1), date(2020, 1, 1)),
    day=st.dates(date(2020, 1, 1), date(2100, 1, 1)),
)
def test_age_grows_by_one_on_each_birthday(birth, day):
    age = age_on(birth, day)
    assert 0 <= age <= (day - birth).days / 365
    assert age_on(birth, day.replace(year=day.year + 1, day=min(day.day, 28))) - age in (0, 1)


@pytest.mark.parametrize(
    ("name", "masked"), [("张小明", "张*"), (" 李丽 ", "李*"), ("Anna", "A*"), ("", ""), ("  ", "")]
)
def test_masked_name(name, masked):
    assert mask_name(name) == masked


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        (FENGDU, "*" * 14 + "0015"),
        ("13800001234", "*" * 9 + "34"),
        ("FD2026", "****26"),
        ("12345", "*****"),
        ("", ""),
    ],
)
def test_masked_number(number, masked):
    assert mask_number(number) == masked


@pytest.mark.parametrize("written", ["s26-01", "Ｓ２６-０１", " S26-01 ", "'s26-01"])
def test_a_number_is_digested_the_same_however_it_is_written(written):
    assert normalise_identifier(written) == normalise_identifier("S26-01") == "S26-01"
