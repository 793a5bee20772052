"""One kiosk's TCP connection: bytes in and out, time-outs, login, back-pressure, the end.

What a frame means is decided in ``session``; what it does, behind ``dispatch``. Rules:

- at most one exchange is outstanding; what the kiosk sends meanwhile waits, and beyond
  ``MAX_WAITING_BYTES`` is not read from the socket;
- a side that has stopped sending still gets the answers it waits for (half-closed sockets);
- no exception leaves a callback: the connection is closed and the class name logged.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from connector.domain.ids import TerminalId
from connector.log import get_logger
from connector.sip2.codec import Frame, Message
from connector.sip2.dispatch import Dispatcher
from connector.sip2.limits import (
    ConnectionCounts,
    LoginThrottle,
    Network,
    is_allowed,
    normalise_address,
)
from connector.sip2.session import Close, Handle, Output, Send, Session
from connector.sip2.terminal import Terminal, WireProfile

__all__ = ["MAX_WAITING_BYTES", "Connection", "ListenerState"]

_log = get_logger(__name__)

MAX_WAITING_BYTES = 4 * 1024
"""Bytes that a kiosk may send ahead while its exchange runs; then its socket is not read."""

MAX_FAILED_LOGINS = 3
"""Failed logins on one connection before it is closed."""

UNKNOWN_LANGUAGE = "000"

_STATUS_BEFORE_LOGIN = Message(
    "98",
    {
        "online": "Y",
        "checkin_ok": "Y",
        "checkout_ok": "Y",
        "acs_renewal_policy": "Y",
        "status_update_ok": "N",
        "offline_ok": "N",
        "timeout_period": "999",
        "retries_allowed": "999",
        "date_time_sync": "0" * 18,
        "protocol_version": "2.00",
    },
    [("AO", ""), ("BX", "YYYNYYYYYYYNNYYY")],
)
"""The least that lets a kiosk go on to log in; what it may do is in the 98 after its login."""

# SO_KEEPALIVE: first probe after two minutes, then every ten seconds, dead after six. Half-closed
# sockets of kiosks that lost power pile up otherwise (Evergreen LP 1042850, the same figures).
_KEEPALIVE = (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))


@dataclass(slots=True, kw_only=True)
class ListenerState:
    """What the connections of one listener share; filled by ``server``."""

    dispatcher: Dispatcher
    counts: ConnectionCounts
    throttle: LoginThrottle
    loop: asyncio.AbstractEventLoop
    default_profile: WireProfile
    anonymous: Callable[[str], Terminal | None]
    before_login: Terminal | None
    allow_from: tuple[Network, ...]
    idle_timeout_s: float
    login_timeout_s: float
    write_timeout_s: float
    max_per_terminal: int
    open: set[Connection] = field(default_factory=set)
    by_terminal: dict[TerminalId, list[Connection]] = field(default_factory=dict)
    on_change: Callable[[], None] = lambda: None


class Connection(asyncio.Protocol):
    """The protocol object that asyncio drives; see the module's rules."""

    def __init__(self, state: ListenerState) -> None:
        self._state = state
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._terminal: Terminal | None = None
        self._seated = False
        self._peer = ""
        self._language = UNKNOWN_LANGUAGE
        self._busy: Frame | None = None
        self._waiting_bytes = 0
        self._failed_logins = 0
        self._reading_paused = False
        self._writing_paused = False
        self._at_eof = False
        self._stopping = False
        self._closing = False
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._login_timer: asyncio.TimerHandle | None = None
        self._delay_timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is outstanding."""
        return self._busy is not None

    # ── asyncio's callbacks ──────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the kiosk or close at once."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        self._peer = normalise_address(peername[0]) if isinstance(peername, tuple) else ""
        state = self._state
        refusal = (
            state.counts.admit(self._peer)
            if is_allowed(self._peer, state.allow_from)
            else "address_not_allowed"
        )
        if refusal is not None:
            _log.warning("sip2.connection_refused", reason=refusal)
            self._closing = True
            self._transport.abort()
            return
        state.open.add(self)
        _set_socket_options(transport.get_extra_info("socket"))
        terminal = state.anonymous(self._peer)
        if terminal is not None and not is_allowed(self._peer, terminal.allow_from):
            terminal = None
        self._terminal = terminal
        self._session = Session(
            state.default_profile if terminal is None else terminal.wire,
            login_required=terminal is None,
        )
        self._heard_at = state.loop.time()
        self._timer = state.loop.call_later(state.idle_timeout_s, self._check_idle)
        if terminal is None:
            self._login_timer = state.loop.call_later(state.login_timeout_s, self._on_no_login)

    def data_received(self, data: bytes) -> None:
        """Feed the session and do what it says."""
        if self._closing or self._session is None:
            return
        self._heard_at = self._state.loop.time()
        if self._busy is not None:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > MAX_WAITING_BYTES:
                self._update_reading()
        try:
            self._perform(self._session.receive(data))
        except Exception as err:  # noqa: BLE001
            self._give_up(err)

    def eof_received(self) -> bool:
        """Keep a half-closed connection until its answers are out."""
        self._at_eof = True
        has_tls = (
            self._transport is not None
            and self._transport.get_extra_info("sslcontext") is not None
        )  # asyncio cannot keep half of a TLS connection
        return self._busy is not None and not has_tls

    def pause_writing(self) -> None:
        """Read no more from a kiosk that does not read our answers; drop it when it never does."""
        self._writing_paused = True
        self._update_reading()
        self._write_timer = self._state.loop.call_later(
            self._state.write_timeout_s, self._on_write_stalled
        )

    def resume_writing(self) -> None:
        """Go on."""
        self._writing_paused = False
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give everything back; a running exchange goes on, its answer is kept for the kiosk's return."""
        self._closing = True
        state = self._state
        for timer in (self._timer, self._write_timer, self._login_timer, self._delay_timer):
            if timer is not None:
                timer.cancel()
        if self in state.open:
            state.open.discard(self)
            state.counts.release(self._peer)
            self.leave_seat()
            state.on_change()
        if exc is not None:
            _log.debug("sip2.connection_lost", error=type(exc).__name__)

    # ── what the server asks ─────────────────────────────────────────────────────────────────────

    def close(self, reason: str) -> None:
        """Send what is buffered, then close."""
        if self._closing:
            return
        self._closing = True
        _log.info(
            "sip2.connection_closed",
            reason=reason,
            terminal=None if self._terminal is None else self._terminal.terminal_id,
        )
        if self._transport is not None:
            self._transport.close()
            if self._write_timer is None and self._transport.get_write_buffer_size():
                self._write_timer = self._state.loop.call_later(
                    self._state.write_timeout_s, self._on_write_stalled
                )

    def drain(self) -> None:
        """Close as soon as nothing is outstanding; read nothing more."""
        self._stopping = True
        if self._busy is None:
            self.close("server_stopping")
        else:
            self._update_reading()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # ── exchanges ────────────────────────────────────────────────────────────────────────────────

    def _perform(self, outputs: list[Output]) -> None:
        """Do what the session says; answers that are ready at once loop here instead of recursing."""
        chunks: list[bytes] = []
        close_reason: str | None = None
        for output in outputs:  # grows while we walk
            if isinstance(output, Send):
                chunks.append(output.data)
                if output.final:
                    close_reason = "session_ended"
            elif isinstance(output, Handle):
                if self._stopping:
                    close_reason = "server_stopping"
                else:
                    outputs.extend(self._take_up(output.frame))
            else:
                close_reason = output.reason
            if close_reason is not None:
                break
        if chunks and self._transport is not None and not self._transport.is_closing():
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if close_reason is None and self._busy is None:
            if self._stopping:
                close_reason = "server_stopping"
            elif self._at_eof:
                close_reason = "kiosk_ended"
        if close_reason is not None:
            self.close(close_reason)

    def _take_up(self, frame: Frame) -> list[Output]:
        """Start the exchange; return what follows when it is answered at once."""
        self._busy = frame
        request = frame.message
        if request is None:
            return self._conclude(None)
        if request.code == "93":
            return self._log_in(request)
        language = request.fixed.get("language", "")
        if language.strip():
            self._language = language
        terminal = self._terminal or self._state.before_login
        if terminal is None:
            self._state.dispatcher.log_exchange(request, None, "before_login", time.monotonic())
            return self._conclude(_STATUS_BEFORE_LOGIN if request.code == "99" else None)
        work = self._state.dispatcher.submit(frame, request, terminal, self._language)
        if request.code == "35":
            self._language = UNKNOWN_LANGUAGE
        if work.settled:
            return self._conclude(work.reply)
        work.waiters.append(self._deliver)
        return []

    def _conclude(self, reply: Message | None) -> list[Output]:
        frame, self._busy = self._busy, None
        self._waiting_bytes = 0
        self._update_reading()
        if frame is None or self._session is None:
            return []
        try:
            return self._session.answer(frame, reply)
        except Exception as err:  # an answer that cannot be encoded becomes a refusal
            _log.error("sip2.answer_failed", request=frame.code, error=type(err).__name__)  # noqa: TRY400
            if frame.message is None or self._terminal is None:
                raise
            refusal = self._state.dispatcher.refuse(frame.message, self._terminal)
            return self._session.answer(frame, refusal)

    def _deliver(self, reply: Message | None) -> None:
        """Send an answer that came from an executor or a timer."""
        if self._closing:
            self._busy = None
            return
        try:
            self._perform(self._conclude(reply))
        except Exception as err:  # noqa: BLE001
            self._give_up(err)

    # ── login ────────────────────────────────────────────────────────────────────────────────────

    def _log_in(self, request: Message) -> list[Output]:
        """Check the login, now or after the delay that earlier failures cost."""
        login = request.get("CN")
        state = self._state
        wait_s = state.throttle.reserve(self._peer, login, state.loop.time())
        if wait_s is None:
            return self._finish_login(request, None, "throttled", time.monotonic())
        if wait_s <= 0:
            return self._check_login(request)
        self._delay_timer = state.loop.call_later(wait_s, self._check_delayed_login, request)
        return []

    def _check_delayed_login(self, request: Message) -> None:
        if not self._closing:
            try:
                self._perform(self._check_login(request))
            except Exception as err:  # noqa: BLE001
                self._give_up(err)

    def _check_login(self, request: Message) -> list[Output]:
        started = time.monotonic()
        at_once: list[list[Output]] = []
        inside = True

        def done(terminal: Terminal | None, outcome: str) -> None:
            if self._closing:
                self._busy = None
                return
            outputs = self._finish_login(request, terminal, outcome, started)
            if inside:
                at_once.append(outputs)
                return
            try:
                self._perform(outputs)
            except Exception as err:  # noqa: BLE001
                self._give_up(err)

        self._state.dispatcher.log_in(request, self._peer, done)
        inside = False
        return at_once[0] if at_once else []

    def _finish_login(
        self, request: Message, terminal: Terminal | None, outcome: str, started: float
    ) -> list[Output]:
        state = self._state
        login = request.get("CN")
        if terminal is not None and not is_allowed(self._peer, terminal.allow_from):
            terminal, outcome = None, "address_not_allowed"
        if terminal is not None and not self._take_seat(terminal):
            terminal, outcome = None, "terminal_limit"
        delay_s = 0.0
        if terminal is not None:
            outcome = "accepted"
            state.throttle.succeed(self._peer, login)
            self._enter(terminal)
        else:
            self._failed_logins += 1
            if outcome in {"refused", "address_not_allowed"}:
                delay_s = state.throttle.fail(self._peer, login, state.loop.time())
        state.dispatcher.log_exchange(request, terminal, outcome, started)
        reply = Message("94", {"ok": "0" if terminal is None else "1"}, [])
        if delay_s:
            self._delay_timer = state.loop.call_later(delay_s, self._deliver_login, reply)
            return []
        return self._conclude_login(reply)

    def _deliver_login(self, reply: Message) -> None:
        if self._closing:
            return
        try:
            self._perform(self._conclude_login(reply))
        except Exception as err:  # noqa: BLE001
            self._give_up(err)

    def _conclude_login(self, reply: Message) -> list[Output]:
        outputs = self._conclude(reply)
        if self._failed_logins >= MAX_FAILED_LOGINS:
            outputs = [*outputs, Close("too_many_failed_logins")]
        return outputs

    def _enter(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._language = UNKNOWN_LANGUAGE
        self._failed_logins = 0
        if self._login_timer is not None:
            self._login_timer.cancel()
        if self._session is not None:
            self._session.log_in(terminal.wire)

    def _take_seat(self, terminal: Terminal) -> bool:
        """Count this connection for the terminal; an idle older one gives way, for it may be dead."""
        if (
            self._seated
            and self._terminal is not None
            and self._terminal.terminal_id == terminal.terminal_id
        ):
            return True
        seats = self._state.by_terminal.setdefault(terminal.terminal_id, [])
        if len(seats) >= self._state.max_per_terminal:
            idle = next((seat for seat in seats if not seat.is_busy), None)
            if idle is None:
                return False
            idle.close("replaced_by_newer")
            idle.leave_seat()
            seats = self._state.by_terminal.setdefault(terminal.terminal_id, [])
        self.leave_seat()
        seats.append(self)
        self._seated = True
        return True

    def leave_seat(self) -> None:
        """Count this connection no more for its terminal."""
        if not self._seated or self._terminal is None:
            return
        self._seated = False
        seats = self._state.by_terminal[self._terminal.terminal_id]
        seats.remove(self)
        if not seats:
            del self._state.by_terminal[self._terminal.terminal_id]

    # ── time and pressure ────────────────────────────────────────────────────────────────────────

    def _check_idle(self) -> None:
        state = self._state
        silent_s = state.loop.time() - self._heard_at
        if self._busy is None and silent_s >= state.idle_timeout_s:
            self.close("idle")
            return
        wait_s = max(state.idle_timeout_s - silent_s, 1.0)
        self._timer = state.loop.call_later(wait_s, self._check_idle)

    def _on_no_login(self) -> None:
        self.close("no_login")

    def _on_write_stalled(self) -> None:
        _log.warning("sip2.connection_closed", reason="kiosk_does_not_read")
        self.abort()

    def _update_reading(self) -> None:
        """Read unless the kiosk is behind with our answers or far ahead with its messages."""
        if self._transport is None or self._transport.is_closing():
            return
        pause = self._writing_paused or self._stopping or self._waiting_bytes > MAX_WAITING_BYTES
        if pause and not self._reading_paused:
            self._transport.pause_reading()
        elif not pause and self._reading_paused:
            self._transport.resume_reading()
        self._reading_paused = pause

    def _give_up(self, err: Exception) -> None:
        _log.error("sip2.connection_failed", error=type(err).__name__)
        self.abort()


def _set_socket_options(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
