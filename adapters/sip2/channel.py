"""The channel to one ILS: requests out, answers in, and an honest error when there is none.

Nothing here knows what a request means, but for 99. Rules —

- ``AdapterUnavailable`` and ``AdapterAuthFailed``: nothing was sent, or the ILS said that it did
  not understand it (96); ``OutcomeUnknown``: it was sent and there is no answer to trust;
- what changes something is sent once; a read is tried once more, on a fresh connection, within the
  same time;
- a connection on which an exchange went wrong is closed: a late answer must never be taken for the
  next one's;
- waiting for a free connection, connecting, logging in and the answer share one time;
- the ILS is asked for its status by one caller at a time, and its answer holds for a moment.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable

from adapters.sip2.breaker import CircuitBreaker
from adapters.sip2.options import NAME, ChannelOptions
from adapters.sip2.pool import ConnectionPool
from adapters.sip2.statistics import ChannelStatistics, ExchangeCounts
from connector.domain.ids import InstitutionId
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    LocalProtocolError,
    OutcomeUnknown,
    RemoteProtocolError,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Frame, Message
from connector.sip2.spec import SPECS

__all__ = ["Sip2Channel"]

_log = get_logger(__name__)

_STATUS = Message("99", {"status_code": "0", "max_print_width": "000", "protocol_version": "2.00"})
_HEARTBEAT_STEPS = 4
_LEAST_S = 1.0
"""With less time left, what changes something is not sent: its answer would come too late."""
_GUESSED = frozenset({"resync", "no_fixed_part", "short_fixed"})
"""Repairs by which a fixed value may be a default that nobody sent."""


class Sip2Channel:
    """All connections to one ILS; safe to call from several threads.

    Args:
        on_status: called with each 98; it must be quick and not call back.
    """

    def __init__(
        self,
        institution_id: InstitutionId,
        options: ChannelOptions,
        *,
        on_status: Callable[[Message], None] = lambda _: None,
    ) -> None:
        self.institution_id = institution_id
        self.options = options
        self._on_status = on_status
        self._breaker = CircuitBreaker(
            failures=options.failures, open_s=options.open_s, max_open_s=options.max_open_s
        )
        self._pool = ConnectionPool(
            self._connect, limit=options.connections, max_idle_s=options.max_idle_s
        )
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._counts = ExchangeCounts()
        self._opened = 0
        self._good_until = 0.0
        self._offline_until = 0.0
        self._bad_until = 0.0
        self._bad: AdapterError | None = None
        self._stop = threading.Event()
        self._heartbeat: threading.Thread | None = None

    @property
    def statistics(self) -> ChannelStatistics:
        """A copy of the counts."""
        return ChannelStatistics(
            self._counts.copy(),
            self._breaker.state,
            self._pool.count,
            self._pool.idle_count,
            self.options.connections,
            self._opened,
        )

    def exchange(
        self, message: Message, *, timeout_s: float | None = None, changes: bool
    ) -> Message:
        """Send a request and return the answer of its pair.

        Args:
            timeout_s: for everything together; the channel's own ``answer_s`` at most.
            changes: it changes something, so it is sent once.

        Raises:
            AdapterUnavailable: ``no_connection``, ``login_unanswered``, ``circuit_open``,
                ``offline``, ``busy``, ``closed``; ``not_understood`` = the ILS said so (96).
            AdapterAuthFailed: ``login_refused``.
            OutcomeUnknown: ``no_answer``, ``closed``, ``wrong_pair``, ``unreadable``,
                ``bad_checksum``, ``status_instead``.
            UnsupportedOperation: there is no such message.
        """
        if message.code not in SPECS:
            raise UnsupportedOperation(NAME, self.institution_id, f"message_{message.code}")
        own_s = self.options.answer_s
        until = time.monotonic() + (own_s if timeout_s is None else min(timeout_s, own_s))
        if changes:
            return self._exchange_once(message, until, changes=True)
        try:
            return self._exchange_once(message, until)
        except OutcomeUnknown as err:
            if err.code == "no_answer" or time.monotonic() >= until:
                raise
            return self._exchange_once(message, until, fresh=True)

    def ping(self) -> None:
        """Return when the ILS is on-line; the answer of a moment ago will do.

        Raises:
            AdapterUnavailable, AdapterAuthFailed: it is not.
        """
        if not self._asking.acquire(timeout=self.options.answer_s):
            raise self._unavailable("busy")
        try:
            now = time.monotonic()
            if now < self._good_until:
                return
            if self._bad is not None and now < self._bad_until:
                raise type(self._bad)(NAME, self.institution_id, self._bad.code)
            self._ask_whether_there()
        except (AdapterUnavailable, AdapterAuthFailed) as err:
            if time.monotonic() >= self._bad_until:
                self._bad = err
                self._bad_until = time.monotonic() + self.options.verdict_s
            raise
        finally:
            self._asking.release()

    def _ask_whether_there(self) -> None:
        if self.options.status == "never":
            self._pool.give_back(self._lease(time.monotonic() + self.options.answer_s))
            self._note_good()
            return
        try:
            self.exchange(_STATUS, changes=False)
        except OutcomeUnknown as err:
            raise self._unavailable(err.code) from err

    def close(self) -> None:
        """Close every connection and end the heartbeat."""
        self._stop.set()
        self._pool.close()
        with self._lock:
            heartbeat = self._heartbeat
        if heartbeat is not None and heartbeat is not threading.current_thread():
            heartbeat.join(1.0)

    # -- one exchange ------------------------------------------------------------------------------

    def _exchange_once(
        self, message: Message, until: float, *, changes: bool = False, fresh: bool = False
    ) -> Message:
        started = time.monotonic()
        client = self._lease(until, fresh=fresh)
        least_s = min(_LEAST_S, (until - started) / 4) if changes else 0.0
        if time.monotonic() >= until - least_s:
            self._pool.give_back(client)
            self._breaker.release()
            raise self._unavailable("busy")
        answer = self._transact(client, message, until, changes=changes)
        self._pool.give_back(client)
        return answer

    def _transact(
        self, client: Sip2Client, message: Message, until: float, *, changes: bool = False
    ) -> Message:
        """Exchange on a leased connection; it is closed when anything goes wrong."""
        started = time.monotonic()
        is_good = False
        try:
            frame, answer = client.exchange_pair(message, timeout_s=until - started)
            _take_out_guesses(frame, answer)
            if answer.code == "98":
                self._take_status(answer, message, changes=changes)
            is_good = True
        except TimeoutError as err:
            self._note_failure("no_answer")
            raise self._unknown("no_answer") from err
        except LocalProtocolError as err:
            raise self._unavailable("closed") from err
        except RemoteProtocolError as err:
            code = str(err)
            if code == "not_understood":
                self._note_answer(self._breaker.succeed())
                raise AdapterUnavailable(NAME, self.institution_id, code, answered=True) from err
            self._note_failure(code)
            raise self._unknown(code) from err
        finally:
            self._counts.add(message.code, time.monotonic() - started, failed=not is_good)
            if not is_good:
                self._pool.discard(client)
                self._breaker.release()
        self._note_good()
        return answer

    def _take_status(self, answer: Message, message: Message, *, changes: bool) -> None:
        """Take a 98, which may answer any request instead of its own pair."""
        self._note_answer(self._breaker.succeed())
        try:
            self._note_status(answer)
        except AdapterUnavailable as err:
            if changes:
                raise self._unknown("status_instead") from err
            raise
        if message.code != "99":
            raise self._unknown("status_instead")

    def _lease(self, until: float, *, fresh: bool = False) -> Sip2Client:
        now = time.monotonic()
        if now < self._offline_until:
            raise self._unavailable("offline", self._offline_until - now)
        admission = self._breaker.admit()
        if admission.login_refused:
            raise AdapterAuthFailed(NAME, self.institution_id, "login_refused")
        if admission.wait_s is not None:
            raise self._unavailable("circuit_open", admission.wait_s)
        try:
            if admission.is_probe:
                self._pool.clear()
            client = self._pool.lease(until, fresh=fresh or admission.is_probe)
        except BaseException:
            if admission.is_probe:
                self._breaker.release()
            raise
        if client is None:
            if admission.is_probe:
                self._breaker.release()
            raise self._unavailable("closed" if self._stop.is_set() else "busy")
        return client

    # -- one connection ----------------------------------------------------------------------------

    def _connect(self, until: float) -> Sip2Client:
        """Open a connection, log in and ask for the status.

        Raises:
            AdapterUnavailable, AdapterAuthFailed: nothing but that was sent.
        """
        options = self.options
        until = min(until, time.monotonic() + options.connect_s)
        try:
            client = Sip2Client(
                options.host,
                options.port,
                profile=options.profile,
                timeout_s=_left(until),
                tls=options.tls,
                server_hostname=options.server_hostname or None,
            )
        except ssl.SSLCertVerificationError as err:
            raise self._failed("tls_certificate") from err
        except OSError as err:
            raise self._failed("no_connection") from err
        try:
            self._log_in(client, until)
        except (OSError, RemoteProtocolError) as err:
            client.close()
            raise self._failed("login_unanswered") from err
        except BaseException:
            client.close()
            raise
        with self._lock:
            self._opened += 1
        self._start_heartbeat()
        return client

    def _log_in(self, client: Sip2Client, until: float) -> None:
        options = self.options
        if options.status == "before_login":
            self._ask_status(client, until)
        if options.login and not client.login(
            options.login, options.password, options.location, timeout_s=_left(until)
        ):
            if self._pool.shrink():
                _log.warning(
                    "ils.login_refused", institution=self.institution_id, open=self._pool.count - 1
                )
                raise self._unavailable("busy")
            self._breaker.refuse_login(options.refused_login_s)
            _log.error("ils.login_refused", institution=self.institution_id, adapter=NAME)
            raise AdapterAuthFailed(NAME, self.institution_id, "login_refused")
        if options.status == "after_login":
            self._ask_status(client, until)
        if options.login or options.status != "never":
            self._note_answer(self._breaker.reach())

    def _ask_status(self, client: Sip2Client, until: float) -> None:
        self._note_status(client.exchange(_STATUS, timeout_s=_left(until)))
        self._good_until = time.monotonic() + self.options.verdict_s

    def _start_heartbeat(self) -> None:
        options = self.options
        if not options.heartbeat_s or options.status == "never":
            return
        with self._lock:
            if self._heartbeat is None and not self._stop.is_set():
                self._heartbeat = threading.Thread(
                    target=self._beat, name=f"sip2-{self.institution_id}-heartbeat", daemon=True
                )
                self._heartbeat.start()

    def _beat(self) -> None:
        """Ask on each connection that was idle for long, so that nothing between forgets it."""
        every_s = self.options.heartbeat_s
        while not self._stop.wait(every_s / _HEARTBEAT_STEPS):
            started = time.monotonic()
            since = started - every_s * (1 - 1 / _HEARTBEAT_STEPS)
            while (client := self._pool.take_idle(since=since)) is not None:
                try:
                    self._transact(client, _STATUS, time.monotonic() + self.options.answer_s)
                except AdapterError:
                    break
                self._pool.give_back(client, oldest=True)

    # -- what is known of the ILS ------------------------------------------------------------------

    def _note_status(self, answer: Message) -> None:
        """Keep what a 98 says.

        Raises:
            AdapterUnavailable: ``offline``.
        """
        self._on_status(answer)
        if answer.fixed.get("online") == "N":
            self._note_answer(self._breaker.reach())
            self._pool.clear()
            self._good_until = 0.0
            self._offline_until = time.monotonic() + self.options.verdict_s
            raise self._unavailable("offline", self.options.verdict_s)

    def _note_answer(self, closed: bool) -> None:  # noqa: FBT001 - what the breaker says
        if closed:
            _log.info("ils.circuit_closed", institution=self.institution_id, adapter=NAME)

    def _note_good(self) -> None:
        self._note_answer(self._breaker.succeed())
        self._good_until = time.monotonic() + self.options.verdict_s
        self._bad = None

    def _note_failure(self, code: str) -> None:
        self._good_until = 0.0
        if self._breaker.fail():
            self._pool.clear()
            _log.error(
                "ils.circuit_opened", institution=self.institution_id, adapter=NAME, code=code
            )

    def _failed(self, code: str) -> AdapterUnavailable:
        self._note_failure(code)
        return self._unavailable(code)

    def _unavailable(self, code: str, retry_after_s: float | None = None) -> AdapterUnavailable:
        return AdapterUnavailable(NAME, self.institution_id, code, retry_after_s=retry_after_s)

    def _unknown(self, code: str) -> OutcomeUnknown:
        return OutcomeUnknown(NAME, self.institution_id, code)


def _take_out_guesses(frame: Frame, answer: Message) -> None:
    """Blank the counts of a 64 whose fixed part the reader had to complete: they are not told."""
    if answer.code == "64" and _GUESSED.intersection(frame.problems):
        answer.fixed |= {name: "" for name in answer.fixed if name.endswith("_count")}


def _left(until: float) -> float:
    """Return the seconds left; a little where there are none, for zero means no waiting at all."""
    return max(until - time.monotonic(), 0.001)
