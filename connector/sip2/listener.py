"""What connections share: the ports that are listened on, and the state of the whole server.

Nothing here does anything. Rule: everything that guards against abuse or a double execution
(counts, seats, throttle, answers kept for a repeat) is one per server, not one per port: a kiosk
that comes back through the other port is the same kiosk.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from connector.domain.ids import TerminalId
from connector.errors import LocalProtocolError
from connector.sip2.dispatch import Dispatcher
from connector.sip2.limits import ConnectionCounts, Network
from connector.sip2.login import LoginDesk, TerminalSeats
from connector.sip2.terminal import Terminal, WireProfile

__all__ = ["Listener", "OpenConnection", "ServerState"]


@dataclass(slots=True, kw_only=True)
class Listener:
    """One port.

    Attributes:
        tls: None on a plain port.
        allow_from: networks that may connect; empty = any. May change while it listens.
        proxy_from: balancers, whose connections begin with a PROXY header; empty = there are none.
        server: None until it listens.
    """

    tls: ssl.SSLContext | None = None
    allow_from: tuple[Network, ...] = ()
    proxy_from: tuple[Network, ...] = ()
    server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it has; useful where a free one was taken."""
        if self.server is None:
            raise LocalProtocolError("server_not_started")
        port: int = self.server.sockets[0].getsockname()[1]
        return port


class OpenConnection(Protocol):
    """A connection, as far as the server itself is concerned."""

    def drain(self) -> None:
        """Close as soon as nothing is outstanding."""

    def abort(self) -> None:
        """Close without waiting for anything."""

    def refresh(self, terminals: Mapping[TerminalId, Terminal]) -> None:
        """Take over what changed in the configuration."""


@dataclass(slots=True, kw_only=True)
class ServerState:
    """What the connections of one server share; filled by ``server``.

    Attributes:
        terminals: those that may log in, once they have been read anew; None before.
        open: connections; doors: those whose PROXY header or TLS handshake is under way.
    """

    dispatcher: Dispatcher
    counts: ConnectionCounts
    desk: LoginDesk
    seats: TerminalSeats
    loop: asyncio.AbstractEventLoop
    profile_before_login: Callable[[], WireProfile]
    anonymous: Callable[[str], Terminal | None]
    before_login: Terminal | None
    idle_timeout_s: float
    login_timeout_s: float
    write_timeout_s: float
    terminals: Mapping[TerminalId, Terminal] | None = None
    open: set[OpenConnection] = field(default_factory=set)
    doors: set[OpenConnection] = field(default_factory=set)
    on_change: Callable[[], None] = lambda: None
    on_refused: Callable[[str], None] = lambda _reason: None
    stopping: bool = False
