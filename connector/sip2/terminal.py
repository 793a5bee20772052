"""A terminal as configuration: how it speaks on the wire, and what it may do.

Nothing here parses or answers. One ``Terminal`` per login; ``WireProfile`` is the part that the
codec needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Literal
from zoneinfo import ZoneInfo

from connector.domain.ids import BranchId, InstitutionId, TerminalId
from connector.domain.patron import PinRule

__all__ = ["ChecksumPolicy", "Permission", "Terminal", "TerminalKind", "WireProfile"]


class ChecksumPolicy(StrEnum):
    """What a wrong checksum does: answer 96, log it, or nothing at all."""

    STRICT = "strict"
    LOG = "log"
    IGNORE = "ignore"


class TerminalKind(StrEnum):
    """What stands there."""

    SELFCHECK = "selfcheck"
    BOOKDROP = "bookdrop"
    SORTER = "sorter"
    DESK = "desk"
    MOBILE = "mobile"


class Permission(StrEnum):
    """What a terminal may do beyond the ordinary of its kind; all off by default (decision 14).

    From ``checkout`` on they widen what book drops and sorters may do.
    """

    BLOCK_PATRON = "block_patron"
    ENABLE_PATRON = "enable_patron"
    ITEM_STATUS = "item_status"
    OFFLINE_UPLOAD = "offline_upload"
    REGISTER_PATRONS = "register_patrons"
    """Apply for a card and ask for duplicates (81, 91)."""
    FIND_BY_ID = "find_by_id"
    """Ask for card numbers by an identity number (85)."""
    CHECKOUT = "checkout"
    RENEW = "renew"
    PATRON = "patron"
    HOLD = "hold"
    FEE = "fee"


@dataclass(frozen=True, slots=True)
class WireProfile:
    """How one side speaks SIP2.

    Attributes:
        encoding: a Python codec name: ``utf-8``, ``gb18030``, ``gbk``, ``big5``, ``cp850``, ….
        delimiter: one character.
        terminator: what ends the frames that we send; CR, CRLF and LF are all understood.
        error_detection: ``auto`` answers in the style of the request, ``always`` and ``never``
            force AY/AZ.
        dialect: name in the registry of ``connector.sip2.dialects``.
        hidden_tags: never sent. allowed_tags: if not empty, only these (required tags are always
            sent).
        max_value_length: characters per value that we send; 0 = no limit (the standard says 255).
    """

    encoding: str = "utf-8"
    delimiter: str = "|"
    terminator: Literal["\r", "\r\n", "\n"] = "\r"
    checksum: ChecksumPolicy = ChecksumPolicy.STRICT
    error_detection: Literal["auto", "always", "never"] = "auto"
    dialect: str = "standard"
    hidden_tags: frozenset[str] = frozenset()
    allowed_tags: frozenset[str] = frozenset()
    max_value_length: int = 255
    answer_unknown: Literal["silence", "96"] = "silence"


@dataclass(frozen=True, slots=True)
class Terminal:
    """One self-check machine, book drop, sorter or desk.

    Attributes:
        password: what it must send at login; None = any (only with ``allow_from``).
        location: CP at login and the current location of what it checks in.
        register: the cash register or payment point that it belongs to.
        allow_from: addresses that may use this login; empty = any.
        certificate: common name or SHA-256 fingerprint of the client certificate that it must
            show; empty = none is asked for.
        max_connections: connections of this login; None = the server's number.
        mask_name: AE as 张* (public screens). mask_id: AA is not echoed when an identity number was
            scanned.
        charge_denied_at_limit: set position 0 of patron status at the limit too (decision 16).
        school: code of the school whose pupils a registration machine enters; empty = AM names it.
        messages: its own screen messages: language → reason or word → template.
        renewal_ok, magnetic: what 12 and 30 say there when they say yes, whatever is true; empty =
            the truth. For kiosks that know success by ``NNY`` or ``YYY``.
    """

    terminal_id: TerminalId
    institution: InstitutionId
    password: str | None = field(default=None, repr=False)
    branch: BranchId | None = None
    location: str = ""
    register: str = ""
    kind: TerminalKind = TerminalKind.SELFCHECK
    wire: WireProfile = WireProfile()
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    language: str = "zh"
    pin: PinRule = PinRule.IF_SENT
    permissions: frozenset[Permission] = frozenset()
    allow_from: tuple[IPv4Network | IPv6Network, ...] = ()
    certificate: str = ""
    max_connections: int | None = None
    mask_name: bool = True
    mask_id: bool = False
    charge_denied_at_limit: bool = False
    school: str = ""
    messages: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    renewal_ok: Literal["", "Y", "N"] = ""
    magnetic: Literal["", "Y", "N", "U"] = ""
