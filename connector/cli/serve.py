"""``onecard serve``: run what the configuration enables, in one process, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path

import click

from connector.bootstrap import Application
from connector.bootstrap.edges import build_context
from connector.cli.reload import reloading
from connector.cli.status_page import Readiness, StoreCollector, serve_status
from connector.cli.worker import working
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.log import configure, get_logger
from connector.services.health import StoreProbe
from connector.settings import Sip2Settings
from connector.sip2.handlers.status import find_greeter
from connector.sip2.limits import Network
from connector.sip2.profiles import profile_before_login
from connector.sip2.server import Sip2Server

__all__ = ["running_server", "serve"]

_log = get_logger(__name__)
_PARTS = ("sip2", "worker")


@click.command(
    epilog="""\b
Example:
  onecard --config onecard.toml serve
  onecard --config onecard.toml serve --only sip2
"""
)
@click.option("--only", help="Parts to run, with commas between: sip2, worker. Default: all.")
@click.option("--drain", "drain_s", default=10.0, show_default=True, help="Seconds to end in.")
@click.pass_obj
def serve(obj: object, only: str | None, drain_s: float) -> None:
    """Serve self-check machines and settle unknown outcomes, until SIGTERM or Ctrl-C.

    SIGHUP, or a change of the file, takes over terminals, screen messages and allow-lists. SIGTERM
    drains: /readyz says no, no new connection is taken, requests under way are answered,
    then it ends with code 0.
    """
    parts = _parts(only)
    settings = obj.settings  # type: ignore[attr-defined]
    configure(settings.log)
    app: Application = obj.app  # type: ignore[attr-defined]
    try:
        asyncio.run(_run(app, obj.config, parts, drain_s))  # type: ignore[attr-defined]
    finally:
        app.close()


async def _run(app: Application, config: Path, parts: frozenset[str], drain_s: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    serves_kiosks = "sip2" in parts and app.settings.sip2.enabled
    probe = StoreProbe(app.store.operations)
    ready = Readiness(probe, lambda: app.metrics.ils_up, listening=False if serves_kiosks else None)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until kiosks are served, and after
    app.plugins.startup(app.info)
    try:
        await asyncio.to_thread(_check_loan_rules, app)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_status_page(app, ready))
            if "worker" in parts:
                await stack.enter_async_context(working(app))
            if serves_kiosks:
                await stack.enter_async_context(listening(app, drain_s, config))
                ready.listening = True
            await stop.wait()
            ready.draining = True
            _log.info("service.stopping")
    finally:
        app.plugins.shutdown(app.info)


def _check_loan_rules(app: Application) -> None:
    """Refuse to start where a library chose so and its ILS lends by other rules (scenario 31)."""
    barred = app.loan_rules.list_barred()
    if barred:
        raise ConfigurationError(
            f"The library system of {', '.join(barred)} lends by other rules than the policy.",
            'See: onecard doctor. Mend its rules, or set rule_mismatch = "warn".',
        )


@contextlib.contextmanager
def _status_page(app: Application, ready: Readiness) -> Iterator[None]:
    """Show /metrics, /healthz and /readyz where that is on, until everything else has ended."""
    metrics = app.settings.metrics
    if not metrics.enabled:
        yield
        return
    app.metrics.registry.register(StoreCollector(ready.probe, tuple(app.libraries)))
    with serve_status(metrics.host, metrics.port, app.metrics.registry, ready) as port:
        click.echo(f"Metrics on http://{metrics.host}:{port}/metrics.", err=True)
        yield


@contextlib.asynccontextmanager
async def listening(
    app: Application, drain_s: float, config: Path | None = None
) -> AsyncIterator[None]:
    """Listen for kiosks on every port of the settings.

    Args:
        config: the file whose changes are followed; None = they are not.

    Raises:
        ConfigurationError: a port is taken, or a file of ``[sip2.tls]`` cannot be used.
    """
    sip2 = app.settings.sip2
    tls = sip2.tls
    context = None
    if tls is not None:
        context = build_context(tls)
    async with contextlib.AsyncExitStack() as stack:
        with _naming("SIP2", sip2.host, sip2.port):
            running = running_server(app, sip2.host, sip2.port, drain_s=drain_s)
            server = await stack.enter_async_context(running)
        if config is not None:
            await stack.enter_async_context(reloading(app, config, server))
        click.echo(f"SIP2 on {sip2.host}:{server.port}. Ctrl-C ends.", err=True)
        if tls is not None:
            with _naming("SIP2 over TLS", sip2.host, tls.port):
                secure = await server.listen(
                    sip2.host,
                    tls.port,
                    tls=context,
                    allow_from=tls.allow_from,
                    proxy_from=_balancers(sip2),
                )
            click.echo(f"SIP2 over TLS on {sip2.host}:{secure.port}. Ctrl-C ends.", err=True)
        yield


@contextlib.contextmanager
def _naming(what: str, host: str, port: int) -> Iterator[None]:
    """Say which port it is that cannot be listened on."""
    try:
        yield
    except OSError as err:
        raise ConfigurationError(
            f"{what} cannot listen on {host}:{port} ({type(err).__name__}).",
            "Change host or port in [sip2], or stop what uses it.",
        ) from err


def _balancers(sip2: Sip2Settings) -> tuple[Network, ...]:
    return sip2.proxy_allow_from if sip2.proxy_protocol else ()


@contextlib.asynccontextmanager
async def running_server(
    app: Application,
    host: str,
    port: int,
    *,
    drain_s: float = 10.0,
) -> AsyncIterator[Sip2Server]:
    """Run a SIP2 server over the application's gateway, on a plain port.

    Args:
        port: 0 takes a free one.
    """
    sip2 = app.settings.sip2
    with _pools(app) as threads:
        server = Sip2Server(
            app.gateway,
            executor_for=threads.__getitem__,
            before_login=find_greeter(app.libraries),
            answer_within_s=sip2.answer_deadline_s,
            idle_timeout_s=sip2.idle_timeout_s,
            login_timeout_s=sip2.login_timeout_s,
            max_connections=sip2.max_connections,
            max_per_address=sip2.max_connections_per_address,
            max_per_terminal=sip2.max_connections_per_terminal,
            allow_from=sip2.allow_from,
            clock=app.now,
            profile_before_login=lambda: profile_before_login(app.terminals.values()),
            observer=app.metrics.observe,
            on_refused=app.metrics.refuse_connection,
        )
        try:
            await server.start(host, port, proxy_from=_balancers(sip2))
            app.metrics.count_connections_of(lambda: server.connections)
            yield server
        finally:
            await server.stop(drain_s)


@contextlib.contextmanager
def _pools(app: Application) -> Iterator[Mapping[InstitutionId, Executor]]:
    pools = app.pools()
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.shutdown(wait=True, cancel_futures=True)


def _parts(only: str | None) -> frozenset[str]:
    if only is None:
        return frozenset(_PARTS)
    wanted = frozenset(part.strip() for part in only.split(",") if part.strip())
    unknown = sorted(wanted - frozenset(_PARTS))
    if unknown or not wanted:
        raise click.BadParameter(
            f"{', '.join(unknown) or 'nothing'} is not one of {', '.join(_PARTS)}.",
            param_hint="--only",
        )
    return wanted
