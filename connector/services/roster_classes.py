"""Classes of the school whose roster is imported: which there are, and who is put into which.

Nothing here reads how a school writes a class. Rules (A45, A46) —

- a grade or class that is missing is added where the school lets its rosters do so;
- nobody is put into a class that is unknown or disabled: the row is taken, with a note;
- a row that tells only the grade does not take a pupil out of his class in that grade.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from connector.domain.enrolment import StudentRecord
from connector.domain.ids import PatronId
from connector.ports.enrolment import School
from connector.ports.schools import ClassMember, SchoolStore

__all__ = ["RosterClasses"]


class RosterClasses:
    """The classes of one school during one import.

    Args:
        school_year: for which pupils are placed.
        day: from which day; the first of the school year where that is still to come.
    """

    def __init__(self, store: SchoolStore, school: School, *, school_year: int, day: date) -> None:
        self._store = store
        self._school = school
        self._year = school_year
        self._day = day
        grades = store.list_grades(school.school_id)
        classes = store.list_classes(school.school_id)
        self._disabled_levels = {grade.level for grade in grades if grade.disabled}
        self._ids: dict[tuple[int, str], str] = {}
        self._classes = {each.class_id: each for each in classes}
        self._disabled = set()
        for each in classes:
            self._ids[each.level, each.name] = each.class_id
            if each.disabled:
                self._disabled.add((each.level, each.name))

    def find_members(self, patrons: Sequence[PatronId]) -> Mapping[PatronId, ClassMember]:
        """Return the present classes of pupils."""
        return self._store.find_memberships(patrons) if patrons else {}

    def make_member(
        self, patron_id: PatronId, class_id: str | None, school_year: int | None
    ) -> ClassMember | None:
        """Return the pupil's place in a class of this school, None when it is none of them."""
        found = self._classes.get(class_id or "")
        if found is None or school_year is None:
            return None
        return ClassMember(patron_id, found, school_year)

    def find_doubt(self, record: StudentRecord) -> str:
        """Return why a row's class is not used: ``class_unknown``, ``class_disabled``, or empty."""
        if record.level is None:
            return ""
        key = (record.level, record.class_label)
        if record.level in self._disabled_levels or key in self._disabled:
            return "class_disabled"
        return "" if key in self._ids or self._school.create_classes else "class_unknown"

    def is_elsewhere(self, record: StudentRecord, member: ClassMember | None) -> bool:
        """Say whether the row moves the pupil from the class that he is in, or into his first."""
        if record.level is None or self.find_doubt(record):
            return False
        if member is None or member.school_class.school_id != self._school.school_id:
            return True
        at = member.school_class
        if member.school_year != self._year or at.level != record.level:
            return True
        return bool(record.class_label) and at.name != record.class_label

    def place(self, pupils: Mapping[PatronId, tuple[int, str]], *, actor: str) -> None:
        """Put pupils into classes by level and name; a class that is missing is added."""
        places: dict[str, list[PatronId]] = defaultdict(list)
        for patron_id, key in pupils.items():
            if key not in self._ids:
                made = self._store.ensure_class(self._school, *key, actor=actor)
                self._ids[key] = made.class_id
                self._classes[made.class_id] = made
            places[self._ids[key]].append(patron_id)
        if places:
            self._store.place_pupils(
                self._school,
                {patron_id: class_id for class_id, them in places.items() for patron_id in them},
                school_year=self._year,
                on=self._day,
                reason="moved",
                actor=actor,
            )
