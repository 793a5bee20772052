"""Dates of ILSs: every shape of a due date, and the styles of our own timestamps."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from adapters.sip2.dates import Dates

SHANGHAI = ZoneInfo("Asia/Shanghai")
END = datetime(2026, 12, 26, 15, 59, 59, tzinfo=UTC)
"""The end of 26 December in Shanghai."""


@pytest.fixture
def dates():
    return Dates(SHANGHAI)


@pytest.mark.parametrize(
    "text",
    [
        "20261226    235959",
        "202612260000235959",
        "20261226   Z155959",
        "20261226235959",
        "2026-12-26 23:59:59",
        "2026-12-26T23:59:59",
        "2026-12-26T23:59:59+0800",
        "2026-12-26T15:59:59Z",
        "2026/12/26 23:59:59",
        "2026-12-26",
        "2026/12/26",
        "2026.12.26",
        "20261226",
        "26 Dec 2026",
        "26  December  2026",
        "Dec 26, 2026",
        "2026年12月26日",
        "  2026-12-26 ",
    ],
)
def test_due_dates(dates, text):
    assert dates.read_due(text) == END


@pytest.mark.parametrize("text", ["", "   ", "12/26/2026", "2026-13-45", "tomorrow", "30 days"])
def test_what_cannot_be_read_is_none(dates, text):
    assert dates.read_due(text) is None


def test_a_due_date_that_cannot_be_read_is_reported_without_it():
    reported = []
    dates = Dates(SHANGHAI, report=lambda: reported.append(1))
    dates.read_due("12/26/2026")
    assert reported == [1]
    dates.read_due("")
    dates.read_due("2026-12-26")
    assert reported == [1]


def test_an_ambiguous_date_needs_a_format_of_the_settings():
    assert Dates(SHANGHAI, formats=["%m/%d/%Y"]).read_due("12/26/2026") == END
    assert Dates(SHANGHAI, formats=["%d/%m/%Y"]).read_due("26/12/2026") == END
    with_time = Dates(SHANGHAI, formats=["%m/%d/%Y %H:%M:%S"])
    assert with_time.read_due("12/26/2026 23:59:59") == END


def test_midnight_that_is_told_stays_midnight(dates):
    assert dates.read_due("2026-12-26 00:00:00") == datetime(2026, 12, 25, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("local", "20261226    235959"),
        ("zeros", "202612260000235959"),
        ("utc", "20261226   Z155959"),
    ],
)
def test_our_timestamps(style, text):
    dates = Dates(SHANGHAI, style=style)
    assert dates.stamp(END) == text
    assert dates.restamp("20261226    235959") == text
    assert dates.read_moment(text) == END


def test_what_is_no_timestamp_stays_as_it_is(dates):
    assert dates.restamp(" " * 18) == " " * 18


@pytest.mark.parametrize(
    "text", ["20310101", "2031-01-01", "20310101    235900", "1 Jan 2031", "2031-01-01 10:00:00"]
)
def test_days(dates, text):
    assert dates.read_day(text) == date(2031, 1, 1)


def test_no_day(dates):
    assert dates.read_day("never") is None
