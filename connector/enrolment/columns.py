"""Roster columns: which header names which column, and the two layouts that schools use.

Nothing here opens a file or checks a value. Rules: A41 (five columns), A49 (seven columns, stars
mark the mandatory ones); Chinese headers, English aliases; an unknown header is reported only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from connector.errors import RecordError

__all__ = ["HEADERS", "LAYOUTS", "MANDATORY", "ColumnMap", "Layout", "match_header"]


class Layout(StrEnum):
    """Which of the two templates a sheet follows."""

    A41 = "a41"
    A49 = "a49"


LAYOUTS: Mapping[Layout, tuple[str, ...]] = {
    Layout.A41: ("id_number", "name", "phone", "guardian_name", "guardian_phone"),
    Layout.A49: (
        "id_number",
        "name",
        "phone",
        "guardian_name",
        "guardian_phone",
        "class_name",
        "district",
    ),
}

HEADERS: Mapping[str, tuple[str, str]] = {
    "id_number": ("身份证号", "ID number"),
    "name": ("姓名", "Name"),
    "phone": ("联系电话", "Phone"),
    "guardian_name": ("家长姓名", "Parent name"),
    "guardian_phone": ("家长电话", "Parent phone"),
    "class_name": ("班级", "Class"),
    "district": ("区县", "District"),
    "student_no": ("学籍号", "Student number"),
    "card_no": ("读者证号", "Card number"),
    "grade": ("年级", "Grade"),
    "willing": ("是否办证", "Willing"),
}
"""Column key → the header that templates write: Chinese, English."""

MANDATORY: Mapping[Layout, frozenset[str]] = {
    Layout.A41: frozenset({"id_number", "name", "phone"}),
    Layout.A49: frozenset({"id_number", "name", "phone", "district"}),
}
"""Columns that templates mark with a star (A49)."""

_ALIASES: Mapping[str, str] = {
    "id_number": """
        身份证号 身份证号码 身份证 居民身份证号 居民身份证号码 公民身份号码 学生身份证号 证件号码
        证件号 身份证件号 社会保障号码 idnumber idno idcard idcardnumber identitynumber nationalid
        """,
    "name": "姓名 学生姓名 学生 读者姓名 幼儿姓名 name studentname fullname pupilname",
    "phone": """
        联系电话 电话 手机 手机号 手机号码 联系方式 联系手机 学生电话
        phone phonenumber contactphone mobile telephone
        """,
    "guardian_name": """
        家长姓名 监护人姓名 家长 监护人 parentname guardianname parent guardian
        """,
    "guardian_phone": """
        家长电话 家长联系电话 家长手机 家长手机号 监护人电话 监护人联系电话 监护人手机 家长联系方式
        parentphone guardianphone parentphonenumber guardianphonenumber
        """,
    "class_name": "班级 班级名称 所在班级 班 行政班 年级班级 class classname gradeandclass",
    "district": "区县 所属区县 所在区县 区 县 行政区 district county districtcounty",
    "student_no": "学籍号 学籍号码 全国学籍号 学籍编号 studentnumber studentno registrynumber",
    "card_no": "读者证号 借阅证号 读者卡号 卡号 cardnumber cardno card",
    "grade": "年级 所在年级 年级名称 grade gradename",
    "willing": """
        是否办证 是否愿意办证 是否自愿办证 意愿 办证意愿 是否愿意 是否自愿 willing willingness
        """,
}
_KEY_OF = {alias: key for key, names in _ALIASES.items() for alias in names.split()}
_IN_BRACKETS = re.compile(r"\([^)]*\)|\[[^\]]*\]|【[^】]*】")
_NOISE = re.compile(r"[\s*:,.、/_-]+")


def match_header(cell: object) -> str | None:
    """Return the column key that a header cell names, or None.

    Width, case, blanks, stars and remarks in brackets do not matter.
    """
    if not isinstance(cell, str):
        return None
    text = unicodedata.normalize("NFKC", cell).lower()
    plain = "".join(ch for ch in text if unicodedata.category(ch) != "Cf")
    return _KEY_OF.get(_NOISE.sub("", _IN_BRACKETS.sub("", plain)))


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column of a sheet holds what.

    Attributes:
        index: column key → position from 0.
        unknown: headers that name no column of ours, as written.
    """

    index: Mapping[str, int]
    unknown: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """A49 when the sheet has a class or a district column, else A41."""
        return Layout.A49 if {"district", "class_name"} & self.index.keys() else Layout.A41

    @classmethod
    def from_header(cls, cells: Sequence[object], row: int) -> ColumnMap | None:
        """Return the columns of a header row, or None when the row is no header.

        A header has a name column and a column that identifies the pupil.

        Args:
            row: row number in the sheet, for the report.

        Raises:
            RecordError: two headers name the same column (``column_twice``), or there is no
                column for any phone number (``column_missing``).
        """
        index: dict[str, int] = {}
        unknown = []
        twice = False
        for position, cell in enumerate(cells):
            key = match_header(cell)
            if key is not None:
                twice = twice or key in index
                index.setdefault(key, position)
            elif isinstance(cell, str) and cell.strip():
                unknown.append(" ".join(cell.split()))
        if "name" not in index or not {"id_number", "student_no"} & index.keys():
            return None
        if twice:
            raise RecordError(row, "column_twice")
        if not {"phone", "guardian_phone"} & index.keys():
            raise RecordError(row, "column_missing")
        return cls(index, tuple(unknown))
