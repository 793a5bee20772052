"""The embedded ILS's own SIP2 server: a small library whose ILS others reach only by SIP2.

Nothing here decides (``sip2_answers``, ``sip2_patrons``, ``registration``) or knows any policy of
the connector. It is for a book corner whose embedded ILS stands on another machine, for the
demonstration and for tests. Rules: a thread per connection; AY and AZ in kind; 97 brings the last
answer again; a bad checksum is answered with 96; a message that came twice is carried out twice, as
with most ILSs; when the ILS itself fails, the connection is closed without an answer.

``python -m adapters.local.sip2_server --db FILE --institution CODE`` serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import hmac
import json
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from adapters.local.adapter import SPEC, LocalAdapter
from adapters.local.registration import RegistrationAnswers
from adapters.local.settings import LocalSettings
from adapters.local.sip2_answers import Sip2Answers
from adapters.local.sip2_base import Caller
from adapters.local.sip2_patrons import Sip2PatronAnswers
from connector.domain.ids import InstitutionId
from connector.errors import AdapterError
from connector.ports.ils import AdapterContext
from connector.sip2.codec import Checksum, Message, decode, encode
from connector.sip2.dialects import CHINESE_KIOSK, STANDARD
from connector.sip2.framing import FrameBuffer
from connector.sip2.terminal import ChecksumPolicy, WireProfile

__all__ = ["LocalSip2Server", "main"]

_RECEIVE_BYTES: Final = 64 * 1024
_FREE: Final = frozenset({"93", "97", "99"})
_TERMINATORS: Final[Mapping[str, Literal["\r", "\r\n", "\n"]]] = {
    "cr": "\r",
    "crlf": "\r\n",
    "lf": "\n",
}


class LocalSip2Server:
    """Serves one embedded ILS over SIP2, as a context manager.

    Args:
        profile: how it speaks; the registration messages are understood as well.
        logins: user → password; without any, no login is asked for.
        latency_s: waits so long before it does anything.
        slow_s: waits so long between doing it and answering.
        renew_on_checkout: see ``Sip2Answers``.

    Example::

        with LocalSip2Server(adapter, logins={"gateway": "secret"}) as server:
            client = Sip2Client("127.0.0.1", server.port)
    """

    def __init__(
        self,
        adapter: LocalAdapter,
        *,
        profile: WireProfile | None = None,
        logins: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        slow_s: float = 0.0,
        renew_on_checkout: bool = True,
    ) -> None:
        wanted = profile or WireProfile()
        if wanted.dialect == STANDARD.name:
            wanted = replace(wanted, dialect=CHINESE_KIOSK.name)
        self.adapter = adapter
        self.profile = wanted
        self.logins = dict(logins or {})
        self.latency_s = latency_s
        self.slow_s = slow_s
        self.answers: dict[str, Callable[[Message, Caller], Message]] = {
            **Sip2Answers(adapter, renew_on_checkout=renew_on_checkout).answers,
            **Sip2PatronAnswers(adapter).answers,
            **RegistrationAnswers(adapter).answers,
        }
        self._server = _Listener((host, port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut every connection; what is being done is done to its end."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.cut_connections()

    def answer(self, request: Message, caller: Caller) -> Message | None:
        """Return the answer; None = none is given.

        Raises:
            AdapterError: the ILS cannot work; the connection is closed.
        """
        if request.code == "93":
            return self._log_in(request, caller)
        answering = self.answers.get(request.code)
        return None if answering is None else answering(request, caller)

    def _log_in(self, request: Message, caller: Caller) -> Message:
        user = request.get("CN")
        password = self.logins.get(user)
        right = not self.logins or (
            password is not None
            and hmac.compare_digest(password.encode(), request.get("CO").encode())
        )
        if right:
            caller.user, caller.location, caller.logged_in = user, request.get("CP"), True
        return Message("94", {"ok": "1" if right else "0"})


class _Listener(socketserver.ThreadingTCPServer):
    """The listening socket and the connections that are open."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, address: tuple[str, int], ils: LocalSip2Server) -> None:
        self.ils = ils
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads_left = threading.Condition(self._lock)
        super().__init__(address, _Connection)

    def enter(self, connection: socket.socket) -> None:
        """Remember a connection."""
        with self._lock:
            self._open.add(connection)

    def leave(self, connection: socket.socket) -> None:
        """Forget a connection; its thread is at its end."""
        with self._threads_left:
            self._open.discard(connection)
            self._threads_left.notify_all()

    def cut_connections(self, patience_s: float = 10.0) -> None:
        """Cut what is open and wait for the threads."""
        with self._threads_left:
            for connection in self._open:
                with suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)
            self._threads_left.wait_for(lambda: not self._open, patience_s)


class _Connection(socketserver.BaseRequestHandler):
    """One terminal's connection: frames in, answers out, one at a time."""

    server: _Listener
    request: socket.socket

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.enter(self.request)

    def handle(self) -> None:
        buffer, caller, last = FrameBuffer(), Caller(), b""
        try:
            while True:
                data = self.request.recv(_RECEIVE_BYTES)
                if not data:
                    return
                for raw in buffer.feed(data):
                    last = self._answer(raw, caller, last)
        except (OSError, AdapterError, _HangUp):
            return

    def finish(self) -> None:
        self.server.leave(self.request)

    def _answer(self, raw: bytes, caller: Caller, last: bytes) -> bytes:
        """Answer one frame; return what was sent last on this connection."""
        ils = self.server.ils
        profile = ils.profile
        frame = decode(raw, profile)
        detect = profile.error_detection == "always" or (
            profile.error_detection == "auto" and frame.error_detection
        )
        if frame.checksum is Checksum.BAD and profile.checksum is ChecksumPolicy.STRICT:
            sent = encode(Message("96"), profile, error_detection=detect)
        elif frame.code == "97":
            sent = last or encode(Message("96"), profile, error_detection=detect)
        else:
            if frame.message is None:
                return last
            if ils.logins and not caller.logged_in and frame.code not in _FREE:
                raise _HangUp
            time.sleep(ils.latency_s)
            answer = ils.answer(frame.message, caller)
            if answer is None:
                return last
            time.sleep(ils.slow_s)
            sent = encode(answer, profile, sequence=frame.sequence, error_detection=detect)
        self.request.sendall(sent)
        return sent


class _HangUp(Exception):
    """Close without an answer."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m adapters.local.sip2_server",
        description="Serve an embedded library system over SIP2 until SIGTERM.",
    )
    parser.add_argument("--db", type=Path, required=True, help="its SQLite file")
    parser.add_argument("--institution", required=True, help="its code, sent as AO")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    parser.add_argument("--login", default="", help="user that must log in")
    parser.add_argument("--password-file", type=Path, help="file with that user's password")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--delimiter", default="|")
    parser.add_argument("--terminator", choices=sorted(_TERMINATORS), default="cr")
    parser.add_argument(
        "--checksum", choices=[one.value for one in ChecksumPolicy], default="strict"
    )
    parser.add_argument("--zone", default="Asia/Shanghai", help="IANA name of its time zone")
    parser.add_argument("--language", choices=["zh", "en"], default="zh")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before it acts")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before it answers")
    parser.add_argument(
        "--no-renewal-by-checkout",
        dest="renew_on_checkout",
        action="store_false",
        help="refuse a checkout of what the patron has already",
    )
    return parser.parse_args(arguments)


def _read_password(options: argparse.Namespace) -> dict[str, str]:
    if not options.login:
        return {}
    if options.password_file is None:
        sys.exit("--login needs --password-file.")
    return {options.login: options.password_file.read_text(encoding="utf-8").strip()}


def main(
    arguments: Sequence[str] | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    serve: Callable[..., LocalSip2Server] = LocalSip2Server,
) -> None:
    """Print the port as one JSON line, then serve until SIGTERM or SIGINT.

    Args:
        now: the clock of the ILS.
        serve: makes the server; tests give one that misbehaves.
    """
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    path: Path = options.db.resolve()
    adapter = SPEC.build(
        LocalSettings(path=path.name, language=options.language),
        AdapterContext(InstitutionId(options.institution), options.zone, str(path.parent), now),
    )
    adapter.ping()
    server = serve(
        adapter,
        profile=WireProfile(
            encoding=options.encoding,
            delimiter=options.delimiter,
            terminator=_TERMINATORS[options.terminator],
            checksum=ChecksumPolicy(options.checksum),
        ),
        logins=_read_password(options),
        host=options.host,
        port=options.port,
        latency_s=options.latency,
        slow_s=options.slow,
        renew_on_checkout=options.renew_on_checkout,
    )
    with server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        stop.wait()
    adapter.close()


if __name__ == "__main__":
    main()
