"""How schools write a class — 三（2）班, 3.2, 301, 2023级2班, 大一班 — read as level and class.

Nothing here stores, or knows a roster; ``school`` knows years and levels. Rules —

- a text that can mean two classes, or a level that the school does not have, is not read: a wrong
  class is worse than none;
- number classes are called ``N班``, whatever the school writes; others keep their own name;
- 级 is the year of entry, 届 the year of leaving, as the Ministry of Education uses the words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from connector.domain.school import (
    SchoolStage,
    SchoolSystem,
    grade_name,
    level_of_entry,
    levels_of,
)

__all__ = ["ClassName", "parse_class_label", "parse_class_name", "parse_grade"]

_LONGEST_TEXT = 40
_LONGEST_LABEL = 12
_LAST_SHORT_CLASS = 50
"""Highest class number that is read from three or four digits: 301 is, 2023 is not."""


@dataclass(frozen=True, slots=True)
class ClassName:
    """A class of a school.

    Attributes:
        name: what it is called within its grade: ``2班``, ``实验班``; empty when only the grade is
            told.
    """

    level: int
    name: str = ""

    def title(self, language: str = "zh") -> str:
        """Return grade and class, such as 三年级2班; ``parse_class_name`` reads the Chinese one."""
        grade = grade_name(self.level, language)
        number = self.name.removesuffix("班")
        if language.startswith("en") and number.isascii() and number.isdigit():
            return f"{grade} Class {number}"
        return grade + (" " if language.startswith("en") and self.name else "") + self.name


_DIGITS = "一二三四五六七八九"
_NUMERAL = "[一二三四五六七八九十]{1,3}|[0-9]{1,2}"
_STAGES = {
    "幼儿园": SchoolStage.KINDERGARTEN,
    "小学": SchoolStage.PRIMARY,
    "小": SchoolStage.PRIMARY,
    "初中": SchoolStage.JUNIOR,
    "初": SchoolStage.JUNIOR,
    "高中": SchoolStage.SENIOR,
    "高": SchoolStage.SENIOR,
    "": None,
}
_KINDERGARTEN = {"小": -2, "中": -1, "大": 0, "学前": 0}
_YEAR = re.compile(r"(幼儿园|小学|初中|高中|小|初|高|)(20[0-9]{2}|[0-9]{2})([级届])")
_GRADE = re.compile(rf"(小学|初中|高中|初|高|)({_NUMERAL})年级?")
_SHORT_GRADE = re.compile(r"(初|高|小)(?:中|学)?([一二三四五六]|[1-6](?![0-9]))")
_ENGLISH_GRADE = re.compile(r"g(?:rade|r)?\.?([0-9]{1,2})(?![0-9])")
_ENGLISH_LAST = re.compile(r"class\.?([0-9]{1,2}),?(?:of)?g(?:rade|r)?\.?([0-9]{1,2})")
_NURSERY = re.compile("(?:幼儿园)?(小|中|大|学前)班")
_NURSERY_CLASS = re.compile(rf"(?:幼儿园)?(小|中|大)(\()?({_NUMERAL}|[a-z])(?(2)\))班")
_GRADES = (_YEAR, _GRADE, _SHORT_GRADE, _NURSERY, _NURSERY_CLASS)
_PAIR = re.compile(rf"({_NUMERAL})[-.·/_,、]({_NUMERAL})班?")
_IN_BRACKETS = re.compile(r"([一二三四五六七八九]|[0-9]{1,2})\(([^()]{1,12})\)班?")
_MIXED = re.compile(r"([一二三四五六七八九])([0-9]{1,2}|[a-z])班?|([0-9]{1,2})([a-z])班?")
_CHINESE_PAIR = re.compile(r"([一二三四五六七八九])([一二三四五六七八九])班")
_DIGIT_CODE = re.compile(r"([0-9]{1,2}?)([0-9]{2})班?")
_SEPARATORS = "-.·/_,、:"
_ENGLISH_CLASS = re.compile(r"(?:class|cl|c)\.?([0-9]{1,2}|[a-z])")
_NUMBER_LABEL = re.compile(rf"({_NUMERAL}|[a-z][0-9]{{0,2}})(?:班|$)")
_NAMED_LABEL = re.compile(r"([\u4e00-\u9fffa-z]+)(\()?([0-9]{0,2})(?(2)\))班")
_NO_NAME = re.compile("年级|[级届]|班.*班")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−－～~", "-") | dict.fromkeys("[【〔{", "(")
                        | dict.fromkeys("]】〕}", ")") | dict.fromkeys("。•・∙⋅", "."))  # fmt: skip


def parse_class_name(
    text: str,
    *,
    stage: SchoolStage | None,
    system: SchoolSystem,
    school_year: int,
    grade: str = "",
) -> ClassName | None:
    """Return the class that a text names, or None when it cannot be told.

    Args:
        stage: the school's; levels outside it are not read. Without it 级 needs 小学, 初 or 高.
        school_year: in which the roster is written; tells in which grade 2023级 is.
        grade: the text of a grade column of its own, which must not contradict.
    """
    plain = _normalise(text)
    if plain is None:
        return None
    school = _Levels(stage, system, school_year)
    if not grade.strip():
        return school.read_class(plain)
    level = parse_grade(grade, stage=stage, system=system, school_year=school_year)
    if level is None:
        return None
    found = school.read_class(plain)
    if found is not None:
        return found if found.level == level else None
    label = _read_label(plain) if plain else ""
    return None if label is None else ClassName(level, label)


def parse_grade(
    text: str, *, stage: SchoolStage | None, system: SchoolSystem, school_year: int
) -> int | None:
    """Return the level that a grade column names: 三年级, 3, 初一, 2023级, 2023, 大班, G3."""
    plain = _normalise(text)
    if not plain:
        return None
    school = _Levels(stage, system, school_year)
    if re.fullmatch("20[0-9]{2}", plain):
        plain += "级"
    elif re.fullmatch(_NUMERAL, plain):
        plain += "年级"
    elif plain in _KINDERGARTEN:
        plain += "班"
    found = school.read_class(plain)
    return found.level if found is not None and not found.name else None


def parse_class_label(text: str) -> str | None:
    """Return the class within its grade that a bare text names (2班, 二, 实验班), or None."""
    plain = _normalise(text)
    return _read_label(plain) if plain else None


@dataclass(frozen=True, slots=True)
class _Levels:
    """The levels of one school in one year."""

    stage: SchoolStage | None
    system: SchoolSystem
    school_year: int

    def read_class(self, text: str) -> ClassName | None:
        """Return the class that a normalised text names together with its grade."""
        match = _ENGLISH_LAST.fullmatch(text)
        if match:
            return self._make(_count(match[2]), match[1])
        if match := _NURSERY_CLASS.fullmatch(text):
            if match[1] == "小" and self.stage is None:
                return None  # 小二班 may be 小学二年级
            return self._make(_KINDERGARTEN[match[1]], match[3])
        for pattern, read in (
            (_YEAR, self._level_of_year),
            (_GRADE, self._level_of_grade),
            (_NURSERY, lambda match: _KINDERGARTEN[match[1]]),
            (_SHORT_GRADE, self._level_in_stage),
            (_ENGLISH_GRADE, lambda match: _count(match[1])),
        ):
            if match := pattern.match(text):
                return self._make(read(match), text[match.end() :].lstrip(_SEPARATORS))
        for pattern in (_PAIR, _IN_BRACKETS, _MIXED, _CHINESE_PAIR, _DIGIT_CODE):
            if match := pattern.fullmatch(text):
                grade, label = (part for part in match.groups() if part)
                if pattern is _DIGIT_CODE and not 0 < int(label) <= _LAST_SHORT_CLASS:
                    return None
                return self._make(_count(grade), _as_label(label))
        return None

    def _make(self, level: int | None, label: str) -> ClassName | None:
        if level is None or level not in levels_of(self.stage, self.system):
            return None
        name = _read_label(label) if label else ""
        return None if name is None else ClassName(level, name)

    def _level_of_year(self, match: re.Match[str]) -> int | None:
        stage = _STAGES[match[1]] or self.stage
        if stage is None:
            return None
        levels = levels_of(stage, self.system)
        year = int(match[2]) + (2000 if len(match[2]) == 2 else 0)
        if match[3] == "届":
            year -= len(levels)
        return level_of_entry(year, stage, self.system, self.school_year)

    def _level_of_grade(self, match: re.Match[str]) -> int | None:
        number = _count(match[2])
        stage = _STAGES[match[1]]
        if number is None or stage is None:
            return number
        levels = levels_of(stage, self.system)
        if number in levels:
            return number
        return levels[number - 1] if number <= len(levels) else None

    def _level_in_stage(self, match: re.Match[str]) -> int | None:
        levels = levels_of(_STAGES[match[1]], self.system)
        number = _count(match[2])
        return levels[number - 1] if number and number <= len(levels) else None


def _normalise(text: str) -> str | None:
    """Return the text without blanks, in half width and lower case; None when it is too long."""
    if len(text) > _LONGEST_TEXT:
        return None
    wide = unicodedata.normalize("NFKC", text.translate(_DASHES)).translate(_DASHES).lower()
    return "".join(ch for ch in wide if not ch.isspace() and unicodedata.category(ch) != "Cf")


def _as_label(label: str) -> str:
    return label if label.endswith("班") else f"{label}班"


def _read_label(text: str) -> str | None:
    """Return the normalised class within a grade: 2班 for 二班, (02)班 and 2."""
    match = re.fullmatch(r"\(([^()]+)\)(?:班)?", text)
    if match:
        text = _as_label(match[1])
    if match := _ENGLISH_CLASS.fullmatch(text):
        text = match[1]
    if match := _NUMBER_LABEL.fullmatch(text):
        number = _number(match[1])
        if number is not None:
            return f"{number}班" if number else None
        return f"{match[1].upper()}班" if match[1].isascii() else None
    match = _NAMED_LABEL.fullmatch(text)
    if match is None or len(text) > _LONGEST_LABEL or _NO_NAME.search(text):
        return None
    if any(pattern.match(text) for pattern in _GRADES):
        return None
    name = f"{match[1]}{match[3]}"
    return None if all(ch in _DIGITS + "十" for ch in name) else f"{name.upper()}班"


def _count(text: str) -> int | None:
    """Return a number from 1 on."""
    return _number(text) or None


def _number(text: str) -> int | None:
    """Return what Arabic digits or a Chinese numeral up to 99 say; None for letters and 一二."""
    if text.isascii():
        return int(text) if text.isdigit() else None
    if len(text) == 1 and text in _DIGITS:
        return _DIGITS.index(text) + 1
    match = re.fullmatch(f"([{_DIGITS}]?)十([{_DIGITS}]?)", text)
    if match is None:
        return None
    tens = _DIGITS.index(match[1]) + 1 if match[1] else 1
    return tens * 10 + (_DIGITS.index(match[2]) + 1 if match[2] else 0)
