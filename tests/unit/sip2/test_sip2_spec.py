"""The tables of the standard hold together."""

from __future__ import annotations

import pytest

from connector.sip2.spec import (
    BX_ORDER,
    KNOWN_TAGS,
    SPECS,
    STANDARD_SPECS,
    STATE_CHANGING,
    TAG_SHAPES,
)

# Offset of the first tagged field of each message, from the standard.
OFFSETS = {
    "23": 23,
    "11": 40,
    "09": 39,
    "01": 21,
    "99": 10,
    "97": 2,
    "93": 4,
    "63": 33,
    "35": 20,
    "37": 27,
    "17": 20,
    "19": 20,
    "25": 20,
    "15": 21,
    "29": 40,
    "65": 20,
    "24": 37,
    "12": 24,
    "10": 24,
    "98": 36,
    "96": 2,
    "94": 3,
    "64": 61,
    "36": 21,
    "38": 21,
    "18": 26,
    "20": 21,
    "26": 37,
    "16": 22,
    "30": 24,
    "66": 29,
}


def test_offsets():
    assert {code: spec.end for code, spec in STANDARD_SPECS.items()} == OFFSETS


def test_every_request_has_a_reply_and_every_reply_a_request():
    answers = {spec.answer for spec in STANDARD_SPECS.values() if spec.answer}
    assert answers | {"96", "97"} == {
        code for code, spec in STANDARD_SPECS.items() if spec.answer is None
    }
    assert {code for code, spec in STANDARD_SPECS.items() if spec.answer} | {"97"} == set(BX_ORDER)
    assert len(BX_ORDER) == 16
    assert set(BX_ORDER) > STATE_CHANGING


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.code)
def test_fields_are_well_formed(spec):
    assert spec.tags <= TAG_SHAPES
    assert not spec.tags & {"AY", "AZ"}
    assert spec.repeatable <= spec.tags
    assert len(spec.rank) == len(spec.required) + len(spec.optional)
    assert all(len(one.default) == one.length for one in spec.fixed)
    assert spec.legal.fullmatch(spec.code + "".join(spec.defaults.values()))


def test_known_tags():
    assert {"AO", "AA", "XK", "PA", "CV"} <= KNOWN_TAGS <= TAG_SHAPES
