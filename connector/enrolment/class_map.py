"""The class map of a promotion as a file: which class becomes which, written and read.

Nothing here decides who moves; ``connector.domain.promotion`` does. Rules —

- two columns, from and to, in xlsx or csv; a class is written as schools write it (三(2)班, 3.2);
- ``-`` under to = its pupils leave the school; a grade alone = to the grade as a whole;
- a file with one bad line is not used at all: half a map would promote the other half wrongly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from connector.domain.class_names import ClassName, parse_class_name, parse_grade
from connector.domain.promotion import LEAVES, ClassTarget
from connector.domain.school import SchoolStage, SchoolSystem
from connector.enrolment.messages import describe_problem
from connector.enrolment.tables import make_table
from connector.enrolment.workbook import read_cells
from connector.errors import RecordError

__all__ = ["describe_map_problem", "describe_target", "read_class_map", "write_class_map"]

_MESSAGES: Mapping[str, tuple[str, str]] = {
    "map_header_missing": (
        "找不到表头，请保留“原班级”和“新班级”两列",
        "no header row: have the columns from and to",
    ),
    "map_class_unread": (
        "班级写法无法识别，请写成“三年级2班”或“3(2)”",
        "a class that cannot be read: write it as Grade 3 Class 2 or 3(2)",
    ),
    "map_class_unknown": (
        "学校没有这个班级，请核对原班级",
        "the school has no such class: check the left column",
    ),
    "map_target_missing": (
        "没有填写新班级，请填写，离校的填“-”",
        "no class to go to: fill it in, or write - for those who leave",
    ),
    "map_class_twice": (
        "同一班级有两个去向，请改填年级，再导入新名册分班",
        "a class goes to two: give the grade alone, and import the new roster afterwards",
    ),
    "earlier_year": (
        "仍在更早学年的班级，请先按学年依次升级",
        "still in a class of an earlier year: promote the years in turn",
    ),
    "level_jump": (
        "只能升一级或留级，请改班级对照表",
        "only up a level, or the same level again: change the class map",
    ),
    "leaves_early": (
        "还没到毕业年级，请改班级对照表",
        "not in the last grade yet: change the class map",
    ),
    "no_such_level": (
        "该学校没有这个年级，请核对学校的学段和学制",
        "the school has no such grade: check its stage and system",
    ),
    "class_disabled": (
        "新班级或其年级已停用，请启用或改班级对照表",
        "the class or its grade is disabled: enable it, or change the class map",
    ),
}

_FROM = frozenset({"from", "原班级", "从", "old class"})
_TO = frozenset({"to", "新班级", "到", "new class"})
_LEAVES = frozenset({"-", "—", "离校", "毕业", "leaves"})
_HEADER_SEARCH_ROWS = 10


def describe_map_problem(code: str, language: str = "zh") -> str:
    """Return what a problem of a map, of its file or of a plan means, and what to do."""
    texts = _MESSAGES.get(code)
    return describe_problem(code, language) if texts is None else texts[language.startswith("en")]


def describe_target(target: ClassTarget, language: str = "zh") -> str:
    """Return where a class goes, ``-`` for the end of school."""
    if not isinstance(target, ClassName):
        return "-"
    return target.title(language if target.level >= 1 else "zh")


def write_class_map(
    path: Path, targets: Mapping[ClassName, ClassTarget], *, language: str = "zh"
) -> None:
    """Write a map to be changed by hand: every class, and where it goes.

    Raises:
        RecordError: the file cannot be written (``file_not_writable``).
    """
    english = language.startswith("en")
    rows = [("from", "to") if english else ("原班级", "新班级")]
    rows += [
        (describe_target(source, language), describe_target(target, language))
        for source, target in targets.items()
    ]
    try:
        path.write_bytes(make_table(rows, path.suffix))
    except OSError as err:
        raise RecordError(0, "file_not_writable") from err


def read_class_map(
    path: Path,
    *,
    stage: SchoolStage | None,
    system: SchoolSystem,
    school_year: int,
    classes: Collection[ClassName],
) -> Mapping[ClassName, ClassTarget]:
    """Return what a map says.

    Args:
        school_year: the year before the promotion, in which the classes on the left are.
        classes: of the school; one on the left that is not among them is refused.

    Raises:
        RecordError: as ``read_roster``, or at a row with ``map_class_unread``,
            ``map_class_unknown``, ``map_target_missing`` or ``map_class_twice``.
    """
    rows = read_cells(path)
    header, source_column, target_column = _find_header(rows)
    found: dict[ClassName, ClassTarget] = {}
    for number, cells in enumerate(rows[header:], start=header + 1):
        left, right = _text(cells, source_column), _text(cells, target_column)
        if not left and not right:
            continue
        source = parse_class_name(left, stage=stage, system=system, school_year=school_year)
        if source is None:
            raise RecordError(number, "map_class_unread")
        if source not in classes:
            raise RecordError(number, "map_class_unknown")
        if not right:
            raise RecordError(number, "map_target_missing")
        target: ClassTarget | None = LEAVES
        if right.lower() not in _LEAVES:
            target = _read_target(right, stage, system, school_year + 1)
        if target is None:
            raise RecordError(number, "map_class_unread")
        if found.setdefault(source, target) != target:
            raise RecordError(number, "map_class_twice")
    return found


def _read_target(
    text: str, stage: SchoolStage | None, system: SchoolSystem, school_year: int
) -> ClassName | None:
    found = parse_class_name(text, stage=stage, system=system, school_year=school_year)
    if found is not None:
        return found
    level = parse_grade(text, stage=stage, system=system, school_year=school_year)
    return None if level is None else ClassName(level)


def _find_header(rows: Sequence[Sequence[object]]) -> tuple[int, int, int]:
    for number, cells in enumerate(rows[:_HEADER_SEARCH_ROWS], start=1):
        titles = [_text(cells, position).lower().rstrip("*") for position in range(len(cells))]
        left = [position for position, title in enumerate(titles) if title in _FROM]
        right = [position for position, title in enumerate(titles) if title in _TO]
        if left and right:
            return number, left[0], right[0]
    raise RecordError(0, "map_header_missing")


def _text(cells: Sequence[object], position: int) -> str:
    value = cells[position] if position < len(cells) else None
    if value is None:
        return ""
    if isinstance(value, float):  # 3.1 and 3.10 are the same number
        value = int(value) if value.is_integer() else "?"
    return unicodedata.normalize("NFC", str(value)).strip()
