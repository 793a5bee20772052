"""``onecard enrol handoff``: cards by a file, on the embedded library system that its staff fill."""

import csv
import io
import json
import stat

import pytest
import xlsxwriter

from connector.cli.private_file import PrivateFile
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.enrolment.fonts import find_fonts
from connector.errors import ConfigurationError
from connector.ports.tasks import TaskKind
from tests.support.id_numbers import id_number

LIB = InstitutionId("LIB")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二", "孙三三", "李瑋瑋"]
TABLE = """
[library.ils.handoff]
encoding = "gb18030"
delimiter = "|"
date_format = "%Y%m%d"
columns = { "证号" = "card", "姓名" = "name", "证件号" = "id_number", "生日" = "birth_date", \
"有效期" = "expires", "类型" = "category", "密码" = "pin", "学校" = "school" }
fixed = { "馆" = "A01" }
"""


@pytest.fixture
def settings_text():
    return TABLE


@pytest.fixture
def batch(installation, onecard, settings_text):
    """Import four pupils who are approved, with their guardians' consent."""
    with (installation / "onecard.toml").open("a", encoding="utf-8") as file:
        file.write(settings_text)
    assert onecard("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary").exit_code == 0
    book = xlsxwriter.Workbook(str(installation / "roster.xlsx"))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, HEADERS)
    for serial, name in enumerate(NAMES):
        cells = (id_number(serial), name, f"138000{serial:05}", "家长甲", "", "三年级2班", "丰都")
        sheet.write_row(serial + 1, 0, cells)
    book.close()
    done = onecard("enrol", "import", str(installation / "roster.xlsx"), "--school", "s1", "--json")
    number = json.loads(done.stdout)["batch"]
    for step in (
        ("review", number),
        ("consent", number, "--all", "--evidence", "folder 7"),
        ("approve", number),
    ):
        assert onecard("enrol", *step).exit_code == 0
    return number


@pytest.fixture
def run(installation, onecard, batch):
    def call(verb, *arguments):
        done = onecard("enrol", "handoff", verb, batch, *arguments, "--json")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, json.loads(done.stdout) if done.stdout else done.stderr

    return call


def read(path, *, encoding="gb18030", delimiter="|"):
    text = path.read_bytes().decode(encoding)
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def load(application, line, **changes):
    """Do what the library's staff do with a line of the file."""
    known = {"card": line["证号"], "name": line["姓名"], "pin": line["密码"]} | changes
    application.adapters[LIB].add_desk_patron(
        known["card"],
        name=known["name"],
        category=line["类型"],
        pin=known["pin"],
        identifiers={"id_card": line["证件号"]},
    )


def applications(application):
    return application.store.enrolment.list_applications(LIB)


def test_from_the_file_to_open_cards(installation, run, application):
    out = installation / "new.csv"
    code, document = run("export", "--out", str(out))
    assert (code, document["counts"]) == (0, {"handed_off": 4})
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_bytes().splitlines()[0].decode("gb18030").startswith("证号|姓名|")
    lines = read(out)
    assert [line["姓名"] for line in lines] == NAMES, "with characters whose last byte is |"
    assert [line["证件号"] for line in lines] == [id_number(serial) for serial in range(4)]
    assert {(line["馆"], line["类型"], line["生日"], line["学校"]) for line in lines} == {
        ("A01", "student", "20150301", "丰都一小")
    }
    pins = installation / "new-pins.csv"
    assert stat.S_IMODE(pins.stat().st_mode) == 0o600
    given = list(csv.DictReader(io.StringIO(pins.read_text())))
    assert {line["card"]: line["pin"] for line in given} == {
        line["证号"]: line["密码"] for line in lines
    }
    assert {a.state for a in applications(application)} == {ApplicationState.ACTIVATING}
    standing = application.store.people.find_by_account(IlsPatronId(lines[0]["证号"]), LIB)
    assert standing.state is StandingState.INACTIVE, "what is loaded lends nothing before"

    code, document = run("confirm")
    assert (code, document["counts"]) == (1, {"not_there_yet": 4})
    for line in lines[:3]:
        load(application, line)
    code, document = run("confirm")
    assert (code, document["counts"]) == (1, {"opened": 3, "not_there_yet": 1})
    load(application, lines[3])
    code, document = run("confirm")
    assert (code, document["counts"]) == (0, {"already_active": 3, "opened": 1})
    standing = application.store.people.find_by_account(IlsPatronId(lines[0]["证号"]), LIB)
    assert standing.state is StandingState.ACTIVE
    assert standing.expires.strftime("%Y%m%d") == lines[0]["有效期"]
    assert application.adapters[LIB].verify_pin(lines[3]["证号"], given[3]["pin"])


def test_who_stands_in_a_file_gets_into_another_only_when_told(installation, run):
    run("export", "--out", str(installation / "a.csv"), "--rows", "2-3")
    code, document = run("export", "--out", str(installation / "b.csv"))
    assert (code, document["counts"]) == (0, {"handed_off_before": 2, "handed_off": 2})
    first, second = read(installation / "a.csv"), read(installation / "b.csv")
    assert len({line["证号"] for line in (*first, *second)}) == 4
    code, document = run("export", "--out", str(installation / "c.csv"))
    assert (code, document["counts"]) == (1, {"handed_off_before": 4})
    assert not (installation / "c.csv").exists()
    code, document = run("export", "--out", str(installation / "d.csv"), "--again")
    assert (code, document["again"]) == (0, [2, 3, 4, 5])
    again = read(installation / "d.csv")
    assert {line["证号"] for line in again} == {line["证号"] for line in (*first, *second)}
    assert all(a["密码"] != b["密码"] for a, b in zip(again, first, strict=False))


def test_no_consent_no_line_and_no_number(installation, run, onecard, application, batch):
    (one, *_) = applications(application)
    application.store.enrolment.withdraw_consent(
        one.patron_id, ConsentScope.CARD, actor="x", now=application.now()
    )
    _, document = run("export", "--out", str(installation / "new.csv"))
    assert document["counts"] == {"no_consent": 1, "handed_off": 3}
    assert NAMES[0] not in (installation / "new.csv").read_text("gb18030")
    assert applications(application)[0].card == ""


def test_withdrawn_between_export_and_confirm_is_never_opened(installation, run, application):
    out = installation / "new.csv"
    run("export", "--out", str(out))
    loaded, unloaded, lapsed, good = read(out)
    load(application, loaded)
    first, second, third, _ = applications(application)
    application.consents.withdraw([first, second], ConsentScope.CARD, actor="clerk")
    application.store.enrolment.withdraw_consent(
        third.patron_id, ConsentScope.CARD, actor="clerk", now=application.now()
    )
    for line in (unloaded, lapsed, good):
        load(application, line)
    code, document = run("confirm")
    assert (code, document["counts"]) == (0, {"closing": 2, "no_consent": 1, "opened": 1})
    tasks = application.store.tasks.list_tasks(LIB, kind=TaskKind.CLOSING_STUCK)
    told = {task.detail.get("account") for task in tasks}
    closed = application.adapters[LIB].fetch_patron(loaded["证号"])
    assert not closed.valid or loaded["证号"] in told
    states = {a.state for a in applications(application)}
    assert states == {
        ApplicationState.WITHDRAWN, ApplicationState.ACTIVATING, ApplicationState.ACTIVE,
    }  # fmt: skip


def test_who_stands_in_a_file_is_not_opened_by_the_api_as_well(
    installation, run, onecard, application, batch
):
    run("export", "--out", str(installation / "new.csv"))
    done = onecard("enrol", "activate", batch, "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["not_tried"]) == (1, 4)
    assert {failure["code"] for failure in document["failures"]} == {"handed_off"}
    cards = [line["证号"] for line in read(installation / "new.csv")]
    assert not any(application.adapters[LIB].fetch_patron(card).valid for card in cards)


def test_the_load_report_sends_rows_back(installation, run, application):
    out, report = installation / "new.csv", installation / "report.txt"
    run("export", "--out", str(out))
    lines = read(out)
    for line in lines[1:]:
        load(application, line)
    report.write_bytes(
        f"读者证号|原因\r\n{lines[0]['证号']}|身份证号重复\r\nX9|?\r\n".encode("gb18030")
    )
    code, document = run("confirm", "--file", str(report))
    assert (code, document["counts"]) == (0, {"rejected": 1, "opened": 3})
    assert document["others"][0]["why"] == "身份证号重复"
    assert document["unknown_cards"] == 1
    first = applications(application)[0]
    assert (first.state, first.error) == (ApplicationState.ACTIVATING, "rejected_by_ils")
    assert first.handed_off_at is None
    code, document = run("export", "--out", str(installation / "again.csv"))
    assert document["counts"] == {"handed_off": 1, "already_active": 3}
    assert [line["证号"] for line in read(installation / "again.csv")] == [lines[0]["证号"]]
    report.write_bytes(b"\xff\xff\xff\n")
    code, message = run("confirm", "--file", str(report))
    assert code == 1
    assert "report_encoding" in message


def test_the_same_number_in_another_name_waits_for_a_person(installation, run, application):
    out = installation / "new.csv"
    run("export", "--out", str(out), "--rows", "2")
    (line,) = read(out)
    load(application, line, name="王别人")
    _, document = run("confirm", "--rows", "2")
    assert document["counts"] == {"other_name": 1}
    assert applications(application)[0].state is ApplicationState.ACTIVATING
    _, document = run("confirm", "--rows", "2", "--name-checked")
    assert document["counts"] == {"opened": 1}


def test_an_account_that_is_there_is_a_task_and_no_line(installation, run, application):
    application.adapters[LIB].add_desk_patron(
        "OLD-1", name=NAMES[2], identifiers={"id_card": id_number(2)}
    )
    _, document = run("export", "--out", str(installation / "new.csv"))
    assert document["counts"] == {"handed_off": 3, "existing_card": 1}
    assert NAMES[2] not in (installation / "new.csv").read_text("gb18030")
    assert application.store.tasks.list_tasks(LIB, kind=TaskKind.EXISTING_CARD)


def test_a_file_that_cannot_be_written_marks_nobody(installation, run, application, monkeypatch):
    write = PrivateFile.write

    def fail(self, content):
        if isinstance(content, bytes):  # the file itself; PINs are text
            raise OSError(28, "No space left on device")
        write(self, content)

    monkeypatch.setattr(PrivateFile, "write", fail)
    code, message = run("export", "--out", str(installation / "new.csv"))
    assert (code, "No space" in message) == (1, True)
    assert {a.handed_off_at for a in applications(application)} == {None}
    assert not (installation / "new.csv").exists()


def test_slips_are_printed_with_the_file(installation, run):
    try:
        find_fonts()
    except ConfigurationError as none:
        pytest.skip(str(none))
    out, slips = installation / "new.csv", installation / "slips"
    code, document = run("export", "--out", str(out), "--slips", str(slips))
    assert code == 0
    assert len(document["slips"]) == 1
    assert stat.S_IMODE(slips.stat().st_mode) == 0o700
    assert not list(slips.glob("*.journal.csv"))


class TestWithoutPins:
    """A layout without a PIN, in an encoding that has not every character."""

    @pytest.fixture
    def settings_text(self):
        return (
            '[library.ils.handoff]\ncolumns = { "c" = "card", "n" = "name" }\nencoding = "gb2312"\n'
        )

    def test_no_pin_is_made_and_what_cannot_be_written_is_told(
        self, installation, run, application, onecard, batch
    ):
        out = installation / "new.csv"
        code, document = run("export", "--out", str(out))
        assert code == 1
        assert document["counts"] == {"handed_off": 3, "failed": 1}
        assert document["others"] == [
            {"row": 5, "card": "", "outcome": "failed", "why": "not_in_encoding"}
        ]
        assert document["pins_file"] is None
        assert not list(installation.glob("*pins*"))
        assert "?" not in out.read_text("gb2312")
        done = onecard("enrol", "handoff", "export", batch, "--out", str(out), "--pins", "x.csv")
        assert done.exit_code == 2


class TestWithoutTable:
    @pytest.fixture
    def settings_text(self):
        return ""

    def test_a_shipped_layout_needs_no_table(self, installation, run, onecard, batch):
        out = installation / "koha.csv"
        done = onecard("enrol", "handoff", "export", batch, "--out", str(out))
        assert done.exit_code == 1
        assert "[library.ils.handoff]" in done.stderr
        code, _ = run("export", "--out", str(out), "--layout", "koha-csv")
        assert code == 0
        (line, *_) = read(out, encoding="utf-8", delimiter=",")
        assert (line["surname"], line["categorycode"], line["dateofbirth"]) == (
            NAMES[0], "student", "2015-03-01",
        )  # fmt: skip
        assert line["cardnumber"] == line["userid"]
        assert len(line["password"]) == 6
