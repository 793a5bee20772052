"""``onecard privacy`` over a real installation with its embedded library system."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import delete, insert, update

from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.errors import AdapterUnavailable
from connector.ports.ils import ExchangeContext, ItemInput, PatronInput
from connector.ports.store import PersonalData
from connector.storage import tables
from tests.support.full_person import DATA, MARKS, FullPerson, read_texts

LIB = InstitutionId("LIB")
CARD = "S00000077"


@pytest.fixture
def full(application):
    """A person about whom every table says something, with an account in the library system."""
    person = FullPerson(application.store, application.now)
    application.adapters[LIB].upsert_patron(
        PatronInput(
            external_id=person.patron_id, card=IlsPatronId(CARD), name=DATA.name,
            category="student", expires=application.now().date() + timedelta(days=900),
            phone=DATA.phone,
        )
    )  # fmt: skip
    return person


def away(*_):
    raise AdapterUnavailable("local", "LIB", "away")


def actions(application):
    return [row[0] for row in application.store.database.fetch("SELECT action FROM audit", ())]


# --- a copy -------------------------------------------------------------------------------------


def test_export_writes_everything_into_a_private_file(onecard, application, full, tmp_path):
    full.lend("B1")
    for kind in ("json", "md"):
        out = tmp_path / f"copy.{kind}"
        result = onecard("privacy", "export", CARD, "--out", str(out), "--lang", "zh", "--by", "li")
        assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        text = out.read_text("utf-8")
        for mark in MARKS:
            assert mark in text, mark
        assert "B1" in text
    document = json.loads((tmp_path / "copy.json").read_text("utf-8"))
    sections = {section["table"]: section for section in document["sections"]}
    assert sections["person"]["title"] == "本人资料"
    assert sections["refusal"]["rows"] == []
    assert {row["value"] for row in sections["identifier"]["rows"]} >= {CARD, DATA.id_number}
    (held,) = document["elsewhere"]
    assert (held["held"]["name"], held["held"]["phone"]) == (DATA.name, DATA.phone)
    texts = {text["kind"]: text["text"] for text in document["texts"]}
    assert len(texts["consent"]) > 500
    assert len(texts["undertaking"]) > 100
    assert actions(application).count("privacy.exported") == 2
    assert "示范小学" in (tmp_path / "copy.md").read_text("utf-8")


def test_export_in_english_explains_codes(onecard, full, tmp_path):
    out = tmp_path / "copy.md"
    assert onecard("privacy", "export", CARD, "--out", str(out), "--lang", "en").exit_code == 0
    text = out.read_text("utf-8")
    assert "ID number" in text
    assert "- name: 欧阳标记" in text
    assert re.search(r"until \{", text) is None
    assert "Until 180 days after the return" in text


def test_number_of_the_first_release_is_said_to_be_a_digest(onecard, application, full, tmp_path):
    with application.store.work.begin() as unit:
        unit.connection.execute(update(tables.identifier).values(sealed=None))
    out = tmp_path / "copy.md"
    assert onecard("privacy", "export", CARD, "--out", str(out), "--lang", "en").exit_code == 0
    assert out.read_text("utf-8").count("a keyed digest that nobody can turn back") == 3


def test_values_cannot_turn_into_markdown(onecard, application, full, tmp_path):
    name = "**王*[x](http://e)\n# <b>`|"
    application.store.people.update_personal(full.patron_id, PersonalData(name=name))
    out = tmp_path / "copy.md"
    assert onecard("privacy", "export", CARD, "--out", str(out), "--lang", "en").exit_code == 0
    line = next(line for line in out.read_text("utf-8").split("\n") if line.startswith("- name: "))
    assert line == r"- name: \*\*王\*\[x\](http://e) \# \<b\>\`\|"


def test_export_never_replaces_a_file_and_leaves_none_behind(onecard, application, full, tmp_path):
    out = tmp_path / "copy.json"
    out.write_text("mine")
    result = onecard("privacy", "export", CARD, "--out", str(out))
    assert result.exit_code == 1
    assert "exists" in result.output
    assert out.read_text() == "mine"
    assert "privacy.exported" not in actions(application)
    assert onecard("privacy", "export", CARD, "--out", str(tmp_path / "x.txt")).exit_code == 2
    assert onecard("privacy", "export", "S404", "--out", str(tmp_path / "y.md")).exit_code == 1
    assert not (tmp_path / "y.md").exists()
    assert "privacy.not_found" in actions(application)


def test_identity_number_comes_from_standard_input_only(onecard, full, tmp_path):
    out = str(tmp_path / "copy.md")
    typed = onecard("privacy", "export", DATA.id_number, "--out", out)
    assert typed.exit_code == 1
    assert "command line" in typed.output
    assert DATA.id_number not in typed.output
    piped = onecard("privacy", "export", "-", "--out", out, input=f"{DATA.id_number}\n")
    assert piped.exit_code == 0, piped.output
    assert DATA.id_number not in piped.output


def test_export_says_which_library_system_could_not_be_asked(
    onecard, application, full, tmp_path, monkeypatch
):
    monkeypatch.setattr(type(application.adapters[LIB]), "fetch_patron", away)
    out = tmp_path / "copy.md"
    assert onecard("privacy", "export", CARD, "--out", str(out), "--lang", "en").exit_code == 0
    assert "It could not be asked (unavailable)" in out.read_text("utf-8")


# --- erasing ------------------------------------------------------------------------------------


def test_erase_shows_what_will_happen_and_asks(onecard, application, full):
    result = onecard("privacy", "erase", CARD, "--lang", "en", input="n\n")
    assert result.exit_code == 1
    assert "Nothing is out: the person is erased now." in result.output
    for mark in MARKS:
        assert mark not in result.output.replace(CARD, "") or mark == CARD
    assert application.store.people.fetch_personal(full.patron_id) == DATA


def test_erase_without_loans_is_done_at_once_and_again(onecard, application, full, installation):
    result = onecard("privacy", "erase", CARD, "--yes", "--json", "--by", "li")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["state"], report["left"]["personal"]) == ("erased", {})
    for place, text in read_texts(application.store):
        for mark in MARKS:
            assert mark not in text, place
    assert not application.adapters[LIB].fetch_patron(IlsPatronId(CARD)).valid
    again = onecard("privacy", "erase", full.patron_id, "--json")
    assert json.loads(again.stdout)["state"] == "erased_before"
    assert onecard("privacy", "erase", CARD, "--yes").exit_code == 1, "nobody has the card now"
    content = b"".join(path.read_bytes() for path in installation.glob("onecard.db*"))
    for mark in MARKS:
        assert mark.encode() not in content


def test_erase_with_a_book_out_completes_at_the_return(onecard, application, full):
    adapter = application.adapters[LIB]
    bib_id = adapter.add_bib(_bib(), "marc21")
    adapter.add_item(bib_id, ItemInput(barcode="B1", location="open"))
    assert adapter.checkout(IlsPatronId(CARD), "B1", ExchangeContext(at=application.now())).ok
    full.lend("B1")
    result = onecard("privacy", "erase", CARD, "--yes", "--lang", "en")
    assert result.exit_code == 0, result.output
    assert "erased by itself at the last return" in result.output
    assert application.store.people.fetch_personal(full.patron_id) == DATA
    adapter.checkin("B1", ExchangeContext(at=application.now()))
    full.give_back("B1")
    application.closing.sweep(LIB)
    assert application.store.privacy.find_person(full.patron_id).erased_at is not None
    assert application.store.privacy.count_left(full.patron_id).personal == {}


def test_erase_goes_on_when_the_library_system_is_back(onecard, application, full, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(application.adapters[LIB]), "block_patron", away)
        result = onecard("privacy", "erase", CARD, "--yes", "--lang", "zh")
        assert result.exit_code == 0, result.output
        assert "暂时无法注销账户" in result.output
    assert application.store.privacy.find_person(full.patron_id).erased_at is None
    result = onecard("privacy", "erase", CARD, "--yes", "--lang", "en")
    assert "Erased." in result.output
    assert "personal data left: none" in result.output


def test_applicant_without_a_card_is_erased(onecard, application, full):
    with application.store.work.begin() as unit:
        unit.connection.execute(delete(tables.ils_account))
    report = json.loads(onecard("privacy", "erase", full.patron_id, "--yes", "--json").stdout)
    assert (report["state"], report["left"]["personal"]) == ("erased", {})


def test_incomplete_erasure_is_told(onecard, application, full, monkeypatch):
    monkeypatch.setattr("connector.storage.repositories.erasing.DELETED", ())
    result = onecard("privacy", "erase", CARD, "--yes", "--lang", "en")
    assert result.exit_code == 1
    assert "not whole" in result.output
    assert "identifier 3" in result.output


# --- retention ----------------------------------------------------------------------------------


def age_everything(application, full):
    full.lend("B1")
    full.give_back("B1")
    long_ago = application.now() - timedelta(days=181)
    with application.store.work.begin() as unit:
        unit.connection.execute(update(tables.loan).values(closed_at=long_ago))
        unit.connection.execute(update(tables.event).values(at=long_ago))


def test_retention_counts_first_and_removes_only_when_told(onecard, application, full):
    age_everything(application, full)
    dry = json.loads(onecard("privacy", "retention", "--json").stdout)
    counts = {row["rule"]: row["count"] for row in dry["rules"]}
    assert (dry["run"], counts["loans"], counts["events"]) == (False, 1, 2)
    assert len(counts) == 11
    assert full.store.database.fetch("SELECT COUNT(*) FROM loan", ())[0][0] == 1
    run = json.loads(onecard("privacy", "retention", "--run", "--json").stdout)
    assert {row["rule"]: row["removed"] for row in run["rules"]}["loans"] == 1
    assert full.store.database.fetch("SELECT COUNT(*) FROM loan", ())[0][0] == 0
    table = onecard("privacy", "retention", "--lang", "zh").stdout
    assert "已还的借阅" in table
    assert "retention.ran" in actions(application)


def test_doctor_warns_when_data_are_kept_too_long(onecard, application, full):
    def found():
        checks = json.loads(onecard("doctor", "--json").stdout)["checks"]
        return next(check for check in checks if check["name"] == "retention")

    assert found()["status"] == "ok"
    with application.store.work.begin() as unit:
        unit.connection.execute(
            update(tables.person).values(created_at=application.now() - timedelta(days=41))
        )
    assert (found()["status"], "40 days" in found()["message"]) == ("warn", True)
    assert onecard("privacy", "retention", "--run", "--yes").exit_code == 0
    assert found()["status"] == "ok"
    age_everything(application, full)
    with application.store.work.begin() as unit:
        unit.connection.execute(
            update(tables.loan).values(closed_at=application.now() - timedelta(days=190))
        )
    assert (found()["status"], "past their time" in found()["message"]) == ("warn", True)


def test_run_that_was_stopped_goes_on(application, full, monkeypatch):
    monkeypatch.setattr("connector.services.retention._LOT", 1)
    age_everything(application, full)
    seen = []

    def stop(rule, count):
        seen.append((rule, count))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        application.retention.run(actor="worker", progress=stop)
    assert len(seen) == 1
    assert "retention.ran" not in actions(application)
    run = application.retention.run(actor="worker")
    assert run.total == sum(run.removed.values())
    assert all(due.count == 0 for due in application.retention.list_due(actor="worker"))


# --- the report ---------------------------------------------------------------------------------


def test_report_counts_and_names_nobody(onecard, application, full, tmp_path):
    full.lend("B1")
    onecard("privacy", "export", CARD, "--out", str(tmp_path / "c.md"), "--by", "li")
    onecard("privacy", "export", "S404", "--out", str(tmp_path / "d.md"), "--by", "wang")
    year = str(application.now().year)
    document = json.loads(onecard("privacy", "report", "--year", year, "--json").stdout)
    assert document["children"]["by_age"] == {"under_14": 1}
    assert document["children"]["by_stage"] == {"primary": 1}
    assert document["children"]["rows"][0]["library"] == "LIB"
    assert document["consents"] == [{"scope": "card", "answer": "given", "count": 1}]
    assert document["rights"]["exports"] == 1
    assert document["looked"] == [{"actor": "li", "action": "privacy.exported", "count": 1}]
    assert {"actor": "wang", "action": "privacy.not_found", "count": 1} in document["failed"]
    assert document["audit"]["intact"] is True
    assert document["settings"]["loan_history_days"] == 180
    for lang, title in (("zh", "年度合规报告"), ("en", "Yearly report")):
        out = tmp_path / f"report.{lang}.md"
        done = onecard("privacy", "report", "--year", year, "--lang", lang, "--out", str(out))
        assert (done.exit_code, done.stdout) == (0, f"{out}\n")
        text = out.read_text("utf-8")
        assert title in text
        assert full.patron_id not in text
        for mark in MARKS:
            assert mark not in text
    assert onecard("privacy", "report", "--lang", "zh").exit_code == 0


def test_report_tells_unmasked_lists_and_searches_that_met_another_schools_child(
    onecard, application, full
):
    audit = application.store.audit
    audit.append("pupils.exported", actor="li", detail={"count": 3, "full": 0})
    audit.append("pupils.exported", actor="li", detail={"count": 2, "full": 1})
    audit.append("pupils.searched", actor="wang", detail={"by": "id_number", "elsewhere": 1})
    audit.append("pupils.searched", actor="wang", detail={"by": "name"})
    audit.append("consent.refused", actor="teacher", detail={"scope": "card"})
    year = str(application.now().year)
    document = json.loads(onecard("privacy", "report", "--year", year, "--json").stdout)
    assert (document["rights"]["lists"], document["rights"]["unmasked"]) == (1, 1)
    assert document["failed"] == [{"actor": "wang", "action": "pupils.searched", "count": 1}]
    assert {"actor": "li", "action": "pupils.exported", "count": 2} in document["looked"]
    assert {"scope": "card", "answer": "refused", "count": 1} in document["consents"]


def test_report_names_feeds_that_are_stale(onecard, application, full):
    stale_after = {("LIB", "never"): timedelta(days=3), ("LIB", "late"): timedelta(days=3),
                   ("LIB", "fresh"): timedelta(days=30)}  # fmt: skip
    with application.store.work.begin() as unit:
        for name in ("late", "fresh"):
            unit.connection.execute(
                insert(tables.feed_state).values(
                    institution="LIB", name=name, last_ok_at=application.now() - timedelta(days=9)
                )
            )
    service = replace(application.compliance, stale_after=stale_after)
    problems = service.make_report(2026, actor="li").problems
    assert [problem.name for problem in problems if problem.code == "stale_feed"] == [
        "never",
        "late",
    ]


def test_report_of_a_year_without_anything(onecard, installation):
    document = json.loads(onecard("privacy", "report", "--year", "2021", "--json").stdout)
    assert document["children"]["total"] == 0
    assert document["consents"] == []
    result = onecard("privacy", "report", "--year", "2021", "--lang", "zh")
    assert "无" in result.stdout


def test_report_names_open_problems(onecard, application, full):
    long_ago = application.now() - timedelta(days=100)
    with application.store.work.begin() as unit:
        unit.connection.execute(update(tables.task).values(opened_at=long_ago))
        unit.connection.execute(update(tables.person).values(created_at=long_ago, birth_date=None))
        unit.connection.execute(update(tables.audit).values(actor="forged"))
    result = onecard("privacy", "report", "--year", "2026", "--json")
    codes = {problem["code"] for problem in json.loads(result.stdout)["problems"]}
    assert codes == {"audit_broken", "retention_late", "overdue_task", "unknown_age"}


def test_every_command_shows_an_example(onecard):
    for name in ("export", "erase", "retention", "report"):
        assert f"onecard privacy {name}" in onecard("privacy", name, "--help").output


def _bib():
    fields = [("001", b"t1\x1e"), ("245", b"10\x1faA test book\x1e")]
    directory, data = b"", b""
    for tag, content in fields:
        directory += f"{tag}{len(content):04d}{len(data):05d}".encode()
        data += content
    base = 24 + len(directory) + 1
    leader = f"{base + len(data) + 1:05d}nam a22{base:05d} i 4500".encode()
    return leader + directory + b"\x1e" + data + b"\x1d"


def test_person_confirms_what_the_worker_would_not_do(onecard, application, full):
    people = application.store.people
    for _ in range(30):
        people.add_person(
            PersonalData(name="张小江"), [], home=LIB, category="student",
            state=StandingState.ACTIVE,
        )  # fmt: skip
    with application.store.work.begin() as unit:
        unit.connection.execute(update(tables.person).values(expires=date(2026, 1, 1)))

    def open_cards():
        rows = application.store.database.fetch("SELECT state FROM person", ())
        return sum(state == "active" for (state,) in rows)

    before = open_cards()
    for answer, more in (("n\n", ()), (None, ("--json",))):
        result = onecard("enrol", "expire", *more, input=answer)
        assert (result.exit_code, open_cards()) == (1, before), result.output
        assert f"expire: {before} of" in result.output or f"中的 {before}" in result.output
    assert onecard("enrol", "expire", "--yes").exit_code == 0
    assert open_cards() == 0
