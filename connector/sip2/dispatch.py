"""One request on its way: deadline, late answers, repeats, exactly one answer, one log line.

Sockets are the business of ``connection``, what the answer says that of the handler. Rules:

- every request gets exactly one answer of its own pair, whatever the handler does;
- what still waits for a thread at its deadline is never started: it is "busy", not late;
- ``AnswerSlot`` decides between an answer that comes late and the refusal at the deadline; a
  handler that claimed the slot is waited for up to ``grace_s``;
- a handler's exception is logged by class name only;
- everything here runs on the event loop, except ``MessageHandler.handle`` and ``log_in`` in an
  executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from connector.domain.ids import InstitutionId
from connector.log import get_logger
from connector.ports.answer import AnswerSlot
from connector.ports.clock import Clock, utc_now
from connector.ports.watch import ILS_TIME
from connector.sip2.codec import Checksum, Frame, Message
from connector.sip2.replay import ReplayCache, ReplayKey, replay_key
from connector.sip2.replies import answer_code, build_refusal
from connector.sip2.spec import SPECS
from connector.sip2.terminal import Terminal

__all__ = ["Dispatcher", "Exchange", "MessageHandler", "Observer", "Work"]

_log = get_logger(__name__)

_T = TypeVar("_T")

Observer = Callable[[str, str, float], None]
"""Called after every exchange with message code, outcome and seconds; for metrics."""

_OK_POSITIONS = ("ok", "payment_accepted", "end_session", "item_properties_ok")


@dataclass(slots=True)
class Exchange:
    """What a handler may know of the request beside the message.

    Attributes:
        slot: to be claimed before an outcome is committed as answered.
        deadline: ``time.monotonic()`` at which the kiosk is told "no".
        language: the last SIP2 language code that this connection carried, "000" before the first.
        reason: why the handler refused, as a code; for the log.
        ils_s: seconds that the handler waited for the ILS; for the log.
    """

    terminal: Terminal
    slot: AnswerSlot
    deadline: float
    language: str
    reason: str = ""
    ils_s: float = 0.0


class MessageHandler(Protocol):
    """What the server needs from the gateway."""

    def log_in(self, login: str, password: str, location: str, peer: str) -> Terminal | None:
        """Return the terminal of this login, or None; the server checks ``allow_from``."""
        ...

    def handle(self, request: Message, exchange: Exchange) -> Message | None:
        """Return the answer, or None to stay silent; runs in the library's executor."""
        ...

    def refuse_late(self, request: Message, exchange: Exchange) -> Message | None:
        """Return a refusal at once, without I/O: it is late, or there was no free place."""
        ...


class Work:
    """One request that runs or is answered, and who waits for it."""

    __slots__ = (
        "exchange", "frame", "future", "key", "reply", "request", "settled", "started", "timer",
        "waiters",
    )  # fmt: skip

    def __init__(
        self, frame: Frame, request: Message, exchange: Exchange, key: ReplayKey | None
    ) -> None:
        self.frame = frame
        self.request = request
        self.exchange = exchange
        self.key = key
        self.started = time.monotonic()
        self.reply: Message | None = None
        self.settled = False
        self.future: Future[Message | None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: list[Callable[[Message | None], None]] = []


class Dispatcher:
    """Runs requests and settles each exactly once.

    Args:
        executor_for: the pool of a library; None calls the handler on the loop (only for handlers
            without I/O).
        answer_within_s: the deadline, from the moment when the request is taken up.
        grace_s: how long a handler that claimed the slot in time is waited for after the deadline.
    """

    def __init__(
        self,
        handler: MessageHandler,
        *,
        loop: asyncio.AbstractEventLoop,
        executor_for: Callable[[InstitutionId], Executor] | None,
        login_executor: Executor | None,
        answer_within_s: float,
        grace_s: float,
        replay: ReplayCache[Work],
        observer: Observer | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._handler = handler
        self._loop = loop
        self._executor_for = executor_for
        self._login_executor = login_executor
        self._answer_within_s = answer_within_s
        self._grace_s = grace_s
        self._replay = replay
        self._observer = observer
        self._clock = clock
        self._running: set[Work] = set()

    @property
    def running(self) -> int:
        """Requests that an executor has and that are not answered yet."""
        return len(self._running)

    def submit(self, frame: Frame, request: Message, terminal: Terminal, language: str) -> Work:
        """Start the request, or join the same one; look at ``settled`` first, then add a waiter."""
        key = replay_key(terminal.terminal_id, frame)
        if key is not None:
            earlier = self._replay.find(key, time.monotonic())
            if earlier is not None:
                self.log_exchange(request, terminal, "replayed", time.monotonic(), frame=frame)
                return earlier
        exchange = Exchange(
            terminal, AnswerSlot(), time.monotonic() + self._answer_within_s, language
        )
        work = Work(frame, request, exchange, key)
        if key is not None:
            self._replay.begin(key, work)
        if self._executor_for is None:
            self._run_here(work)
        else:
            self._run_in_pool(work, self._executor_for)
        return work

    def log_in(
        self, request: Message, peer: str, done: Callable[[Terminal | None, str], None]
    ) -> None:
        """Ask the handler who this is.

        Args:
            done: gets the terminal, or None, and the outcome for the log; in a later turn.
        """
        arguments = (request.get("CN"), request.get("CO"), request.get("CP"), peer)
        if self._login_executor is None:
            try:
                terminal = self._handler.log_in(*arguments)
            except Exception as err:  # noqa: BLE001  # a kiosk gets its 94 whatever fails
                self._log_failure(request, None, err)
                self._loop.call_soon(done, None, "error")
            else:
                self._loop.call_soon(done, terminal, "refused")
            return
        timer: asyncio.TimerHandle | None = None
        answered = False

        def settle(terminal: Terminal | None, outcome: str) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            if timer is not None:
                timer.cancel()
            done(terminal, outcome)

        def finish(future: Future[Terminal | None]) -> None:
            try:
                settle(future.result(), "refused")
            except (Exception, CancelledError) as err:  # noqa: BLE001
                self._log_failure(request, None, err)
                settle(None, "error")

        try:
            future = self._login_executor.submit(self._handler.log_in, *arguments)
        except Exception:  # noqa: BLE001  # a full or closed pool
            self._loop.call_soon(done, None, "busy")
            return
        timer = self._loop.call_later(self._answer_within_s, settle, None, "late")
        future.add_done_callback(functools.partial(self._from_thread, finish))

    def expire_all(self) -> None:
        """Let every deadline pass now: the server stops."""
        for work in list(self._running):
            self._on_deadline(work)

    def refuse(self, request: Message, terminal: Terminal) -> Message:
        """Return the plain refusal that needs no handler."""
        return build_refusal(
            request,
            institution=terminal.institution,
            screen_message="",
            now=self._clock(),
            zone=terminal.zone,
        )

    def log_exchange(
        self,
        request: Message,
        terminal: Terminal | None,
        outcome: str,
        started: float,
        *,
        frame: Frame | None = None,
        exchange: Exchange | None = None,
        peer: str = "",
    ) -> None:
        """Write the canonical line: what was asked by whom and how it ended, never a value.

        Args:
            frame: as received: a checksum that is wrong and what had to be repaired are told.
            exchange: what the handler left there: its reason, and the ILS's share of the time.
            peer: the machine's address, told while nobody knows which terminal it is.
        """
        self._write_line(
            request.code, terminal, outcome, started, frame=frame, exchange=exchange, peer=peer
        )

    def log_note(
        self, frame: Frame, terminal: Terminal | None, outcome: str, *, peer: str = ""
    ) -> None:
        """Write the line of a frame that the session answered or ignored by itself; a command id
        that nobody knows is not repeated.
        """
        code = frame.code if frame.code in SPECS else "other"
        self._write_line(code, terminal, outcome, time.monotonic(), frame=frame, peer=peer)

    def _write_line(
        self,
        code: str,
        terminal: Terminal | None,
        outcome: str,
        started: float,
        *,
        frame: Frame | None,
        exchange: Exchange | None = None,
        peer: str = "",
    ) -> None:
        took_s = time.monotonic() - started
        is_bad = frame is not None and frame.checksum is Checksum.BAD
        is_refused = exchange is not None and outcome != "accepted"
        with contextlib.suppress(OSError):  # a closed pipe must not cost a kiosk its answer
            _log.info(
                "sip2.exchange_done",
                request=code,
                terminal=None if terminal is None else terminal.terminal_id,
                institution=None if terminal is None else terminal.institution,
                outcome=outcome,
                reason=(exchange.reason or None) if exchange and is_refused else None,
                checksum=frame.checksum.value if frame and is_bad else None,
                repaired=(",".join(frame.problems) or None) if frame else None,
                peer=(peer or None) if terminal is None else None,
                duration_ms=round(took_s * 1000, 1),
                ils_ms=None if exchange is None else round(exchange.ils_s * 1000, 1),
            )
        if self._observer is not None:
            self._observer(code, outcome, took_s)

    def _handle(self, request: Message, exchange: Exchange) -> Message | None:
        """Call the handler, in its thread, and note how long it waited for the ILS."""
        ILS_TIME.seconds = 0.0
        try:
            return self._handler.handle(request, exchange)
        finally:
            exchange.ils_s = ILS_TIME.seconds

    def _run_here(self, work: Work) -> None:
        try:
            reply = self._handle(work.request, work.exchange)
        except Exception as err:  # noqa: BLE001  # a kiosk gets its answer whatever fails
            self._fail(work, err)
        else:
            self._settle(work, reply, None)

    def _run_in_pool(self, work: Work, executor_for: Callable[[InstitutionId], Executor]) -> None:
        try:
            future = executor_for(work.exchange.terminal.institution).submit(
                self._handle, work.request, work.exchange
            )
        except Exception:  # noqa: BLE001  # a full or closed pool
            work.exchange.slot.expire()
            self._settle(work, self._refuse_late(work), "busy")
            return
        work.future = future
        self._running.add(work)
        work.timer = self._loop.call_later(self._answer_within_s, self._on_deadline, work)
        future.add_done_callback(
            functools.partial(self._from_thread, functools.partial(self._on_answer, work))
        )

    def _from_thread(self, finish: Callable[[Future[_T]], None], future: Future[_T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(finish, future)

    def _on_answer(self, work: Work, future: Future[Message | None]) -> None:
        if work.settled:
            return
        try:
            reply = future.result()
        except (Exception, CancelledError) as err:  # noqa: BLE001
            self._fail(work, err)
        else:
            self._settle(work, reply, None)

    def _on_deadline(self, work: Work) -> None:
        if work.settled:
            return
        if work.future is not None and work.future.cancel():
            work.exchange.slot.expire()
            self._settle(work, self._refuse_late(work), "busy")
            return
        if work.exchange.slot.expire():
            self._settle(work, self._refuse_late(work), "late")
            return
        if work.timer is not None:
            work.timer.cancel()
        work.timer = self._loop.call_later(self._grace_s, self._on_grace_over, work)

    def _on_grace_over(self, work: Work) -> None:
        if not work.settled:
            self._settle(work, self._refuse_late(work), "claimed_but_late")

    def _fail(self, work: Work, err: BaseException) -> None:
        work.exchange.slot.expire()
        self._log_failure(work.request, work.exchange.terminal, err)
        self._settle(work, self._refuse_late(work), "error")

    def _refuse_late(self, work: Work) -> Message | None:
        try:
            return self._handler.refuse_late(work.request, work.exchange)
        except Exception as err:  # noqa: BLE001
            self._log_failure(work.request, work.exchange.terminal, err)
            return self.refuse(work.request, work.exchange.terminal)

    def _settle(self, work: Work, reply: Message | None, outcome: str | None) -> None:
        if reply is not None and not _is_answer_to(work.request, reply):
            self._log_failure(work.request, work.exchange.terminal, None)
            reply, outcome = self.refuse(work.request, work.exchange.terminal), "error"
        work.reply = reply
        work.settled = True
        if work.timer is not None:
            work.timer.cancel()
            work.timer = work.future = None
            self._running.discard(work)
        if work.key is not None:
            remember = reply is not None and outcome != "busy"
            self._replay.end(work.key, time.monotonic(), remember=remember)
        self.log_exchange(
            work.request,
            work.exchange.terminal,
            outcome or _describe_outcome(reply),
            work.started,
            frame=work.frame,
            exchange=work.exchange,
        )
        waiters, work.waiters = work.waiters, []
        for waiter in waiters:
            waiter(reply)

    def _log_failure(
        self, request: Message, terminal: Terminal | None, err: BaseException | None
    ) -> None:
        _log.error(
            "sip2.handler_failed",
            request=request.code,
            terminal=None if terminal is None else terminal.terminal_id,
            error="wrong_pair" if err is None else type(err).__name__,
        )


def _is_answer_to(request: Message, reply: Message) -> bool:
    """Return whether the reply may be sent.

    Source: SIP2 2.00, "ACS Status": a 98 may answer any message.
    """
    return reply.code in {answer_code(request.code), "98"}


def _describe_outcome(reply: Message | None) -> str:
    if reply is None:
        return "silent"
    for name in _OK_POSITIONS:
        verdict = reply.fixed.get(name)
        if verdict is not None:
            return "accepted" if verdict in {"1", "Y"} else "refused"
    return "answered"
