"""Taking back the list that a class teacher ticked: each line to its applicant, or to the report.

Nothing here reads a file. Rules (scenario 5) —

- a line is recorded for the applicant of its row only if batch, class and masked name beside it fit
  him: lines that were sorted or shifted, and another batch's list, become a report, never somebody
  else's consent; a line that says neither batch nor name is nobody's;
- what is wrong with one line keeps no other back;
- reading the same list again records nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from connector.domain.enrolment import CLOSED_STATES, ConsentScope
from connector.domain.identity import mask_name
from connector.enrolment.consent_list import Answer, AnswerLine, ListLine
from connector.errors import NotFound
from connector.ports.enrolment import Application
from connector.services.consents import ConsentService

__all__ = ["OUTCOME_WORDS", "LineOutcome", "LineResult", "list_lines", "take_answers"]


class LineOutcome(StrEnum):
    """What became of a line; the first five were taken as they are."""

    GIVEN = "given"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNUSABLE = "unusable"
    NO_ANSWER = "no_answer"
    ROW_MISSING = "row_missing"
    ROW_TWICE = "row_twice"
    ROW_UNKNOWN = "row_unknown"
    ANSWER_UNKNOWN = "answer_unknown"
    SCOPE_UNKNOWN = "scope_unknown"
    SCOPE_NOT_IN_TEXT = "scope_not_in_text"
    EVIDENCE_MISSING = "evidence_missing"
    OTHER_BATCH = "other_batch"
    NOT_THIS_CHILD = "not_this_child"
    CARD_IS_OPEN = "card_is_open"
    CLOSED = "closed"

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to look at the line."""
        return self not in _TAKEN


_O = LineOutcome
_TAKEN = frozenset({_O.GIVEN, _O.UNCHANGED, _O.REFUSED, _O.UNUSABLE, _O.NO_ANSWER})

OUTCOME_WORDS: Mapping[LineOutcome, tuple[str, str]] = {
    _O.GIVEN: ("已登记同意", "agreed, recorded"),
    _O.UNCHANGED: ("此前已登记", "recorded before"),
    _O.REFUSED: ("已登记不同意，申请已删除", "refused, the applicant is removed"),
    _O.UNUSABLE: ("授权书无效，继续等待", "the form is no answer, still waiting"),
    _O.NO_ANSWER: ("尚未答复", "no answer yet"),
    _O.ROW_MISSING: ("行号不是数字，请照原表填写", "no row number: copy it from the list"),
    _O.ROW_TWICE: ("同一行号出现多次，请只留一行", "the row is there twice: keep one line"),
    _O.ROW_UNKNOWN: ("批次中没有这一行", "the batch has no such row (any more)"),
    _O.ANSWER_UNKNOWN: (
        "答复看不懂，请填 同意、不同意、看不清 或 别的孩子",
        "not an answer: write given, refused, unreadable or other child",
    ),
    _O.SCOPE_UNKNOWN: ("范围写法不对", "not a scope"),
    _O.SCOPE_NOT_IN_TEXT: ("授权书没有这一项", "the text that was signed has no such scope"),
    _O.EVIDENCE_MISSING: (
        "缺少凭证，请写明授权书存放处",
        "no evidence: say where the signed form is kept",
    ),
    _O.OTHER_BATCH: (
        "这是另一批次的名单，请按该批次登记",
        "of another batch: record it for that one",
    ),
    _O.NOT_THIS_CHILD: (
        "班级或姓名与该行号的学生不符，未登记",
        "class or name are not those of this row's pupil: nothing recorded",
    ),
    _O.CARD_IS_OPEN: (
        "借阅卡已启用，请按撤回办理",
        "the card is open: record a withdrawal instead",
    ),
    _O.CLOSED: ("申请已关闭", "the application is closed"),
}


@dataclass(frozen=True, slots=True)
class LineResult:
    """One line of the list, and what became of it."""

    line: int
    row: int | None
    outcome: LineOutcome


def list_lines(
    consents: ConsentService, applications: Sequence[Application], *, batch: str = ""
) -> tuple[ListLine, ...]:
    """Return the lines of the list for those who are applicants or have a card; names masked.

    Args:
        batch: the number of the batch.
    """
    lines = []
    for application in applications:
        if application.state in CLOSED_STATES or application.batch_row is None:
            continue
        try:
            name = mask_name(consents.register.fetch_personal(application.patron_id).name)
        except NotFound:
            continue
        verdict = consents.check(application)
        row, class_name = application.batch_row, application.class_name
        lines.append(ListLine(row, class_name, name, verdict.value, batch))
    return tuple(lines)


def take_answers(
    consents: ConsentService,
    applications: Sequence[Application],
    lines: Sequence[AnswerLine],
    *,
    batch: str = "",
    scopes: Sequence[ConsentScope],
    evidence: str,
    actor: str,
    text_version: str = "",
    on_line: Callable[[int, int], None] | None = None,
) -> tuple[LineResult, ...]:
    """Record the answers of a list.

    Args:
        applications: those of the batch.
        batch: its number.
        scopes, evidence: for lines that name none themselves.
        on_line: called after each line with how many are done and how many there are.

    Raises:
        ConfigurationError: the text is not known; nothing was recorded.
    """
    by_row = {application.batch_row: application for application in applications}
    taker = _Taker(consents, by_row, batch, tuple(scopes), evidence, actor, text_version)
    for institution in {application.institution for application in applications}:
        consents.find_text(institution, version=text_version)
    results = []
    for line in lines:
        results.append(LineResult(line.line, line.row, taker.take(line)))
        if on_line is not None:
            on_line(len(results), len(lines))
    return tuple(results)


@dataclass(frozen=True, slots=True)
class _Taker:
    consents: ConsentService
    by_row: Mapping[int | None, Application]
    batch: str
    scopes: tuple[ConsentScope, ...]
    evidence: str
    actor: str
    text_version: str

    def take(self, line: AnswerLine) -> LineOutcome:
        if line.problem:
            return LineOutcome(line.problem)
        if line.batch and line.batch != self.batch:
            return LineOutcome.OTHER_BATCH
        application = self.by_row.get(line.row)
        if application is None:
            return LineOutcome.ROW_UNKNOWN
        if not self._fits(application, line):
            return LineOutcome.NOT_THIS_CHILD
        if line.answer is Answer.NONE:
            return LineOutcome.NO_ANSWER
        if application.state in CLOSED_STATES:
            return LineOutcome.CLOSED
        if line.answer is Answer.REFUSED:
            done = self.consents.refuse([application], actor=self.actor).done
            return LineOutcome.REFUSED if done else LineOutcome.CARD_IS_OPEN
        if line.answer is not Answer.GIVEN:
            self.consents.note_unusable(application, line.answer.value, actor=self.actor)
            return LineOutcome.UNUSABLE
        return self._take_consent(application, line)

    def _fits(self, application: Application, line: AnswerLine) -> bool:
        if line.class_name and line.class_name != application.class_name:
            return False
        if not line.name:
            return bool(line.batch)
        try:
            known = self.consents.register.fetch_personal(application.patron_id)
        except NotFound:
            return False
        return line.name in {known.name, mask_name(known.name)}

    def _take_consent(self, application: Application, line: AnswerLine) -> LineOutcome:
        evidence = line.evidence or self.evidence.strip()
        if not evidence:
            return LineOutcome.EVIDENCE_MISSING
        scopes = line.scopes or self.scopes
        text = self.consents.find_text(application.institution, version=self.text_version)
        if not text.scopes.issuperset(scopes):
            return LineOutcome.SCOPE_NOT_IN_TEXT
        if self._is_known(application, scopes, text.version, evidence):
            return LineOutcome.UNCHANGED
        report = self.consents.record(
            [application],
            scopes,
            evidence=evidence,
            actor=self.actor,
            text_version=self.text_version,
        )
        return LineOutcome.GIVEN if report.done else LineOutcome.CLOSED

    def _is_known(
        self,
        application: Application,
        scopes: Sequence[ConsentScope],
        version: str,
        evidence: str,
    ) -> bool:
        known = {
            consent.scope
            for consent in self.consents.store.list_consents(application.patron_id)
            if consent.holds and (consent.text_version, consent.evidence) == (version, evidence)
        }
        return known.issuperset(scopes)
