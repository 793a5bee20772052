"""What guardians say, end to end: no answer, withdrawal with books out, turning 14 (5, 6, 7)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from connector.domain.closing import ClosingReason
from connector.domain.consent import ConsentVerdict
from connector.domain.enrolment import ApplicationState, ConsentScope, Route
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId
from connector.domain.loan import LoanState
from connector.domain.patron import StandingState
from connector.enrolment.consent_list import read_answers
from connector.ports.enrolment import NewApplication
from connector.ports.tasks import TaskKind
from connector.services.consent_answers import LineOutcome, list_lines, take_answers
from connector.services.provisioning import ActivationOutcome
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.pupils import Pupil, add_school, enrol_pupil
from tests.support.world import ID_NUMBER, World

KOHA_A, FOLIO_B, SIP_C = (InstitutionId(code) for code in ("KOHA-A", "FOLIO-B", "SIP-C"))
OTHER_NUMBER = "500230202002290017"
NAME = "张小江"
GUARDIAN = "张大山"
PHONE = "13800001234"


@pytest.fixture
def pupil(world: World) -> Pupil:
    return enrol_pupil(
        world.app,
        add_school(world.app, "s1"),
        NAME,
        ID_NUMBER,
        guardian_name=GUARDIAN,
        guardian_phone=PHONE,
    )


def withdraw(world: World, pupil: Pupil, scope: ConsentScope = ConsentScope.CARD) -> None:
    application = world.app.store.enrolment.fetch_application(pupil.application.application_id)
    assert application is not None
    world.app.consents.withdraw([application], scope, actor="librarian")


def borrow(world: World, pupil: Pupil, *barcodes: str, at: str = "KOHA-A") -> None:
    world.add_items(at, *barcodes)
    for barcode in barcodes:
        assert world.kiosk(at).checkout(pupil.card, barcode).fixed["ok"] == "1"


def audited(world: World, subject: str) -> list[str]:
    rows = [row for row in world.rows("audit") if row["subject"] == subject]
    return [
        str(row["action"]) for row in sorted(rows, key=lambda row: (str(row["at"]), row["seq"]))
    ]


# --- 5: no consent -------------------------------------------------------------------------------


def applicants(world: World, folder: Path, answers: list[str]) -> Path:
    """Enter one applicant per answer, without a consent, and write the teacher's list."""
    school, lines = add_school(world.app, "s1"), ["row,class,name,answer,scopes,evidence"]
    batch = world.app.store.enrolment.open_batch(
        school, layout="a49", rows=3, source_digest="d", actor="clerk", now=world.clock()
    )
    for row, answer in enumerate(answers, start=2):
        number = [ID_NUMBER, OTHER_NUMBER, "510107201212310029", "50010220090908123X"][row - 2]
        enrol_pupil(
            world.app,
            school,
            NAME,
            number,
            open_card=False,
            consent=False,
            batch=batch,
            row=row,
        )
        lines.append(f"{row},三年级2班,张*,{answer},,folder 7")
    path = folder / "answers.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_s05_without_a_readable_consent_of_its_own_guardian_nothing_reaches_the_ils(
    world: World, tmp_path: Path
) -> None:
    path = applicants(world, tmp_path, ["", "不同意", "看不清", "别的孩子"])
    store, app = world.app.store.enrolment, world.app
    results = take_answers(
        app.consents,
        store.list_applications(KOHA_A),
        read_answers(path),
        scopes=[ConsentScope.CARD],
        evidence="",
        actor="teacher",
    )
    assert [each.outcome for each in results] == [
        LineOutcome.NO_ANSWER,
        LineOutcome.REFUSED,
        LineOutcome.UNUSABLE,
        LineOutcome.UNUSABLE,
    ]
    left = store.list_applications(KOHA_A)
    assert [application.batch_row for application in left] == [2, 4, 5]
    opened = app.provisioning(KOHA_A).activate(left, actor="librarian")
    assert {result.outcome for result in opened} == {ActivationOutcome.NO_CONSENT}
    assert {a.state for a in store.list_applications(KOHA_A)} == {ApplicationState.LIBRARY_APPROVED}
    app.closing.sweep_all()
    assert world.ils("KOHA-A").calls == []
    assert store.is_refused([Identifier("id_card", OTHER_NUMBER)], KOHA_A)
    assert app.store.people.find_person([Identifier("id_card", OTHER_NUMBER)]) is None
    unusable = [row for row in world.rows("audit") if row["action"] == "consent.unusable"]
    assert sorted(json.loads(str(row["detail"]))["code"] for row in unusable) == [
        "other_child",
        "unreadable",
    ]


def test_s05_lines_that_were_shifted_are_nobodys_consent(world: World, tmp_path: Path) -> None:
    path = applicants(world, tmp_path, ["", ""])
    path.write_text(
        "行号,班级,姓名,答复,范围,凭证\n"
        "2,三年级2班,李*,同意,,F1\n"
        "3,三年级1班,张*,同意,,F1\n"
        "9,三年级2班,张*,同意,,F1\n"
        "三,三年级2班,张*,同意,,F1\n",
        encoding="gb18030",
    )
    consents, store = world.app.consents, world.app.store.enrolment
    applications = store.list_applications(KOHA_A)
    results = take_answers(
        consents, applications, read_answers(path), scopes=[ConsentScope.CARD], evidence="",
        actor="teacher",
    )  # fmt: skip
    assert [each.outcome for each in results] == [
        LineOutcome.NOT_THIS_CHILD,
        LineOutcome.NOT_THIS_CHILD,
        LineOutcome.ROW_UNKNOWN,
        LineOutcome.ROW_MISSING,
    ]
    assert world.rows("consent") == []


def test_s05_a_list_read_twice_records_once(world: World, tmp_path: Path) -> None:
    path = applicants(world, tmp_path, ["同意", "√"])
    consents, store = world.app.consents, world.app.store.enrolment

    def read() -> list[LineOutcome]:
        results = take_answers(
            consents, store.list_applications(KOHA_A), read_answers(path),
            scopes=[ConsentScope.CARD, ConsentScope.ONLINE], evidence="", actor="teacher",
        )  # fmt: skip
        return [each.outcome for each in results]

    assert read() == [LineOutcome.GIVEN, LineOutcome.GIVEN]
    before = world.rows("consent")
    assert len(before) == 4
    assert all(row["text_digest"] for row in before)
    assert read() == [LineOutcome.UNCHANGED, LineOutcome.UNCHANGED]
    assert world.rows("consent") == before
    names = {line.name for line in list_lines(consents, store.list_applications(KOHA_A))}
    assert names == {"张*"}


# --- 6: withdrawal with books out ----------------------------------------------------------------


def test_s06_who_withdraws_may_only_return_and_is_gone_after_the_last_return(
    world: World, pupil: Pupil
) -> None:
    app, kiosk, ils = world.app, world.kiosk(), world.ils("KOHA-A")
    borrow(world, pupil, "B1", "B2", "B3")
    world.add_items("KOHA-A", "B4", "B5")
    assert kiosk.hold(pupil.card, "B5").fixed["ok"] == "1"
    facts_before = world.rows("circulation_fact")
    world.clock.advance(minutes=5)

    withdraw(world, pupil)

    answer = kiosk.information(pupil.card)
    assert answer.fixed["patron_status"][:4] == "YYYY"
    assert "授权" in (answer.get("AF") or "")
    assert kiosk.charged(pupil.card) == ["B1", "B2", "B3"]
    assert kiosk.checkout(pupil.card, "B4").fixed["ok"] == "0"
    assert kiosk.checkout(ID_NUMBER, "B4").fixed["ok"] == "0"
    assert kiosk.renew(pupil.card, "B1").fixed["ok"] == "0"
    assert kiosk.hold(pupil.card, "B4").fixed["ok"] == "0"
    assert ils.stock.holds == []
    assert "B4" not in ils.stock.loans

    for barcode in ("B1", "B2"):
        world.clock.advance(minutes=1)
        assert kiosk.checkin(barcode).fixed["ok"] == "1"
        report = app.closing.sweep(KOHA_A)
        assert (report.erased, ils.stock.patrons[IlsPatronId(pupil.card)].closed) == (0, False)
    world.clock.advance(minutes=1)
    assert kiosk.checkin("B3").fixed["ok"] == "1"
    world.clock.advance(seconds=15)
    assert app.closing.sweep(KOHA_A).erased == 1

    account = ils.stock.patrons[IlsPatronId(pupil.card)]
    assert (account.closed, account.name, account.identifiers) == (True, "", {})
    (person,) = world.rows("person")
    assert person["name"] is None
    assert person["erased_at"] is not None
    assert app.store.people.resolve([Identifier("card", pupil.card)], KOHA_A) is None
    for table in world.table_names():
        stored = str(world.rows(table))
        assert not [marker for marker in (NAME, ID_NUMBER, GUARDIAN, PHONE) if marker in stored]
    facts = world.rows("circulation_fact")
    assert [row["verb"] for row in facts] == ["checkout"] * 3 + ["checkin"] * 3
    assert [row["fact_id"] for row in facts[:3]] == [row["fact_id"] for row in facts_before]
    assert {row["pseudonym"] for row in facts} - {"", pupil.patron_id}
    actions = [a for a in audited(world, pupil.patron_id) if a.startswith(("consent.", "closing."))]
    assert actions[-2:] == ["consent.withdrawn", "closing.begun"]
    assert audited(world, pupil.patron_id)[-2:] == ["account.closed", "person.erased"]
    assert app.store.audit.verify()[0]
    assert app.closing.sweep(KOHA_A).due == 0


def test_s06_every_account_of_the_network_is_closed(world: World, pupil: Pupil) -> None:
    visiting = IlsPatronId("V-1")
    world.ils("FOLIO-B").new_patron(visiting, name="读者")
    world.app.store.people.set_account(pupil.patron_id, FOLIO_B, visiting, kind="visiting")
    borrow(world, pupil, "F1", at="FOLIO-B")
    withdraw(world, pupil)
    assert not world.ils("KOHA-A").stock.patrons[IlsPatronId(pupil.card)].closed
    assert world.kiosk("FOLIO-B").checkin("F1").fixed["ok"] == "1"
    assert world.app.closing.sweep(KOHA_A).erased == 1
    assert world.ils("FOLIO-B").stock.patrons[visiting].closed
    assert world.ils("KOHA-A").stock.patrons[IlsPatronId(pupil.card)].closed


def test_s06_a_loan_made_at_the_desk_keeps_the_account(world: World, pupil: Pupil) -> None:
    ils = world.ils("KOHA-A")
    world.add_items("KOHA-A", "D1")
    ils.desk_checkout(pupil.card, "D1")
    withdraw(world, pupil)
    (loan,) = world.app.store.ledger.list_unclosed(pupil.patron_id)
    assert loan.item.barcode == "D1"
    assert world.app.closing.sweep(KOHA_A).erased == 0
    ils.desk_checkin("D1")  # nobody tells us
    world.clock.advance(hours=7)
    assert world.app.closing.sweep(KOHA_A).erased == 1


def test_s06_a_checkout_under_way_is_waited_for(world: World, pupil: Pupil) -> None:
    """The ILS has been asked and has not answered when the guardian withdraws."""
    app, ils = world.app, world.ils("KOHA-A")
    world.add_items("KOHA-A", "B1")
    ils.fail("checkout", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    assert world.kiosk().checkout(pupil.card, "B1").fixed["ok"] == "0"
    (loan,) = app.store.ledger.list_unclosed(pupil.patron_id)
    assert loan.state in {LoanState.ASKED, LoanState.UNKNOWN}
    withdraw(world, pupil)
    assert app.closing.sweep(KOHA_A).erased == 0
    ils.land()
    world.clock.advance(minutes=1)
    app.settlement.run_once()
    assert app.closing.sweep(KOHA_A).erased == 0
    assert world.kiosk().checkin("B1").fixed["ok"] == "1"
    assert app.closing.sweep(KOHA_A).erased == 1


def test_s06_a_checkout_that_never_happened_is_settled_first(world: World, pupil: Pupil) -> None:
    app = world.app
    world.add_items("KOHA-A", "B1")
    world.ils("KOHA-A").fail("checkout", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    world.kiosk().checkout(pupil.card, "B1")
    withdraw(world, pupil)
    for _ in range(3):
        world.clock.advance(minutes=4)
        app.settlement.run_once()
    assert app.closing.sweep(KOHA_A).erased == 1


@pytest.mark.parametrize("kind", [FaultKind.NO_ANSWER, FaultKind.DONE_NO_ANSWER])
def test_s06_after_an_unknown_outcome_the_ils_is_asked_first(
    world: World, pupil: Pupil, kind: FaultKind
) -> None:
    ils = world.ils("KOHA-A")
    ils.fail("close_patron", Fault(kind))
    withdraw(world, pupil)
    assert world.app.closing.sweep(KOHA_A).due == 0
    world.clock.advance(minutes=2)
    assert world.app.closing.sweep(KOHA_A).erased == 1
    closes = [call for call in ils.calls if call.operation == "close_patron"]
    assert len(closes) == (1 if kind is FaultKind.DONE_NO_ANSWER else 2)


def test_s06_an_ils_that_is_away_is_told_later(world: World, pupil: Pupil) -> None:
    ils = world.ils("KOHA-A")
    ils.script.set_always("*", Fault(FaultKind.NOT_SENT))
    withdraw(world, pupil)
    standing = world.app.store.people.find_standing(pupil.patron_id, KOHA_A)
    assert standing is not None
    assert standing.state is StandingState.WITHDRAWN
    world.clock.advance(days=8)
    assert world.app.closing.sweep(KOHA_A).failed == 1
    (task,) = world.app.store.tasks.list_tasks(KOHA_A, kind=TaskKind.CLOSING_STUCK)
    assert task.detail["code"] == "ils_unavailable"
    ils.script.set_always("*", None)
    world.clock.advance(minutes=2)
    assert world.app.closing.sweep(KOHA_A).erased == 1
    assert world.app.store.tasks.list_tasks(KOHA_A, kind=TaskKind.CLOSING_STUCK) == ()


def test_s06_an_ils_that_cannot_close_accounts_gives_staff_a_task(world: World) -> None:
    app = world.app
    card = "C-77"
    patron_id = world.add_pupil(card, at=("SIP-C",), id_number=ID_NUMBER)
    assert app.closing.begin(patron_id, ClosingReason.CONSENT_WITHDRAWN, actor="librarian")
    assert app.closing.sweep(SIP_C).erased == 1
    (task,) = app.store.tasks.list_tasks(SIP_C, kind=TaskKind.CLOSING_STUCK)
    assert (task.detail["code"], task.detail["account"]) == ("cannot_close", card)
    assert world.ils("SIP-C").stock.patrons[IlsPatronId(card)].blocks


def test_s06_a_card_that_was_opened_without_an_answer_is_closed_too(world: World) -> None:
    app, ils = world.app, world.ils("KOHA-A")
    applicant = enrol_pupil(app, add_school(app, "s1"), NAME, ID_NUMBER, open_card=False)
    ils.script.set_always("upsert_patron", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    ils.script.set_always("verify_pin", Fault(FaultKind.NOT_SENT))
    app.provisioning(KOHA_A).activate([applicant.application], actor="librarian")
    ils.land()
    assert app.store.people.find_standing(applicant.patron_id, KOHA_A).ils_patron is None  # type: ignore[union-attr]
    withdraw(world, applicant)
    world.clock.advance(minutes=10)
    app.closing.sweep(KOHA_A)
    (account,) = ils.stock.patrons.values()
    assert account.closed
    assert app.store.people.find_person([Identifier("id_card", ID_NUMBER)]) is None


def test_s06_ending_another_scope_leaves_the_card(world: World, pupil: Pupil) -> None:
    app = world.app
    app.consents.record(
        [pupil.application], [ConsentScope.ONLINE, ConsentScope.NETWORK_COUNTY], evidence="F7",
        actor="teacher",
    )  # fmt: skip
    withdraw(world, pupil, ConsentScope.NETWORK_COUNTY)
    borrow(world, pupil, "B1")
    assert app.consents.check(pupil.application) is ConsentVerdict.HOLDS
    assert app.consents.check(pupil.application, ConsentScope.ONLINE) is ConsentVerdict.HOLDS
    verdict = app.consents.check(pupil.application, ConsentScope.NETWORK_COUNTY)
    assert verdict is ConsentVerdict.WITHDRAWN
    assert app.closing.sweep(KOHA_A).due == 0


# --- 7: turning 14 -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy_says_so", [False, True])
def test_s07_a_child_that_turns_14_between_application_and_activation(
    make_world: Callable[..., World], *, policy_says_so: bool
) -> None:
    says = "true" if policy_says_so else "false"
    world = make_world(policy=f"\n[enrolment]\nconsent_at_fourteen = {says}\n")
    app = world.app
    world.clock.set_local("2026-11-20 10:00")
    applicant = enrol_pupil(
        app,
        add_school(app, "s1"),
        NAME,
        ID_NUMBER,
        open_card=False,
        birth_date=date(2012, 11, 22),  # type: ignore[arg-type]
    )
    world.clock.set_local("2026-11-21 23:59")
    assert app.consents.check(applicant.application) is ConsentVerdict.HOLDS

    world.clock.set_local("2026-11-22 00:01")  # still 21 November in UTC
    assert world.clock().date() == date(2026, 11, 21)
    (result,) = app.provisioning(KOHA_A).activate([applicant.application], actor="librarian")
    if not policy_says_so:
        assert result.outcome is ActivationOutcome.ACTIVATED
        return
    assert result.outcome is ActivationOutcome.NO_CONSENT
    assert world.ils("KOHA-A").calls == []
    (standing,) = app.consents.list_standings(KOHA_A)
    assert standing.verdict is ConsentVerdict.TURNED_FOURTEEN

    app.consents.record(
        [applicant.application], [ConsentScope.CARD], evidence="folder 8", actor="teacher"
    )
    (result,) = app.provisioning(KOHA_A).activate([applicant.application], actor="librarian")
    assert result.outcome is ActivationOutcome.ACTIVATED


def test_s07_a_wider_text_asks_again_and_leaves_open_cards_alone(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "2027-09.zh.md").write_text(
        "---\nscopes: card, online\nsupersedes: widens\n---\n# 授权书\n", encoding="utf-8"
    )
    world = make_world(
        policy='\n[enrolment]\nconsent_texts = "texts"\nconsent_text_version = "2027-09"\n'
    )
    app = world.app
    school = add_school(app, "s1")
    older = enrol_pupil(app, school, NAME, ID_NUMBER, open_card=False)  # signed 2026-09
    (result,) = app.provisioning(KOHA_A).activate([older.application], actor="librarian")
    assert result.outcome is ActivationOutcome.NO_CONSENT
    world.clock.advance(minutes=1)
    app.consents.record(
        [older.application], [ConsentScope.CARD], evidence="folder 8", actor="teacher"
    )
    (result,) = app.provisioning(KOHA_A).activate([older.application], actor="librarian")
    assert result.outcome is ActivationOutcome.ACTIVATED
    (standing,) = app.consents.list_standings(KOHA_A)
    assert standing.verdict is ConsentVerdict.HOLDS


# --- leavers, and who comes back -----------------------------------------------------------------


def test_a_leavers_account_is_closed_and_his_data_are_kept(world: World, pupil: Pupil) -> None:
    app, kiosk = world.app, world.kiosk()
    borrow(world, pupil, "B1")
    assert app.closing.begin(pupil.patron_id, ClosingReason.LEFT, actor="teacher")
    assert app.closing.sweep(KOHA_A).waiting == 1
    world.add_items("KOHA-A", "B2")
    refused = kiosk.checkout(pupil.card, "B2")
    assert (refused.fixed["ok"], "过期" in (refused.get("AF") or "")) == ("0", True)
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(minutes=1)
    assert app.closing.sweep(KOHA_A).kept == 1
    assert world.ils("KOHA-A").stock.patrons[IlsPatronId(pupil.card)].closed
    assert app.store.people.fetch_personal(pupil.patron_id).name == NAME
    (person,) = world.rows("person")
    assert (person["closing"], person["closing_step"]) == ("left", "")
    for scanned in (pupil.card, ID_NUMBER):  # closed in the ILS, and still not a stranger
        answer = kiosk.checkout(scanned, "B2")
        assert (answer.fixed["ok"], "过期" in (answer.get("AF") or "")) == ("0", True)
        assert kiosk.information(scanned).fixed["patron_status"][:2] == "YY"
    assert app.closing.sweep(KOHA_A).due == 0


def test_who_is_kept_and_withdraws_later_is_erased(world: World, pupil: Pupil) -> None:
    app = world.app
    app.closing.begin(pupil.patron_id, ClosingReason.LEFT, actor="teacher")
    assert app.closing.sweep(KOHA_A).kept == 1
    withdraw(world, pupil)
    assert app.store.people.find_person([Identifier("id_card", ID_NUMBER)]) is None
    assert app.store.enrolment.is_refused([Identifier("id_card", ID_NUMBER)], KOHA_A)


def test_an_applicant_who_leaves_before_his_card_is_open_is_not_kept(world: World) -> None:
    app = world.app
    applicant = enrol_pupil(app, add_school(app, "s1"), NAME, ID_NUMBER, open_card=False)
    assert app.closing.begin(applicant.patron_id, ClosingReason.LEFT, actor="teacher")
    assert app.closing.sweep(KOHA_A).erased == 1
    assert world.ils("KOHA-A").calls == []
    found = app.store.enrolment.fetch_application(applicant.application.application_id)
    assert found is not None
    assert (found.state, found.reason) == (ApplicationState.WITHDRAWN, "left")


def test_a_guardian_who_agrees_again_while_books_are_out_keeps_the_pupil(
    world: World, pupil: Pupil
) -> None:
    app = world.app
    borrow(world, pupil, "B1")
    withdraw(world, pupil)
    ils = world.ils("KOHA-A")
    assert ils.stock.patrons[IlsPatronId(pupil.card)].blocks
    store, school = app.store.enrolment, add_school(app, "s1")
    new = NewApplication(pupil.patron_id, KOHA_A, school.school_id, Route.BATCH)
    world.clock.advance(days=1)
    again = store.add_application(new, actor="clerk", now=world.clock())
    report = app.consents.record([again], [ConsentScope.CARD], evidence="F9", actor="teacher")
    assert report.done == 1
    assert not store.is_refused([Identifier("id_card", ID_NUMBER)], KOHA_A)
    world.add_items("KOHA-A", "B3")
    assert world.kiosk().checkout(pupil.card, "B3").fixed["ok"] == "0"
    assert world.kiosk().checkin("B1").fixed["ok"] == "1"
    assert app.closing.sweep(KOHA_A).due == 0
    for old, following in pairwise(
        (
            ApplicationState.ENTERED,
            ApplicationState.SCHOOL_REVIEWED,
            ApplicationState.LIBRARY_APPROVED,
        )
    ):
        assert store.move_application(
            again.application_id, old, following, actor="x", now=world.clock()
        )
    (result,) = app.provisioning(KOHA_A).activate([again], actor="librarian")
    assert (result.outcome, result.card) == (ActivationOutcome.ACTIVATED, pupil.card)
    borrow(world, pupil, "B2")


def test_a_consent_for_a_closed_application_is_not_recorded(world: World, pupil: Pupil) -> None:
    borrow(world, pupil, "B1")
    withdraw(world, pupil)
    before = world.rows("consent")
    report = world.app.consents.record(
        [pupil.application], [ConsentScope.CARD], evidence="F", actor="teacher"
    )
    assert (report.done, report.skipped) == (0, 1)
    assert world.rows("consent") == before


def test_an_attempt_under_way_is_waited_for(world: World) -> None:
    """The guardian withdraws while the account is being made."""
    app, ils = world.app, world.ils("KOHA-A")
    applicant = enrol_pupil(app, add_school(app, "s1"), NAME, ID_NUMBER, open_card=False)
    rules = app.enrolment.rules_of(KOHA_A)
    assert app.store.enrolment.begin_activation(
        applicant.application.application_id, cards=rules.cards, actor="x", now=world.clock()
    )
    withdraw(world, applicant)
    assert app.closing.sweep(KOHA_A).erased == 0
    assert ils.calls == []
    world.clock.advance(minutes=3)
    assert app.closing.sweep(KOHA_A).erased == 1


def test_two_workers_close_nobody_twice(world: World) -> None:
    app, ils = world.app, world.ils("KOHA-A")
    pupils = [world.add_pupil(f"C{n}") for n in range(8)]
    for patron_id in pupils:
        assert app.closing.begin(patron_id, ClosingReason.CONSENT_WITHDRAWN, actor="librarian")
    with ThreadPoolExecutor(max_workers=4) as threads:
        reports = list(threads.map(lambda _: app.closing.sweep(KOHA_A), range(4)))
    assert sum(report.erased for report in reports) == 8
    closed = Counter(call.patron for call in ils.calls if call.operation == "close_patron")
    assert set(closed.values()) == {1}
    assert len(closed) == 8


def test_killed_between_two_steps_is_taken_up_again(world: World, pupil: Pupil) -> None:
    """The account is closed, and the process dies before our register knows."""
    app, ils = world.app, world.ils("KOHA-A")

    class Killed(BaseException):
        pass

    def dies(*args: object, **more: object) -> None:
        raise Killed

    store = app.store.closings
    assert app.closing.begin(pupil.patron_id, ClosingReason.CONSENT_WITHDRAWN, actor="librarian")
    store.drop_account = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        app.closing.sweep(KOHA_A)
    del store.drop_account
    assert ils.stock.patrons[IlsPatronId(pupil.card)].closed
    assert app.closing.sweep(KOHA_A).due == 0, "the lease of the dead one"
    world.clock.advance(minutes=3)
    assert app.closing.sweep(KOHA_A).erased == 1
    assert [call.operation for call in ils.calls].count("close_patron") == 1


def test_one_ils_that_is_away_keeps_no_other_waiting(world: World) -> None:
    """The account at the library that answers is blocked, and other people are closed."""
    app, away = world.app, world.ils("FOLIO-B")
    both = [world.add_pupil(f"V{n}", at=("KOHA-A", "FOLIO-B")) for n in range(5)]
    here = [world.add_pupil(f"C{n}") for n in range(3)]
    away.script.set_always("*", Fault(FaultKind.NOT_SENT))
    for patron_id in both + here:
        assert app.closing.begin(patron_id, ClosingReason.CONSENT_WITHDRAWN, actor="librarian")
    report = app.closing.sweep(KOHA_A)
    assert (report.due, report.erased, report.failed) == (8, 3, 5)
    assert len(away.calls) == 3, "it was left alone after three failures"
    blocked = [p for p in world.ils("KOHA-A").stock.patrons.values() if p.blocks]
    assert len(blocked) == 5
    away.script.set_always("*", None)
    world.clock.advance(minutes=2)
    assert app.closing.sweep(KOHA_A).erased == 5
    assert all(patron.closed for patron in away.stock.patrons.values())


def test_the_settlement_of_a_lost_item_ends_the_waiting(world: World, pupil: Pupil) -> None:
    app, ils = world.app, world.ils("KOHA-A")
    borrow(world, pupil, "B1")
    (loan,) = app.store.ledger.list_unclosed(pupil.patron_id)
    app.losses.declare(loan, LoanState.LOST, actor="librarian")
    withdraw(world, pupil)
    assert app.closing.sweep(KOHA_A).erased == 0
    ils.desk_checkin("B1")
    ils.delete_item(loan.item.barcode)
    (loan,) = app.store.ledger.list_unclosed(pupil.patron_id)
    app.losses.settle(loan, actor="librarian")
    assert app.closing.sweep(KOHA_A).erased == 1
