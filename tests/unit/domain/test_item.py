"""Is an item foreign, and may its shelf be lent? (A26, A27, decision 13, scenario 22)"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import (
    IlsItem,
    ItemRules,
    LanguageClass,
    Shelving,
    classify_item,
    classify_language,
)

RULES = ItemRules(
    foreign={"permanent_location": ("FOREIGN*",), "call_number": ("H31*", "W/*")},
    chinese={"collection": ("bilingual-readers",)},
    shelving=(
        ("permanent_location", "REF*", Shelving.REFERENCE),
        ("permanent_location", "STACK*", Shelving.CLOSED_STACK),
        ("item_type", "rare", Shelving.CLOSED_STACK),
        ("permanent_location", "REFLECTION-ROOM", Shelving.OPEN_SHELF),
    ),
)
BOOK = Barcode("0001")


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        ((), (LanguageClass.UNKNOWN, "default")),
        (("",), (LanguageClass.UNKNOWN, "default")),
        (("   ",), (LanguageClass.UNKNOWN, "default")),
        (("|||",), (LanguageClass.UNKNOWN, "default")),
        (("und",), (LanguageClass.UNKNOWN, "default")),
        (("chi",), (LanguageClass.CHINESE, "language")),
        (("zho",), (LanguageClass.CHINESE, "language")),
        (("CHI ",), (LanguageClass.CHINESE, "language")),
        (("chi", "eng"), (LanguageClass.CHINESE, "language")),
        (("eng", "chi"), (LanguageClass.CHINESE, "language")),
        (("tib",), (LanguageClass.CHINESE, "language")),
        (("uig",), (LanguageClass.CHINESE, "language")),
        (("zxx",), (LanguageClass.CHINESE, "language")),
        (("eng",), (LanguageClass.FOREIGN, "language")),
        (("jpn", "eng"), (LanguageClass.FOREIGN, "language")),
        (("und", "eng"), (LanguageClass.FOREIGN, "language")),
    ],
)
def test_language_of_the_text(languages, expected):
    assert classify_language(IlsItem(BOOK, languages=languages), ItemRules()) == expected


def test_minority_languages_are_a_list_of_the_library():
    strict = ItemRules(minority_languages=frozenset())
    assert classify_language(IlsItem(BOOK, languages=("tib",)), strict)[0] is LanguageClass.FOREIGN


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (IlsItem(BOOK, permanent_location="FOREIGN-2F", languages=("chi",)), LanguageClass.FOREIGN),
        (IlsItem(BOOK, call_number="H319.4/12"), LanguageClass.FOREIGN),
        (IlsItem(BOOK, call_number="h319.4/12", languages=("chi",)), LanguageClass.CHINESE),
        (
            IlsItem(BOOK, collection="bilingual-readers", call_number="H319.4/12"),
            LanguageClass.CHINESE,
        ),
    ],
    ids=["rule over language", "call number", "case matters", "chinese asked first"],
)
def test_own_rules_come_first(item, expected):
    assert classify_language(item, RULES)[0] is expected


@pytest.mark.parametrize("isbn", ["9787020002207", "978-7-02-000220-7"])
def test_domestic_isbn_is_a_choice(isbn):
    item = IlsItem(BOOK, isbn=isbn)
    chosen = ItemRules(domestic_isbn_is_chinese=True)
    assert classify_language(item, ItemRules())[0] is LanguageClass.UNKNOWN
    assert classify_language(item, chosen) == (LanguageClass.CHINESE, "isbn")
    assert (
        classify_language(IlsItem(BOOK, isbn="9780141439518"), chosen)[0] is LanguageClass.UNKNOWN
    )
    # A known language outweighs the ISBN: English readers printed in China are foreign.
    assert (
        classify_language(IlsItem(BOOK, isbn=isbn, languages=("eng",)), chosen)[0]
        is LanguageClass.FOREIGN
    )


@pytest.mark.parametrize(
    ("item", "shelving"),
    [
        (IlsItem(BOOK), Shelving.OPEN_SHELF),
        (IlsItem(BOOK, permanent_location="REF-1"), Shelving.REFERENCE),
        (IlsItem(BOOK, permanent_location="STACK-B"), Shelving.CLOSED_STACK),
        (IlsItem(BOOK, item_type="rare"), Shelving.CLOSED_STACK),
        (IlsItem(BOOK, permanent_location="REFLECTION-ROOM"), Shelving.REFERENCE),
    ],
    ids=["default", "reference", "stack", "type", "first match wins"],
)
def test_shelving_by_rules(item, shelving):
    assert classify_item(item, RULES).shelving is shelving


def test_default_shelving_is_a_setting():
    closed = ItemRules(default_shelving=Shelving.UNKNOWN)
    assert classify_item(IlsItem(BOOK), closed).shelving is Shelving.UNKNOWN


@given(st.lists(st.text(max_size=4), max_size=4))
def test_chinese_anywhere_makes_it_chinese(codes):
    item = IlsItem(BOOK, languages=(*codes, "chi"))
    assert classify_item(item, ItemRules()).language is LanguageClass.CHINESE


def test_item_id_shows_owner_and_barcode():
    assert str(ItemId(InstitutionId("FD"), BOOK)) == "FD:0001"
