"""Importing rosters: what becomes of each row (A41, A49, scenarios 1-5)."""

from datetime import datetime

import pytest

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ApplicationState, ConsentScope, SchoolStage
from connector.domain.ids import Identifier
from connector.errors import ConfigurationError
from connector.ports.enrolment import RowOutcome


def find(world, serial, helpers):
    return world.store.people.find_person([Identifier("id_card", helpers.id_number(serial))])


def test_rows_become_applications(world, helpers):
    report = world.load([helpers.pupil(1), helpers.pupil(2)])
    assert helpers.outcomes(report) == {"created": 2}
    assert not report.problems
    first, second = world.applications(report)
    assert (first.state, first.batch_row, first.class_name) == (
        ApplicationState.ENTERED,
        2,
        "三年级2班",
    )
    assert second.patron_id != first.patron_id
    assert find(world, 1, helpers) == first.patron_id
    assert world.store.people.fetch_personal(first.patron_id).guardian_phone == "13900000001"
    assert report.batch.counts[RowOutcome.CREATED] == 2


def test_dry_run_says_the_same_and_writes_nothing(world, helpers):
    rows = [
        helpers.pupil(1),
        helpers.pupil(1),
        helpers.pupil(2, phone="12"),
        helpers.pupil(3, phone="", parent_phone=""),
    ]
    school = world.school()
    trial = world.load(rows, school, dry_run=True)
    assert trial.batch is None
    assert find(world, 1, helpers) is None
    assert not world.enrolment.list_progress(world.library)
    real = world.load(rows, school)
    assert (trial.counts, trial.problems) == (real.counts, real.problems)
    assert helpers.outcomes(real) == {
        "created": 1,
        "duplicate": 1,
        "invalid": 1,
        "needs_guardian": 1,
    }


def test_the_same_file_again_changes_nothing(world, helpers):
    rows = [helpers.pupil(1), helpers.pupil(2)]
    first = world.load(rows)
    again = world.load(rows)
    assert helpers.outcomes(again) == {"unchanged": 2}
    assert again.repeated
    assert again.batch.number == first.batch.number
    assert len(world.applications(first)) == 2
    assert len(world.enrolment.list_progress(world.library)) == 1


def test_the_same_file_again_brings_back_who_was_removed(world, helpers):
    """What was imported before makes a new batch only when there is something to change."""
    rows = [helpers.pupil(1), helpers.pupil(2)]
    first = world.load(rows)
    gone, _ = world.applications(first)
    world.store.enrolment.erase_applicant(gone.patron_id, actor="x", now=world.time[0])
    again = world.load(rows)
    assert helpers.outcomes(again) == {"created": 1, "unchanged": 1}
    assert not again.repeated
    assert (again.batch.number, again.batch.taken_rows) == ("2026-0002", 2)
    assert helpers.outcomes(world.load(rows)) == {"unchanged": 2}


def test_the_same_file_is_imported_anew_when_asked(world, helpers):
    rows = [helpers.pupil(1)]
    world.load(rows)
    path = world.sheet(rows)
    report = world.enrolment.import_roster(path, world.school(), actor="clerk", force=True)
    assert (report.batch.number, report.repeated) == ("2026-0002", False)


def test_a_change_before_approval_is_taken(world, helpers):
    report = world.load([helpers.pupil(1)])
    changed = world.load([helpers.pupil(1, phone="13811112222", **{"class": "四年级1班"})])
    assert helpers.outcomes(changed) == {"updated": 1}
    (application,) = world.applications(report)
    assert application.class_name == "四年级1班"
    assert world.store.people.fetch_personal(application.patron_id).phone == "13811112222"


def test_an_empty_cell_empties_nothing(world, helpers):
    report = world.load([helpers.pupil(1)])
    again = world.load([helpers.pupil(1, phone="", parent="", **{"class": ""})])
    assert helpers.outcomes(again) == {"unchanged": 1}
    (application,) = world.applications(report)
    assert world.store.people.fetch_personal(application.patron_id).phone == "13800000001"


def test_a_change_after_approval_is_held(world, helpers):
    world.approved([helpers.pupil(1)])
    report = world.load([helpers.pupil(1, phone="13811112222")])
    assert helpers.outcomes(report) == {"held": 1}
    assert helpers.codes(report) == [(2, "id_number", "change_after_approval")]


def test_same_child_at_two_schools(world, helpers):
    """Scenario 1: one person, whatever way the number is written; the library is told."""
    child = helpers.pupil(23)
    number = "50010220090908123X"
    child[0] = number
    junior = world.school("j1", SchoolStage.JUNIOR)
    other = world.school("j2", SchoolStage.JUNIOR)
    world.load([child], junior)
    for written in ("50010220090908123x", "5００10220090908123X "):
        report = world.load([[written, *child[1:]]], other)
        assert helpers.outcomes(report) == {"duplicate": 1}
        assert helpers.codes(report) == [(2, "id_number", "at_other_school")]
    patron = world.store.people.find_person([Identifier("id_card", number)])
    assert world.store.enrolment.find_application(patron).school_id == junior.school_id
    told = [entry for entry in _audit(world) if entry[0] == "enrolment.two_schools"]
    assert [subject for _, subject in told] == [patron, patron]


def test_bad_numbers_are_reported_and_the_rest_goes_on(world, helpers):
    """Scenario 2."""
    wrong = helpers.id_number(1)[:-1] + ("0" if helpers.id_number(1)[-1] != "0" else "1")
    rows = [
        helpers.pupil(1, id=wrong),
        helpers.pupil(2, id=helpers.id_number(2, birth="20310101")),
        helpers.pupil(3, id="5.00230E+17"),
        helpers.pupil(4),
    ]
    report = world.load(rows)
    assert helpers.outcomes(report) == {"created": 1, "invalid": 3}
    assert helpers.codes(report) == [
        (2, "id_number", "id_check_digit"),
        (3, "id_number", "id_birth_future"),
        (4, "id_number", "id_digits_lost"),
    ]
    assert report.roster.cell_of(4, "id_number") == "A4"
    assert wrong not in repr(report)


def test_another_name_under_the_same_number_is_a_conflict(world, helpers):
    world.load([helpers.pupil(1)])
    report = world.load([helpers.pupil(1, name="钱多多")])
    assert helpers.codes(report) == [(2, "name", "name_differs")]
    assert helpers.outcomes(report) == {"conflict": 1}


def test_kindergarten(world, helpers):
    """Scenario 3."""
    young = world.school("k1", SchoolStage.KINDERGARTEN)
    number = helpers.id_number(1, birth="20220301")
    rows = [
        helpers.pupil(1, id=number, phone=""),
        helpers.pupil(2, id=helpers.id_number(2, birth="20220302"), phone="", parent_phone=""),
    ]
    report = world.load(rows, young)
    assert helpers.outcomes(report) == {"created": 1, "needs_guardian": 1}
    assert helpers.codes(report) == [(3, "phone", "needs_guardian")]
    known = world.store.people.fetch_personal(world.applications(report)[0].patron_id)
    assert (known.phone, known.guardian_phone) == ("", "13900000001")


NUMBERLESS = ["学籍号", "身份证号", "姓名", "联系电话"]


def test_a_child_without_number_gets_one_later(world, helpers):
    """Scenario 4: the temporary student number and the identity number are joined."""
    temporary = "L500230201503019999"
    first = world.load([[temporary, "", "丁一一", "13800000001"]], headers=NUMBERLESS)
    assert helpers.outcomes(first) == {"created": 1}
    number = helpers.id_number(1)
    spring = world.load([["G" + number, number, "丁一一", "13800000001"]], headers=NUMBERLESS)
    assert helpers.outcomes(spring) == {"updated": 1}
    (application,) = world.applications(first)
    for identifier in (
        Identifier("student_no", temporary),
        Identifier("student_no", "G" + number),
        Identifier("id_card", number),
    ):
        assert world.store.people.find_person([identifier]) == application.patron_id
    assert world.store.people.fetch_personal(application.patron_id).id_number == number


def test_twins_of_one_name_are_not_guessed(world, helpers):
    twins = [[f"L50023020150301999{n}", "", "丁一一", "13800000001"] for n in (1, 2)]
    world.load(twins, headers=NUMBERLESS)
    report = world.load([["", helpers.id_number(1), "丁一一", "13800000001"]], headers=NUMBERLESS)
    assert helpers.outcomes(report) == {"held": 1}
    assert helpers.codes(report) == [(2, "id_number", "ambiguous_match")]


def test_two_numbers_of_two_people(world, helpers):
    world.load([helpers.pupil(1)])
    world.load([["L500230201503019999", "", "孙三三", "13800000001"]], headers=NUMBERLESS)
    report = world.load(
        [["L500230201503019999", helpers.id_number(1), "丁一一", "13800000001"]], headers=NUMBERLESS
    )
    assert helpers.outcomes(report) == {"conflict": 1}
    assert [code for _, _, code in helpers.codes(report)] == ["identifiers_differ"]


def test_who_refused_is_not_asked_again(world, helpers):
    """Scenario 5."""
    report = world.load([helpers.pupil(1)])
    world.consents.refuse(world.applications(report), actor="teacher")
    assert find(world, 1, helpers) is None
    again = world.load([helpers.pupil(1)])
    assert helpers.outcomes(again) == {"held": 1}
    assert helpers.codes(again) == [(2, "id_number", "refused_before")]
    assert find(world, 1, helpers) is None


def test_who_withdrew_and_was_erased_is_not_asked_again(world, helpers):
    applications = world.approved([helpers.pupil(1)])
    world.activate(applications)
    world.consents.withdraw(
        [world.store.enrolment.fetch_application(applications[0].application_id)],
        ConsentScope.CARD,
        actor="librarian",
    )
    report = world.load([helpers.pupil(1)])
    assert helpers.codes(report) == [(2, "id_number", "refused_before")]
    assert helpers.outcomes(report) == {"held": 1}


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [(ClosingReason.LEFT, "created"), (ClosingReason.CONSENT_WITHDRAWN, "held")],
)
def test_who_left_may_come_back_and_who_withdrew_may_not(world, helpers, reason, outcome):
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    world.enrolment.closer.begin(application.patron_id, reason, actor="x")
    other = world.school("s2")
    report = world.load([helpers.pupil(1)], other)
    assert helpers.outcomes(report) == {outcome: 1}
    if outcome == "held":
        assert helpers.codes(report) == [(2, "id_number", "withdrawn_before")]
        return
    (again,) = world.applications(report)
    assert again.patron_id == application.patron_id
    assert (again.school_id, again.state) == (other.school_id, ApplicationState.ENTERED)


def test_what_broke_off_left_nothing_and_is_finished_next_time(world, helpers, monkeypatch):
    """A piece of rows is written whole or not at all; the batch goes on under its number."""
    school = world.school()
    rows = [helpers.pupil(1), helpers.pupil(2)]

    class Broken(Exception):
        pass

    def crash(*args, **more):
        raise Broken

    where = "connector.storage.repositories.rosters.enter_application"
    with monkeypatch.context() as patched:
        patched.setattr(where, crash)
        with pytest.raises(Broken):
            world.load(rows, school)
    assert find(world, 1, helpers) is None
    report = world.load(rows, school)
    assert helpers.outcomes(report) == {"created": 2}
    assert (report.batch.number, report.batch.state) == ("2026-0001", "imported")
    assert len(world.applications(report)) == 2


def test_an_import_that_was_killed_goes_on_where_it_was(world, helpers, monkeypatch):
    """Counts and problems of both runs add up to those of the whole file."""
    monkeypatch.setattr("connector.services.roster_run._PIECE", 2)
    school = world.school()
    rows = [helpers.pupil(n) for n in range(5)]
    rows += [helpers.pupil(0), helpers.pupil(5, phone="12"), helpers.pupil(6)]
    take, calls = world.store.rosters.take_rows, []

    class Killed(Exception):
        pass

    def once(*args, **more):
        calls.append(1)
        if len(calls) > 2:
            raise Killed
        return take(*args, **more)

    monkeypatch.setattr(world.store.rosters, "take_rows", once)
    with pytest.raises(Killed):
        world.load(rows, school)
    monkeypatch.setattr(world.store.rosters, "take_rows", take)
    (waiting,) = world.store.enrolment.list_batches(world.library)
    assert (waiting.state, waiting.taken_rows, waiting.rows) == ("importing", 4, 8)
    report = world.load(rows, school)
    assert helpers.outcomes(report) == {"created": 6, "duplicate": 1, "invalid": 1}
    assert helpers.codes(report) == [
        (7, "id_number", "twice_in_file"),
        (8, "phone", "phone_format"),
    ]
    assert report.batch.number == waiting.number
    assert report.batch.problems == report.problems
    assert len(world.applications(report)) == 6


def test_two_imports_of_one_file_at_once(world, helpers, monkeypatch):
    """The one that is behind is refused; the other goes on."""
    school, rows = world.school(), [helpers.pupil(1)]
    take = world.store.rosters.take_rows

    def other_first(*args, **more):
        monkeypatch.setattr(world.store.rosters, "take_rows", take)
        assert helpers.outcomes(world.load(rows, school)) == {"created": 1}
        return take(*args, **more)

    monkeypatch.setattr(world.store.rosters, "take_rows", other_first)
    with pytest.raises(ConfigurationError, match="Another import"):
        world.load(rows, school)
    (batch,) = world.store.enrolment.list_batches(world.library)
    assert (batch.state, batch.counts[RowOutcome.CREATED]) == ("imported", 1)


def test_progress_is_told_row_by_row(world, helpers):
    seen = []
    path = world.sheet([helpers.pupil(n) for n in range(3)])
    world.enrolment.import_roster(
        path, world.school(), actor="clerk", on_row=lambda done, rows: seen.append((done, rows))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_plugin_can_refuse_a_row(world, helpers):
    from dataclasses import replace

    def check(school, record):
        return ["not_on_our_roll"] if record.name == "戴二二" and school.code == "s1" else []

    world.enrolment = replace(world.enrolment, checks=(check,))
    report = world.load([helpers.pupil(1), helpers.pupil(0), helpers.pupil(2)])
    assert helpers.outcomes(report) == {"created": 2, "invalid": 1}
    assert [code for _, _, code in helpers.codes(report)] == ["not_on_our_roll"]


@pytest.mark.parametrize("more", [{"entry_mode": "individual"}, {"disabled": True}])
def test_a_school_that_does_not_enter_by_roster(world, helpers, more):
    with pytest.raises(ConfigurationError, match="does not enter pupils by roster"):
        world.load([helpers.pupil(1)], world.school(**more))


def test_twelve_kinds_of_bad_rows(world, helpers):
    good = helpers.id_number(1)
    rows = [
        helpers.pupil(1),
        helpers.pupil(2, id=""),
        helpers.pupil(3, id="5.00230E+17"),
        helpers.pupil(4, id=float(helpers.id_number(5))),
        helpers.pupil(5, id="500230150301001"),
        helpers.pupil(
            6, id=helpers.id_number(6)[:-1] + ("1" if helpers.id_number(6)[-1] != "1" else "2")
        ),
        helpers.pupil(7, id=helpers.id_number(7, birth="20310101")),
        helpers.pupil(8, id=helpers.id_number(8, birth="20150230")),
        helpers.pupil(9, id=helpers.id_number(9, area="000230")),
        helpers.pupil(10, id="50023020150301O10X"),
        helpers.pupil(11, id=helpers.id_number(11)[:-2]),
        helpers.pupil(12, id=helpers.id_number(12, birth="19800101")),
        helpers.pupil(13, name=""),
        helpers.pupil(14, name="丁14"),
        helpers.pupil(15, phone="12345"),
        helpers.pupil(16, phone="", parent_phone=""),
        helpers.pupil(17, district="渝中"),
        helpers.pupil(18, district=""),
        helpers.pupil(19, id=f"'{good[:6]} {good[6:14]} {good[14:]}"),
    ]
    report = world.load(rows, title="丰都县某某小学学生名册")
    assert helpers.outcomes(report) == {
        "created": 1,
        "invalid": 16,
        "needs_guardian": 1,
        "duplicate": 1,
    }
    assert helpers.codes(report) == [
        (4, "id_number", "id_missing"),
        (5, "id_number", "id_digits_lost"),
        (6, "id_number", "id_digits_lost"),
        (7, "id_number", "id_legacy_15"),
        (8, "id_number", "id_check_digit"),
        (9, "id_number", "id_birth_future"),
        (10, "id_number", "id_birth_date"),
        (11, "id_number", "id_area"),
        (12, "id_number", "id_characters"),
        (13, "id_number", "id_length"),
        (14, "id_number", "id_of_adult"),
        (15, "name", "name_missing"),
        (16, "name", "name_characters"),
        (17, "phone", "phone_format"),
        (18, "phone", "needs_guardian"),
        (19, "district", "district_unknown"),
        (20, "district", "district_missing"),
        (21, "id_number", "twice_in_file"),
    ]


def test_nothing_that_names_a_pupil_reaches_the_database_in_clear(world, helpers):
    world.load([helpers.pupil(1), helpers.pupil(2, phone="12345")])
    world.store.close()
    content = b"".join(path.read_bytes() for path in world.folder.glob("onecard.db*"))
    for marker in (
        "戴二二",
        "家长二",
        helpers.id_number(1),
        "13800000001",
        "13900000001",
        "12345678",
    ):
        assert marker.encode() not in content
    assert b"phone_format" in content


def test_batches_count_by_year(world, helpers):
    numbers = [world.load([helpers.pupil(n)]).batch.number for n in (1, 2)]
    world.time[0] = datetime(2027, 3, 1, tzinfo=world.time[0].tzinfo)
    numbers.append(world.load([helpers.pupil(3)]).batch.number)
    assert numbers == ["2026-0001", "2026-0002", "2027-0001"]


def test_two_schools_in_the_same_moment(world, helpers):
    """Scenario 1 as a race: the other school's row is committed between our look and our write."""
    ours, theirs = world.school("s1"), world.school("s2")
    take_rows, rows = world.store.rosters.take_rows, [helpers.pupil(1)]

    def other_first(*args, **more):
        world.store.rosters.take_rows = take_rows
        world.load(rows, theirs, name="theirs.xlsx")
        return take_rows(*args, **more)

    world.store.rosters.take_rows = other_first
    report = world.load(rows, ours)
    assert helpers.outcomes(report) == {"duplicate": 1}
    assert [code for _, _, code in helpers.codes(report)] == ["at_other_school"]


def test_who_was_erased_meanwhile_does_not_break_an_import(world, helpers):
    temporary = ["L500230201503019999", "", "丁一一", "13800000001"]
    first = world.load([temporary], headers=NUMBERLESS)
    world.consents.refuse(world.applications(first), actor="teacher")
    applications = world.approved([helpers.pupil(1)])
    world.activate(applications)
    current = world.store.enrolment.fetch_application(applications[0].application_id)
    world.consents.withdraw([current], ConsentScope.CARD, actor="librarian")
    assert helpers.outcomes(world.load([helpers.pupil(2)])) == {"created": 1}


def _audit(world):
    with world.store.database.read() as connection:
        return list(connection.exec_driver_sql("SELECT action, subject FROM audit ORDER BY at"))
