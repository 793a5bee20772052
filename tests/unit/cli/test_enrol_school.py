"""``onecard enrol school``: schools, grades, classes, calendars and liaisons."""

import json
from datetime import date

import pytest

from connector.domain.ids import InstitutionId
from connector.ports.store import PersonalData

LIB = InstitutionId("LIB")


@pytest.fixture
def school(installation, onecard):
    """Run ``onecard enrol school`` where a school s1 is; JSON output is read."""

    def run(*arguments, code=0, **more):
        result = onecard("enrol", "school", *arguments, **more)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    run("add", "s1", "丰都一小", "--stage", "primary")
    return run


@pytest.fixture
def place(application):
    """Put a new pupil into a class of s1."""

    def place(level, name):
        found = application.enrolment.find_school(LIB, "s1")
        patron_id = application.store.people.add_person(
            PersonalData("丁一一"), (), home=LIB, category="student"
        )
        into = application.store.schools.ensure_class(found, level, name, actor="clerk")
        application.store.schools.place_pupils(
            found,
            {patron_id: into.class_id},
            school_year=2026,
            on=date(2026, 9, 1),
            reason="moved",
            actor="clerk",
        )
        return patron_id

    return place


def test_a_school_comes_with_the_grades_of_its_stage(school):
    assert [row["name"] for row in school("grades", "s1", "--lang", "en", "--json")] == [
        f"Grade {level}" for level in range(1, 7)
    ]
    school("add", "s2", "丰都二中", "--stage", "junior", "--system", "5-4")
    assert [row["level"] for row in school("grades", "s2", "--json")] == [6, 7, 8, 9]


def test_what_is_not_said_of_a_school_stays(school):
    school("add", "s1", "第一小学", "--remark", "old building", "--known-classes")
    school("add", "s1", "第一小学", "--disabled")
    (row,) = school("list", "--json")
    assert (row["remark"], row["create_classes"], row["disabled"], row["stage"]) == (
        "old building",
        False,
        True,
        "primary",
    )


def test_a_grade_has_its_four_fields(school):
    school("grade", "s1", "3", "--name", "Third", "--disabled", "--sort", "9", "--remark", "r")
    row = school("grades", "s1", "--json")[-1]
    assert row == {
        "level": 3,
        "name": "Third",
        "classes": 0,
        "disabled": True,
        "sort": 9,
        "remark": "r",
    }
    school("grade", "s1", "三年级", "--remove")
    assert len(school("grades", "s1", "--json")) == 5
    assert "no such grade" in school("grade", "s1", "3", "--remove", code=1)
    assert "is no class" in school("grade", "s1", "七年级", code=1)


def test_a_class_is_added_renamed_and_counted(school, place):
    school("class", "s1", "3/2", "--remark", "x")
    place(3, "2班")
    school("class", "s1", "三(2)班", "--rename", "5班", "--sort", "4")
    (row,) = school("classes", "s1", "--lang", "en", "--json")
    assert (row["class"], row["pupils"], row["sort"], row["remark"]) == (
        "Grade 3 Class 5",
        1,
        4,
        "x",
    )


def test_a_class_with_a_history_is_not_removed(school, place):
    place(3, "2班")
    assert "--disabled" in school("class", "s1", "3/2", "--remove", code=1)
    assert "--disabled" in school("remove", "s1", code=1)
    school("class", "s1", "3/3")
    school("class", "s1", "3/3", "--remove")
    assert len(school("classes", "s1", "--json")) == 1


def test_an_unused_school_is_removed(school):
    school("add", "s2", "丰都二小")
    school("remove", "s2")
    assert [row["code"] for row in school("list", "--json")] == ["s1"]


def test_a_calendar_of_a_school_goes_before_that_of_all(school, application):
    school("calendar", "--year", "2026", "--first", "2026-09-07", "--last", "2027-07-09")
    rows = school(
        "calendar",
        "s1",
        "--year",
        "2026",
        "--first",
        "2026-08-24",
        "--last",
        "2027-07-09",
        "--json",
    )
    assert [row["school"] for row in rows] == [None, "s1"]
    found = application.enrolment.find_school(LIB, "s1")
    schools = application.schools
    assert schools.school_year_on(LIB, found, date(2026, 8, 24)) == 2026
    assert schools.school_year_on(LIB, found, date(2026, 8, 23)) == 2025
    assert schools.school_year_on(LIB, None, date(2026, 9, 6)) == 2025
    assert schools.school_year_on(LIB, found, date(2027, 8, 1)) == 2026
    assert schools.school_year_on(LIB, found, date(2027, 9, 1)) == 2027
    assert schools.school_year_on(LIB, None, date(2026, 9, 7)) == 2026


@pytest.mark.parametrize(
    ("first", "last"),
    [("2025-09-01", "2026-07-09"), ("2026-09-01", "2026-09-01"), ("2026-09-01", "2028-07-09")],
)
def test_a_calendar_of_another_year_is_refused(school, first, last):
    output = school("calendar", "--year", "2026", "--first", first, "--last", last, code=1)
    assert "school year 2026" in output
    school("calendar", "--year", "2026", code=2)


def test_a_liaison_is_asked_for_and_shown_masked(school, application):
    output = school("liaison", "s1", input="王老师\n13900000001\n")
    assert output.splitlines()[-1] == "s1: 王* *********01"
    (kept,) = application.schools.list_liaisons(LIB)
    assert (kept.name, kept.phone) == ("王老师", "13900000001")
    document = '{"name": "李馆员", "phone": "023-7070"}'
    row = school("liaison", "--json-input", "--json", input=document)
    assert (row["school"], row["name"]) == (None, "李*")
    listed = school("liaisons", "--json")
    assert [(row["school"], row["name"]) for row in listed] == [(None, "李*"), ("s1", "王*")]


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"name": "王"}', '{"name": "王", "phone": "x"}']
)
def test_a_liaison_that_cannot_be_one_is_refused(school, text):
    school("liaison", "s1", "--json-input", input=text, code=1)
    assert school("liaisons", "--json")[0]["name"] is None


def test_schools_without_a_liaison_past_the_day(school, installation, onecard):
    school("add", "s2", "丰都二小")
    school("add", "s3", "丰都三小", "--disabled")
    school("liaison", "s2", input="王老师\n13900000001\n")
    school("liaisons", "--overdue")
    settings = installation / "onecard.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(
        text.replace("[enrolment]\n", "[enrolment]\nliaison_deadline = 2026-01-31\n", 1),
        encoding="utf-8",
    )
    rows = school("liaisons", "--overdue", "--json", code=1)
    assert [(row["school"], row["deadline"], row["overdue"]) for row in rows] == [
        (None, "2026-01-31", True),
        ("s1", "2026-01-31", True),
    ]
    (check,) = [
        check
        for check in json.loads(onecard("doctor", "--json").stdout)["checks"]
        if check["name"].startswith("liaisons")
    ]
    assert check["status"] == "warn"
    assert "2026-01-31" in check["message"]


def test_lists_are_in_chinese_where_the_school_is(school):
    output = school("grades", "s1", "--lang", "zh")
    assert "是否停用" in output
    assert "三年级" in output


@pytest.mark.parametrize("code", ["../x", "a/b", " s1", "-s", ".", "s\n1", "x" * 65])
def test_a_code_that_is_no_file_name_is_refused(installation, onecard, code):
    result = onecard("enrol", "school", "add", "--stage", "primary", "--", code, "江城一小")
    assert result.exit_code == 1
    assert "letters, digits" in result.stderr
