"""Single pupils who go to another class or another school of their library.

Nothing here asks an ILS, or promotes a class; ``school_year`` does. Rules —

- a transfer moves application and place in one transaction: the old school loses sight of the pupil
  in the moment in which the new one sees him; card, loans and consent stay;
- a school of another library is no transfer: its own import finds the pupil by his numbers;
- whose grade or school changes gets the last day that follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from connector.domain.class_names import ClassName
from connector.domain.enrolment import CLOSED_STATES
from connector.domain.ids import InstitutionId, PatronId
from connector.domain.library import Library
from connector.domain.school import last_day_of_stage, levels_of
from connector.errors import ConfigurationError, NotFound
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, EnrolmentStore, School
from connector.ports.schools import SchoolStore
from connector.ports.tasks import StaffTask, TaskKind, TaskStore
from connector.services.school_days import find_placing_year

__all__ = ["TransferService"]


@dataclass(frozen=True, slots=True)
class TransferService:
    """Moves pupils at every library of the process.

    Attributes:
        grace: how long after the end of his stage a pupil's card stays valid.
    """

    schools: SchoolStore
    store: EnrolmentStore
    tasks: TaskStore
    libraries: Mapping[InstitutionId, Library]
    now: Clock
    grace: timedelta

    def move_pupil(
        self, patron_id: PatronId, school: School, place: ClassName, *, actor: str
    ) -> bool:
        """Put a pupil into another class of his school; say whether he was in another.

        Raises:
            NotFound: he has no open application at this school.
            ConfigurationError: the school has no such grade or class.
        """
        application = self.store.find_application(patron_id)
        if (
            application is None
            or application.state in CLOSED_STATES
            or application.school_id != school.school_id
        ):
            raise NotFound("application at this school")
        year, day = self._placing_year(school)
        moved = self.schools.place_pupils(
            school,
            {patron_id: self._class_id(school, place, actor)},
            school_year=year,
            on=day,
            reason="moved",
            actor=actor,
        )
        self.schools.set_expiries(
            {patron_id: self._last_day(school, place.level, year)}, actor=actor
        )
        return bool(moved)

    def transfer_pupil(
        self,
        patron_id: PatronId,
        school: School,
        place: ClassName | None = None,
        *,
        actor: str,
    ) -> bool:
        """Move a pupil to another school of his library; say whether he was elsewhere until now.

        Args:
            place: his class there; by default the grade that he is in, or that follows on the one
                he has finished, as a whole, where the school has it.

        Raises:
            NotFound: he has no open application.
            ConfigurationError: the school belongs to another library, takes no part, or has no such
                grade or class.
        """
        application = self._open_application(patron_id)
        if application.institution != school.institution:
            raise ConfigurationError(
                f"School {school.code} belongs to another library ({school.institution}).",
                "Close the card at the old school, then import the pupil at the new one: he keeps "
                "his number.",
            )
        if school.disabled:
            raise ConfigurationError(
                f"School {school.code} is disabled.", "Enable it with: onecard enrol school add"
            )
        year, day = self._placing_year(school)
        place = place or self._grade_of(patron_id, school, year)
        tasks = [
            task
            for task in self.tasks.list_tasks(school.institution, kind=TaskKind.TWO_SCHOOLS)
            if task.patron_id == patron_id
        ]
        class_id = None if place is None else self._class_id(school, place, actor)
        moved = self.schools.transfer_pupil(
            patron_id,
            school,
            class_id,
            school_year=year,
            on=day,
            actor=actor,
            batch=self._batch_of(tasks, school),
        )
        if place is not None:
            self.schools.set_expiries(
                {patron_id: self._last_day(school, place.level, year)}, actor=actor
            )
        for task in tasks:
            self.tasks.finish_task(task.task_id, outcome="transferred", actor=actor)
        return moved

    def transfer_finished(
        self,
        school: School,
        *,
        actor: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Transfer everybody whom a roster of this school names and who has finished the school
        that he was at; return how many. Who is still at another school is left to his task.
        """
        waiting = [
            (task.patron_id, application)
            for task in self.tasks.list_tasks(school.institution, kind=TaskKind.TWO_SCHOOLS)
            if task.patron_id is not None
            and task.detail.get("school") == school.code
            and (application := self.store.find_application(task.patron_id)) is not None
            and application.state not in CLOSED_STATES
            and application.institution == school.institution
        ]
        finished = {
            school_id: self.schools.list_finished(school_id)
            for school_id in {application.school_id for _, application in waiting}
        }
        moved = 0
        for done, (patron_id, application) in enumerate(waiting, start=1):
            if patron_id in finished[application.school_id]:
                moved += self.transfer_pupil(patron_id, school, actor=actor)
            if on_progress is not None:
                on_progress(done, len(waiting))
        return moved

    def _grade_of(self, patron_id: PatronId, school: School, year: int) -> ClassName | None:
        """Return the grade that a pupil is in this year, where this school has it."""
        history = self.schools.list_history(patron_id)
        if not history:
            return None
        last = history[-1]
        levels = {each.class_id: each.level for each in self.schools.list_classes(last.school_id)}
        level = levels.get(last.class_id)
        if level is None:
            return None
        level += year - last.school_year
        return ClassName(level) if level in levels_of(school.stage, school.system) else None

    def _batch_of(self, tasks: Sequence[StaffTask], school: School) -> tuple[str, int] | None:
        """Return batch and row of the new school's roster that named the pupil."""
        for task in tasks:
            if task.detail.get("school") == school.code:
                batch = self.store.find_batch(school.institution, str(task.detail.get("batch", "")))
                if batch is not None:
                    return batch.batch_id, int(task.detail.get("row", 0))
        return None

    def _open_application(self, patron_id: PatronId) -> Application:
        application = self.store.find_application(patron_id)
        if application is None or application.state in CLOSED_STATES:
            raise NotFound("open application")
        return application

    def _class_id(self, school: School, place: ClassName, actor: str) -> str:
        if place.level not in levels_of(school.stage, school.system):
            raise ConfigurationError(
                f"School {school.code} has no such grade.",
                "Give a class of the school, such as 3(2).",
            )
        for found in self.schools.list_classes(school.school_id):
            if (found.level, found.name) == (place.level, place.name):
                return found.class_id
        if place.name and not school.create_classes:
            raise ConfigurationError(
                f"School {school.code} has no such class.",
                "Add it with: onecard enrol school class",
            )
        return self.schools.ensure_class(school, place.level, place.name, actor=actor).class_id

    def _placing_year(self, school: School) -> tuple[int, date]:
        """Return the school year that a pupil is placed for now, and from which day."""
        members = self.schools.list_members(school.school_id)
        return find_placing_year(
            self.schools.list_calendars(school.institution),
            school,
            self.libraries[school.institution].today(self.now()),
            {member.school_year for member in members},
        )

    def _last_day(self, school: School, level: int, school_year: int) -> date:
        return last_day_of_stage(level, school.system, school_year) + self.grace
