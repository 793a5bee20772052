"""One kiosk's TCP connection: bytes in and out, time-outs, login, back-pressure, the end.

What a frame means is decided in ``session``; what it does, behind ``dispatch``. Rules:

- at most one exchange is outstanding; what the kiosk sends meanwhile waits, and beyond
  ``MAX_WAITING_BYTES`` is not read from the socket;
- a side that has stopped sending still gets the answers it waits for (half-closed sockets);
- no exception leaves a callback: the connection is closed and the class name logged.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Mapping
from typing import cast

from connector.domain.ids import TerminalId
from connector.log import get_logger
from connector.sip2.codec import Frame, Message
from connector.sip2.limits import is_allowed
from connector.sip2.listener import Listener, ServerState
from connector.sip2.login import refuse_place
from connector.sip2.replies import STATUS_BEFORE_LOGIN
from connector.sip2.session import Close, Output, Send, Session
from connector.sip2.sockets import keep_alive, peer_address
from connector.sip2.terminal import Terminal
from connector.sip2.terminals import follow_change
from connector.sip2.tls import ClientCertificate, read_client_certificate

__all__ = ["MAX_WAITING_BYTES", "Connection"]

_log = get_logger(__name__)

MAX_WAITING_BYTES = 4 * 1024
"""Bytes that a kiosk may send ahead while its exchange runs; then its socket is not read."""

MAX_FAILED_LOGINS = 3
"""Failed logins on one connection before it is closed."""

UNKNOWN_LANGUAGE = "000"

_WHOLE_UNICODE = frozenset({"utf-8", "utf8", "gb18030"})


class Connection(asyncio.Protocol):
    """The protocol object that asyncio drives; see the module's rules.

    Args:
        peer: the kiosk's address where a balancer has named it; None = the socket's.
    """

    def __init__(self, state: ServerState, listener: Listener, peer: str | None = None) -> None:
        self._state = state
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._terminal: Terminal | None = None
        self._seat_of: TerminalId | None = None
        self._named_peer = peer
        self._peer = ""
        self._certificate: ClientCertificate | None = None
        self._language = UNKNOWN_LANGUAGE
        self._busy: Frame | None = None
        self._waiting_bytes = 0
        self._failed_logins = 0
        self._reading_paused = False
        self._writing_paused = False
        self._at_eof = False
        self._stopping = ""
        self._closing = False
        self._is_counted = False
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
        self._state.open.add(self)
        self._peer = self._named_peer or peer_address(transport)
        refusal = self._admit()
        if refusal is not None:
            self.abort()
            _log.warning("sip2.connection_refused", reason=refusal, peer=self._peer)
            self._state.on_refused(refusal)
            return
        try:
            self._certificate = read_client_certificate(transport)
            self._begin(transport.get_extra_info("socket"))
        except Exception as err:  # noqa: BLE001
            self._give_up(err)

    def _admit(self) -> str | None:
        """Count the connection, or return why not."""
        state = self._state
        if state.stopping:
            return "server_stopping"
        if not is_allowed(self._peer, self._listener.allow_from):
            return "address_not_allowed"
        refusal = state.counts.admit(self._peer)
        self._is_counted = refusal is None
        return refusal

    def _begin(self, sock: socket.socket | None) -> None:
        state = self._state
        keep_alive(sock)
        terminal = state.anonymous(self._peer)
        if terminal is not None and refuse_place(terminal, self._peer, self._certificate):
            terminal = None
        self._terminal = terminal
        self._session = Session(
            state.profile_before_login() if terminal is None else terminal.wire,
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
            self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
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
        if self._write_timer is not None and not self._closing:
            self._write_timer.cancel()
            self._write_timer = None
        self._update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give everything back; a running exchange goes on, its answer is kept for a repeat."""
        self._closing = True
        state = self._state
        for timer in (self._timer, self._write_timer, self._login_timer, self._delay_timer):
            if timer is not None:
                timer.cancel()
        if self._is_counted:
            state.counts.release(self._peer)
            self._leave_seat()
        state.open.discard(self)
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
        if self._transport is None:
            return
        if self._write_timer is None:
            self._write_timer = self._state.loop.call_later(
                self._state.write_timeout_s, self._on_write_stalled
            )
        self._transport.close()

    def drain(self, reason: str = "server_stopping") -> None:
        """Close as soon as nothing is outstanding; read nothing more."""
        self._stopping = reason
        if self._busy is None:
            self.close(reason)
        else:
            self._update_reading()

    def refresh(self, terminals: Mapping[TerminalId, Terminal]) -> None:
        """Take over what changed in the configuration: now, at the next login, or by closing."""
        if not is_allowed(self._peer, self._listener.allow_from):
            self.drain("address_not_allowed")
            return
        mine = self._terminal
        if mine is None or self._seat_of is None:
            return  # not logged in; nobody's terminal is in the registry
        after = follow_change(mine, terminals.get(mine.terminal_id))
        if after is None or refuse_place(after, self._peer, self._certificate) is not None:
            self.drain("terminal_changed")
        elif after != mine:
            self._terminal = after
            if self._session is not None:
                self._session.profile = after.wire

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # ── exchanges ────────────────────────────────────────────────────────────────────────────────

    def _perform(self, outputs: list[Output]) -> None:
        """Do what the session says; answers that are ready at once loop here, no recursion."""
        chunks: list[bytes] = []
        close_reason: str | None = None
        for output in outputs:  # grows while we walk
            if isinstance(output, Send):
                chunks.append(output.data)
                if output.final:
                    close_reason = "session_ended"
            elif isinstance(output, Close):
                close_reason = output.reason
            elif (close_reason := self._reason_to_end()) is None:
                outputs.extend(self._take_up(output.frame))
            if close_reason is not None:
                break
        self._tell_notes()
        if chunks and self._transport is not None and not self._transport.is_closing():
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if close_reason is None and self._busy is None:
            close_reason = self._reason_to_end() or ("kiosk_ended" if self._at_eof else None)
        if close_reason is not None:
            self.close(close_reason)

    def _tell_notes(self) -> None:
        """Log what the session answered or ignored by itself."""
        if self._session is not None:
            for note in self._session.take_notes():
                self._state.dispatcher.log_note(
                    note.frame, self._terminal, note.outcome, peer=self._peer
                )

    def _reason_to_end(self) -> str | None:
        if self._stopping:
            return self._stopping
        if self._failed_logins >= MAX_FAILED_LOGINS:
            return "too_many_failed_logins"
        return None

    def _take_up(self, frame: Frame) -> list[Output]:
        """Start the exchange; return what follows when it is answered at once."""
        self._busy = frame
        request = frame.message
        if request is None:
            return self._conclude(None)
        if request.code == "93":
            self._log_in(request)
            return []
        language = request.fixed.get("language", "")
        if language.strip():
            self._language = language
        terminal = self._terminal or self._state.before_login
        if terminal is None:
            self._state.dispatcher.log_exchange(
                request, None, "before_login", time.monotonic(), peer=self._peer
            )
            return self._conclude(STATUS_BEFORE_LOGIN if request.code == "99" else None)
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
        self._note_unmappable(reply)
        try:
            return self._session.answer(frame, reply)
        except Exception as err:  # an answer that cannot be encoded becomes a refusal
            _log.error("sip2.answer_failed", request=frame.code, error=type(err).__name__)
            if frame.message is None or self._terminal is None:
                raise
            refusal = self._state.dispatcher.refuse(frame.message, self._terminal)
            return self._session.answer(frame, refusal)

    def _note_unmappable(self, reply: Message | None) -> None:
        """Log that the kiosk's character set lacks something of the answer (scenario 33)."""
        if reply is None or self._terminal is None:
            return
        encoding = self._terminal.wire.encoding
        if encoding in _WHOLE_UNICODE:
            return
        try:
            "".join([value for _, value in reply.fields]).encode(encoding)
        except UnicodeEncodeError:
            _log.warning(
                "sip2.characters_replaced",
                terminal=self._terminal.terminal_id,
                response=reply.code,
                encoding=encoding,
            )

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

    def _log_in(self, request: Message) -> None:
        done = functools.partial(self._on_login, request, time.monotonic())
        self._delay_timer = self._state.desk.check(request, self._peer, done, self._certificate)

    def _on_login(
        self, request: Message, started: float, terminal: Terminal | None, outcome: str
    ) -> None:
        if self._closing:
            return
        state = self._state
        if terminal is not None and self._is_outdated(terminal):
            terminal, outcome = None, "terminal_changed"
        if terminal is not None and not self._take_seat(terminal):
            terminal, outcome = None, "terminal_limit"
        delay_s = 0.0
        if terminal is None:
            self._failed_logins += 1
            delay_s = state.desk.refuse(request, self._peer, outcome)
        else:
            outcome = "accepted"
            state.desk.accept(request, self._peer)
            self._enter(terminal)
        state.dispatcher.log_exchange(request, terminal, outcome, started, peer=self._peer)
        reply = Message("94", {"ok": "0" if terminal is None else "1"}, [])
        if delay_s:
            self._delay_timer = state.loop.call_later(delay_s, self._deliver, reply)
        else:
            self._deliver(reply)

    def _enter(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._language = UNKNOWN_LANGUAGE
        self._failed_logins = 0
        if self._login_timer is not None:
            self._login_timer.cancel()
        if self._session is not None:
            self._session.log_in(terminal.wire)

    def _is_outdated(self, terminal: Terminal) -> bool:
        """Was the configuration changed while the login was judged?"""
        known = self._state.terminals
        return known is not None and known.get(terminal.terminal_id) != terminal

    def _take_seat(self, terminal: Terminal) -> bool:
        if terminal.terminal_id == self._seat_of:
            return True
        if not self._state.seats.take(terminal, self):
            return False
        self._leave_seat()
        self._seat_of = terminal.terminal_id
        return True

    def _leave_seat(self) -> None:
        if self._seat_of is not None:
            self._state.seats.leave(self._seat_of, self)
            self._seat_of = None

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
        pause = (
            self._writing_paused or bool(self._stopping) or self._waiting_bytes > MAX_WAITING_BYTES
        )
        if pause and not self._reading_paused:
            self._transport.pause_reading()
        elif not pause and self._reading_paused:
            self._transport.resume_reading()
        self._reading_paused = pause

    def _give_up(self, err: Exception) -> None:
        _log.error("sip2.connection_failed", error=type(err).__name__)
        self.abort()
