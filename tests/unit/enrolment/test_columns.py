"""Which header names which column."""

import pytest

from connector.enrolment.columns import HEADERS, LAYOUTS, MANDATORY, ColumnMap, Layout, match_header
from connector.errors import RecordError


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("身份证号", "id_number"),
        ("身份证号*", "id_number"),
        ("＊身份证号码（必填）", "id_number"),
        (" 身 份 证 号 \n", "id_number"),
        ("ID Number*", "id_number"),
        ("id_no", "id_number"),
        ("姓名", "name"),
        ("学生姓名：", "name"),
        ("Student Name", "name"),
        ("联系电话*", "phone"),
        ("手机号【11位】", "phone"),
        ("家长姓名", "guardian_name"),
        ("监护人电话", "guardian_phone"),
        ("Parent phone", "guardian_phone"),
        ("班级", "class_name"),
        ("区/县*", "district"),
        ("District/County", "district"),
        ("学籍号\u200b", "student_no"),
        ("读者证号", "card_no"),
        ("年级", "grade"),
        ("所在年级*", "grade"),
        ("年级/班级", "class_name"),
        ("是否办证", "willing"),
        ("办证意愿（是/否）", "willing"),
        ("备注", None),
        ("序号", None),
        ("", None),
        (None, None),
        (3.0, None),
    ],
)
def test_headers(header, key):
    assert match_header(header) == key


def test_template_headers_are_understood():
    for key, titles in HEADERS.items():
        for title in titles:
            assert match_header(title + "*") == key


def test_layouts_of_the_notice():
    """A41: five columns; A49: seven, four of them mandatory."""
    assert len(LAYOUTS[Layout.A41]) == 5
    assert len(LAYOUTS[Layout.A49]) == 7
    assert len(MANDATORY[Layout.A49]) == 4
    assert LAYOUTS[Layout.A49][-1] == "district"


def test_columns_in_any_order_and_unknown_ones():
    columns = ColumnMap.from_header(["序号", "姓名", None, "联系电话", "身份证号", "备 注"], 3)
    assert columns is not None
    assert columns.index == {"name": 1, "phone": 3, "id_number": 4}
    assert columns.unknown == ("序号", "备 注")
    assert columns.layout is Layout.A41


@pytest.mark.parametrize("extra", ["班级", "区县"])
def test_class_or_district_make_the_long_layout(extra):
    columns = ColumnMap.from_header(["身份证号", "姓名", "家长电话", extra], 1)
    assert columns is not None
    assert columns.layout is Layout.A49


@pytest.mark.parametrize(
    "cells", [[], ["丰都县某某小学"], ["姓名", "联系电话"], ["身份证号", "联系电话"]]
)
def test_other_rows_are_no_header(cells):
    assert ColumnMap.from_header(cells, 1) is None


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (["身份证号", "姓名", "学生姓名", "联系电话"], "column_twice"),
        (["身份证号", "姓名", "班级"], "column_missing"),
    ],
)
def test_headers_that_cannot_be_read(cells, code):
    with pytest.raises(RecordError) as caught:
        ColumnMap.from_header(cells, 4)
    assert (caught.value.code, caught.value.position) == (code, 4)
