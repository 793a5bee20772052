"""Any ILS that speaks SIP2 as an adapter of the port, over a pool of connections of our own.

Nothing here holds logic; the parts do (``channel``, ``requests``, ``mapping``, ``patrons``,
``circulation``, ``holds``).
"""

from __future__ import annotations

from typing import Final

from adapters.sip2.beyond import BeyondSip2
from adapters.sip2.build import (
    build_channel_options,
    build_dates,
    build_reading_rules,
    build_request_rules,
)
from adapters.sip2.capabilities import BEST, is_denied
from adapters.sip2.dates import Dates
from adapters.sip2.holds import PaymentMemory, Sip2Holds
from adapters.sip2.mapping import Answers
from adapters.sip2.options import NAME, ChannelOptions
from adapters.sip2.reading import to_wire
from adapters.sip2.registration import Sip2Registration
from adapters.sip2.requests import Requests
from adapters.sip2.settings import Sip2Settings
from connector.domain.ids import InstitutionId
from connector.domain.wire import WireMessage
from connector.errors import UnsupportedOperation
from connector.ports.clock import Clock
from connector.ports.ils import AdapterContext, AdapterSpec, ExchangeContext
from connector.sip2.replies import answer_code

__all__ = ["CAPABILITIES", "SPEC", "Sip2Adapter", "build_adapter"]

CAPABILITIES = BEST
_READS: Final = frozenset({"17", "23", "63", "99"})
_OURS: Final = frozenset({"93", "97", "96"})
"""Login and resend belong to one connection each."""


class Sip2Adapter(Sip2Registration, Sip2Holds, BeyondSip2):
    """One library's ILS that speaks SIP2; safe to call from several threads."""

    def __init__(
        self,
        institution_id: InstitutionId,
        settings: Sip2Settings,
        options: ChannelOptions,
        *,
        requests: Requests,
        answers: Answers,
        dates: Dates,
        now: Clock,
    ) -> None:
        super().__init__(
            institution_id,
            settings,
            options,
            requests=requests,
            answers=answers,
            dates=dates,
            now=now,
        )
        self.payments = PaymentMemory()

    def forward(self, message: WireMessage, context: ExchangeContext) -> WireMessage | None:
        """Hand a terminal's message on, with AO, AC, location and dates as this ILS wants them.

        The answer comes back untouched; None where the ILS does not claim the message. Only reads
        are tried again.
        """
        if message.code in _OURS or answer_code(message.code) is None:
            raise UnsupportedOperation(self.name, self.institution_id, f"message_{message.code}")
        bx = self.status.get("BX") if self.status is not None else ""
        if is_denied(self.settings, message.code, bx=bx):
            return None
        answer = self.exchange(
            self.requests.adapt(message, context),
            timeout_s=self.budget(context).left_s,
            changes=message.code not in _READS,
        )
        return to_wire(answer)


def build_adapter(settings: Sip2Settings, context: AdapterContext) -> Sip2Adapter:
    """Make the adapter of one library; the first connection is opened at the first use.

    Raises:
        ConfigurationError: the settings cannot work.
    """
    dates = build_dates(settings, context)
    return Sip2Adapter(
        context.institution_id,
        settings,
        build_channel_options(settings, context),
        requests=Requests(build_request_rules(settings, context), dates),
        answers=Answers(build_reading_rules(settings), dates),
        dates=dates,
        now=context.now,
    )


SPEC = AdapterSpec(
    name=NAME, version="1.0", capabilities=CAPABILITIES, settings=Sip2Settings, build=build_adapter
)
