"""Login of terminals: who it is, from where, how often a guess may fail, how many connections.

The password is the handler's to judge; sockets are ``connection``'s. Rules:

- an answer to a wrong login is late, and so is the next look at a password from the same address
  under the same name, on whichever connection it comes;
- a terminal has a few seats; one more connection takes that of an idle older one, which may be dead
  without our knowing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from connector.domain.ids import TerminalId
from connector.sip2.codec import Message
from connector.sip2.dispatch import Dispatcher
from connector.sip2.limits import LoginThrottle, is_allowed
from connector.sip2.terminal import Terminal
from connector.sip2.tls import ClientCertificate

__all__ = ["LoginDesk", "LoginDone", "Seat", "TerminalSeats", "refuse_place"]

LoginDone = Callable[[Terminal | None, str], None]
"""Gets the terminal, or None and the outcome for the log."""


def refuse_place(
    terminal: Terminal, peer: str, certificate: ClientCertificate | None
) -> str | None:
    """Return why this login may not be used from there, or None."""
    if not is_allowed(peer, terminal.allow_from):
        return "address_not_allowed"
    if terminal.certificate and not (certificate and certificate.is_named(terminal.certificate)):
        return "certificate_not_allowed"
    return None


class LoginDesk:
    """Judges the logins of one server, on whichever port they come."""

    __slots__ = ("_dispatcher", "_loop", "_throttle")

    def __init__(
        self, dispatcher: Dispatcher, throttle: LoginThrottle, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._dispatcher = dispatcher
        self._throttle = throttle
        self._loop = loop

    def check(
        self,
        request: Message,
        peer: str,
        done: LoginDone,
        certificate: ClientCertificate | None = None,
    ) -> asyncio.TimerHandle | None:
        """Judge a 93, now or after the delay that earlier failures cost.

        Args:
            certificate: what the connection has shown.
            done: called once, in a later turn of the loop.

        Returns:
            the timer of the delay; to be cancelled when the connection ends before.
        """

        def judge() -> None:
            self._dispatcher.log_in(request, peer, allow)

        def allow(terminal: Terminal | None, outcome: str) -> None:
            refusal = None if terminal is None else refuse_place(terminal, peer, certificate)
            if refusal is not None:
                done(None, refusal)
            else:
                done(terminal, outcome)

        wait_s = self._throttle.reserve(peer, request.get("CN"), self._loop.time())
        if wait_s is None:
            self._loop.call_soon(done, None, "throttled")
        elif wait_s > 0:
            return self._loop.call_later(wait_s, judge)
        else:
            judge()
        return None

    def accept(self, request: Message, peer: str) -> None:
        """Forget earlier failures."""
        self._throttle.succeed(peer, request.get("CN"))

    def refuse(self, request: Message, peer: str, outcome: str) -> float:
        """Count a failure; return after how many seconds to answer it."""
        if outcome not in {"refused", "address_not_allowed", "certificate_not_allowed"}:
            return 0.0
        return self._throttle.fail(peer, request.get("CN"), self._loop.time())


class Seat(Protocol):
    """A connection, as far as seats are concerned."""

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is outstanding."""
        ...

    def close(self, reason: str) -> None:
        """Close it."""
        ...


class TerminalSeats:
    """Connections by terminal, a few at most."""

    __slots__ = ("_max_per_terminal", "_seats")

    def __init__(self, max_per_terminal: int) -> None:
        self._max_per_terminal = max_per_terminal
        self._seats: dict[TerminalId, list[Seat]] = {}

    def taken(self, terminal_id: TerminalId) -> int:
        """Return how many connections the terminal has."""
        return len(self._seats.get(terminal_id, ()))

    def take(self, terminal: Terminal, seat: Seat) -> bool:
        """Count the connection; False when the terminal has too many that are all busy."""
        seats = self._seats.setdefault(terminal.terminal_id, [])
        if len(seats) >= (terminal.max_connections or self._max_per_terminal):
            idle = next((other for other in seats if not other.is_busy), None)
            if idle is None:
                return False
            seats.remove(idle)
            idle.close("replaced_by_newer")
        seats.append(seat)
        return True

    def leave(self, terminal_id: TerminalId, seat: Seat) -> None:
        """Count the connection no more; nothing when it had been replaced."""
        seats = self._seats.get(terminal_id, [])
        if seat in seats:
            seats.remove(seat)
        if not seats:
            self._seats.pop(terminal_id, None)
