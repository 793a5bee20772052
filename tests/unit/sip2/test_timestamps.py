"""Every timestamp seen."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sip2.timestamps import format_date, normalise_date, parse_date

ZONE = ZoneInfo("Asia/Shanghai")
LOCAL = datetime(2026, 11, 21, 11, 36, 16, tzinfo=UTC)
NOON = LOCAL.replace(hour=19)

CASES = [
    ("20261121    193616", LOCAL), ("20261121   193616", LOCAL), ("20261121 193616", LOCAL), ("20261121193616", LOCAL),
    ("202611210000193616", LOCAL), ("20261121   Z193616", NOON), ("20261121 UTC193616", NOON),
    ("20261121   Q153616", NOON), ("20261121   R143616", NOON), ("20261121   J193616", LOCAL),
    ("2026-11-21 19:36:16", LOCAL), ("2026/11/21T19:36:16", LOCAL), ("2026-11-21 19:36", LOCAL.replace(second=0)),
    ("20261121    1936", LOCAL.replace(second=0)), ("20261121", datetime(2026, 11, 20, 16, tzinfo=UTC)),
    ("2026-11-21", datetime(2026, 11, 20, 16, tzinfo=UTC)), (" " * 18, None), ("", None), ("YYYYMMDDZZZZHHMMSS", None),
    ("000000000000000000", None), ("20261321    193616", None), ("20261121    253616", None), ("00010101    000000", None),
    ("next week", None), ("2026-11/21", None), ("２０２６１１２１１９３６１６", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "moment"), CASES)
def test_reading(text, moment):
    assert parse_date(text, ZONE) == moment


def test_writing():
    assert format_date(LOCAL, ZONE) == "20261121    193616"
    assert format_date(datetime(2, 1, 2, tzinfo=UTC), ZoneInfo("UTC")) == "00020102    000000"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("20261121193616", "20261121    193616"),
        ("20261121 UTC193616", "20261121 UTC193616"),
        ("20261121", "20261121          "),
        ("x" * 20, "x" * 18),
    ],
)
def test_full_length(text, full):
    assert normalise_date(text) == full


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)))  # noqa: DTZ001 (given a zone below)
def test_there_and_back(moment):
    aware = moment.replace(tzinfo=UTC, microsecond=0)
    assert parse_date(format_date(aware, ZoneInfo("Asia/Tokyo")), ZoneInfo("Asia/Tokyo")) == aware


@given(st.text(max_size=20))
def test_no_text_raises(text):
    parse_date(text, ZONE)
