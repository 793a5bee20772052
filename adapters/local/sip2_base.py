"""What the answers of the embedded ILS's SIP2 server share: who calls, dates, words.

Nothing here answers a message (``sip2_patrons``, ``sip2_answers``). Rules: the ILS's own clock
dates what was not recorded off-line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.local.adapter import LocalAdapter
from connector.domain.ids import BranchId, TerminalId
from connector.ports.ils import ExchangeContext
from connector.sip2.codec import Message
from connector.sip2.timestamps import format_date, parse_date

__all__ = ["Caller", "Fields", "Sip2Base", "screen", "yes"]

Fields = list[tuple[str, str]]

_DONE: Final = {
    "12": ("借书成功", "Checked out"),
    "30": ("续借成功", "Renewed"),
    "10": ("还书成功", "Checked in"),
    "66": ("续借成功", "Renewed"),
    "38": ("缴费成功", "Paid"),
}
"""Chinese kiosk drivers look for 成功 in AF."""


@dataclass(slots=True)
class Caller:
    """One connection: who logged in, and where the terminal stands (CP)."""

    user: str = ""
    location: str = ""
    logged_in: bool = False


class Sip2Base:
    """The ILS that answers."""

    def __init__(self, adapter: LocalAdapter) -> None:
        self.adapter = adapter

    def context(self, request: Message, caller: Caller, *, branch: str = "") -> ExchangeContext:
        """Return where and when a request happens."""
        no_block = request.fixed.get("no_block") == "Y"
        now = self.adapter.now()
        stated = parse_date(request.fixed.get("transaction_date", ""), self.adapter.zone)
        return ExchangeContext(
            at=min(stated, now) if no_block and stated is not None else now,
            branch=BranchId(branch) if branch else None,
            terminal=TerminalId(caller.user or "sip2"),
            pin=request.get("AD") or None,
            fee_acknowledged=request.get("BO") == "Y",
            no_block=no_block,
        )

    def date(self) -> dict[str, str]:
        """Return the transaction date of an answer, as a part of its fixed fields."""
        return {"transaction_date": format_date(self.adapter.now(), self.adapter.zone)}

    def done(self, code: str) -> str:
        """Return what the screen says after a success."""
        chinese, english = _DONE[code]
        return english if self.adapter.settings.language == "en" else chinese


def yes(*, is_so: bool) -> str:
    """Return Y or N."""
    return "Y" if is_so else "N"


def screen(message: str) -> Fields:
    """Return the screen message, if there is one."""
    return [("AF", message)] if message else []
