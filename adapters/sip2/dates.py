"""Dates as one ILS writes and reads them.

Nothing here knows messages. Rules: a timestamp without a zone is in the library's time; a due date
is free text (AH): what cannot be read is None and is reported, never guessed; 01/02/2026 is one
only with a format of the settings; a due date without a time is the end of that day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

from connector.sip2.timestamps import format_date, parse_date

__all__ = ["BLANK_DATE", "DateStyle", "Dates"]

DateStyle = Literal["local", "zeros", "utc"]
BLANK_DATE: Final = " " * 18

_UTC: Final = ZoneInfo("UTC")
_DAY_ONLY: Final = re.compile(r"[0-9]{8}|[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}", re.ASCII)
_FORMATS: Final = (
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
    "%Y.%m.%d",
    "%Y年%m月%d日",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f",
)
"""Beside what ``timestamps`` reads."""


class Dates:
    """Reads and writes the dates of one ILS.

    Args:
        zone: the library's.
        formats: more formats of due dates, tried first.
        report: called when a due date cannot be read.
    """

    def __init__(
        self,
        zone: ZoneInfo,
        *,
        style: DateStyle = "local",
        formats: Sequence[str] = (),
        report: Callable[[], None] = lambda: None,
    ) -> None:
        self.zone = zone
        self._style = style
        self._formats = tuple(formats)
        self._report = report

    def stamp(self, moment: datetime) -> str:
        """Return a moment as eighteen characters in the ILS's style."""
        if self._style == "utc":
            text = format_date(moment, _UTC)
            return f"{text[:8]}   Z{text[12:]}"
        text = format_date(moment, self.zone)
        return text if self._style == "local" else f"{text[:8]}0000{text[12:]}"

    def restamp(self, text: str) -> str:
        """Return a timestamp of a terminal in the ILS's style; what is none stays as it is."""
        moment = parse_date(text, self.zone)
        return text if moment is None else self.stamp(moment)

    def read_moment(self, text: str) -> datetime | None:
        """Return the moment of a timestamp, or None."""
        return parse_date(text, self.zone)

    def read_due(self, text: str) -> datetime | None:
        """Return the moment of a due date (AH) in UTC, or None."""
        text = " ".join(text.split())
        if not text:
            return None
        due = self._read_formats(self._formats, text) or self._read_standard(text)
        due = due or self._read_formats(_FORMATS, text)
        if due is None and any(character.isdigit() for character in text):
            self._report()
        return due

    def read_day(self, text: str) -> date | None:
        """Return the day of an expiry or birth date, or None."""
        text = text.strip()
        moment = parse_date(text[:10].rstrip("T "), self.zone) or parse_date(text, self.zone)
        moment = moment or self._read_formats((*self._formats, *_FORMATS), text)
        return None if moment is None else moment.astimezone(self.zone).date()

    def _read_standard(self, text: str) -> datetime | None:
        moment = parse_date(text, self.zone)
        if moment is not None and _DAY_ONLY.fullmatch(text):
            return self._end_of_day(moment.astimezone(self.zone))
        return moment

    def _read_formats(self, formats: Sequence[str], text: str) -> datetime | None:
        for one in formats:
            try:
                moment = datetime.strptime(text, one)  # noqa: DTZ007 - the zone follows
            except ValueError:
                continue
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
            moment = moment.replace(tzinfo=self.zone)
            has_time = any(part in one for part in ("%H", "%I", "%X", "%c", "%T"))
            return moment.astimezone(UTC) if has_time else self._end_of_day(moment)
        return None

    def _end_of_day(self, moment: datetime) -> datetime:
        return moment.replace(hour=23, minute=59, second=59).astimezone(UTC)
