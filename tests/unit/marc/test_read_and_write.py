from __future__ import annotations

import pytest

from connector.domain.bib import BibSummary
from connector.errors import RecordError
from connector.marc.read import detect_dialect, read_record, split_records
from connector.marc.write import build_record

BIB = BibSummary("城南旧事", "林海音", "9787500601593", ("chi",), clc_class="I247.7", year="1983")


def test_marc21_says_that_it_is_utf8_and_its_008_has_40_characters():
    data = build_record(BIB, "marc21")
    assert data[9:10] == b"a"
    assert int(data[:5]) == len(data)
    record = read_record(data)
    assert len(record["008"].data) == 40
    assert record["008"].data[35:38] == "chi"
    assert detect_dialect(record) == "marc21"


def test_cnmarc_leaves_leader_09_blank_and_its_100a_has_36_characters():
    data = build_record(BIB, "cnmarc")
    assert data[9:10] == b" "
    assert int(data[:5]) == len(data)
    record = read_record(data)
    general = record["100"]["a"]
    assert len(general) == 36
    assert general[26:28] == "50"
    assert general[22:25] == "chi"
    assert detect_dialect(record) == "cnmarc"


def test_fields_without_values_are_left_out():
    record = read_record(build_record(BibSummary("T"), "marc21"))
    assert [field.tag for field in record.fields] == ["008", "245"]


def test_a_record_that_is_too_long_for_iso_2709_is_refused():
    with pytest.raises(RecordError) as refused:
        build_record(BibSummary(title="长" * 40_000), "marc21")
    assert refused.value.code == "too_long"


@pytest.mark.parametrize("between", [b"", b"\r\n", b"\n", b"\x1a"])
def test_a_file_is_cut_at_the_terminators(between):
    one, two = build_record(BIB), build_record(BibSummary("第二"), "cnmarc")
    assert list(split_records(b"\xef\xbb\xbf" + one + between + two + between)) == [one, two]


def test_an_empty_file_has_no_records():
    assert list(split_records(b"\r\n\x1a")) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "too_short"),
        (b"00026nam a2200025 i 4500", "too_short"),
        (b"x" * 40, "unreadable"),
        (build_record(BIB).replace("城".encode(), b"\xb3\xc7\xff"), "not_utf8"),
        (build_record(BIB)[:60] + b"\x1d", "unreadable"),
    ],
)
def test_what_cannot_be_read_is_a_record_error(data, code):
    with pytest.raises(RecordError) as refused:
        read_record(data, position=7)
    assert (refused.value.code, refused.value.position) == (code, 7)


def test_a_record_without_a_title_counts_as_marc21():
    record = read_record(build_record(BibSummary(languages=("eng",))))
    assert record.get("245") is None
    assert detect_dialect(record) == "marc21"
