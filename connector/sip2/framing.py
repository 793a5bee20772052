"""Cutting a byte stream into SIP2 frames.

Nothing here decodes or checks. Rules: CR ends a frame; LF and CRLF do as well (Cen-Tec kiosks send
CRLF, Koha answers with it by default, dp2Capo and Libki use a bare LF); neither byte occurs inside
a character of UTF-8, GBK or Big5. Blanks, NUL and line ends before the command id are not part of a
frame, nor of its checksum. Each byte is looked at once.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_FRAME", "FrameBuffer"]

MAX_FRAME: Final = 64 * 1024
_LEADING: Final = b" \t\x00"


class FrameBuffer:
    """Incremental splitter of one direction of one connection.

    Attributes:
        overflows: how many frames were longer than ``max_frame`` and so were dropped up to their
            terminator.
    """

    __slots__ = ("_max", "_parts", "_size", "_skipping", "overflows")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.overflows = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of a frame waits for its end."""
        return not self._parts and not self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received; return the frames that it completes, without terminators, never
        empty ones.
        """
        if b"\n" in data:
            data = data.replace(b"\n", b"\r")
        pieces = data.split(b"\r")
        rest = pieces.pop()
        frames = []
        for piece in pieces:
            frame = self._complete(piece)
            if frame:
                frames.append(frame)
        if rest:
            self._keep(rest)
        return frames

    def _complete(self, piece: bytes) -> bytes:
        """Return the frame that ends with ``piece``; empty when there is none."""
        if self._skipping:
            self._skipping = False
            return b""
        if self._parts:
            self._parts.append(piece)
            piece = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if len(piece) > self._max:
            self.overflows += 1
            return b""
        return piece.lstrip(_LEADING)

    def _keep(self, rest: bytes) -> None:
        """Remember an unfinished frame, or drop it once it is too long."""
        if self._skipping:
            return
        self._size += len(rest)
        if self._size > self._max:
            self.overflows += 1
            self._skipping = True
            self._parts.clear()
            self._size = 0
        else:
            self._parts.append(rest)
