"""Closing cards: withdrawn consent, leavers, expiry, erasure.

Nothing here decides who is to be closed. Rules (decision 20, scenarios 6 and 28) —

- ``begin`` writes to our own register alone: from the next message of a kiosk on only returns are
  taken, whatever the ILS does;
- the sweep tells every ILS where the person has an account: the account is blocked and its holds
  are cancelled; when nothing is out any more, neither in the ledger nor in the ILS, the account is
  closed; then the person is erased, or kept until the time of retention is over;
- every step may be repeated: after an unknown outcome the ILS is read first;
- what an ILS cannot do, or does not let us do for days, becomes a task for its staff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.closing import ClosingReason, ClosingStep
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.library import Library
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    StorageConflict,
    StorageUnavailable,
    UnexpectedResponse,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.closing import Closing, ClosingStore
from connector.ports.ils import (
    IlsAdapter,
)
from connector.ports.store import PatronRegister
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.closing_accounts import PASSING, AccountCloser, Patience
from connector.services.facts import FactReader

__all__ = ["ClosingReport", "ClosingService"]

_log = get_logger(__name__)

_ACTOR = "worker"
_LEASE = timedelta(minutes=2)
"""How long a closing belongs to the worker that took it."""
_SOON = timedelta(minutes=1)
"""When an ILS is asked again that was away or gave no answer."""
_LATER = timedelta(hours=1)
"""When an ILS is asked again that will not close an account."""
_READ_AGAIN = timedelta(hours=6)
"""How often the ILS is read for books that may come back at its own desk."""


@dataclass(frozen=True, slots=True)
class ClosingReport:
    """What one sweep did.

    Attributes:
        erased: closed, and nothing is left of the person.
        kept: closed; the data stay for the time of retention.
        waiting: books are out.
        failed: an ILS could not be asked, or did not do it; it is tried again.
        due: how many there were to look at.
    """

    due: int = 0
    erased: int = 0
    kept: int = 0
    waiting: int = 0
    failed: int = 0

    def __add__(self, other: ClosingReport) -> ClosingReport:
        return ClosingReport(
            self.due + other.due,
            self.erased + other.erased,
            self.kept + other.kept,
            self.waiting + other.waiting,
            self.failed + other.failed,
        )


_ERASED = ClosingReport(erased=1)
_KEPT = ClosingReport(kept=1)
_WAITING = ClosingReport(waiting=1)
_FAILED = ClosingReport(failed=1)


@dataclass(frozen=True, slots=True)
class ClosingService:
    """Closes cards at every library of the process; several workers may sweep at once.

    Attributes:
        stuck_after: how long after its beginning a closing that an ILS refuses becomes a task.
    """

    store: ClosingStore
    register: PatronRegister
    facts: FactReader
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    tasks: TaskStore
    now: Clock
    stuck_after: timedelta = timedelta(days=7)

    def begin(self, patron_id: PatronId, reason: ClosingReason, *, actor: str) -> bool:
        """Begin to close a person's card; nothing but returns is possible from now on.

        Returns:
            Whether anything changed; doing it twice is harmless.

        Raises:
            NotFound: there is no such person, or he is erased.
        """
        standing = self.register.find_standing(patron_id, next(iter(self.libraries)))
        if standing is None:
            raise NotFound("patron")
        library = self.libraries.get(standing.home) or next(iter(self.libraries.values()))
        today = library.today(self.now())
        begun = self.store.begin_closing(patron_id, reason, today=today, actor=actor)
        if begun:
            _log.info("closing.begun", institution=standing.home, reason=reason.value)
        return begun

    def take_back(self, patron_id: PatronId, *, actor: str) -> bool:
        """End a closing: the person is an applicant again, with a consent that holds.

        His card stays dead until it is opened anew. Says whether he was being closed.
        """
        return self.store.end_closing(patron_id, actor=actor)

    def list_due(self, institution: InstitutionId, *, limit: int = 200) -> tuple[Closing, ...]:
        """Return what a sweep would look at now."""
        return self.store.list_closings(self._library(institution).code, self.now(), limit=limit)

    def sweep(self, institution: InstitutionId, *, limit: int = 200) -> ClosingReport:
        """Go on with every closing of a library's people that something can be done about now."""
        due = self.list_due(institution, limit=limit)
        report, patience = ClosingReport(due=len(due)), Patience()
        for closing in due:
            report += self._attend(closing, patience)
        if due:
            _log.info(
                "closing.swept",
                institution=institution,
                total=report.due,
                closed=report.erased + report.kept,
                held=report.waiting,
                failed=report.failed,
            )
        return report

    def sweep_all(self) -> ClosingReport:
        """Sweep every library; for the worker."""
        report = ClosingReport()
        for code in self.libraries:
            report += self.sweep(code)
        return report

    def attend(self, patron_id: PatronId) -> ClosingReport:
        """Go on with one person's closing at once; an empty report when he has none."""
        closing = self.store.find_closing(patron_id)
        return ClosingReport() if closing is None else self._attend(closing, Patience())

    # --- one person -----------------------------------------------------------------------------

    def _attend(self, closing: Closing, patience: Patience) -> ClosingReport:
        if not self.store.claim_closing(closing, until=self.now() + _LEASE):
            return ClosingReport()
        if closing.attempt_until is not None and closing.attempt_until > self.now():
            return self._put_off(closing, closing.step, closing.attempt_until, _WAITING)
        try:
            return self._go_on(closing, patience)
        except StorageConflict as err:
            if err.code != "unclosed_loans":
                raise
            return self._put_off(closing, ClosingStep.WAITING, self.now() + _READ_AGAIN, _WAITING)
        except NotFound:  # erased meanwhile
            return ClosingReport()
        except StorageUnavailable:
            raise
        except Exception as err:  # noqa: BLE001 - one adapter must not keep the others waiting
            _log.error("closing.failed", institution=closing.home, error=type(err).__name__)
            return self._note_stuck(closing, "failed", _FAILED)

    def _go_on(self, closing: Closing, patience: Patience) -> ClosingReport:
        """Do what can be done at every ILS: one that is away does not keep the others from it."""
        accounts = dict(closing.accounts)
        try:
            accounts |= self._find_forgotten(closing)
        except AdapterError as err:
            return self._note_failure(closing, [err], patience)
        known = {code: card for code, card in accounts.items() if code in self.adapters}
        uncounted: list[bool] = []

        def look(code: InstitutionId, card: IlsPatronId) -> None:
            if closing.step is ClosingStep.BEGUN:
                self._closer.stop_borrowing(code, card, closing.reason)
            uncounted.append(self._closer.has_uncounted(code, card, closing.patron_id))

        errors = self._closer.ask_each(known, look, patience=patience)
        if not errors and self.facts.ledger.list_unclosed(closing.patron_id):
            return self._put_off(closing, ClosingStep.WAITING, self.now() + _READ_AGAIN, _WAITING)
        if not errors and any(uncounted):
            return self._note_stuck(closing, "has_loans", _WAITING)
        if not errors:
            errors = self._closer.ask_each(
                known, lambda code, card: self._close(closing, code, card), patience=patience
            )
        if errors:
            return self._note_failure(closing, errors, patience)
        if len(known) < len(accounts):
            return self._note_stuck(closing, "library_elsewhere", _FAILED)
        return self._finish(closing)

    def _find_forgotten(self, closing: Closing) -> dict[InstitutionId, IlsPatronId]:
        """Return the account by our own id: one that an activation could not note any more, or that
        has another number since, as when a lost card's number was changed and nobody heard of it.
        """
        if not closing.was_opened:
            return {}
        card = self._closer.find_account(closing.home, closing.patron_id)
        return {} if card is None else {closing.home: card}

    def _close(self, closing: Closing, code: InstitutionId, card: IlsPatronId) -> None:
        if not self._closer.close(code, card):
            self._open_task(closing, code, "cannot_close", card)
        self.store.drop_account(closing.patron_id, code, actor=_ACTOR)

    @property
    def _closer(self) -> AccountCloser:
        return AccountCloser(self.register, self.facts, self.libraries, self.adapters, self.now)

    def _finish(self, closing: Closing) -> ClosingReport:
        """Erase the person, or keep him; raises ``StorageConflict`` when a book is out again."""
        if self._is_late(closing):
            self.tasks.finish_about(
                closing.home,
                TaskKind.CLOSING_STUCK,
                about=closing.patron_id,
                outcome="closed",
                actor=_ACTOR,
            )
        now_is = self.store.find_closing(closing.patron_id)
        if now_is is None:  # taken back while the ILS was asked: his guardian consents again
            return ClosingReport()
        if now_is.reason.erases or not closing.was_opened:
            # An application entered since ends with him; with a consent he would be taken back.
            self.begin(closing.patron_id, now_is.reason, actor=_ACTOR)
            self.register.erase_person(closing.patron_id, actor=_ACTOR)
            return _ERASED
        if self.store.finish_closing(closing.patron_id, actor=_ACTOR):
            return _KEPT
        return self._put_off(closing, ClosingStep.CLOSING, self.now() + _SOON, _WAITING)

    # --- what cannot be done now ----------------------------------------------------------------

    def _note_failure(
        self, closing: Closing, errors: Sequence[AdapterError], patience: Patience
    ) -> ClosingReport:
        patience.note(errors)
        error = errors[0]
        code = error.code if isinstance(error, UnexpectedResponse) else _CODES.get(type(error), "")
        if code == "has_loans":
            return self._note_stuck(closing, code, _WAITING)
        if not isinstance(error, PASSING):
            return self._note_stuck(closing, code, _FAILED)
        pauses = [e.retry_after_s or 0 for e in errors if isinstance(e, AdapterUnavailable)]
        until = self.now() + max(_SOON, timedelta(seconds=max(pauses, default=0)))
        return self._note_stuck(closing, code, _FAILED, until=until)

    def _note_stuck(
        self,
        closing: Closing,
        code: str,
        outcome: ClosingReport,
        *,
        until: datetime | None = None,
    ) -> ClosingReport:
        """Try again later; after days, staff have to look at it."""
        if self._is_late(closing):
            self._open_task(closing, closing.home, code)
        is_begun = closing.step is ClosingStep.BEGUN
        step = ClosingStep.BEGUN if is_begun and outcome is _FAILED else ClosingStep.CLOSING
        return self._put_off(closing, step, until or self.now() + _LATER, outcome)

    def _is_late(self, closing: Closing) -> bool:
        return self.now() - closing.since >= self.stuck_after

    def _open_task(
        self, closing: Closing, code: InstitutionId, why: str, card: IlsPatronId | None = None
    ) -> None:
        """Ask staff; with a card it is an account that they have to close themselves.

        Its number stands in the task: when the person is erased, nothing else tells which it was.
        """
        own = {} if card is None else {"account": card}
        self.tasks.open_task(
            code,
            TaskKind.CLOSING_STUCK,
            about=closing.patron_id if card is None else f"{closing.patron_id}/close",
            patron_id=closing.patron_id if card is None else None,  # it outlives his erasure
            detail={"reason": closing.reason.value, "code": why, **own},
            actor=_ACTOR,
        )

    def _put_off(
        self, closing: Closing, step: ClosingStep, until: datetime, outcome: ClosingReport
    ) -> ClosingReport:
        self.store.put_off(closing.patron_id, step, until=until)
        return outcome

    def _library(self, institution: InstitutionId) -> Library:
        try:
            return self.libraries[institution]
        except KeyError as err:
            raise ConfigurationError(
                f"There is no library {institution}.", f"Use one of: {', '.join(self.libraries)}."
            ) from err


_CODES: dict[type[AdapterError], str] = {
    AdapterUnavailable: "ils_unavailable",
    OutcomeUnknown: "outcome_unknown",
    AdapterAuthFailed: "ils_credentials",
    UnsupportedOperation: "ils_cannot",
}
