"""Figures of each class (A44): how many are on the roster, agreed, have a card.

Nothing here names anybody. Rule: a pupil counts in the class that he is in, else in the one that
the roster's text says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from connector.domain.class_names import ClassName, parse_class_name
from connector.domain.enrolment import CLOSED_STATES, ApplicationState, ConsentScope
from connector.domain.ids import InstitutionId, PatronId
from connector.domain.school import grade_name, school_year_of
from connector.ports.enrolment import Consent, EnrolmentStore, School
from connector.ports.lists import ListedApplication, ListStore
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["FIGURES", "Figures", "FigureService", "answer_of", "room_of"]

FIGURES = (
    "on_roster",
    "applied",
    "willing",
    "reviewed",
    "consent_given",
    "consent_refused",
    "consent_withdrawn",
    "consent_pending",
    "approved",
    "active",
    "closed",
)
"""What is counted, in the order of the columns; whoever is ``closed`` is in no other but
``applied`` and ``on_roster``.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of one class of one school (A44); a level of None is a class that was not told."""

    school: School
    level: int | None
    class_name: str
    counts: Mapping[str, int]

    @property
    def grade(self) -> str:
        """Name of the grade, in Chinese."""
        return "" if self.level is None else grade_name(self.level)


@dataclass(frozen=True, slots=True)
class FigureService:
    """Figures of every library of the process."""

    lists: ListStore
    store: EnrolmentStore
    rules: Mapping[InstitutionId, EnrolmentRules]

    def count(
        self,
        institution: InstitutionId,
        *,
        school: School | None = None,
        school_year: int | None = None,
    ) -> tuple[Figures, ...]:
        """Return the figures of each class, by school, level and class (A44).

        Guardians who refused before a card was opened are not counted: nothing is left of them.

        Args:
            school_year: pupils of that year, in the class that they were in then; None = all, as
                they are now.
        """
        schools = {
            each.school_id: each
            for each in self.store.list_schools(institution)
            if school is None or each.school_id == school.school_id
        }
        places = self.lists.list_places(institution, school_year=school_year)
        placed = self.lists.list_places(institution).keys() if school_year is not None else ()
        consents = self.store.list_latest_consents(institution, ConsentScope.CARD)
        found: dict[tuple[str, int | None, str], Counter[str]] = {}
        for each in self.lists.list_present(
            institution, school_id=school.school_id if school else None
        ):
            application = each.application
            where = schools.get(application.school_id)
            if where is None or not self._is_of_year(each, places, school_year, placed):
                continue
            room = room_of(where, each, places, self.rules[institution])
            key = (
                where.school_id,
                room.level if room else None,
                room.name if room else application.class_name,
            )
            counts = found.setdefault(key, Counter())
            counts.update(_figures_of(each, consents.get(application.patron_id)))
        return tuple(
            Figures(schools[key[0]], key[1], key[2], {name: counts[name] for name in FIGURES})
            for key, counts in sorted(
                found.items(),
                key=lambda item: (
                    schools[item[0][0]].code,
                    99 if item[0][1] is None else item[0][1],
                    item[0][2],
                ),
            )
        )

    def _is_of_year(
        self,
        listed: ListedApplication,
        places: Mapping[PatronId, tuple[str, ClassName]],
        school_year: int | None,
        placed: Collection[PatronId],
    ) -> bool:
        """Say whether somebody was the school's pupil in that year: in a class, or entered then by
        a roster that told no class.
        """
        if school_year is None:
            return True
        application = listed.application
        place = places.get(application.patron_id)
        if place is not None:
            return place[0] == application.school_id
        entered = self.rules[application.institution].today(application.entered_at)
        return application.patron_id not in placed and school_year_of(entered) == school_year


def room_of(
    school: School,
    listed: ListedApplication,
    places: Mapping[PatronId, tuple[str, ClassName]],
    rules: EnrolmentRules,
) -> ClassName | None:
    """Return the class that he is in at this school, else what the roster's text says."""
    application = listed.application
    place = places.get(application.patron_id)
    if place is not None:
        return place[1] if place[0] == school.school_id else None
    year = school_year_of(rules.today(application.entered_at))
    return parse_class_name(
        application.class_name, stage=school.stage, system=school.system, school_year=year
    )


def answer_of(consent: Consent | None) -> str:
    """Return ``given``, ``refused``, ``withdrawn`` or ``pending``."""
    if consent is None:
        return "pending"
    if consent.holds:
        return "given"
    return "withdrawn" if consent.withdrawn_at is not None else "refused"


def _figures_of(listed: ListedApplication, consent: Consent | None) -> Iterable[str]:
    application = listed.application
    yield "applied"
    if application.on_roster:
        yield "on_roster"
    if application.state in CLOSED_STATES:
        yield "closed"
        return
    if application.willing == "willing":
        yield "willing"
    if listed.reviewed:
        yield "reviewed"
    yield f"consent_{answer_of(consent)}"
    if listed.approved:
        yield "approved"
    if application.state is ApplicationState.ACTIVE:
        yield "active"
