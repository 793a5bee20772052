"""Numbers that name a pupil: identity numbers, permits, student registry numbers, kiosk scans.

Nothing here stores, digests or logs a number. Rules: a number is normalised (width, blanks, ``x``)
or refused with the reason; no digit is ever guessed. GB 11643 (18 characters, ISO 7064 MOD 11-2) is
checked by python-stdnum.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from stdnum.cn import ric

from connector.domain.ids import Identifier
from connector.domain.online_card import is_online_card

__all__ = [
    "IdentityFault",
    "IdentityKind",
    "IdentityNumber",
    "IdentityProblem",
    "StudentNumber",
    "age_on",
    "hide_numbers",
    "mask_name",
    "mask_number",
    "normalise_identifier",
    "normalise_scanned",
    "normalise_text",
    "parse_identity_number",
    "parse_student_number",
]

_REGIONS = {1: 5, 2: 3, 3: 7, 4: 6, 5: 4, 6: 5, 7: 1}

PROVINCES = frozenset(
    ["50"] + [str(10 * region + n) for region, last in _REGIONS.items() for n in range(1, last + 1)]
)
"""First two digits of an area code.

Source: GB/T 2260, provinces, autonomous regions and municipalities.
"""

PERMITS = frozenset({"81", "82", "83"})
"""First two digits of residence permits for people from Hong Kong, Macao and Taiwan."""

_OLDEST_YEAR = 1900
_ID_LENGTH = 18
_LEGACY_LENGTH = 15
_EXACT_FLOAT = 10**15
_WIDE = {ord("０") + n: str(n) for n in range(10)} | {ord("Ｘ"): "X", ord("ｘ"): "x"}
_INVISIBLE = dict.fromkeys(
    [
        0x00AD,
        0x180E,
        0x2060,
        0xFEFF,
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
)
_APOSTROPHES = "'’‘＇`"
_LOST_DIGITS = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?E[+-]?[0-9]+|[0-9]+\.[0-9]*", re.ASCII)
_EIGHTEEN = re.compile(r"[0-9]{17}[0-9X]", re.ASCII)
_STUDENT = re.compile(r"([GJL])([0-9]{17}[0-9X])", re.ASCII)
_CHIP = re.compile(r"[0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{20}", re.ASCII)
"""A contactless chip's number has 4, 7 or 10 bytes (ISO/IEC 14443-3)."""


class IdentityKind(StrEnum):
    """What document an 18-character number belongs to."""

    RESIDENT = "resident"
    RESIDENCE_PERMIT = "residence_permit"
    PERMANENT_RESIDENT = "permanent_resident"


_KINDS = {
    **dict.fromkeys(PROVINCES, IdentityKind.RESIDENT),
    **dict.fromkeys(PERMITS, IdentityKind.RESIDENCE_PERMIT),
    **{f"9{digit}": IdentityKind.PERMANENT_RESIDENT for digit in range(10)},
}


class IdentityFault(StrEnum):
    """Why a number was refused."""

    MISSING = "id_missing"
    DIGITS_LOST = "id_digits_lost"
    LEGACY = "id_legacy_15"
    CHARACTERS = "id_characters"
    LENGTH = "id_length"
    AREA = "id_area"
    BIRTH_DATE = "id_birth_date"
    BIRTH_FUTURE = "id_birth_future"
    CHECK_DIGIT = "id_check_digit"
    STUDENT_NUMBER = "student_no_format"


@dataclass(frozen=True, slots=True)
class IdentityProblem:
    """A refused number: the reason, never the number."""

    code: IdentityFault


@dataclass(frozen=True, slots=True)
class IdentityNumber:
    """A valid number of 18 characters, upper case."""

    value: str = field(repr=False)
    kind: IdentityKind
    birth_date: date = field(repr=False)


@dataclass(frozen=True, slots=True)
class StudentNumber:
    """A student registry number of 19 characters.

    Attributes:
        kind: ``G`` built on an identity number, ``J`` built like one, ``L`` temporary.
    """

    value: str = field(repr=False)
    kind: str
    birth_date: date = field(repr=False)


def normalise_text(raw: str) -> str:
    """Return text with half-width digits and X, without blanks, invisible marks, apostrophe."""
    text = "".join(raw.translate(_WIDE).translate(_INVISIBLE).split())
    return text.lstrip(_APOSTROPHES)


def normalise_identifier(raw: str) -> str:
    """Return a number as it is digested: the same for whoever types, scans or imports it."""
    if raw.isascii() and raw.isalnum() and raw == raw.upper():
        return raw
    text = normalise_text(unicodedata.normalize("NFKC", raw)).upper()
    return "".join(character for character in text if character.isprintable())


def parse_identity_number(raw: object, *, today: date) -> IdentityNumber | IdentityProblem:
    """Return the identity number in a spreadsheet cell, or why it is refused.

    Area and birth date are looked at before the check digit: they tell the clerk where to look.

    Args:
        raw: the cell; a float has kept 15 digits at most, so that 18 cannot be read from it.
        today: the day in the library's zone.
    """
    if isinstance(raw, str) and _EIGHTEEN.fullmatch(raw):
        return _check_identity(raw, today)
    text = _cell_text(raw)
    if isinstance(text, IdentityProblem):
        return text
    if len(text) == _LEGACY_LENGTH and text.isascii() and text.isdigit():
        return IdentityProblem(IdentityFault.LEGACY)
    if not re.fullmatch(r"[0-9]*X?", text, re.ASCII):
        return IdentityProblem(IdentityFault.CHARACTERS)
    if not _EIGHTEEN.fullmatch(text):
        return IdentityProblem(IdentityFault.LENGTH)
    return _check_identity(text, today)


def parse_student_number(raw: object, *, today: date) -> StudentNumber | IdentityProblem:
    """Return the student registry number in a cell, or why it is refused.

    ``G`` holds an identity number and is checked as one; ``J`` and ``L`` are checked for shape and
    birth date only.

    Source: the national pupil registry's rule: 19 characters, ``G | J | L``, then 6 for the area, 8
    for the birth date, and a sequence with its check digit (``L``: four random digits).
    """
    text = _cell_text(raw)
    if isinstance(text, IdentityProblem):
        return text
    match = _STUDENT.fullmatch(text)
    if match is None:
        return IdentityProblem(IdentityFault.STUDENT_NUMBER)
    kind, number = match.groups()
    if kind == "G":
        identity = parse_identity_number(number, today=today)
        if isinstance(identity, IdentityProblem):
            return identity
    birth = _birth_date(number[6:14], today)
    return birth if isinstance(birth, IdentityProblem) else StudentNumber(text, kind, birth)


def normalise_scanned(text: str) -> tuple[Identifier, ...]:
    """Return what a string read by a kiosk may stand for, most likely first.

    Any string may be a library card, a social-security card number or an old card; 18 characters
    with a right check digit may be an identity number too (which is printed on the social-security
    card), 19 a student registry number. The token of an online card stands for nothing else; hex
    digits in the length of a chip's number may be that.
    """
    number = normalise_identifier(text)
    if not number:
        return ()
    if is_online_card(number):
        return (Identifier("online_card", number),)
    found = [Identifier("card", number)]
    if _EIGHTEEN.fullmatch(number) and number[-1] == ric.calc_check_digit(number):
        found.append(Identifier("id_card", number))
    if _STUDENT.fullmatch(number):
        found.append(Identifier("student_no", number))
    found += [Identifier("ssc", number), Identifier("old_card", number)]
    if _CHIP.fullmatch(number):
        found.append(Identifier("chip_uid", number))
    return tuple(found)


def age_on(birth: date, day: date) -> int:
    """Return completed years on a day.

    Who was born on 29 February completes a year on 1 March where there is no such day.
    """
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def mask_name(name: str) -> str:
    """Return the first character and a star: 张*."""
    text = name.strip()
    return f"{text[0]}*" if text else ""


def mask_number(number: str) -> str:
    """Return stars and the last four characters.

    Two of a number shorter than 12 characters, none of one shorter than 6.
    """
    text = number.strip()
    shown = 4 if len(text) >= 12 else 2 if len(text) >= 6 else 0
    return "*" * (len(text) - shown) + text[len(text) - shown :]


def _cell_text(raw: object) -> str | IdentityProblem:
    if raw is None:
        return IdentityProblem(IdentityFault.MISSING)
    if isinstance(raw, float):
        if raw >= _EXACT_FLOAT or not raw.is_integer():
            return IdentityProblem(IdentityFault.DIGITS_LOST)
        return str(int(raw))
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        return IdentityProblem(IdentityFault.CHARACTERS)
    text = normalise_text(str(raw)).upper()
    if not text:
        return IdentityProblem(IdentityFault.MISSING)
    return IdentityProblem(IdentityFault.DIGITS_LOST) if _LOST_DIGITS.fullmatch(text) else text


def _check_identity(text: str, today: date) -> IdentityNumber | IdentityProblem:
    kind = _KINDS.get(text[:2])
    if kind is None:
        return IdentityProblem(IdentityFault.AREA)
    birth = _birth_date(text[6:14], today)
    if isinstance(birth, IdentityProblem):
        return birth
    if text[-1] != ric.calc_check_digit(text):
        return IdentityProblem(IdentityFault.CHECK_DIGIT)
    return IdentityNumber(text, kind, birth)


def _birth_date(digits: str, today: date) -> date | IdentityProblem:
    number = int(digits)
    try:
        birth = date(number // 10000, number // 100 % 100, number % 100)
    except ValueError:
        return IdentityProblem(IdentityFault.BIRTH_DATE)
    if birth > today:
        return IdentityProblem(IdentityFault.BIRTH_FUTURE)
    return birth if birth.year >= _OLDEST_YEAR else IdentityProblem(IdentityFault.BIRTH_DATE)


def hide_numbers(text: str, numbers: Iterable[str]) -> str:
    """Return a text, such as a machine's transaction id, with stars for these numbers in it."""
    for number in sorted({number.strip() for number in numbers} - {""}, key=len, reverse=True):
        text = re.sub(re.escape(number), "*" * len(number), text, flags=re.IGNORECASE)
    return text
