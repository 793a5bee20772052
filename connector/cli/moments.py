"""Days and moments that are typed, and what they are at a library.

Nothing here prints one. Rule: a day begins and ends in the library's own time zone; the end of a
period that is a day takes the whole day in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

__all__ = ["in_zone", "since_option", "until_option"]

_DAY = "%Y-%m-%d"
_MOMENTS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


class _Moment(click.DateTime):
    """A day or a moment without a zone; of a day its first moment, or the one after its last."""

    def __init__(self, *, ends_day: bool) -> None:
        super().__init__([_DAY, *_MOMENTS])
        self._day = timedelta(days=1 if ends_day else 0)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        moment: datetime = super().convert(value, param, ctx)
        is_day = isinstance(value, str) and "T" not in value
        return moment + self._day if is_day else moment


since_option = click.option(
    "--since", type=_Moment(ends_day=False), help="From this day or moment on."
)
until_option = click.option(
    "--until", type=_Moment(ends_day=True), help="Up to this day, or before this moment."
)


def in_zone(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return the moment as the library's clock shows it."""
    return None if moment is None else moment.replace(tzinfo=zone)
