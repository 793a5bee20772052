"""What ``onecard serve`` does every few seconds beside serving: it looks whether the settings have
changed, and writes down how far the kiosks' clocks are off.

What a change means is in ``connector.bootstrap.reload``. SIGHUP reads the file at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from connector.bootstrap import Application
from connector.bootstrap.reload import Reloader
from connector.log import get_logger
from connector.sip2.server import Sip2Server

__all__ = ["LOOK_EVERY_S", "reloading"]

_log = get_logger(__name__)

LOOK_EVERY_S = 3.0


@contextlib.asynccontextmanager
async def reloading(
    app: Application, config: Path, server: Sip2Server, *, every_s: float = LOOK_EVERY_S
) -> AsyncIterator[None]:
    """Keep the server's terminals as the file has them, as long as the context is open."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    reloader = Reloader(config, app)
    await asyncio.to_thread(app.terminal_rules.clocks.load)
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    task = loop.create_task(_look(app, reloader, server, asked, every_s))
    try:
        yield
    finally:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # else it would cut the drain short
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(app.terminal_rules.clocks.save)


async def _look(
    app: Application, reloader: Reloader, server: Sip2Server, asked: asyncio.Event, every_s: float
) -> None:
    watches = app.settings.sip2.watch_settings
    while True:
        # ``wait_for`` may lose a cancellation that comes together with a signal (Python 3.11).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await asked.wait()
        try:
            if asked.is_set() or (watches and await asyncio.to_thread(reloader.has_changed)):
                asked.clear()
                new = await asyncio.to_thread(reloader.read)
                if new is not None:
                    reloader.apply(new, server)
            await asyncio.to_thread(app.terminal_rules.clocks.save)
        except Exception as err:  # noqa: BLE001 - the kiosks are served all the same
            _log.error("settings.reload_failed", error=type(err).__name__)
