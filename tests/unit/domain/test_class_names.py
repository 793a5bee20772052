"""How schools write their classes, and what is not read because it may mean two (A45, A46)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.class_names import (
    ClassName,
    parse_class_label,
    parse_class_name,
    parse_grade,
)
from connector.domain.school import SchoolStage, SchoolSystem, levels_of

K, P, J, H = SchoolStage
SIX, FIVE = SchoolSystem.SIX_THREE, SchoolSystem.FIVE_FOUR


def parse(text, stage=P, *, system=SIX, year=2026, grade=""):
    found = parse_class_name(text, stage=stage, system=system, school_year=year, grade=grade)
    return None if found is None else (found.level, found.name)


@pytest.mark.parametrize(
    "text",
    [
        "三（2）班", "三(2)班", "三（二）班", "三⑵班", "3.2", "3．2", "3-2", "3—2", "3－2班", "3/2", "3·2", "3、2班",
        "302班", "0302", "３０２", "3(2)", "3(2)班", "3(02)班", "三2班", "三二班",
        "三年级2班", "三年级二班", "三年级02班", "三年级（2）班", "三年级(二)班", "三年级2", "三年级-2班", "3年级2班",
        "三年二班", "3年2班", "小学三年级（2）班", "小三(2)班", "2024级2班", "2024级（2）班", "24级2班",
        "小学2024级2班", "小2024级2班", "2030届2班", "G3C2", "g3-2", "Grade 3 Class 2", "Grade 3, Class 2",
        "GRADE 3 CLASS 02", "Class 2, Grade 3", "Class 2 of Grade 3", "Gr.3 Cl.2", " 三 年 级 ２ 班 ",
        "三\u200b年级\u30002班", "3【2】班",
    ],
)  # fmt: skip
def test_ways_to_write_class_2_of_grade_3(text):
    assert parse(text) == (3, "2班")


@pytest.mark.parametrize(
    ("text", "stage", "level", "name"),
    [
        ("初一3班", J, 7, "3班"),
        ("初一（3）班", J, 7, "3班"),
        ("七年级3班", J, 7, "3班"),
        ("初中一年级3班", J, 7, "3班"),
        ("初中七年级3班", J, 7, "3班"),
        ("初一年级三班", J, 7, "3班"),
        ("初1(3)班", J, 7, "3班"),
        ("初2025级3班", J, 8, "3班"),
        ("703", J, 7, "3班"),
        ("9.12", J, 9, "12班"),
        ("高一(12)班", H, 10, "12班"),
        ("高一12班", H, 10, "12班"),
        ("高一十二班", H, 10, "12班"),
        ("高中二年级二十一班", H, 11, "21班"),
        ("高三10班", H, 12, "10班"),
        ("1012", H, 10, "12班"),
        ("高2026级5班", H, 10, "5班"),
        ("高2027届5班", H, 12, "5班"),
        ("2025级5班", H, 11, "5班"),
        ("大班", K, 0, ""),
        ("学前班", K, 0, ""),
        ("大一班", K, 0, "1班"),
        ("大（一）班", K, 0, "1班"),
        ("大班1班", K, 0, "1班"),
        ("大班(1)班", K, 0, "1班"),
        ("中(2)班", K, -1, "2班"),
        ("中2班", K, -1, "2班"),
        ("小二班", K, -2, "2班"),
        ("小A班", K, -2, "A班"),
        ("幼儿园大班", K, 0, ""),
        ("2026级1班", K, -2, "1班"),
        ("大班向日葵班", K, 0, "向日葵班"),
        ("三年级", P, 3, ""),
        ("三年级实验班", P, 3, "实验班"),
        ("三年级（实验）班", P, 3, "实验班"),
        ("三(实验)班", P, 3, "实验班"),
        ("三年级实验(1)班", P, 3, "实验1班"),
        ("三年级A班", P, 3, "A班"),
        ("三年级a班", P, 3, "A班"),
        ("三A班", P, 3, "A班"),
        ("3A", P, 3, "A班"),
        ("三年级A2班", P, 3, "A2班"),
        ("Grade 3 Class B", P, 3, "B班"),
        ("高一实验班", H, 10, "实验班"),
        ("高一STEAM班", H, 10, "STEAM班"),
        ("三年级十班", P, 3, "10班"),
        ("三年级一百班", P, 3, "一百班"),
    ],
)
def test_ways_to_write_other_classes(text, stage, level, name):
    assert parse(text, stage) == (level, name)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("", P), ("   ", P), ("2班", P), ("（2）班", P), ("二班", P), ("十二班", P), ("三十二班", P), ("32班", P),
        ("实验班", P), ("2", P), ("32", P), ("3.0", P), ("300", P), ("0.2", K), ("001", K), ("0302", K), ("零年级2班", P),
        ("七年级1班", P), ("703", P), ("初一3班", P), ("高一3班", J), ("三年级2班", J), ("大班", P), ("大一班", P),
        ("小一班", P), ("小七(1)班", P), ("初四(1)班", J), ("初五年级1班", J), ("2020级2班", P), ("2027级2班", P), ("2026届2班", P),
        ("2023级2班", H), ("2023", P), ("399", P), ("30101", P), ("高11班", H), ("三年级0班", P), ("三年级一二班", P),
        ("三年级2班(双语)", P), ("三年级2班3班", P), ("三年级七年级班", P), ("三年级2024级班", P), ("三年级高一班", P),
        ("三年级实验", P), ("三年级" + "长" * 12 + "班", P), ("三年级2班" + " " * 40, P), ("2026-03-02", P), ("小学2024级2班", J),
        ("张三", P), ("班", P), ("三年级班", P), ("G32", P), ("托一班", K), ("大象班", K), ("=3.2", P), ("²₃", P),
    ],
)  # fmt: skip
def test_what_names_no_class_or_may_name_two(text, stage):
    assert parse(text, stage) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023级2班", None),
        ("小学2023级2班", (4, "2班")),
        ("初2026级2班", (7, "2班")),
        ("小二班", None),
        ("大二班", (0, "2班")),
        ("小班2班", (-2, "2班")),
        ("301", (3, "1班")),
        ("1201", (12, "1班")),
        ("七年级1班", (7, "1班")),
    ],
)
def test_a_school_whose_stage_is_not_told(text, expected):
    assert parse(text, None) == expected


@pytest.mark.parametrize(
    ("text", "level"),
    [("初一1班", 6), ("初四1班", 9), ("六年级1班", 6), ("2026级1班", 6), ("初中一年级1班", 6)],
)
def test_the_five_four_system(text, level):
    assert parse(text, J, system=FIVE) == (level, "1班")
    assert parse("六年级1班", P, system=FIVE) is None


def test_a_year_of_entry_moves_on_with_the_school_year():
    assert [parse("2023级2班", year=year) for year in (2022, 2023, 2028, 2029)] == [
        None,
        (1, "2班"),
        (6, "2班"),
        None,
    ]


@pytest.mark.parametrize(
    ("grade", "text", "expected"),
    [
        ("三年级", "2班", (3, "2班")),
        ("三", "（二）班", (3, "2班")),
        ("3", "2", (3, "2班")),
        ("2024级", "02班", (3, "2班")),
        ("2024", "2", (3, "2班")),
        ("G3", "Class 2", (3, "2班")),
        ("三年级", "实验班", (3, "实验班")),
        ("三年级", "", (3, "")),
        ("三年级", "三年级2班", (3, "2班")),
        ("三年级", "三（2）班", (3, "2班")),
        ("三年级", "302", (3, "2班")),
        ("三年级", "402", None),
        ("三年级", "四年级2班", None),
        ("三年级", "七年级2班", None),
        ("三年级", "高一2班", None),
        ("三年级", "大班", None),
        ("三年级", "?", None),
        ("七年级", "2班", None),
        ("其他", "2班", None),
        ("其他", "三年级2班", None),
        ("三年级2班", "2班", None),
        (" ", "三年级2班", (3, "2班")),
    ],
)
def test_a_grade_column_of_its_own(grade, text, expected):
    assert parse(text, grade=grade) == expected


def test_grade_columns_of_other_stages():
    assert parse("2班", J, grade="初二") == (8, "2班")
    assert parse("大一班", K, grade="大班") == (0, "1班")
    assert parse("1班", K, grade="大") == (0, "1班")
    assert parse("向日葵班", K, grade="大班") == (0, "向日葵班")
    assert parse_grade("", stage=P, system=SIX, school_year=2026) is None
    assert parse_grade("十", stage=None, system=SIX, school_year=2026) == 10
    assert parse_grade("大班", stage=K, system=SIX, school_year=2026) == 0


def test_a_class_without_its_grade():
    assert parse_class_label("（二）班") == "2班"
    assert parse_class_label("二十") == "20班"
    assert parse_class_label("火箭班") == "火箭班"
    for text in ("", "0班", "三年级2班", "高一班", "火箭", "x" * 41):
        assert parse_class_label(text) is None


def test_titles():
    assert ClassName(3, "2班").title() == "三年级2班"
    assert ClassName(3, "2班").title("en") == "Grade 3 Class 2"
    assert ClassName(10, "实验班").title("en") == "Grade 10 实验班"
    assert ClassName(0).title() == "大班"
    assert ClassName(0).title("en") == "Reception class"


stages = st.sampled_from([*SchoolStage, None])
systems = st.sampled_from(SchoolSystem)
labels = st.sampled_from(
    ["", "实验班", "A班", "B12班", "向日葵班", "实验2班", "STEAM班"]
) | st.integers(1, 99).map("{}班".format)
texts = st.text(
    "一二三四五六七八九十年级届班小中大初高学前实验幼儿园gradeclsAB0123456789()（）.-·/ ２",
    max_size=12,
)


@given(stages, systems, labels, st.data())
def test_a_title_is_read_as_what_it_is_the_title_of(stage, system, label, data):
    level = data.draw(st.sampled_from(levels_of(stage, system)))
    written = ClassName(level, label)
    found = parse_class_name(written.title(), stage=stage, system=system, school_year=2026)
    assert found == written
    english = parse_class_name(written.title("en"), stage=stage, system=system, school_year=2026)
    assert english is None or english == written


@given(texts, stages, systems, st.sampled_from(["", "三年级", "初一", "大班", "2024"]))
def test_normalising_again_changes_nothing(text, stage, system, grade):
    found = parse_class_name(text, stage=stage, system=system, school_year=2026, grade=grade)
    if found is not None:
        assert found.level in levels_of(stage, system)
        title = found.title()
        assert parse_class_name(title, stage=stage, system=system, school_year=2026) == found


@given(st.text())
def test_no_text_makes_it_raise(text):
    parse(text, None)
    parse(text, None, grade=text)
