"""The file of new accounts, and the list of those that were not taken."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest

from connector.domain.handoff import HandoffColumn, HandoffField, choose_columns
from connector.domain.ids import IlsPatronId
from connector.enrolment.handoff_file import HandoffLayout, read_rejections
from connector.errors import ConfigurationError, RecordError
from connector.ports.ils import PatronInput
from connector.settings import parse_settings

PUPIL = PatronInput(
    external_id="x",
    card=IlsPatronId("S000000018"),
    name='欧阳"瑋',
    category="student",
    birth_date=date(2015, 3, 1),
    expires=date(2032, 6, 30),
    phone="13800000001",
    pin="012345",
    school="丰都,一小",
    class_name="三年级2班",
    identifiers={"id_card": "500230201503010015"},
)
ALL = tuple(HandoffColumn(field.value, field) for field in HandoffField)


def read(layout: HandoffLayout, content: bytes) -> list[list[str]]:
    text = content.decode(layout.encoding)
    return list(csv.reader(io.StringIO(text), delimiter=layout.delimiter))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "big5", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", "|", "\t", ";"])
def test_every_value_comes_back(encoding: str, delimiter: str) -> None:
    simple = PUPIL if encoding != "big5" else PatronInput("x", PUPIL.card, "東方", "student")
    layout = HandoffLayout(ALL, delimiter, encoding, date_format="%Y%m%d")
    header, row = read(layout, layout.encode([layout.write_row(simple)]))
    assert header == [field.value for field in HandoffField]
    values = dict(zip(header, row, strict=True))
    assert (values["card"], values["name"]) == (simple.card, simple.name)
    if simple is PUPIL:
        assert values == {
            "card": "S000000018", "name": '欧阳"瑋', "id_number": "500230201503010015",
            "birth_date": "20150301", "phone": "13800000001", "expires": "20320630",
            "category": "student", "pin": "012345", "school": "丰都,一小", "class_name": "三年级2班",
        }  # fmt: skip


def test_what_cannot_be_written_is_told_and_not_replaced() -> None:
    layout = HandoffLayout(ALL, encoding="gb2312")
    with pytest.raises(ValueError, match="gb2312"):
        layout.write_row(PUPIL)


def test_without_a_header_the_first_line_is_a_pupil() -> None:
    layout = HandoffLayout(ALL[:2], header=False)
    assert layout.encode([layout.write_row(PUPIL)]).decode().startswith("S000000018,")
    assert not layout.has_pin
    assert HandoffLayout(ALL).has_pin


def test_own_columns_follow_those_of_a_layout() -> None:
    columns = choose_columns(
        "koha-csv", {"sort1": HandoffField.SCHOOL}, {"branchcode": "A01", "password": ""}
    )
    assert [column.header for column in columns][-2:] == ["sort1", "branchcode"]
    by_header = {column.header: column for column in columns}
    assert by_header["branchcode"] == HandoffColumn("branchcode", fixed="A01")
    assert by_header["password"].field is None, "a library may leave the PIN out"
    for layout, own in (("columns", {}), ("aleph", {"c": HandoffField.CARD})):
        with pytest.raises(ValueError, match=r"column|layout"):
            choose_columns(layout, own, {})


@pytest.mark.parametrize(
    "text",
    [
        "S1,no\r\nS2\r\n",
        "card,reason\nS1,no\nS2,\n",
        "行,读者证号,姓名,原因\n1,S1,某某,no\n2,S2,某某,\n",
    ],
)
def test_a_report_is_read_with_and_without_header(text: str) -> None:
    layout = HandoffLayout(ALL, encoding="gb18030")
    expected = {"S1": "no", "S2": ""}
    assert read_rejections(text.encode("gb18030"), layout) == expected
    assert read_rejections(text.encode("utf-8-sig"), layout) == expected


@pytest.mark.parametrize(
    ("content", "code", "position"),
    [(b"\xff\xff\n", "report_encoding", 0), (b"S1,x\n,y\n", "report_no_card", 2)],
)
def test_a_report_that_cannot_be_read_says_where(content: bytes, code: str, position: int) -> None:
    with pytest.raises(RecordError) as refused:
        read_rejections(content, HandoffLayout(ALL, encoding="gb18030"))
    assert (refused.value.code, refused.value.position) == (code, position)


def test_the_settings_want_a_column_with_the_card(tmp_path) -> None:
    table = '[library]\ncode = "A"\nname = "A"\n[library.ils]\nadapter = "local"\n'
    own = table + '[library.ils.handoff]\ncolumns = { "n" = "name" }\n'
    with pytest.raises(ConfigurationError, match="card"):
        parse_settings(own, base_dir=tmp_path, environ={})
    good = table + '[library.ils.handoff]\nlayout = "koha-csv"\n'
    settings = parse_settings(good, base_dir=tmp_path, environ={})
    ils = settings.ils_of(settings.libraries[0])
    assert ils.handoff is not None
    assert ils.options == {}, "an adapter does not see it"
