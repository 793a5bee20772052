"""SC status (99): 98 tells what would be accepted now, and whether the ILS behind us answers.

Nothing here decides. Rules —

- on-line is N while the ILS does not answer, unless the library's kiosks are to be told otherwise
  (``say_online``); checkin ok and checkout ok then tell what is taken in its place;
- off-line ok is a promise to accept later what happened meanwhile (no block = Y), whatever the ILS
  does now: it is the terminal's permission, no more;
- BX is computed from what would not be refused;
- before the login of a kiosk nobody knows whose it is, unless there is one library;
- an ILS is asked once in ``KEEP_S`` for all of a library's terminals, by one of them at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.library import Library
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.ils import IlsAdapter
from connector.services.away import AwayDesk, AwayOffer
from connector.services.desk import STORE_DOWN
from connector.sip2.abilities import find_supported
from connector.sip2.codec import Message, format_date
from connector.sip2.handlers.common import Answering, flag
from connector.sip2.spec import BX_ORDER
from connector.sip2.terminal import Permission, Terminal

__all__ = ["KEEP_S", "IlsPulse", "StatusDesk", "find_greeter"]

_log = get_logger(__name__)

KEEP_S: Final = 2.0
"""How long what an ILS said of itself holds."""

_RETRIES: Final = "003"
_NOTHING: Final = AwayOffer(checkin=False, checkout=False)


def find_greeter(libraries: Mapping[InstitutionId, Library]) -> Terminal | None:
    """Return in whose name a 99 before the login is answered; None = of several libraries, whose
    kiosk it is shows only then.
    """
    if len(libraries) != 1:
        return None
    (library,) = libraries.values()
    return Terminal(
        TerminalId("before-login"), library.code, zone=library.zone, language=library.language
    )


@dataclass(slots=True)
class _Beat:
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_up: bool | None = None
    until: float = 0.0


class IlsPulse:
    """Whether each ILS answers; called from many threads, asks each seldom.

    Who asks while another asks already gets the answer before, and waits only for the very first.
    """

    def __init__(
        self,
        adapters: Mapping[InstitutionId, IlsAdapter],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._adapters = adapters
        self._beats = {institution: _Beat() for institution in adapters}
        self._monotonic = monotonic

    def is_up(self, institution: InstitutionId) -> bool:
        """Say whether the ILS answered a moment ago."""
        beat = self._beats[institution]
        if beat.is_up is not None and self._monotonic() < beat.until:
            return beat.is_up
        if not beat.lock.acquire(blocking=beat.is_up is None):
            return bool(beat.is_up)
        try:
            if beat.is_up is None or self._monotonic() >= beat.until:
                beat.is_up = self._ask(institution)
                beat.until = self._monotonic() + KEEP_S
            return beat.is_up
        finally:
            beat.lock.release()

    def _ask(self, institution: InstitutionId) -> bool:
        try:
            self._adapters[institution].ping()
        except AdapterError:
            return False
        return True


class StatusDesk:
    """Answers 99 for all terminals.

    Args:
        answer_within_s: what 98 promises as time-out period.
    """

    def __init__(
        self,
        adapters: Mapping[InstitutionId, IlsAdapter],
        away: AwayDesk,
        *,
        answer_within_s: float,
    ) -> None:
        self._adapters = adapters
        self._away = away
        self._pulse = IlsPulse(adapters)
        self._answer_within_s = answer_within_s

    def answer(self, turn: Answering) -> Message:
        """Answer 99 with 98."""
        return self._say(turn, is_up=self._pulse.is_up(turn.library.code))

    def answer_late(self, turn: Answering) -> Message:
        """Answer a 99 whose ILS did not say in time whether it is there; without I/O."""
        return self._say(turn, is_up=False, offer=_NOTHING)

    def _say(self, turn: Answering, *, is_up: bool, offer: AwayOffer | None = None) -> Message:
        supported = find_supported(turn.terminal, self._adapters[turn.library.code].capabilities)
        if not is_up and offer is None:
            offer = self._offer(turn.library.code)
        fixed = {
            "online": flag(is_up or turn.library.away.say_online),
            "checkin_ok": flag("09" in supported and (offer is None or offer.checkin)),
            "checkout_ok": flag("11" in supported and (offer is None or offer.checkout)),
            "acs_renewal_policy": flag("29" in supported and is_up),
            "status_update_ok": flag("19" in supported and is_up),
            "offline_ok": flag(turn.permits(Permission.OFFLINE_UPLOAD)),
            "timeout_period": f"{min(999, max(1, round(self._answer_within_s * 10))):03d}",
            "retries_allowed": _RETRIES,
            "date_time_sync": format_date(turn.now, turn.library.zone),
            "protocol_version": "2.00",
        }
        fields = [
            ("AO", turn.institution),
            ("AM", turn.library.name),
            ("BX", "".join(flag(code in supported) for code in BX_ORDER)),
        ]
        if turn.terminal.location:
            fields.append(("AN", turn.terminal.location))
        return Message("98", fixed, fields)

    def _offer(self, institution: InstitutionId) -> AwayOffer:
        try:
            return self._away.offer(institution)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=institution)
            return _NOTHING
