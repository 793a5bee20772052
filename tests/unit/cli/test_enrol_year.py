"""``onecard enrol``: promote, expire, transfer, move and campaign."""

import json
from datetime import UTC, date, datetime

import pytest

from connector.domain.enrolment import Route
from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState
from connector.domain.school import school_year_of
from connector.enrolment.workbook import read_cells
from connector.ports.enrolment import NewApplication
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind

LIB = InstitutionId("LIB")
YEAR = school_year_of(datetime.now(UTC).date())
PROMOTE = ("promote", "--school", "s1", "--year", str(YEAR))


@pytest.fixture
def enrol(installation, onecard):
    """Run ``onecard enrol``; JSON output is read. A school s1 is there."""

    def run(*arguments, code=0, **more):
        result = onecard("enrol", *arguments, **more)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    run("school", "add", "s1", "丰都一小", "--stage", "primary")
    return run


@pytest.fixture
def seat(application):
    """Enter pupils and put them into a class of last school year."""
    numbers = iter(range(1, 10_000))

    def seat(level, name, count=1, *, school="s1", state=StandingState.ACTIVE, expires=None):
        found = application.enrolment.find_school(LIB, school)
        store = application.store
        into = store.schools.ensure_class(found, level, name, actor="clerk")
        patrons = []
        for _ in range(count):
            card = f"S{next(numbers):08}"
            patron_id = store.people.add_person(
                PersonalData("丁一一"), [Identifier("card", card)], home=LIB, category="student"
            )
            store.enrolment.add_application(
                NewApplication(patron_id, LIB, found.school_id, Route.BATCH),
                actor="clerk",
                now=application.now(),
            )
            store.people.set_state(patron_id, state, expires=expires)
            patrons.append((patron_id, card))
        store.schools.place_pupils(
            found,
            {patron_id: into.class_id for patron_id, _ in patrons},
            school_year=YEAR - 1,
            on=date(YEAR - 1, 9, 1),
            reason="moved",
            actor="clerk",
        )
        return patrons

    return seat


def test_a_preview_changes_nothing_and_a_run_is_done_once(enrol, seat):
    seat(3, "1班", 2)
    seat(3, "2班")
    seat(6, "1班", 3)
    preview = enrol(*PROMOTE, "--dry-run", "--lang", "en", "--json")
    assert preview["classes"] == [
        {"from": "Grade 3 Class 1", "to": "Grade 4 Class 1", "pupils": 2, "outcome": "promoted"},
        {"from": "Grade 3 Class 2", "to": "Grade 4 Class 2", "pupils": 1, "outcome": "promoted"},
        {"from": "Grade 6 Class 1", "to": "-", "pupils": 3, "outcome": "left"},
    ]
    assert (preview["year"], preview["dry_run"]) == (YEAR, True)
    done = enrol(*PROMOTE, "--json")
    assert (done["moved"], done["left"], done["dropped"]) == (3, 3, 0)
    again = enrol(*PROMOTE, "--json")
    assert (again["moved"], again["left"], again["settled"]) == (0, 0, 3)
    rows = enrol("school", "classes", "s1", "--lang", "en", "--json")
    assert {row["class"]: row["pupils"] for row in rows if row["pupils"]} == {
        "Grade 4 Class 1": 2,
        "Grade 4 Class 2": 1,
    }


def test_a_template_is_changed_and_used(enrol, seat, tmp_path):
    seat(3, "1班", 2)
    seat(3, "2班")
    file = tmp_path / "map.xlsx"
    enrol(*PROMOTE, "--template", str(file), "--lang", "zh")
    assert [list(row) for row in read_cells(file)][1:] == [
        ["三年级1班", "四年级1班"],
        ["三年级2班", "四年级2班"],
    ]
    assert "exists" in enrol(*PROMOTE, "--template", str(file), code=1)
    changed = tmp_path / "map.csv"
    changed.write_text("from,to\n3(2),4(1)\n", encoding="utf-8")
    report = enrol(*PROMOTE, "--map", str(changed), "--json")
    assert [(row["to"], row["outcome"]) for row in report["classes"]] == [
        ("Grade 4 Class 1", "merged"),
        ("Grade 4 Class 1", "merged"),
    ]


@pytest.mark.parametrize(
    ("text", "lang", "said"),
    [
        ("from,to\n3(2),5(1)\n", "en", "only up a level"),
        ("from,to\n3(2),5(1)\n", "zh", "只能升一级"),
        ("from,to\n3(9),4(1)\n", "en", "map.csv (2): the school has no such class"),
        ("what\n", "zh", "找不到表头"),
    ],
)
def test_a_map_that_cannot_be_used_says_why(enrol, seat, tmp_path, text, lang, said):
    seat(3, "2班")
    file = tmp_path / "map.csv"
    file.write_text(text, encoding="utf-8")
    output = enrol(*PROMOTE, "--map", str(file), "--lang", lang, code=1)
    assert said in " ".join(output.split())


def test_a_year_too_far_ahead_is_refused(enrol, seat):
    seat(3, "2班")
    output = enrol(*PROMOTE[:-1], str(YEAR + 2), code=1)
    assert "too early" in output


def test_cards_whose_time_is_over_expire(enrol, seat, application):
    ((patron, _),) = seat(3, "2班", expires=date(2026, 1, 31))
    assert enrol("expire", "--dry-run", "--json")["expired"] == {"LIB": 1}
    assert enrol("expire", "--json")["expired"] == {"LIB": 1}
    assert enrol("expire", "--json")["expired"] == {"LIB": 0}
    standing = application.store.people.find_standing(patron, LIB)
    assert standing.state is StandingState.EXPIRED


def test_a_pupil_goes_to_another_school_and_class(enrol, seat, application):
    ((patron, card),) = seat(3, "2班")
    enrol("school", "add", "s2", "丰都二小", "--stage", "primary")
    assert enrol("transfer", card, "--to", "s2", "--json")["transferred"]
    assert "at this school already" in enrol("transfer", card, "--to", "s2")
    assert enrol("move", card, "--class", "4/1", "--json")["moved"]
    assert "there already" in enrol("move", "--class", "4/1", input=f"{card}\n")
    member = application.store.schools.find_memberships([patron])[patron]
    assert (member.school_class.level, member.school_class.name) == (4, "1班")
    assert "No enrolled patron" in enrol("move", "S99999999", "--class", "4/1", code=1)
    assert "is no class" in enrol("move", card, "--class", "九年级1班", code=1)


def test_a_task_of_two_schools_is_settled_by_the_transfer(enrol, seat, application):
    ((patron, _),) = seat(3, "2班")
    enrol("school", "add", "s2", "丰都二小", "--stage", "primary")
    application.store.tasks.open_task(
        LIB,
        TaskKind.TWO_SCHOOLS,
        about=patron,
        patron_id=patron,
        detail={"school": "s2", "batch": "2026-0001", "row": 2, "other_school": "s1"},
        actor="clerk",
    )
    (task,) = application.store.tasks.list_tasks(LIB)
    assert enrol("transfer", "--task", task.task_id[:8], "--json")["school"] == "s2"
    assert application.store.tasks.list_tasks(LIB) == ()
    assert "done already" in enrol("transfer", "--task", task.task_id[:8], code=1)
    assert "no such task" in enrol("transfer", "--task", "0000000000", code=1)
    enrol("transfer", code=2)


def test_who_has_finished_his_school_is_transferred_with_his_year(enrol, seat, application):
    graduates, (stays,) = seat(6, "1班", 2), seat(5, "1班")
    enrol("school", "add", "s2", "丰都二中", "--stage", "junior")
    enrol(*PROMOTE)
    for patron, _ in (*graduates, stays):
        application.store.tasks.open_task(
            LIB,
            TaskKind.TWO_SCHOOLS,
            about=patron,
            patron_id=patron,
            detail={"school": "s2"},
            actor="clerk",
        )
    assert enrol("transfer", "--finished", "--to", "s2", "--json")["transferred"] == 2
    assert enrol("transfer", "--finished", "--to", "s2", "--json")["transferred"] == 0
    (task,) = application.store.tasks.list_tasks(LIB)
    assert task.patron_id == stays[0]
    members = application.store.schools.find_memberships([patron for patron, _ in graduates])
    places = {
        (each.school_class.level, each.school_class.name, each.school_year)
        for each in members.values()
    }
    assert places == {(7, "", YEAR)}
    enrol("transfer", "--finished", code=2)


def test_a_campaign_is_added_and_followed(enrol, seat):
    added = ("campaign", "add", "2026", "--opens", "2026-09-01", "--closes", "2026-10-31")
    assert "Grade 1" in enrol(*added, "--grades", "1,初一,小班", "--lang", "en")
    assert "is no grade" in enrol(*added, "--grades", "1,what", code=1)
    (row,) = enrol("campaign", "list", "--lang", "zh", "--json")
    assert (row["year"], row["grades"]) == (2026, "小班、一年级、七年级")
    seat(1, "1班", 2)
    seat(3, "1班")
    shown = enrol("campaign", "show", "2026", "--json")
    assert shown["schools"] == [
        {"school": "s1", "name": "丰都一小", "pupils": 2, "applied": 2, "agreed": 0, "active": 0}
    ]
    assert "已授权" in enrol("campaign", "show", "2026", "--lang", "zh")
    assert "no campaign" in enrol("campaign", "show", "2031", code=1)
    enrol("campaign", "add", "x", "--opens", "2026-09-02", "--closes", "2026-09-01", code=1)
