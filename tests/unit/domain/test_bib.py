from __future__ import annotations

import pytest

from connector.domain.bib import BibSummary, find_year, normalise_isbn, split_language_codes


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("978-7-02-000220-7 (平装)", "9787020002207"),
        ("9787532733415", "9787532733415"),
        ("7-105-03351-7", "7105033517"),
        ("0-8044-2957-x", "080442957X"),
        ("ISBN 978-7-5327-3341-5CNY48.00", "9787532733415"),
        ("９７８７５３２７３３４１５", "9787532733415"),
        ("978‑7‑02‑000220‑7", "9787020002207"),
        ("CNY16.80 (含光盘)", ""),
        ("978702000220", ""),
        ("97870200022079", ""),
        ("", ""),
    ],
)
def test_an_isbn_is_found_in_what_is_printed(printed, expected):
    assert normalise_isbn(printed) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["chi"], ("chi",)),
        (["chi", "eng", "chi"], ("chi", "eng")),
        (["engfre"], ("eng", "fre")),
        (["ENG "], ("eng",)),
        (["   "], ()),
        (["|||"], ()),
        (["und", "mul"], ()),
        (["engl"], ("eng",)),
        (["e1g"], ()),
        (["zxx"], ("zxx",)),
        ([], ()),
    ],
)
def test_language_codes_are_split(values, expected):
    assert split_language_codes(values) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c1998.", "1998"),
        ("2016年", "2016"),
        ("[19--]", ""),
        ("20165", ""),
        ("２００４", "2004"),
        ("0999", ""),
    ],
)
def test_a_year_is_found(text, expected):
    assert find_year(text) == expected


def test_a_bib_without_values_is_empty():
    assert BibSummary() == BibSummary("", "", "", (), False, "", "", "")
