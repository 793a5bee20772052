"""The header that a balancer puts before a connection, so that the kiosk's own address is known.

Nothing here reads a socket. Source: "The PROXY protocol", HAProxy, version 2 (binary); version 1 is
not spoken (decision 28). Rules: never a byte beyond the header is asked for, so that what follows,
be it TLS, is whole; additional values (TLV) are skipped.
"""

from __future__ import annotations

import socket
from typing import Final

from connector.errors import RemoteProtocolError

__all__ = ["MAX_HEADER", "ProxyHeader"]

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_HEADER: Final = 2048
"""Addresses take 36 bytes at most; the rest are additional values, a few hundred bytes with TLS."""

_START: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_UNSPEC: Final = 0x00
_UNIX: Final = 0x31
_FAMILIES: Final = {_TCP4: (socket.AF_INET, 4, 12), _TCP6: (socket.AF_INET6, 16, 36)}


class ProxyHeader:
    """Reads one header; ask ``missing`` bytes, give them to ``feed``, until ``is_complete``.

    Attributes:
        source: the kiosk's address; None where the balancer speaks for itself (health checks) or
            does not know.
        is_complete: nothing is missing.
    """

    __slots__ = ("_data", "_length", "is_complete", "source")

    def __init__(self) -> None:
        self._data = b""
        self._length = _START
        self.is_complete = False
        self.source: str | None = None

    @property
    def missing(self) -> int:
        """Bytes that are known to come still."""
        return self._length - len(self._data)

    def feed(self, data: bytes) -> None:
        """Take at most ``missing`` bytes.

        Raises:
            RemoteProtocolError: this is no such header, or none that we accept.
        """
        self._data += data
        if not SIGNATURE.startswith(self._data[: len(SIGNATURE)]):
            raise RemoteProtocolError("no_proxy_header")
        if len(self._data) >= _START and self._length == _START:
            self._length += int.from_bytes(self._data[14:16], "big")
            if self._length > MAX_HEADER:
                raise RemoteProtocolError("proxy_header_too_long")
        if self.missing == 0:
            self.source = self._read_source()
            self.is_complete = True

    def _read_source(self) -> str | None:
        command, family = self._data[12], self._data[13]
        if command == _LOCAL:
            return None
        if command != _PROXY:
            raise RemoteProtocolError("proxy_command_unknown")
        if family in {_UNSPEC, _UNIX}:
            return None
        if family not in _FAMILIES:
            raise RemoteProtocolError("proxy_family_unknown")
        kind, size, block = _FAMILIES[family]
        if len(self._data) < _START + block:
            raise RemoteProtocolError("proxy_header_too_short")
        return socket.inet_ntop(kind, self._data[_START : _START + size])
