"""SIP2 frames to messages and back: lenient in what it reads, exact in what it sends.

Nothing here splits a stream (``framing``), keeps a state (``session``) or knows what a message is
for. ``decode`` never raises and reports what it repaired as ``Frame.problems``; ``encode`` raises
only for a message that does not exist.

Rules, reading: the checksum is verified on the bytes as received; then the whole frame is decoded;
only then it is split, because the second byte of 117 GBK and 85 Big5 characters equals ``|``.
Unknown tags are kept in order, with repeats.
Rules, writing: required tags always, in the standard's order, the others after them, unknown ones
last and in the order given (a message that is ``in_order`` keeps its own order, and what it lacks
comes last); no delimiter, CR, LF, NUL or other control character inside a value; values end on a
character boundary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from connector.domain.patron import PatronFlag
from connector.errors import LocalProtocolError
from connector.sip2.checksums import Checksum, checksum, take_tail
from connector.sip2.dialects import find_dialect
from connector.sip2.resync import resynchronise
from connector.sip2.shapes import CODE_WIDTH, Fixed, Plan
from connector.sip2.spec import SPECS, TAG_SHAPES
from connector.sip2.timestamps import format_date, parse_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connector.sip2.shapes import MessageSpec
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

_SEQUENCES: Final = {b"AY%dAZ" % number: str(number) for number in range(10)}
_GOOD: Final = Checksum.GOOD
_new: Final = tuple.__new__  # a NamedTuple's own constructor takes twice as long
_WITHOUT_SEQUENCE: Final = frozenset({"96", "97"})
_UNRANKED: Final = 1_000
_CONTROL: Final = re.compile(r"[\x00-\x1F\x7F-\x9F]")
_TERMINATORS: Final = {"\r": b"\r", "\r\n": b"\r\n", "\n": b"\n"}
_MAX_PLANS: Final = 512
_STATUS_ORDER: Final = tuple(PatronFlag)


@dataclass(slots=True, repr=False)
class Message:
    """One SIP2 message, its tagged fields verbatim and in order.

    Attributes:
        fixed: values of the fixed part by the names in ``spec``; at full length when they come from
            ``decode``.
        fields: (tag, value), unknown tags and repeats included.
        in_order: the fields go out as they stand, not in the standard's order: an ILS's own answer.
    """

    code: str
    fixed: dict[str, str] = field(default_factory=dict)
    fields: list[tuple[str, str]] = field(default_factory=list)
    in_order: bool = False

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


class Frame(NamedTuple):
    """One frame as received; a tuple because many are made.

    Attributes:
        raw: its bytes, without the terminator.
        code: the command id; empty when the first two bytes are not printable ASCII.
        message: None for a command id that the terminal's dialect does not know.
        sequence: what AY held; None when there was none.
        problems: what was repaired: ``undecodable``, ``resync``, ``no_fixed_part``, ``short_date``,
            ``short_fixed``, ``extra_delimiter``, ``stray_delimiter``, ``stray_sequence``,
            ``stray_checksum``, ``after_checksum``.
    """

    raw: bytes
    code: str
    message: Message | None
    checksum: Checksum
    sequence: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def error_detection(self) -> bool:
        """Did the sender use AY or AZ? An answer is given in kind."""
        return self.sequence is not None or self.checksum is not Checksum.ABSENT

    def __repr__(self) -> str:
        """Nothing of the bytes."""
        tags = f"{self.message!r} {self.checksum} {self.problems}"
        return f"Frame({self.code} {tags} {len(self.raw)} bytes)"


# -- reading ---------------------------------------------------------------------------------------


def decode(raw: bytes, profile: WireProfile) -> Frame:
    """Return what one frame says. Never raises.

    Args:
        raw: one frame without its terminator, as ``framing`` cuts it.
        profile: of the terminal, or the listener's before login.
    """
    spec = find_dialect(profile.dialect).wire.get(raw[:2])
    problems: tuple[str, ...] = ()
    sequence = _SEQUENCES.get(raw[-9:-4])
    if sequence is not None and raw[-4:] == checksum(raw[:-4]):
        body, verdict = raw[:-9], _GOOD
    else:
        end = spec.end if spec else CODE_WIDTH
        body, sequence, verdict, problems = take_tail(raw, profile.delimiter, end)
    if spec is None:
        code = raw[:2].decode("ascii", "replace")
        code = code if code.isascii() and code.isprintable() else ""
        return Frame(raw, code, None, verdict, sequence, problems)
    try:
        text = body.decode(profile.encoding)
    except UnicodeDecodeError:
        text = body.decode(profile.encoding, "replace")
        problems = (*problems, "undecodable")
    delimiter = profile.delimiter
    legal = spec.legal.match(text)
    if legal:
        fixed = legal.groupdict()
        rest = text[spec.end :]
    else:
        fixed, end, repaired = resynchronise(text, spec, delimiter)
        rest = text[end:]
        problems += repaired
    fields = []
    if rest:
        if rest[-1] != delimiter:
            rest += delimiter
        fields = _field_pattern(delimiter).findall(rest)
        if len(fields) != rest.count(delimiter):
            fields, stray, repaired = _take_odd_fields(rest.split(delimiter), delimiter)
            problems += repaired
            sequence = sequence or stray
    message = Message(spec.code, fixed, fields)
    return _new(Frame, (raw, spec.code, message, verdict, sequence, problems))


@lru_cache(maxsize=16)
def _field_pattern(delimiter: str) -> re.Pattern[str]:
    """Return what takes one field, its delimiter included; it skips what cannot be a field, and AY
    and AZ.
    """
    bar = re.escape(delimiter)
    return re.compile(f"(?<![^{bar}])((?!A[YZ])[A-Z][A-Z0-9])([^{bar}]*+){bar}", re.ASCII)


def _take_odd_fields(
    parts: list[str], delimiter: str
) -> tuple[_Fields, str | None, tuple[str, ...]]:
    """Sort out parts of which some are empty, carry AY or AZ, or are the rest of a value with a
    delimiter in it.
    """
    fields: _Fields = []
    rests: list[str] = []
    sequence = None
    problems = {}

    def finish() -> None:
        if rests:
            name, value = fields[-1]
            fields[-1] = (name, delimiter.join((value, *rests)))
            rests.clear()

    for part in parts:
        tag = part[:2]
        if tag == "AY":
            number = part[2:5].strip()
            sequence = number if number.isascii() and number.isdigit() else None
            problems["stray_sequence"] = True
        elif tag == "AZ":
            problems["stray_checksum"] = True
        elif tag in TAG_SHAPES:
            finish()
            fields.append((tag, part[2:]))
        elif part and fields:
            rests.append(part)
            problems["stray_delimiter"] = True
        elif part:
            problems["resync"] = True
    finish()
    return fields, sequence, tuple(problems)


# -- writing ---------------------------------------------------------------------------------------


def encode(
    message: Message,
    profile: WireProfile,
    *,
    sequence: str | None = None,
    error_detection: bool = False,
) -> bytes:
    """Return one frame with its terminator.

    Args:
        message: fixed values may be shorter than their field (numbers get zeros on the left, others
            blanks on the right) or missing (the field's default is sent).
        profile: encoding, delimiter, terminator, tags to hide, longest value. A required tag that
            is hidden goes out empty.
        sequence: of AY; ``0`` when error detection is on and none is given.
        error_detection: add AY and AZ; 96 and 97 get only AZ.

    Raises:
        LocalProtocolError: no dialect knows the message code.
    """
    spec = find_dialect(profile.dialect).specs.get(message.code) or SPECS.get(message.code)
    if spec is None:
        msg = f"message {message.code} is not known"
        raise LocalProtocolError(msg)
    try:
        values = spec.pick(message.fixed)
    except KeyError:
        values = spec.pick({**spec.defaults, **message.fixed})
    head = "".join(values)
    if (
        [*map(len, values)] != spec.lengths
        or not (head.isascii() and head.isprintable())
        or profile.delimiter in head
    ):
        head = _fit_head(values, spec, profile.delimiter)
    text = _join(message, spec, profile) if message.fields or spec.required else ""
    end = _TERMINATORS[profile.terminator]
    if not error_detection:
        return f"{spec.code}{head}{text}".encode(profile.encoding, "replace") + end
    if spec.code in _WITHOUT_SEQUENCE:
        text = f"{spec.code}{head}{text}AZ"
    else:
        text = f"{spec.code}{head}{text}AY{sequence or '0'}AZ"
    body = text.encode(profile.encoding, "replace")
    return body + checksum(body) + end


def _join(message: Message, spec: MessageSpec, profile: WireProfile) -> str:
    """Return the tagged fields: required ones added, hidden ones taken out, in the standard's
    order or the message's own, each with its delimiter, no value longer than the limit or with a
    character in it that would break the frame.
    """
    fields = message.fields
    if profile.hidden_tags or profile.allowed_tags:
        fields = list(_visible(fields, spec.required_set, profile))
    tags, values = zip(*fields) if fields else ((), ())  # noqa: B905 (pairs; keywords cost time)
    delimiter = profile.delimiter
    plan = spec.plans.get((delimiter, message.in_order, tags)) or _plan(
        spec, delimiter, tags, in_order=message.in_order
    )
    if plan.order:
        values += plan.blanks
        values = tuple([values[at] for at in plan.order])
    text = plan.template % values
    limit = profile.max_value_length
    if (
        not text.isprintable()
        or text.count(delimiter) != len(values)
        or (0 < limit < len(text) and max(map(len, values)) > limit)
    ):
        values = tuple([_clean(value).replace(delimiter, " ") for value in values])
        text = plan.template % (tuple([value[:limit] for value in values]) if limit else values)
    return text


def _fit_head(values: tuple[str, ...], spec: MessageSpec, delimiter: str) -> str:
    """Return the fixed part, each field at its exact length, nothing but printable ASCII."""
    text = "".join([_fit(value, one) for value, one in zip(values, spec.fixed, strict=True)])
    return "".join([c if " " <= c <= "~" and c != delimiter else " " for c in text])


def _fit(value: str, one: Fixed) -> str:
    """Return a fixed value at its length; a number that is too large becomes the largest that can
    be said.
    """
    if not value:
        return one.default
    if one.is_number and value.isdecimal():
        return value.rjust(one.length, "0") if len(value) <= one.length else "9" * one.length
    return value.ljust(one.length)[: one.length]


def _plan(spec: MessageSpec, delimiter: str, tags: tuple[str, ...], *, in_order: bool) -> Plan:
    """Return, and remember, how these tags and the missing required ones are sent."""
    everything = [*tags, *(tag for tag in spec.required if tag not in tags)]
    places = [spec.rank.get(tag, _UNRANKED) for tag in everything]
    order = list(range(len(places)))
    if not in_order:
        order.sort(key=places.__getitem__)
    sent = [_clean(everything[at]).replace(delimiter, " ") for at in order]
    bar = delimiter.replace("%", "%%")
    plan = Plan(
        "".join([f"{tag.replace('%', '%%')}%s{bar}" for tag in sent]),
        () if order == list(range(len(tags))) else tuple(order),
        ("",) * (len(everything) - len(tags)),
    )
    if len(spec.plans) >= _MAX_PLANS:
        spec.plans.clear()
    spec.plans[delimiter, in_order, tags] = plan
    return plan


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


def _clean(value: str) -> str:
    """Return a value without control characters: line ends become a blank, the others go."""
    if not _CONTROL.search(value):
        return value
    return _CONTROL.sub("", " ".join(value.splitlines()))


def format_patron_status(flags: frozenset[PatronFlag]) -> str:
    """Return the fourteen characters of patron status."""
    return "".join(["Y" if flag in flags else " " for flag in _STATUS_ORDER])
