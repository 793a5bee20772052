"""Whose item a barcode is, closed days, the calendar day."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import InstitutionId, ItemId
from connector.domain.library import BarcodeRule, Library, resolve_owners

ZONE = ZoneInfo("Asia/Shanghai")


def library(code, **more):
    return Library(InstitutionId(code), code, ZONE, **more)


FENGDU = library("FD", isil="CN-500230-1", barcodes=BarcodeRule(prefixes=("FD",), upper=True))
WUHOU = library("WH", isil="CN-510107-1", barcodes=BarcodeRule(prefixes=("WH", "0107")))
PLAIN = library("PL")
ALL = (FENGDU, WUHOU, PLAIN)


def owners(scanned, local=FENGDU, libraries=ALL):
    return [str(item) for item in resolve_owners(scanned, local, libraries)]


@pytest.mark.parametrize(
    ("scanned", "expected"),
    [
        ("CN-510107-1:0001234", ["WH:0001234"]),
        (" CN-500230-1:fd0001 ", ["FD:FD0001"]),
        ("WH0001", ["WH:WH0001"]),
        ("01070001", ["WH:01070001"]),
        ("FD0001", ["FD:FD0001"]),
        ("x99", ["FD:X99"]),
        ("CN-999999-1:0001", ["FD:CN-999999-1:0001"]),
    ],
    ids=[
        "isil",
        "isil, normalised",
        "prefix",
        "second prefix",
        "own prefix",
        "no match: local",
        "unknown isil: local",
    ],
)
def test_owner_of_a_barcode(scanned, expected):
    assert owners(scanned) == expected


def test_without_a_match_the_local_library_owns_it():
    assert owners(" 0001 ", local=PLAIN) == ["PL:0001"]


def test_overlapping_prefixes_are_not_guessed():
    other = library("W2", barcodes=BarcodeRule(prefixes=("WH00",)))
    assert owners("WH0001", libraries=(*ALL, other)) == ["WH:WH0001", "W2:WH0001"]


def test_libraries_may_be_an_iterator():
    assert list(resolve_owners("WH0001", FENGDU, iter(ALL))) == [
        ItemId(WUHOU.code, WUHOU.barcodes.normalise("WH0001"))
    ]


def test_prefix_is_stripped_for_the_ils():
    assert BarcodeRule(strip_prefix="CN-500230-1:").normalise(" CN-500230-1:77 ") == "77"
    assert BarcodeRule().normalise("ab") == "ab"


def test_closed_days():
    home = library(
        "FD", closed_weekdays=frozenset({0}), closed_dates=frozenset({date(2026, 10, 1)})
    )
    assert home.is_closed(date(2026, 9, 7))
    assert home.is_closed(date(2026, 10, 1))
    assert not home.is_closed(date(2026, 9, 8))


def test_today_is_the_library_s_day():
    assert PLAIN.today(datetime(2026, 9, 10, 15, 59, tzinfo=UTC)) == date(2026, 9, 10)
    assert PLAIN.today(datetime(2026, 9, 10, 16, 0, tzinfo=UTC)) == date(2026, 9, 11)


@pytest.mark.parametrize(
    ("now", "closing"),
    [
        ("2026-11-24 17:30", "2026-11-24 17:30"),
        ("2026-11-24 17:29", "2026-11-22 17:30"),
        ("2026-11-23 23:00", "2026-11-22 17:30"),
    ],
)
def test_last_closing_skips_closed_days(now, closing):
    zone = ZoneInfo("Asia/Shanghai")
    library = Library(
        InstitutionId("L"), "L", zone, closed_weekdays=frozenset({0}), closing_time=time(17, 30)
    )
    moment = datetime.fromisoformat(now).replace(tzinfo=zone)
    assert library.last_closing(moment) == datetime.fromisoformat(closing).replace(tzinfo=zone)


def test_last_closing_of_a_library_that_does_not_tell_or_never_opens():
    zone = ZoneInfo("Asia/Shanghai")
    now = datetime(2026, 11, 24, 12, tzinfo=zone)
    assert Library(InstitutionId("L"), "L", zone).last_closing(now) is None
    never = Library(
        InstitutionId("L"), "L", zone, closed_weekdays=frozenset(range(7)), closing_time=time(17)
    )
    assert never.last_closing(now) is None
