"""One connection of a kiosk as a state machine without I/O: bytes in, what to do out.

Nothing here reads a socket, a clock or a database; ``server`` does the I/O, ``gateway`` answers.
Rules:

- one request is handled at a time; frames that arrive meanwhile wait, and are decoded only when
  their turn comes, because a login may change the terminal's encoding;
- a bad checksum under the strict policy is answered with 96 and nothing is done;
- 97 brings the last answer byte for byte, even if it was a 96; 96 when nothing was sent yet;
- the same sequence number *and* the same bytes as the request before bring its answer again, never
  a second execution. Login and status (93, 99) are exempt: they carry no time, so a kiosk with a
  constant AY would get stale news for ever;
- before login only 93, 97 and 99 are served; every other request is refused in its own pair;
- a request without an answer (unknown id, a reply's id) is met with silence or 96, as the profile
  says.

Source: SIP2 2.00, "Error detection" and "Request ACS Resend"; 99 before 93 as some units insist on
it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from connector.errors import LocalProtocolError
from connector.sip2.codec import Checksum, Message, decode, encode
from connector.sip2.framing import FrameBuffer
from connector.sip2.replies import answer_code, refuse
from connector.sip2.terminal import ChecksumPolicy

if TYPE_CHECKING:
    from connector.sip2.codec import Frame
    from connector.sip2.terminal import WireProfile

__all__ = ["MAX_WAITING", "Close", "Handle", "Note", "Output", "Send", "Session"]

MAX_WAITING: Final = 64
"""Pipelined frames that may wait; a kiosk has one outstanding request, so more is no kiosk."""

_BEFORE_LOGIN: Final = frozenset({"93", "99"})
_NEVER_REPLAYED: Final = frozenset({"93", "99"})
_ANYTIME_ANSWERS: Final = frozenset({"96", "98"})


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes; ``final``: then close the connection."""

    data: bytes = field(repr=False)
    final: bool = False


@dataclass(frozen=True, slots=True)
class Handle:
    """Answer this request, then call ``Session.answer`` with the same frame."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; ``reason`` is a machine word."""

    reason: str


Output = Send | Handle | Close


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a frame that no handler saw, for the log.

    Attributes:
        outcome: ``asked_again`` (96), ``resent`` (97), ``replayed`` (the same frame again),
            ``before_login``, ``ignored``.
    """

    frame: Frame
    outcome: str


class Session:
    """One connection.

    Args:
        profile: how to read and write until a login names another one.
        login_required: False where the terminal is known by its address.
        login_text: AF of what is refused before login; ASCII, since the kiosk's encoding is not
            known then.
    """

    __slots__ = (
        "_answer",
        "_answered",
        "_buffer",
        "_closed",
        "_last_sent",
        "_login_required",
        "_login_text",
        "_notes",
        "_outstanding",
        "_waiting",
        "logged_in",
        "profile",
    )

    def __init__(
        self, profile: WireProfile, *, login_required: bool, login_text: str = "Please log in first"
    ) -> None:
        self.profile = profile
        self.logged_in = False
        self._login_required = login_required
        self._login_text = login_text
        self._buffer = FrameBuffer()
        self._waiting: deque[bytes] = deque()
        self._outstanding: Frame | None = None
        self._last_sent: bytes | None = None
        self._answered: bytes | None = None
        self._answer = b""
        self._closed = False
        self._notes: list[Note] = []

    def take_notes(self) -> list[Note]:
        """Return, once, what was answered or ignored here since the last time."""
        notes, self._notes = self._notes, []
        return notes

    def log_in(self, profile: WireProfile) -> None:
        """Take the terminal's own profile; to be called after a good 93, before ``answer``."""
        self.profile = profile
        self.logged_in = True

    def receive(self, data: bytes) -> list[Output]:
        """Take what was received; return what to do, in order. Never raises."""
        if self._closed:
            return []
        overflows = self._buffer.overflows
        self._waiting.extend(self._buffer.feed(data))
        outputs = self._advance()
        if self._buffer.overflows != overflows and self._login_required and not self.logged_in:
            outputs.append(self._close("frame_too_long"))
        elif len(self._waiting) > MAX_WAITING:
            outputs.append(self._close("too_many_requests"))
        return outputs

    def answer(self, frame: Frame, reply: Message | None) -> list[Output]:
        """Send the reply to the outstanding request (None: stay silent) and go on with the next
        one.

        Raises:
            LocalProtocolError: ``frame`` is not the outstanding one, or ``reply`` is not of its
                pair, a 96 or a 98.
        """
        if frame is not self._outstanding:
            msg = "this request is not outstanding"
            raise LocalProtocolError(msg)
        outputs: list[Output] = []
        if reply is None:
            self._outstanding = None
            self._answered = None
        else:
            if reply.code != answer_code(frame.code) and reply.code not in _ANYTIME_ANSWERS:
                msg = f"{reply.code} does not answer {frame.code}"
                raise LocalProtocolError(msg)
            sent = self._send(frame, reply)
            self._outstanding = None
            outputs.append(sent)
        outputs += self._advance()
        return outputs

    def _advance(self) -> list[Output]:
        """Work off waiting frames until one needs the gateway."""
        outputs: list[Output] = []
        while self._waiting and self._outstanding is None and not self._closed:
            outputs += self._take(decode(self._waiting.popleft(), self.profile))
        return outputs

    def _take(self, frame: Frame) -> list[Output]:
        """Decide about one frame."""
        profile = self.profile
        if frame.code == "97":
            self._notes.append(Note(frame, "resent"))
            return [self._resend(frame)]
        if frame.checksum is Checksum.BAD and profile.checksum is ChecksumPolicy.STRICT:
            self._notes.append(Note(frame, "asked_again"))
            return [self._ask_again(frame)]
        request = frame.message
        if request is None or answer_code(frame.code) is None:
            asks = profile.answer_unknown == "96"
            self._notes.append(Note(frame, "asked_again" if asks else "ignored"))
            return [self._ask_again(frame)] if asks else []
        if (
            frame.raw == self._answered
            and frame.sequence is not None
            and frame.code not in _NEVER_REPLAYED
        ):
            self._notes.append(Note(frame, "replayed"))
            self._last_sent = self._answer
            return [Send(self._answer)]
        if self._login_required and not self.logged_in and frame.code not in _BEFORE_LOGIN:
            self._notes.append(Note(frame, "before_login"))
            date = request.fixed.get("transaction_date", "")
            reply = refuse(request, institution="", screen_message=self._login_text, date=date)
            return [self._send(frame, reply)]
        self._outstanding = frame
        return [Handle(frame)]

    def _resend(self, frame: Frame) -> Send:
        """Answer a 97."""
        if self._last_sent is None:
            return self._ask_again(frame)
        return Send(self._last_sent)

    def _ask_again(self, frame: Frame) -> Send:
        """Answer 96: say it again. A repetition of the request must not be answered with it."""
        sent = self._send(frame, Message("96"))
        self._answered = None
        return sent

    def _send(self, frame: Frame, reply: Message) -> Send:
        """Encode a reply in the style of the request and remember it."""
        profile = self.profile
        if profile.error_detection == "auto":
            detect = frame.error_detection
        else:
            detect = profile.error_detection == "always"
        data = encode(reply, profile, sequence=frame.sequence, error_detection=detect)
        self._last_sent = self._answer = data
        self._answered = frame.raw
        return Send(data)

    def _close(self, reason: str) -> Close:
        self._closed = True
        self._waiting.clear()
        return Close(reason)
