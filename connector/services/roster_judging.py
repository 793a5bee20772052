"""What is to become of a roster row: looked up by the chunk, judged one by one, nothing written.

Nothing here reads a file or writes. Rules —

- a row has exactly one outcome; an empty cell never empties what is known;
- a pupil who has an open application at another school is a duplicate: neither school sees the
  other's data, the library is told (scenario 1);
- who left a school or whose card expired may come back; who withdrew is not asked again;
- without an identity number a pupil is matched by school, name and birth date; whatever fits two
  people, or one in two ways, is for a person to decide (scenario 4);
- after the library's approval a row may still bring a class, a first identity number or a new
  student number; anything else is a request to the library (A37).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from connector.domain.enrolment import (
    CLOSED_STATES,
    RowContext,
    RowProblem,
    StudentRecord,
    parse_row,
)
from connector.domain.identity import IdentityNumber, parse_identity_number
from connector.domain.ids import Identifier, PatronId
from connector.domain.name_match import fold_name
from connector.enrolment.workbook import RosterRow
from connector.ports.enrolment import Application, EnrolmentStore, RowOutcome, School
from connector.ports.rosters import ListedPupil, RosterStore
from connector.ports.schools import Campaign, ClassMember
from connector.ports.store import PatronRegister, PersonalData
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.roster_classes import RosterClasses
from connector.services.roster_verdicts import (
    Verdict,
    asks_for_change,
    brings_news,
    has_withdrawn,
    refuse_row,
    tells_else,
)

__all__ = ["RowCheck", "RowJudge"]

RowCheck = Callable[[School, StudentRecord], Sequence[str]]
"""A plugin's say on a row: problem codes; any code makes the row invalid."""

_TAKEN = frozenset({RowOutcome.CREATED, RowOutcome.UPDATED, RowOutcome.UNCHANGED})
_GONE = (RowOutcome.HELD, "withdrawn_before")
"""Of whom nothing is left but the bare row."""
_Key = tuple[str, date]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the people whom a chunk names.

    Attributes:
        listed: by row, who is on the roster already with just what the row says; nothing else of
            him was looked up.
    """

    people: Mapping[Identifier, PatronId] = field(repr=False)
    refused: frozenset[Identifier] = field(repr=False)
    data: Mapping[PatronId, PersonalData] = field(repr=False)
    listed: Mapping[int, ListedPupil]
    applications: Mapping[PatronId, Application]
    members: Mapping[PatronId, ClassMember]
    twice: frozenset[_Key] = field(repr=False)


class _Pupil(NamedTuple):
    """A record with its numbers, made once.

    Attributes:
        numbers: those of ``own`` and those by which somebody else's record may have known him.
        marks: those of ``own``, as it is remembered that they stood in the file.
    """

    record: StudentRecord
    own: tuple[Identifier, ...]
    numbers: tuple[Identifier, ...]
    marks: tuple[str, ...]

    @property
    def key(self) -> _Key:
        """Name and birth date, as they are compared."""
        return fold_name(self.record.name), self.record.birth_date


class RowJudge:
    """Judges the rows of one roster; remembers what stood further up in the file.

    Args:
        batch_id: the batch that the rows belong to; what it has entered stood further up too.
        has_student_numbers: the sheet has the column.
    """

    def __init__(
        self,
        *,
        register: PatronRegister,
        store: EnrolmentStore,
        rosters: RosterStore,
        rules: EnrolmentRules,
        school: School,
        context: RowContext,
        classes: RosterClasses,
        checks: Sequence[RowCheck] = (),
        campaign: Campaign | None = None,
        batch_id: str | None = None,
        has_student_numbers: bool = True,
    ) -> None:
        self._register = register
        self._store = store
        self._rosters = rosters
        self._rules = rules
        self._school = school
        self._context = context
        self._classes = classes
        self._checks = checks
        self._campaign = campaign
        self._batch_id = batch_id
        self._has_student_numbers = has_student_numbers
        self._knows_student_numbers = rosters.knows_student_numbers()
        self._seen: set[str] = set()
        self._entered: tuple[set[_Key], set[_Key]] = (set(), set())
        self._joined: dict[PatronId, int] = {}
        self._unnumbered: Mapping[_Key, Sequence[PatronId]] | None = None
        self._pupils: Mapping[_Key, Sequence[PatronId]] | None = None

    def judge(self, rows: Iterable[RosterRow]) -> list[Verdict]:
        """Return the verdicts on the next rows of the file, in their order."""
        read = [(row, self._read(row)) for row in rows]
        pupils = [pupil for _, pupil in read if isinstance(pupil, _Pupil)]
        listed = self._find_listed(pupils)
        known = self._look_up([pupil for pupil in pupils if pupil.record.row not in listed], listed)
        return [
            self._judge(pupil, known)
            if isinstance(pupil, _Pupil)
            else self._refuse_unread(row, pupil)
            for row, pupil in read
        ]

    def judge_again(self, record: StudentRecord) -> Verdict:
        """Return a new verdict on a row that was judged before: what is stored has changed."""
        pupil = self._number(record)
        self._seen.difference_update(pupil.marks)
        self._unnumbered = self._pupils = None
        return self._judge(pupil, self._look_up([pupil]))

    # --- reading --------------------------------------------------------------------------------

    def _read(self, row: RosterRow) -> _Pupil | list[RowProblem]:
        parsed = parse_row(row.cells, row.number, self._context)
        if not isinstance(parsed, StudentRecord):
            return parsed
        for check in self._checks:
            if codes := check(self._school, parsed):
                return [RowProblem(code, row.number, "") for code in codes]
        return self._number(parsed)

    def _number(self, record: StudentRecord) -> _Pupil:
        """Return the record with its numbers; a student number ``G`` holds an identity number."""
        own = numbers = record.identifiers
        identity, student = record.id_number, record.student_no
        if student is not None and student.kind == "G" and identity is None:
            numbers = (*own, Identifier("id_card", student.value[1:]))
        if student is None and identity is not None and self._knows_student_numbers:
            numbers = (*own, Identifier("student_no", "G" + identity.value))
        return _Pupil(record, own, numbers, tuple([f"{n.kind}:{n.value}" for n in own]))

    def _refuse_unread(self, row: RosterRow, problems: Sequence[RowProblem]) -> Verdict:
        lacks_phone = all(problem.code == "needs_guardian" for problem in problems)
        outcome = RowOutcome.NEEDS_GUARDIAN if lacks_phone else RowOutcome.INVALID
        number = parse_identity_number(row.cells.get("id_number"), today=self._context.today)
        named: list[PatronId] = []
        if isinstance(number, IdentityNumber):
            people = self._register.find_people([Identifier("id_card", number.value)])
            named = list(people.values())
        return Verdict(row.number, outcome, problems=problems, may_be=named)

    def _find_listed(self, pupils: Sequence[_Pupil]) -> Mapping[int, ListedPupil]:
        """Return, by row, who is on the school's roster already with just what the row says."""
        found = self._rosters.find_listed(self._school, [pupil.record for pupil in pupils])
        people = self._find_others(pupils) if self._knows_student_numbers else {}
        return {
            pupil.record.row: listed
            for pupil in pupils
            if (listed := found.get(pupil.record.row)) is not None
            and self._says_no_more(pupil, listed, people)
        }

    def _find_others(self, pupils: Sequence[_Pupil]) -> Mapping[Identifier, PatronId]:
        numbers = [each for pupil in pupils for each in pupil.numbers if each.kind != "id_card"]
        return self._register.find_people(numbers) if numbers else {}

    def _says_no_more(
        self, pupil: _Pupil, listed: ListedPupil, people: Mapping[Identifier, PatronId]
    ) -> bool:
        """Say whether all that the row says beside the pupil's data is known of him too."""
        record, patron_id = pupil.record, listed.patron_id
        if len(pupil.numbers) > 1 and any(
            people.get(number, None if number in pupil.own else patron_id) != patron_id
            for number in pupil.numbers
            if number.kind != "id_card"
        ):
            return False
        member = self._classes.make_member(patron_id, listed.class_id, listed.school_year)
        return not (tells_else(record, listed) or self._classes.is_elsewhere(record, member))

    def _look_up(
        self, pupils: Sequence[_Pupil], listed: Mapping[int, ListedPupil] = MappingProxyType({})
    ) -> _Known:
        numbers = [number for pupil in pupils for number in pupil.numbers]
        people = self._register.find_people(numbers) if numbers else {}
        refused: frozenset[Identifier] = frozenset()
        if not self._rules.ask_again_after_refusal and numbers:
            own = [number for pupil in pupils for number in pupil.own]
            refused = self._rosters.find_refused(own, self._school.institution)
        patrons = list(set(people.values()))
        twice: Counter[_Key] = Counter()
        if self._may_match():
            unknown = [pupil for pupil in pupils if people.keys().isdisjoint(pupil.numbers)]
            twice.update(pupil.key for pupil in unknown)
            patrons += [found for pupil in unknown for found in self._find_namesakes(pupil)]
        return _Known(
            people=people,
            refused=refused,
            data=self._register.fetch_personal_many(patrons) if patrons else {},
            applications=self._store.find_applications(patrons) if patrons else {},
            members=self._classes.find_members(patrons),
            listed=listed,
            twice=frozenset(key for key, times in twice.items() if times > 1),
        )

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, pupil: _Pupil, known: _Known) -> Verdict:
        verdict = self._decide(pupil, known)
        self._seen.update(pupil.marks)
        if self._has_student_numbers:
            self._remember(pupil, verdict, known.listed.get(pupil.record.row))
        if verdict.outcome in _TAKEN:
            record = pupil.record
            doubt = self._classes.find_doubt(record)
            note = (RowProblem(doubt, record.row, "class_name"),) if doubt else ()
            if note or record.notes:
                return replace(verdict, notes=(*record.notes, *note))
        return verdict

    def _remember(self, pupil: _Pupil, verdict: Verdict, listed: ListedPupil | None) -> None:
        """Remember by name who was entered from this file, with and without identity number."""
        is_new = verdict.outcome is RowOutcome.CREATED and verdict.patron_id is None
        about = verdict.application or listed
        if is_new or (about is not None and self._is_ours(about)):
            self._entered[pupil.record.id_number is None].add(pupil.key)

    def _is_ours(self, application: Application | ListedPupil) -> bool:
        return self._batch_id is not None and application.batch_id == self._batch_id

    def _decide(self, pupil: _Pupil, known: _Known) -> Verdict:
        record = pupil.record
        listed = known.listed.get(record.row)
        if listed is not None:
            people = {listed.patron_id}
        else:
            people = {known.people[number] for number in pupil.numbers if number in known.people}
        if not self._seen.isdisjoint(pupil.marks):
            return refuse_row(record, RowOutcome.DUPLICATE, "twice_in_file", people)
        if listed is not None:
            return Verdict(record.row, RowOutcome.UNCHANGED, record, patron_id=listed.patron_id)
        if len(people) > 1:
            return refuse_row(record, RowOutcome.CONFLICT, "identifiers_differ", people)
        if people:
            return self._decide_known(pupil, people.pop(), known)
        if not known.refused.isdisjoint(pupil.own):
            return refuse_row(record, RowOutcome.HELD, "refused_before")
        return self._decide_unknown(pupil, known) if self._may_match() else self._decide_new(pupil)

    def _decide_unknown(self, pupil: _Pupil, known: _Known) -> Verdict:
        """Decide on somebody whose numbers nobody has, where pupils without number are about."""
        record = pupil.record
        namesakes = self._find_namesakes(pupil)
        key = pupil.key
        if key in self._entered[record.id_number is not None]:
            return refuse_row(record, RowOutcome.HELD, "ambiguous_match", namesakes)
        if not namesakes:
            return self._decide_new(pupil)
        match = namesakes[0]
        data = known.data.get(match)
        is_formal = record.student_no is not None and record.student_no.kind == "G"
        if (
            len(namesakes) > 1
            or key in known.twice
            or data is None
            or data.id_number
            or not (record.id_number or is_formal)
            or self._joined.get(match, record.row) != record.row
        ):
            return refuse_row(record, RowOutcome.HELD, "ambiguous_match", namesakes)
        self._joined[match] = record.row
        return self._decide_known(pupil, match, known)

    def _decide_new(self, pupil: _Pupil) -> Verdict:
        record = pupil.record
        if self._is_beside_campaign(record):
            return refuse_row(record, RowOutcome.HELD, "grade_not_in_campaign")
        return Verdict(
            record.row,
            RowOutcome.CREATED,
            record,
            is_new_member=self._classes.is_elsewhere(record, None),
            new_numbers=pupil.own,
        )

    def _is_beside_campaign(self, record: StudentRecord) -> bool:
        levels = self._campaign.levels if self._campaign is not None else frozenset()
        return bool(levels) and record.level not in levels

    def _decide_known(self, pupil: _Pupil, patron_id: PatronId, known: _Known) -> Verdict:
        record = pupil.record
        application, data = known.applications.get(patron_id), known.data.get(patron_id)
        is_open = application is not None and application.state not in CLOSED_STATES
        if application is not None and is_open and not self._is_here(application):
            verdict = refuse_row(record, RowOutcome.DUPLICATE, "at_other_school")
            return replace(verdict, patron_id=patron_id, application=application)
        bar = self._bar_of(pupil, application, data, known)
        if bar is not None or data is None:
            return refuse_row(record, *(bar or _GONE), [patron_id])
        verdict = Verdict(
            record.row,
            RowOutcome.CREATED,
            record,
            patron_id=patron_id,
            known=data,
            application=application,
            is_new_member=self._classes.is_elsewhere(record, known.members.get(patron_id)),
            new_numbers=tuple(
                number for number in pupil.own if known.people.get(number) != patron_id
            ),
        )
        if application is None or not is_open:
            return verdict
        if verdict.is_new_member or verdict.new_numbers or brings_news(record, data, application):
            return replace(verdict, outcome=RowOutcome.UPDATED)
        return replace(verdict, outcome=RowOutcome.UNCHANGED)

    def _bar_of(
        self,
        pupil: _Pupil,
        application: Application | None,
        data: PersonalData | None,
        known: _Known,
    ) -> tuple[RowOutcome, str] | None:
        """Return why the row of somebody who is known is not taken, with its outcome."""
        record = pupil.record
        if application is None or application.state in CLOSED_STATES:
            if has_withdrawn(application):
                return RowOutcome.HELD, "withdrawn_before"
            if not known.refused.isdisjoint(pupil.own):
                return RowOutcome.HELD, "refused_before"
            if self._is_beside_campaign(record):
                return RowOutcome.HELD, "grade_not_in_campaign"
        if data is None:
            return _GONE
        if fold_name(data.name) != fold_name(record.name):
            return RowOutcome.CONFLICT, "name_differs"
        if record.id_number and data.id_number and record.id_number.value != data.id_number:
            return RowOutcome.CONFLICT, "identifiers_differ"
        if application is not None and asks_for_change(record, data, application):
            return RowOutcome.HELD, "change_after_approval"
        return None

    def _is_here(self, application: Application) -> bool:
        return application.school_id == self._school.school_id

    # --- pupils without an identity number (scenario 4) -----------------------------------------

    def _find_namesakes(self, pupil: _Pupil) -> Sequence[PatronId]:
        """Return pupils of this school with that name and birth date whom the row may be about.

        A row with an identity number may be about who has none; a row without, about anybody.
        """
        if pupil.record.id_number is not None:
            return self._list_unnumbered().get(pupil.key, ())
        if self._pupils is None:
            self._pupils = self._by_name(
                application.patron_id
                for application in self._store.list_applications(
                    self._school.institution, school_id=self._school.school_id
                )
                if application.state not in CLOSED_STATES and not self._is_ours(application)
            )
        return self._pupils.get(pupil.key, ())

    def _list_unnumbered(self) -> Mapping[_Key, Sequence[PatronId]]:
        if self._unnumbered is None:
            self._unnumbered = self._by_name(self._rosters.list_unnumbered(self._school))
        return self._unnumbered

    def _may_match(self) -> bool:
        """Say whether somebody may be here without identity number, or come without."""
        return self._has_student_numbers or bool(self._list_unnumbered())

    def _by_name(self, patrons: Iterable[PatronId]) -> Mapping[_Key, Sequence[PatronId]]:
        found: dict[_Key, list[PatronId]] = defaultdict(list)
        for patron_id, data in self._register.fetch_personal_many(list(patrons)).items():
            if data.birth_date is not None:
                found[fold_name(data.name), data.birth_date].append(patron_id)
        return found
