"""A school year: promotion, leavers, and a pupil who goes to another school (scenarios 27 and 28)."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from stdnum.cn import ric

from connector.domain.class_names import ClassName
from connector.domain.enrolment import ApplicationState, ConsentScope, SchoolStage
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.domain.school import SchoolSystem
from connector.enrolment.class_map import read_class_map, write_class_map
from connector.errors import ConfigurationError, NotFound
from connector.ports.enrolment import RowOutcome, School
from connector.ports.schools import ClassMember
from connector.services.account_expiry import ExtensionReport
from connector.services.provisioning import ActivationOutcome
from connector.services.roster import ImportReport
from connector.testing.faults import Fault, FaultKind
from tests.support.pupils import enrol_pupil
from tests.support.world import World

HOME = InstitutionId("KOHA-A")
SEPTEMBER = date(2026, 9, 1)
NEXT = date(2027, 9, 1)


def id_number(serial: int, year: int = 2015) -> str:
    first17 = f"500230{year}0301{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")


def add_school(
    world: World,
    code: str = "s1",
    *,
    library: str = "KOHA-A",
    stage: SchoolStage = SchoolStage.PRIMARY,
    system: SchoolSystem = SchoolSystem.SIX_THREE,
) -> School:
    school = School("", InstitutionId(library), code, f"学校{code}", stage, system=system)
    return world.app.schools.save_school(school, actor="staff")


def seat(world: World, school: School, patrons: Sequence[PatronId], level: int, name: str) -> None:
    """Put pupils into a class of this school year."""
    schools = world.app.store.schools
    into = schools.ensure_class(school, level, name, actor="clerk")
    schools.place_pupils(
        school,
        dict.fromkeys(patrons, into.class_id),
        school_year=2026,
        on=SEPTEMBER,
        reason="moved",
        actor="clerk",
    )


def enrol(world: World, school: School, serials: range, level: int, name: str) -> list[PatronId]:
    """Enrol pupils with open cards in a class."""
    pupils = [
        enrol_pupil(
            world.app,
            school,
            "张小江",
            id_number(serial),
            open_card=False,
            phone=f"1380000{serial:04}",
        )
        for serial in serials
    ]
    seat(world, school, [pupil.patron_id for pupil in pupils], level, name)
    world.app.provisioning(school.institution).activate(
        [pupil.application for pupil in pupils], actor="staff"
    )
    return [pupil.patron_id for pupil in pupils]


def place_of(world: World, patron_id: PatronId) -> tuple[int, str, int]:
    member: ClassMember = world.app.store.schools.find_memberships([patron_id])[patron_id]
    return member.school_class.level, member.school_class.name, member.school_year


def expiry_of(world: World, patron_id: PatronId) -> date | None:
    standing = world.app.store.people.find_standing(patron_id, HOME)
    assert standing is not None
    return standing.expires


# --- scenario 27


def test_s27_a_merge_is_promoted_once_and_its_history_stays(world, tmp_path):
    school = add_school(world)
    first = enrol(world, school, range(1, 4), 3, "1班")
    second = enrol(world, school, range(4, 6), 3, "2班")
    sixth = enrol(world, school, range(6, 8), 6, "1班")
    world.clock.set_local("2027-09-05 10:00")
    year = world.app.school_year
    targets = dict(year.list_targets(school)) | {ClassName(3, "2班"): ClassName(4, "1班")}
    write_class_map(tmp_path / "map.xlsx", targets)
    class_map = read_class_map(
        tmp_path / "map.xlsx",
        stage=school.stage,
        system=school.system,
        school_year=2026,
        classes=year.list_class_names(school),
    )

    preview = year.plan(school, class_map, school_year=2027)
    assert (preview.moving, preview.leaving, preview.unplaced) == (5, 2, 0)
    assert place_of(world, second[0]) == (3, "2班", 2026)

    report = year.promote(school, class_map, school_year=2027, actor="staff")
    assert (report.moved, report.left, report.dropped) == (5, 2, 0)
    assert {place_of(world, patron) for patron in (*first, *second)} == {(4, "1班", 2027)}
    rows = world.rows("class_membership")

    again = year.promote(school, class_map, school_year=2027, actor="staff")
    assert (again.moved, again.left, again.expiries, again.plan.settled) == (0, 0, 0, 5)
    assert world.rows("class_membership") == rows

    old, new = world.app.store.schools.list_history(second[0])
    assert (old.since, old.until, old.reason) == (SEPTEMBER, date(2027, 8, 31), "merged")
    assert (new.since, new.until, new.school_year) == (NEXT, None, 2027)
    (last,) = world.app.store.schools.list_history(sixth[0])
    assert (last.until, last.reason) == (date(2027, 8, 31), "left")


def test_s27_a_promotion_that_broke_off_is_completed_by_the_next(world):
    school = add_school(world)
    patrons = [
        patron
        for level in (1, 2, 3)
        for patron in enrol(world, school, range(level * 10, level * 10 + 2), level, "1班")
    ]
    graduates = enrol(world, school, range(60, 62), 6, "1班")
    world.clock.set_local("2027-09-05 10:00")
    year = world.app.school_year

    def break_off(done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        year.promote(school, {}, school_year=2027, actor="staff", on_progress=break_off)
    assert [place_of(world, patron)[2] for patron in patrons].count(2026) == 2
    report = year.promote(school, {}, school_year=2027, actor="staff")
    assert (report.moved, report.left, report.plan.settled) == (2, 2, 4)
    assert [place_of(world, patron)[:2] for patron in patrons] == [
        (level, "1班") for level in (2, 2, 3, 3, 4, 4)
    ]
    assert world.app.store.schools.find_memberships(graduates) == {}


def test_s27_nobody_is_promoted_a_year_too_early(world):
    school = add_school(world)
    enrol(world, school, range(1, 2), 3, "1班")
    with pytest.raises(ConfigurationError, match="too early"):
        world.app.school_year.promote(school, {}, school_year=2027, actor="staff")
    assert world.app.school_year.next_year(school) == 2026
    world.clock.set_local("2027-07-20 10:00")
    assert world.app.school_year.next_year(school) == 2027


def test_s27_a_pupil_who_repeats_a_year_gets_a_later_last_day(world):
    school = add_school(world, stage=SchoolStage.JUNIOR, system=SchoolSystem.FIVE_FOUR)
    (patron,) = enrol(world, school, range(1, 2), 8, "1班")
    assert expiry_of(world, patron) == date(2028, 11, 29)
    world.clock.set_local("2027-09-05 10:00")
    class_map = {ClassName(8, "1班"): ClassName(8, "2班")}
    report = world.app.school_year.promote(school, class_map, school_year=2027, actor="staff")
    assert report.expiries == 1
    assert expiry_of(world, patron) == date(2029, 11, 29)
    ils = world.ils("KOHA-A")
    (account,) = ils.stock.patrons.values()
    name, pin, phone = account.name, account.pin, account.phone
    ils.fail("adopt_patron", Fault(FaultKind.NOT_SENT))
    assert world.app.account_expiry.extend(HOME) == ExtensionReport(failed=1)
    assert account.expires == date(2028, 11, 29)
    assert world.app.account_expiry.extend(HOME) == ExtensionReport(extended=1)
    assert world.app.account_expiry.extend(HOME) == ExtensionReport()
    assert (account.expires, account.name) == (date(2029, 11, 29), name)
    assert (account.pin, account.phone) == (pin, phone)
    world.clock.set_local("2029-01-10 10:00")
    world.add_items("KOHA-A", "B1")
    assert world.kiosk().checkout(account.card, "B1").fixed["ok"] == "1"


# --- scenario 28


def test_s28_a_graduate_keeps_his_card_until_the_days_of_grace_are_over(world):
    school = add_school(world)
    (patron,) = enrol(world, school, range(1, 2), 6, "1班")
    waiting = enrol_pupil(world.app, school, "张小河", id_number(2), open_card=False)
    seat(world, school, [waiting.patron_id], 6, "1班")
    card = world.app.store.enrolment.find_application(patron).card
    world.add_items("KOHA-A", "B1", "B2", "B3")
    world.clock.set_local("2027-09-05 10:00")
    report = world.app.school_year.promote(school, {}, school_year=2027, actor="staff")
    assert (report.left, report.dropped) == (2, 1)
    assert expiry_of(world, patron) == date(2027, 11, 29)
    application = world.app.store.enrolment.find_application(waiting.patron_id)
    assert application.state is ApplicationState.WITHDRAWN
    kiosk = world.kiosk()
    assert kiosk.checkout(card, "B1").fixed["ok"] == "1"

    world.clock.set_local("2027-11-29 12:00")
    assert world.app.school_year.expire_due(HOME, actor="worker") == 0
    assert kiosk.checkout(card, "B2").fixed["ok"] == "1"

    world.clock.set_local("2027-11-30 00:30")
    assert kiosk.checkout(card, "B3").fixed["ok"] == "0"
    assert world.app.school_year.expire_due(HOME, actor="worker", dry_run=True) == 1
    assert world.app.school_year.expire_due(HOME, actor="worker") == 1
    assert world.app.school_year.expire_due(HOME, actor="worker") == 0
    world.clock.set_local("2028-02-01 10:00")  # both are long overdue
    assert kiosk.checkout(card, "B3").fixed["ok"] == "0"
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.app.closing.sweep(HOME)
    assert [row["person_id"] for row in world.rows("ils_account")] == [patron]
    assert kiosk.checkin("B2").fixed["ok"] == "1"
    world.clock.advance(hours=7)
    world.app.closing.sweep(HOME)
    assert world.app.store.people.find_standing(patron, HOME).state is StandingState.EXPIRED
    assert world.rows("ils_account") == []


# --- transfer


def test_a_transfer_keeps_the_card_and_hides_the_pupil_from_the_old_school(world):
    old, new = add_school(world, "s1"), add_school(world, "s2")
    (patron,) = enrol(world, old, range(1, 2), 3, "2班")
    card = world.app.store.enrolment.find_application(patron).card
    world.add_items("KOHA-A", "B1", "B2")
    kiosk = world.kiosk()
    kiosk.checkout(card, "B1")

    assert world.app.transfers.transfer_pupil(patron, new, actor="staff")
    assert not world.app.transfers.transfer_pupil(patron, new, actor="staff")

    store = world.app.store
    assert place_of(world, patron) == (3, "", 2026)
    assert store.schools.list_members(old.school_id) == ()
    assert store.enrolment.list_applications(HOME, school_id=old.school_id) == ()
    (application,) = store.enrolment.list_applications(HOME, school_id=new.school_id)
    assert (application.state, application.card) == (ApplicationState.ACTIVE, card)
    assert kiosk.checkout(card, "B2").fixed["ok"] == "1"
    with pytest.raises(NotFound):
        world.app.transfers.move_pupil(patron, old, ClassName(3, "1班"), actor="staff")
    assert world.app.transfers.move_pupil(patron, new, ClassName(3, "1班"), actor="staff")
    assert place_of(world, patron) == (3, "1班", 2026)


def test_a_school_of_another_library_is_no_transfer(world):
    old = add_school(world, "s1")
    abroad = add_school(world, "s9", library="FOLIO-B")
    (patron,) = enrol(world, old, range(1, 2), 3, "2班")
    with pytest.raises(ConfigurationError, match="another library"):
        world.app.transfers.transfer_pupil(patron, abroad, actor="staff")
    assert place_of(world, patron) == (3, "2班", 2026)


# --- after the promotion


def import_roster(
    world: World, school: School, file: Path, rows: Sequence[tuple[int, str]], **options: Any
) -> ImportReport:
    """Import a roster of pupils: serial number and class."""
    lines = ["身份证号*,姓名*,联系电话*,家长姓名,家长电话,班级,区县*"]
    lines += [
        f"{id_number(serial)},张小江,1380000{serial:04},,,{name},丰都" for serial, name in rows
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return world.app.enrolment.import_roster(file, school, actor="clerk", **options)


def test_s27_a_summer_import_after_the_promotion_moves_nobody_back(world, tmp_path):
    school = add_school(world)
    import_roster(world, school, tmp_path / "old.csv", [(1, "三年级1班"), (2, "三年级1班")])
    stays, comes = (
        world.app.store.people.find_person([Identifier("id_card", id_number(serial))])
        for serial in (1, 2)
    )
    world.clock.set_local("2027-08-25 10:00")
    world.app.school_year.promote(school, {}, school_year=2027, actor="staff")
    rows = [(1, "四年级1班"), (2, "四年级2班"), (9, "四年级1班")]
    report = import_roster(world, school, tmp_path / "new.csv", rows)
    assert report.counts[RowOutcome.CREATED] == 1
    assert place_of(world, stays) == (4, "1班", 2027)
    assert place_of(world, comes) == (4, "2班", 2027)
    places = [
        (member.school_class.level, member.school_year)
        for member in world.app.store.schools.list_members(school.school_id)
    ]
    assert places == [(4, 2027)] * 3
    again = world.app.school_year.promote(school, {}, school_year=2027, actor="staff")
    assert again.moved == 0


def test_s26_graduates_are_not_missing_in_the_next_roster(world, tmp_path):
    school = add_school(world)
    enrol(world, school, range(1, 4), 3, "1班")
    (graduate,) = enrol(world, school, range(6, 7), 6, "1班")
    world.clock.set_local("2027-09-05 10:00")
    world.app.school_year.promote(school, {}, school_year=2027, actor="staff")
    rows = [(serial, "四年级1班") for serial in range(1, 4)]
    report = import_roster(world, school, tmp_path / "new.csv", rows, complete=True)
    assert report.batch.missing == 0
    assert world.app.store.people.find_standing(graduate, HOME).state is StandingState.ACTIVE


def test_s28_the_new_school_links_the_same_person_and_he_keeps_his_number(world, tmp_path):
    old = add_school(world)
    abroad = add_school(world, "s9", library="FOLIO-B", stage=SchoolStage.JUNIOR)
    (patron,) = enrol(world, old, range(1, 2), 6, "1班")
    card = world.app.store.enrolment.find_application(patron).card
    world.add_items("KOHA-A", "B1")
    world.add_items("FOLIO-B", "F1")
    world.kiosk().checkout(card, "B1")
    world.clock.set_local("2027-09-05 10:00")
    world.app.school_year.promote(old, {}, school_year=2027, actor="staff")
    early = import_roster(world, abroad, tmp_path / "early.csv", [(1, "七年级1班")])
    assert early.counts[RowOutcome.DUPLICATE] == 1

    world.clock.set_local("2027-11-30 10:00")
    world.app.school_year.expire_due(HOME, actor="worker")
    assert world.kiosk().checkin("B1").fixed["ok"] == "1"
    world.app.closing.sweep(HOME)
    assert world.rows("ils_account") == []

    report = import_roster(world, abroad, tmp_path / "late.csv", [(1, "七年级1班")], force=True)
    assert report.counts[RowOutcome.CREATED] == 1
    applications = world.app.enrolment.list_applications(report.batch)
    assert [application.patron_id for application in applications] == [patron]
    assert world.app.enrolment.review(applications, actor="teacher").done == 1
    applications = world.app.enrolment.list_applications(report.batch)
    assert world.app.enrolment.approve(applications, actor="staff").done == 1
    applications = world.app.enrolment.list_applications(report.batch)
    world.app.store.enrolment.record_consent(
        patron,
        abroad.institution,
        ConsentScope.CARD,
        text_version="2026-09",
        given=True,
        evidence="folder 8",
        actor="staff",
        now=world.clock(),
    )
    (opened,) = world.app.provisioning(abroad.institution).activate(applications, actor="staff")
    assert (opened.outcome, opened.card) == (ActivationOutcome.ACTIVATED, card)
    assert world.kiosk("FOLIO-B").checkout(card, "F1").fixed["ok"] == "1"
    first, second = world.app.store.schools.list_history(patron)
    assert (first.school_id, first.reason) == (old.school_id, "left")
    assert (second.school_id, second.until) == (abroad.school_id, None)
