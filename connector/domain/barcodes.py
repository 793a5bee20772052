"""How a library's item barcodes are recognised, written and checked.

Nothing here knows libraries or items. Rules: ``normalise`` may be applied to its own result, since
barcodes come from scanners and from the ILS alike; only what was *scanned* can be a misread.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connector.domain.ids import Barcode

__all__ = ["BarcodeRule", "CheckDigit", "is_same_label"]

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
# ISO 15511: country, a dash, up to eleven characters; Chinese ones are CN-, the area's six digits,
# and the library's own part.
_ISIL: Final = re.compile(r"[A-Z]{2}-[A-Za-z0-9/-]{1,14}:", re.ASCII)
_CODABAR: Final = re.compile(r"[A-Da-d]([0-9$:/.+-]+)[A-Da-d]", re.ASCII)
_CODABAR_LENGTH: Final = 14


class CheckDigit(StrEnum):
    """What the last digit of a barcode is.

    ``mod10`` weighs every second digit from the right twice (Luhn); ``codabar14`` is the same in a
    number of fourteen digits, as library labels in Codabar have it.
    """

    NONE = "none"
    MOD10 = "mod10"
    CODABAR14 = "codabar14"


@dataclass(frozen=True, slots=True)
class BarcodeRule:
    """How a library's barcodes are recognised and normalised.

    Attributes:
        prefixes: item barcodes that begin so belong to this library (WH/T 74 institution prefix, or
            an own range).
        strip_prefix: text to cut off before the ILS is asked, such as the ISIL and a colon.
        strip_isil: cut off any ISIL and the colon after it.
        codabar: cut off the start and stop characters (A to D) of a Codabar label.
        upper: fold to upper case.
        digits: length of a barcode that is all digits, as the ILS writes it: zeros that a scanner
            dropped or added in front are mended. 0 = leave it.
        check_digit: what the last digit of a scanned number is; a wrong one is a misread.
        strip_check_digit: the ILS writes barcodes without it; needs ``digits``, so that it is
            known whether it is there.
    """

    prefixes: tuple[str, ...] = ()
    strip_prefix: str = ""
    strip_isil: bool = False
    codabar: bool = False
    upper: bool = False
    digits: int = 0
    check_digit: CheckDigit = CheckDigit.NONE
    strip_check_digit: bool = False

    def normalise(self, scanned: str) -> Barcode:
        """Return the barcode as this library's ILS writes it."""
        text = self._bare(scanned)
        if self.digits and _DIGITS.fullmatch(text):
            text = self._fit(text)
        return Barcode(text)

    def claims(self, scanned: str) -> bool:
        """Say whether the prefix makes a scanned barcode this library's."""
        if not self.prefixes:
            return False
        if scanned.startswith(self.prefixes):
            return True
        if not self.codabar:
            return False
        label = _CODABAR.fullmatch(scanned)
        return label is not None and label[1].startswith(self.prefixes)

    def is_misread(self, scanned: str) -> bool:
        """Say whether the check digit shows that the scanner read something else."""
        if self.check_digit is CheckDigit.NONE:
            return False
        text = self._bare(scanned)
        if not _DIGITS.fullmatch(text):
            return False  # another kind of label
        if self.strip_check_digit and len(text) <= self.digits:
            return False  # typed in as the ILS writes it
        if self.check_digit is CheckDigit.CODABAR14 and len(text) != _CODABAR_LENGTH:
            return True
        return not _is_luhn(text)

    def _bare(self, scanned: str) -> str:
        """Return the number without what scanners and labels put around it."""
        if not scanned.isprintable():
            scanned = "".join(character for character in scanned if character.isprintable())
        text = scanned.strip()
        if self.strip_isil and (isil := _ISIL.match(text)):
            text = text[isil.end() :].lstrip()
        text = text.removeprefix(self.strip_prefix)
        if self.codabar and (label := _CODABAR.fullmatch(text)):
            text = label[1]
        return text.upper() if self.upper else text

    def _fit(self, text: str) -> str:
        """Bring a number to the length that the ILS writes."""
        if self.strip_check_digit and len(text) == self.digits + 1:
            return text[:-1]
        surplus = len(text) - self.digits
        if surplus > 0 and not text[:surplus].strip("0"):
            return text[surplus:]
        return text.rjust(self.digits, "0")


def is_same_label(one: str, other: str) -> bool:
    """Say whether two barcodes are one but for case and width, which many databases do not see."""
    return one == other or _fold(one) == _fold(other)


def _fold(label: str) -> str:
    return unicodedata.normalize("NFKC", label).casefold()


def _is_luhn(number: str) -> bool:
    total = 0
    for position, character in enumerate(reversed(number)):
        value = int(character) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
