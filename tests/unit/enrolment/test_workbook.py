"""Real roster files: what is read, what is refused."""

import contextlib
import re
import zipfile
from datetime import date

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.domain.enrolment import RowContext, RowProblem, StudentRecord, parse_row
from connector.enrolment import sheets, workbook
from connector.enrolment.columns import LAYOUTS, Layout
from connector.enrolment.messages import MESSAGES, describe_problem
from connector.enrolment.workbook import read_roster, write_template
from connector.errors import RecordError
from tests.support.xls import make_compound_file

HEADERS = ["身份证号", "姓名", "联系电话", "家长姓名", "家长电话"]
ROW = ["500230201503010015", "丁一一", "13800000001", "丁大大", "13900000001"]


def read_error(path):
    with pytest.raises(RecordError) as caught:
        read_roster(path)
    return caught.value.code


def test_rows_keep_their_number_in_the_sheet(tmp_path, helpers):
    path = helpers.write_sheet(
        tmp_path / "a.xlsx", [ROW, [], ["", " "], ROW], HEADERS, title="学生名册"
    )
    roster = read_roster(path)
    assert (roster.sheet, roster.header_row) == ("名册", 2)
    assert [row.number for row in roster.rows] == [3, 6]
    assert roster.rows[0].cells == dict(zip(LAYOUTS[Layout.A41], ROW, strict=True))
    assert roster.cell_of(3, "guardian_phone") == "E3"
    assert roster.cell_of(3, "district") == ""


def test_a_cell_beyond_the_end_of_a_row_is_empty(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW[:2]], HEADERS)
    assert read_roster(path).rows[0].cells["phone"] in {None, ""}


def test_values_stay_out_of_reprs(tmp_path, helpers):
    roster = read_roster(helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS))
    assert "5002302015" not in repr(roster)
    assert "丁" not in repr(roster.rows[0])


def test_numbers_formulas_and_errors(tmp_path, helpers):
    """A number has lost digits; a formula gives what it computed; an error is an empty cell."""

    def formulas(book):
        page = book.get_worksheet_by_name("名册")
        page.write_number(1, 0, 500230201503010015)
        page.write_formula(2, 0, '="50023020150301"&"0015"', None, "500230201503010015")
        page.write_formula(3, 0, "=1/0", None, "#DIV/0!")
        page.write_number(4, 2, 13800000001)
        page.write_formula(5, 0, "=A1", None, 0)

    rows = [["", *ROW[1:]] for _ in range(3)] + [ROW, ["", *ROW[1:]]]
    roster = read_roster(helpers.write_sheet(tmp_path / "a.xlsx", rows, HEADERS, more=formulas))
    context = RowContext(date(2026, 9, 10))
    results = [parse_row(row.cells, row.number, context) for row in roster.rows]
    assert results[0] == [RowProblem("id_digits_lost", 2, "id_number")]
    assert isinstance(results[1], StudentRecord)
    assert results[2] == [RowProblem("id_missing", 4, "id_number")]
    assert results[3].phone == "13800000001"
    assert results[4] == [RowProblem("id_length", 6, "id_number")]


def test_the_first_visible_roster_is_read_and_others_are_named(tmp_path, helpers):
    """Scenario 26: a hidden sheet is not lost silently."""

    def more(book):
        hidden = book.add_worksheet("二班")
        hidden.write_row(0, 0, HEADERS)
        hidden.hide()
        book.add_worksheet("说明").write(0, 0, "姓名写全名")
        broken = book.add_worksheet("三班")
        broken.write_row(0, 0, [*HEADERS, "姓名"])

    roster = read_roster(helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS, more=more))
    assert roster.sheet == "名册"
    assert roster.unread_sheets == ("二班", "三班")


def test_a_cover_sheet_is_passed_over(tmp_path, helpers):
    def more(book):
        page = book.add_worksheet("学生")
        page.write_row(4, 0, HEADERS)
        page.write_row(5, 0, ROW)

    path = helpers.write_sheet(
        tmp_path / "a.xlsx", [["请填写第二张表"]], ["说明"], more=more, sheet="封面"
    )
    roster = read_roster(path)
    assert (roster.sheet, roster.header_row, len(roster.rows)) == ("学生", 5, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv(tmp_path, encoding):
    path = tmp_path / "roster.csv"
    path.write_bytes((",".join(HEADERS) + "\r\n" + ",".join(ROW) + "\r\n").encode(encoding))
    roster = read_roster(path)
    assert roster.rows[0].cells["name"] == "丁一一"
    assert roster.sheet == "roster"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.xlsx", b"", "file_not_spreadsheet"),
        ("a.xlsx", b"%PDF-1.7 not a spreadsheet", "file_not_spreadsheet"),
        ("a.xlsx", b"PK\x03\x04 broken archive", "file_not_spreadsheet"),
        ("a.xlsx", make_compound_file({"WordDocument": b"x"}), "file_not_spreadsheet"),
        (
            "a.xlsx",
            make_compound_file({"EncryptionInfo": b"", "EncryptedPackage": b"x" * 5000}),
            "file_password",
        ),
        ("a.csv", b"\x00\x01\x02", "file_not_spreadsheet"),
        ("a.csv", b"\xff\xff\xff\xff", "file_not_spreadsheet"),
        ("a.csv", b"a" * 200_000, "file_not_spreadsheet"),
        ("a.csv", "第一行\n第二行\n".encode(), "header_missing"),
    ],
    ids=[
        "empty",
        "pdf",
        "broken zip",
        "word",
        "password",
        "binary csv",
        "no text",
        "long field",
        "no header",
    ],
)
def test_refused_files(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    assert read_error(path) == code


def test_missing_file_and_folder(tmp_path):
    assert read_error(tmp_path / "nowhere.xlsx") == "file_missing"
    assert read_error(tmp_path) == "file_missing"


def test_a_zip_that_is_no_workbook(tmp_path):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert read_error(path) == "file_not_spreadsheet"


def test_sizes_are_limited(tmp_path, helpers, monkeypatch):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW] * 3, HEADERS)
    monkeypatch.setattr(workbook, "_MAX_ROWS", 2)
    assert read_error(path) == "too_many_rows"
    monkeypatch.setattr(sheets, "_MAX_UNPACKED_BYTES", 1000)
    assert read_error(path) == "file_too_large"
    monkeypatch.setattr(sheets, "_MAX_FILE_BYTES", 1000)
    assert read_error(path) == "file_too_large"


def put_far_away(value):
    def more(book):
        page = book.worksheets()[0]
        page.write(1048575, 16383, value, book.add_format({"bold": True}))

    return more


def test_a_cell_far_away_is_not_unfolded(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS, more=put_far_away("x"))
    assert path.stat().st_size < 10_000
    assert read_error(path) == "sheet_too_wide"


def test_a_format_far_away_does_not_matter(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS, more=put_far_away(None))
    assert len(read_roster(path).rows) == 1


def write_ods(path, rows):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
            '<manifest:file-entry manifest:full-path="/" manifest:media-type='
            '"application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>',
        )
        archive.writestr(
            "content.xml",
            '<?xml version="1.0"?><office:document-content'
            ' xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
            ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
            ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="a">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path


def ods_row(*values, rows=1, columns=1):
    cells = "".join(
        f'<table:table-cell table:number-columns-repeated="{columns}" office:value-type="string">'
        f"<text:p>{value}</text:p></table:table-cell>"
        for value in values
    )
    return f'<table:table-row table:number-rows-repeated="{rows}">{cells}</table:table-row>'


def test_repeated_cells_are_not_unfolded(tmp_path):
    table = ods_row(*HEADERS) + ods_row(*ROW)
    empty = '<table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row>'
    assert len(read_roster(write_ods(tmp_path / "a.ods", table + empty)).rows) == 1
    for more in (ods_row("x", rows=1_000_000, columns=1000), empty + ods_row(*"xxxxx")):
        path = write_ods(tmp_path / "b.ods", table + more)
        assert read_error(path) == "sheet_too_wide"


def test_no_header(tmp_path, helpers):
    assert (
        read_error(helpers.write_sheet(tmp_path / "a.xlsx", [ROW], ["a", "b"])) == "header_missing"
    )


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_template_can_be_read_back(tmp_path, layout, language):
    path = tmp_path / "template.xlsx"
    write_template(path, layout, language=language)
    roster = read_roster(path)
    assert tuple(roster.columns.index) == LAYOUTS[layout]
    assert roster.columns.layout is layout
    assert not roster.rows
    assert not roster.columns.unknown
    assert not roster.unread_sheets


def test_the_template_keeps_every_digit(tmp_path):
    """Columns are text, so that 18 digits typed into Excel stay 18 digits."""
    path = tmp_path / "template.xlsx"
    write_template(path)
    sheet = openpyxl.load_workbook(path)["名册"]
    as_text = {
        position
        for group in sheet.column_dimensions.values()
        if group.number_format == "@"
        for position in range(group.min, group.max + 1)
    }
    assert as_text == set(range(1, 8))


def test_a_template_that_cannot_be_written(tmp_path):
    with pytest.raises(RecordError) as caught:
        write_template(tmp_path / "nowhere" / "template.xlsx")
    assert caught.value.code == "file_not_writable"


def test_every_code_has_a_message_in_both_languages():
    from connector.domain.identity import IdentityFault

    assert {fault.value for fault in IdentityFault} <= MESSAGES.keys()
    for code, (chinese, english) in MESSAGES.items():
        assert re.search("请", chinese), code
        assert re.search(r"\w: \w", english), code
        assert not set("；;") & set(chinese + english), code
        assert describe_problem(code, "zh") == chinese
        assert describe_problem(code, "en-GB") == english
    assert describe_problem("a_plugin_says_no") == "a_plugin_says_no"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=400),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]),
)
def test_no_content_makes_it_raise_anything_else(tmp_path, content, start):
    for suffix in ("xlsx", "csv"):
        path = tmp_path / f"fuzz.{suffix}"
        path.write_bytes(start + content)
        with contextlib.suppress(RecordError):
            read_roster(path)
