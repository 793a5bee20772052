"""``onecard enrol`` from the template to open cards, on the embedded library system."""

import csv
import json
import stat

import pytest
import xlsxwriter
from stdnum.cn import ric

from connector.cli.enrol import enrol
from connector.cli.enrol_shared import print_table
from connector.cli.enrol_steps import parse_rows
from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState

LIB = InstitutionId("LIB")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二", "孙三三", "李四四"]


def id_number(serial):
    first17 = f"50023020150301{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def pupil(serial, **changes):
    cells = {
        "id": id_number(serial),
        "name": NAMES[serial % 4],
        "phone": f"138000{serial:05}",
        "parent": "家长甲",
        "parent_phone": f"139000{serial:05}",
        "class": "三年级2班",
        "district": "丰都",
    }
    return list((cells | changes).values())


@pytest.fixture
def roster(installation, onecard):
    """Add a school, and give a function that writes a roster and returns its path."""
    added = onecard("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary")
    assert added.exit_code == 0, added.output

    def write(*rows, headers=HEADERS, name="roster.xlsx"):
        book = xlsxwriter.Workbook(str(installation / name))
        sheet = book.add_worksheet("名册")
        for number, line in enumerate([headers, *rows]):
            sheet.write_row(number, 0, line)
        book.close()
        return str(installation / name)

    return write


@pytest.fixture
def batch(roster, onecard):
    """Import four pupils."""
    result = onecard("enrol", "import", roster(*map(pupil, range(4))), "--school", "s1", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["batch"]


def run_all(onecard, batch, *, consent=("--all",)):
    for arguments in (
        ("review", batch),
        ("consent", batch, *consent, "--evidence", "folder 7"),
        ("approve", batch),
    ):
        result = onecard("enrol", *arguments)
        assert result.exit_code == 0, result.output


def test_import_as_json(roster, onecard):
    path = roster(
        pupil(1), pupil(1), pupil(2, id="5.00230E+17"), pupil(3, phone="", parent_phone="")
    )
    result = onecard("enrol", "import", path, "--school", "s1", "--lang", "en", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert {key: report[key] for key in ("rows", "created", "updated", "unchanged", "duplicate")} == {
        "rows": 4, "created": 1, "updated": 0, "unchanged": 0, "duplicate": 1,
    }  # fmt: skip
    assert [report[key] for key in ("conflict", "invalid", "needs_guardian", "held")] == [
        0,
        1,
        1,
        0,
    ]
    assert [(p["row"], p["column"], p["cell"], p["code"]) for p in report["problems"]] == [
        (3, "id_number", "A3", "twice_in_file"),
        (4, "id_number", "A4", "id_digits_lost"),
        (5, "phone", "C5", "needs_guardian"),
    ]
    assert report["problems"][1]["message"].startswith("stored as a number")
    assert id_number(1) not in result.output


def test_import_as_a_table_in_chinese(roster, onecard):
    path = roster(pupil(1), pupil(2, name=""), headers=[*HEADERS, "备注"])
    result = onecard("--lang", "zh", "enrol", "import", path, "--school", "s1")
    assert result.exit_code == 1
    assert "缺少姓名" in result.stdout
    assert "B3" in result.stdout
    assert "新增 1，有误 1" in result.stdout
    assert "备注" in result.stderr
    assert "戴二二" not in result.output


def test_a_dry_run_stores_nothing(roster, onecard):
    path = roster(pupil(1))
    result = onecard("enrol", "import", path, "--school", "s1", "--dry-run", "--json")
    assert (result.exit_code, json.loads(result.stdout)["batch"]) == (0, None)
    assert json.loads(onecard("enrol", "batches", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("import", "nowhere.xlsx", "--school", "s1"), 1, "does not exist"),
        (("import", "nowhere.xlsx", "--school", "s9"), 1, "onecard enrol school add s9"),
        (("import", "nowhere.xlsx"), 2, "--school"),
        (("import", "x.xlsx", "--school", "s1", "--library", "XX"), 1, "no library XX"),
        (("review", "2026-0099"), 1, "onecard enrol batches"),
        (("consent", "2026-0099"), 2, "--all"),
        (("review", "2026-0099", "--rows", "x"), 1, "no batch"),
    ],
)
def test_mistakes_are_one_line(roster, onecard, arguments, code, words):
    result = onecard("--lang", "en", "enrol", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_a_file_that_is_no_spreadsheet(roster, onecard, installation):
    (installation / "a.xlsx").write_text("hello")
    result = onecard(
        "--lang", "en", "enrol", "import", str(installation / "a.xlsx"), "--school", "s1"
    )
    assert result.exit_code == 1
    assert "not a spreadsheet" in result.stderr


def test_from_roster_to_cards(batch, onecard, installation, application):
    run_all(onecard, batch)
    pins = installation / "pins.csv"
    result = onecard("enrol", "activate", batch, "--pins", str(pins), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["activated"] == 4
    assert [entry["row"] for entry in report["cards"]] == [2, 3, 4, 5]
    assert stat.S_IMODE(pins.stat().st_mode) == 0o600
    with pins.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    ils = application.adapters[LIB]
    for line in lines:
        assert ils.verify_pin(line["card"], line["pin"])
        assert line["pin"] not in result.output
    standing = application.store.people.resolve([Identifier("id_card", id_number(1))], LIB)
    card = next(line["card"] for line in lines if line["row"] == "3")
    assert (standing.state, standing.ils_patron) == (StandingState.ACTIVE, card)


def test_activating_again_gives_no_pin_twice(batch, onecard, installation):
    run_all(onecard, batch)
    pins = installation / "pins.csv"
    assert onecard("enrol", "activate", batch, "--pins", str(pins)).exit_code == 0
    refused = onecard("enrol", "activate", batch, "--pins", str(pins))
    assert refused.exit_code == 1
    assert "exists" in refused.stderr
    again = onecard("enrol", "activate", batch, "--pins", str(installation / "two.csv"), "--json")
    report = json.loads(again.stdout)
    assert (again.exit_code, report["already_active"], report["pins_file"]) == (0, 4, None)
    assert not (installation / "two.csv").exists()


def test_where_pins_cannot_be_written_no_card_is_opened(batch, onecard, installation):
    run_all(onecard, batch)
    nowhere = installation / "absent" / "pins.csv"
    result = onecard("enrol", "activate", batch, "--pins", str(nowhere))
    assert (result.exit_code, "cannot be written" in result.output) == (1, True), result.output
    pins = installation / "pins.csv"
    report = onecard("enrol", "activate", batch, "--pins", str(pins), "--json")
    assert json.loads(report.stdout)["activated"] == 4
    assert len(pins.read_text(encoding="utf-8").splitlines()) == 5


def test_a_file_without_a_pin_is_not_left_behind(batch, onecard, installation):
    pins = installation / "pins.csv"
    assert onecard("enrol", "activate", batch, "--pins", str(pins)).exit_code == 1
    assert not pins.exists()


def test_nobody_gets_a_card_without_consent(batch, onecard, installation, application):
    run_all(onecard, batch, consent=("--rows", "3"))
    result = onecard("enrol", "activate", batch, "--pins", str(installation / "p.csv"), "--json")
    report = json.loads(result.stdout)
    assert (report["activated"], report["no_consent"]) == (1, 3)
    assert [failure["row"] for failure in report["failures"]] == [2, 4, 5]
    ils = application.adapters[LIB]
    known = [ils.find_patron(identifiers={"id_card": id_number(n)}) is not None for n in range(4)]
    assert known == [False, True, False, False]


def test_steps_cannot_be_left_out(batch, onecard, installation):
    early = onecard("enrol", "approve", batch)
    assert (early.exit_code, "wait for the school's review" in early.stderr) == (1, True)
    result = onecard("enrol", "activate", batch, "--pins", str(installation / "p.csv"), "--json")
    assert (result.exit_code, json.loads(result.stdout)["not_approved"]) == (1, 4)


def test_consent_needs_evidence(batch, onecard):
    result = onecard("enrol", "consent", batch, "--all")
    assert (result.exit_code, "evidence" in result.stderr) == (1, True)


def test_refusing_and_withdrawing(batch, onecard, installation, application):
    run_all(onecard, batch)
    refused = onecard("enrol", "consent", batch, "--rows", "2", "--answer", "refused")
    assert refused.exit_code == 0, refused.output
    onecard("enrol", "activate", batch, "--pins", str(installation / "p.csv"))
    open_card = onecard("enrol", "consent", batch, "--rows", "3", "--answer", "refused")
    assert (open_card.exit_code, "--answer withdrawn" in open_card.stderr) == (1, True)
    withdrawn = onecard("enrol", "consent", batch, "--rows", "3", "--answer", "withdrawn")
    assert withdrawn.exit_code == 0, withdrawn.output
    rows = json.loads(onecard("enrol", "show", batch, "--json").stdout)
    assert sorted(row["state"] for row in rows) == ["active", "active", "withdrawn"]
    assert application.store.people.resolve([Identifier("id_card", id_number(1))], LIB) is None
    assert application.adapters[LIB].find_patron(identifiers={"id_card": id_number(1)}) is None
    gone = onecard("enrol", "review", batch, "--rows", "2")
    assert (gone.exit_code, "row 2" in gone.stderr) == (1, True)


def test_what_is_shown_is_masked(batch, onecard):
    result = onecard("enrol", "show", batch)
    assert result.exit_code == 0
    assert "戴*" in result.stdout
    for marker in ("戴二二", id_number(1), "13800000001"):
        assert marker not in result.output


def test_who_was_erased_is_shown_without_a_name(batch, onecard, installation):
    run_all(onecard, batch)
    onecard("enrol", "activate", batch, "--pins", str(installation / "p.csv"))
    onecard("enrol", "consent", batch, "--rows", "3", "--answer", "withdrawn")
    result = onecard("enrol", "show", batch, "--json")
    assert result.exit_code == 0, result.output
    (row,) = (row for row in json.loads(result.stdout) if row["state"] == "withdrawn")
    assert (row["name"], row["id_number"]) == ("", "")


def test_batches_tell_how_far_they_are(batch, onecard):
    onecard("enrol", "review", batch, "--rows", "2-3")
    (row,) = json.loads(onecard("enrol", "batches", "--school", "s1", "--json").stdout)
    assert (row["batch"], row["school"], row["rows"], row["created"]) == (batch, "s1", 4, 4)
    assert row["states"] == {"entered": 2, "school_reviewed": 2}
    table = onecard("enrol", "batches").stdout
    assert batch in table
    assert max(map(len, table.splitlines())) <= 100


def test_template_can_be_filled_in_and_is_not_overwritten(roster, onecard, installation):
    path = str(installation / "empty.xlsx")
    assert onecard("enrol", "template", path, "--layout", "a41").exit_code == 0
    assert onecard("enrol", "template", path).exit_code == 1
    assert onecard("enrol", "template", path, "--force").exit_code == 0
    result = onecard("enrol", "import", path, "--school", "s1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["rows"]) == (0, 0)
    nowhere = onecard("enrol", "template", str(installation / "no" / "such.xlsx"))
    assert nowhere.exit_code == 1


def test_schools(roster, onecard):
    onecard(
        "enrol", "school", "add", "k1", "幼儿园", "--stage", "kindergarten", "--entry-mode", "both"
    )
    schools = json.loads(onecard("enrol", "school", "list", "--json").stdout)
    assert [(s["code"], s["stage"], s["entry_mode"]) for s in schools] == [
        ("k1", "kindergarten", "both"),
        ("s1", "primary", "batch"),
    ]
    assert "幼儿园" in onecard("enrol", "school", "list").stdout


def test_changing_a_school_keeps_what_is_not_said(roster, onecard):
    add = ("enrol", "school", "add", "s1")
    onecard(*add, "一小", "--stage", "primary", "--entry-mode", "individual", "--disabled")
    onecard(*add, "第一小学", "--entry-mode", "both")
    (school,) = json.loads(onecard("enrol", "school", "list", "--json").stdout)
    assert (school["name"], school["stage"], school["entry_mode"], school["disabled"]) == (
        "第一小学",
        "primary",
        "both",
        True,
    )
    onecard(*add, "第一小学", "--enabled")
    (school,) = json.loads(onecard("enrol", "school", "list", "--json").stdout)
    assert not school["disabled"]


def test_purge_tells_what_it_would_do(batch, onecard):
    told = json.loads(onecard("enrol", "purge", "--dry-run", "--json").stdout)
    assert told == {"dry_run": True, "purged": {"LIB": 0}}
    assert onecard("enrol", "purge").stdout == "LIB: 0 removed.\n"


def test_every_command_has_an_example(onecard):
    for name in (
        "purge",
        "template",
        "import",
        "batches",
        "show",
        "review",
        "consent",
        "approve",
        "activate",
        "leavers",
        "add",
        "edit",
        "remove",
        "task list",
        "task done",
    ):
        text = onecard("enrol", *name.split(), "--help").stdout
        assert f"onecard enrol {name}" in text


def test_row_numbers():
    assert parse_rows("2-4, 9") == [2, 3, 4, 9]
    assert parse_rows(None) == []


@pytest.mark.parametrize("text", ["x", "4-2", "1-", "-3", "1,,2", "1-999999"])
def test_bad_row_numbers(batch, onecard, text):
    result = onecard("enrol", "review", batch, f"--rows={text}")
    assert (result.exit_code, "2-30,35" in result.stderr) == (2, True)


def test_the_help_of_the_group_has_every_command_under_a_heading(onecard):
    told = onecard("enrol", "--help").stdout
    assert "Others:" not in told
    for name in enrol.commands:
        assert f"\n  {name} " in told


def test_a_table_leaves_out_what_no_row_has(capsys):
    print_table([{"row": 1, "error": None, "note": ""}, {"row": 2, "error": None, "note": "x"}])
    assert capsys.readouterr().out.split() == ["row", "note", "1", "2", "x"]


@pytest.mark.parametrize("text", ["null", "[1,2", '{"name": ["x"]}', "[" * 20_000, ""])
def test_what_is_no_object_of_texts_is_refused_in_one_line(roster, onecard, text):
    result = onecard("enrol", "add", "--school", "s1", "-", input=text)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Standard input is no JSON object of texts. Write")
    assert len(result.stderr.splitlines()) == 1


def test_a_feed_tells_its_times_by_the_librarys_clock(installation, onecard):
    (installation / "in").mkdir()
    with (installation / "onecard.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[enrolment.feeds]]\nname = "jw"\nfolder = "in"\n')
    result = onecard("enrol", "feeds", "--run", "jw", "--json")
    (feed,) = json.loads(result.stdout)["feeds"]
    assert feed["last_looked"].endswith("+08:00")
    assert feed["last_taken"] is None
