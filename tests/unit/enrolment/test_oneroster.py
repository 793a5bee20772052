"""OneRoster bundles, written by the tests after the published tables."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from connector.enrolment.oneroster import build_roster, read_oneroster
from connector.errors import RecordError

ORGS = """\
sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId
d1,,,District,district,D,
o1,,,江城一小,school,s1,d1
o2,,,江城二小,school,,d1
"""
CLASSES = """\
sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,subjectCodes,periods
c1,,,三年级2班,03,x,,homeroom,,o1,t1,,,
c2,,,数学提高,03,x,,scheduled,,o1,t1,,,
c3,,,大一班,KG,x,,homeroom,,o2,t1,,,
"""
USERS_11 = """\
sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,agentSourcedIds,grades,password
u1,,,true,o1,student,u1,{id_card:500230201503010015},小江,张,,,,,,g1,03,
u2,,,true,o2,student,u2,,知夏,李,,L500230202002290017,,,13900000002,,,
u3,,,true,d1,student,u3,,Ann,Lee,Mary,50023020160615007X,,,,,"05,06",
g1,,,true,d1,parent,g1,,大江,张,,,,13900000001,,,,
t1,,,true,o1,teacher,t1,,老师,王,,500230198001010013,,,,,,
"""
ENROLMENTS = """\
sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate
e1,,,c2,o1,u1,student,false,,
e2,,,c1,o1,u1,student,false,,
e3,,,c3,o2,u2,student,true,,
e4,,,c1,o1,t1,teacher,true,,
"""
FILES = ("orgs", "classes", "users", "enrollments")


def manifest(version: str = "1.1", mode: str = "bulk", *, more: str = "") -> str:
    lines = [f"file.{name},{mode}" for name in FILES]
    head = ["propertyName,value", "manifest.version,1.0", f"oneroster.version,{version}"]
    return "\n".join([*head, *lines, more]) + "\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    texts = (ORGS, CLASSES, USERS_11, ENROLMENTS)
    for name, text in zip(FILES, texts, strict=True):
        (folder / f"{name}.csv").write_text(text, "utf-8")
    (folder / "manifest.csv").write_text(manifest(), "utf-8-sig")
    return folder


def test_pupils_come_by_school_with_class_and_guardian(bundle):
    found = read_oneroster(bundle)
    assert (found.version, found.complete, found.homeless) == ("1.1", True, 1)
    first, second = found.schools
    assert (first.code, first.name, second.code) == ("s1", "江城一小", "o2")
    (pupil,) = first.pupils
    assert pupil.row == 2
    assert pupil.cells == {
        "name": "张小江",
        "phone": "",
        "id_number": "500230201503010015",
        "guardian_name": "张大江",
        "guardian_phone": "13900000001",
        "class_name": "三年级2班",
        "grade": "3",
    }
    (pupil,) = second.pupils
    assert pupil.cells["student_no"] == "L500230202002290017"
    assert (pupil.cells["class_name"], pupil.cells["grade"]) == ("大一班", "大班")


def test_a_pupil_of_no_school_of_the_bundle_is_counted_and_latin_names_keep_their_order(bundle):
    text = ORGS + "o3,,,Third,school,s3,d1\n"
    (bundle / "orgs.csv").write_text(text, "utf-8")
    users = USERS_11.replace("u3,,,true,d1", "u3,,,true,o3")
    (bundle / "users.csv").write_text(users, "utf-8")
    found = read_oneroster(bundle)
    assert found.homeless == 0
    (pupil,) = found.schools[2].pupils
    assert pupil.cells["name"] == "Ann Mary Lee"
    assert (pupil.cells["id_number"], pupil.cells["grade"]) == ("50023020160615007X", "5")


def test_version_1_2_takes_role_and_school_from_its_own_table(bundle):
    header, *lines = USERS_11.splitlines()
    kept = [i for i, name in enumerate(header.split(",")) if name not in {"role", "orgSourcedIds"}]
    rows = [",".join(line.split(",")[i] for i in kept) for line in (header, *lines[:2], *lines[3:])]
    (bundle / "users.csv").write_text("\n".join(rows), "utf-8")
    (bundle / "roles.csv").write_text(
        "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,"
        "orgSourcedId,userProfileSourcedId\n"
        "r1,,,u1,primary,student,,,o1,\nr2,,,u2,primary,student,,,o2,\n"
        "r3,,,g1,primary,parent,,,d1,\nr4,,,t1,primary,teacher,,,o1,\n"
        "r5,,,u1,secondary,student,,,o2,\n",
        "utf-8",
    )
    (bundle / "manifest.csv").write_text(manifest("1.2", more="file.roles,bulk"), "utf-8")
    found = read_oneroster(bundle)
    assert [len(school.pupils) for school in found.schools] == [1, 1]
    assert found.schools[0].pupils[0].cells["guardian_name"] == "张大江"


def test_a_delta_is_not_complete_and_names_who_left(bundle):
    (bundle / "manifest.csv").write_text(manifest(mode="delta"), "utf-8")
    users = USERS_11.replace("u1,,,true", "u1,tobedeleted,2026-09-01T00:00:00.000Z,true")
    (bundle / "users.csv").write_text(users, "utf-8")
    found = read_oneroster(bundle)
    assert not found.complete
    assert found.schools[0].pupils[0].deleted


def test_a_zip_is_read_like_the_folder(bundle, tmp_path):
    file = tmp_path / "bundle.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in bundle.iterdir():
            archive.write(one, one.name)
    assert read_oneroster(file) == read_oneroster(bundle)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("manifest", None, "feed_not_oneroster"),
        ("manifest", manifest("2.0"), "feed_version"),
        ("classes", None, "feed_file_missing"),
        ("users", "sourcedId,role\nu1,student\n", "feed_column_missing"),
    ],
)
def test_what_is_no_bundle_is_refused(bundle, name, text, code):
    file = bundle / f"{name}.csv"
    if text is None:
        file.unlink()
    else:
        file.write_text(text, "utf-8")
    with pytest.raises(RecordError) as caught:
        read_oneroster(bundle)
    assert caught.value.code == code


def test_other_encodings_and_other_files_are_refused(bundle, tmp_path):
    (bundle / "users.csv").write_bytes(USERS_11.encode("gb18030"))
    with pytest.raises(RecordError) as caught:
        read_oneroster(bundle)
    assert caught.value.code == "feed_encoding"
    file = tmp_path / "roster.zip"
    file.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(RecordError) as caught:
        read_oneroster(file)
    assert caught.value.code == "feed_not_oneroster"
    with pytest.raises(RecordError) as caught:
        read_oneroster(tmp_path / "absent.zip")
    assert caught.value.code == "file_missing"


def test_a_zip_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("connector.enrolment.oneroster._MAX_UNPACKED_BYTES", 1000)
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.csv", "x" * 100_000)
    with pytest.raises(RecordError) as caught:
        read_oneroster(file)
    assert caught.value.code == "file_too_large"


def test_a_school_becomes_a_roster_that_keeps_the_lines(bundle):
    first, second = read_oneroster(bundle).schools
    (row,) = build_roster(second).rows
    assert row.number == 3
    assert row.cells["class_name"] == "大一班"
    assert row.cells["id_number"] is None
    assert [row.number for row in build_roster(first).rows] == [2]


def test_lines_that_end_early_lack_only_their_last_cells(bundle):
    before = read_oneroster(bundle)
    for name in ("orgs", "users", "classes", "enrollments"):
        with (bundle / f"{name}.csv").open("a", encoding="utf-8") as file:
            file.write("z9\n")
    assert read_oneroster(bundle).schools == before.schools


def test_a_file_with_too_many_lines_is_refused(bundle, monkeypatch):
    monkeypatch.setattr("connector.enrolment.oneroster._MAX_LINES", 2)
    with pytest.raises(RecordError) as caught:
        read_oneroster(bundle)
    assert caught.value.code == "too_many_rows"


def test_files_of_other_folders_of_a_zip_are_not_the_bundle(bundle, tmp_path):
    file = tmp_path / "bundle.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for one in bundle.iterdir():
            archive.write(one, f"export/{one.name}")
        for name in ("../users.csv", "/etc/users.csv", "export/old/users.csv"):
            archive.writestr(name, "sourcedId\n")
    assert read_oneroster(file) == read_oneroster(bundle)


def test_what_is_no_file_is_not_waited_for(bundle):
    (bundle / "users.csv").unlink()
    os.mkfifo(bundle / "users.csv")
    with pytest.raises(RecordError) as caught:
        read_oneroster(bundle)
    assert caught.value.code == "feed_file_missing"
    os.mkfifo(bundle / "pipe.zip")
    with pytest.raises(RecordError) as caught:
        read_oneroster(bundle / "pipe.zip")
    assert caught.value.code == "file_missing"
