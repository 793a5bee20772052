"""Cells that a spreadsheet must not take for formulas."""

import pytest

from connector.domain.tabular import defuse


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+86", "-2", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "\u3000=1", "＝1", "＠x"],
)
def test_what_begins_like_a_formula_becomes_text(cell):
    assert defuse(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "张晓明", "a=b", "500230", "'=1", "2026-09-01", " x"])
def test_other_text_stays(cell):
    assert defuse(cell) == cell
