"""Whether two ways of writing a name are the same name.

Nothing here parses a roster. Rule: width, case, blanks and the middle dot of a transliterated name
do not tell two people apart; every other character does.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["fold_name"]

_USUAL = re.compile("[\u4e00-\u9fff]*")
_IGNORED = frozenset("·•・‧∙⋅．･●ꞏ⸱.'-")


def fold_name(name: str) -> str:
    """Return what is compared of a name: 阿依·古丽, 阿依 古丽 and 阿依•古丽 give the same."""
    if _USUAL.fullmatch(name):
        return name
    wide = unicodedata.normalize("NFKC", name).casefold()
    return "".join(
        ch
        for ch in wide
        if not ch.isspace() and ch not in _IGNORED and unicodedata.category(ch) != "Cf"
    )
