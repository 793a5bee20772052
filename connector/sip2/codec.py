"""SIP2 frames to messages and back: lenient in what it reads, exact in what it sends.

Nothing here splits a stream (``framing``), keeps a state (``session``) or knows what a message is for. ``decode`` never
raises and reports what it repaired as ``Frame.problems``; ``encode`` raises only for a message that does not exist.

Rules, reading: the checksum is verified on the bytes as received; then the whole frame is decoded; only then it is split,
because the second byte of 117 GBK and 85 Big5 characters equals ``|``. Unknown tags are kept in order, with repeats.
Rules, writing: required tags always, in the standard's order, the others after them, unknown ones last and in the
order given; no delimiter, CR, LF, NUL or other control character inside a value; values end on a character boundary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zlib import adler32

from connector.domain.patron import PatronFlag
from connector.errors import LocalProtocolError
from connector.sip2.dialects import find_dialect
from connector.sip2.resync import resynchronise
from connector.sip2.spec import CODE_WIDTH, KNOWN_TAGS, SPECS, TAG_SHAPES, Fixed
from connector.sip2.timestamps import format_date, parse_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connector.sip2.spec import MessageSpec
    from connector.sip2.terminal import WireProfile

__all__ = [
    "Checksum",
    "Frame",
    "Message",
    "checksum",
    "decode",
    "encode",
    "format_date",
    "format_patron_status",
    "parse_date",
]

_Fields = list[tuple[str, str]]

_FIELD_TAGS: Final = TAG_SHAPES - {"AY", "AZ"}
_WITHOUT_SEQUENCE: Final = frozenset({"96", "97"})
_ADLER_SAFE: Final = 256
_DIGITS: Final = b"0123456789"
_UNRANKED: Final = 1_000
_STATUS_ORDER: Final = tuple(PatronFlag)


class Checksum(StrEnum):
    """The verdict on ``AZ``; what follows from it is the terminal's ``ChecksumPolicy``."""

    ABSENT = "absent"
    GOOD = "good"
    BAD = "bad"


@dataclass(slots=True, repr=False)
class Message:
    """One SIP2 message, its tagged fields verbatim and in order.

    Attributes:
        fixed: values of the fixed part by the names in ``spec``; at full length when they come from ``decode``.
        fields: (tag, value), unknown tags and repeats included.
    """

    code: str
    fixed: dict[str, str] = field(default_factory=dict)
    fields: list[tuple[str, str]] = field(default_factory=list)

    def get(self, tag: str, default: str = "") -> str:
        """Return the first value of ``tag``."""
        for name, value in self.fields:
            if name == tag:
                return value
        return default

    def get_all(self, tag: str) -> list[str]:
        """Return every value of ``tag``, in order."""
        return [value for name, value in self.fields if name == tag]

    def has(self, tag: str) -> bool:
        """Is ``tag`` there, be it empty?"""
        return any(name == tag for name, _ in self.fields)

    def __repr__(self) -> str:
        return f"Message({self.code} {' '.join(tag for tag, _ in self.fields)})"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as received.

    Attributes:
        raw: its bytes, without the terminator.
        code: the command id; empty when the first two bytes are not printable ASCII.
        message: None for a command id that the terminal's dialect does not know.
        sequence: what AY held; None when there was none.
        problems: what was repaired: ``undecodable``, ``resync``, ``no_fixed_part``, ``short_date``, ``short_fixed``,
            ``extra_delimiter``, ``stray_delimiter``, ``stray_sequence``, ``stray_checksum``, ``after_checksum``.
    """

    raw: bytes = field(repr=False)
    code: str
    message: Message | None
    checksum: Checksum
    sequence: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def error_detection(self) -> bool:
        """Did the sender use AY or AZ? An answer is given in kind."""
        return self.sequence is not None or self.checksum is not Checksum.ABSENT


# -- checksum ----------------------------------------------------------------------------------------------------


def checksum(body: bytes) -> bytes:
    """Return the four hex digits that follow ``AZ``.

    Args:
        body: the frame up to and including ``AZ``; wire bytes, before any decoding.

    Source: SIP2 2.00, "Checksum": two's complement of the 16-bit sum of all bytes.
    """
    return b"%04X" % (-_byte_sum(body) & 0xFFFF)


def _byte_sum(body: bytes) -> int:
    """Return the sum of all bytes.

    The low half of Adler-32 is 1 + the sum modulo 65521, so it is exact up to 256 bytes and far faster than ``sum``.
    """
    if len(body) <= _ADLER_SAFE:
        return (adler32(body) & 0xFFFF) - 1
    return sum(
        (adler32(body[at : at + _ADLER_SAFE]) & 0xFFFF) - 1
        for at in range(0, len(body), _ADLER_SAFE)
    )


def _verify(raw: bytes, digits_at: int, digits: bytes) -> Checksum:
    """Compare digits (one to four, any case: some packages do not pad) with the sum of what stands before them."""
    try:
        good = (_byte_sum(raw[:digits_at]) + int(digits, 16)) & 0xFFFF == 0
    except ValueError:
        return Checksum.BAD
    return Checksum.GOOD if good else Checksum.BAD


# -- reading -----------------------------------------------------------------------------------------------------


def decode(raw: bytes, profile: WireProfile) -> Frame:
    """Return what one frame says. Never raises.

    Args:
        raw: one frame without its terminator, as ``framing`` cuts it.
        profile: of the terminal, or the listener's before login.
    """
    spec = find_dialect(profile.dialect).wire.get(raw[:2])
    body, sequence, verdict, problems = _take_tail(raw, profile.delimiter, spec)
    if spec is None:
        code = raw[:2].decode("ascii", "replace")
        return Frame(
            raw,
            code if code.isascii() and code.isprintable() else "",
            None,
            verdict,
            sequence,
            problems,
        )
    try:
        text = body.decode(profile.encoding)
    except UnicodeDecodeError:
        text = body.decode(profile.encoding, "replace")
        problems = (*problems, "undecodable")
    message, stray, repaired = _take_message(text, spec, profile.delimiter)
    if stray is not None and sequence is None:
        sequence = stray
    return Frame(
        raw, spec.code, message, verdict, sequence, (*problems, *repaired) if repaired else problems
    )


def _take_tail(
    raw: bytes, delimiter: str, spec: MessageSpec | None
) -> tuple[bytes, str | None, Checksum, tuple[str, ...]]:
    """Cut off the error detection fields: what is left, the sequence, the verdict, problems."""
    if raw[-9:-7] == b"AY" and raw[-6:-4] == b"AZ" and raw[-7] in _DIGITS:
        digits = raw[-4:]
        good = digits == b"%04X" % (-_byte_sum(raw[:-4]) & 0xFFFF)
        verdict = Checksum.GOOD if good else _verify(raw, len(raw) - 4, digits)
        return raw[:-9], chr(raw[-7]), verdict, ()
    if b"AZ" not in raw:
        return raw, None, Checksum.ABSENT, ()
    return _find_tail(raw, delimiter, spec.end if spec else CODE_WIDTH)


def _find_tail(
    raw: bytes, delimiter: str, end: int
) -> tuple[bytes, str | None, Checksum, tuple[str, ...]]:
    """Find error detection fields that are not where they belong.

    Seen: AZ without AY (96, 97), fields or a delimiter after AZ, ``AY|AZ``, numbers past 9, digits without padding. A
    value that contains the letters AZ is not a checksum, and neither is a value that ends with them.
    """
    bar = delimiter.encode("ascii", "replace")
    last = None
    for last in _tail_pattern(bar).finditer(raw):
        pass
    if last is None:
        if raw[end : end + 2] != b"AZ":
            return raw, None, Checksum.ABSENT, ()
        start, number, digits, digits_at, rest = end, None, raw[end + 2 :].strip(), end + 2, b""
    else:
        start, number, digits, digits_at = last.start(), last[1], last[2], last.start(2)
        rest = raw[last.end() :].strip(b" " + bar)
    verdict = _verify(raw, digits_at, digits)
    sequence = number.strip(b" " + bar).decode("ascii", "replace") if number else None
    problems: tuple[str, ...] = ()
    body = raw[:start]
    if rest:
        body = body.rstrip(bar) + bar + rest
        problems = ("after_checksum",)
    return body, sequence or None, verdict, problems


@lru_cache(maxsize=16)
def _tail_pattern(bar: bytes) -> re.Pattern[bytes]:
    """Return the search for ``AYnAZhhhh`` or ``|AZhhhh``, up to a delimiter, a blank or the end."""
    escaped = re.escape(bar)
    return re.compile(
        b"(?:AY([0-9 ]{0,3})"
        + escaped
        + b"?|(?<="
        + escaped
        + b"))AZ([0-9A-Fa-f]{0,4})(?="
        + escaped
        + b"| |$)"
    )


def _take_message(
    text: str, spec: MessageSpec, delimiter: str
) -> tuple[Message, str | None, tuple[str, ...]]:
    """Slice a decoded frame: the message, a sequence number found among the fields, problems."""
    end = spec.end
    problems: tuple[str, ...] = ()
    if _fits(text, spec, delimiter):
        fixed = {name: text[a:b] for name, a, b in spec.slices}
    else:
        fixed, end, problems = resynchronise(text, spec, delimiter)
    parts = text[end:].split(delimiter)
    if not parts[-1]:
        parts.pop()
    fields = [(tag, part[2:]) for part in parts if (tag := part[:2]) in _FIELD_TAGS]
    if len(fields) == len(parts):
        return Message(spec.code, fixed, fields), None, problems
    fields, sequence, repaired = _take_odd_fields(parts, delimiter)
    return Message(spec.code, fixed, fields), sequence, (*problems, *repaired)


def _fits(text: str, spec: MessageSpec, delimiter: str) -> bool:
    """Do the standard's offsets make sense for this frame?"""
    end = spec.end
    if len(text) < end or (text[end : end + 2] not in TAG_SHAPES and len(text) > end):
        return False
    for a, b in spec.dates:
        clock = text[a + 12 : b]
        if not (clock.isdigit() or text[a:b].isspace()):
            return False
    return text[2:4] not in KNOWN_TAGS and text.find(delimiter, 2, end) < 0


def _take_odd_fields(
    parts: list[str], delimiter: str
) -> tuple[_Fields, str | None, tuple[str, ...]]:
    """Sort out fields of which some are empty, carry AY or AZ in the middle, or are the rest of a value with a delimiter in it."""
    fields: _Fields = []
    sequence = None
    problems = {}
    for part in parts:
        tag = part[:2]
        if tag in _FIELD_TAGS:
            fields.append((tag, part[2:]))
        elif tag == "AY":
            sequence = part[2:5].strip() or None
            problems["stray_sequence"] = True
        elif tag == "AZ":
            problems["stray_checksum"] = True
        elif part and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value}{delimiter}{part}")
            problems["stray_delimiter"] = True
        elif part:
            problems["resync"] = True
    return fields, sequence, tuple(problems)


# -- writing -----------------------------------------------------------------------------------------------------


def encode(
    message: Message,
    profile: WireProfile,
    *,
    sequence: str | None = None,
    error_detection: bool = False,
) -> bytes:
    """Return one frame with its terminator.

    Args:
        message: fixed values may be shorter than their field (numbers get zeros on the left, others blanks on the
            right) or missing (the field's default is sent).
        profile: encoding, delimiter, terminator, tags to hide, longest value. A required tag that is hidden goes out empty.
        sequence: of AY; ``0`` when error detection is on and none is given.
        error_detection: add AY and AZ; 96 and 97 get only AZ.

    Raises:
        LocalProtocolError: no dialect knows the message code.
    """
    spec = find_dialect(profile.dialect).specs.get(message.code) or SPECS.get(message.code)
    if spec is None:
        msg = f"message {message.code} is not known"
        raise LocalProtocolError(msg)
    delimiter = profile.delimiter
    head = _fixed_part(message.fixed, spec, delimiter)
    fields = _in_order(message.fields, spec, profile)
    if fields:
        limit = profile.max_value_length
        values = delimiter.join([tag + value for tag, value in fields])
        if (
            values.count(delimiter) != len(fields) - 1
            or not values.isprintable()
            or (limit and len(values) > limit and any(len(value) > limit for _, value in fields))
        ):
            values = delimiter.join(
                [tag + _clean(value, delimiter)[: limit or None] for tag, value in fields]
            )
        text = f"{head}{values}{delimiter}"
    else:
        text = head
    if not error_detection:
        return (text + profile.terminator).encode(profile.encoding, "replace")
    if spec.code in _WITHOUT_SEQUENCE:
        body = f"{text}AZ".encode(profile.encoding, "replace")
    else:
        body = f"{text}AY{sequence or '0'}AZ".encode(profile.encoding, "replace")
    return b"%b%04X%b" % (body, -_byte_sum(body) & 0xFFFF, profile.terminator.encode("ascii"))


def _fixed_part(fixed: dict[str, str], spec: MessageSpec, delimiter: str) -> str:
    """Return command id and fixed part, each field at its exact length."""
    try:
        values = spec.pick(fixed)
    except KeyError:
        values = spec.pick({**spec.defaults, **fixed})
    if tuple(map(len, values)) != spec.lengths:
        values = tuple(_fit(value, one) for value, one in zip(values, spec.fixed, strict=True))
    head = spec.code + "".join(values)
    if not (head.isascii() and head.isprintable()) or delimiter in head:
        head = "".join(
            c if c.isascii() and c.isprintable() and c != delimiter else " " for c in head
        )
    return head


def _fit(value: str, one: Fixed) -> str:
    """Return a fixed value at its length; a number that is too large becomes the largest that can be said."""
    if one.is_number and value.isdecimal():
        return value.rjust(one.length, "0") if len(value) <= one.length else "9" * one.length
    return value.ljust(one.length)[: one.length]


def _in_order(fields: _Fields, spec: MessageSpec, profile: WireProfile) -> _Fields:
    """Return the fields to send: required ones added, hidden ones taken out, in the standard's order."""
    required = spec.required_set
    if profile.hidden_tags or profile.allowed_tags:
        fields = list(_visible(fields, required, profile))
    rank = spec.rank
    places = [rank.get(tag, _UNRANKED) for tag, _ in fields]
    missing = required.difference([tag for tag, _ in fields])
    if missing:
        fields = [*fields, *((tag, "") for tag in missing)]
        places += [rank[tag] for tag in missing]
    ordered = sorted(places)
    if places == ordered:
        return fields
    return [fields[at] for at in sorted(range(len(fields)), key=places.__getitem__)]


def _visible(
    fields: _Fields, required: frozenset[str], profile: WireProfile
) -> Iterable[tuple[str, str]]:
    for tag, value in fields:
        if tag in required:
            yield tag, "" if tag in profile.hidden_tags else value
        elif tag not in profile.hidden_tags and (
            not profile.allowed_tags or tag in profile.allowed_tags
        ):
            yield tag, value


def _clean(value: str, delimiter: str) -> str:
    """Return a value without what would break the frame: line ends become a blank, the rest goes."""
    value = value.replace("\r\n", " ").replace("\r", " ").replace("\n", " ").replace(delimiter, " ")
    return "".join([c for c in value if c >= " " and not "\x7f" <= c <= "\x9f"])


def format_patron_status(flags: frozenset[PatronFlag]) -> str:
    """Return the fourteen characters of patron status."""
    return "".join(["Y" if flag in flags else " " for flag in _STATUS_ORDER])
