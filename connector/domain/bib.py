"""What a bib says about a book, as far as lending and searching care: title, author, ISBN, language
of the text, class.

Nothing here reads MARC; ``connector.marc`` fills these values. Rules: decision 13 (the language of
the *text* counts; a translation into Chinese is Chinese).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["BibSummary", "find_year", "normalise_isbn", "split_language_codes"]

_ISBN = re.compile(r"(?<![0-9])(?:97[89][0-9]{10}|[0-9]{9}[0-9X])(?![0-9])")
_HYPHENS = re.compile(r"(?<=[0-9])[-‐-―](?=[0-9Xx])")
_YEAR = re.compile(r"(?<![0-9])(1[4-9][0-9]{2}|20[0-9]{2})(?![0-9])")
_NO_CODE = frozenset({"", "|||", "und", "mul", "xxx"})


@dataclass(frozen=True, slots=True)
class BibSummary:
    """One bib in plain values.

    Attributes:
        isbn: digits only, 10 or 13 of them (a final X is possible); empty when there is none that
            has the right shape.
        languages: MARC codes of the language of the text, lower case, in the record's order.
        is_translation: the record says that the text is a translation.
        clc_class: Chinese Library Classification, such as ``I247.5``; never another scheme's class.
        year: four digits, or empty.
    """

    title: str = ""
    author: str = ""
    isbn: str = ""
    languages: tuple[str, ...] = ()
    is_translation: bool = False
    clc_class: str = ""
    publisher: str = ""
    year: str = ""


def normalise_isbn(text: str) -> str:
    """Return the ISBN in a text such as ``978-7-02-000220-7 (平装)`` without hyphens, or an empty
    string.

    Full-width digits are folded; the check digit is not verified, since a misprinted ISBN is still
    printed in the book.
    """
    folded = _HYPHENS.sub("", unicodedata.normalize("NFKC", text)).upper()
    found = _ISBN.search(folded)
    return found.group(0) if found else ""


def split_language_codes(values: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return three-letter codes in order, without repeats; ``engfre`` counts as two.

    Source: MARC 21 field 041 before 2001 concatenated the codes in one ``$a``.
    """
    codes: dict[str, None] = {}
    for value in values:
        text = value.strip().lower()
        parts = (
            [text[n : n + 3] for n in range(0, len(text), 3)] if len(text) % 3 == 0 else [text[:3]]
        )
        codes.update(
            (part, None)
            for part in parts
            if part not in _NO_CODE and part.isalpha() and len(part) == 3
        )
    return tuple(codes)


def find_year(text: str) -> str:
    """Return the first plausible year of publication in a text such as ``c1998.`` or ``2016年``, or
    an empty string.
    """
    found = _YEAR.search(unicodedata.normalize("NFKC", text))
    return found.group(1) if found else ""
