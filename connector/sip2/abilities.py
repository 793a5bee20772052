"""Which requests a terminal may send with success: what the ILS can do, and what the terminal may.

Nothing here answers. Rules: our handlers ∩ the ILS's capabilities ∩ the terminal's kind and
permissions (decision 14); what is not in it is refused in its own pair, and is N in BX.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.ports.ils import Capability
from connector.sip2.kinds import may_ask
from connector.sip2.terminal import Permission, Terminal

__all__ = ["PERMISSIONS", "REQUIREMENTS", "find_supported"]

REQUIREMENTS: Final[Mapping[str, Capability | None]] = {
    "23": Capability.FETCH_PATRON,
    "11": Capability.CHECKOUT,
    "09": Capability.CHECKIN,
    "01": Capability.BLOCK_PATRON,
    "99": None,
    "97": None,
    "93": None,
    "63": Capability.FETCH_PATRON,
    "35": None,
    "37": Capability.PAY_FEE,
    "17": Capability.FETCH_ITEM,
    "19": Capability.UPDATE_ITEM_STATUS,
    "25": Capability.UNBLOCK_PATRON,
    "15": Capability.PLACE_HOLD,
    "29": Capability.RENEW,
    "65": Capability.RENEW,
}
"""What the ILS must be able to do for each request; None = we do it ourselves."""

PERMISSIONS: Final[Mapping[str, Permission]] = {
    "01": Permission.BLOCK_PATRON,
    "19": Permission.ITEM_STATUS,
    "25": Permission.ENABLE_PATRON,
}
"""What a terminal of any kind must be allowed for these requests."""


def find_supported(terminal: Terminal, capabilities: frozenset[Capability]) -> frozenset[str]:
    """Return the codes of the requests that can succeed from this terminal."""
    return frozenset(
        code
        for code, needed in REQUIREMENTS.items()
        if (needed is None or needed in capabilities)
        and (code not in PERMISSIONS or PERMISSIONS[code] in terminal.permissions)
        and may_ask(terminal, code)
    )
