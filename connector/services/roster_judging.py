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

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import (
    CLOSED_STATES,
    ApplicationState,
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
from connector.ports.rosters import RosterStore
from connector.ports.schools import Campaign, ClassMember
from connector.ports.store import PatronRegister, PersonalData
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.roster_classes import RosterClasses

__all__ = ["EDITABLE", "RowCheck", "RowJudge", "Verdict", "merge_data"]

RowCheck = Callable[[School, StudentRecord], Sequence[str]]
"""A plugin's say on a row: problem codes; any code makes the row invalid."""

EDITABLE = frozenset({ApplicationState.ENTERED, ApplicationState.SCHOOL_REVIEWED})
"""States in which a school may change what it entered (A37)."""

_COMES_BACK = frozenset({ClosingReason.LEFT, ClosingReason.EXPIRED, ClosingReason.EXCHANGED})
_TAKEN = frozenset({RowOutcome.CREATED, RowOutcome.UPDATED, RowOutcome.UNCHANGED})
_Key = tuple[str, date]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one row, and of whom it speaks.

    Attributes:
        record: None for a row that could not be read.
        patron_id: whom it is about, as far as he is known.
        may_be: people whom it may be about; a complete roster names them.
        is_new_member: the row puts the pupil into a class that he is not in.
        new_numbers: those that he did not have.
    """

    row: int
    outcome: RowOutcome
    record: StudentRecord | None = field(default=None, repr=False)
    problems: Sequence[RowProblem] = ()
    notes: Sequence[RowProblem] = ()
    patron_id: PatronId | None = None
    may_be: Sequence[PatronId] = ()
    known: PersonalData | None = field(default=None, repr=False)
    application: Application | None = None
    is_new_member: bool = False
    new_numbers: Sequence[Identifier] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the people whom a chunk names."""

    people: Mapping[Identifier, PatronId] = field(repr=False)
    refused: frozenset[Identifier] = field(repr=False)
    data: Mapping[PatronId, PersonalData] = field(repr=False)
    applications: Mapping[PatronId, Application]
    members: Mapping[PatronId, ClassMember]
    twice: frozenset[_Key] = field(repr=False)


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
        self._seen: set[str] = set()
        self._entered: tuple[set[_Key], set[_Key]] = (set(), set())
        self._joined: dict[PatronId, int] = {}
        self._unnumbered: Mapping[_Key, Sequence[PatronId]] | None = None
        self._pupils: Mapping[_Key, Sequence[PatronId]] | None = None

    def judge(self, rows: Iterable[RosterRow]) -> list[Verdict]:
        """Return the verdicts on the next rows of the file, in their order."""
        read = [(row, self._read(row)) for row in rows]
        known = self._look_up([record for _, record in read if isinstance(record, StudentRecord)])
        verdicts = []
        for row, record in read:
            if isinstance(record, StudentRecord):
                verdicts.append(self._judge(record, known))
            else:
                verdicts.append(self._refuse_unread(row, record))
        return verdicts

    def judge_again(self, records: Sequence[StudentRecord]) -> list[Verdict]:
        """Return new verdicts on rows that were judged before: what is stored has changed."""
        for record in records:
            self._seen.difference_update(map(_mark, record.identifiers))
        self._unnumbered = self._pupils = None
        known = self._look_up(records)
        return [self._judge(record, known) for record in records]

    # --- reading --------------------------------------------------------------------------------

    def _read(self, row: RosterRow) -> StudentRecord | list[RowProblem]:
        parsed = parse_row(row.cells, row.number, self._context)
        if isinstance(parsed, StudentRecord) and self._checks:
            codes = [code for check in self._checks for code in check(self._school, parsed)]
            return [RowProblem(code, row.number, "") for code in codes] or parsed
        return parsed

    def _refuse_unread(self, row: RosterRow, problems: Sequence[RowProblem]) -> Verdict:
        lacks_phone = all(problem.code == "needs_guardian" for problem in problems)
        outcome = RowOutcome.NEEDS_GUARDIAN if lacks_phone else RowOutcome.INVALID
        number = parse_identity_number(row.cells.get("id_number"), today=self._context.today)
        named = []
        if isinstance(number, IdentityNumber):
            person = self._register.find_person([Identifier("id_card", number.value)])
            named = [person] if person is not None else []
        return Verdict(row.number, outcome, problems=problems, may_be=named)

    def _look_up(self, records: Sequence[StudentRecord]) -> _Known:
        numbers = [number for record in records for number in _numbers_of(record)]
        people = self._register.find_people(numbers) if numbers else {}
        refused: frozenset[Identifier] = frozenset()
        if not self._rules.ask_again_after_refusal and numbers:
            own = [number for record in records for number in record.identifiers]
            refused = self._rosters.find_refused(own, self._school.institution)
        patrons = list(set(people.values()))
        twice: Counter[_Key] = Counter()
        if self._may_match():
            unknown = [
                record
                for record in records
                if not any(number in people for number in _numbers_of(record))
            ]
            twice.update(map(_key_of, unknown))
            patrons += [found for record in unknown for found in self._find_namesakes(record)]
        return _Known(
            people=people,
            refused=refused,
            data=self._register.fetch_personal_many(patrons) if patrons else {},
            applications=self._store.find_applications(patrons) if patrons else {},
            members=self._classes.find_members(patrons),
            twice=frozenset(key for key, times in twice.items() if times > 1),
        )

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, record: StudentRecord, known: _Known) -> Verdict:
        verdict = self._decide(record, known)
        self._seen.update(map(_mark, record.identifiers))
        if self._has_student_numbers:
            self._remember(record, verdict)
        if verdict.outcome in _TAKEN:
            doubt = self._classes.find_doubt(record)
            note = (RowProblem(doubt, record.row, "class_name"),) if doubt else ()
            if note or record.notes:
                return replace(verdict, notes=(*record.notes, *note))
        return verdict

    def _remember(self, record: StudentRecord, verdict: Verdict) -> None:
        """Remember by name who was entered from this file, with and without identity number."""
        is_new = verdict.outcome is RowOutcome.CREATED and verdict.patron_id is None
        application = verdict.application
        if is_new or (application is not None and self._is_ours(application)):
            self._entered[record.id_number is None].add(_key_of(record))

    def _is_ours(self, application: Application) -> bool:
        return self._batch_id is not None and application.batch_id == self._batch_id

    def _decide(self, record: StudentRecord, known: _Known) -> Verdict:
        people = {known.people[number] for number in _numbers_of(record) if number in known.people}
        if not self._seen.isdisjoint(map(_mark, record.identifiers)):
            return _refuse(record, RowOutcome.DUPLICATE, "twice_in_file", people)
        if known.refused and not known.refused.isdisjoint(record.identifiers):
            return _refuse(record, RowOutcome.HELD, "refused_before", people)
        if len(people) > 1:
            return _refuse(record, RowOutcome.CONFLICT, "identifiers_differ", people)
        if people:
            return self._decide_known(record, people.pop(), known)
        if not self._may_match():
            return self._decide_new(record)
        return self._decide_unknown(record, known)

    def _decide_unknown(self, record: StudentRecord, known: _Known) -> Verdict:
        """Decide on somebody whose numbers nobody has, where pupils without number are about."""
        namesakes = self._find_namesakes(record)
        key = _key_of(record)
        if key in self._entered[record.id_number is not None]:
            return _refuse(record, RowOutcome.HELD, "ambiguous_match", namesakes)
        if not namesakes:
            return self._decide_new(record)
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
            return _refuse(record, RowOutcome.HELD, "ambiguous_match", namesakes)
        self._joined[match] = record.row
        return self._decide_known(record, match, known)

    def _decide_new(self, record: StudentRecord, verdict: Verdict | None = None) -> Verdict:
        campaign = self._campaign
        if campaign is not None and campaign.levels and record.level not in campaign.levels:
            return _refuse(record, RowOutcome.HELD, "grade_not_in_campaign")
        if verdict is not None:
            return verdict
        new = Verdict(record.row, RowOutcome.CREATED, record, new_numbers=record.identifiers)
        return replace(new, is_new_member=self._classes.is_elsewhere(record, None))

    def _decide_known(self, record: StudentRecord, patron_id: PatronId, known: _Known) -> Verdict:
        application = known.applications.get(patron_id)
        data = known.data.get(patron_id)
        mine = [patron_id]
        if (
            application is not None
            and application.state is ApplicationState.WITHDRAWN
            and application.reason not in _COMES_BACK
        ):
            return _refuse(record, RowOutcome.HELD, "withdrawn_before", mine)
        is_open = application is not None and application.state not in CLOSED_STATES
        if application is not None and is_open and not self._is_here(application):
            return replace(
                _refuse(record, RowOutcome.DUPLICATE, "at_other_school"),
                patron_id=patron_id,
                application=application,
            )
        if data is None:  # erased at this very moment
            return _refuse(record, RowOutcome.HELD, "withdrawn_before", mine)
        if fold_name(data.name) != fold_name(record.name):
            return _refuse(record, RowOutcome.CONFLICT, "name_differs", mine)
        if record.id_number and data.id_number and record.id_number.value != data.id_number:
            return _refuse(record, RowOutcome.CONFLICT, "identifiers_differ", mine)
        moves = self._classes.is_elsewhere(record, known.members.get(patron_id))
        verdict = Verdict(
            record.row,
            RowOutcome.CREATED,
            record,
            patron_id=patron_id,
            known=data,
            application=application,
            is_new_member=moves,
            new_numbers=tuple(
                number for number in record.identifiers if known.people.get(number) != patron_id
            ),
        )
        if application is None or not is_open:
            return self._decide_new(record, verdict)
        if self._asks_for_change(record, data, application):
            return _refuse(record, RowOutcome.HELD, "change_after_approval", mine)
        if moves or verdict.new_numbers or _brings_news(record, data, application):
            return replace(verdict, outcome=RowOutcome.UPDATED)
        return replace(verdict, outcome=RowOutcome.UNCHANGED)

    def _is_here(self, application: Application) -> bool:
        return application.school_id == self._school.school_id

    def _asks_for_change(
        self, record: StudentRecord, data: PersonalData, application: Application
    ) -> bool:
        """Say whether the row changes what only the library may change after its approval."""
        if application.state in EDITABLE:
            return False
        merged = merge_data(data, record)
        same = replace(merged, id_number=data.id_number, birth_date=data.birth_date)
        return same != data or (record.district or application.district) != application.district

    # --- pupils without an identity number (scenario 4) -----------------------------------------

    def _find_namesakes(self, record: StudentRecord) -> Sequence[PatronId]:
        """Return pupils of this school with that name and birth date whom the row may be about.

        A row with an identity number may be about who has none; a row without, about anybody.
        """
        if record.id_number is not None:
            return self._list_unnumbered().get(_key_of(record), ())
        if self._pupils is None:
            self._pupils = self._by_name(
                application.patron_id
                for application in self._store.list_applications(
                    self._school.institution, school_id=self._school.school_id
                )
                if application.state not in CLOSED_STATES and not self._is_ours(application)
            )
        return self._pupils.get(_key_of(record), ())

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


def merge_data(known: PersonalData, record: StudentRecord) -> PersonalData:
    """Return what is known, with what the row says on top; empty cells change nothing."""
    return PersonalData(
        name=known.name,
        id_number=record.id_number.value if record.id_number else known.id_number,
        phone=record.phone or known.phone,
        guardian_name=record.guardian_name or known.guardian_name,
        guardian_phone=record.guardian_phone or known.guardian_phone,
        birth_date=record.birth_date,
    )


def _brings_news(record: StudentRecord, data: PersonalData, application: Application) -> bool:
    return (
        not application.on_roster
        or merge_data(data, record) != data
        or (record.class_name or application.class_name) != application.class_name
        or (record.district or application.district) != application.district
        or record.willing not in {"no_answer", application.willing}
    )


def _numbers_of(record: StudentRecord) -> tuple[Identifier, ...]:
    """Return the numbers by which somebody else's record may have known this pupil too: ``G`` holds
    an identity number.
    """
    found = record.identifiers
    identity, student = record.id_number, record.student_no
    if student is None:
        assert identity is not None  # noqa: S101 - a record has one of them
        return (*found, Identifier("student_no", "G" + identity.value))
    if student.kind == "G" and identity is None:
        return (*found, Identifier("id_card", student.value[1:]))
    return found


def _key_of(record: StudentRecord) -> _Key:
    return fold_name(record.name), record.birth_date


def _mark(identifier: Identifier) -> str:
    return f"{identifier.kind}:{identifier.value}"


def _refuse(
    record: StudentRecord, outcome: RowOutcome, code: str, may_be: Iterable[PatronId] = ()
) -> Verdict:
    column = "id_number" if record.id_number is not None else "student_no"
    if code == "name_differs":
        column = "name"
    elif code == "grade_not_in_campaign":
        column = "class_name"
    problem = RowProblem(code, record.row, column)
    return Verdict(record.row, outcome, record, (problem,), may_be=tuple(may_be))
