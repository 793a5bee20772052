"""The list that a class teacher ticks: what each guardian answered, row by row.

Nothing here records an answer. Rules —

- names are masked; batch and row, with the class and the masked name beside them, tell whose answer
  it is, and a line in which they do not fit is another child's;
- an answer is one of the known words or nothing: what is not understood is reported, never guessed;
- two answers for one row are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from connector.domain.enrolment import ConsentScope, clean_text
from connector.domain.identity import normalise_text
from connector.enrolment.tables import make_table
from connector.enrolment.workbook import read_cells
from connector.errors import RecordError

__all__ = ["Answer", "AnswerLine", "ListLine", "make_list", "read_answers"]


class Answer(StrEnum):
    """What a line of the list says."""

    GIVEN = "given"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    OTHER_CHILD = "other_child"
    NONE = "no_answer"


@dataclass(frozen=True, slots=True)
class ListLine:
    """One applicant on the list; the name is masked."""

    row: int
    class_name: str
    name: str
    state: str
    batch: str = ""


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One line that came back.

    Attributes:
        line: line of the file, from 1.
        row: row of the batch; None when it is no number.
        scopes: what was agreed to; empty = what the command says.
        problem: ``row_missing``, ``row_twice``, ``answer_unknown`` or ``scope_unknown``; a line
            with a problem is not an answer.
    """

    line: int
    row: int | None
    class_name: str
    name: str
    answer: Answer
    scopes: tuple[ConsentScope, ...] = ()
    evidence: str = field(default="", repr=False)
    problem: str = ""
    batch: str = ""


_HEADERS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "row": "行号",
        "class": "班级",
        "name": "姓名",
        "state": "状态",
        "answer": "答复（同意/不同意/看不清/别的孩子）",
        "scopes": "范围",
        "evidence": "凭证",
        "batch": "批次",
    },
    "en": {
        "row": "row",
        "class": "class",
        "name": "name",
        "state": "state",
        "answer": "answer (given/refused/unreadable/other child)",
        "scopes": "scopes",
        "evidence": "evidence",
        "batch": "batch",
    },
}
_KEYS: Mapping[str, str] = {
    word: key
    for language in _HEADERS.values()
    for key, header in language.items()
    for word in {header, header.partition("（")[0].partition(" (")[0]}
}
_ANSWERS: Mapping[str, Answer] = {
    "": Answer.NONE,
    "given": Answer.GIVEN,
    "yes": Answer.GIVEN,
    "y": Answer.GIVEN,
    "同意": Answer.GIVEN,
    "是": Answer.GIVEN,
    "√": Answer.GIVEN,
    "✓": Answer.GIVEN,
    "refused": Answer.REFUSED,
    "no": Answer.REFUSED,
    "n": Answer.REFUSED,
    "不同意": Answer.REFUSED,
    "拒绝": Answer.REFUSED,
    "否": Answer.REFUSED,
    "×": Answer.REFUSED,
    "unreadable": Answer.UNREADABLE,
    "看不清": Answer.UNREADABLE,
    "otherchild": Answer.OTHER_CHILD,
    "other_child": Answer.OTHER_CHILD,
    "别的孩子": Answer.OTHER_CHILD,
}


def make_list(lines: Sequence[ListLine], ending: str, *, language: str = "zh") -> bytes:
    """Return the list as a file whose name ends so: xlsx, else csv."""
    headers = _HEADERS["en" if language.startswith("en") else "zh"]
    rows = [list(headers.values())]
    rows += [
        [str(each.row), each.class_name, each.name, each.state, "", "", "", each.batch]
        for each in lines
    ]
    return make_table(rows, ending)


def read_answers(path: Path) -> tuple[AnswerLine, ...]:
    """Return the lines of a list that came back, each with its answer or its problem.

    Raises:
        RecordError: the file cannot be opened, or has no header with ``row`` and ``answer``
            (``header_missing``).
    """
    cells = read_cells(path)
    wanted = {"row", "answer"}
    header = next((n for n, row in enumerate(cells) if wanted <= set(_columns(row))), None)
    if header is None:
        raise RecordError(0, "header_missing")
    columns = _columns(cells[header])
    lines = list(_read_lines(cells, header, columns))
    times = Counter(line.row for line in lines if line.row is not None)
    return tuple(
        _with_problem(line, "row_twice") if line.row and times[line.row] > 1 else line
        for line in lines
    )


def _columns(row: Sequence[object]) -> dict[str, int]:
    found: dict[str, int] = {}
    for position, cell in enumerate(row):
        key = _KEYS.get(clean_text(cell).strip())
        if key is not None:
            found.setdefault(key, position)
    return found


def _read_lines(
    cells: Sequence[Sequence[object]], header: int, columns: Mapping[str, int]
) -> Iterator[AnswerLine]:
    for number, row in enumerate(cells[header + 1 :], start=header + 2):
        words = {
            key: clean_text(row[position]).strip() if position < len(row) else ""
            for key, position in columns.items()
        }
        if not any(words.values()):
            continue
        yield _read_line(number, words)


def _read_line(number: int, words: Mapping[str, str]) -> AnswerLine:
    digits = normalise_text(words["row"])
    row = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else None
    answer = _ANSWERS.get(normalise_text(words["answer"]).lower())
    scopes, scopes_known = _read_scopes(words.get("scopes", ""))
    problem = (
        "row_missing"
        if row is None
        else "answer_unknown"
        if answer is None
        else ""
        if scopes_known
        else "scope_unknown"
    )
    return AnswerLine(
        line=number,
        row=row,
        class_name=words.get("class", ""),
        name=words.get("name", ""),
        answer=Answer.NONE if problem or answer is None else answer,
        scopes=scopes,
        evidence=words.get("evidence", ""),
        problem=problem,
        batch=words.get("batch", ""),
    )


def _read_scopes(text: str) -> tuple[tuple[ConsentScope, ...], bool]:
    words = [word for word in re.split("[,;，；、]", normalise_text(text)) if word]
    known = {scope.value: scope for scope in ConsentScope}
    return tuple(known[word] for word in words if word in known), all(w in known for w in words)


def _with_problem(line: AnswerLine, problem: str) -> AnswerLine:
    return replace(line, answer=Answer.NONE, problem=line.problem or problem)
