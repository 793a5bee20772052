"""The words of the personal file and of the yearly report, in Chinese and English.

Nothing here knows a person; the words lie in ``privacy_words.toml``. Rule: where a word is missing
its code is shown, so that nothing is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

__all__ = ["LANGUAGES", "PrivacyWords", "words_in"]

LANGUAGES = ("zh", "en")


class PrivacyWords:
    """The words in one language."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self._position = LANGUAGES.index(lang)
        self._content = _read()

    def __call__(self, group: str, key: str, **values: object) -> str:
        """Return a word, with its blanks filled in; the key itself where there is none."""
        pair = self._content[group].get(key)
        return key if pair is None else str(pair[self._position]).format(**values)

    def value(self, table: str, code: str) -> str:
        """Return what a code means in a table; the code itself where there is no word."""
        words = self._content["values"]
        pair = words.get(f"{table}.{code}") or words.get(code)
        return code if pair is None else str(pair[self._position])

    def about_table(self, table: str, part: str, **values: object) -> str:
        """Return ``title``, ``purpose`` or ``kept`` of a table."""
        pair = self._content["tables"].get(table, {}).get(part)
        return table if pair is None else str(pair[self._position]).format(**values)

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables in the order in which a reader meets them."""
        return tuple(self._content["tables"])

    @property
    def columns(self) -> frozenset[str]:
        """Columns that have a word."""
        return frozenset(self._content["columns"])


def words_in(lang: str) -> PrivacyWords:
    """Return the words in ``zh`` or ``en``."""
    return PrivacyWords(lang)


@lru_cache(maxsize=1)
def _read() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("connector.services").joinpath("privacy_words.toml").read_text("utf-8")
    return tomllib.loads(text)
