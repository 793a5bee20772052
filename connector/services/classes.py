"""Schools with their grades, classes, calendars and liaisons, as the library keeps them.

Nothing here promotes anybody; ``connector.services.school_year`` does. Rules (A21, A45, A46) —

- what was used is disabled, never removed: its history stays;
- a new school has the grades of its stage and system; one without a stage gets them as they come;
- a liaison is one named person per school and one for the library, with a phone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from connector.domain.class_names import ClassName
from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.domain.school import grade_name, levels_of, stage_of
from connector.errors import ConfigurationError, NotFound
from connector.ports.clock import Clock
from connector.ports.enrolment import EnrolmentStore, School
from connector.ports.schools import Calendar, Grade, Liaison, SchoolClass, SchoolStore
from connector.ports.store import AuditLog
from connector.services.school_days import find_school_year

__all__ = ["LiaisonReport", "SchoolsService"]

_CODE = re.compile(r"\w[\w.-]{0,63}")
"""It stands in names of files: of feeds, of PIN slips."""
_LONGEST_NAME = 64
_SHORTEST_PHONE, _LONGEST_PHONE = 5, 20
_LONGEST_YEAR_DAYS = 400


@dataclass(frozen=True, slots=True)
class LiaisonReport:
    """Which schools have named no liaison (A21).

    Attributes:
        deadline: by which each has to; None = none is set.
        is_overdue: it has passed, and somebody is missing.
        library_is_missing: the library has none itself.
    """

    deadline: date | None
    is_overdue: bool
    schools: tuple[School, ...]
    library_is_missing: bool


@dataclass(frozen=True, slots=True)
class SchoolsService:
    """The schools of every library of the process.

    Attributes:
        liaison_deadline: by which every school names its liaison.
    """

    schools: SchoolStore
    store: EnrolmentStore
    audit: AuditLog
    libraries: Mapping[InstitutionId, Library]
    now: Clock
    liaison_deadline: date | None = None

    # --- schools

    def save_school(self, school: School, *, actor: str) -> School:
        """Add a school, with the grades of its stage, or change the one with this code.

        Raises:
            ConfigurationError: the code or the name cannot be used.
        """
        self._today(school.institution)
        if not school.name.strip() or not school.code.strip():
            raise ConfigurationError("A school needs a code and a name.", "Give both.")
        if _CODE.fullmatch(school.code) is None:
            raise ConfigurationError(
                "This is no code of a school.",
                "Use up to 64 letters, digits, hyphens, dots and underscores, such as s1.",
            )
        known = self.store.find_school(school.institution, school.code)
        saved = self.store.save_school(school)
        self.audit.append("school.saved", actor=actor, subject=saved.school_id)
        if saved.stage is not None and (
            known is None or (known.stage, known.system) != (saved.stage, saved.system)
        ):
            self._add_grades(saved, actor)
        return saved

    def _add_grades(self, school: School, actor: str) -> None:
        known = {grade.level for grade in self.schools.list_grades(school.school_id)}
        for level in levels_of(school.stage, school.system):
            if level not in known:
                self.schools.save_grade(
                    Grade("", school.institution, school.school_id, level, grade_name(level)),
                    actor=actor,
                )

    def remove_school(self, school: School, *, actor: str) -> None:
        """Remove a school that was never used; raises ``StorageConflict`` for one that was."""
        self.schools.remove_school(school, actor=actor)

    # --- grades and classes

    def save_grade(self, school: School, grade: Grade, *, actor: str) -> Grade:
        """Add a grade, or change the one of this level.

        Raises:
            ConfigurationError: the school has no such level, or the name cannot be used.
        """
        _require_level(school, grade.level)
        _require_name(grade.name)
        return self.schools.save_grade(
            replace(grade, institution=school.institution, school_id=school.school_id), actor=actor
        )

    def find_grade(self, school: School, level: int) -> Grade | None:
        """Return the grade of a level."""
        for grade in self.schools.list_grades(school.school_id):
            if grade.level == level:
                return grade
        return None

    def remove_grade(self, school: School, level: int, *, actor: str) -> None:
        """Remove a grade without classes.

        Raises:
            NotFound: there is none.
            StorageConflict: it has classes.
        """
        grade = self.find_grade(school, level)
        if grade is None:
            raise NotFound("grade")
        self.schools.remove_grade(grade.grade_id, actor=actor)

    def find_class(self, school: School, place: ClassName) -> SchoolClass | None:
        """Return a class by level and name."""
        for found in self.schools.list_classes(school.school_id):
            if (found.level, found.name) == (place.level, place.name):
                return found
        return None

    def save_class(
        self,
        school: School,
        place: ClassName,
        *,
        rename: str | None = None,
        disabled: bool | None = None,
        sort_order: int | None = None,
        remark: str | None = None,
        actor: str,
    ) -> SchoolClass:
        """Add a class, with its grade where that is missing, or change it; None leaves as it is.

        Raises:
            ConfigurationError: the school has no such level, or the name cannot be used.
            StorageConflict: another class of the grade has the new name.
        """
        _require_level(school, place.level)
        if rename is not None:
            _require_name(rename)
        known = self.find_class(school, place) or self.schools.ensure_class(
            school, place.level, place.name, actor=actor
        )
        changed = replace(
            known,
            name=known.name if rename is None else rename,
            disabled=known.disabled if disabled is None else disabled,
            sort_order=known.sort_order if sort_order is None else sort_order,
            remark=known.remark if remark is None else remark,
        )
        return known if changed == known else self.schools.save_class(changed, actor=actor)

    def remove_class(self, school: School, place: ClassName, *, actor: str) -> None:
        """Remove a class that nobody was ever in.

        Raises:
            NotFound: there is none.
            StorageConflict: somebody is or was in it.
        """
        found = self.find_class(school, place)
        if found is None:
            raise NotFound("class")
        self.schools.remove_class(found.class_id, actor=actor)

    # --- calendars

    def save_calendar(self, calendar: Calendar, *, actor: str) -> None:
        """Set first and last day of a school year at a school, or at every school of a library.

        Raises:
            ConfigurationError: the days are not of that school year.
        """
        usual = date(calendar.school_year, 9, 1)
        if not (
            abs((calendar.first_day - usual).days) <= _LONGEST_YEAR_DAYS // 4
            and 0 < (calendar.last_day - calendar.first_day).days <= _LONGEST_YEAR_DAYS
        ):
            raise ConfigurationError(
                f"These are not the days of the school year {calendar.school_year}.",
                "A school year is named by the year in which it begins, about September.",
            )
        self.schools.save_calendar(calendar, actor=actor)

    def list_calendars(self, institution: InstitutionId) -> tuple[Calendar, ...]:
        """Return the library's calendars."""
        return self.schools.list_calendars(institution)

    def school_year_on(self, institution: InstitutionId, school: School | None, day: date) -> int:
        """Return the school year that a day belongs to at a school; None = at the library."""
        return find_school_year(self.schools.list_calendars(institution), school, day)

    # --- liaisons

    def appoint_liaison(
        self,
        institution: InstitutionId,
        school: School | None,
        *,
        name: str,
        phone: str,
        actor: str,
    ) -> Liaison:
        """Appoint the liaison of a school, or of the library itself, in place of the one before.

        Raises:
            ConfigurationError: name or phone cannot be one.
        """
        name, phone = name.strip(), phone.strip()
        _require_name(name)
        digits = sum(character.isdigit() for character in phone)
        if not _SHORTEST_PHONE <= digits <= _LONGEST_PHONE or set(phone) - set("0123456789 +-()"):
            raise ConfigurationError("This is not a phone number.", "Give digits, such as 139….")
        return self.schools.appoint_liaison(
            institution,
            school.school_id if school is not None else None,
            name=name,
            phone=phone,
            actor=actor,
        )

    def list_liaisons(self, institution: InstitutionId) -> tuple[Liaison, ...]:
        """Return the present liaisons, the library's own first."""
        return self.schools.list_liaisons(institution)

    def report_liaisons(self, institution: InstitutionId) -> LiaisonReport:
        """Return which schools have named no liaison; a disabled school needs none (A21)."""
        present = {each.school_id for each in self.schools.list_liaisons(institution)}
        missing = tuple(
            school
            for school in self.store.list_schools(institution)
            if not school.disabled and school.school_id not in present
        )
        library_is_missing = None not in present
        passed = (
            self.liaison_deadline is not None and self._today(institution) > self.liaison_deadline
        )
        return LiaisonReport(
            self.liaison_deadline,
            passed and (bool(missing) or library_is_missing),
            missing,
            library_is_missing,
        )

    def _today(self, institution: InstitutionId) -> date:
        try:
            return self.libraries[institution].today(self.now())
        except KeyError as err:
            raise ConfigurationError(
                f"There is no library {institution}.", f"Use one of: {', '.join(self.libraries)}."
            ) from err


def _require_level(school: School, level: int) -> None:
    if level in levels_of(school.stage, school.system):
        return
    try:
        stage = stage_of(level, school.system).value
    except ValueError:
        stage = "no school"
    raise ConfigurationError(
        f"School {school.code} has no such grade (it is one of: {stage}).",
        "Correct its stage or system with: onecard enrol school add",
    )


def _require_name(name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(
            "This is not a name.", f"Give 1 to {_LONGEST_NAME} characters in one line."
        )
