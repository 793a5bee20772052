"""Finding the way back into a frame whose fixed part does not have the standard's length.

Nothing here runs for legal frames; ``codec`` calls it when the slices do not fit. Kiosk drivers
were seen that send 14-digit dates, dates with one or three blanks for the zone, a short summary, a
delimiter before the first tag, other characters before the date, or no fixed part at all.

Rules, in this order: (1) read the fixed part with flexible dates, up to a tag of this message; (2)
else find the first tag and take from what stands before it the dates, in order, and the characters
around them where they have the right number; (3) else cut at the standard's offsets. Every pattern
is bounded, so that no input is read more than a few times.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from connector.sip2.shapes import CODE_WIDTH, Fixed
from connector.sip2.spec import KNOWN_TAGS
from connector.sip2.timestamps import normalise_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connector.sip2.shapes import MessageSpec

__all__ = ["Sliced", "resynchronise"]

_DATE: Final = r"([0-9]{8}[ A-Z0-9]{4}[0-9]{6}|[YMDZHS]{18}|[0-9]{8} {0,3}[0-9]{6} {0,4}?| {0,22})"
_ANY_DATE: Final = re.compile(r"[0-9]{8}[ A-Z]{0,4}[0-9]{6}", re.ASCII)
_LOOSE: Final = {"summary": "[Y ]{0,10}"}
_HEAD_SLACK: Final = 24
_TAIL_TAGS: Final = ("AY", "AZ")


class Sliced(NamedTuple):
    """What was found: the fixed part, where the tagged fields begin, and what was wrong."""

    fixed: dict[str, str]
    start: int
    problems: tuple[str, ...]


def resynchronise(text: str, spec: MessageSpec, delimiter: str) -> Sliced:
    """Return the fixed part of a frame that does not fit ``spec``.

    Args:
        text: the decoded frame, from the command id, without the error detection fields.
        spec: of this command id.
        delimiter: of this connection.

    Returns: Values at full length, defaults for what is missing. Problems: ``extra_delimiter``,
    ``short_date``, ``short_fixed``, ``no_fixed_part``, ``resync`` (something before the first tag
    was not understood).
    """
    read = _reader(spec, delimiter).match(text, CODE_WIDTH)
    if read:
        return _take_groups(read, spec, delimiter)
    for finder in _finders(spec, delimiter):
        found = finder.match(text, CODE_WIDTH)
        if found:
            return Sliced(
                _take_head(found[1], spec),
                found.end(),
                ("resync",) if found[1] else ("no_fixed_part",),
            )
    bar = text.find(delimiter, CODE_WIDTH)
    stop = len(text) if bar < 0 else bar
    fixed = {
        one.name: text[a : min(b, stop)].ljust(one.length) if a < stop else one.default
        for (_, a, b), one in zip(spec.slices, spec.fixed, strict=True)
    }
    return Sliced(fixed, stop if bar < 0 else stop + 1, ("resync",))


@lru_cache(maxsize=256)
def _reader(spec: MessageSpec, delimiter: str) -> re.Pattern[str]:
    """Return the flexible reader of one message's fixed part; it ends where a tag of this message
    begins.
    """
    parts = [
        _DATE if one.is_date else f"({_LOOSE.get(one.name, one.pattern)})" for one in spec.fixed
    ]
    ahead = f"(?=(?:{_either((*spec.tags, *_TAIL_TAGS))})|$)"
    return re.compile(f"{''.join(parts)}{re.escape(delimiter)}?{ahead}", re.ASCII)


@lru_cache(maxsize=256)
def _finders(spec: MessageSpec, delimiter: str) -> tuple[re.Pattern[str], ...]:
    """Return the searches for the first tag: of this message, any known one, after a delimiter."""
    bar = re.escape(delimiter)
    head = f"([^{bar}]{{0,{spec.end + _HEAD_SLACK}}}?)"
    ends = [_either((*spec.tags, *_TAIL_TAGS)), _either(KNOWN_TAGS)]
    return tuple(
        re.compile(f"{head}{between}(?={end})", re.ASCII) for between in ("", bar) for end in ends
    )


def _either(tags: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(tags)))


def _take_groups(read: re.Match[str], spec: MessageSpec, delimiter: str) -> Sliced:
    """Return what the flexible reader matched, each value at its full length."""
    problems = []
    fixed = {}
    for one, value in zip(spec.fixed, read.groups(), strict=True):
        if len(value) != one.length:
            problems.append("short_date" if one.is_date else "short_fixed")
        fixed[one.name] = _at_full_length(value, one)
    if spec.fixed and not any(read.groups()):
        problems = ["no_fixed_part"]
    if read.group().endswith(delimiter):
        problems.append("extra_delimiter")
    return Sliced(fixed, read.end(), tuple(dict.fromkeys(problems)))


def _take_head(head: str, spec: MessageSpec) -> dict[str, str]:
    """Return the fixed part as far as the characters before the first tag tell it; defaults
    elsewhere.
    """
    if len(head) == spec.end - CODE_WIDTH:
        return _take_run(head, spec.fixed)
    fixed = dict(spec.defaults)
    dates = [one for one in spec.fixed if one.is_date]
    found = list(_ANY_DATE.finditer(head))[: len(dates)]
    for one, match in zip(dates, found, strict=False):
        fixed[one.name] = normalise_date(match.group())
    if dates:
        first = spec.fixed.index(dates[0])
        last = spec.fixed.index(dates[-1])
        before, after = spec.fixed[:first], spec.fixed[last + 1 :]
    else:
        before, after = spec.fixed, ()
    fixed.update(_take_run(head[: found[0].start()] if found else head, before))
    if found:
        fixed.update(_take_run(head[found[-1].end() :], after))
    return fixed


def _take_run(run: str, fields: Sequence[Fixed]) -> dict[str, str]:
    """Return the values of neighbouring fields when ``run`` has exactly their length; nothing
    otherwise.
    """
    if len(run) != sum(one.length for one in fields):
        return {}
    values = {}
    at = 0
    for one in fields:
        values[one.name] = run[at : at + one.length]
        at += one.length
    return values


def _at_full_length(value: str, one: Fixed) -> str:
    if not value:
        return one.default
    return normalise_date(value) if one.is_date else value.ljust(one.length)
