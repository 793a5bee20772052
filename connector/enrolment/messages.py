"""What a problem code means to the person who mends the roster, in Chinese and English.

Nothing here knows a cell's value: a message can be shown, printed and logged.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MESSAGES", "describe_problem"]

MESSAGES: Mapping[str, tuple[str, str]] = {
    # a cell
    "id_missing": ("缺少身份证号", "the ID number is missing"),
    "id_digits_lost": (
        "号码以数值或科学计数法保存，数字已丢失，请以文本重新录入",
        "stored as a number (such as 5.0E+17): digits are lost, type it again as text",
    ),
    "id_legacy_15": ("15位旧号码，请填写18位号码", "an old 15-digit number, give the one with 18"),
    "id_characters": ("含有数字和X以外的字符", "has characters other than digits and X"),
    "id_length": ("位数不对，应为18位", "wrong length, 18 characters are needed"),
    "id_area": ("地区码不存在", "there is no such area code"),
    "id_birth_date": ("出生日期不存在", "the birth date does not exist"),
    "id_birth_future": ("出生日期晚于今天", "the birth date lies in the future"),
    "id_check_digit": ("校验位不符，请核对每一位", "the check digit is wrong, compare every digit"),
    "student_no_format": (
        "学籍号应为19位，以G、J或L开头",
        "a student number has 19 characters and begins with G, J or L",
    ),
    "age_not_for_stage": ("年龄与学段不符", "the age does not fit this kind of school"),
    "name_missing": ("缺少姓名", "the name is missing"),
    "name_characters": ("姓名中有不应出现的字符", "the name has characters that no name has"),
    "name_length": ("姓名过短或过长", "the name is too short or too long"),
    "phone_format": ("不是有效的电话号码", "not a valid phone number"),
    "needs_guardian": (
        "没有本人电话也没有家长电话",
        "neither the pupil's nor a parent's phone is given",
    ),
    "district_missing": ("缺少区县", "the district is missing"),
    "district_unknown": ("不在本项目的区县范围内", "not a district that this programme serves"),
    "text_format": ("内容过长或像公式", "too long, or looks like a formula"),
    # a row against what is known
    "twice_in_file": ("与本表中前面的一行重复", "the same pupil stands further up in this file"),
    "at_other_school": (
        "该生已在另一所学校登记，已转图书馆处理",
        "registered at another school already; the library will look into it",
    ),
    "name_differs": ("号码已登记，但姓名不同", "the number is registered under another name"),
    "identifiers_differ": (
        "身份证号与学籍号属于两个人",
        "ID number and student number belong to two people",
    ),
    "ambiguous_match": (
        "可能是已登记的学生，但不止一人符合",
        "may be a registered pupil, but several fit",
    ),
    "refused_before": (
        "家长此前已拒绝，不再询问",
        "a guardian refused before and is not asked again",
    ),
    "withdrawn_before": (
        "家长此前已撤回，须由图书馆重新受理",
        "a guardian withdrew before; the library has to take it up again",
    ),
    "change_after_approval": (
        "已获图书馆批准，修改须另行申请",
        "approved already; a change needs a request to the library",
    ),
    # a file
    "file_missing": ("文件不存在或无法读取", "the file does not exist or cannot be read"),
    "file_not_spreadsheet": (
        "不是电子表格，请另存为 .xlsx",
        "not a spreadsheet; save it as .xlsx",
    ),
    "file_password": ("文件有密码保护，请取消密码", "protected by a password; remove it"),
    "file_too_large": ("文件过大", "the file is too large"),
    "sheet_too_wide": (
        "离名册很远处还有内容，请把名册复制到新文件",
        "something stands far away from the roster; copy the roster into a new file",
    ),
    "file_not_writable": ("无法写入文件", "the file cannot be written"),
    "header_missing": (
        "找不到表头：至少要有“姓名”和“身份证号”两列",
        "no header row: at least a name and an ID number column are needed",
    ),
    "column_twice": ("两列的表头含义相同", "two headers name the same column"),
    "column_missing": ("缺少电话列", "there is no phone column"),
    "too_many_rows": ("行数过多，请分成几个文件", "too many rows; split the file"),
}
"""Code → Chinese, English."""


def describe_problem(code: str, language: str = "zh") -> str:
    """Return the message of a problem code; an unknown code (a plugin's) stands for itself."""
    texts = MESSAGES.get(code)
    return code if texts is None else texts[language.startswith("en")]
