"""Every code that the commands of ``onecard privacy`` print has its words in both languages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.services import compliance
from connector.services.compliance import ComplianceReport, Problem
from connector.services.privacy import ErasureState
from connector.services.privacy_words import LANGUAGES, words_in

PROBLEMS = sorted(re.findall(r'Problem\("(\w+)"', Path(compliance.__file__).read_text("utf-8")))
EMPTY = ComplianceReport(
    year=2026,
    made_at=datetime(2027, 1, 5, tzinfo=UTC),
    children={},
    consents={},
    actions=(),
    audit_intact=False,
    audit_entries=0,
    settings={},
    due=(),
    problems=tuple(Problem(code, 3, "a|b") for code in PROBLEMS),
)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_code_has_words(lang):
    words = words_in(lang)
    document = EMPTY.document()
    for group, keys in {
        "erase": [state.value for state in ErasureState],
        "actions": document["rights"],
        "asked": document["for_the_library"],
        "problems": PROBLEMS,
    }.items():
        for key in keys:
            assert words(group, key, count=1, name="x") != key, (group, key)
    assert len(PROBLEMS) == 8


@pytest.mark.parametrize("lang", LANGUAGES)
def test_report_in_words_has_no_blank_left_and_no_table_broken(lang):
    text = EMPTY.markdown(words_in(lang))
    assert "{" not in text
    assert r"a\|b" in text
    for line in text.split("\n"):
        if line.startswith("|"):
            assert line.endswith("|")


def test_unknown_code_is_shown_as_it_is():
    words = words_in("en")
    assert words.value("loan", "strange") == "strange"
    assert words.about_table("strange", "title") == "strange"
    assert words.value("loan", "open") != words.value("exchange", "open")
