"""The September promotion: who goes from which class to which, and who has finished the school.

Nothing here stores, and no pupil is a name. Rules (scenario 27, decision 19) —

- every pupil is in exactly one part of a plan: moved, leaving, with a problem, or there already;
- whoever is in a class of the new school year is there already, so that a second run moves nobody;
- without a map a class goes up a level and keeps its name; a map merges classes, renames them, or
  sends a class to its grade as a whole until a roster tells who goes where (a split);
- the last level of the school's stage leaves; nobody leaves earlier, and nobody skips a level.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from connector.domain.class_names import ClassName
from connector.domain.ids import PatronId
from connector.domain.school import LAST_LEVEL, SchoolStage, SchoolSystem, levels_of, stage_of

__all__ = [
    "LEAVES",
    "ClassLeaving",
    "ClassMove",
    "ClassProblem",
    "ClassTarget",
    "PlanProblem",
    "PromotionPlan",
    "Pupil",
    "find_target",
    "plan_promotion",
]


@dataclass(frozen=True, slots=True)
class Pupil:
    """A pupil in his class; ``school_year`` is the one that his place is for."""

    patron_id: PatronId
    place: ClassName
    school_year: int


class _Leaves:
    """The end of a class: its pupils have finished the school."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "LEAVES"


LEAVES = _Leaves()
"""Target of a class whose pupils leave the school."""

ClassTarget = ClassName | _Leaves


class PlanProblem(StrEnum):
    """Why the pupils of a class stay where they are."""

    EARLIER_YEAR = "earlier_year"
    """They are in a class of the year before last: promote the years in turn."""
    LEVEL_JUMP = "level_jump"
    """The map sends them neither up a level nor through the same one again."""
    LEAVES_EARLY = "leaves_early"
    """The map lets them leave before the last level."""
    NO_SUCH_LEVEL = "no_such_level"
    """The school has no such level."""
    DISABLED = "class_disabled"
    """The class or grade that they would go to is disabled."""


@dataclass(frozen=True, slots=True)
class ClassMove:
    """The pupils who go from one class to another; ``reason`` is ``promoted`` or ``merged``."""

    source: ClassName
    target: ClassName
    patrons: tuple[PatronId, ...]
    reason: str = "promoted"


@dataclass(frozen=True, slots=True)
class ClassLeaving:
    """The pupils of a class who have finished the school."""

    source: ClassName
    patrons: tuple[PatronId, ...]


@dataclass(frozen=True, slots=True)
class ClassProblem:
    """The pupils of a class for whom there is no place."""

    source: ClassName
    problem: PlanProblem
    patrons: tuple[PatronId, ...]


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """What a promotion to ``school_year`` would do; classes in order of level and name.

    Attributes:
        settled: how many pupils are in a class of the new year already.
    """

    school_year: int
    moves: tuple[ClassMove, ...] = ()
    leavings: tuple[ClassLeaving, ...] = ()
    problems: tuple[ClassProblem, ...] = ()
    settled: int = 0

    @property
    def moving(self) -> int:
        """How many pupils change their class."""
        return sum(len(move.patrons) for move in self.moves)

    @property
    def leaving(self) -> int:
        """How many pupils have finished the school."""
        return sum(len(leaving.patrons) for leaving in self.leavings)

    @property
    def unplaced(self) -> int:
        """How many pupils have a problem."""
        return sum(len(problem.patrons) for problem in self.problems)


def find_target(
    source: ClassName,
    class_map: Mapping[ClassName, ClassTarget],
    *,
    stage: SchoolStage | None,
    system: SchoolSystem,
    levels: Collection[int] = (),
) -> ClassTarget:
    """Return where a class goes: what the map says, else up a level under the same name, or out.

    Args:
        levels: which a school without a stage has; one with six years and nine goes on after the
            sixth, one with six alone does not.
    """
    if source in class_map:
        return class_map[source]
    above = source.level + 1
    is_last = source.level >= LAST_LEVEL or source.level >= levels_of(stage, system)[-1]
    if not is_last and stage is None:
        is_last = stage_of(above, system) is not stage_of(source.level, system) and (
            above not in levels
        )
    return LEAVES if is_last else ClassName(above, source.name)


def plan_promotion(
    pupils: Collection[Pupil],
    class_map: Mapping[ClassName, ClassTarget],
    *,
    school_year: int,
    stage: SchoolStage | None,
    system: SchoolSystem,
    levels: Collection[int] = (),
    disabled: Collection[ClassName] = (),
    disabled_levels: Collection[int] = (),
) -> PromotionPlan:
    """Plan the promotion of a school's pupils to a school year.

    Args:
        pupils: everybody who is in a class of the school now.
        class_map: where it says something else than one level up.
        levels: levels of which the school has grades.
        disabled, disabled_levels: classes and grades that take nobody.
    """
    moves: list[ClassMove] = []
    leavings: list[ClassLeaving] = []
    problems: list[ClassProblem] = []
    settled = 0
    for (place, year), group in groupby(sorted(pupils, key=_order), key=_place_and_year):
        patrons = tuple(pupil.patron_id for pupil in group)
        if year >= school_year:
            settled += len(patrons)
            continue
        target = find_target(place, class_map, stage=stage, system=system, levels=levels)
        problem = (
            PlanProblem.EARLIER_YEAR
            if year < school_year - 1
            else _check(place, target, stage=stage, system=system, levels=levels)
        )
        if isinstance(target, ClassName) and (
            target in disabled or target.level in disabled_levels
        ):
            problem = problem or PlanProblem.DISABLED
        if problem is not None:
            problems.append(ClassProblem(place, problem, patrons))
        elif isinstance(target, ClassName):
            moves.append(ClassMove(place, target, patrons))
        else:
            leavings.append(ClassLeaving(place, patrons))
    return PromotionPlan(
        school_year, _with_reasons(moves), tuple(leavings), tuple(problems), settled
    )


def _order(pupil: Pupil) -> tuple[int, int, str, int, PatronId]:
    name = pupil.place.name
    number = name.removesuffix("班")
    rank = int(number) if number.isascii() and number.isdigit() else 0
    return pupil.place.level, rank, name, pupil.school_year, pupil.patron_id


def _place_and_year(pupil: Pupil) -> tuple[ClassName, int]:
    return pupil.place, pupil.school_year


def _check(
    source: ClassName,
    target: ClassTarget,
    *,
    stage: SchoolStage | None,
    system: SchoolSystem,
    levels: Collection[int],
) -> PlanProblem | None:
    by_default = find_target(source, {}, stage=stage, system=system, levels=levels)
    if not isinstance(target, ClassName):
        return PlanProblem.LEAVES_EARLY if isinstance(by_default, ClassName) else None
    if target.level not in levels_of(stage, system):
        return PlanProblem.NO_SUCH_LEVEL
    if target.level not in {source.level, source.level + 1}:
        return PlanProblem.LEVEL_JUMP
    return None


def _with_reasons(moves: list[ClassMove]) -> tuple[ClassMove, ...]:
    """Say ``merged`` where several classes become one."""
    sources: dict[ClassName, int] = defaultdict(int)
    for move in moves:
        sources[move.target] += 1
    return tuple(
        ClassMove(
            move.source,
            move.target,
            move.patrons,
            "merged" if sources[move.target] > 1 else "promoted",
        )
        for move in moves
    )
