"""Cards in pupils' hands, over real SIP2 sessions: three carriers, a lost card, an online card."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from connector.domain.closing import ClosingReason
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId
from connector.domain.loan import LoanState
from connector.domain.patron import StandingState
from connector.enrolment.tokens import new_token
from connector.errors import NotFound, RecordError, StorageConflict
from connector.ports.cards import CardKind
from connector.ports.ils import BlockReason
from connector.services.cards import LossOutcome
from connector.services.lists import PupilQuery
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.pupils import Pupil, add_school, enrol_pupil
from tests.support.world import ID_NUMBER, Kiosk, World

KOHA_A = InstitutionId("KOHA-A")
SSC = "D12345678"
STAFF = "cli:staff"
CLASS = PupilQuery(class_name="3/2")


@pytest.fixture
def pupil(world: World) -> Pupil:
    return enrol_pupil(world.app, add_school(world.app, "s1"), "张小江", ID_NUMBER)


def lend(world: World, pupil: Pupil, *barcodes: str) -> Kiosk:
    kiosk = world.kiosk()
    world.add_items("KOHA-A", *barcodes)
    for barcode in barcodes:
        assert kiosk.checkout(pupil.card, barcode).fixed["ok"] == "1"
    return kiosk


def test_s24_three_carriers_at_three_libraries_are_one_reader(
    world: World, pupil: Pupil, capsys: pytest.CaptureFixture[str]
) -> None:
    token = new_token()
    world.app.cards.link(pupil.patron_id, "ssc", " d123 45678", actor=STAFF)
    world.app.cards.issue_online(pupil.patron_id, token, actor=STAFF)
    for code in ("FOLIO-B", "SIP-C"):
        visiting = IlsPatronId(f"V-{code}")
        world.ils(code).new_patron(visiting, name="读者")
        world.app.store.people.set_account(
            pupil.patron_id, InstitutionId(code), visiting, kind="visiting"
        )
    carriers = {"KOHA-A": ID_NUMBER, "FOLIO-B": token.lower(), "SIP-C": SSC}
    lent = []
    for code, scanned in carriers.items():
        for number in (1, 2):
            barcode = f"{code}-{number}"
            world.add_items(code, barcode)
            assert world.kiosk(code).checkout(scanned, barcode).fixed["ok"] == "1"
            lent.append(barcode)
        world.clock.advance(minutes=20)
    for code in carriers:
        kiosk = world.kiosk(code)
        for scanned in (*carriers.values(), pupil.card):
            assert kiosk.charged(scanned) == sorted(lent)
    kiosk = world.kiosk()
    world.add_items("KOHA-A", "B7", "B8", "B9")
    verdicts = [
        kiosk.checkout(scanned, barcode).fixed["ok"]
        for scanned, barcode in ((SSC, "B7"), (token, "B8"), (pupil.card, "B9"))
    ]
    assert verdicts == ["1", "1", "0"]
    assert len(world.app.store.ledger.list_unclosed(pupil.patron_id)) == 8
    said = capsys.readouterr()
    for secret in (ID_NUMBER, SSC, token, pupil.card):
        assert secret not in said.out + said.err


def test_s34_a_lost_card_is_dead_at_once_and_the_id_card_still_works(
    world: World, pupil: Pupil
) -> None:
    cards = world.app.cards
    first = cards.issue_physical(pupil.patron_id, actor=STAFF)
    assert (first.number, first.chargeable) == (1, False)
    token = new_token()
    cards.issue_online(pupil.patron_id, token, actor=STAFF)
    cards.link(pupil.patron_id, "chip_uid", "04a1b2c3", actor=STAFF)
    cards.link(pupil.patron_id, "ssc", SSC, actor=STAFF)
    kiosk = lend(world, pupil, "B1")
    world.add_items("KOHA-A", "B2", "B3", "B4")

    report = cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)

    assert report.outcome is LossOutcome.CHANGED
    assert report.card not in {"", pupil.card}
    for dead in (pupil.card, token, "04A1B2C3"):
        assert kiosk.checkout(dead, "B2").fixed["ok"] == "0"
        answer = kiosk.information(dead)
        assert answer.get("BL") == "N"
        assert "张" not in (answer.get("AE") or "")
        assert kiosk.charged(dead) == []
        assert kiosk.renew(dead, "B1").fixed["ok"] == "0"
    for alive in (ID_NUMBER, SSC, report.card):
        assert kiosk.charged(alive) == ["B1"]
    assert kiosk.checkout(ID_NUMBER, "B2").fixed["ok"] == "1"
    (loan, _) = world.app.store.ledger.list_unclosed(pupil.patron_id)
    assert (loan.state, loan.ils_patron) == (LoanState.OPEN, report.card)
    assert list(world.ils("KOHA-A").stock.patrons) == [report.card]
    assert world.ils("KOHA-A").stock.patrons[report.card].pin is not None
    second = cards.issue_physical(pupil.patron_id, actor=STAFF)
    assert (second.number, second.chargeable) == (2, True)
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert len(world.app.store.ledger.list_unclosed(pupil.patron_id)) == 1
    again = cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    assert again.outcome is LossOutcome.ALREADY
    assert world.app.store.audit.verify()[0]


def test_s34_the_old_number_is_dead_while_the_ils_is_away(world: World, pupil: Pupil) -> None:
    kiosk = lend(world, pupil, "B1")
    world.add_items("KOHA-A", "B2", "B3")
    world.ils("KOHA-A").fail("upsert_patron", Fault(FaultKind.NOT_SENT))
    pending = world.app.cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    assert pending.outcome is LossOutcome.PENDING
    assert pupil.card in world.ils("KOHA-A").stock.patrons
    assert kiosk.checkout(pupil.card, "B2").fixed["ok"] == "0"
    assert kiosk.information(pupil.card).get("BL") == "N"
    assert kiosk.checkout(ID_NUMBER, "B2").fixed["ok"] == "1"
    with pytest.raises(StorageConflict, match="card_changing"):
        world.app.cards.issue_physical(pupil.patron_id, actor=STAFF)
    done = world.app.cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    assert (done.outcome, done.card) == (LossOutcome.CHANGED, pending.card)
    assert kiosk.charged(ID_NUMBER) == ["B1", "B2"]


def test_s34_an_unknown_outcome_is_asked_about(world: World, pupil: Pupil) -> None:
    world.ils("KOHA-A").fail("upsert_patron", Fault(FaultKind.DONE_NO_ANSWER))
    done = world.app.cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    assert done.outcome is LossOutcome.CHANGED
    assert list(world.ils("KOHA-A").stock.patrons) == [done.card]
    assert world.app.store.people.find_standing(pupil.patron_id, KOHA_A).ils_patron == done.card


def test_s34_a_change_that_lands_late_makes_no_second_account(world: World, pupil: Pupil) -> None:
    ils = world.ils("KOHA-A")
    ils.fail("upsert_patron", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    pending = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert pending.outcome is LossOutcome.PENDING
    ils.land()
    done = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert (done.outcome, done.card) == (LossOutcome.CHANGED, pending.card)
    assert list(ils.stock.patrons) == [done.card]


def test_s34_a_new_number_that_the_ils_gave_to_another_is_passed_over(
    world: World, pupil: Pupil
) -> None:
    cards = world.app.enrolment.rules_of(KOHA_A).cards
    taken = cards.number_of(cards.first + 1)
    world.ils("KOHA-A").new_patron(taken, name="别人")
    done = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert (done.outcome, done.card) == (LossOutcome.CHANGED, cards.number_of(cards.first + 2))
    assert world.ils("KOHA-A").stock.patrons[taken].name == "别人"


def test_s34_an_account_that_is_not_ours_is_changed_at_its_own_desk(
    world: World, pupil: Pupil
) -> None:
    ils = world.ils("KOHA-A")
    account = ils.stock.patrons[pupil.card]
    account.external_id = "somebody-else"
    first = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert first.outcome is LossOutcome.BY_HAND
    assert list(ils.stock.patrons) == [pupil.card]
    ils.new_patron(first.card, name="别人")
    assert world.app.cards.report_lost(pupil.patron_id, actor=STAFF).outcome is LossOutcome.BY_HAND
    ils.stock.patrons[first.card].name = "张小江"
    done = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert (done.outcome, done.card) == (LossOutcome.CHANGED, first.card)


def test_s34_who_is_blocked_gets_no_new_number_and_his_account_is_not_opened_again(
    world: World, pupil: Pupil
) -> None:
    world.app.store.people.set_state(pupil.patron_id, StandingState.WITHDRAWN)
    calls = world.ils("KOHA-A").count_calls("upsert_patron")
    done = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert done.outcome is LossOutcome.NO_NEW_NUMBER
    assert world.ils("KOHA-A").count_calls("upsert_patron") == calls
    assert world.app.store.people.resolve([Identifier("card", pupil.card)], KOHA_A).is_retired


def test_s34_the_ils_keeps_blocks_of_its_own_staff(world: World, pupil: Pupil) -> None:
    world.ils("KOHA-A").block_patron(pupil.application.card, BlockReason.STAFF)
    done = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert world.ils("KOHA-A").stock.patrons[done.card].blocks == {BlockReason.STAFF}


def test_a_damaged_card_is_replaced_under_the_same_number(world: World, pupil: Pupil) -> None:
    cards = world.app.cards
    cards.issue_physical(pupil.patron_id, actor=STAFF)
    with pytest.raises(StorageConflict, match="physical_card_out"):
        cards.issue_physical(pupil.patron_id, actor=STAFF)
    second = cards.issue_physical(pupil.patron_id, replaces_damaged=True, actor=STAFF)
    assert second.chargeable
    issues = cards.describe(pupil.patron_id).issues
    assert [(issue.number, issue.ended_as) for issue in issues] == [(1, "damaged"), (2, "")]
    assert world.kiosk().information(pupil.card).get("BL") == "Y"


def test_a_new_online_card_ends_the_one_before(world: World, pupil: Pupil) -> None:
    old, new = new_token(), new_token()
    kiosk = world.kiosk()
    for number, token in enumerate((old, new), start=1):
        issue = world.app.cards.issue_online(pupil.patron_id, token, actor=STAFF)
        assert (issue.kind, issue.number, issue.chargeable) == (CardKind.ONLINE, number, False)
    assert kiosk.information(old).get("BL") == "N"
    assert kiosk.information(new).get("BL") == "Y"
    assert kiosk.information(pupil.card).get("BL") == "Y"
    held = world.app.cards.describe(pupil.patron_id).numbers["online_card"]
    assert (held.alive, held.retired) == (1, 1)
    assert not any(new.encode() in repr(row).encode() for row in world.rows("identifier"))


def test_nobody_gets_a_card_before_his_own_is_open(world: World) -> None:
    waiting = enrol_pupil(
        world.app, add_school(world.app, "s1"), "张小江", ID_NUMBER, open_card=False
    )
    with pytest.raises(StorageConflict, match="card_not_in_force"):
        world.app.cards.issue_physical(waiting.patron_id, actor=STAFF)
    with pytest.raises(StorageConflict, match="card_not_in_force"):
        world.app.cards.issue_online(waiting.patron_id, new_token(), actor=STAFF)


def test_numbers_are_linked_to_one_person_and_can_be_taken_off(world: World, pupil: Pupil) -> None:
    other = enrol_pupil(world.app, add_school(world.app, "s1"), "戴二二", "510107201212310029")
    cards = world.app.cards
    cards.link(pupil.patron_id, "ssc", SSC, actor=STAFF)
    with pytest.raises(StorageConflict):
        cards.link(other.patron_id, "ssc", SSC, actor=STAFF)
    with pytest.raises(StorageConflict):  # the number of another kind, which a kiosk cannot tell
        cards.link(other.patron_id, "ssc", pupil.card, actor=STAFF)
    assert world.kiosk().information(pupil.card).get("AE") == "张*"
    assert cards.unlink(pupil.patron_id, "ssc", actor=STAFF) == 1
    assert cards.unlink(pupil.patron_id, "ssc", actor=STAFF) == 0
    cards.link(other.patron_id, "ssc", SSC, actor=STAFF)
    assert world.kiosk().information(SSC).get("AA") == SSC
    for kind, number in [
        ("ssc", ID_NUMBER),
        ("ssc", " "),
        ("ssc", "9" * 65),
        ("student_no", "G1"),
        ("chip_uid", "04A1B2C"),
        ("chip_uid", "04A1B2CX"),
        ("card", "FD1"),
    ]:
        with pytest.raises(RecordError):
            cards.link(pupil.patron_id, kind, number, actor=STAFF)
    with pytest.raises(RecordError):
        cards.unlink(pupil.patron_id, "id_card", actor=STAFF)


def test_s34_a_process_that_is_killed_goes_on_with_the_same_number(
    world: World, pupil: Pupil, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards, store = world.app.cards, world.app.store.cards

    def kill(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "finish_change", kill)
        with pytest.raises(KeyboardInterrupt):
            cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    change = store.find_change(pupil.patron_id)
    assert change is not None
    assert world.kiosk().information(pupil.card).get("BL") == "N"
    done = cards.report_lost(pupil.patron_id, named=pupil.card, actor=STAFF)
    assert (done.outcome, done.card) == (LossOutcome.CHANGED, change.new)
    assert list(world.ils("KOHA-A").stock.patrons) == [change.new]
    assert store.find_change(pupil.patron_id) is None


def test_s34_an_account_is_closed_under_the_number_that_it_has_got_meanwhile(
    world: World, pupil: Pupil
) -> None:
    """The change of number landed, nobody heard of it, and then the consent was withdrawn."""
    ils = world.ils("KOHA-A")
    ils.fail("upsert_patron", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    report = world.app.cards.report_lost(pupil.patron_id, actor=STAFF)
    assert report.outcome is LossOutcome.PENDING
    ils.land()
    world.app.closing.begin(pupil.patron_id, ClosingReason.CONSENT_WITHDRAWN, actor=STAFF)
    for _ in range(3):
        world.app.closing.sweep(KOHA_A)
        world.clock.advance(minutes=5)
    account = ils.stock.patrons[report.card]
    assert (account.closed, account.name) == (True, "")
    with pytest.raises(NotFound):
        world.app.store.people.fetch_personal(pupil.patron_id)


def test_s34_two_desks_that_report_at_once_take_one_number(world: World, pupil: Pupil) -> None:
    with ThreadPoolExecutor(4) as desks:
        reports = list(
            desks.map(
                lambda _: world.app.cards.report_lost(
                    pupil.patron_id, named=pupil.card, actor=STAFF
                ),
                range(4),
            )
        )
    cards = world.app.enrolment.rules_of(KOHA_A).cards
    numbers = {report.card for report in reports if report.outcome is LossOutcome.CHANGED}
    assert numbers == {cards.number_of(cards.first + 1)}
    assert {report.outcome for report in reports} <= {LossOutcome.CHANGED, LossOutcome.ALREADY}
    assert list(world.ils("KOHA-A").stock.patrons) == sorted(numbers)


def test_s35_a_school_sees_its_own_pupils_and_nobody_else(world: World, pupil: Pupil) -> None:
    lists, store = world.app.lists, world.app.store
    ours = store.enrolment.find_school(KOHA_A, "s1")
    theirs = add_school(world.app, "s2")
    assert ours is not None
    child = enrol_pupil(world.app, theirs, "戴二二", "510107201212310029")

    assert lists.find_pupils(ours, PupilQuery(id_number="510107201212310029"), actor="t") == ()
    assert lists.find_pupils(ours, PupilQuery(name="戴二二"), actor="t") == ()
    assert lists.find_pupils(ours, PupilQuery(id_number="50010220090908123X"), actor="t") == ()
    (found,) = lists.find_pupils(ours, PupilQuery(id_number=ID_NUMBER), actor="t")
    assert found.listed.application.patron_id == pupil.patron_id

    entries = store.audit.search(action="pupils.searched")
    assert [entry.subject for entry in entries] == [child.patron_id, "", "", ""]
    assert [entry.detail.get("elsewhere", 0) for entry in entries] == [1, 0, 0, 0]
    exported = lists.export_pupils(ours, actor="t")
    assert [each.as_row()["name"] for each in exported] == ["张*"]
    for secret in (ID_NUMBER, "张小江", pupil.card):
        assert secret not in str(exported[0].as_row())
    assert "张小江" not in repr(exported[0])
    assert ID_NUMBER not in repr(exported[0])
    seen = {line.subject for line in lists.read_log(KOHA_A, school=ours)}
    assert pupil.patron_id in seen
    assert child.patron_id not in seen
    assert {line.subject for line in lists.read_log(KOHA_A)} >= {pupil.patron_id, child.patron_id}


def test_s35_who_changed_school_is_seen_by_the_new_one_alone(world: World, pupil: Pupil) -> None:
    lists, store = world.app.lists, world.app.store
    old, new = store.enrolment.find_school(KOHA_A, "s1"), add_school(world.app, "s2")
    assert old is not None
    today = world.clock().date()
    room = store.schools.ensure_class(old, 3, "2班", actor="t")
    store.schools.place_pupils(
        old, {pupil.patron_id: room.class_id}, school_year=2026, on=today, reason="", actor="t"
    )
    assert [each.class_name for each in lists.find_pupils(old, CLASS, actor="t")] == ["三年级2班"]
    store.schools.transfer_pupil(pupil.patron_id, new, None, school_year=2026, on=today, actor="t")
    for query in (CLASS, PupilQuery(id_number=ID_NUMBER), PupilQuery(name="张")):
        assert lists.find_pupils(old, query, actor="t") == ()
    assert len(lists.find_pupils(new, PupilQuery(id_number=ID_NUMBER), actor="t")) == 1
    assert lists.export_pupils(old, actor="t") == ()
    assert pupil.patron_id not in {line.subject for line in lists.read_log(KOHA_A, school=old)}
    assert [
        (each.school.code, each.counts["active"]) for each in world.app.figures.count(KOHA_A)
    ] == [("s2", 1)]
