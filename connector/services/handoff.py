"""Opening cards by a file: for an ILS that its staff fill from a file, and no program.

Nothing here writes a file or knows its columns. Two steps (A10, decisions 19 to 21) —

- ``export`` gives every approved pupil his card number and a line of the file. The consent is asked
  for at that moment, an account that the ILS has already is a task for the staff as everywhere, and
  from then on the ILS may have the account: who withdraws is closed there, never just forgotten;
- ``confirm`` asks the ILS for each card and opens those that are there, with a consent that holds
  then. What the ILS did not take goes back and can be exported anew; nobody is opened on a guess.

Rules: a PIN exists in the file and where the caller gave it out, which is done before the file is
written; a pupil who stands in a file is not put into another one, unless the caller says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connector.domain.enrolment import CLOSED_STATES, ApplicationState
from connector.domain.ids import IlsPatronId
from connector.domain.name_match import fold_name
from connector.enrolment.handoff_file import HandoffLayout
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    ConfigurationError,
    ConnectorError,
    NotFound,
    OutcomeUnknown,
    StorageConflict,
)
from connector.log import get_logger
from connector.ports.enrolment import OUTCOME_UNKNOWN, Application
from connector.ports.ils import Capability
from connector.ports.store import PersonalData
from connector.services.activation import Activation, ActivationOutcome, code_of
from connector.services.handoff_result import HandoffOutcome, HandoffResult, from_activation
from connector.services.opening import CardOpening

__all__ = ["HandoffService"]

_log = get_logger(__name__)

_GIVE_UP_AFTER = 3
_S = ApplicationState
_REJECTED = "rejected_by_ils"


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HandoffService:
    """Hands over and confirms the cards of one library.

    Attributes:
        opening: what one card needs, whichever way it is opened.
    """

    opening: CardOpening
    layout: HandoffLayout

    def export(
        self,
        applications: Sequence[Application],
        *,
        actor: str,
        give_out: Callable[[Activation], None],
        write: Callable[[bytes], None],
        again: bool = False,
        on_progress: Progress | None = None,
    ) -> tuple[HandoffResult, ...]:
        """Give approved pupils their numbers, and write the file.

        Args:
            give_out: takes the PIN of one pupil, where the file has PINs; when it returns the PIN
                is on the disk.
            write: takes the whole file, once; it is not called when nobody stands in it. When it
                returns the file is on the disk.
            again: those who stand in an earlier file, too; with a new PIN.
        """
        results: list[HandoffResult] = []
        lines: dict[int, str] = {}
        failures = 0
        try:
            for application in applications:
                if failures >= _GIVE_UP_AFTER:
                    results.append(HandoffResult(application, HandoffOutcome.NOT_TRIED))
                    continue
                try:
                    result, line = self._take(application, actor, give_out, again=again)
                    failures = 0
                except AdapterError as err:
                    result, line = self._note(application, err), ""
                    failures += _weight_of(err)
                if line:
                    lines[len(results)] = line
                results.append(result)
                _tell(on_progress, len(results), len(applications))
            for place in list(lines):
                if ended := self._find_left(results[place], actor):
                    results[place] = ended
                    del lines[place]
            if lines:
                write(self.layout.encode(lines.values()))
        except BaseException:
            for place in lines:
                self._undo(results[place], actor)
            raise
        _log.info(
            "cards.handed_off",
            institution=self.opening.rules.institution,
            rows=len(results),
            created=_count(results, HandoffOutcome.HANDED_OFF),
            failed=_count(results, HandoffOutcome.FAILED),
        )
        return tuple(results)

    def confirm(
        self,
        applications: Sequence[Application],
        *,
        actor: str,
        rejected: Mapping[str, str] | None = None,
        is_name_checked: bool = False,
        on_progress: Progress | None = None,
    ) -> tuple[HandoffResult, ...]:
        """Open the cards that the ILS has by now.

        Args:
            rejected: card number → reason, of the ILS's load report. Where the ILS cannot be asked
                for a card, all that the report does not name count as loaded.
            is_name_checked: the staff know that the cards are the children's although the names
                differ.

        Raises:
            ConfigurationError: the ILS cannot be asked, and there is no report.
        """
        asks = Capability.FETCH_PATRON in self.opening.adapter.capabilities
        if not asks and rejected is None:
            raise ConfigurationError(
                "This library system cannot be asked for a card.",
                "Give its load report with --file.",
            )
        results: list[HandoffResult] = []
        failures = 0
        for application in applications:
            if failures >= _GIVE_UP_AFTER:
                results.append(HandoffResult(application, HandoffOutcome.NOT_TRIED))
                continue
            try:
                result = self._confirm(
                    application, actor, rejected or {}, is_name_checked=is_name_checked
                )
                failures = 0
            except NotFound:  # erased at this very moment
                result = HandoffResult(application, HandoffOutcome.GONE)
            except AdapterError as err:
                result = HandoffResult(application, HandoffOutcome.FAILED, error=code_of(err))
                failures += _weight_of(err)
            results.append(result)
            _tell(on_progress, len(results), len(applications))
        _log.info(
            "cards.confirmed",
            institution=self.opening.rules.institution,
            rows=len(results),
            created=_count(results, HandoffOutcome.OPENED),
            failed=_count(results, HandoffOutcome.FAILED),
        )
        return tuple(results)

    # --- export -----------------------------------------------------------------------------------

    def _take(
        self,
        application: Application,
        actor: str,
        give_out: Callable[[Activation], None],
        *,
        again: bool,
    ) -> tuple[HandoffResult, str]:
        """Return what becomes of one application, and its line where it gets one."""
        opening, store = self.opening, self.opening.store
        current = store.fetch_application(application.application_id)
        if current is None:
            return HandoffResult(application, HandoffOutcome.GONE), ""
        settled = self._find_settled(current, actor, again=again)
        if settled is not None:
            return settled, ""
        begun = store.begin_activation(
            current.application_id, cards=opening.rules.cards, actor=actor, now=opening.now()
        )
        if begun is None:
            return HandoffResult(current, HandoffOutcome.NOT_TRIED, error="in_progress"), ""
        try:
            known = opening.register.fetch_personal(begun.patron_id)
        except NotFound as err:
            return from_activation(opening.fail(begun, code_of(err))), ""
        if opening.has_other_account(begun, known):
            return from_activation(opening.leave_to_staff(begun, actor)), ""
        return self._write_row(begun, known, actor, give_out)

    def _find_left(self, result: HandoffResult, actor: str) -> HandoffResult | None:
        """Return what became of a pupil who withdrew while the others were taken up."""
        current = self.opening.store.fetch_application(result.application.application_id)
        if current is None:
            return HandoffResult(result.application, HandoffOutcome.GONE)
        ended = self._find_ended(current)
        if ended is None:
            return None
        self._undo(result, actor)
        return HandoffResult(current, ended, result.card)

    def _undo(self, result: HandoffResult, actor: str) -> None:
        """Write that a pupil stands in no file; who stands in an earlier one still does."""
        if not result.is_again:
            self._end(result.application, "file_not_written", actor)

    def _find_settled(
        self, current: Application, actor: str, *, again: bool
    ) -> HandoffResult | None:
        """Return what there is to say of an application that gets no line."""
        if current.handed_off_at is not None and current.state is not _S.ACTIVE:
            ended = self._find_ended(current)
            if ended is None and not again:
                ended = HandoffOutcome.HANDED_OFF_BEFORE
            if ended is not None:
                return HandoffResult(current, ended, current.card)
        settled = self.opening.find_settled(current, actor)
        return None if settled is None else from_activation(settled)

    def _write_row(
        self,
        begun: Application,
        known: PersonalData,
        actor: str,
        give_out: Callable[[Activation], None],
    ) -> tuple[HandoffResult, str]:
        """Give out the PIN, note that the pupil stands in the file, and return his line."""
        opening = self.opening
        expires = opening.expiry_of(begun)
        pin = opening.new_pin() if self.layout.has_pin else ""
        try:
            line = self.layout.write_row(opening.describe(begun, known, pin, expires))
        except ValueError:  # its text would name the pupil
            return from_activation(opening.fail(begun, "not_in_encoding")), ""
        is_again = begun.handed_off_at is not None
        if not opening.has_consent(begun):
            return from_activation(opening.send_back(begun, actor)), ""
        if pin:
            given = Activation(begun, ActivationOutcome.ACTIVATED, begun.card, pin, is_again)
            give_out(given)
        try:
            is_noted = opening.store.save_handoff(
                begun.application_id,
                attempt=begun.attempts,
                card=IlsPatronId(begun.card),
                expires=expires,
                actor=actor,
                now=opening.now(),
            )
        except (NotFound, StorageConflict) as err:
            return from_activation(opening.fail(begun, code_of(err))), ""
        if not is_noted:  # withdrawn at this very moment
            return HandoffResult(begun, HandoffOutcome.NO_CONSENT, begun.card), ""
        return HandoffResult(begun, HandoffOutcome.HANDED_OFF, begun.card, is_again), line

    # --- confirm ----------------------------------------------------------------------------------

    def _confirm(
        self,
        application: Application,
        actor: str,
        rejected: Mapping[str, str],
        *,
        is_name_checked: bool,
    ) -> HandoffResult:
        opening, store = self.opening, self.opening.store
        current = store.fetch_application(application.application_id)
        if current is None:
            return HandoffResult(application, HandoffOutcome.GONE)
        card = current.card
        if current.state is _S.ACTIVE:
            return HandoffResult(current, HandoffOutcome.ALREADY_ACTIVE, card)
        if current.handed_off_at is None:
            return HandoffResult(current, HandoffOutcome.NOT_HANDED_OFF, card)
        if ended := self._find_ended(current):
            return HandoffResult(current, ended, card)
        if card in rejected:
            self._end(current, _REJECTED, actor)
            return HandoffResult(current, HandoffOutcome.REJECTED, card, error=rejected[card])
        missing = self._find_missing(current, is_name_checked=is_name_checked)
        if missing is not None:
            return HandoffResult(current, missing, card)
        expires = opening.expiry_of(current, current.handed_off_at)
        begun = store.begin_activation(
            current.application_id, cards=opening.rules.cards, actor=actor, now=opening.now()
        )
        if begun is None:
            return HandoffResult(current, HandoffOutcome.NOT_TRIED, card, error="in_progress")
        done = Activation(begun, ActivationOutcome.ACTIVATED, begun.card)
        try:
            return from_activation(opening.finish(done, expires, actor))
        except (NotFound, StorageConflict) as err:
            return from_activation(opening.fail(begun, code_of(err)))

    def _find_missing(
        self, application: Application, *, is_name_checked: bool
    ) -> HandoffOutcome | None:
        """Ask the ILS for a card; return why it is not to be opened, None when it is there."""
        opening, card = self.opening, IlsPatronId(application.card)
        if Capability.FETCH_PATRON not in opening.adapter.capabilities:
            return None
        facts = opening.pacing.ask(
            lambda: opening.adapter.fetch_patron(card), may_repeat=lambda: True, is_question=True
        )
        if not facts.valid:
            return HandoffOutcome.NOT_THERE_YET
        ours = fold_name(opening.register.fetch_personal(application.patron_id).name)
        theirs = fold_name(facts.name)
        if theirs and theirs != ours and not is_name_checked:
            return HandoffOutcome.OTHER_NAME
        return None

    # --- both -------------------------------------------------------------------------------------

    def _find_ended(self, application: Application) -> HandoffOutcome | None:
        """Return why nothing goes on with a pupil who stands in a file; None when it may."""
        if application.state in CLOSED_STATES:
            return HandoffOutcome.CLOSING
        if not self.opening.has_consent(application):
            return HandoffOutcome.NO_CONSENT
        return None

    def _end(self, application: Application, code: str, actor: str) -> None:
        self.opening.store.end_handoff(
            application.application_id, code, actor=actor, now=self.opening.now()
        )

    def _note(self, application: Application, err: AdapterError) -> HandoffResult:
        """Keep why the ILS could not be asked; nothing was told to it."""
        code = code_of(err)
        self.opening.store.save_error(
            application.application_id,
            "ils_unavailable" if code == OUTCOME_UNKNOWN else code,
            now=self.opening.now(),
        )
        return HandoffResult(application, HandoffOutcome.FAILED, error=code)


def _count(results: Sequence[HandoffResult], outcome: HandoffOutcome) -> int:
    return sum(result.outcome is outcome for result in results)


def _weight_of(err: ConnectorError) -> int:
    """Return how much an error counts towards giving up."""
    if isinstance(err, AdapterAuthFailed):
        return _GIVE_UP_AFTER
    return int(isinstance(err, AdapterUnavailable | OutcomeUnknown))


def _tell(on_progress: Progress | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(done, total)
