"""Where one ILS is and how the channel speaks to it, as plain values.

Nothing here reads settings or files (``build`` does). A password is in no ``repr``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from connector.sip2.terminal import WireProfile

__all__ = ["NAME", "ChannelOptions"]

NAME: Final = "sip2"
"""The adapter's name."""


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Where the ILS is and how it is spoken to; see ``settings`` for what each means."""

    host: str
    port: int
    profile: WireProfile = field(default_factory=WireProfile)
    tls: ssl.SSLContext | None = None
    server_hostname: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    location: str = ""
    status: str = "after_login"
    connections: int = 4
    connect_s: float = 3
    answer_s: float = 8
    heartbeat_s: float = 0
    max_idle_s: float = 300
    verdict_s: float = 2
    failures: int = 5
    open_s: float = 2
    max_open_s: float = 60
    refused_login_s: float = 300
