"""``onecard enrol exchange`` on the embedded library system."""

import json

import pytest
import xlsxwriter

from connector.domain.enrolment import ApplicationState
from connector.domain.ids import InstitutionId
from connector.ports.tasks import TaskKind
from tests.support.id_numbers import id_number

LIB = InstitutionId("LIB")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二"]


@pytest.fixture
def batch(installation, onecard):
    """Bring two pupils to the library's approval; the first has an account at the desk."""
    onecard("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary")
    book = xlsxwriter.Workbook(str(installation / "roster.xlsx"))
    sheet = book.add_worksheet("名册")
    sheet.write_row(0, 0, HEADERS)
    for n, name in enumerate(NAMES):
        row = [id_number(n), name, f"138000{n:05}", "", "", "三年级2班", "丰都"]
        sheet.write_row(n + 1, 0, row)
    book.close()
    path = str(installation / "roster.xlsx")
    imported = onecard("enrol", "import", path, "--school", "s1", "--json")
    number = json.loads(imported.stdout)["batch"]
    for arguments in (
        ("review", number),
        ("consent", number, "--all", "--evidence", "folder 7"),
        ("approve", number),
    ):
        done = onecard("enrol", *arguments)
        assert done.exit_code == 0, done.output
    return number


@pytest.fixture
def exchanged(batch, application, onecard, installation):
    """Activate: the first row has a card at the desk already."""
    application.adapters[LIB].add_desk_patron(
        "OLD1", name=NAMES[0], pin="4711", identifiers={"id_card": id_number(0)}
    )
    pins = str(installation / "pins.csv")
    done = onecard("enrol", "activate", batch, "--pins", pins, "--json")
    report = json.loads(done.stdout)
    assert (report["existing_card"], report["activated"]) == (1, 1)
    return batch


def test_an_own_account_is_shown_masked_and_asked_about(exchanged, onecard, application):
    shown = onecard("enrol", "exchange", exchanged, "--row", "2", input="n\n")
    assert shown.exit_code == 1
    assert "OLD1" in shown.output
    assert "丁*" in shown.output
    assert NAMES[0] not in shown.output
    assert id_number(0) not in shown.output
    done = onecard("enrol", "exchange", exchanged, "--row", "2", input="y\n")
    assert done.exit_code == 0, done.output
    states = {a.batch_row: a.state for a in application.store.enrolment.list_applications(LIB)}
    assert states == {2: ApplicationState.ACTIVE, 3: ApplicationState.ACTIVE}


def test_an_own_account_by_its_task(exchanged, onecard, application):
    (task,) = application.store.tasks.list_tasks(LIB, kind=TaskKind.EXISTING_CARD)
    done = onecard("enrol", "exchange", "--task", task.task_id[:8], "--yes", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["mode"], report["state"]) == ("adopt", "closed")
    assert report["refund_task"] is None
    again = onecard("enrol", "exchange", "--task", task.task_id[:8], "--yes")
    assert again.exit_code == 1
    assert "does not wait" in again.output


def test_a_card_of_another_library_and_its_refund(exchanged, onecard):
    row = ("enrol", "exchange", exchanged, "--row", "3")
    older = ("--old-card", "YZ-9", "--issuer", "渝中区图书馆", "--deposit")
    unsaid = onecard(*row, *older, "--json")
    assert unsaid.exit_code == 2
    assert "--yes" in unsaid.output
    done = onecard(*row, *older, "--yes", "--json")
    assert done.exit_code == 0, done.output
    task = json.loads(done.stdout)["refund_task"]
    for lang, words in (("zh", "代办人本人"), ("en", "proxy's own identity document")):
        printed = onecard("enrol", "exchange", "--checklist", task, "--lang", lang)
        assert printed.exit_code == 0, printed.output
        assert words in printed.output
        assert "YZ-9" in printed.output
        assert task[:8] in printed.output
    assert onecard("enrol", "exchange", "--refunded", task[:8]).exit_code == 0
    again = onecard("enrol", "exchange", "--refunded", task[:8])
    assert again.exit_code == 1
    assert "before" in again.output


def test_what_is_asked_for_wrongly(exchanged, onecard):
    for arguments in (
        (),
        (exchanged,),
        (exchanged, "--row", "2", "--task", "12345678"),
        (exchanged, "--row", "2", "--old-card", "X"),
        (exchanged, "--row", "2", "--old-card", " ", "--issuer", "Y"),
        (exchanged, "--row", "2", "--old-card", "X", "--issuer", ""),
    ):
        assert onecard("enrol", "exchange", *arguments).exit_code == 2
    unknown = onecard("enrol", "exchange", "--checklist", "12345678")
    assert unknown.exit_code == 1
    assert "no task" in unknown.output
