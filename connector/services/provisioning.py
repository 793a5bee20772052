"""Opening many approved cards in the library's ILS, a few at a time.

Nothing here knows how one card is opened; ``opening`` does. Rules (scenario 29) —

- one thread, the caller's, hears of every result: it writes the PINs down; a worker that has made
  an account waits until its PIN is on the disk before it goes on;
- results are told in the order in which they come, so that a slow one keeps no PIN in memory;
- a row that fails stays ``activating`` with a code, and the others go on; when the ILS is away, or
  refuses our credentials, nobody begins another row;
- an interrupted run finishes the cards that are under way, PINs included, and begins no other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from connector.domain.enrolment import ApplicationState
from connector.errors import AdapterAuthFailed, AdapterError, AdapterUnavailable, OutcomeUnknown
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, EnrolmentStore
from connector.ports.events import EventSink, NoEvents
from connector.ports.ils import IlsAdapter
from connector.ports.schools import SchoolStore
from connector.ports.store import PatronRegister
from connector.ports.tasks import TaskStore
from connector.services.activation import Activation, ActivationOutcome
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.opening import CardOpening
from connector.services.pacing import Pacing

__all__ = ["Activation", "ActivationOutcome", "ProvisioningService"]

_log = get_logger(__name__)

_GIVE_UP_AFTER = 3


@dataclass(frozen=True, slots=True)
class ProvisioningService:
    """Opens the cards of one library.

    Attributes:
        tasks: where staff hear of accounts that are there already; None = nowhere.
        classes: who is in which class, for the expiry; None = nobody knows.
        workers: how many cards are opened at once.
        sleep: waits before a request is repeated; by default it ends when the run is interrupted.
    """

    adapter: IlsAdapter
    store: EnrolmentStore
    register: PatronRegister
    rules: EnrolmentRules
    now: Clock
    events: EventSink = field(default_factory=NoEvents)
    tasks: TaskStore | None = None
    classes: SchoolStore | None = None
    workers: int = 1
    sleep: Callable[[float], None] | None = None

    def activate(
        self,
        applications: Sequence[Application],
        *,
        actor: str,
        on_progress: Callable[[int, int], None] | None = None,
        on_result: Callable[[Activation], None] | None = None,
    ) -> tuple[Activation, ...]:
        """Open the cards of approved applications; running it again takes up what failed.

        After three failures in a row because the ILS is away, or one because it refuses our
        credentials, the rest is not tried.

        Args:
            on_progress: called after each with how many are done and how many there are.
            on_result: called once with each result, by the calling thread. One that has a PIN comes
                before its card counts as open, since the PIN exists nowhere else: when this
                returns, the PIN is taken to be on the disk. Should the guardian withdraw in that
                moment, only the returned result tells.

        Returns:
            The results in the order of the applications.
        """
        pacing = Pacing(sleep=self.sleep)
        opening = self.opening(pacing, applications)
        run = _Run(opening, applications, actor, on_progress, on_result)
        results = run.run(max(1, min(self.workers, len(applications))))
        opened = sum(result.outcome is ActivationOutcome.ACTIVATED for result in results)
        failed = sum(result.outcome is ActivationOutcome.FAILED for result in results)
        _log.info(
            "cards.opened",
            institution=self.rules.institution,
            adapter=self.adapter.name,
            rows=len(results),
            created=opened,
            failed=failed,
        )
        return results

    def opening(self, pacing: Pacing, applications: Sequence[Application]) -> CardOpening:
        """Return what opens these applications' cards; what every card needs is read once."""
        waiting = [
            application.patron_id
            for application in applications
            if application.state is not ApplicationState.ACTIVE
        ]
        known = self.classes is not None and waiting
        return CardOpening(
            adapter=self.adapter,
            store=self.store,
            register=self.register,
            rules=self.rules,
            now=self.now,
            pacing=pacing,
            tasks=self.tasks,
            events=self.events,
            schools={
                school.school_id: school
                for school in self.store.list_schools(self.rules.institution)
            },
            classes=self.classes.find_memberships(waiting) if known and self.classes else {},
        )


@dataclass(slots=True)
class _Message:
    """What a worker tells the writer, and waits for.

    Attributes:
        is_last: nothing more comes of this application.
        is_taken: set when the writer has dealt with it; ``is_written`` then tells how.
    """

    index: int
    result: Activation
    error: AdapterError | None = None
    is_last: bool = True
    is_written: bool = False
    is_taken: threading.Event = field(default_factory=threading.Event)


class _Run:
    """One call of ``activate``: workers that open, and the calling thread that writes."""

    def __init__(
        self,
        opening: CardOpening,
        applications: Sequence[Application],
        actor: str,
        on_progress: Callable[[int, int], None] | None,
        on_result: Callable[[Activation], None] | None,
    ) -> None:
        self._opening = opening
        self._applications = applications
        self._actor = actor
        self._on_progress = on_progress
        self._on_result = on_result
        self._todo = iter(range(len(applications)))
        self._lock = threading.Lock()
        self._messages: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._sent: dict[int, _Message] = {}  # the last one of each worker
        self._workers: list[Future[None]] = []
        self._results: dict[int, Activation] = {}
        self._told: set[int] = set()
        self._away = 0
        self._can_write = True

    def run(self, workers: int) -> tuple[Activation, ...]:
        """Open everything; raises what ended a worker, or the caller's own interruption."""
        with ThreadPoolExecutor(workers, thread_name_prefix="open-card") as pool:
            self._workers = [pool.submit(self._work) for _ in range(workers)]
            for worker in self._workers:
                worker.add_done_callback(lambda _: self._messages.put(None))
            try:
                self._serve()
            except BaseException as err:
                self._stop()
                self._can_write = not isinstance(err, Exception)
                self._serve_to_the_end()
                raise
        for worker in self._workers:
            worker.result()
        for index, application in enumerate(self._applications):
            if index not in self._results:
                self._take(_Message(index, Activation(application, ActivationOutcome.NOT_TRIED)))
        return tuple(self._results[index] for index in range(len(self._applications)))

    # --- the calling thread

    def _serve(self) -> None:
        """Take what the workers say until the last has ended."""
        while True:
            message = self._messages.get()
            if message is None:
                if all(worker.done() for worker in self._workers):
                    return
            elif not message.is_taken.is_set():
                try:
                    self._take(message)
                finally:
                    message.is_taken.set()

    def _serve_to_the_end(self) -> None:
        """Take what is still under way, whatever else happens: a worker must not wait for ever."""
        while True:
            for message in [*self._sent.values(), None]:  # it may have been taken out and lost
                self._messages.put(message)
            try:
                self._serve()
            except BaseException:  # noqa: BLE001 - the first one is raised
                self._can_write = False
            else:
                return

    def _take(self, message: _Message) -> None:
        if message.index not in self._told:
            self._told.add(message.index)
            if self._on_result is not None and self._can_write:
                self._on_result(message.result)
            message.is_written = self._can_write
        if not message.is_last:
            return
        self._results[message.index] = message.result
        self._count_away(message.error)
        if self._on_progress is not None and self._can_write:
            self._on_progress(len(self._results), len(self._applications))

    def _count_away(self, error: AdapterError | None) -> None:
        if isinstance(error, AdapterAuthFailed):
            self._stop()
        elif isinstance(error, AdapterUnavailable | OutcomeUnknown):
            self._away += 1
            if self._away >= _GIVE_UP_AFTER:
                self._stop()
        else:
            self._away = 0

    def _stop(self) -> None:
        """Let nobody begin another row."""
        with self._lock:
            self._todo = iter(range(0))
        self._opening.pacing.stop()

    # --- the workers

    def _work(self) -> None:
        try:
            while (index := self._next()) is not None:
                self._open(index)
        except BaseException:
            self._stop()
            raise

    def _next(self) -> int | None:
        with self._lock:
            return next(self._todo, None)

    def _open(self, index: int) -> None:
        def give_out(result: Activation) -> bool:
            return self._tell(_Message(index, result, is_last=False)).is_written

        result, error = self._opening.open(
            self._applications[index], actor=self._actor, give_out=give_out
        )
        self._tell(_Message(index, result, error))

    def _tell(self, message: _Message) -> _Message:
        """Hand something to the writer, and wait until it has dealt with it."""
        self._sent[threading.get_ident()] = message
        self._messages.put(message)
        message.is_taken.wait()
        return message
