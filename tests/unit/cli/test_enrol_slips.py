"""``onecard enrol activate --slips``: sealed PDFs, a journal that survives, nothing left behind."""

import csv
import json
import re
import stat

import pypdfium2
import pytest

from connector.cli.context import Refused
from connector.cli.slip_folder import SlipFolder
from connector.domain.enrolment import ApplicationState as S
from connector.domain.ids import Identifier
from connector.enrolment.fonts import find_fonts
from connector.errors import ConfigurationError
from tests.support.pupils import add_school, enrol_pupil

try:
    find_fonts()
except ConfigurationError as none:
    pytest.skip(str(none), allow_module_level=True)

NAMES = {2: "丁一一", 3: "戴二二", 4: "孙三三"}
NUMBERS = {2: "500230201503010015", 3: "50023020160615007X", 4: "510107201212310029"}
CLASSES = {2: "三年级2班", 3: "三年级2班", 4: "四年级1班"}


@pytest.fixture
def batch(application):
    """Bring three pupils of two classes to the library's approval; return the batch's number."""
    school = add_school(application, "s1")
    batch = application.store.enrolment.open_batch(
        school, layout="a49", rows=3, source_digest="x", actor="clerk", now=application.now()
    )
    for row, name in NAMES.items():
        enrol_pupil(
            application, school, name, NUMBERS[row], class_name=CLASSES[row], open_card=False,
            batch=batch, row=row,
        )  # fmt: skip
    return batch


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def texts(folder, passphrase):
    found = {}
    for path in sorted(folder.glob("*.pdf")):
        with pypdfium2.PdfDocument(path, password=passphrase) as pdf:
            found[path.name] = "".join(page.get_textpage().get_text_range() for page in pdf)
    return found


def test_one_sealed_pdf_for_each_class(onecard, application, batch, installation):
    folder = installation / "slips"
    result = onecard("--lang", "en", "enrol", "activate", batch.number, "--slips", str(folder))
    assert result.exit_code == 0, result.output
    passphrase = re.search(r"shown this once: (\S+)", result.stdout)[1]
    found = texts(folder, passphrase)
    number = batch.number
    assert sorted(found) == [f"slips-{number}-三年级2班.pdf", f"slips-{number}-四年级1班.pdf"]
    three, four = found.values()
    assert "丁一一" in three
    assert "戴二二" in three
    assert "孙三三" in four
    assert "Row 4" in four
    assert "学校s1" in four
    assert "孙三三" not in three
    for row, text in ((2, three), (4, four)):
        store = application.store
        patron = store.people.find_person([identifier(row)])
        card = store.enrolment.find_application(patron).card
        assert card in text.replace(" ", "")
        pins = [pin.replace(" ", "") for pin in re.findall(r"PIN\s+((?:\d ){5}\d)", text)]
        adapter = application.adapters[store.enrolment.find_application(patron).institution]
        assert any(adapter.verify_pin(card, pin) for pin in pins)
        for pin in pins:
            assert pin not in result.output
    assert sorted(path.suffix for path in folder.iterdir()) == [".pdf", ".pdf"]
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert mode(folder) == 0o700
    assert "that list is removed" in result.stdout
    for name in NAMES.values():
        assert name not in result.output


def identifier(row):
    return Identifier("id_card", NUMBERS[row])


def test_the_passphrase_can_go_to_a_file(onecard, batch, installation):
    folder, file = installation / "slips", installation / "passphrase.txt"
    arguments = ("--slips", str(folder), "--passphrase-file", str(file), "--json")
    result = onecard("enrol", "activate", batch.number, *arguments)
    assert result.exit_code == 0, result.output
    passphrase = file.read_text().strip()
    assert mode(file) == 0o600
    assert passphrase not in result.output
    assert len(texts(folder, passphrase)) == 2
    document = json.loads(result.stdout)
    assert document["pins_file"] is None
    assert len(document["slips"]) == 2


def test_with_json_the_passphrase_is_not_in_the_document(onecard, batch, installation):
    result = onecard(
        "enrol", "activate", batch.number, "--slips", str(installation / "s"), "--json"
    )
    assert json.loads(result.stdout)["activated"] == 3
    assert re.search(r"(\w{4}-){4}\w{4}", result.stderr)
    assert not re.search(r"(\w{4}-){4}\w{4}", result.stdout)


def test_without_a_font_no_card_is_opened(onecard, application, batch, installation, monkeypatch):
    monkeypatch.setattr("connector.enrolment.fonts._candidates", lambda: iter(()))
    result = onecard("enrol", "activate", batch.number, "--slips", str(installation / "slips"))
    assert result.exit_code == 1
    assert "apt install" in result.stderr
    assert not (installation / "slips").exists()
    states = {a.state.value for a in application.enrolment.list_applications(batch)}
    assert states == {"library_approved"}


def test_a_passphrase_file_that_exists_is_not_written_over(
    onecard, application, batch, installation
):
    file = installation / "passphrase.txt"
    file.write_text("mine")
    arguments = ("--slips", str(installation / "slips"), "--passphrase-file", str(file))
    result = onecard("enrol", "activate", batch.number, *arguments)
    assert result.exit_code == 1
    assert "no card was opened" in result.stderr
    assert file.read_text() == "mine"
    states = {a.state.value for a in application.enrolment.list_applications(batch)}
    assert states == {"library_approved"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--pins", "p.csv", "--slips", "s"),
        ("--passphrase-file", "f"),
        ("--pins", "p", "--passphrase-file", "f"),
    ],
)
def test_options_that_do_not_go_together(onecard, batch, arguments):
    assert onecard("enrol", "activate", batch.number, *arguments).exit_code == 2


def test_a_run_that_was_killed_is_taken_up_with_its_pins(application, batch, installation, capsys):
    """PINs of cards that are open already are printed by the next run: they exist nowhere else."""
    folder = installation / "slips"
    applications = application.enrolment.list_applications(batch)
    service = application.provisioning(batch.institution)

    def killed():
        with SlipFolder(
            folder, application, batch, lang="en", passphrase_file=installation / "pass1"
        ) as slips:
            service.activate(applications[:2], actor="x", on_result=slips.write)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    journal = folder / f"pins-{batch.number}.journal.csv"
    assert mode(journal) == 0o600
    assert not (installation / "pass1").exists()
    assert "2 PINs are kept" in capsys.readouterr().out
    with journal.open("a") as file:
        file.write("torn-line,3")
    pins = {
        line[2]: line[3] for line in csv.reader(journal.read_text().splitlines()) if len(line) == 4
    }
    with SlipFolder(
        folder, application, batch, lang="en", passphrase_file=installation / "pass2"
    ) as slips:
        service.activate(
            application.enrolment.list_applications(batch), actor="x", on_result=slips.write
        )
    text = "".join(texts(folder, (installation / "pass2").read_text().strip()).values())
    assert all(name in text for name in NAMES.values())
    assert len(pins) == 2
    assert all(" ".join(pin) in text for pin in pins.values())
    assert not journal.exists()


def test_when_printing_fails_the_pins_are_still_there(
    application, batch, installation, monkeypatch, capsys
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    folder = installation / "slips"
    monkeypatch.setattr("connector.cli.slip_folder.render_slips", full)
    with (
        pytest.raises(OSError, match="No space"),
        SlipFolder(
            folder, application, batch, lang="zh", passphrase_file=installation / "pass"
        ) as slips,
    ):
        application.provisioning(batch.institution).activate(
            application.enrolment.list_applications(batch), actor="x", on_result=slips.write
        )
    assert [path.suffix for path in folder.iterdir()] == [".csv"]
    assert "3 个密码仍保存在" in capsys.readouterr().out


def test_two_runs_do_not_print_at_once(application, batch, installation):
    folder = installation / "slips"
    with SlipFolder(folder, application, batch, lang="en"):
        with pytest.raises(Refused, match="Another run"):
            SlipFolder(folder, application, batch, lang="en").__enter__()
        assert list(folder.glob("*.csv"))
    assert not list(folder.iterdir())


def test_who_withdrew_meanwhile_gets_no_slip(application, batch, installation):
    folder = installation / "slips"
    with SlipFolder(
        folder, application, batch, lang="en", passphrase_file=installation / "pass"
    ) as slips:
        results = application.provisioning(batch.institution).activate(
            application.enrolment.list_applications(batch), actor="x", on_result=slips.write
        )
        application.store.enrolment.move_application(
            results[2].application.application_id, S.ACTIVE, S.WITHDRAWN, actor="x",
            now=application.now(),
        )  # fmt: skip
    found = texts(folder, (installation / "pass").read_text().strip())
    assert "孙三三" not in "".join(found.values())
    assert len(found) == 1


def test_who_changed_school_meanwhile_is_not_among_the_others(application, batch, installation):
    folder = installation / "slips"
    other = add_school(application, "s2")
    with SlipFolder(
        folder, application, batch, lang="en", passphrase_file=installation / "pass"
    ) as slips:
        results = application.provisioning(batch.institution).activate(
            application.enrolment.list_applications(batch), actor="x", on_result=slips.write
        )
        application.transfers.transfer_pupil(results[0].application.patron_id, other, actor="x")
    found = texts(folder, (installation / "pass").read_text().strip())
    own = f"slips-{batch.number}-三年级2班.pdf"
    assert "丁一一" not in found[own]
    assert "戴二二" in found[own]
    (apart,) = (text for name, text in found.items() if "学校s2" in name)
    assert "丁一一" in apart


def test_journal_that_somebody_else_laid_there_is_not_followed(application, batch, installation):
    folder, elsewhere = installation / "slips", installation / "elsewhere"
    folder.mkdir()
    (folder / f"pins-{batch.number}.journal.csv").symlink_to(elsewhere)
    with pytest.raises(Refused):
        SlipFolder(folder, application, batch, lang="en").__enter__()
    assert not elsewhere.exists()


def test_a_second_run_never_writes_over_the_first(onecard, application, batch, installation):
    folder = installation / "slips"
    onecard("enrol", "activate", batch.number, "--rows", "2", "--slips", str(folder))
    onecard("enrol", "activate", batch.number, "--slips", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        f"slips-{batch.number}-三年级2班-2.pdf",
        f"slips-{batch.number}-三年级2班.pdf",
        f"slips-{batch.number}-四年级1班.pdf",
    ]
