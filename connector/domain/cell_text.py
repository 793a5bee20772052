"""A cell's text: cleaned of what nobody sees, joined as a name is written, told from a formula.

Nothing here knows a column. Rules: no letter or digit is changed; what a spreadsheet program would
compute is recognised in half and full width.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean_text", "is_name", "is_odd_text", "join_name", "read_text"]

_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_USUAL_TEXT = re.compile("[!-~\u4e00-\u9fff]*")
_BLANKS_IN_HAN = re.compile(rf"(?<=[{_HAN}·]) (?=[{_HAN}·])")
_BLANKS_AT_DOT = re.compile(" ?· ?")
_POINT_IN_HAN = re.compile(rf"(?<=[{_HAN}])[.。｡](?=[{_HAN}])")
_DOTS = str.maketrans(dict.fromkeys("•・‧∙⋅．･●ꞏ⸱", "·"))
_NAME_MARKS = frozenset(" ·'-.〇")
_TEXT_LENGTH = 60
_FORMULA_STARTS = frozenset("=+-@＝＋－＠")
_EXACT_FLOAT = 10**15


def read_text(raw: object) -> str:
    """Return a cell as one line of text; see ``clean_text``."""
    if isinstance(raw, str) and _USUAL_TEXT.fullmatch(raw):
        return raw
    return _join_blanks(clean_text(raw))


def clean_text(raw: object) -> str:
    """Return a cell as text without invisible characters; whole numbers without ``.0``."""
    if raw is None:
        return ""
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < _EXACT_FLOAT:
        return str(int(raw))
    text = str(raw)
    if _USUAL_TEXT.fullmatch(text):
        return text
    return "".join(ch for ch in text if unicodedata.category(ch) != "Cf").strip()


def _join_blanks(text: str) -> str:
    return " ".join(text.split())


def join_name(text: str) -> str:
    """Return a name as it is written in a register: 张 三 is 张三, Anna  Li is Anna Li."""
    name = _POINT_IN_HAN.sub("·", _join_blanks(text.translate(_DOTS)))
    return _BLANKS_IN_HAN.sub("", _BLANKS_AT_DOT.sub("·", name))


def is_odd_text(text: str) -> bool:
    """Say whether a text is too long to be kept, or begins as a formula does."""
    return text[:1] in _FORMULA_STARTS or len(text) > _TEXT_LENGTH


def is_name(text: str) -> bool:
    """Say whether a text that is not empty has only what names have."""
    return (
        text[0] not in _FORMULA_STARTS
        and any(map(str.isalpha, text))
        and all(
            ch.isalpha() or ch in _NAME_MARKS or unicodedata.category(ch).startswith("M")
            for ch in text
        )
    )
