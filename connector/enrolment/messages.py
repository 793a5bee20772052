"""What a problem code means to the person who mends the roster, in Chinese and English.

Nothing here knows a cell's value: a message can be shown, printed and logged. Each says what is
wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MESSAGES", "describe_problem"]

MESSAGES: Mapping[str, tuple[str, str]] = {
    # a cell
    "id_missing": (
        "缺少身份证号，请填写，没有身份证号的学生请填学籍号",
        "no ID number: fill it in, or the student number of a child that has none",
    ),
    "id_digits_lost": (
        "号码以数值或科学计数法保存，数字已丢失，请以文本重新录入",
        "stored as a number (such as 5.0E+17), digits are lost: type it again as text",
    ),
    "id_legacy_15": (
        "15位旧号码，请填写18位号码",
        "an old number of 15 digits: give the one with 18",
    ),
    "id_characters": (
        "身份证号含有数字和X以外的字符，请核对",
        "an ID number with characters other than digits and X: compare it with the document",
    ),
    "id_length": (
        "身份证号位数不对，请填写完整的18位",
        "an ID number of the wrong length: give all 18 characters",
    ),
    "id_area": (
        "身份证号的地区码不存在，请核对前6位",
        "an ID number with an area code that does not exist: compare the first 6 digits",
    ),
    "id_birth_date": (
        "身份证号中的出生日期不存在，请核对第7至14位",
        "an ID number with a birth date that does not exist: compare digits 7 to 14",
    ),
    "id_birth_future": (
        "身份证号中的出生日期晚于今天，请核对第7至14位",
        "an ID number with a birth date in the future: compare digits 7 to 14",
    ),
    "id_check_digit": (
        "身份证号校验位不符，请核对每一位",
        "an ID number whose check digit is wrong: compare every digit",
    ),
    "id_of_adult": (
        "这是成年人的号码，可能误填了家长的，请填写学生本人的号码",
        "the number of an adult, perhaps a parent's: give the pupil's own",
    ),
    "student_no_format": (
        "学籍号格式不对，请填写以G、J或L开头的19位号码",
        "not a student number: give 19 characters that begin with G, J or L",
    ),
    "age_not_for_stage": (
        "年龄与学段不符，请核对号码是否为该生本人的",
        "the age does not fit this kind of school: check that the number is the pupil's own",
    ),
    "age_not_for_grade": (
        "年龄与年级不符，请核对号码和班级，确实无误的请先将班级留空",
        "the age does not fit the grade: check both, leave the class empty if they are right",
    ),
    "name_missing": ("缺少姓名，请填写", "no name: fill it in"),
    "name_characters": (
        "姓名中有不应出现的字符，请只填姓名",
        "a name with characters that no name has: give the name only",
    ),
    "name_length": (
        "姓名过短或过长，请填写全名",
        "a name too short or too long: give the full name",
    ),
    "guardian_is_pupil": (
        "家长姓名与学生姓名相同，请填写家长本人的姓名，或核对学生姓名",
        "the parent's name is the pupil's: give the parent's own, or check the pupil's",
    ),
    "phone_format": (
        "不是有效的电话号码，请填写一个手机号，或带区号的座机号",
        "not a phone number: give one mobile number, or a landline with its area code",
    ),
    "needs_guardian": (
        "没有本人电话也没有家长电话，请至少填写一个",
        "neither the pupil's nor a parent's phone: give one of them",
    ),
    "district_missing": ("缺少区县，请填写", "no district: fill it in"),
    "district_unknown": (
        "不在本项目的区县范围内，请核对区县，跨区学生请联系图书馆",
        "not a district of this programme: check it, ask the library about pupils from elsewhere",
    ),
    "willing_unclear": (
        "办证意愿看不懂，请填“是”或“否”，未答复的留空",
        "the willingness cannot be read: write yes or no, or leave it empty",
    ),
    "text_format": (
        "内容过长或像公式，请改为简短文字",
        "too long, or looks like a formula: write a short text",
    ),
    # a doubt about a row that was taken
    "class_unclear": (
        "已接收，但看不出年级和班级，请写成“三年级2班”",
        "taken, but grade and class cannot be told: write them like 三年级2班 or G3C2",
    ),
    "class_digits_lost": (
        "已接收，但3.1可能是3.10，请将班级列设为文本，写成“三年级1班”",
        "taken, but 3.1 may stand for 3.10: write the class as text, like 三年级1班 or G3C1",
    ),
    "class_unknown": (
        "已接收，但学校没有这个班级，请核对，或由图书馆先建班级",
        "taken, but the school has no such class: check it, or ask the library to add it",
    ),
    "class_disabled": (
        "已接收，但该年级或班级已停用，请核对",
        "taken, but the grade or class is disabled: check it",
    ),
    # a row against what is known
    "twice_in_file": (
        "与本表中前面的一行重复，请删除其中一行",
        "the same pupil stands further up in this file: remove one of the rows",
    ),
    "two_schools": (
        "该生同时在两所学校的名册中，请等待图书馆核实",
        "the pupil is on the rosters of two schools: wait until the library has settled it",
    ),
    "at_other_school": (
        "该生已在另一所学校登记，已转图书馆处理，请等待",
        "registered at another school already: wait until the library has looked into it",
    ),
    "name_differs": (
        "号码已登记，但姓名不同，请核对，改名的请联系图书馆",
        "the number is registered under another name: check both, tell the library of a new name",
    ),
    "identifiers_differ": (
        "身份证号与学籍号属于两个人，请核对两个号码",
        "ID number and student number belong to two people: check both",
    ),
    "ambiguous_match": (
        "可能是已登记的学生，但不止一人符合，请联系图书馆核实",
        "may be a registered pupil, but several fit: ask the library",
    ),
    "refused_before": (
        "家长此前已拒绝，不再询问，家长改变主意的请联系图书馆",
        "a guardian refused before and is not asked again: tell the library if he changed his mind",
    ),
    "withdrawn_before": (
        "家长此前已撤回，请联系图书馆重新受理",
        "a guardian withdrew before: ask the library to take it up again",
    ),
    "change_after_approval": (
        "已获图书馆批准，修改请另向图书馆申请",
        "approved already: ask the library for the change",
    ),
    "grade_not_in_campaign": (
        "该年级不在本次办证范围内，请在其开放时再导入",
        "the grade is not part of this campaign: import it when its turn comes",
    ),
    # a file
    "file_missing": (
        "文件不存在或无法读取，请核对文件名和权限",
        "the file does not exist or cannot be read: check name and permissions",
    ),
    "file_not_spreadsheet": (
        "不是电子表格，请用表格软件另存为 .xlsx",
        "not a spreadsheet: open it in a spreadsheet program and save it as .xlsx",
    ),
    "file_encoding": (
        "不支持的文本编码（如UTF-16），请另存为 .xlsx 或“CSV UTF-8”",
        "a text encoding that is not read, such as UTF-16: save it as .xlsx or as CSV UTF-8",
    ),
    "csv_quotes": (
        "CSV中的引号不成对，请补齐，或另存为 .xlsx",
        "a quotation mark without its pair in a csv file: mend it, or save the file as .xlsx",
    ),
    "file_password": (
        "文件有密码保护，请取消密码后重试",
        "protected by a password: remove it and try again",
    ),
    "file_too_large": (
        "文件过大，请删除图片等无关内容，或分成几个文件",
        "the file is too large: remove pictures and the like, or split it",
    ),
    "sheet_too_wide": (
        "离名册很远处还有内容，请把名册复制到新文件",
        "something stands far away from the roster: copy the roster into a new file",
    ),
    "file_not_writable": (
        "无法写入文件，请核对文件夹的权限和剩余空间",
        "the file cannot be written: check the folder's permissions and the space left",
    ),
    "header_missing": (
        "找不到表头，请保留至少含“姓名”和“身份证号”两列的表头",
        "no header row: have one with at least a name and an ID number column",
    ),
    "column_twice": (
        "两列的表头含义相同，请删除或改名其中一列",
        "two headers name the same column: remove or rename one",
    ),
    "column_missing": (
        "缺少电话列，请加上“联系电话”或“家长电话”",
        "no phone column: add Phone or Parent phone",
    ),
    "too_many_rows": ("行数过多，请分成几个文件", "too many rows: split the file"),
    # a school
    "school_disabled": (
        "该学校已停用，请联系图书馆启用",
        "the school is disabled: ask the library to enable it",
    ),
    "feed_stale": (
        "名册数据长时间未更新，请检查自动导出是否仍在运行",
        "the roster feed has brought nothing for long: check that its export still runs",
    ),
    # a feed
    "feed_folder_missing": (
        "名册文件夹不存在，请检查 [[enrolment.feeds]] 的 folder",
        "the feed's folder does not exist: check folder in [[enrolment.feeds]]",
    ),
    "feed_school_unknown": (
        "没有这个学校代码，请先用 onecard enrol school add 登记学校",
        "no school has this code: add it with onecard enrol school add",
    ),
    "feed_not_oneroster": (
        "不是 OneRoster 数据包，缺少 manifest.csv 或文件损坏，请重新导出",
        "not a OneRoster bundle, manifest.csv is missing or a file damaged: export it anew",
    ),
    "feed_version": (
        "只支持 OneRoster 1.1 和 1.2，请让对方改用这两个版本导出",
        "only OneRoster 1.1 and 1.2 are read: ask for an export in one of them",
    ),
    "feed_file_missing": (
        "OneRoster 数据包缺少 users、orgs、classes、enrollments 或 roles 文件，请重新导出",
        "users, orgs, classes, enrollments or roles is missing in the bundle: export it anew",
    ),
    "feed_column_missing": (
        "OneRoster 文件缺少必需的列，请重新导出",
        "a file of the bundle lacks a column that OneRoster demands: export it anew",
    ),
    "feed_encoding": (
        "OneRoster 文件不是 UTF-8 编码，请重新导出",
        "a file of the bundle is not UTF-8: export it anew",
    ),
    "feed_failed": (
        "处理中断，将自动重试，请查看日志",
        "it broke off and is tried again: look into the log",
    ),
}
"""Code → Chinese, English."""


def describe_problem(code: str, language: str = "zh") -> str:
    """Return the message of a problem code; an unknown code (a plugin's) stands for itself."""
    texts = MESSAGES.get(code)
    return code if texts is None else texts[language.startswith("en")]
