"""The school year: promotion, leavers and expiry.

Nothing here asks an ILS, or moves single pupils; ``transfers`` does. Rules (decision 19, scenarios
27 and 28) —

- a promotion is planned anew when it is run, and whoever is in the new year already is left alone:
  a second run moves nobody, one that was killed is completed by the next;
- who has finished the school keeps his card until the end of his stage and the days of grace; the
  expiry sweep closes it then; an applicant whose card was never opened is closed at once;
- whose level changes gets the last day that follows from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from connector.domain.class_names import ClassName
from connector.domain.closing import ClosingReason
from connector.domain.ids import InstitutionId, PatronId
from connector.domain.library import Library
from connector.domain.patron import StandingState
from connector.domain.promotion import (
    ClassLeaving,
    ClassTarget,
    PromotionPlan,
    Pupil,
    find_target,
    plan_promotion,
)
from connector.domain.school import last_day_of_stage
from connector.errors import ConfigurationError, NotFound
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import EnrolmentStore, School
from connector.ports.schools import SchoolStore
from connector.ports.store import PatronRegister
from connector.services.school_days import (
    find_first_day,
    find_last_day,
    find_school_year,
)

__all__ = ["ClosesCards", "PromotionReport", "SchoolYearService"]

_log = get_logger(__name__)

_EARLIEST = timedelta(days=62)
"""How long before its first day a school year can be promoted to: during the summer before."""


class ClosesCards(Protocol):
    """What closes a card; ``connector.services.closing`` does."""

    def begin(self, patron_id: PatronId, reason: ClosingReason, *, actor: str) -> bool:
        """Begin to close a person's card; say whether anything changed."""
        ...


@dataclass(frozen=True, slots=True)
class PromotionReport:
    """What a promotion did.

    Attributes:
        plan: as it was when the promotion began.
        moved: pupils who are in a new class now.
        left: pupils who have finished the school.
        dropped: those of them whose card was never opened; their applications are closed.
        expiries: pupils whose card has another last day now.
    """

    plan: PromotionPlan
    moved: int
    left: int
    dropped: int
    expiries: int


@dataclass(frozen=True, slots=True)
class SchoolYearService:
    """The year at every library of the process.

    Attributes:
        grace: how long after the end of his stage a pupil's card stays valid.
    """

    schools: SchoolStore
    store: EnrolmentStore
    register: PatronRegister
    closing: ClosesCards
    libraries: Mapping[InstitutionId, Library]
    now: Clock
    grace: timedelta

    # --- promotion

    def year_on(self, school: School, day: date | None = None) -> int:
        """Return the school year that a day belongs to at a school; today's by default."""
        return find_school_year(
            self.schools.list_calendars(school.institution),
            school,
            day or self._today(school.institution),
        )

    def next_year(self, school: School) -> int:
        """Return the latest school year that can be promoted to now."""
        return self.year_on(school, self._today(school.institution) + _EARLIEST)

    def list_targets(self, school: School) -> Mapping[ClassName, ClassTarget]:
        """Return where every class that has pupils goes without a map, in order."""
        levels = self._levels(school)
        return {
            source: find_target(source, {}, stage=school.stage, system=school.system, levels=levels)
            for source in dict.fromkeys(
                ClassName(member.school_class.level, member.school_class.name)
                for member in self.schools.list_members(school.school_id)
            )
        }

    def list_class_names(self, school: School) -> frozenset[ClassName]:
        """Return the school's classes, and its grades as a whole."""
        classes = self.schools.list_classes(school.school_id)
        return frozenset(
            ClassName(each.level, name) for each in classes for name in (each.name, "")
        )

    def plan(
        self, school: School, class_map: Mapping[ClassName, ClassTarget], *, school_year: int
    ) -> PromotionPlan:
        """Return what a promotion to a school year would do; nothing is changed.

        Raises:
            ConfigurationError: it is too early for that year.
        """
        calendars = self.schools.list_calendars(school.institution)
        first = find_first_day(calendars, school, school_year)
        if first - self._today(school.institution) > _EARLIEST:
            raise ConfigurationError(
                f"The school year {school_year} begins on {first}; it is too early for it.",
                "Promote in the summer before, or correct --year.",
            )
        disabled_levels = {
            grade.level for grade in self.schools.list_grades(school.school_id) if grade.disabled
        }
        return plan_promotion(
            [
                Pupil(
                    member.patron_id,
                    ClassName(member.school_class.level, member.school_class.name),
                    member.school_year,
                )
                for member in self.schools.list_members(school.school_id)
            ],
            class_map,
            school_year=school_year,
            stage=school.stage,
            system=school.system,
            levels=self._levels(school),
            disabled_levels=disabled_levels,
            disabled={
                ClassName(each.level, each.name)
                for each in self.schools.list_classes(school.school_id)
                if each.disabled
            },
        )

    def promote(
        self,
        school: School,
        class_map: Mapping[ClassName, ClassTarget],
        *,
        school_year: int,
        actor: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> PromotionReport:
        """Promote a school's pupils to a school year; doing it twice is harmless.

        The pupils of one new class move in one transaction. Who has a problem stays where he is.

        Args:
            on_progress: called with how many pupils are done and how many there are.

        Raises:
            ConfigurationError: it is too early for that year.
        """
        plan = self.plan(school, class_map, school_year=school_year)
        calendars = self.schools.list_calendars(school.institution)
        first = find_first_day(calendars, school, school_year)
        total = plan.moving + plan.leaving
        moved = expiries = left = dropped = 0
        groups: dict[tuple[ClassName, str], list[PatronId]] = defaultdict(list)
        for move in plan.moves:
            groups[move.target, move.reason] += move.patrons
        for (target, reason), patrons in groups.items():
            into = self.schools.ensure_class(school, target.level, target.name, actor=actor)
            expiries += self.schools.set_expiries(
                dict.fromkeys(patrons, self._last_day(school, target.level, school_year)),
                actor=actor,
            )
            moved += self.schools.place_pupils(
                school,
                dict.fromkeys(patrons, into.class_id),
                school_year=school_year,
                on=first,
                reason=reason,
                actor=actor,
            )
            if on_progress is not None:
                on_progress(moved, total)
        last = min(find_last_day(calendars, school, school_year - 1), first - timedelta(days=1))
        for leaving in plan.leavings:
            changed, closed = self._let_go(school, leaving, school_year - 1, last, actor)
            expiries, dropped, left = (
                expiries + changed,
                dropped + closed,
                left + len(leaving.patrons),
            )
            if on_progress is not None:
                on_progress(moved + left, total)
        _log.info(
            "school.promoted",
            institution=school.institution,
            school=school.code,
            total=moved,
            closed=left,
            pending=plan.unplaced,
        )
        return PromotionReport(plan, moved, left, dropped, expiries)

    def _let_go(
        self, school: School, leaving: ClassLeaving, school_year: int, last: date, actor: str
    ) -> tuple[int, int]:
        """Let a class go; return how many cards have another last day, and how many never had one.

        The membership ends last: a run that is killed before finds the pupil again.
        """
        day = self._last_day(school, leaving.source.level, school_year)
        changed = self.schools.set_expiries(dict.fromkeys(leaving.patrons, day), actor=actor)
        dropped = 0
        for patron_id in leaving.patrons:
            standing = self.register.find_standing(patron_id, school.institution)
            if standing is not None and standing.state is StandingState.INACTIVE:
                dropped += self.closing.begin(patron_id, ClosingReason.LEFT, actor=actor)
        self.schools.end_memberships(leaving.patrons, on=last, reason="left", actor=actor)
        return changed, dropped

    def _last_day(self, school: School, level: int, school_year: int) -> date:
        return last_day_of_stage(level, school.system, school_year) + self.grace

    def _levels(self, school: School) -> frozenset[int]:
        return frozenset(grade.level for grade in self.schools.list_grades(school.school_id))

    # --- expiry

    def expire_due(self, institution: InstitutionId, *, actor: str, dry_run: bool = False) -> int:
        """Begin to close every card whose last day is over; return how many."""
        due = self.schools.list_expired(institution, self._today(institution))
        if dry_run:
            return len(due)
        expired = 0
        for patron_id in due:
            try:
                expired += self.closing.begin(patron_id, ClosingReason.EXPIRED, actor=actor)
            except NotFound:  # erased at this very moment
                continue
        if expired:
            _log.info("cards.expired", institution=institution, count=expired)
        return expired

    def _today(self, institution: InstitutionId) -> date:
        try:
            return self.libraries[institution].today(self.now())
        except KeyError as err:
            raise ConfigurationError(
                f"There is no library {institution}.", f"Use one of: {', '.join(self.libraries)}."
            ) from err
