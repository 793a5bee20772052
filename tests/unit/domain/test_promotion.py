"""Who goes where in September: nobody is lost, nobody doubled, and the second run is empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.class_names import ClassName
from connector.domain.promotion import LEAVES, PlanProblem, Pupil, find_target, plan_promotion
from connector.domain.school import SchoolStage, SchoolSystem

PRIMARY, JUNIOR = SchoolStage.PRIMARY, SchoolStage.JUNIOR
SIX, FIVE = SchoolSystem.SIX_THREE, SchoolSystem.FIVE_FOUR


def pupils(level, name, *patrons, year=2026):
    return [Pupil(patron, ClassName(level, name), year) for patron in patrons]


def plan(people, class_map=None, *, stage=PRIMARY, system=SIX, **more):
    return plan_promotion(
        people, class_map or {}, school_year=2027, stage=stage, system=system, **more
    )


@pytest.mark.parametrize(
    ("stage", "system", "level", "levels", "target"),
    [
        (PRIMARY, SIX, 3, (), 4),
        (PRIMARY, SIX, 5, (), 6),
        (PRIMARY, SIX, 6, (), None),
        (PRIMARY, FIVE, 5, (), None),
        (JUNIOR, FIVE, 6, (), 7),
        (JUNIOR, SIX, 9, (), None),
        (SchoolStage.KINDERGARTEN, SIX, -2, (), -1),
        (SchoolStage.KINDERGARTEN, SIX, 0, (), None),
        (SchoolStage.SENIOR, SIX, 12, (), None),
        (None, SIX, 12, (), None),
        (None, SIX, 5, (), 6),
        (None, SIX, 6, (5, 6), None),
        (None, SIX, 6, (6, 7), 7),
        (None, FIVE, 5, (5, 6), 6),
    ],
)
def test_a_class_goes_up_or_out(stage, system, level, levels, target):
    found = find_target(ClassName(level, "2班"), {}, stage=stage, system=system, levels=levels)
    assert found == (LEAVES if target is None else ClassName(target, "2班"))


def test_two_classes_become_one():
    people = pupils(3, "1班", "a", "b") + pupils(3, "2班", "c") + pupils(4, "1班", "d")
    found = plan(people, {ClassName(3, "2班"): ClassName(4, "1班")})
    assert [(move.source.name, move.target, move.reason) for move in found.moves] == [
        ("1班", ClassName(4, "1班"), "merged"),
        ("2班", ClassName(4, "1班"), "merged"),
        ("1班", ClassName(5, "1班"), "promoted"),
    ]
    assert (found.moving, found.leaving, found.unplaced, found.settled) == (4, 0, 0, 0)


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        (ClassName(3, "2班"), ClassName(5, "2班"), PlanProblem.LEVEL_JUMP),
        (ClassName(3, "2班"), ClassName(2, "2班"), PlanProblem.LEVEL_JUMP),
        (ClassName(6, "2班"), ClassName(7, "2班"), PlanProblem.NO_SUCH_LEVEL),
        (ClassName(3, "2班"), LEAVES, PlanProblem.LEAVES_EARLY),
        (ClassName(3, "2班"), ClassName(4, "9班"), PlanProblem.DISABLED),
        (ClassName(3, "2班"), ClassName(3, "2班"), None),
        (ClassName(6, "2班"), LEAVES, None),
        (ClassName(3, "2班"), ClassName(4, ""), None),
    ],
)
def test_a_map_cannot_say_anything(source, target, problem):
    found = plan(
        [Pupil("a", source, 2026)], {source: target}, disabled=frozenset({ClassName(4, "9班")})
    )
    assert [each.problem for each in found.problems] == ([problem] if problem else [])
    assert found.moving + found.leaving == (0 if problem else 1)


def test_years_are_promoted_in_turn():
    found = plan(pupils(3, "2班", "a", year=2025) + pupils(3, "2班", "b"))
    assert [(each.problem, each.patrons) for each in found.problems] == [
        (PlanProblem.EARLIER_YEAR, ("a",))
    ]
    assert [move.patrons for move in found.moves] == [("b",)]


PLACES = st.builds(ClassName, st.integers(-2, 12), st.sampled_from(["", "1班", "2班", "实验班"]))


@given(
    people=st.lists(
        st.builds(Pupil, st.uuids().map(str), PLACES, st.integers(2025, 2028)),
        unique_by=lambda pupil: pupil.patron_id,
        max_size=30,
    ),
    class_map=st.dictionaries(PLACES, PLACES | st.just(LEAVES), max_size=6),
    stage=st.sampled_from([None, *SchoolStage]),
    system=st.sampled_from(SchoolSystem),
    disabled=st.frozensets(PLACES, max_size=3),
)
def test_nobody_is_lost_and_a_second_run_moves_nobody(people, class_map, stage, system, disabled):
    levels = {pupil.place.level for pupil in people}
    more = {"stage": stage, "system": system, "levels": levels, "disabled": disabled}
    found = plan(people, class_map, **more)
    named = [
        patron
        for part in (*found.moves, *found.leavings, *found.problems)
        for patron in part.patrons
    ]
    settled = {pupil.patron_id for pupil in people if pupil.school_year >= 2027}
    assert len(named) == len(set(named))
    assert set(named) | settled == {pupil.patron_id for pupil in people}
    assert set(named).isdisjoint(settled)
    assert found.settled == len(settled)
    moved = {patron: move.target for move in found.moves for patron in move.patrons}
    left = {patron for leaving in found.leavings for patron in leaving.patrons}
    before = {pupil.patron_id: pupil.place.level for pupil in people}
    assert all(0 <= target.level - before[patron] <= 1 for patron, target in moved.items())
    after = [
        Pupil(pupil.patron_id, moved[pupil.patron_id], 2027) if pupil.patron_id in moved else pupil
        for pupil in people
        if pupil.patron_id not in left
    ]
    again = plan(after, class_map, **more)
    assert not again.moves
    assert not again.leavings
    assert again.unplaced == found.unplaced
