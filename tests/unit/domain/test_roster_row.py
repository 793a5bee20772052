"""Rows with classes, ages, odd names and willingness: what is taken, noted, refused (A02, A46)."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric

from connector.domain.identity import age_on
from connector.domain.roster_row import RowContext, RowProblem, StudentRecord, parse_row
from connector.domain.school import SchoolStage, SchoolSystem

TODAY = date(2026, 9, 10)
CONTEXT = RowContext(TODAY, SchoolStage.PRIMARY)
PUPIL = {"name": "丁一一", "phone": "13800000001"}


def number(birth="20171001", serial=1):
    first17 = f"500230{birth}{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def parse(context=CONTEXT, birth="20171001", **cells):
    return parse_row(PUPIL | {"id_number": number(birth)} | cells, 5, context)


def codes(context=CONTEXT, birth="20171001", **cells):
    problems = parse(context, birth, **cells)
    assert isinstance(problems, list)
    return {(problem.column, problem.code) for problem in problems}


# --- classes


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"class_name": "三（2）班"}, ("三（2）班", 3, "2班")),
        ({"class_name": " 三年级\u200b 2班 "}, ("三年级 2班", 3, "2班")),
        ({"class_name": 3.2}, ("3.2", 3, "2班")),
        ({"class_name": 302.0}, ("302", 3, "2班")),
        ({"class_name": "3.1"}, ("3.1", 3, "1班")),
        ({"class_name": "2班", "grade": "三年级"}, ("三年级2班", 3, "2班")),
        ({"class_name": 2.0, "grade": 3.0}, ("32", 3, "2班")),
        ({"class_name": "三年级2班", "grade": "三年级"}, ("三年级2班", 3, "2班")),
        ({"class_name": "", "grade": "三年级"}, ("三年级", 3, "")),
        ({"grade": "2024级"}, ("2024级", 3, "")),
        ({}, ("", None, "")),
        ({"class_name": None, "grade": " "}, ("", None, "")),
    ],
)
def test_classes(cells, expected):
    record = parse(**cells)
    assert isinstance(record, StudentRecord)
    assert (record.class_name, record.level, record.class_label) == expected
    assert record.notes == ()


@pytest.mark.parametrize(
    ("cells", "column", "code"),
    [
        ({"class_name": "2班"}, "class_name", "class_unclear"),
        ({"class_name": "七年级2班"}, "class_name", "class_unclear"),
        ({"class_name": date(2026, 3, 2)}, "class_name", "class_unclear"),
        ({"class_name": "四年级2班", "grade": "三年级"}, "class_name", "class_unclear"),
        ({"class_name": "", "grade": "毕业"}, "grade", "class_unclear"),
        ({"class_name": 3.1}, "class_name", "class_digits_lost"),
    ],
)
def test_a_class_that_cannot_be_read_does_not_lose_the_pupil(cells, column, code):
    """3.1 as a number may have been typed as 3.10."""
    record = parse(**cells)
    assert isinstance(record, StudentRecord)
    assert (record.level, record.class_label) == (None, "")
    assert record.notes == (RowProblem(code, 5, column),)


def test_texts_that_look_like_formulas_are_refused_in_both_columns():
    assert codes(class_name="=A1", grade="@x") == {
        ("class_name", "text_format"),
        ("grade", "text_format"),
    }


def test_grade_and_class_are_stored_as_one_text_of_bounded_length():
    assert parse(class_name="x" * 30, grade="y" * 30).class_name == "y" * 30 + "x" * 30
    assert codes(class_name="x" * 31, grade="y" * 30) == {("class_name", "text_format")}


def test_year_and_system_of_the_school_decide():
    five = RowContext(TODAY, SchoolStage.JUNIOR, system=SchoolSystem.FIVE_FOUR)
    assert parse(five, "20141001", class_name="初一2班").level == 6
    last_year = RowContext(TODAY, SchoolStage.PRIMARY, school_year=2025)
    assert parse(class_name="2024级2班").level == 3
    assert parse(last_year, class_name="2024级2班").level == 2


def test_a_thousand_odd_classes_do_not_pile_up():
    for serial in range(2100):
        assert parse(class_name=f"怪{serial}班").notes


# --- ages


@pytest.mark.parametrize(
    ("stage", "birth", "code"),
    [
        (SchoolStage.PRIMARY, "20080910", "id_of_adult"),
        (SchoolStage.PRIMARY, "20080911", "age_not_for_stage"),
        (SchoolStage.PRIMARY, "19850101", "id_of_adult"),
        (SchoolStage.KINDERGARTEN, "19850101", "id_of_adult"),
        (SchoolStage.KINDERGARTEN, "20250101", "age_not_for_stage"),
        (SchoolStage.JUNIOR, "20080910", "id_of_adult"),
        (SchoolStage.SENIOR, "20030910", "id_of_adult"),
        (SchoolStage.SENIOR, "20140101", "age_not_for_stage"),
        (None, "20030910", "id_of_adult"),
    ],
)
def test_a_number_that_is_no_pupils(stage, birth, code):
    assert codes(RowContext(TODAY, stage), birth) == {("id_number", code)}


@pytest.mark.parametrize(
    ("stage", "birth"),
    [
        (SchoolStage.SENIOR, "20080910"),
        (SchoolStage.SENIOR, "20030911"),
        (SchoolStage.JUNIOR, "20080911"),
        (None, "20030911"),
        (None, "20260910"),
    ],
)
def test_a_number_that_may_be_a_pupils(stage, birth):
    assert isinstance(parse(RowContext(TODAY, stage), birth), StudentRecord)


def test_a_parents_number_in_the_student_number_column():
    found = codes(id_number=None, student_no="L500230198501019999")
    assert found == {("student_no", "id_of_adult")}


@pytest.mark.parametrize(
    ("birth", "fits"),
    [("20140901", False), ("20140902", True), ("20190901", True), ("20190902", False)],
)
def test_age_against_grade(birth, fits):
    """Who begins grade 3 on 1 September 2026 is 8, one year less or three more at most."""
    result = parse(birth=birth, class_name="三年级2班")
    assert isinstance(result, StudentRecord) is fits
    if not fits:
        assert [problem.code for problem in result] == ["age_not_for_grade"]


@given(st.dates(date(2000, 1, 1), TODAY), st.dates(date(2024, 1, 1), date(2030, 1, 1)))
def test_ages_are_those_of_the_calendar(birth, today):
    result = parse(RowContext(today, SchoolStage.PRIMARY), f"{birth:%Y%m%d}")
    age = age_on(birth, today)
    if birth > today:
        assert result == [RowProblem("id_birth_future", 5, "id_number")]
    elif age >= 18:
        assert result == [RowProblem("id_of_adult", 5, "id_number")]
    else:
        assert isinstance(result, StudentRecord) is (5 <= age <= 15)


# --- names


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("张 三", "张三"),
        ("张\u3000三", "张三"),
        (" 张  三 丰 ", "张三丰"),
        ("𠮷 田", "𠮷田"),
        ("王 〇", "王〇"),
        ("买买提•阿依", "买买提·阿依"),
        ("买买提・阿依", "买买提·阿依"),
        ("买买提．阿依", "买买提·阿依"),
        ("买买提.阿依", "买买提·阿依"),
        ("买买提 · 阿依", "买买提·阿依"),
        ("买买提‧ 阿依●古丽", "买买提·阿依·古丽"),
        ("Anna  Li", "Anna Li"),
        ("Anna Li 李", "Anna Li 李"),
        ("J. Smith", "J. Smith"),
        ("欧阳娜娜娜娜", "欧阳娜娜娜娜"),
    ],
)
def test_names(raw, name):
    assert parse(name=raw).name == name


@pytest.mark.parametrize(
    "raw", ["-Anna", "=丁一", "+丁一", "@丁一", "＝丁一", "--", "·", "丁=一", "丁1", "丁\n=1"]
)
def test_what_is_no_name(raw):
    assert codes(name=raw) == {("name", "name_characters")}


@pytest.mark.parametrize("raw", ["=1+1", "+1", "-1", "@x", "＝1", "＠x", " =1", "\u200b=1", "\t=1"])
def test_texts_that_a_spreadsheet_would_compute(raw):
    for column in ("class_name", "card_no"):
        assert codes(**{column: raw}) == {(column, "text_format")}


def test_the_pupils_name_as_the_guardians():
    assert codes(guardian_name="丁 一一") == {("guardian_name", "guardian_is_pupil")}
    assert codes(name="", guardian_name="") == {("name", "name_missing")}


# --- willingness


@pytest.mark.parametrize(
    ("raw", "willing"),
    [
        *[(text, "willing") for text in ("是", "愿意", "同意", "y", "Y", "ＹＥＳ", "1", 1.0, True, " 愿 意 ", "√")],
        *[(text, "unwilling") for text in ("否", "不愿意", "不同意", "n", "No", "0", 0.0, False, "×")],
        *[(text, "no_answer") for text in ("", None, "  ", "/", "-")],
    ],
)  # fmt: skip
def test_willingness(raw, willing):
    assert parse(willing=raw).willing == willing


def test_willingness_is_not_guessed():
    assert parse().willing == "no_answer"
    for raw in ("再考虑", "是否", 2.0):
        assert codes(willing=raw) == {("willing", "willing_unclear")}
