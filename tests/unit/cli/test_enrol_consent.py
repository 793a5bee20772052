"""``onecard enrol``: consents by list, texts, whom to ask again, what is due to be closed."""

import csv
import json
import stat
from pathlib import Path

import pytest
import xlsxwriter

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ConsentScope
from connector.domain.ids import Identifier, InstitutionId
from tests.support.id_numbers import id_number

LIB = InstitutionId("LIB")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二", "孙三三", "李四四"]


@pytest.fixture
def batch(installation, onecard):
    """Import four pupils: rows 2 to 5."""
    onecard("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary")
    book = xlsxwriter.Workbook(str(installation / "roster.xlsx"))
    sheet = book.add_worksheet("名册")
    sheet.write_row(0, 0, HEADERS)
    for n, name in enumerate(NAMES):
        row = [id_number(n), name, f"138000{n:05}", "家长甲", f"139000{n:05}", "三年级2班", "丰都"]
        sheet.write_row(n + 1, 0, row)
    book.close()
    path = str(installation / "roster.xlsx")
    result = onecard("enrol", "import", path, "--school", "s1", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["batch"]


@pytest.fixture
def ticked(installation, onecard, batch):
    """Make the list, and give a function that fills in its answers."""
    path = installation / "list.csv"
    made = onecard("enrol", "consent-list", batch, "--out", str(path), "--lang", "zh")
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def tick(*answers, **changes):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
        for row, answer in zip(rows[1:], answers, strict=False):
            row[4] = answer
            for position, value in changes.items():
                row[int(position[1:])] = value
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows(rows)
        return str(path)

    return tick


def test_a_list_is_masked_and_logged(ticked, application):
    text = Path(ticked()).read_text(encoding="utf-8-sig")
    assert "丁*" in text
    for marker in (*NAMES, id_number(0), "13800000000", "家长甲"):
        assert marker not in text
    listed = application.store.audit.search(action="consents.listed")
    assert len(listed) == 1


def test_a_list_is_private_and_never_written_over_another(onecard, batch, tmp_path, application):
    path = tmp_path / "list.csv"
    assert onecard("enrol", "consent-list", batch, "--out", str(path)).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine")
    result = onecard("enrol", "consent-list", batch, "--out", str(path))
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "exists" in result.stderr
    nowhere = str(tmp_path / "no" / "list.csv")
    assert onecard("enrol", "consent-list", batch, "--out", nowhere).exit_code == 1
    assert len(application.store.audit.search(action="consents.listed")) == 1


def test_answers_come_back_line_by_line(ticked, onecard, batch, application):
    path = ticked("同意", "不同意", "看不清", "也许")
    result = onecard("enrol", "consent", batch, "--from", path, "--evidence", "盒 7", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert {key: report[key] for key in ("lines", "given", "refused", "unusable")} == {
        "lines": 4, "given": 1, "refused": 1, "unusable": 1,
    }  # fmt: skip
    assert [(p["row"], p["outcome"]) for p in report["problems"]] == [(5, "answer_unknown")]
    (consent,) = application.store.enrolment.list_latest_consents(LIB, ConsentScope.CARD).values()
    assert (consent.evidence, consent.text_version, len(consent.text_digest)) == (
        "盒 7", "2026-09", 64,
    )  # fmt: skip
    number = [Identifier("id_card", id_number(1))]
    assert application.store.people.find_person(number) is None
    assert application.store.enrolment.is_refused(number, LIB)
    assert NAMES[0] not in result.output


def test_the_report_speaks_both_languages(ticked, onecard, batch):
    path = ticked("同意", "也许")
    chinese = onecard("enrol", "consent", batch, "--from", path, "--lang", "zh")
    assert "缺少凭证" in chinese.stdout
    assert "答复看不懂" in chinese.stdout
    english = onecard("enrol", "consent", batch, "--from", path, "--lang", "en")
    assert "no evidence" in english.stdout


def test_a_line_with_another_name_is_not_this_child(ticked, onecard, batch, application):
    path = ticked("同意", c2="李*")
    result = onecard("enrol", "consent", batch, "--from", path, "--evidence", "F", "--json")
    assert json.loads(result.stdout)["not_this_child"] == 1
    assert not application.store.enrolment.list_latest_consents(LIB, ConsentScope.CARD)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--from", "nowhere.csv"), 1, "does not exist"),
        (("--from", "x.csv", "--all"), 2, "--rows"),
        (("--all", "--evidence", "F", "--text-version", "2031-01"), 1, "known: 2026-09"),
    ],
)
def test_mistakes_are_one_line(onecard, batch, arguments, code, words):
    result = onecard("enrol", "consent", batch, *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.output


def test_an_unreadable_form_is_noted_and_the_applicant_waits(onecard, batch, application):
    result = onecard("enrol", "consent", batch, "--rows", "2", "--answer", "unreadable")
    assert result.exit_code == 0, result.output
    assert application.store.audit.search(action="consent.unusable")
    rows = json.loads(onecard("enrol", "show", batch, "--json").stdout)
    assert (rows[0]["state"], rows[0]["consent"]) == ("entered", [])


def test_whom_to_ask_again(onecard, batch, installation):
    onecard("enrol", "consent", batch, "--rows", "2-3", "--evidence", "F")
    counts = json.loads(onecard("enrol", "consents", "--json").stdout)["counts"]
    assert counts == {"holds": 2, "no_answer": 2}
    assert "Nobody" in onecard("enrol", "consents", "--outdated").stdout
    texts = installation / "texts"
    texts.mkdir()
    (texts / "2027-09.zh.md").write_text(
        "---\nscopes: card\nsupersedes: widens\n---\n# 授权书 {library}\n", encoding="utf-8"
    )
    settings = installation / "onecard.toml"
    settings.write_text(
        settings.read_text(encoding="utf-8")
        .replace('consent_text_version = "2026-09"', 'consent_text_version = "2027-09"')
        .replace('# consent_texts = "texts"', 'consent_texts = "texts"'),
        encoding="utf-8",
    )
    again = json.loads(onecard("enrol", "consents", "--outdated", "--json").stdout)
    assert again["counts"] == {"no_answer": 2, "outdated": 2}
    assert [(row["row"], row["name"], row["why"]) for row in again["outdated"]] == [
        (2, "丁*", "outdated"),
        (3, "戴*", "outdated"),
    ]
    versions = json.loads(onecard("enrol", "consent-text", "--list", "--json").stdout)
    assert [(each["version"], each["widens"], each["in force"]) for each in versions] == [
        ("2026-09", False, False),
        ("2027-09", True, True),
    ]
    scope = onecard(
        "enrol", "consent", batch, "--rows", "2", "--scope", "online", "--evidence", "F"
    )
    assert (scope.exit_code, "does not ask for online" in scope.stderr) == (1, True)


def test_the_text_to_hand_out(onecard, batch, application):
    text = onecard("enrol", "consent-text", "--lang", "zh").stdout
    assert text.startswith("# 监护人告知与授权书")
    assert "{library}" not in text
    assert application.libraries[LIB].name in text
    assert (
        "Undertaking"
        in onecard("enrol", "consent-text", "--kind", "undertaking", "--lang", "en").stdout
    )
    found = json.loads(onecard("enrol", "consent-text", "--json").stdout)
    assert (found["version"], len(found["digest"])) == ("2026-09", 64)
    wrong = onecard("enrol", "consent-text", "--version", "1999")
    assert (wrong.exit_code, "known: 2026-09" in wrong.stderr) == (1, True)


def test_what_is_due_to_be_closed(onecard, application, patron, lend):
    lend("B1")
    assert application.closing.begin(patron.patron_id, ClosingReason.LEFT, actor="staff")
    (row,) = json.loads(onecard("enrol", "close-due", "--dry-run", "--json").stdout)
    assert (row["reason"], row["step"], row["accounts"]) == ("left", "begun", 1)
    swept = json.loads(onecard("enrol", "close-due", "--json").stdout)
    assert swept["LIB"] == {"due": 1, "erased": 0, "kept": 0, "waiting": 1, "failed": 0}
    assert "Nothing is due" in onecard("enrol", "close-due", "--dry-run").stdout


@pytest.mark.parametrize(
    "name", ["consent", "consent-list", "consent-text", "consents", "close-due"]
)
def test_every_command_has_an_example(onecard, name):
    assert f"onecard enrol {name}" in onecard("enrol", name, "--help").stdout


def test_a_list_of_another_batch_is_nobodys_consent(ticked, onecard, batch, application):
    path = ticked("同意", "同意", p7="2026-0099")
    result = onecard("enrol", "consent", batch, "--from", path, "--evidence", "F1", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["other_batch"] == 2
    assert (report["given"], report["unchanged"]) == (0, 0)


def test_a_line_that_says_neither_batch_nor_name_is_nobodys_consent(ticked, onecard, batch):
    path = ticked("同意", p2="", p7="")
    result = onecard("enrol", "consent", batch, "--from", path, "--evidence", "F1", "--json")
    report = json.loads(result.stdout)
    assert [(p["row"], p["outcome"]) for p in report["problems"]] == [(2, "not_this_child")]
