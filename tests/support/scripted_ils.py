"""An ILS that speaks SIP2 and does what a test scripts, over real sockets.

Answers are built by a function per request code; a script makes single answers go wrong. Every frame that arrived is kept.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from connector.sip2.codec import Message, decode, encode
from connector.sip2.framing import FrameBuffer
from connector.sip2.replies import answer_code
from connector.sip2.spec import SPECS
from connector.sip2.terminal import WireProfile

NOON = "20261121    120000"
Reply = Message | bytes | None
"""A message is encoded in the style of the request; bytes go out as they are; None closes the connection."""
SILENCE = b""

_ECHOED = ("AO", "AA", "AB")


def answer(request: Message, fields: object = (), **fixed: str) -> Message:
    """Return the answer of the pair with the required tags echoed; ``fields`` wins."""
    code = answer_code(request.code) or ""
    given = dict(fields)
    echoed = {tag: request.get(tag) for tag in _ECHOED if tag in SPECS[code].required_set}
    values = {**SPECS[code].defaults, "transaction_date": NOON, **fixed}
    known = {one.name for one in SPECS[code].fixed}
    return Message(
        code,
        {name: value for name, value in values.items() if name in known},
        [*(echoed | given).items()],
    )


def status(_request: Message, *, online: str = "Y", bx: str = "Y" * 16) -> Message:
    """Return a 98, to whatever was asked."""
    fixed = {"online": online, "checkin_ok": "Y", "checkout_ok": "Y", "date_time_sync": NOON}
    return Message("98", fixed, [("AO", "LIB"), ("BX", bx)])


DEFAULTS: dict[str, Callable[[Message], Reply]] = {
    "93": lambda request: answer(request, ok="1"),
    "99": status,
    "23": lambda request: answer(request, {"AE": "王小明", "BL": "Y"}, patron_status=" " * 14),
    "63": lambda request: answer(request, {"AE": "王小明", "BL": "Y"}, patron_status=" " * 14),
    "17": lambda request: answer(request, {"AJ": "红楼梦"}, circulation_status="03"),
    "11": lambda request: answer(request, {"AJ": "红楼梦", "AH": "2026-12-21 23:59:59"}, ok="1"),
    "29": lambda request: answer(request, {"AJ": "红楼梦", "AH": "2027-01-20 23:59:59"}, ok="1"),
    "09": lambda request: answer(request, {"AJ": "红楼梦", "AQ": "MAIN"}, ok="1"),
    "37": lambda request: answer(request, payment_accepted="Y"),
    "35": lambda request: answer(request, end_session="Y"),
    "65": lambda request: answer(request, ok="1"),
    "15": lambda request: answer(request, ok="1"),
    "19": lambda request: answer(request, item_properties_ok="1"),
    "01": lambda request: answer(request, {"AE": "王小明", "BL": "Y"}, patron_status="YYYY"),
    "25": lambda request: answer(request, {"AE": "王小明", "BL": "Y"}),
}  # fmt: skip


class ScriptedIls:
    """Serves on ``port`` until it leaves its ``with``.

    97 brings the last answer of the connection again, unless scripted.

    Attributes:
        seen: every request, in order of arrival; ``raw`` the frames.
        connections: how many were accepted. open: how many are open now.
    """

    def __init__(
        self,
        profile: WireProfile | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        **answers: Callable[[Message], Reply],
    ) -> None:
        self._tls = tls
        self.profile = profile or WireProfile()
        self.answers = DEFAULTS | {code.removeprefix("m"): one for code, one in answers.items()}
        self.seen: list[Message] = []
        self.raw: list[bytes] = []
        self.connections = 0
        self._once: dict[str, deque[Callable[[Message], Reply]]] = defaultdict(deque)
        self._last: dict[socket.socket, bytes] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse and cut everything."""
        self._stopped.set()
        self.cut()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def cut(self) -> None:
        """Close every connection from this side."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def once(self, code: str, *replies: Callable[[Message], Reply] | Reply) -> None:
        """Script the next answers to a code; a reply is a function or the thing itself."""
        with self._lock:
            for one in replies:
                self._once[code].append(one if callable(one) else lambda _, it=one: it)

    @property
    def counts(self) -> Counter[str]:
        """How often each code arrived."""
        with self._lock:
            return Counter(message.code for message in self.seen)

    @property
    def open(self) -> int:
        with self._lock:
            return len(self._sockets)

    def last(self, code: str) -> Message:
        """Return the newest request of a code."""
        with self._lock:
            return next(message for message in reversed(self.seen) if message.code == code)

    def wait(self, seconds: float) -> None:
        """Wait in an answer, but not beyond the end of the test."""
        self._stopped.wait(seconds)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            if select.select([self._listener], [], [], 0.02)[0]:
                connection, _ = self._listener.accept()
                with self._lock:
                    self.connections += 1
                    self._sockets.add(connection)
                self._start(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        buffer = FrameBuffer()
        connection = plain
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._sockets.add(connection)
            while not self._stopped.is_set():
                data = connection.recv(65536)
                if not data or not all(self._reply(connection, raw) for raw in buffer.feed(data)):
                    break
        with self._lock:
            self._sockets -= {plain, connection}
        connection.close()
        plain.close()

    def _reply(self, connection: socket.socket, raw: bytes) -> bool:
        frame = decode(raw, self.profile)
        request = frame.message or Message(frame.code, {}, [])
        with self._lock:
            self.seen.append(request)
            self.raw.append(raw)
            scripted = self._once[request.code]
            make = scripted.popleft() if scripted else self.answers.get(request.code)
        again = self._last.get(connection) if request.code == "97" else None
        reply = make(request) if make else again
        if reply is None:
            return False
        if isinstance(reply, Message):
            reply = encode(
                reply,
                self.profile,
                sequence=frame.sequence,
                error_detection=frame.error_detection,
            )
        self._last[connection] = reply
        connection.sendall(reply)
        return True


def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
