from __future__ import annotations

import pytest
from pymarc import Field, Indicators, Record, Subfield

from connector.domain.bib import BibSummary
from connector.marc.map import summarise_bib, summarise_record
from connector.marc.write import build_record


def record(*fields):
    made = Record(force_utf8=True)
    for tag, indicators, content in fields:
        if indicators is None:
            made.add_field(Field(tag, data=content))
        else:
            pairs = [Subfield(part[0], part[1:]) for part in content.split("$")[1:]]
            made.add_field(Field(tag, Indicators(*indicators), pairs))
    return made


FIXED_ENG = "260901s2004    cc            000 0 eng d".ljust(35)[:35] + "eng d"


@pytest.mark.parametrize(
    ("fields", "languages", "translation"),
    [
        ([("008", None, FIXED_ENG)], ("eng",), False),
        ([("008", None, FIXED_ENG), ("041", "0 ", "$achi")], ("chi",), False),
        ([("041", "1 ", "$achi$heng")], ("chi",), True),
        ([("041", "0 ", "$achi$aeng")], ("chi", "eng"), False),
        ([("041", "0 ", "$aengfre")], ("eng", "fre"), False),
        ([("008", None, FIXED_ENG), ("041", "07", "$azh$2rfc3066")], ("eng",), False),
        ([("008", None, FIXED_ENG[:35] + "    d")], (), False),
        ([("008", None, "short")], (), False),
        ([], (), False),
    ],
)
def test_marc21_language_is_that_of_the_text(fields, languages, translation):
    bib = summarise_record(record(*fields, ("245", "10", "$aT")))
    assert bib.languages == languages
    assert bib.is_translation is translation


@pytest.mark.parametrize(
    ("fields", "languages", "translation"),
    [
        ([("101", "1 ", "$achi$ceng")], ("chi",), True),
        ([("101", "0 ", "$achi$aeng")], ("chi", "eng"), False),
        ([("101", "0 ", "$achi$eeng$deng")], ("chi",), False),
        ([("100", "  ", "$a20260901d2004    cemy0chiy50      ea")], (), False),
    ],
)
def test_cnmarc_language_is_never_that_of_cataloguing(fields, languages, translation):
    bib = summarise_record(record(*fields, ("200", "1 ", "$aT")))
    assert bib.languages == languages
    assert bib.is_translation is translation


def test_marc21_values():
    bib = summarise_record(
        record(
            ("008", None, FIXED_ENG),
            ("020", "  ", "$z9787020002208"),
            ("020", "  ", "$a978-7-02-000220-7 (pbk.) :$c$5"),
            ("050", " 4", "$aPZ7$b.D1515"),
            ("084", "  ", "$aI561.84$2clc"),
            ("100", "1 ", "$aDahl, R."),
            (
                "245",
                "10",
                "$aCharlie and the chocolate factory.$nPart 1,$pGolden :$ba story /$cR. Dahl.",
            ),
            ("264", " 4", "$c©1964"),
            ("264", " 1", "$aLondon :$bPuffin,$c2016."),
        )
    )
    assert bib == BibSummary(
        title="Charlie and the chocolate factory. Part 1. Golden : a story",
        author="Dahl, R.",
        isbn="9787020002207",
        languages=("eng",),
        clc_class="I561.84",
        publisher="Puffin",
        year="2016",
    )


def test_a_class_of_another_scheme_is_not_clc():
    assert (
        summarise_record(
            record(("245", "10", "$aT"), ("084", "  ", "$a004$2ddc"), ("050", " 4", "$aPZ7"))
        ).clc_class
        == ""
    )
    assert (
        summarise_record(record(("245", "10", "$aT"), ("093", "  ", "$aI247.5"))).clc_class
        == "I247.5"
    )


def test_cnmarc_values():
    bib = summarise_record(
        record(
            ("010", "  ", "$a978-7-02-000220-7$dCNY59.70"),
            ("100", "  ", "$a20260901d1996    cemy0chiy50      ea"),
            ("101", "0 ", "$achi"),
            ("200", "1 ", "$a红楼梦$9hong lou meng$h上册$e校注本$f曹雪芹著"),
            ("210", "  ", "$a北京$c人民文学出版社$d2008.7"),
            ("690", "  ", "$aI242.4$v5"),
            ("701", " 0", "$a曹雪芹$9cao xue qin$4著"),
        )
    )
    assert bib == BibSummary(
        title="红楼梦. 上册 : 校注本",
        author="曹雪芹",
        isbn="9787020002207",
        languages=("chi",),
        clc_class="I242.4",
        publisher="人民文学出版社",
        year="2008",
    )


def test_the_year_and_author_have_fallbacks():
    bib = summarise_record(
        record(
            ("100", "  ", "$a20260901d1996    cemy0chiy50      ea"), ("200", "1 ", "$aT$f某人编")
        )
    )
    assert (bib.year, bib.author) == ("1996", "某人编")
    bib = summarise_record(record(("008", None, FIXED_ENG), ("245", "10", "$aT$cby Somebody.")))
    assert (bib.year, bib.author) == ("2004", "by Somebody")


@pytest.mark.parametrize("dialect", ["marc21", "cnmarc"])
def test_a_built_record_reads_back(dialect):
    bib = BibSummary(
        "夏洛的网 : 一只猪",
        "怀特",
        "9787532733415",
        ("chi",),
        True,
        "I712.84",
        "上海译文出版社",
        "2004",
    )
    data = build_record(bib, dialect, original_language="eng", record_id="d1", price="CNY17.00")
    assert summarise_bib(data) == bib
    assert summarise_bib(data, dialect) == bib
