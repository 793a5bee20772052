"""A class map is written, changed by hand, and read as a whole or not at all."""

import pytest

from connector.domain.class_names import ClassName
from connector.domain.promotion import LEAVES, PlanProblem
from connector.domain.school import SchoolStage, SchoolSystem
from connector.enrolment.class_map import describe_map_problem, read_class_map, write_class_map
from connector.enrolment.workbook import read_cells
from connector.errors import RecordError

CLASSES = (ClassName(3, "1班"), ClassName(3, "2班"), ClassName(5, "实验班"), ClassName(6, "10班"))
TARGETS = {
    CLASSES[0]: ClassName(4, "1班"),
    CLASSES[1]: ClassName(4, "1班"),
    CLASSES[2]: ClassName(6),
    CLASSES[3]: LEAVES,
}


def read(path, classes=CLASSES, stage=SchoolStage.PRIMARY):
    return read_class_map(
        path, stage=stage, system=SchoolSystem.SIX_THREE, school_year=2026, classes=classes
    )


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("stage", [SchoolStage.PRIMARY, None])
def test_a_written_map_is_read_again(tmp_path, language, stage):
    write_class_map(tmp_path / "map.xlsx", TARGETS, language=language)
    assert read(tmp_path / "map.xlsx", stage=stage) == TARGETS


@pytest.mark.parametrize("language", ["zh", "en"])
def test_so_is_one_of_a_kindergarten(tmp_path, language):
    targets = {ClassName(-2, "1班"): ClassName(-1, "1班"), ClassName(0, ""): LEAVES}
    write_class_map(tmp_path / "map.xlsx", targets, language=language)
    assert read(tmp_path / "map.xlsx", targets, SchoolStage.KINDERGARTEN) == targets


def test_a_school_writes_classes_its_own_way(tmp_path):
    file = tmp_path / "map.csv"
    file.write_text("升级对照表\n原班级,新班级,备注\n三(1)班,四（1）班,\n3.2,401,\n2021级10班,-,\n")
    assert read(file) == {
        CLASSES[0]: ClassName(4, "1班"),
        CLASSES[1]: ClassName(4, "1班"),
        CLASSES[3]: LEAVES,
    }


def test_a_bare_grade_is_the_grade_as_a_whole(tmp_path):
    file = tmp_path / "map.csv"
    file.write_text("from,to\n3(2),4\n")
    assert read(file) == {CLASSES[1]: ClassName(4)}


@pytest.mark.parametrize(
    ("text", "row", "code"),
    [
        ("班级,新的\n3(2),4(1)\n", 0, "map_header_missing"),
        ("from,to\n3(2),4(1)\nwhat,4(1)\n", 3, "map_class_unread"),
        ("from,to\n3(2),what\n", 2, "map_class_unread"),
        ("from,to\n3(9),4(9)\n", 2, "map_class_unknown"),
        ("from,to\n3(2),\n", 2, "map_target_missing"),
        ("from,to\n3(2),4(1)\n3(2),4(2)\n", 3, "map_class_twice"),
    ],
)
def test_a_bad_line_refuses_the_whole_map(tmp_path, text, row, code):
    file = tmp_path / "map.csv"
    file.write_text(text)
    with pytest.raises(RecordError) as refusal:
        read(file)
    assert (refusal.value.position, refusal.value.code) == (row, code)
    assert describe_map_problem(code, "en") != code


def test_a_class_name_is_never_a_formula(tmp_path):
    write_class_map(tmp_path / "map.xlsx", {ClassName(3, "=1+1"): LEAVES})
    assert read_cells(tmp_path / "map.xlsx")[1][0] == "三年级=1+1"


def test_every_problem_of_a_plan_has_its_words():
    for problem in PlanProblem:
        for language in ("zh", "en"):
            assert describe_map_problem(problem.value, language) != problem.value


@pytest.mark.parametrize("name", ["map.csv", "map.xlsx"])
def test_a_template_is_what_its_name_says_and_comes_back(tmp_path, name):
    file = tmp_path / name
    targets = {ClassName(3, "2班"): ClassName(4, "1班")}
    write_class_map(file, targets)
    assert file.read_bytes().startswith(b"PK") is name.endswith("xlsx")
    read = read_class_map(
        file,
        stage=SchoolStage.PRIMARY,
        system=SchoolSystem.SIX_THREE,
        school_year=2027,
        classes=list(targets),
    )
    assert read == targets
