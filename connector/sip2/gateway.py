"""The gateway: each SIP2 request to its handler, logins to terminals, and SC status.

Nothing here parses bytes, decides or stores. Rules: every request gets an answer of its own pair,
whatever fails; 98 tells what the ILS behind us can do (BX) and whether it answers.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from connector.domain.circulation import Reason
from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.library import Library
from connector.errors import ConnectorError
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.services.circulation import CirculationService
from connector.services.patrons import PatronService
from connector.services.registration import RegistrationService
from connector.sip2.codec import Message
from connector.sip2.dispatch import Exchange
from connector.sip2.handlers.circulation import (
    answer_checkin,
    answer_checkout,
    answer_renew,
    answer_renew_all,
)
from connector.sip2.handlers.common import Answering
from connector.sip2.handlers.items import answer_item_information, answer_item_status
from connector.sip2.handlers.patrons import (
    answer_block,
    answer_enable,
    answer_end_session,
    answer_fee_paid,
    answer_hold,
    answer_patron,
)
from connector.sip2.handlers.registration import (
    answer_duplicate_check,
    answer_find_cards,
    answer_registration,
)
from connector.sip2.handlers.status import StatusDesk
from connector.sip2.replies import answer_code
from connector.sip2.screen import ScreenTexts
from connector.sip2.terminal import Terminal
from connector.sip2.terminal_rules import TerminalRules

__all__ = ["Gateway"]

_log = get_logger(__name__)


_CHANGES = frozenset({"11", "09", "29", "65", "37", "15", "01", "25", "19", "81"})
"""What may have been done although no answer came."""


class Gateway:
    """Answers the requests of all terminals; called from many threads.

    Args:
        answer_within_s: what 98 promises as time-out period.
        ils_timeout_s: how long an ILS may take at most; below ``answer_within_s``.
    """

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        terminals: Mapping[TerminalId, Terminal],
        circulation: CirculationService,
        patrons: PatronService,
        registration: RegistrationService,
        texts: ScreenTexts,
        rules: TerminalRules,
        now: Clock,
        answer_within_s: float,
        ils_timeout_s: float,
    ) -> None:
        self._libraries = libraries
        self._terminals = terminals
        self._patrons = patrons
        facts = circulation.desk.facts
        self._status = StatusDesk(
            facts.adapters, circulation.desk.away, answer_within_s=answer_within_s
        )
        self._texts = texts
        self._rules = rules
        self._now = now
        self._ils_timeout_s = ils_timeout_s
        self._handlers: dict[str, Callable[[Answering], Message]] = {
            "11": lambda turn: answer_checkout(turn, circulation),
            "09": lambda turn: answer_checkin(turn, circulation),
            "29": lambda turn: answer_renew(turn, circulation),
            "65": lambda turn: answer_renew_all(turn, circulation),
            "23": answer_patron,
            "63": answer_patron,
            "01": answer_block,
            "25": answer_enable,
            "15": answer_hold,
            "37": answer_fee_paid,
            "35": answer_end_session,
            "17": lambda turn: answer_item_information(turn, facts),
            "19": lambda turn: answer_item_status(turn, facts),
            "81": lambda turn: answer_registration(turn, registration),
            "91": lambda turn: answer_duplicate_check(turn, registration),
            "85": lambda turn: answer_find_cards(turn, registration),
            "99": self._status.answer,
        }

    def log_in(self, login: str, password: str, location: str, peer: str) -> Terminal | None:
        """Return the terminal of a login, or None; the location (CP) is the terminal's configured
        one.
        """
        del location, peer
        terminal = self._terminals.get(TerminalId(login))
        if terminal is None:
            return None
        if terminal.password is None:
            return terminal
        right = hmac.compare_digest(terminal.password.encode(), password.encode())
        return terminal if right else None

    def handle(self, request: Message, exchange: Exchange) -> Message | None:
        """Return the answer of the right pair; None for what has no answer.

        A dialect's request that nothing here carries out is refused in its own pair.
        """
        if answer_code(request.code) is None:
            return None
        turn = self._answering(request, exchange)
        handler = self._handlers.get(request.code)
        if handler is None:
            return turn.refuse(Reason.NOT_SUPPORTED)
        try:
            bar = self._rules.find_bar(request, exchange, turn.now)
            if bar is not None:
                return turn.refuse(bar)
            return self._rules.finish(request, exchange, handler(turn))
        except ConnectorError as err:
            _log.error(
                "sip2.handler_failed",
                request=request.code,
                terminal=exchange.terminal.terminal_id,
                error=type(err).__name__,
            )
            return turn.refuse(Reason.ILS_UNAVAILABLE)

    def refuse_late(self, request: Message, exchange: Exchange) -> Message | None:
        """Return the refusal at the deadline; a later outcome is not told as a yes."""
        if answer_code(request.code) is None:
            return None
        turn = self._answering(request, exchange)
        if request.code == "99":
            return self._status.answer_late(turn)
        unknown = request.code in _CHANGES
        return turn.refuse(Reason.OUTCOME_UNKNOWN if unknown else Reason.ILS_UNAVAILABLE)

    def _answering(self, request: Message, exchange: Exchange) -> Answering:
        return Answering(
            request=request,
            turn=exchange,
            library=self._libraries[exchange.terminal.institution],
            texts=self._texts,
            patrons=self._patrons,
            clocks=self._rules.clocks,
            now=self._now(),
            ils_timeout_s=self._ils_timeout_s,
        )
