"""Application states, and what a roster row is or why it is refused (A24, A36, A41, A49, scenarios 1-4)."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric

from connector.domain.enrolment import (
    APPLICATION_MOVES,
    CLOSED_STATES,
    COLUMNS,
    ApplicationState,
    Route,
    RowContext,
    RowProblem,
    SchoolStage,
    StudentRecord,
    can_advance,
    clean_text,
    parse_row,
)
from connector.domain.ids import Identifier

S = ApplicationState
TODAY = date(2026, 9, 10)
CONTEXT = RowContext(TODAY, SchoolStage.PRIMARY, frozenset({"丰都县"}))
PUPIL = {
    "id_number": "500230201503010015",
    "name": "丁一一",
    "phone": "13800000001",
    "guardian_name": "丁大大",
    "guardian_phone": "13900000001",
    "class_name": "三（2）班",
    "district": "丰都",
}


def with_check(first17):
    return first17 + ric.calc_check_digit(first17 + "0")


def parse(context=CONTEXT, **cells):
    return parse_row(PUPIL | cells, 5, context)


def codes(**cells):
    problems = parse(**cells)
    assert isinstance(problems, list)
    assert all(problem.row == 5 for problem in problems)
    return {(problem.column, problem.code) for problem in problems}


# --- states


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (S.ENTERED, S.SCHOOL_REVIEWED),
        (S.SCHOOL_REVIEWED, S.LIBRARY_APPROVED),
        (S.LIBRARY_APPROVED, S.ACTIVATING),
        (S.ACTIVATING, S.ACTIVE),
        (S.ACTIVATING, S.EXISTING_CARD),
        (S.ACTIVATING, S.LIBRARY_APPROVED),
        (S.EXISTING_CARD, S.ACTIVE),
        (S.SCHOOL_REVIEWED, S.ENTERED),
        (S.ENTERED, S.WITHDRAWN),
        (S.ACTIVE, S.WITHDRAWN),
        (S.LIBRARY_APPROVED, S.REFUSED),
    ],
)
def test_moves_of_decision_19(old, new):
    assert can_advance(old, new, route=Route.BATCH)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (S.ENTERED, S.ACTIVATING),
        (S.ENTERED, S.ACTIVE),
        (S.SCHOOL_REVIEWED, S.ACTIVATING),
        (S.LIBRARY_APPROVED, S.ACTIVE),
        (S.ACTIVE, S.REFUSED),
        (S.ACTIVE, S.ENTERED),
        (S.WITHDRAWN, S.ENTERED),
        (S.REFUSED, S.ACTIVATING),
    ],
)
def test_no_step_is_left_out(old, new):
    assert not can_advance(old, new, route=Route.INDIVIDUAL)


def test_only_what_a_family_enters_may_pass_by_the_school():
    move = (S.ENTERED, S.LIBRARY_APPROVED)
    assert not can_advance(*move, route=Route.BATCH)
    assert can_advance(*move, route=Route.INDIVIDUAL)
    assert not can_advance(*move, route=Route.INDIVIDUAL, review_individual=True)


def test_table_of_states_is_whole():
    assert set(APPLICATION_MOVES) == set(ApplicationState)
    for state in CLOSED_STATES:
        assert not APPLICATION_MOVES[state]
    for state in set(ApplicationState) - CLOSED_STATES:
        assert S.WITHDRAWN in APPLICATION_MOVES[state]


# --- good rows


def test_a_whole_row():
    record = parse()
    assert isinstance(record, StudentRecord)
    assert (record.row, record.name, record.phone) == (5, "丁一一", "13800000001")
    assert (record.guardian_name, record.guardian_phone) == ("丁大大", "13900000001")
    assert (record.class_name, record.district, record.card_no) == ("三（2）班", "丰都", "")
    assert record.birth_date == date(2015, 3, 1)
    assert record.identifiers == (Identifier("id_card", "500230201503010015"),)


def test_five_columns_suffice():
    cells = {
        key: PUPIL[key] for key in ("id_number", "name", "phone", "guardian_name", "guardian_phone")
    }
    assert isinstance(parse_row(cells, 2, CONTEXT), StudentRecord)


def test_kindergarten_child_without_a_phone():
    """Scenario 3: the guardian's phone satisfies the mandatory one."""
    record = parse(
        RowContext(TODAY, SchoolStage.KINDERGARTEN),
        id_number=with_check("50023020210301001"),
        phone=None,
    )
    assert isinstance(record, StudentRecord)
    assert (record.phone, record.guardian_phone) == ("", "13900000001")


def test_no_phone_at_all_needs_a_guardian():
    assert codes(phone="", guardian_phone=None) == {("phone", "needs_guardian")}


def test_a_bad_phone_is_not_a_missing_one():
    assert codes(phone="123", guardian_phone="") == {("phone", "phone_format")}


def test_child_without_identity_number():
    """Scenario 4."""
    record = parse(id_number=None, student_no="L500230201503019999")
    assert isinstance(record, StudentRecord)
    assert record.id_number is None
    assert record.identifiers == (Identifier("student_no", "L500230201503019999"),)
    assert record.birth_date == date(2015, 3, 1)


def test_both_numbers():
    record = parse(student_no="G500230201503010015")
    assert isinstance(record, StudentRecord)
    assert [found.kind for found in record.identifiers] == ["id_card", "student_no"]


@pytest.mark.parametrize(
    ("raw", "phone"),
    [
        (13800000001.0, "13800000001"),
        (13800000001, "13800000001"),
        ("138 0000 0001", "13800000001"),
        ("138-0000-0001", "13800000001"),
        ("１３８０００００００１", "13800000001"),
        ("+86 13800000001", "13800000001"),
        ("008613800000001", "13800000001"),
        ("8613800000001", "13800000001"),
        ("'13800000001", "13800000001"),
        ("023-70700001", "02370700001"),
        ("（0817）2200001", "08172200001"),
    ],
)
def test_phone_numbers_are_normalised(raw, phone):
    assert parse(phone=raw).phone == phone


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (" 丁\u200b一一 ", "丁一一"),
        ("阿依古丽•买买提", "阿依古丽·买买提"),
        ("Anna  Li-O'Neil", "Anna Li-O'Neil"),
        ("𠮷田花", "𠮷田花"),
        ("王〇", "王〇"),
    ],
)
def test_names(raw, name):
    assert parse(name=raw).name == name


def test_numbers_in_text_columns_lose_the_decimal_point():
    record = parse(class_name=3.0, card_no=20260001.0)
    assert (record.class_name, record.card_no) == ("3", "20260001")


def test_values_stay_out_of_reprs():
    text = repr(parse(student_no="G500230201503010015", card_no="FD20260001"))
    for marker in ("丁", "138", "139", "5002", "2015", "FD2026"):
        assert marker not in text


# --- refused rows


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"id_number": None}, ("id_number", "id_missing")),
        ({"id_number": "5.00230E+17"}, ("id_number", "id_digits_lost")),
        ({"id_number": "500230201503010016"}, ("id_number", "id_check_digit")),
        ({"id_number": with_check("50023020310301001")}, ("id_number", "id_birth_future")),
        ({"id_number": "bad", "student_no": "L500230201503019999"}, ("id_number", "id_characters")),
        ({"id_number": None, "student_no": "Q1"}, ("student_no", "student_no_format")),
        ({"id_number": "11010519491231002X"}, ("id_number", "id_of_adult")),
        (
            {"id_number": None, "student_no": "L500230202503019999"},
            ("student_no", "age_not_for_stage"),
        ),
        ({"name": None}, ("name", "name_missing")),
        ({"name": "  "}, ("name", "name_missing")),
        ({"name": "丁1"}, ("name", "name_characters")),
        ({"name": "#N/A"}, ("name", "name_characters")),
        ({"name": "=1+1"}, ("name", "name_characters")),
        ({"name": "··"}, ("name", "name_characters")),
        ({"name": "丁"}, ("name", "name_length")),
        ({"name": "丁" * 51}, ("name", "name_length")),
        ({"guardian_name": "13900000001"}, ("guardian_name", "name_characters")),
        ({"phone": "12800000001"}, ("phone", "phone_format")),
        ({"phone": "1380000000"}, ("phone", "phone_format")),
        ({"phone": 1.38e11}, ("phone", "phone_format")),
        ({"guardian_phone": "ask"}, ("guardian_phone", "phone_format")),
        ({"class_name": "=A1"}, ("class_name", "text_format")),
        ({"class_name": "x" * 61}, ("class_name", "text_format")),
        ({"card_no": "@SUM(A1)"}, ("card_no", "text_format")),
        ({"district": ""}, ("district", "district_missing")),
        ({"district": "渝中"}, ("district", "district_unknown")),
    ],
)
def test_one_thing_wrong(cells, problem):
    assert codes(**cells) == {problem}


def test_everything_wrong_is_reported_at_once():
    assert codes(id_number="x", name="", phone="1", guardian_phone="2", district="渝中") == {
        ("id_number", "id_length"),
        ("name", "name_missing"),
        ("phone", "phone_format"),
        ("guardian_phone", "phone_format"),
        ("district", "district_unknown"),
    }


@pytest.mark.parametrize(
    "served", [frozenset(), frozenset({"渝中区"}), frozenset({"渝中", "丰都县"})]
)
def test_a_district_with_or_without_its_ending(served):
    for written in ("渝中", "渝中区"):
        assert isinstance(parse(RowContext(TODAY, None, served), district=written), StudentRecord)


def test_without_a_stage_every_age_of_a_pupil_is_right():
    for birth in ("20230910", "20030911"):
        number = with_check(f"500230{birth}001")
        assert isinstance(parse(RowContext(TODAY), id_number=number, class_name=""), StudentRecord)


def test_clean_text():
    assert clean_text(1e300) == "1e+300"
    assert clean_text(2.5) == "2.5"
    assert clean_text(True) == "True"


cells = (
    st.none()
    | st.text(max_size=30)
    | st.floats()
    | st.booleans()
    | st.sampled_from(list(PUPIL.values()))
)


@given(st.dictionaries(st.sampled_from(COLUMNS), cells))
def test_a_row_is_a_record_or_says_what_is_wrong(row):
    result = parse_row(row, 9, CONTEXT)
    if isinstance(result, StudentRecord):
        assert result.identifiers
        assert result.name
        assert result.phone or result.guardian_phone
    else:
        assert result
        assert all(
            isinstance(problem, RowProblem) and problem.column in COLUMNS for problem in result
        )
        assert all(
            repr(value) not in repr(result)
            for value in row.values()
            if isinstance(value, str) and len(value) > 9
        )
