"""A blocking SIP2 client: for the channel to an ILS that speaks SIP2, the command line and tests.

Nothing here retries a request on its own account: it is sent again only when the other side said
that it did not understand it (96), which means that it did nothing. An unreadable answer is asked
for again (97), which executes nothing; a 96 in answer to that is the end, because the request has
been carried out. An answer without a checksum from a server that has sent them counts as cut, and
one without a number that is about the item or patron of the request before is not this one's. Rules
for callers:

- the constructor raises ``OSError``: nothing was sent;
- ``exchange`` raises ``TimeoutError`` or ``RemoteProtocolError``: the request may have been carried
  out, ask before doing it again; only the code ``not_understood`` says that nothing was done;
- after such an error the connection is closed and useless, for a late answer could be taken for the
  next one;
- one client is one connection and one caller at a time.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from types import TracebackType
from typing import Self

from connector.errors import LocalProtocolError, RemoteProtocolError
from connector.sip2.codec import Checksum, Frame, Message, decode, encode
from connector.sip2.framing import FrameBuffer
from connector.sip2.replies import answer_code
from connector.sip2.terminal import ChecksumPolicy, WireProfile

__all__ = ["Sip2Client"]

_MAX_RESENDS = 3
_RECEIVE_BYTES = 64 * 1024
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, probes: a dead peer shows before the next person scans a card."""
_READS_OF_A_PATRON = frozenset({"23", "63"})
_VERDICTS = dict.fromkeys(("10", "12", "16", "20", "30", "36", "38", "66", "94"), b"01YN")
_VERDICTS |= dict.fromkeys(("24", "26", "64"), b"YN ") | {"18": b"0123456789"}
"""What the first character after these codes may be. The lenient reader fills in a "no" where a
fixed part is missing, and a "no" that nobody said must not count as one."""


class Sip2Client:
    """One connection to a SIP2 server.

    Args:
        profile: how the server speaks; ``error_detection = "never"`` sends no AY and AZ.
        timeout_s: for connecting (with the TLS handshake), and for each exchange as a whole.
        tls: a context; its host name check is against ``server_hostname``, or ``host``.

    Raises:
        OSError: (``TimeoutError``, ``ssl.SSLError`` included) no connection.

    Example::

        with Sip2Client("127.0.0.1", 6001) as client:
            if client.login("kiosk1", "secret"):
                status = client.exchange(Message("99", {"status_code": "0"}, []))
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        profile: WireProfile | None = None,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> None:
        self.profile = profile or WireProfile()
        self._timeout_s = timeout_s
        self._buffer = FrameBuffer()
        self._frames: deque[bytes] = deque()
        self._sequence = 9
        self._has_checksums = False
        self._closed = False
        self._asked = Message("99")
        until = time.monotonic() + timeout_s
        sock = socket.create_connection((host, port), timeout=timeout_s)
        try:
            sock.settimeout(max(until - time.monotonic(), 0.001))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self._socket = (
                sock
                if tls is None
                else tls.wrap_socket(sock, server_hostname=server_hostname or host)
            )
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed; looks without waiting."""
        if self._closed:
            return False
        if isinstance(self._socket, ssl.SSLSocket):
            return True  # a record of the handshake may be waiting to be read
        readable, _, _ = select.select([self._socket], [], [], 0)
        if not readable:
            return True
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing was received since the last answer; looks without waiting.

        What waits to be read could be taken for the next answer: close such a connection.
        """
        while not (self._closed or self._frames) and self._buffer.is_empty:
            try:
                self._socket.settimeout(0)
                data = self._socket.recv(_RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            except OSError:
                return False
            if not data:
                return False
            self._frames.extend(self._buffer.feed(data))  # the LF of a CRLF is no frame
        return False

    def close(self) -> None:
        """Close; may be called again."""
        self._closed = True
        self._socket.close()

    def login(
        self, user: str, password: str, location: str = "", *, timeout_s: float | None = None
    ) -> bool:
        """Send 93 and return whether the server said yes."""
        fields = [("CN", user), ("CO", password)]
        if location:
            fields.append(("CP", location))
        request = Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0"}, fields)
        return self.exchange(request, timeout_s=timeout_s).fixed.get("ok") == "1"

    def exchange(self, message: Message, *, timeout_s: float | None = None) -> Message:
        """Send the request and return its answer.

        Args:
            timeout_s: for this exchange, instead of the connection's own.

        Returns:
            the answer of the pair, or a 98: a server may answer anything with its status when that
            changes.

        Raises:
            RemoteProtocolError: ``not_understood`` (nothing was done), ``bad_checksum``,
                ``wrong_pair``,
                ``unreadable``, ``closed``.
            TimeoutError: no answer in time.
            LocalProtocolError: this connection had been closed before; nothing was sent.
        """
        return self.exchange_pair(message, timeout_s=timeout_s)[1]

    def exchange_pair(
        self, message: Message, *, timeout_s: float | None = None
    ) -> tuple[Frame, Message]:
        """Like ``exchange``, but return the frame too: it tells what was repaired."""
        frame = self.exchange_frame(message, timeout_s=timeout_s)
        if frame.message is None:
            raise self._fail("unreadable")
        expected = answer_code(message.code)
        if expected is not None and frame.code not in {expected, "98"}:
            raise self._fail("wrong_pair")
        if not _says_yes_or_no(frame):
            raise self._fail("unreadable")
        before, self._asked = self._asked, message
        if frame.sequence is None and _is_about_the_last(before, message, frame.message):
            raise self._fail("wrong_pair")
        return frame, frame.message

    def exchange_frame(self, message: Message, *, timeout_s: float | None = None) -> Frame:
        """Like ``exchange``, but return any frame, with its checksum verdict and its oddities."""
        sequence = self._next_sequence()
        data = encode(
            message,
            self.profile,
            sequence=sequence,
            error_detection=sequence is not None,
        )
        within_s = self._timeout_s if timeout_s is None else timeout_s
        return self._exchange(data, sequence, time.monotonic() + within_s)

    def exchange_raw(self, raw: bytes) -> bytes:
        """Send the bytes, with a terminator if they lack one; return the next frame without it."""
        if not raw.endswith((b"\r", b"\n")):
            raw += self.profile.terminator.encode("ascii")
        return self._transact(raw, time.monotonic() + self._timeout_s)

    def _exchange(self, data: bytes, sequence: str | None, until: float) -> Frame:
        to_send = data
        for _ in range(_MAX_RESENDS + 1):
            frame = decode(self._transact(to_send, until), self.profile)
            while (
                sequence is not None
                and to_send is data  # what comes again after 97 may come with another number
                and frame.code != "96"
                and frame.sequence is not None
                and frame.sequence != sequence
            ):  # the answer to an earlier message (SIP2 2.00: "discard")
                frame = decode(self._receive(until), self.profile)
            if frame.code == "96":
                if to_send is not data:
                    break  # it has answered the request, and cannot tell how
                continue
            if frame.checksum is Checksum.GOOD:
                self._has_checksums = True
            is_cut = self._has_checksums and frame.checksum is Checksum.ABSENT and to_send is data
            is_bad = frame.checksum is Checksum.BAD or is_cut
            if is_bad and self.profile.checksum is ChecksumPolicy.STRICT:
                to_send = encode(
                    Message("97", {}, []), self.profile, error_detection=sequence is not None
                )
            else:
                return frame
        raise self._fail("not_understood" if to_send is data else "bad_checksum")

    def _next_sequence(self) -> str | None:
        if self.profile.error_detection == "never":
            return None
        self._sequence = (self._sequence + 1) % 10
        return str(self._sequence)

    def _transact(self, data: bytes, until: float) -> bytes:
        if self._closed:
            raise LocalProtocolError("connection_closed")
        try:
            self._set_timeout(until)
            self._socket.sendall(data)
        except TimeoutError:
            self.close()
            raise
        except OSError as err:
            raise self._fail("closed") from err
        return self._receive(until)

    def _receive(self, until: float) -> bytes:
        while not self._frames:
            try:
                self._set_timeout(until)
                data = self._socket.recv(_RECEIVE_BYTES)
            except TimeoutError:
                self.close()
                raise
            except OSError as err:
                raise self._fail("closed") from err
            if not data:
                raise self._fail("closed")
            self._frames.extend(self._buffer.feed(data))
        return self._frames.popleft()

    def _set_timeout(self, until: float) -> None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)

    def _fail(self, code: str) -> RemoteProtocolError:
        self.close()
        return RemoteProtocolError(code)


def _is_about_the_last(before: Message, now: Message, answer: Message) -> bool:
    """Say whether an answer without a number names the item that was asked about before, or in a
    read the patron: a server that answered one request twice is one answer behind.
    """
    tags = ("AA", "AB") if now.code in _READS_OF_A_PATRON else ("AB",)
    return any(
        now.get(tag)
        and now.get(tag) != answer.get(tag)
        and answer.get(tag) == before.get(tag) != ""
        for tag in tags
    )


def _says_yes_or_no(frame: Frame) -> bool:
    allowed = _VERDICTS.get(frame.code)
    return allowed is None or (len(frame.raw) > 2 and frame.raw[2] in allowed)
