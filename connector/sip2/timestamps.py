"""SIP2 timestamps: reading every shape seen in the field, writing the standard's.

Nothing here knows messages. Rules: a timestamp without a zone is in the library's time; inside
everything is UTC; what cannot be a moment is None, never an exception.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["format_date", "normalise_date", "parse_date"]

# YYYYMMDDZZZZHHMMSS; the zone may be 0 to 4 characters (14 digits, ``   `` or one blank from
# Chinese kiosk drivers), the seconds or the whole time may be missing. ``0000`` (seen from Sierra)
# and other unknown zones mean library time.
_COMPACT: Final = re.compile(r"([0-9]{8})(?:([ A-Z0-9]{0,4}?)([0-9]{6}|[0-9]{4}))?", re.ASCII)
# Due dates (AH) are free text; Evergreen sends ``2026-11-30 23:59:59``, others slashes or a T.
_WRITTEN: Final = re.compile(
    r"([0-9]{4})([-/])([0-9]{1,2})\2([0-9]{1,2})(?:[ T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?)?",
    re.ASCII,
)

# The standard's zone letters (``   Z`` UTC, ``   Q`` Atlantic, ``   R`` Eastern, …) are the
# nautical ones; J is local time.
_EAST: Final = {letter: hours for hours, letter in enumerate("ABCDEFGHIKLM", start=1)}
_WEST: Final = {letter: -hours for hours, letter in enumerate("NOPQRSTUVWXY", start=1)}
_ZONES: Final = {
    letter: timezone(timedelta(hours=hours))
    for letter, hours in {**_EAST, **_WEST, "Z": 0, "UTC": 0, "GMT": 0}.items()
}


def parse_date(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the moment that a timestamp or a written due date names.

    Args:
        text: any of the shapes above; blanks around it do not matter.
        zone: what a timestamp without a zone is in.

    Returns: An aware moment in UTC; None when there is none (blank, zeros, free text,
    ``YYYYMMDDZZZZHHMMSS``). A date without a time is the midnight that begins it.
    """
    text = text.strip()
    compact = _COMPACT.fullmatch(text)
    if compact:
        day, zone_text, clock = compact.groups("")
        numbers = [int(day[:4]), int(day[4:6]), int(day[6:])]
        numbers += [int(clock[at : at + 2]) for at in range(0, len(clock), 2)]
    else:
        written = _WRITTEN.fullmatch(text)
        if not written:
            return None
        zone_text = ""
        numbers = [int(part) for part in written.group(1, 3, 4, 5, 6, 7) if part]
    tz = _ZONES.get(zone_text.strip(), zone)
    try:
        return datetime(*numbers, tzinfo=tz).astimezone(UTC)  # type: ignore[arg-type,misc]
    except (ValueError, OverflowError):
        return None


def format_date(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment as eighteen characters in library time, the zone as four blanks (the
    standard's preference).
    """
    at = moment.astimezone(zone)
    return f"{at.year:04}{at.month:02}{at.day:02}    {at.hour:02}{at.minute:02}{at.second:02}"


def normalise_date(text: str) -> str:
    """Return a shortened timestamp at its full eighteen characters; others are padded or cut.

    >>> normalise_date("20261121193616")
    '20261121    193616'
    """
    compact = _COMPACT.fullmatch(text.strip())
    if compact and compact[3]:
        return f"{compact[1]}{compact[2].rjust(4)}{compact[3].ljust(6, '0')}"
    return text.ljust(18)[:18]
