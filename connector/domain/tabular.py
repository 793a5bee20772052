"""Text on its way into a table that a spreadsheet may open.

Nothing here writes a file. Rule: what a person typed is never a formula.
"""

from __future__ import annotations

__all__ = ["defuse"]

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def defuse(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: one that begins like a formula, after
    blanks too, gets an apostrophe in front.

    Source: OWASP, "CSV Injection"; spreadsheets read the full-width signs alike.
    """
    return f"'{text}" if text.lstrip(" \u00a0\u3000\n").startswith(_BEGINS_FORMULA) else text
