"""The registry of dialects."""

from __future__ import annotations

import pytest

from connector.sip2 import dialects, spec
from connector.sip2.dialects import (
    CHINESE_KIOSK,
    STANDARD,
    Dialect,
    dialect_names,
    find_dialect,
    register_dialect,
)
from connector.sip2.spec import SPECS, STANDARD_SPECS, MessageSpec


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(dialects, "_dialects", dict(dialects._dialects))
    before = dict(spec._registry)
    yield
    spec._registry.clear()
    spec._registry.update(before)


def test_the_built_in_dialects():
    assert {"standard", "chinese-kiosk"} <= set(dialect_names())
    assert find_dialect("chinese-kiosk") is CHINESE_KIOSK
    assert find_dialect("no-such-dialect") is STANDARD
    assert set(STANDARD.specs) == set(STANDARD_SPECS)
    assert set(CHINESE_KIOSK.specs) - set(STANDARD_SPECS) == {"81", "82", "91", "92", "85", "86"}
    assert {code: SPECS[code].answer for code in ("81", "91", "85")} == {
        "81": "82",
        "91": "92",
        "85": "86",
    }


def test_a_dialect_is_added_once(registry):
    mine = Dialect(
        "mine", (MessageSpec("41", "List Terminals", "42"), MessageSpec("42", "Terminals", None))
    )
    register_dialect(mine)
    register_dialect(mine)
    assert find_dialect("mine").wire[b"41"].answer == "42"
    assert SPECS["41"].name == "List Terminals"
    with pytest.raises(ValueError, match="already registered"):
        register_dialect(Dialect("mine"))


def test_a_dialect_cannot_replace_the_standard(registry):
    with pytest.raises(ValueError, match="belongs to the standard"):
        register_dialect(Dialect("bad", (MessageSpec("11", "Mine", "12"),)))
