"""What we ask of a socket: who is at the other end, and that a dead end is noticed.

Nothing here reads or writes.
"""

from __future__ import annotations

import asyncio
import socket

from connector.sip2.limits import normalise_address

__all__ = ["keep_alive", "peer_address"]

# SO_KEEPALIVE: first probe after two minutes, then every ten seconds, dead after six. Half-closed
# sockets of kiosks that lost power pile up otherwise (Evergreen LP 1042850, the same figures).
_KEEPALIVE = (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end; empty where there is none."""
    peername = transport.get_extra_info("peername")
    return normalise_address(peername[0]) if isinstance(peername, tuple) else ""


def keep_alive(sock: socket.socket | None) -> None:
    """Let the system probe a silent TCP connection."""
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
