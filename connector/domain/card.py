"""Card numbers: the range that a library gives out, with a check digit.

Nothing here counts or stores what was given out. Rules: the library's range decides, a number that
a school typed is a proposal (A36); a number is never given out twice, and never looks like an
identity number or a student registry number, with which it could be taken for another child.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stdnum import luhn

__all__ = ["CardRange"]

_PREFIX = re.compile(r"[A-Z0-9]{0,12}", re.ASCII)
_IDENTITY = re.compile(r"[0-9]{15}|[GLJ]?[0-9]{18}", re.ASCII)
"""Identity numbers of 15 and 18 digits, student registry numbers (facts: G, L or J and 18)."""


@dataclass(frozen=True, slots=True)
class CardRange:
    """Numbers of the form prefix, serial, check digit: ``FD`` ``000001`` ``8``.

    The check digit is Luhn's over all digits of the number; letters do not count.

    Attributes:
        prefix: capital letters and digits.
        first, last: serials, both included.
        digits: width of the serial.
    """

    prefix: str = ""
    first: int = 1
    last: int = 999_999
    digits: int = 6

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError("a card prefix has up to 12 capital letters and digits")
        if not 0 <= self.first <= self.last or len(str(self.last)) > self.digits:
            raise ValueError("a card range needs 0 <= first <= last, and digits enough for last")
        if _IDENTITY.fullmatch(self.number_of(self.first)):
            raise ValueError("a card number may not look like an identity or registry number")

    def number_of(self, serial: int) -> str:
        """Return the card number of a serial; ``ValueError`` outside the range."""
        if not self.first <= serial <= self.last:
            raise ValueError("serial outside the card range")
        body = f"{self.prefix}{serial:0{self.digits}}"
        return body + luhn.calc_check_digit(_digits_of(body))

    def is_number(self, text: str) -> bool:
        """Say whether a text is a number of this range with a right check digit."""
        body = text.removeprefix(self.prefix)
        if not text.startswith(self.prefix) or not re.fullmatch(
            rf"[0-9]{{{self.digits + 1}}}", body, re.ASCII
        ):
            return False
        serial = int(body[:-1])
        return self.first <= serial <= self.last and self.number_of(serial) == text


def _digits_of(text: str) -> str:
    return "".join(ch for ch in text if ch.isdigit())
