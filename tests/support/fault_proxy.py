"""A scripted TCP proxy between the gateway and an ILS that speaks SIP2: it breaks one exchange, the way networks do.

It reads frames, so that a fault can be aimed at the n-th message with a given code; it changes nothing else. ``seen`` counts
what reached it, ``passed`` what reached the ILS, ``answered`` what the ILS said to it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

ILS_PATIENCE_S = 20.0


class Kind(StrEnum):
    """What goes wrong."""

    DELAY = "answer late, but in time"
    REFUSE = "connection refused"
    CUT_BEFORE = "cut before the request was passed on"
    CUT_AFTER = "cut after it was passed on, before any answer"
    CUT_INSIDE = "cut inside the answer"
    GARBAGE = "garbage instead of the answer"
    GARBLED = "the answer with a wrong byte"
    DRIP = "slow drip"
    HOLD = "answer held back longer than every deadline"
    HOLD_BEFORE = "request held back longer than every deadline, never passed on"


@dataclass
class Fault:
    """One fault.

    Attributes:
        code: of the message that it meets. nth: which one, counted from when it is armed. text: what it must hold, so that
            several faults can wait for several kiosks.
        at: CUT_INSIDE: so many bytes are passed on; negative = counted from the end.
        seconds: DELAY, HOLD: how long; DRIP: the pause after each byte.
        then_down: from then on the ILS cannot be reached, until ``heal``.
    """

    kind: Kind
    code: str
    nth: int = 1
    at: int = 0
    seconds: float = 0.0
    then_down: bool = False
    text: str = ""
    met: threading.Event = field(default_factory=threading.Event)
    """The message has come (REFUSE: at once)."""
    struck: threading.Event = field(default_factory=threading.Event)
    """The ILS has done its part, if it was to do any, and the harm is done."""


class FaultProxy:
    """A proxy in front of ``upstream_port``; a context manager.

    Attributes:
        port: where it listens; the same after ``heal``.
    """

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.seen: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._faults: dict[int, tuple[Fault, int]] = {}
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._ended = threading.Event()
        self.port = 0
        self.heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.go_down()
        for thread in list(self._threads):
            thread.join(ILS_PATIENCE_S)

    def arm(self, fault: Fault) -> Fault:
        """Let this fault happen, beside what was armed before."""
        with self._lock:
            self._faults[id(fault)] = (fault, fault.nth)
        if fault.kind is Kind.REFUSE:
            self.go_down()
            fault.met.set()
            fault.struck.set()
        return fault

    def go_down(self, *, spare: socket.socket | None = None) -> None:
        """Refuse every connection and cut those that are open, but for one."""
        with self._lock:
            listener, self._listener = self._listener, None
            cut = [one for one in self._open if one is not spare]
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in cut:
            _cut(one)

    def heal(self) -> None:
        """Be a plain proxy again, on the same port."""
        with self._lock:
            self._faults.clear()
            if self._listener is not None:
                return
            listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener = listener
            self.port = listener.getsockname()[1]
        self._start(self._accept, listener)

    def count_changes(self) -> int:
        """Return how many messages that change a loan were passed on to the ILS."""
        with self._lock:
            return sum(self.passed[code] for code in ("11", "29", "09"))

    def _start(self, work: object, *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)  # type: ignore[operator]
            finally:
                self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(client))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                ils = socket.create_connection(("127.0.0.1", self.upstream_port), ILS_PATIENCE_S)
            except OSError:
                return  # the ILS is not there: the connection ends
            stack.enter_context(contextlib.closing(ils))
            with self._lock:
                self._open.add(client)
                is_down = self._listener is None
            stack.callback(self._forget, client)
            if is_down:
                return
            with contextlib.suppress(OSError):
                self._relay(client, ils)

    def _forget(self, client: socket.socket) -> None:
        with self._lock:
            self._open.discard(client)

    def _relay(self, client: socket.socket, ils: socket.socket) -> None:
        requests, answers = _Lines(client), _Lines(ils)
        while True:
            if not requests.has_line:
                ready, _, _ = select.select([client, ils], [], [])
                if ils in ready:
                    return  # it ended the connection, or spoke unasked
            request = requests.read()
            if not request:
                return
            fault = self._take_fault(request)
            if fault is None:
                answer = self._ask(ils, answers, request)
                if not answer:
                    return
                client.sendall(answer)
            elif not self._strike(fault, client, ils, answers, request):
                return

    def _ask(self, ils: socket.socket, answers: _Lines, request: bytes) -> bytes:
        code = _code(request)
        with self._lock:
            self.passed[code] += 1
        ils.sendall(request)
        answer = answers.read()
        if answer:
            with self._lock:
                self.answered[code] += 1
        return answer

    def _take_fault(self, request: bytes) -> Fault | None:
        code = _code(request)
        with self._lock:
            self.seen[code] += 1
            for key, (fault, left) in list(self._faults.items()):
                if fault.code != code or fault.text.encode() not in request:
                    continue
                if left > 1:
                    self._faults[key] = (fault, left - 1)
                    continue
                del self._faults[key]
                fault.met.set()
                return fault
        return None

    def _strike(
        self,
        fault: Fault,
        client: socket.socket,
        ils: socket.socket,
        answers: _Lines,
        request: bytes,
    ) -> bool:
        """Do the harm; return whether the connection lives on."""
        answer = b""
        if fault.kind not in {Kind.CUT_BEFORE, Kind.HOLD_BEFORE}:
            answer = self._ask(ils, answers, request)
        if fault.then_down:
            self.go_down(spare=client)
        if fault.kind in {Kind.HOLD, Kind.HOLD_BEFORE, Kind.DRIP}:
            fault.struck.set()
        self._spoil(fault, client, answer)
        lives = fault.kind in {Kind.DELAY, Kind.GARBLED}
        if not lives:
            _cut(client)
        fault.struck.set()
        return lives

    def _spoil(self, fault: Fault, client: socket.socket, answer: bytes) -> None:
        match fault.kind:
            case Kind.CUT_INSIDE:
                client.sendall(answer[: fault.at])
            case Kind.GARBAGE:
                client.sendall(b"\x00\xff\xfe<html>503</html>|\x1b|AY9\r")
            case Kind.GARBLED:
                client.sendall(answer[:2] + b"?" + answer[3:])
            case Kind.DELAY | Kind.HOLD | Kind.HOLD_BEFORE:
                self._ended.wait(fault.seconds)
                client.sendall(answer)
            case Kind.DRIP:
                for byte in answer:
                    client.sendall(bytes([byte]))
                    if self._ended.wait(fault.seconds):
                        break
            case _:
                pass


class _Lines:
    """Frames of one direction, terminators included."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""

    @property
    def has_line(self) -> bool:
        return b"\r" in self._rest

    def read(self) -> bytes:
        while not self.has_line:
            data = self._socket.recv(65536)
            if not data:
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\r")
        return line + b"\r"


def _code(request: bytes) -> str:
    return request.lstrip(b"\n")[:2].decode("ascii", "replace")


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def wait_until(condition: object, seconds: float = 20.0) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.002)
