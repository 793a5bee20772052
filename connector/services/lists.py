"""Finding a school's pupils and giving lists out: always within one school's own pupils.

Nothing here writes a file; numbers are in ``figures``. Rules (A35, A42, A44, scenario 35) —

- a child of another school is not found, in the same words as one whom nobody knows; the audit
  keeps that it was tried;
- numbers are looked for by digest; names are compared after decryption, among the school's own;
- a list is masked unless its reason was given, and every list that is given out is in the audit
  before it is in anybody's hands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from connector.domain.class_names import ClassName, parse_class_name, parse_grade
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.identity import mask_name, mask_number, normalise_identifier
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.name_match import fold_name
from connector.domain.school import grade_name, school_year_of
from connector.errors import ConfigurationError
from connector.ports.clock import Clock
from connector.ports.enrolment import Batch, Consent, EnrolmentStore, School
from connector.ports.lists import ListedApplication, ListStore
from connector.ports.store import AuditEntry, AuditLog, PatronRegister, PersonalData
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.figures import answer_of, room_of

__all__ = [
    "ExportReason",
    "ListService",
    "LogLine",
    "Pupil",
    "PupilQuery",
]


_FEW = 20
"""Up to so many people are read one by one, more with their whole library."""


class ExportReason(StrEnum):
    """Why somebody needs names and numbers in full; a code, so that no text about a child is
    kept.
    """

    CARD_PRINTING = "card_printing"
    DATA_CORRECTION = "data_correction"
    GUARDIAN_REQUEST = "guardian_request"
    LIBRARY_SYSTEM = "library_system"
    SUPERVISION = "supervision"


@dataclass(frozen=True, slots=True)
class PupilQuery:
    """What is looked for: one of these."""

    id_number: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    class_name: str = ""
    grade: str = ""

    @property
    def kind(self) -> str:
        """The word for the audit."""
        for kind in ("id_number", "name", "class_name", "grade"):
            if getattr(self, kind):
                return kind
        return "all"


@dataclass(frozen=True, slots=True)
class Pupil:
    """One pupil of a list; ``known`` is whole, who shows it masks it.

    Attributes:
        consent: ``given``, ``refused``, ``withdrawn`` or ``pending``.
    """

    listed: ListedApplication
    class_name: str
    consent: str
    known: PersonalData = field(repr=False)

    def as_row(self, *, full: bool = False) -> dict[str, str]:
        """Return the columns of a list; masked unless ``full``."""
        application, known = self.listed.application, self.known
        name, number = (str, str) if full else (mask_name, mask_number)
        return {
            "batch": self.listed.batch,
            "row": str(application.batch_row or ""),
            "name": name(known.name),
            "id_number": number(known.id_number),
            "phone": number(known.phone),
            "guardian_name": name(known.guardian_name),
            "guardian_phone": number(known.guardian_phone),
            "class": self.class_name,
            "state": application.state.value,
            "reason": application.reason,
            "consent": self.consent,
            "card": number(application.card),
            "error": application.error,
            "person": application.patron_id,
        }


@dataclass(frozen=True, slots=True)
class LogLine:
    """One thing that was done.

    Attributes:
        subject: id; empty where it would tell a school about somebody else's pupil.
        count: how many people a list had; None = it was no list.
    """

    at: datetime
    action: str
    actor: str
    subject: str
    count: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ListService:
    """Lists of every library of the process."""

    lists: ListStore
    store: EnrolmentStore
    register: PatronRegister
    audit: AuditLog
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock

    # --- pupils

    def find_pupils(self, school: School, query: PupilQuery, *, actor: str) -> tuple[Pupil, ...]:
        """Return the school's pupils who fit; nobody else's, and the same silence about both.

        Raises:
            ConfigurationError: the class or grade cannot be read.
        """
        detail: dict[str, str | int] = {"school": school.school_id, "by": query.kind}
        subject = ""
        if query.id_number:
            someone = self._find_by_number(query.id_number)
            found = self._pupils(school, () if someone is None else (someone,))
            if someone is not None and not found:
                subject, detail["elsewhere"] = someone, 1
        else:
            found = self._matching(school, query)
        self.audit.append(
            "pupils.searched",
            actor=actor,
            subject=subject,
            detail=detail | {"count": len(found)},
            institution=school.institution,
        )
        return found

    def export_pupils(
        self,
        school: School,
        *,
        batch: Batch | None = None,
        states: Collection[ApplicationState] = (),
        reason: ExportReason | None = None,
        actor: str,
    ) -> tuple[Pupil, ...]:
        """Return the pupils for a list that is given out; that it is, stands in the audit.

        Args:
            states: empty = all.
            reason: why it is needed in full; None = the list is masked.
        """
        found = tuple(
            pupil
            for pupil in self._pupils(school)
            if batch is None or pupil.listed.application.batch_id == batch.batch_id
            if not states or pupil.listed.application.state in states
        )
        detail: dict[str, str | int] = {
            "school": school.school_id,
            "count": len(found),
            "full": int(reason is not None),
        }
        if reason is not None:
            detail["reason"] = reason.value
        if batch is not None:
            detail["batch"] = batch.batch_id
        self.audit.append(
            "pupils.exported",
            actor=actor,
            subject=school.school_id,
            detail=detail,
            institution=school.institution,
        )
        return found

    def _find_by_number(self, number: str) -> PatronId | None:
        value = normalise_identifier(number)
        wanted = [Identifier("id_card", value), Identifier("student_no", value)]
        found = self.register.find_people(wanted) if value else {}
        return next((found[each] for each in wanted if each in found), None)

    def _matching(self, school: School, query: PupilQuery) -> tuple[Pupil, ...]:
        fits = self._filter(school, query)
        return tuple(pupil for pupil in self._pupils(school) if fits(pupil))

    def _filter(self, school: School, query: PupilQuery) -> Callable[[Pupil], bool]:
        if query.name:
            wanted = fold_name(query.name)
            return lambda pupil: bool(wanted) and wanted in fold_name(pupil.known.name)
        year = school_year_of(self.rules[school.institution].today(self.now()))
        stage, system = school.stage, school.system
        if query.class_name:
            room = parse_class_name(query.class_name, stage=stage, system=system, school_year=year)
            if room is None:
                raise ConfigurationError(
                    "This class cannot be read.", "Write it like 3/2, 三年级2班 or 2023级2班."
                )
            title = room.title()
            return lambda pupil: pupil.class_name == title
        if query.grade:
            level = parse_grade(query.grade, stage=stage, system=system, school_year=year)
            if level is None:
                raise ConfigurationError(
                    "This grade cannot be read.", "Write it like 3, 三年级 or 2023级."
                )
            start = grade_name(level)
            return lambda pupil: pupil.class_name.startswith(start)
        return lambda _: True

    def _pupils(
        self, school: School, patrons: Collection[PatronId] | None = None
    ) -> tuple[Pupil, ...]:
        """Read the school's pupils; who is erased is left out."""
        listed = self.lists.list_present(
            school.institution, school_id=school.school_id, patrons=patrons
        )
        people = [each.application.patron_id for each in listed]
        known = self.register.fetch_personal_many(people)
        places = self.lists.list_places(school.institution, patrons=people)
        consents = self._consents_of(school.institution, people)
        return tuple(
            Pupil(
                listed=each,
                class_name=self._class_of(school, each, places),
                consent=answer_of(consents.get(each.application.patron_id)),
                known=known[each.application.patron_id],
            )
            for each in listed
            if each.application.patron_id in known
        )

    def _consents_of(
        self, institution: InstitutionId, people: Collection[PatronId]
    ) -> Mapping[PatronId, Consent]:
        if len(people) > _FEW:
            return self.store.list_latest_consents(institution, ConsentScope.CARD)
        return {
            patron_id: consent
            for patron_id in people
            for consent in self.store.list_consents(patron_id)
            if consent.scope is ConsentScope.CARD
        }

    def _class_of(
        self,
        school: School,
        listed: ListedApplication,
        places: Mapping[PatronId, tuple[str, ClassName]],
    ) -> str:
        room = room_of(school, listed, places, self.rules[school.institution])
        return listed.application.class_name if room is None else room.title()

    # --- the log

    def read_log(
        self,
        institution: InstitutionId,
        *,
        school: School | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        action: str = "",
        limit: int = 500,
    ) -> tuple[LogLine, ...]:
        """Return what was done, the newest first; for a school, about its own pupils alone."""
        school_id = school.school_id if school else None
        entries = self.lists.search_log(
            institution, school_id=school_id, since=since, until=until, action=action, limit=limit
        )
        return tuple(_line(entry, school_id) for entry in entries)

    def note_export(self, what: str, *, school: School | None, count: int, actor: str) -> None:
        """Write that figures or a log were given out as a file."""
        detail: dict[str, str | int] = {"count": count}
        if school is not None:
            detail["school"] = school.school_id
        self.audit.append(
            f"{what}.exported",
            actor=actor,
            subject=school.school_id if school else "",
            detail=detail,
            institution=school.institution if school else "",
        )


def _line(entry: AuditEntry, school_id: str | None) -> LogLine:
    count = entry.detail.get("count")
    hidden = "elsewhere" in entry.detail and entry.detail.get("school") == school_id
    return LogLine(
        at=entry.at,
        action=entry.action,
        actor=entry.actor,
        subject="" if hidden else entry.subject,
        count=count if isinstance(count, int) else None,
        reason=str(entry.detail.get("reason", "")),
    )
