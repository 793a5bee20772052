"""``onecard enrol find``, ``export``, ``log`` and ``stats``."""

import csv
import io
import json
import stat

import openpyxl
import pytest
from sqlalchemy import select

from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.storage import tables
from tests.support.pupils import add_school, enrol_pupil

OURS = {
    "丁一一": ("500230201503010015", "三年级2班", {"phone": "13800000001"}),
    "=戴二二": ("50023020160615007X", "三年级2班", {"guardian_name": "戴家长"}),
    "孙三三": ("510107201212310029", "四年级1班", {}),
}
THEIR_NUMBER = "50010220090908123X"


@pytest.fixture
def schools(application):
    """Two schools: three pupils at s1, two cards open; one at s2."""
    ours, theirs = add_school(application, "s1"), add_school(application, "s2")
    pupils = {
        name: enrol_pupil(
            application, ours, name, number, class_name=class_name,
            open_card=name != "孙三三", consent=name != "孙三三", **more,
        )
        for name, (number, class_name, more) in OURS.items()
    }  # fmt: skip
    pupils["李四四"] = enrol_pupil(application, theirs, "李四四", THEIR_NUMBER)
    return pupils


def audit(application, action):
    with application.store.database.read() as connection:
        found = connection.execute(select(tables.audit).filter_by(action=action)).all()
    return [(row.actor, row.subject, json.loads(row.detail)) for row in found]


def test_a_pupil_is_found_by_a_number_that_is_asked_for(onecard, application, schools):
    number = OURS["丁一一"][0]
    done = onecard("enrol", "find", "--school", "s1", "--id-number", "--json", input=f"{number}\n")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["person"] == schools["丁一一"].patron_id
    assert (row["name"], row["class"], row["state"]) == ("丁*", "三年级2班", "active")
    assert row["id_number"] == "*" * 14 + number[-4:]
    for secret in (number, "丁一一", schools["丁一一"].card):
        assert secret not in done.stdout
    ((_, subject, detail),) = audit(application, "pupils.searched")
    assert subject == ""
    assert (detail["by"], detail["count"]) == ("id_number", 1)


def test_s35_a_pupil_of_another_school_is_not_found(onecard, application, schools):
    answers = [
        onecard(
            "--lang", "en", "enrol", "find", "--school", "s1", option, "--by", "teacher",
            input=f"{value}\n",
        )
        for option, value in (
            ("--id-number", THEIR_NUMBER),
            ("--id-number", "500230201503019995"),
            ("--name", "李四四"),
        )
    ]  # fmt: skip
    assert {(each.exit_code, each.stdout) for each in answers} == {(1, "")}
    assert {each.stderr.splitlines()[-1] for each in answers} == {
        "Error: No such pupil at this school."
    }
    tried, unknown, _ = audit(application, "pupils.searched")
    assert tried[:2] == ("teacher", schools["李四四"].patron_id)
    assert tried[2]["elsewhere"] == 1
    assert "elsewhere" not in unknown[2]
    log = json.loads(
        onecard("enrol", "log", "--school", "s1", "--action", "pupils.", "--json").stdout
    )
    assert [line["subject"] for line in log] == ["", "", ""]


def test_who_moved_to_another_school_is_out_of_sight(onecard, application, schools):
    pupil = schools["孙三三"]
    store = application.store
    other = store.enrolment.find_school(next(iter(application.libraries)), "s2")
    store.schools.transfer_pupil(
        pupil.patron_id, other, None, school_year=2026, on=application.now().date(), actor="x"
    )
    done = onecard("enrol", "find", "--school", "s1", "--name", input="孙三三\n")
    assert done.exit_code == 1
    assert onecard("enrol", "find", "--school", "s2", "--name", input="孙三三\n").exit_code == 0
    log = json.loads(onecard("enrol", "log", "--school", "s1", "--json").stdout)
    assert pupil.patron_id not in {line["subject"] for line in log}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--class", "3/2"), {"丁*", "=*"}),
        (("--class", "四(1)班"), {"孙*"}),
        (("--grade", "三年级"), {"丁*", "=*"}),
        (("--grade", "4"), {"孙*"}),
    ],
)
def test_a_class_or_a_grade_is_listed(onecard, schools, arguments, names):
    done = onecard("enrol", "find", "--school", "s1", *arguments, "--json")
    assert {row["name"] for row in json.loads(done.stdout)} == names


def test_a_part_of_a_name_is_enough(onecard, schools):
    done = onecard("enrol", "find", "--school", "s1", "--name", "--json", input="二二\n")
    assert [row["name"] for row in json.loads(done.stdout)] == ["=*"]


@pytest.mark.parametrize(
    "arguments", [(), ("--name", "--class", "3/2"), ("--grade", "3", "--id-number")]
)
def test_one_thing_is_looked_for_at_a_time(onecard, schools, arguments):
    assert onecard("enrol", "find", "--school", "s1", *arguments).exit_code == 2


def test_a_class_that_cannot_be_read_is_refused(onecard, schools):
    done = onecard("enrol", "find", "--school", "s1", "--class", "?!")
    assert done.exit_code == 1
    assert "3/2" in done.stderr


def test_an_export_is_masked_private_and_logged(onecard, application, schools, installation):
    out = installation / "pupils.xlsx"
    done = onecard(
        "--lang", "zh", "enrol", "export", "--school", "s1", "--out", str(out), "--by", "li"
    )
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    sheet = openpyxl.load_workbook(out).active
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0][2:5] == ("姓名", "身份证号", "联系电话")
    assert [row[2] for row in rows[1:]] == ["丁*", "=*", "孙*"]
    content = str(rows)
    for secret in (
        *OURS,
        "13800000001",
        "戴家长",
        schools["丁一一"].card,
        *(v[0] for v in OURS.values()),
    ):
        assert secret not in content
    ((actor, subject, detail),) = audit(application, "pupils.exported")
    assert (actor, detail["count"], detail["full"]) == ("li", 3, 0)
    assert subject == detail["school"]
    again = onecard("enrol", "export", "--school", "s1", "--out", str(out))
    assert again.exit_code == 1
    assert len(audit(application, "pupils.exported")) == 1


def test_a_full_export_needs_a_reason_and_holds_no_formula(
    onecard, application, schools, installation
):
    arguments = ("enrol", "export", "--school", "s1", "--full")
    assert onecard(*arguments, "--out", "x.csv").exit_code == 2
    for name in ("pupils.csv", "pupils.xlsx"):
        out = str(installation / name)
        done = onecard(*arguments, "--reason", "card_printing", "--state", "active", "--out", out)
        assert done.exit_code == 0, done.output
    text = (installation / "pupils.csv").read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["丁一一", "'=戴二二"]
    assert rows[0]["ID number"] == OURS["丁一一"][0]
    assert rows[0]["card"] == schools["丁一一"].card
    sheet = openpyxl.load_workbook(installation / "pupils.xlsx").active
    cells = [cell for row in sheet.iter_rows(min_row=2) for cell in row]
    assert {cell.data_type for cell in cells if cell.value is not None} == {"s"}
    assert sheet["C3"].value == "=戴二二"
    details = [detail for *_, detail in audit(application, "pupils.exported")]
    assert [(d["count"], d["full"], d["reason"]) for d in details] == [(2, 1, "card_printing")] * 2


def test_an_export_of_a_batch_of_another_school_is_refused(
    onecard, application, schools, installation
):
    other = application.store.enrolment.find_school(next(iter(application.libraries)), "s2")
    batch = application.store.enrolment.open_batch(
        other, layout="a49", rows=1, source_digest="x", actor="x", now=application.now()
    )
    out = installation / "x.csv"
    done = onecard("enrol", "export", "--school", "s1", "--batch", batch.number, "--out", str(out))
    assert done.exit_code == 1
    assert not out.exists()


def test_an_export_in_another_format_is_refused_before_anything_is_read(
    onecard, application, schools
):
    assert onecard("enrol", "export", "--school", "s1", "--out", "x.doc").exit_code == 2
    assert audit(application, "pupils.exported") == []


def test_figures_of_each_class(onecard, application, schools, installation):
    store = application.store.enrolment
    store.withdraw_consent(
        schools["丁一一"].patron_id, ConsentScope.CARD, actor="x", now=application.now()
    )
    closed = schools["=戴二二"].application
    store.move_application(
        closed.application_id, ApplicationState.ACTIVE, ApplicationState.WITHDRAWN, actor="x",
        now=application.now(), reason="left",
    )  # fmt: skip
    rows = json.loads(onecard("enrol", "stats", "--json").stdout)
    assert [(row["school"], row["grade"], row["class"]) for row in rows] == [
        ("s1", "三年级", "2班"),
        ("s1", "四年级", "1班"),
        ("s2", "三年级", "2班"),
    ]
    three, four, other = rows
    expected = {
        "on_roster": 2, "applied": 2, "willing": 1, "reviewed": 1, "consent_given": 0,
        "consent_refused": 0, "consent_withdrawn": 1, "consent_pending": 0, "approved": 1,
        "active": 1, "closed": 1,
    }  # fmt: skip
    assert {key: three[key] for key in expected} == expected
    assert (four["consent_pending"], four["approved"], four["active"]) == (1, 1, 0)
    assert (other["consent_given"], other["active"]) == (1, 1)
    only = json.loads(onecard("enrol", "stats", "--school", "s2", "--json").stdout)
    assert only == [other]
    out = installation / "figures.xlsx"
    assert onecard("--lang", "zh", "enrol", "stats", "--out", str(out)).exit_code == 0
    sheet = openpyxl.load_workbook(out).active
    assert sheet["E1"].value == "在册"
    assert sheet["E2"].value == 2
    ((_, _, detail),) = audit(application, "stats.exported")
    assert detail["count"] == 3
    assert "三年级" in onecard("enrol", "stats").stdout


def test_figures_of_a_year_are_of_the_classes_of_that_year(onecard, application, schools):
    store, pupil = application.store, schools["丁一一"]
    school = store.enrolment.find_school(next(iter(application.libraries)), "s1")
    today = application.now().date()
    for year, level in ((2030, 5), (2031, 6)):
        room = store.schools.ensure_class(school, level, "2班", actor="x")
        store.schools.place_pupils(
            school, {pupil.patron_id: room.class_id}, school_year=year, on=today,
            reason="promoted", actor="x",
        )  # fmt: skip
    for year, grade in ((2030, "五年级"), (2031, "六年级")):
        rows = json.loads(onecard("enrol", "stats", "--year", str(year), "--json").stdout)
        assert [(row["grade"], row["applied"]) for row in rows] == [(grade, 1)]
    grades = {row["grade"] for row in json.loads(onecard("enrol", "stats", "--json").stdout)}
    assert grades == {"三年级", "四年级", "六年级"}


def test_the_log_of_a_school_is_about_its_own_pupils(onecard, application, schools, installation):
    onecard("enrol", "find", "--school", "s2", "--name", input="李四四\n")
    lines = json.loads(
        onecard("enrol", "log", "--school", "s1", "--json", "--limit", "1000").stdout
    )
    subjects = {line["subject"] for line in lines}
    assert schools["丁一一"].patron_id in subjects
    assert schools["李四四"].patron_id not in subjects
    assert "pupils.searched" not in {line["action"] for line in lines}
    everything = json.loads(onecard("enrol", "log", "--json", "--action", "pupils.").stdout)
    assert [line["action"] for line in everything] == ["pupils.searched"]
    zone = next(iter(application.libraries.values())).zone
    today = application.now().astimezone(zone).date().isoformat()
    inside = onecard("enrol", "log", "--since", today, "--until", today, "--json")
    assert json.loads(inside.stdout)
    for nothing in ("2020-01-01", f"{today}T00:00"):
        assert json.loads(onecard("enrol", "log", "--until", nothing, "--json").stdout) == []
    out = installation / "log.csv"
    assert onecard("enrol", "log", "--school", "s1", "--export", str(out)).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8-sig"))))
    assert len(rows) >= len(lines)
    for secret in (*OURS, *(value[0] for value in OURS.values())):
        assert secret not in out.read_text("utf-8-sig")
    ((_, _, detail),) = audit(application, "log.exported")
    assert detail["count"] == len(rows)
