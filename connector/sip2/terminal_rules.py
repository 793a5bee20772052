"""What holds for every request of a terminal, whatever it asks: before its handler, and after.

Nothing here handles a request. Rules: a kind of terminal asks only for what is its business; a
misread barcode goes to no library system; who has given too many wrong PINs waits; the terminal's
clock is compared with ours; a yes may say in its flags what a fixed mind wants to read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from connector.domain.barcodes import CheckDigit
from connector.domain.circulation import Reason
from connector.domain.ids import InstitutionId
from connector.domain.library import Library, is_misread
from connector.sip2.clocks import TerminalClocks
from connector.sip2.codec import Message
from connector.sip2.dispatch import Exchange
from connector.sip2.kinds import may_ask
from connector.sip2.pin_guard import PinGuard

__all__ = ["TerminalRules"]

_WITH_PIN: Final = frozenset({"11", "15", "23", "25", "29", "37", "63", "65", "81"})
_PATRON_ANSWERS: Final = frozenset({"24", "26", "64"})
_LOAN_ANSWERS: Final = frozenset({"12", "30"})
_SAID_YES: Final = ("ok", "payment_accepted")


class TerminalRules:
    """One instance serves all terminals and is called from many threads.

    Args:
        pins, clocks: shared by everything that serves terminals in this process.
    """

    def __init__(
        self,
        libraries: Mapping[InstitutionId, Library],
        *,
        pins: PinGuard | None = None,
        clocks: TerminalClocks | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pins = PinGuard() if pins is None else pins  # an empty one is False
        self.clocks = TerminalClocks() if clocks is None else clocks
        self._libraries = libraries
        self._checks_digits = any(
            library.barcodes.check_digit is not CheckDigit.NONE for library in libraries.values()
        )
        self._monotonic = monotonic

    def find_bar(self, request: Message, exchange: Exchange, now: datetime) -> Reason | None:
        """Return why the request is refused before anybody looks at it, or None."""
        terminal = exchange.terminal
        self.clocks.measure(terminal, request, now)
        if not may_ask(terminal, request.code):
            return Reason.NOT_PERMITTED_HERE
        if self._checks_digits and self._is_misread(request.get("AB"), terminal.institution):
            return Reason.MISREAD_BARCODE
        if self._has_pin(request) and self.pins.is_locked(
            terminal.institution,
            request.get("AA").strip(),
            terminal.terminal_id,
            self._monotonic(),
        ):
            return Reason.PIN_LOCKED
        return None

    def finish(self, request: Message, exchange: Exchange, reply: Message) -> Message:
        """Take note of what the PIN was, and set the flags as the terminal wants them."""
        terminal = exchange.terminal
        if self._has_pin(request):
            card = request.get("AA").strip()
            if _is_wrong(reply, exchange):
                now = self._monotonic()
                self.pins.note_wrong(terminal.institution, card, terminal.terminal_id, now)
            elif _is_right(reply):
                self.pins.note_right(terminal.institution, card)
        if reply.code in _LOAN_ANSWERS and reply.fixed.get("ok") == "1":
            if terminal.renewal_ok:
                reply.fixed["renewal_ok"] = terminal.renewal_ok
            if terminal.magnetic:
                reply.fixed["magnetic"] = terminal.magnetic
        return reply

    def _is_misread(self, barcode: str, institution: InstitutionId) -> bool:
        local = self._libraries[institution]
        return bool(barcode) and is_misread(barcode, local, self._libraries.values())

    @staticmethod
    def _has_pin(request: Message) -> bool:
        return request.code in _WITH_PIN and bool(request.get("AD"))


def _is_wrong(reply: Message, exchange: Exchange) -> bool:
    """Say whether the answer tells that the PIN was wrong: by our own reason, or by CQ N of a card
    that is not invalid (BL N with CQ N is how every refusal of a 63 looks).
    """
    if exchange.reason:
        return exchange.reason == Reason.PIN_WRONG
    return reply.code in _PATRON_ANSWERS and reply.get("CQ") == "N" and reply.get("BL") != "N"


def _is_right(reply: Message) -> bool:
    if reply.code in _PATRON_ANSWERS:
        return reply.get("CQ") == "Y"
    return any(reply.fixed.get(name) in {"1", "Y"} for name in _SAID_YES)
