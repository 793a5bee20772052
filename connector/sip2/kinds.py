"""What a terminal may ask for by its kind, and by the permissions that widen it.

Nothing here answers. Rules: self-checks, desks and mobile points may ask for everything; a book
drop and a sorter only take back (facts §1.5: sorters live on 09 and 17), for nobody stands there to
be asked for a card. 93, 97 and 99 are everybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.sip2.terminal import Permission, Terminal, TerminalKind

__all__ = ["may_ask"]

_RETURNS: Final = frozenset({"09", "17", "93", "97", "99"})
_BY_KIND: Final[Mapping[TerminalKind, frozenset[str]]] = {
    TerminalKind.BOOKDROP: _RETURNS,
    TerminalKind.SORTER: _RETURNS,
}
_BY_PERMISSION: Final[Mapping[str, Permission]] = {
    "11": Permission.CHECKOUT,
    "29": Permission.RENEW,
    "65": Permission.RENEW,
    "23": Permission.PATRON,
    "63": Permission.PATRON,
    "35": Permission.PATRON,
    "15": Permission.HOLD,
    "37": Permission.FEE,
    "01": Permission.BLOCK_PATRON,
    "19": Permission.ITEM_STATUS,
    "25": Permission.ENABLE_PATRON,
    "81": Permission.REGISTER_PATRONS,
    "91": Permission.REGISTER_PATRONS,
    "85": Permission.FIND_BY_ID,
}


def may_ask(terminal: Terminal, code: str) -> bool:
    """Say whether this kind of terminal may send a request."""
    ordinary = _BY_KIND.get(terminal.kind)
    if ordinary is None or code in ordinary:
        return True
    return _BY_PERMISSION.get(code) in terminal.permissions
