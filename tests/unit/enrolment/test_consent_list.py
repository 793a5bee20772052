"""The list that a class teacher ticks, written and read back."""

import pytest

from connector.domain.enrolment import ConsentScope
from connector.enrolment.consent_list import Answer, ListLine, make_list, read_answers
from connector.errors import RecordError

LINES = (ListLine(2, "三年级2班", "张*", "no_answer"), ListLine(3, "三年级2班", "李*", "holds"))


def listed(path, *lines, header="row,class,name,answer,scopes,evidence"):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return read_answers(path)


@pytest.mark.parametrize("name", ["list.csv", "list.xlsx"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_is_written_can_be_read(tmp_path, name, language):
    path = tmp_path / name
    path.write_bytes(make_list(LINES, path.suffix, language=language))
    read = read_answers(path)
    assert [(line.row, line.class_name, line.name, line.answer) for line in read] == [
        (2, "三年级2班", "张*", Answer.NONE),
        (3, "三年级2班", "李*", Answer.NONE),
    ]
    assert not any(line.problem for line in read)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("同意", Answer.GIVEN),
        (" √ ", Answer.GIVEN),
        ("YES", Answer.GIVEN),
        ("不 同意", Answer.REFUSED),
        ("refused", Answer.REFUSED),
        ("看不清", Answer.UNREADABLE),
        ("other child", Answer.OTHER_CHILD),
        ("", Answer.NONE),
    ],
)
def test_answers(tmp_path, word, answer):
    (line,) = listed(tmp_path / "a.csv", f"2,,张*,{word},,")
    assert (line.answer, line.problem) == (answer, "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2,,,也许,,", "answer_unknown"),
        ("二,,,同意,,", "row_missing"),
        (",,,同意,,", "row_missing"),
        ("-2,,,同意,,", "row_missing"),
        ("2,,,同意,moon,", "scope_unknown"),
    ],
)
def test_nothing_is_guessed(tmp_path, line, problem):
    (read,) = listed(tmp_path / "a.csv", line)
    assert (read.answer, read.problem) == (Answer.NONE, problem)


def test_two_answers_for_a_row_are_none(tmp_path):
    read = listed(tmp_path / "a.csv", "2,,,同意,,", "3,,,同意,,", "2,,,不同意,,")
    assert [(line.line, line.problem) for line in read] == [
        (2, "row_twice"), (3, ""), (4, "row_twice"),
    ]  # fmt: skip


def test_scopes_and_evidence_of_a_line(tmp_path):
    (read,) = listed(tmp_path / "a.csv", '2,,,同意,"card；network:city",盒 7')
    assert read.scopes == (ConsentScope.CARD, ConsentScope.NETWORK_CITY)
    assert read.evidence == "盒 7"
    assert "盒" not in repr(read)


def test_titles_above_and_empty_lines_do_not_matter(tmp_path):
    read = listed(tmp_path / "a.csv", "行号,答复", ",", "2,同意", header="三年级2班 授权书,")
    assert [(line.line, line.row, line.answer) for line in read] == [(4, 2, Answer.GIVEN)]


def test_a_file_without_the_columns(tmp_path):
    with pytest.raises(RecordError, match="header_missing"):
        listed(tmp_path / "a.csv", "2,同意", header="number,word")
