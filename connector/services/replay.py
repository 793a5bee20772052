"""Telling an ILS that is back what happened while it was away, each library by itself.

Nothing here decides what an event is worth; ``replay_judging`` does. Rules: decisions 7 and 9;
scenarios 15, 16, 37 —

- rows of a library are told in their order; one that goes wrong is put off, ever longer, and holds
  up the later rows of its own item only;
- an ILS that is away ends the round of its library; every library has a thread of its own, so that
  a hung ILS keeps no other waiting;
- that a row is being told is committed before it is told: after a crash, or without an answer, the
  ILS is asked, and told again only when nothing was to be seen of it for ``apart``;
- what does not fit is listed for staff and changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.library import Library
from connector.domain.loan import UNCLOSED, Loan
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    OutcomeUnknown,
    StorageConflict,
    StorageUnavailable,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.deferred import DeferredState, DeferredStore, DeferredVerb, DeferredWork
from connector.ports.ils import (
    Capability,
    CheckinResult,
    CheckoutResult,
    ExchangeContext,
    IlsAdapter,
)
from connector.ports.ledger import Ledger, Place
from connector.services.desk import dates_differ
from connector.services.replay_judging import Judge, Step, Verdict

__all__ = ["Replay", "ReplayReport"]

_log = get_logger(__name__)

_LEASE = timedelta(seconds=60)
"""Longer than one row takes: two questions, one message, each with the ILS's time-out."""
_AGAIN_AFTER = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(minutes=15)
_GIVE_UP_AFTER = 12
"""Attempts; with the waits between them about an hour and a half."""
_FAILURES_IN_A_ROW = 3
"""After so many different rows it is the ILS, not the row."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What one round did.

    Attributes:
        done: told, or found to be so already.
        conflicts: listed for staff.
        put_off: to be tried again later.
        away: ILSs that could not be reached.
    """

    done: int = 0
    conflicts: int = 0
    put_off: int = 0
    away: int = 0

    def __add__(self, other: ReplayReport) -> ReplayReport:
        return ReplayReport(
            self.done + other.done,
            self.conflicts + other.conflicts,
            self.put_off + other.put_off,
            self.away + other.away,
        )


_DONE = ReplayReport(done=1)
_LISTED = ReplayReport(conflicts=1)
_PUT_OFF = ReplayReport(put_off=1)
_AWAY = ReplayReport(away=1)


class Replay:
    """One instance serves all libraries of the process; several processes may run at once.

    Args:
        location_of: where a terminal stands, in the ILS's own words.
        apart: how long nothing must be seen of what was sent (decision 7).
        timeout_s: how long the ILS may take for one message.
    """

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        ledger: Ledger,
        deferred: DeferredStore,
        location_of: Callable[[TerminalId], str],
        now: Clock,
        apart: timedelta = timedelta(seconds=180),
        timeout_s: float = 8.0,
    ) -> None:
        self._libraries = libraries
        self._adapters = adapters
        self._ledger = ledger
        self._deferred = deferred
        self._location_of = location_of
        self._now = now
        self._apart = apart
        self._timeout_s = timeout_s
        self._threads: dict[InstitutionId, threading.Thread] = {}
        self._turns = {code: threading.Lock() for code in libraries}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def kick(self) -> None:
        """Begin a round at every library that has something waiting and no round yet; return at
        once.
        """
        for code in self._list_waiting():
            self._start(code)

    def run_all(self) -> ReplayReport:
        """Run a round at every library, all at the same time, and wait for the end."""
        reports: list[ReplayReport] = []
        threads = [
            threading.Thread(
                target=lambda code=code: reports.append(self._run_safely(code)),
                name=f"replay-{code}",
                daemon=True,
            )
            for code in self._list_waiting()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(reports, ReplayReport())

    def close(self, *, patience_s: float = 10.0) -> None:
        """End every round after the row that it is at."""
        self._stopped.set()
        until = time.monotonic() + patience_s
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def run_library(self, code: InstitutionId) -> ReplayReport:
        """Run one round at a library; one that is running already is left to it."""
        turn = self._turns[code]
        if not turn.acquire(blocking=False):
            return ReplayReport()
        try:
            return self._run(code)
        finally:
            turn.release()

    def _list_waiting(self) -> list[InstitutionId]:
        backlogs = self._deferred.list_backlogs()
        return [
            each.institution
            for each in backlogs
            if each.waiting and each.institution in self._turns
        ]

    def _start(self, code: InstitutionId) -> None:
        with self._lock:
            running = self._threads.get(code)
            if self._stopped.is_set() or (running is not None and running.is_alive()):
                return
            thread = threading.Thread(
                target=self._run_safely, args=(code,), name=f"replay-{code}", daemon=True
            )
            self._threads[code] = thread
        thread.start()

    def _run_safely(self, code: InstitutionId) -> ReplayReport:
        try:
            return self.run_library(code)
        except Exception as err:  # noqa: BLE001 - the next round may succeed
            _log.error("replay.failed", institution=code, error=type(err).__name__)
            return _AWAY

    def _run(self, code: InstitutionId) -> ReplayReport:
        library, adapter = self._libraries[code], self._adapters[code]
        judge = Judge(
            library=library, adapter=adapter, ledger=self._ledger, deferred=self._deferred
        )
        report, failures = ReplayReport(), 0
        while not self._stopped.is_set() and failures < _FAILURES_IN_A_ROW:
            work = self._deferred.lease_next(code, lease=_LEASE)
            if work is None:
                break
            try:
                report += self._try(library, adapter, judge, work)
                failures = 0
            except (StorageConflict, StorageUnavailable):
                raise
            except (AdapterUnavailable, AdapterAuthFailed) as err:
                return self._end_round(code, work, err, report, sent=False)
            except OutcomeUnknown as err:
                if not _answers(adapter):
                    return self._end_round(code, work, err, report, sent=True)
                report += self._put_off(work, "no_answer")
                self._deferred.forget_absent(code)
                break
            except UnsupportedOperation:
                report += self._list_for_staff(work, "not_supported", Verdict(Step.CONFLICT))
            except Exception as err:  # noqa: BLE001 - one row must not hold up the others
                _log.error("replay.row_failed", institution=code, error=type(err).__name__)
                report += self._put_off(work, "failed")
                failures += 1
        if report != ReplayReport():
            _log.info(
                "replay.ran",
                institution=code,
                settled=report.done,
                conflict=report.conflicts,
                pending=report.put_off,
            )
        return report

    def _end_round(
        self,
        code: InstitutionId,
        work: DeferredWork,
        err: AdapterError,
        report: ReplayReport,
        *,
        sent: bool,
    ) -> ReplayReport:
        """The ILS is away: earlier "nothing to be seen" answers are worthless, and nobody waits."""
        self._deferred.forget_absent(code)
        self._deferred.release(work.seq, was_sent=sent or work.sent_at is not None)
        _log.info("replay.ils_away", institution=code, error=type(err).__name__)
        return report + _AWAY

    def _try(
        self, library: Library, adapter: IlsAdapter, judge: Judge, work: DeferredWork
    ) -> ReplayReport:
        """Settle a row; one that the ILS does not understand is put off, for it is there."""
        try:
            return self._settle(library, adapter, judge, work)
        except AdapterUnavailable as err:
            if not err.answered:
                raise
            self._deferred.release(work.seq, was_sent=work.sent_at is not None)
            return self._put_off(work, err.code)

    def _settle(
        self, library: Library, adapter: IlsAdapter, judge: Judge, work: DeferredWork
    ) -> ReplayReport:
        verdict = judge.judge(work)
        match verdict.step:
            case Step.TELL:
                if work.sent_at is not None and not self._is_past(work):
                    return self._wait(work)
                return self._tell(library, adapter, work)
            case Step.DONE:
                return self._finish(library, work, verdict)
            case Step.ABSENT:
                if not self._is_past(work):
                    return self._wait(work)
                return self._finish(library, work, verdict)
            case Step.STILL_THERE:
                if not self._is_past(work):
                    return self._wait(work)
                self._deferred.finish(work.seq, DeferredState.DROPPED, reason="still_on_loan")
                return _DONE
            case Step.SKIP | Step.CONFLICT:
                return self._list_for_staff(work, verdict.reason, verdict)

    def _is_past(self, work: DeferredWork) -> bool:
        """Say whether the ILS has shown the same for long enough (decision 7)."""
        return self._now() - self._deferred.note_absent(work.seq) >= self._apart

    def _wait(self, work: DeferredWork) -> ReplayReport:
        self._deferred.put_off(work.seq, until=self._now() + _AGAIN_AFTER, failed=False)
        return _PUT_OFF

    def _put_off(self, work: DeferredWork, reason: str) -> ReplayReport:
        if work.attempts + 1 >= _GIVE_UP_AFTER:
            return self._list_for_staff(work, reason, Verdict(Step.CONFLICT))
        wait = min(_AGAIN_AFTER * 2**work.attempts, _LONGEST_WAIT)
        self._deferred.put_off(work.seq, until=self._now() + wait, failed=True, reason=reason)
        return _PUT_OFF

    def _list_for_staff(self, work: DeferredWork, reason: str, verdict: Verdict) -> ReplayReport:
        state = DeferredState.SKIPPED if verdict.step is Step.SKIP else DeferredState.CONFLICT
        self._deferred.finish(work.seq, state, reason=reason, facts=verdict.facts)
        return _LISTED

    def _finish(self, library: Library, work: DeferredWork, verdict: Verdict) -> ReplayReport:
        """The ILS has it already."""
        loan = self._find_loan(work)
        if work.verb is DeferredVerb.CONFIRM_RETURN and verdict.reason == "returned":
            self._record_return(library, work, loan)
        mismatch = dates_differ(verdict.due, loan.due if loan else None, library)
        self._deferred.finish(
            work.seq,
            DeferredState.DONE,
            reason=verdict.reason,
            due=verdict.due,
            due_mismatch=mismatch,
        )
        return _DONE

    def _record_return(self, library: Library, work: DeferredWork, loan: Loan | None) -> None:
        """A return that the ILS did not answer has taken effect: close the loan with its time."""
        if loan is not None and loan.state not in UNCLOSED:
            return
        changed = self._ledger.find_last_change(work.item)
        if loan is None and changed is not None and changed > work.occurred_at:
            return
        place = Place(
            institution=work.institution,
            at=work.occurred_at,
            local_date=library.today(work.occurred_at),
            branch=work.branch,
            terminal=work.terminal,
            kind=work.kind,
        )
        self._ledger.record_return(work.item, place, returned_at=work.occurred_at)

    # --- telling

    def _tell(self, library: Library, adapter: IlsAdapter, work: DeferredWork) -> ReplayReport:
        loan = self._find_loan(work)
        if not self._deferred.mark_sent(work, lease=_LEASE):
            return ReplayReport()
        started = time.monotonic()
        result: CheckinResult | CheckoutResult
        if work.verb is DeferredVerb.CHECKIN:
            result = adapter.checkin(
                work.item.barcode, self._context(work), returned_at=work.occurred_at
            )
        else:
            result = self._tell_checkout(adapter, work, loan)
        if result.ok:
            return self._note_told(library, work, loan, result)
        late = time.monotonic() - started > self._timeout_s
        if late or result.code == "already_charged":
            return self._put_off(work, result.code or "late")
        self._deferred.finish(
            work.seq, DeferredState.CONFLICT, reason=result.code or "ils_refused", refused=True
        )
        return _LISTED

    def _tell_checkout(
        self, adapter: IlsAdapter, work: DeferredWork, loan: Loan | None
    ) -> CheckoutResult:
        assert work.ils_patron is not None  # noqa: S101 - the judge has seen to it
        obeys = Capability.SET_DUE_DATE in adapter.capabilities
        due = loan.due if loan is not None and obeys else None
        return adapter.checkout(work.ils_patron, work.item.barcode, self._context(work), due=due)

    def _note_told(
        self,
        library: Library,
        work: DeferredWork,
        loan: Loan | None,
        result: CheckinResult | CheckoutResult,
    ) -> ReplayReport:
        due = result.due if isinstance(result, CheckoutResult) else None
        mismatch = dates_differ(due, loan.due if loan else None, library)
        if mismatch:
            _log.warning("loan.due_date_differs", institution=work.institution)
        self._deferred.finish(work.seq, DeferredState.DONE, due=due, due_mismatch=mismatch)
        return _DONE

    def _context(self, work: DeferredWork) -> ExchangeContext:
        return ExchangeContext(
            at=work.occurred_at,
            branch=work.branch,
            terminal=work.terminal,
            no_block=True,
            timeout_s=self._timeout_s,
            location=self._location_of(work.terminal) if work.terminal is not None else "",
        )

    def _find_loan(self, work: DeferredWork) -> Loan | None:
        return self._ledger.fetch_loan(work.loan_id) if work.loan_id is not None else None


def _answers(adapter: IlsAdapter) -> bool:
    """Say whether the ILS answers at all."""
    try:
        adapter.ping()
    except AdapterError:
        return False
    return True
