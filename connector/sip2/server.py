"""The SIP2 server: one listener for any number of kiosks, plain or TLS.

Connections live in ``connection``, requests in ``dispatch``; here they are put together, started
and stopped. Nothing here knows what a message means. One ``Sip2Server`` per listener; several may
share a handler and executors.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Executor

from connector.domain.ids import InstitutionId
from connector.errors import LocalProtocolError
from connector.log import get_logger
from connector.ports.clock import Clock, utc_now
from connector.sip2.connection import Connection, ListenerState
from connector.sip2.dispatch import Dispatcher, Exchange, MessageHandler, Observer, Work
from connector.sip2.limits import ConnectionCounts, LoginThrottle, Network
from connector.sip2.login import LoginDesk, TerminalSeats
from connector.sip2.pool import BoundedPool
from connector.sip2.replay import ReplayCache
from connector.sip2.terminal import Terminal, WireProfile

__all__ = ["Exchange", "MessageHandler", "Sip2Server"]

_log = get_logger(__name__)

_BACKLOG = 512
_TLS_HANDSHAKE_S = 10.0
_TLS_SHUTDOWN_S = 3.0
_FLUSH_S = 1.0
_ACCEPT_TURNS = 5  # of the loop, until a connection accepted just before has met its refusal
_LOGIN_WORKERS = 4
_LOGIN_QUEUE = 256


def _nobody(_peer: str) -> Terminal | None:
    return None


class Sip2Server:
    """A listener.

    Args:
        executor_for: the pool of a library (see ``BoundedPool``), asked at every request. None
            calls the handler on
            the event loop: only for a handler that does no I/O.
        default_profile: how a kiosk is understood before it has logged in.
        anonymous: the terminal that an address is without any login, else None: then a login is
            required.
        before_login: in whose name a 99 that comes before the login is answered; None answers a
            bare 98.
        answer_within_s: a request without an answer by then is refused; less than the kiosk's own
            time-out.
        grace_s: a handler that claimed its slot in time is waited for so much longer.
        idle_timeout_s: kiosks poll every 5 to 7 minutes; less than that adds instability.
        login_timeout_s: from the connection to a good login.
        write_timeout_s: a kiosk that reads none of its answers for so long is dropped.
        max_per_terminal: connections of one login; one more closes an idle older one.
        login_delay_s: after a failed login; doubles with each, up to 8 times. 0 = off.
        replay_s: how long the answer to a request that changed something is kept for its repeat.
        allow_from: networks that may connect at all; empty = any.
        observer: called after each exchange, for metrics.
        on_refused: called with the reason when a connection is not taken, for metrics.

    Example::

        server = Sip2Server(gateway, executor_for=pools.__getitem__, answer_within_s=8)
        await server.start("0.0.0.0", 6001)
        …
        await server.stop(drain_s=10)
    """

    def __init__(
        self,
        handler: MessageHandler,
        *,
        executor_for: Callable[[InstitutionId], Executor] | None = None,
        default_profile: WireProfile | None = None,
        anonymous: Callable[[str], Terminal | None] | None = None,
        before_login: Terminal | None = None,
        answer_within_s: float = 10.0,
        grace_s: float = 5.0,
        idle_timeout_s: float = 1200.0,
        login_timeout_s: float = 60.0,
        write_timeout_s: float = 60.0,
        max_connections: int = 2000,
        max_per_address: int = 100,
        max_per_terminal: int = 4,
        login_delay_s: float = 1.0,
        replay_s: float = 60.0,
        allow_from: tuple[Network, ...] = (),
        tls: ssl.SSLContext | None = None,
        observer: Observer | None = None,
        on_refused: Callable[[str], None] | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._handler = handler
        self._executor_for = executor_for
        self._default_profile = default_profile or WireProfile()
        self._anonymous = anonymous or _nobody
        self._before_login = before_login
        self._answer_within_s = answer_within_s
        self._grace_s = grace_s
        self._idle_timeout_s = idle_timeout_s
        self._login_timeout_s = login_timeout_s
        self._write_timeout_s = write_timeout_s
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._max_per_terminal = max_per_terminal
        self._login_delay_s = login_delay_s
        self._replay_s = replay_s
        self._allow_from = allow_from
        self._tls = tls
        self._observer = observer
        self._on_refused = on_refused
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._state: ListenerState | None = None
        self._login_pool: BoundedPool | None = None
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that the listener has; useful after ``start(host, 0)``."""
        if self._server is None:
            raise LocalProtocolError("server_not_started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """Kiosks that are connected now."""
        return 0 if self._state is None else self._state.counts.total

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        if self._executor_for is not None:
            self._login_pool = BoundedPool(_LOGIN_WORKERS, queued=_LOGIN_QUEUE, name="sip2-login")
        dispatcher = Dispatcher(
            self._handler,
            loop=loop,
            executor_for=self._executor_for,
            login_executor=self._login_pool,
            answer_within_s=self._answer_within_s,
            grace_s=self._grace_s,
            replay=ReplayCache[Work](keep_s=self._replay_s),
            observer=self._observer,
            clock=self._clock,
        )
        state = ListenerState(
            dispatcher=dispatcher,
            counts=ConnectionCounts(
                max_total=self._max_connections, max_per_address=self._max_per_address
            ),
            desk=LoginDesk(dispatcher, LoginThrottle(delay_s=self._login_delay_s), loop),
            seats=TerminalSeats(self._max_per_terminal),
            loop=loop,
            default_profile=self._default_profile,
            anonymous=self._anonymous,
            before_login=self._before_login,
            allow_from=self._allow_from,
            idle_timeout_s=self._idle_timeout_s,
            login_timeout_s=self._login_timeout_s,
            write_timeout_s=self._write_timeout_s,
            on_change=self._changed.set,
            on_refused=self._on_refused or (lambda _reason: None),
        )
        try:
            self._server = await loop.create_server(
                lambda: Connection(state),
                host,
                port,
                backlog=_BACKLOG,
                reuse_address=True,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else _TLS_HANDSHAKE_S,
                ssl_shutdown_timeout=None if self._tls is None else _TLS_SHUTDOWN_S,
            )
        except OSError:
            self._close_login_pool()
            raise
        self._state = state
        _log.info("sip2.server_started", port=self.port)

    async def stop(self, drain_s: float = 10.0) -> None:
        """Accept no more, answer what is under way, close.

        Args:
            drain_s: after this the remaining requests are refused as if their deadline had passed;
                those whose outcome is already claimed get the grace on top.
        """
        if self._server is None or self._state is None:
            return
        state = self._state
        state.stopping = True
        await self._stop_accepting(self._server, state)
        for connection in list(state.open):
            connection.drain()
        if not await self._wait_until_empty(state, drain_s):
            state.dispatcher.expire_all()
            grace_s = self._grace_s if state.dispatcher.running else 0.0
            await self._wait_until_empty(state, grace_s + _FLUSH_S)
        for connection in list(state.open):
            connection.abort()
        await self._wait_until_empty(state, _FLUSH_S)
        await self._server.wait_closed()
        self._close_login_pool()
        _log.info("sip2.server_stopped")

    @staticmethod
    async def _stop_accepting(server: asyncio.Server, state: ListenerState) -> None:
        """Close the listener after what it has accepted already got its transport.

        asyncio (3.11) leaks a connection that it accepted in the turn of the loop before ``close``.
        """
        for sock in server.sockets:
            state.loop.remove_reader(sock.fileno())
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        server.close()

    async def _wait_until_empty(self, state: ListenerState, timeout_s: float) -> bool:
        until = state.loop.time() + timeout_s
        while state.open:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - state.loop.time())
            except TimeoutError:
                return not state.open
        return True

    def _close_login_pool(self) -> None:
        if self._login_pool is not None:
            self._login_pool.shutdown(wait=False, cancel_futures=True)
            self._login_pool = None
