"""Error detection: the checksum, and finding ``AYnAZhhhh`` in a frame, also where it does not
belong.

Nothing here decodes text: the sum is over the bytes as sent. What a wrong checksum leads to is the
terminal's ``ChecksumPolicy`` and decided in ``session``.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import adler32

__all__ = ["Checksum", "Tail", "checksum", "take_tail"]

_ADLER_SAFE: Final = 256
_HEX_PAIRS: Final = tuple(b"%02X" % number for number in range(256))
_DIGITS: Final = b"0123456789"
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,4}")
_BARE: Final = re.compile(rb"AZ()([0-9A-Fa-f]{1,4}) *$")


class Checksum(StrEnum):
    """The verdict on ``AZ``; what follows from it is the terminal's ``ChecksumPolicy``."""

    ABSENT = "absent"
    GOOD = "good"
    BAD = "bad"


class Tail(NamedTuple):
    """The frame without its error detection fields, and what they said."""

    body: bytes
    sequence: str | None
    checksum: Checksum
    problems: tuple[str, ...] = ()


def checksum(body: bytes) -> bytes:
    """Return the four hex digits that follow ``AZ``.

    Args:
        body: the frame up to and including ``AZ``; wire bytes, before any decoding.

    Source: SIP2 2.00, "Checksum": two's complement of the 16-bit sum of all bytes.
    """
    value = _complement(body)
    return _HEX_PAIRS[value >> 8] + _HEX_PAIRS[value & 0xFF]


def _complement(body: bytes) -> int:
    """Return the negative sum of all bytes, modulo 65536.

    The low half of Adler-32 is 1 + the sum modulo 65521, so it is exact up to 256 bytes and far
    faster than ``sum``.
    """
    if len(body) <= _ADLER_SAFE:
        return (1 - adler32(body)) & 0xFFFF
    total = 0
    for at in range(0, len(body), _ADLER_SAFE):
        total += 1 - adler32(body[at : at + _ADLER_SAFE])
    return total & 0xFFFF


def _verify(body: bytes, digits: bytes) -> Checksum:
    """Compare the digits (one to four, any case: some packages do not pad) with the sum."""
    if not _HEX.fullmatch(digits):
        return Checksum.BAD
    return Checksum.GOOD if int(digits, 16) == _complement(body) else Checksum.BAD


def take_tail(raw: bytes, delimiter: str, end: int) -> Tail:
    """Cut off the error detection fields.

    Args:
        end: where the tagged fields begin for this message; AZ may stand there without a delimiter
            before it.
    """
    if raw[-9:-7] == b"AY" and raw[-6:-4] == b"AZ" and raw[-7] in _DIGITS:
        digits = raw[-4:]
        good = digits == checksum(raw[:-4])
        verdict = Checksum.GOOD if good else _verify(raw[:-4], digits)
        return Tail(raw[:-9], chr(raw[-7]), verdict)
    if b"AZ" not in raw:
        return Tail(raw, None, Checksum.ABSENT)
    return _find_tail(raw, delimiter, end)


def _find_tail(raw: bytes, delimiter: str, end: int) -> Tail:
    """Find error detection fields that are not where they belong.

    Seen: AZ without AY (96, 97), fields or a delimiter after AZ, ``AY|AZ``, numbers past 9, digits
    without padding. A value that contains the letters AZ is not a checksum, and neither is a value
    that ends with them.
    """
    bar = delimiter.encode("ascii", "replace")
    found = None
    for found in _tail_pattern(bar).finditer(raw):  # noqa: B007 (the last one counts)
        pass
    if found is None:
        found = _BARE.match(raw, end)
    if found is None:
        return Tail(raw, None, Checksum.ABSENT)
    number, digits = found.groups()
    body = raw[: found.start()]
    verdict = _verify(raw[: found.start(2)], digits)
    sequence = (number or b"").strip().decode("ascii") or None
    rest = raw[found.end() :].strip(b" " + bar)
    if not rest:
        return Tail(body, sequence, verdict)
    return Tail(body.rstrip(bar) + bar + rest, sequence, verdict, ("after_checksum",))


@lru_cache(maxsize=16)
def _tail_pattern(bar: bytes) -> re.Pattern[bytes]:
    """Return the search for ``AYnAZhhhh`` or ``|AZhhhh``, up to a delimiter, a blank or the end."""
    b = re.escape(bar)
    return re.compile(b"(?:AY([0-9 ]{0,3})%b?|(?<=%b))AZ([0-9A-Fa-f]{0,4})(?=%b| |$)" % (b, b, b))
