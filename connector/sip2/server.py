"""The SIP2 server: any number of kiosks, on one port or several, plain or TLS.

Connections live in ``connection``, requests in ``dispatch``; here they are put together, started
and stopped. Nothing here knows what a message means. One ``Sip2Server`` per process: its ports
share what ``listener`` says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from connector.domain.ids import InstitutionId, TerminalId
from connector.errors import LocalProtocolError
from connector.log import get_logger
from connector.ports.clock import Clock, utc_now
from connector.sip2.connection import Connection
from connector.sip2.dispatch import Dispatcher, Exchange, MessageHandler, Observer, Work
from connector.sip2.front_door import FrontDoor
from connector.sip2.limits import ConnectionCounts, LoginThrottle, Network
from connector.sip2.listener import Listener, ServerState
from connector.sip2.login import LoginDesk, TerminalSeats
from connector.sip2.pool import BoundedPool
from connector.sip2.replay import ReplayCache
from connector.sip2.terminal import Terminal, WireProfile

__all__ = ["Exchange", "MessageHandler", "Sip2Server"]

_log = get_logger(__name__)

_BACKLOG = 512
_FLUSH_S = 1.0
_ACCEPT_TURNS = 5  # of the loop, until a connection accepted just before has met its refusal
_LOGIN_WORKERS = 4
_LOGIN_QUEUE = 256


def _nobody(_peer: str) -> Terminal | None:
    return None


class Sip2Server:
    """All ports on which kiosks are served.

    Args:
        executor_for: the pool of a library (see ``BoundedPool``), asked at every request. None
            calls the handler on
            the event loop: only for a handler that does no I/O.
        profile_before_login: how a kiosk is understood before it has logged in; asked at each
            connection. The standard's by default.
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
        max_per_terminal: connections of one login, where the terminal has no number of its own;
            one more closes an idle older one.
        login_delay_s: after a failed login; doubles with each, up to 8 times. 0 = off.
        replay_s: how long the answer to a request that changed something is kept for its repeat.
        allow_from, tls: of the first port; see ``listen``.
        observer: called after each exchange, for metrics.
        on_refused: called with the reason when a connection is not taken, for metrics.

    Example::

        server = Sip2Server(gateway, executor_for=pools.__getitem__, answer_within_s=8)
        await server.start("0.0.0.0", 6001)
        await server.listen("0.0.0.0", 6443, tls=context)
        …
        await server.stop(drain_s=10)
    """

    def __init__(
        self,
        handler: MessageHandler,
        *,
        executor_for: Callable[[InstitutionId], Executor] | None = None,
        profile_before_login: Callable[[], WireProfile] = WireProfile,
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
        self._profile_before_login = profile_before_login
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
        self._state: ServerState | None = None
        self._login_pool: BoundedPool | None = None
        self._changed = asyncio.Event()
        self.listeners: list[Listener] = []

    @property
    def port(self) -> int:
        """The first port; useful after ``start(host, 0)``."""
        if not self.listeners:
            raise LocalProtocolError("server_not_started")
        return self.listeners[0].port

    @property
    def connections(self) -> int:
        """Kiosks that are connected now."""
        return 0 if self._state is None else self._state.counts.total

    async def start(
        self, host: str, port: int, *, proxy_from: tuple[Network, ...] = ()
    ) -> Listener:
        """Begin to serve, on a first port.

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
        self._state = ServerState(
            dispatcher=dispatcher,
            counts=ConnectionCounts(
                max_total=self._max_connections, max_per_address=self._max_per_address
            ),
            desk=LoginDesk(dispatcher, LoginThrottle(delay_s=self._login_delay_s), loop),
            seats=TerminalSeats(self._max_per_terminal),
            loop=loop,
            profile_before_login=self._profile_before_login,
            anonymous=self._anonymous,
            before_login=self._before_login,
            idle_timeout_s=self._idle_timeout_s,
            login_timeout_s=self._login_timeout_s,
            write_timeout_s=self._write_timeout_s,
            on_change=self._changed.set,
            on_refused=self._on_refused or (lambda _reason: None),
        )
        try:
            return await self.listen(
                host, port, tls=self._tls, allow_from=self._allow_from, proxy_from=proxy_from
            )
        except OSError:
            self._state = None
            self._close_login_pool()
            raise

    async def listen(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        allow_from: tuple[Network, ...] = (),
        proxy_from: tuple[Network, ...] = (),
    ) -> Listener:
        """Listen on one more port.

        Args:
            allow_from: networks that may connect at all; empty = any.
            proxy_from: balancers; what comes from there begins with a PROXY header, and TLS after
                it.

        Raises:
            OSError: the address is in use or not ours.
        """
        state = self._state
        if state is None:
            raise LocalProtocolError("server_not_started")
        listener = Listener(tls=tls, allow_from=allow_from, proxy_from=proxy_from)

        def connection_for(peer: str | None = None) -> Connection:
            return Connection(state, listener, peer)

        has_door = tls is not None or bool(proxy_from)
        listener.server = await state.loop.create_server(
            (lambda: FrontDoor(state, listener, connection_for)) if has_door else connection_for,
            host,
            port,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self.listeners.append(listener)
        _log.info("sip2.server_started", port=listener.port)
        return listener

    def refresh(self, terminals: Mapping[TerminalId, Terminal]) -> None:
        """Let every connection take over changed terminals and allow-lists; on the event loop.

        Connections that are not allowed any more are closed after the exchange under way.
        """
        if self._state is None:
            return
        self._state.terminals = terminals
        for connection in list(self._state.open):
            connection.refresh(terminals)

    async def stop(self, drain_s: float = 10.0) -> None:
        """Accept no more, answer what is under way, close.

        Args:
            drain_s: after this the remaining requests are refused as if their deadline had passed;
                those whose outcome is already claimed get the grace on top.
        """
        if self._state is None:
            return
        state = self._state
        state.stopping = True
        servers = [one.server for one in self.listeners if one.server is not None]
        await self._stop_accepting(servers, state)
        for connection in [*state.doors, *state.open]:
            connection.drain()
        if not await self._wait_until_empty(state, drain_s):
            state.dispatcher.expire_all()
            grace_s = self._grace_s if state.dispatcher.running else 0.0
            await self._wait_until_empty(state, grace_s + _FLUSH_S)
        for connection in [*state.doors, *state.open]:
            connection.abort()
        await self._wait_until_empty(state, _FLUSH_S)
        for server in servers:
            await server.wait_closed()
        self._close_login_pool()
        _log.info("sip2.server_stopped")

    @staticmethod
    async def _stop_accepting(servers: list[asyncio.Server], state: ServerState) -> None:
        """Close the ports after what they have accepted already got its transport.

        asyncio (3.11) leaks a connection that it accepted in the turn of the loop before ``close``.
        """
        for server in servers:
            for sock in server.sockets:
                state.loop.remove_reader(sock.fileno())
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    async def _wait_until_empty(self, state: ServerState, timeout_s: float) -> bool:
        until = state.loop.time() + timeout_s
        while state.open or state.doors:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - state.loop.time())
            except TimeoutError:
                return not (state.open or state.doors)
        return True

    def _close_login_pool(self) -> None:
        if self._login_pool is not None:
            self._login_pool.shutdown(wait=False, cancel_futures=True)
            self._login_pool = None
