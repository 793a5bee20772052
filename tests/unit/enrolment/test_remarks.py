"""The uploader's own sheet comes back with remarks: same values, same rows, no formula, for him alone."""

import os
import stat
from datetime import date, datetime, time

import openpyxl
import pytest
import xlsxwriter

from connector.domain.roster_row import RowProblem
from connector.enrolment.messages import describe_problem
from connector.enrolment.remarks import write_remarks
from connector.enrolment.workbook import read_roster
from connector.errors import RecordError
from tests.support.xls import make_xls

HEADERS = ["身份证号", "姓名", "联系电话", "家长姓名", "家长电话"]
ROW = ["500230201503010015", "丁一一", "13800000001", "丁大大", "13900000001"]


def at(*parts):
    return datetime(*parts)  # noqa: DTZ001 - cells know no zone


def remark(path, problems=(), **how):
    roster = read_roster(path)
    return write_remarks(path, roster, problems, **how)


def values(path):
    sheet = openpyxl.load_workbook(path).active
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def tinted(path):
    sheet = openpyxl.load_workbook(path).active
    return {
        cell.coordinate
        for row in sheet.iter_rows()
        for cell in row
        if cell.fill.fgColor.rgb == "FFFFC7CE"
    }


def test_remarks_stand_beside_their_rows(tmp_path, helpers):
    bad = ["5.00230E+17", "丁1", "13800000001", "", ""]
    path = helpers.write_sheet(
        tmp_path / "roster.xlsx", [ROW, bad, [], ROW], HEADERS, title="学生名册"
    )
    roster = read_roster(path)
    problems = [
        RowProblem("id_digits_lost", 4, "id_number"),
        RowProblem("name_characters", 4, "name"),
    ]
    written = write_remarks(path, roster, problems)
    assert written == tmp_path / "roster-remarks.xlsx"
    lines = values(written)
    assert lines[0] == ["学生名册", None, None, None, None, None]
    assert lines[1] == [*HEADERS, "备注"]
    assert lines[2] == [*ROW, None]
    assert lines[3][:3] == bad[:3]
    assert lines[3][5] == (
        f"{describe_problem('id_digits_lost')}；{describe_problem('name_characters')}"
    )
    assert lines[4] == [None] * 6
    assert lines[5] == [*ROW, None]
    assert tinted(written) == {"A4", "B4"}


def test_in_english(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "roster.xlsx", [ROW], HEADERS)
    problems = [RowProblem("name_missing", 2, "name"), RowProblem("needs_guardian", 2, "phone")]
    lines = values(remark(path, problems, language="en-GB"))
    assert lines[0][5] == "Remarks"
    assert lines[1][5] == "; ".join(describe_problem(each.code, "en") for each in problems)


def test_problems_without_a_cell_and_twice_the_same(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "roster.xlsx", [ROW], HEADERS)
    problems = [
        RowProblem("a_plugin_says_no", 2, ""),
        RowProblem("needs_guardian", 2, "district"),
        RowProblem("phone_format", 2, "phone"),
        RowProblem("phone_format", 2, "guardian_phone"),
    ]
    written = remark(path, problems)
    assert values(written)[1][5].split("；") == [
        "a_plugin_says_no",
        describe_problem("needs_guardian"),
        describe_problem("phone_format"),
    ]
    assert tinted(written) == {"C2", "E2"}


def test_it_is_written_for_its_owner_alone_and_replaces_nothing(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "roster.xlsx", [ROW], HEADERS)
    (tmp_path / "roster-remarks-2.xlsx").symlink_to(tmp_path / "nowhere")
    before = os.umask(0)
    try:
        written = [remark(path) for _ in range(3)]
    finally:
        os.umask(before)
    assert [each.name for each in written] == [
        "roster-remarks.xlsx",
        "roster-remarks-3.xlsx",
        "roster-remarks-4.xlsx",
    ]
    assert {stat.S_IMODE(each.stat().st_mode) for each in written} == {0o600}
    assert not (tmp_path / "nowhere").exists()
    assert {each.name for each in tmp_path.iterdir()} == {
        "roster.xlsx",
        "roster-remarks-2.xlsx",
        *(each.name for each in written),
    }


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "{=A1}", "http://example.org"]


@pytest.mark.parametrize("suffix", ["xlsx", "csv", "xls"])
def test_no_formula_survives(tmp_path, helpers, suffix):
    headers = [*HEADERS, *(f"列{n}" for n in range(len(FORMULAS)))]
    path = tmp_path / f"roster.{suffix}"
    if suffix == "xlsx":
        helpers.write_sheet(path, [[*ROW, *FORMULAS]], headers)
    elif suffix == "xls":
        path.write_bytes(make_xls({"名册": [headers, [*ROW, *FORMULAS]]}))
    else:
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in [*ROW, *FORMULAS]]
        path.write_text(",".join(headers) + "\n" + ",".join(quoted) + "\n")
    book = openpyxl.load_workbook(remark(path, [RowProblem("text_format", 2, "name")]))
    cells = next(book.active.iter_rows(min_row=2))
    assert [cell.value for cell in cells[:-1]] == [*ROW, *FORMULAS]
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr"}
    assert {cell.number_format for cell in cells} == {"@"}
    assert not any(cell.hyperlink for cell in cells)


def test_a_computed_value_is_written_not_its_formula(tmp_path, helpers):
    def formula(book):
        book.worksheets()[0].write_formula(1, 0, '="50023020150301"&"0015"', None, ROW[0])

    path = helpers.write_sheet(tmp_path / "a.xlsx", [["", *ROW[1:]]], HEADERS, more=formula)
    assert values(remark(path))[1][:5] == ROW


def test_values_are_written_as_they_were_read(tmp_path):
    path = tmp_path / "a.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, [*HEADERS, "生日", "时刻", "时间", "分数", "住校", "旧"])
    sheet.write_row(1, 0, ROW)
    sheet.write_datetime(1, 5, at(2015, 3, 1), book.add_format({"num_format": "yyyy-mm-dd"}))
    form = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    sheet.write_datetime(1, 6, at(2015, 3, 1, 8, 30), form)
    sheet.write_datetime(1, 7, time(8, 30), book.add_format({"num_format": "hh:mm:ss"}))
    sheet.write_number(1, 8, 98.5)
    sheet.write_boolean(1, 9, True)
    sheet.write_string(1, 10, "  0012 \n x")
    sheet.write_number(2, 0, 500230201503010015)
    book.close()
    before, after = (read_roster(each).source.iter_rows() for each in (path, remark(path)))
    for old, new in zip(before, after, strict=True):
        assert list(new)[: len(old)] == list(old)


def test_what_no_spreadsheet_can_hold_is_written_as_text(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    roster = read_roster(path)
    rows = [HEADERS, [float("nan"), date(1899, 1, 1), at(1200, 1, 1), None, float("inf")]]
    object.__setattr__(roster.source, "iter_rows", lambda: iter(rows))
    assert values(write_remarks(path, roster, ()))[1][:5] == [
        "nan",
        "1899-01-01",
        "1200-01-01 00:00:00",
        None,
        "inf",
    ]


def test_a_sheet_that_has_remarks_already_keeps_them(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [[*ROW, "走读"]], [*HEADERS, "备注"])
    first = remark(path, [RowProblem("phone_format", 2, "phone")])
    assert values(first)[0][5:] == ["备注", "导入备注"]
    assert values(first)[1][5:] == ["走读", describe_problem("phone_format")]


def test_rows_of_unequal_length_and_empty_columns_at_the_end(tmp_path):
    path = tmp_path / "a.csv"
    lines = [",".join(HEADERS) + ",,,", ",".join(ROW), ",".join(ROW) + ",寄宿,,", "x"]
    path.write_text("\n".join(lines))
    assert [len(line) for line in values(remark(path))] == [7] * 4
    assert values(remark(path))[0][6] == "备注"


def test_what_was_mended_can_be_imported_again(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW, ROW], HEADERS, title="名册")
    again = read_roster(remark(path, [RowProblem("twice_in_file", 4, "id_number")]))
    assert again.header_row == 2
    assert [tuple(row.cells.values()) for row in again.rows] == [tuple(ROW)] * 2
    assert again.columns.unknown == ("备注",)


def test_a_folder_that_cannot_be_written(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    roster = read_roster(path)
    with pytest.raises(RecordError) as caught:
        write_remarks(tmp_path / "nowhere" / "a.xlsx", roster, ())
    assert caught.value.code == "file_not_writable"


def test_nothing_is_left_of_a_file_that_was_begun(tmp_path, helpers, monkeypatch):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    monkeypatch.setattr("connector.enrolment.remarks._write_cell", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remark(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.xlsx"]
