"""``onecard items import``: rows that are stored, and rows that are reported."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connector.cli.context import Refused
from connector.cli.items import read_item_rows
from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import LanguageClass, Shelving
from connector.domain.library import BarcodeRule, Library
from connector.errors import RecordError

NOW = datetime(2026, 9, 1, tzinfo=UTC)
A, B = (
    Library(
        InstitutionId(code),
        code,
        ZoneInfo("Asia/Shanghai"),
        barcodes=BarcodeRule(prefixes=prefixes),
    )
    for code, prefixes in (("A", ("1", "9")), ("B", ("2", "9")))
)
LIBRARIES = {library.code: library for library in (A, B)}


def read(text):
    return [found for _, found in read_item_rows(text, A, LIBRARIES, NOW)]


@pytest.mark.parametrize(
    ("row", "language"),
    [
        ("7,chinese", LanguageClass.CHINESE),
        ("7,Foreign", LanguageClass.FOREIGN),
        ("7,", LanguageClass.UNKNOWN),
        ("7,eng", LanguageClass.FOREIGN),
        ("7,chi", LanguageClass.CHINESE),
        ("7,zxx", LanguageClass.CHINESE),
        ("7,tib", LanguageClass.CHINESE),
    ],
)
def test_language_is_a_class_or_a_marc_code(row, language):
    (facts,) = read(f"barcode,language\n{row}\n")
    assert facts.language is language
    assert facts.source == "import"
    assert facts.as_of == NOW


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ("7,", ItemId(A.code, Barcode("7"))),
        ("27,", ItemId(B.code, Barcode("27"))),
        ("7,B", ItemId(B.code, Barcode("7"))),
    ],
)
def test_owner_is_named_or_told_by_the_prefix(row, item):
    (facts,) = read(f"barcode,owner\n{row}\n")
    assert facts.item == item


def test_shelving_and_class_are_read_whatever_the_order_of_columns():
    (facts,) = read("Shelving, CLC_class ,barcode\nreference,I247,7\n")
    assert (facts.shelving, facts.clc_class) == (Shelving.REFERENCE, "I247")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (",chi,open-shelf,", "barcode_missing"),
        ("7,klingon,open-shelf,", "language_unknown"),
        ("7,chi,attic,", "shelving_unknown"),
        ("7,chi,open-shelf,C", "owner_unknown"),
        ("97,chi,open-shelf,", "owner_ambiguous"),
        ("7,chi", "column_count"),
        ("7,chi,open-shelf,,extra", "column_count"),
    ],
)
def test_row_with_a_mistake_is_reported_and_the_next_one_read(row, code):
    first, second = read(f"barcode,language,shelving,owner\n{row}\n8,chi,,\n")
    assert isinstance(first, RecordError)
    assert (first.position, first.code) == (2, code)
    assert second.item.barcode == "8"


@pytest.mark.parametrize("header", ["", "language,shelving", "barcode", "barcode,colour"])
def test_header_that_does_not_fit_is_refused(header):
    with pytest.raises(Refused, match="first line"):
        read(f"{header}\n7,chi\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_import_stores_the_facts(installation, application, onecard, encoding):
    (installation / "items.csv").write_bytes(
        "barcode,language,clc_class\n7,eng,文学\n".encode(encoding)
    )
    result = onecard("items", "import", str(installation / "items.csv"), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["rows"], report["saved"], report["invalid"]) == (1, 1, 0)
    facts = application.store.item_facts.fetch_item_facts(
        ItemId(InstitutionId("LIB"), Barcode("7"))
    )
    assert (facts.language, facts.clc_class) == (LanguageClass.FOREIGN, "文学")


def test_dry_run_stores_nothing(installation, application, onecard):
    (installation / "items.csv").write_text("barcode,language\n7,eng\n")
    result = onecard("items", "import", str(installation / "items.csv"), "--dry-run")
    assert result.exit_code == 0
    assert "would be stored" in result.stdout
    assert (
        application.store.item_facts.fetch_item_facts(ItemId(InstitutionId("LIB"), Barcode("7")))
        is None
    )


def test_rows_with_mistakes_make_exit_code_one_and_the_others_are_stored(installation, onecard):
    (installation / "items.csv").write_text("barcode,language\n7,eng\n8,klingon\n")
    result = onecard("items", "import", str(installation / "items.csv"), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["saved"] == 1
    assert report["problems"] == [{"row": 3, "code": "language_unknown"}]


def test_file_in_no_known_encoding_is_refused(installation, onecard):
    (installation / "items.csv").write_bytes(b"barcode,language\n\xff\xff,eng\n")
    result = onecard("items", "import", str(installation / "items.csv"))
    assert result.exit_code == 1
    assert "UTF-8" in result.stderr


def test_unknown_library_is_refused_with_the_known_ones(installation, onecard):
    (installation / "items.csv").write_text("barcode,language\n7,eng\n")
    result = onecard("items", "import", str(installation / "items.csv"), "--library", "X")
    assert result.exit_code == 1
    assert "LIB" in result.stderr
