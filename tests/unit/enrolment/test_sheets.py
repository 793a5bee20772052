"""Files of every kind, odd, broken and hostile: rows one by one, or a clear refusal."""

import contextlib
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.enrolment import compound, extent, sheets
from connector.enrolment.columns import Layout
from connector.enrolment.workbook import read_cells, read_roster
from connector.errors import RecordError
from tests.support.xls import label, make_compound_file, make_xls, number, record

HEADERS = ["身份证号", "姓名", "联系电话", "家长姓名", "家长电话"]
ROW = ["500230201503010015", "丁一一", "13800000001", "丁大大", "13900000001"]


def error_of(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_roster(path)
    return caught.value.code


def read(path, content):
    path.write_bytes(content)
    return read_roster(path)


# --- xls


def test_xls(tmp_path):
    content = make_xls(
        {"说明": [["请填第二张表"]], "名册": [HEADERS, ROW, [], ROW], "!二班": [HEADERS, ROW]}
    )
    roster = read(tmp_path / "a.xls", content)
    assert (roster.sheet, [row.number for row in roster.rows]) == ("名册", [2, 4])
    assert tuple(roster.rows[0].cells.values()) == tuple(ROW)
    assert roster.hidden_sheets == ("二班",)
    assert [sheet.rows for sheet in roster.unread] == [1]


def test_a_large_xls(tmp_path):
    """Its streams are long enough for the normal sectors."""
    roster = read(tmp_path / "a.xls", make_xls({"名册": [HEADERS] + [ROW] * 2000}))
    assert len(roster.rows) == 2000
    assert roster.rows[1999].cells["name"] == "丁一一"


def test_an_xls_whose_table_of_sectors_needs_more_sectors(tmp_path):
    remark = "一" * 250
    content = make_xls({"名册": [HEADERS, *[[*ROW, remark]] * 30_000]})
    assert len(content) > 110 * 128 * 512
    assert compound.count_xls_cells(content) == 30_001 * 6
    assert len(read(tmp_path / "a.xls", content).rows) == 30_000


def test_xls_with_a_password(tmp_path):
    content = make_xls({"名册": [HEADERS, ROW]}, before=record(0x002F, b"\0" * 54))
    assert error_of(tmp_path / "a.xls", content) == "file_password"


@pytest.mark.parametrize(
    "records",
    [
        label(65535, 255, "x"),
        number(65535, 255, 1.0),
        record(0x027E, struct.pack("<HHHI", 65535, 255, 0, 2)),
        record(0x00BD, struct.pack("<HHHIHIH", 65535, 254, 0, 2, 0, 2, 255)),
    ],
)
def test_a_cell_far_away_in_xls(tmp_path, records):
    path = tmp_path / "a.xls"
    assert error_of(path, make_xls({"a": label(0, 0, "x") + records})) == "sheet_too_wide"


def test_many_wide_sheets_of_xls_count_together(tmp_path):
    wide = label(0, 0, "x") + label(9999, 99, "x")
    assert error_of(tmp_path / "a.xls", make_xls({"a": wide})) == "header_missing"
    many = {f"{n}": wide for n in range(6)}
    assert error_of(tmp_path / "a.xls", make_xls(many)) == "sheet_too_wide"


def test_a_sheet_of_xls_that_claims_too_much(tmp_path):
    claim = record(0x0200, struct.pack("<IIHHH", 0, 2**32 - 1, 0, 65535, 0))
    assert error_of(tmp_path / "a.xls", make_xls({"a": claim})) == "file_not_spreadsheet"


@pytest.mark.parametrize("cut", [8, 30, 60, 80, 300, 600, 900])
def test_broken_compound_files(tmp_path, cut):
    content = make_xls({"名册": [HEADERS, ROW]})
    assert error_of(tmp_path / "a.xls", content[:cut]) == "file_not_spreadsheet"


def test_chains_that_run_in_circles_end():
    content = bytearray(make_compound_file({"Workbook": b"x" * 5000}))
    (where,) = struct.unpack_from("<I", content, 76)
    struct.pack_into("<128I", content, (where + 1) * 512, *range(128))
    assert compound.count_xls_cells(bytes(content)) == 0
    struct.pack_into("<II", content, 68, 0, 2**31)
    assert compound.count_xls_cells(bytes(content)) == 0


@pytest.mark.parametrize(("offset", "value"), [(30, 0), (30, 31), (32, 0), (44, 65535)])
def test_sector_sizes_that_do_not_exist(tmp_path, offset, value):
    content = bytearray(make_xls({"名册": [HEADERS, ROW]}))
    struct.pack_into("<H", content, offset, value)
    path = tmp_path / "a.xls"
    if offset == 44:  # how many there are is found by following them
        assert len(read(path, bytes(content)).rows) == 1
    else:
        assert error_of(path, bytes(content)) == "file_not_spreadsheet"


# --- csv


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("suffix", ["csv", "txt", "CSV"])
def test_csv_with_its_delimiters(tmp_path, delimiter, encoding, suffix):
    lines = [
        "某某小学，名册",
        delimiter.join(HEADERS),
        delimiter.join(ROW),
        "",
        delimiter.join(ROW),
    ]
    roster = read(tmp_path / f"a.{suffix}", "\r\n".join(lines).encode(encoding))
    assert [row.number for row in roster.rows] == [3, 5]
    assert tuple(roster.rows[0].cells.values()) == tuple(ROW)
    assert roster.columns.layout is Layout.A41


def test_delimiters_inside_cells_do_not_matter(tmp_path):
    text = ";".join([*HEADERS, "班级"]) + "\n" + ";".join([*ROW, '"3,2;\n班"']) + "\n"
    roster = read(tmp_path / "a.csv", text.encode())
    assert roster.rows[0].cells["class_name"] == "3,2;\n班"


def test_digits_kept_for_excel_are_unwrapped(tmp_path):
    text = ",".join(HEADERS) + '\n="500230201503010015",丁一一,"=""13800000001""",,\n'
    cells = read(tmp_path / "a.csv", text.encode()).rows[0].cells
    assert (cells["id_number"], cells["phone"]) == (ROW[0], ROW[2])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_refused_with_their_own_word(tmp_path, encoding):
    text = ",".join(HEADERS) + "\n" + ",".join(ROW)
    assert error_of(tmp_path / "a.csv", text.encode(encoding)) == "file_encoding"


@pytest.mark.parametrize("bad", ['"丁一一,1,2\n', '"丁"一一,1,2\n'])
def test_a_quote_without_its_pair_swallows_no_rows(tmp_path, bad):
    rows = [",".join(ROW)] * 20
    rows[3] = bad
    text = "\n".join([",".join(HEADERS), *rows])
    assert error_of(tmp_path / "a.csv", text.encode()) == "csv_quotes"


def test_a_workbook_that_calls_itself_csv(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    assert len(read(tmp_path / "a.csv", path.read_bytes()).rows) == 1


def test_other_texts_are_no_spreadsheets(tmp_path):
    html = "<html><table><tr><td>姓名</td></tr></table></html>".encode()
    assert error_of(tmp_path / "a.xls", html) == "file_not_spreadsheet"


# --- size


def test_a_huge_file_is_refused_without_being_read(tmp_path):
    path = tmp_path / "a.xlsx"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    tracemalloc.start()
    try:
        assert error_of(path) == "file_too_large"
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_file_that_is_being_written(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 100)
    whole = path.stat()
    path.write_bytes(b"x" * 150)
    monkeypatch.setattr(sheets.Path, "stat", lambda self, **how: whole)
    assert error_of(path) == "file_missing"


def test_a_device_is_no_file():
    with pytest.raises(RecordError) as caught:
        read_cells(sheets.Path("/dev/zero"))
    assert caught.value.code == "file_missing"


def test_rows_are_not_held(tmp_path):
    """Going through many rows takes no more memory than the file itself."""
    line = (",".join(ROW) + "\n").encode()
    path = tmp_path / "a.csv"
    path.write_bytes(",".join(HEADERS).encode() + b"\n" + line * 30_000)
    size = path.stat().st_size
    tracemalloc.start()
    try:
        roster = read_roster(path)
        assert sum(1 for _ in roster.rows) == len(roster.rows) == 30_000
        assert tracemalloc.get_traced_memory()[1] < size + 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_rows_are_a_sequence(tmp_path, helpers):
    rows = read_roster(helpers.write_sheet(tmp_path / "a.xlsx", [ROW] * 5, HEADERS)).rows
    assert [row.number for row in rows] == [row.number for row in rows] == [2, 3, 4, 5, 6]
    assert (rows[0].number, rows[-1].number) == (2, 6)
    assert [row.number for row in rows[1:3]] == [3, 4]
    for index in (5, -6):
        with pytest.raises(IndexError):
            rows[index]


def test_columns_left_empty_at_the_edge(tmp_path, helpers):
    path = helpers.write_sheet(tmp_path / "a.xlsx", [[None, None, *ROW]], [None, None, *HEADERS])
    roster = read_roster(path)
    assert roster.cell_of(2, "id_number") == "C2"
    assert tuple(roster.rows[0].cells.values()) == tuple(ROW)


# --- packed files


def pack(path, entries, *, lie_about=None):
    """Write a zip; ``lie_about`` states another size for that entry, with the CRC that fits it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    if lie_about is not None:
        name, size = lie_about
        content = bytearray(path.read_bytes())
        about = struct.pack("<II", zlib.crc32(entries[name]), len(entries[name]))
        lie = struct.pack("<II", zlib.crc32(entries[name][:size]), size)
        for crc, packed in ((about[:4], about[4:]),):
            at = 0
            while (at := content.find(crc, at)) >= 0:
                assert content[at + 8 : at + 12] == packed
                content[at : at + 4], content[at + 8 : at + 12] = lie[:4], lie[4:]
                at += 12
        path.write_bytes(content)


def test_a_zip_bomb(tmp_path):
    path = tmp_path / "a.xlsx"
    pack(path, {"xl/worksheets/sheet1.xml": b" " * (301 * 1024 * 1024)})
    assert path.stat().st_size < 400_000
    assert error_of(path) == "file_too_large"


def test_a_zip_bomb_that_lies_about_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "_MAX_UNPACKED_BYTES", 10_000)
    path = tmp_path / "a.xlsx"
    pack(path, {"a.xml": b"<a/>" + b" " * 1_000_000}, lie_about=("a.xml", 4))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a.xml") == b"<a/>"
    assert error_of(path) == "file_too_large"


def sheet_with(rows):
    return f"<worksheet><sheetData>{rows}</sheetData></worksheet>".encode()


@pytest.mark.parametrize(
    ("rows", "cells"),
    [
        ('<row r="1"><c r="A1"><v>1</v></c></row><row r="9"><c r="Z9"><v>1</v></c></row>', 0),
        ('<row r="1"><c r="AA1"><v>1</v></c></row>', 27),
        ('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>', 2**34),
        ('<row r="1"><c r="xfd1048576"><v>1</v></c></row>', 2**34),
        ('<row r="1"><c r = "XFD1048576"><v>1</v></c></row>', 2**34),
        ("<row r='1'><c s='1' r='XFD1048576'><v>1</v></c></row>", 2**34),
        ('<x:row r="1"><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row>', 2**34),
        ("""<row r="1"><c s=' r="A1"' r="XFD1048576"><v>1</v></c></row>""", 2**34),
        ('<row r="1"><c x:r="A1" r="XFD1048576"><v>1</v></c></row>', 2**34),
        ('<row r="1"><c r="XFD1048576" s="1"/></row>', 0),
        ("<row><c><v>1</v></c><c><v>1</v></c></row><row><c><v>1</v></c></row>", 6),
        ('<row r="200000"><c r="A200000"><v>1</v></c></row>', 200_000),
    ],
)  # fmt: skip
def test_how_far_cells_reach(tmp_path, rows, cells):
    path = tmp_path / "a.xlsx"
    pack(path, {"xl/worksheets/sheet1.xml": sheet_with(rows)})
    with zipfile.ZipFile(path) as archive:
        found = extent.find_largest_sheet(path.read_bytes(), archive, max_bytes=10_000)
    assert found == cells


@pytest.mark.parametrize("place", ["D24294967295", "ABCD1", "", "1A", "A0x1"])
def test_a_place_that_cannot_be_is_refused(tmp_path, place):
    """python-calamine would take a row of ten digits, and all memory."""
    path = tmp_path / "a.xlsx"
    row = f'<row r="1"><c r="A1"><v>1</v></c><c r="{place}"><v>1</v></c></row>'
    pack(path, {"xl/worksheets/sheet1.xml": sheet_with(row)})
    assert error_of(path) == "file_not_spreadsheet"


def test_a_count_of_shared_strings_that_cannot_be(tmp_path, helpers):
    """python-calamine would take memory for as many at once."""
    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    strings = entries["xl/sharedStrings.xml"]
    for old, new in ((b'uniqueCount="10"', b'uniqueCount="99999999999"'), (b"nothing", b"")):
        pack(path, entries | {"xl/sharedStrings.xml": strings.replace(old, new)})
        if old in strings:
            assert error_of(path) == "file_not_spreadsheet"
        else:
            assert len(read_roster(path).rows) == 1


@pytest.mark.parametrize("blanks", [500, 2_000_000])
def test_a_tag_of_megabytes_hides_nothing(tmp_path, blanks):
    path = tmp_path / "a.xlsx"
    row = f'<row r="1"><c {" " * blanks}r="XFD1048576"><v>1</v></c></row>'
    pack(path, {"xl/worksheets/sheet1.xml": sheet_with(row)})
    assert error_of(path) in {"sheet_too_wide", "file_not_spreadsheet"}


def test_what_stands_across_two_chunks_is_seen(tmp_path):
    path = tmp_path / "a.xlsx"
    for shift in range(1024 * 1024 - 60, 1024 * 1024, 7):
        rows = "x" * shift + '<row r="1"><c r="XFD1048576"><v>1</v></c></row>'
        pack(path, {"xl/worksheets/sheet1.xml": sheet_with(rows)})
        assert error_of(path) == "sheet_too_wide"


def test_an_encrypted_zip(tmp_path):
    path = tmp_path / "a.xlsx"
    pack(path, {"a.xml": b"<a/>"})
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    assert error_of(path, bytes(content)) == "file_password"


def test_an_ods_with_a_password(tmp_path):
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">'
        '<manifest:encryption-data manifest:checksum="x"/></manifest:file-entry>'
        "</manifest:manifest>"
    )
    path = tmp_path / "a.ods"
    pack(path, {"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": b"\x8f" * 99})
    assert error_of(path) == "file_password"


def test_a_method_that_is_not_known(tmp_path):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.xml", b"<a/>" * 100)
    assert error_of(path) == "file_not_spreadsheet"


def test_a_local_header_that_is_none(tmp_path):
    path = tmp_path / "a.xlsx"
    pack(path, {"a.xml": b"<a/>"})
    assert error_of(path, b"PK\x05\x05" + path.read_bytes()[4:]) == "file_not_spreadsheet"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=5))
def test_a_damaged_xls_is_read_or_refused(tmp_path, damages):
    content = bytearray(make_xls({"名册": [HEADERS, ROW], "!二班": [HEADERS, ROW]}))
    for place, damage in damages:
        content[place : place + len(damage)] = damage
    path = tmp_path / "damaged.xls"
    path.write_bytes(content)
    with contextlib.suppress(RecordError):
        assert len(list(read_roster(path).rows)) == len(read_roster(path).rows)


def test_a_panic_in_the_reader_is_a_refusal(tmp_path, helpers, monkeypatch):
    class PanicException(BaseException):
        pass

    class Panicking:
        @staticmethod
        def from_filelike(file):
            raise PanicException

    path = helpers.write_sheet(tmp_path / "a.xlsx", [ROW], HEADERS)
    monkeypatch.setattr(sheets, "CalamineWorkbook", Panicking)
    assert error_of(path) == "file_not_spreadsheet"
