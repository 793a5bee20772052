"""A relay that stands before any SIP2 server and hands out every frame that passes.

The bytes go through unchanged, frames that cannot be read included. What is shown of a frame is the
caller's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from connector.errors import LocalProtocolError
from connector.sip2.framing import FrameBuffer

__all__ = ["PassedFrame", "TraceRelay"]

_RECEIVE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PassedFrame:
    """A frame, an opening or an end.

    Attributes:
        connection: counted from 1.
        direction: ``>`` to the server, ``<`` to the kiosk, ``+`` opened, ``-`` closed, ``!`` no
            connection to the server.
    """

    connection: int
    direction: str
    raw: bytes = b""


class TraceRelay:
    """Listens, connects each kiosk to the server behind it, and reports what passes."""

    def __init__(
        self,
        upstream_host: str,
        upstream_port: int,
        on_frame: Callable[[PassedFrame], None],
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._on_frame = on_frame
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._count = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that the listener has."""
        if self._server is None:
            raise LocalProtocolError("relay_not_started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is in use or not ours.
        """
        self._server = await asyncio.start_server(self._serve, host, port)

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._count += 1
        number = self._count
        self._on_frame(PassedFrame(number, "+"))
        try:
            await self._join(number, reader, writer)
        except asyncio.CancelledError:
            pass  # ``stop`` ends it; asyncio would report the cancellation as an error
        finally:
            await _close(writer)
            self._on_frame(PassedFrame(number, "-"))

    async def _join(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, port = self._upstream
        try:
            upstream = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=self._tls), self._connect_timeout_s
            )
        except OSError:
            self._on_frame(PassedFrame(number, "!"))
            return
        up_reader, up_writer = upstream
        try:
            await asyncio.gather(
                self._pump(number, ">", reader, up_writer),
                self._pump(number, "<", up_reader, writer),
            )
        finally:
            await _close(up_writer)

    async def _pump(
        self,
        number: int,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        frames = FrameBuffer()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_RECEIVE_BYTES):
                writer.write(data)
                await writer.drain()
                for raw in frames.feed(data):
                    self._on_frame(PassedFrame(number, direction, raw))
        with contextlib.suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
