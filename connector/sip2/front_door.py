"""Before the first byte of SIP2, on ports with TLS or a balancer: the PROXY header, then TLS.

What the header says is read by ``proxy_protocol``; who is let in is ``connection``'s to decide.
Rules:

- who may not connect at all is closed before any handshake, and handshakes count as connections;
- only a balancer may name another address: who comes from elsewhere is taken as he is, and what he
  sends is SIP2 or TLS;
- a balancer that sends no header, a wrong one, or none in time, is closed;
- not one byte beyond the header is read before the protocol behind it takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from connector.domain.ids import TerminalId
from connector.errors import RemoteProtocolError
from connector.log import get_logger
from connector.sip2.limits import is_allowed, normalise_address
from connector.sip2.listener import Listener, ServerState
from connector.sip2.proxy_protocol import ProxyHeader
from connector.sip2.sockets import peer_address
from connector.sip2.terminal import Terminal

__all__ = ["HEADER_TIMEOUT_S", "FrontDoor"]

_log = get_logger(__name__)

HEADER_TIMEOUT_S = 5.0
_TLS_HANDSHAKE_S = 10.0
_TLS_SHUTDOWN_S = 3.0

ConnectionFor = Callable[[str], asyncio.Protocol]
"""Makes the connection of a kiosk at this address."""


class FrontDoor(asyncio.BufferedProtocol):
    """The protocol object of a connection until its header is read and its handshake done."""

    def __init__(
        self, state: ServerState, listener: Listener, connection_for: ConnectionFor
    ) -> None:
        self._state = state
        self._listener = listener
        self._connection_for = connection_for
        self._header = ProxyHeader()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._timer: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None

    # ── asyncio's callbacks ──────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the header, or go on at once for who is no balancer."""
        state = self._state
        self._transport = cast("asyncio.Transport", transport)
        self._peer = peer_address(transport)
        state.doors.add(self)
        if state.stopping or state.counts.is_full(len(state.doors)):
            self._refuse("server_stopping" if state.stopping else "total_limit")
        elif not self._is_balancer():
            self._open(self._peer)
        else:
            self._timer = state.loop.call_later(HEADER_TIMEOUT_S, self._refuse, "no_proxy_header")

    def get_buffer(self, sizehint: int) -> bytearray:
        """Offer room for what is missing of the header, and no more."""
        del sizehint
        self._buffer = bytearray(self._header.missing)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read on in the header."""
        try:
            self._header.feed(bytes(self._buffer[:nbytes]))
        except RemoteProtocolError as err:
            self._refuse(str(err))
            return
        if self._header.is_complete:
            source = self._header.source
            self._open(self._peer if source is None else normalise_address(source))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._leave()

    # ── what the server asks ─────────────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Close: nothing has been asked yet."""
        self.abort()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._leave()
        if self._handshake is not None:
            self._handshake.cancel()
        if self._transport is not None:
            self._transport.abort()

    def refresh(self, terminals: Mapping[TerminalId, Terminal]) -> None:
        """Nothing is known yet that could have changed."""

    def _is_balancer(self) -> bool:
        networks = self._listener.proxy_from
        return bool(networks) and is_allowed(self._peer, networks)

    # ── letting in ───────────────────────────────────────────────────────────────────────────────

    def _open(self, peer: str) -> None:
        """Hand over to the connection, through TLS where the port has it."""
        if self._timer is not None:
            self._timer.cancel()
        transport = self._transport
        if transport is None or transport.is_closing():
            self._leave()
            return
        if not is_allowed(peer, self._listener.allow_from):
            self._peer = peer
            self._refuse("address_not_allowed")
            return
        self._peer = peer
        connection = self._connection_for(peer)
        if self._listener.tls is None:
            self._leave()
            transport.set_protocol(connection)
            connection.connection_made(transport)
        else:
            transport.pause_reading()
            shaking = self._shake_hands(transport, connection)
            self._handshake = self._state.loop.create_task(shaking)

    async def _shake_hands(
        self, transport: asyncio.Transport, connection: asyncio.Protocol
    ) -> None:
        early = _EarlyData()
        context = self._listener.tls
        assert context is not None  # noqa: S101 - seen by the caller
        try:
            tls = await self._state.loop.start_tls(
                transport,
                early,
                context,
                server_side=True,
                ssl_handshake_timeout=_TLS_HANDSHAKE_S,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_S,
            )
        except OSError as err:  # ssl.SSLError, time-outs and resets
            reason, error = "tls_failed", type(err).__name__
            _log.warning("sip2.connection_refused", reason=reason, peer=self._peer, error=error)
            self._state.on_refused(reason)
            return
        finally:
            self._leave()
        if tls is None or early.is_lost:
            return
        tls.set_protocol(connection)
        connection.connection_made(tls)
        if early.data:
            connection.data_received(bytes(early.data))
        if early.at_eof and not connection.eof_received():
            tls.close()

    def _refuse(self, reason: str) -> None:
        self.abort()
        _log.warning("sip2.connection_refused", reason=reason, peer=self._peer)
        self._state.on_refused(reason)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self in self._state.doors:
            self._state.doors.remove(self)
            self._state.on_change()


class _EarlyData(asyncio.Protocol):
    """Keeps what arrives with the end of a handshake, until the connection is there to take it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.at_eof = False
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.at_eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_lost = True
