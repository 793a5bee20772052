"""What the parts of the adapter share: the channel, requests and answers of one ILS, its time.

Nothing here knows a verb. Rules: what is not in ``capabilities`` raises before anything is sent;
``capabilities`` begin with the settings, and each 98 of the ILS takes away what its BX denies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from adapters.sip2.capabilities import find_capabilities, find_requests
from adapters.sip2.channel import Sip2Channel
from adapters.sip2.dates import Dates
from adapters.sip2.mapping import Answers
from adapters.sip2.options import NAME, ChannelOptions
from adapters.sip2.reading import to_wire
from adapters.sip2.requests import Requests, Values
from adapters.sip2.settings import Sip2Settings
from adapters.sip2.statistics import ChannelStatistics
from connector.domain.ids import InstitutionId
from connector.domain.wire import WireMessage
from connector.errors import UnsupportedOperation
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, ExchangeContext
from connector.sip2.codec import Message

__all__ = ["Budget", "Sip2Base"]

_log = get_logger(__name__)


class Budget:
    """The time of one call, shared by all its exchanges."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """What is left; never below zero."""
        return max(0.0, self._until - time.monotonic())


class Sip2Base:
    """One library's ILS that speaks SIP2.

    Attributes:
        answered: codes of the requests that the ILS answers, as far as the adapter uses them.
        status: its last 98.
    """

    name: str = NAME
    institution_id: InstitutionId
    capabilities: frozenset[Capability]

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
        self.institution_id = institution_id
        self.settings = settings
        self.requests = requests
        self.answers = answers
        self.dates = dates
        self._now = now
        self.capabilities = find_capabilities(settings)
        self.answered = find_requests(settings)
        self.status: WireMessage | None = None
        self.channel = Sip2Channel(institution_id, options, on_status=self._take_status)

    @property
    def statistics(self) -> ChannelStatistics:
        """What the channel has done so far, for metrics."""
        return self.channel.statistics

    def now(self) -> datetime:
        """Return the moment as aware UTC."""
        return self._now().astimezone(UTC)

    def ping(self) -> None:
        """Return when the ILS is on-line; its answer holds for a moment."""
        self.channel.ping()

    def close(self) -> None:
        """Give back connections."""
        self.channel.close()

    def exchange(
        self, message: Message, *, timeout_s: float | None = None, changes: bool
    ) -> Message:
        """Send a request and return its answer; see ``Sip2Channel.exchange``."""
        return self.channel.exchange(message, timeout_s=timeout_s, changes=changes)

    def require(self, capability: Capability) -> None:
        """Raise ``UnsupportedOperation`` unless this ILS can do it."""
        if capability not in self.capabilities:
            raise UnsupportedOperation(self.name, self.institution_id, capability.value)

    def budget(self, context: ExchangeContext | None = None) -> Budget:
        """Return the time of a call: the caller's, but never more than the settings allow."""
        own_s = self.settings.answer_s
        return Budget(own_s if context is None else min(own_s, context.timeout_s))

    def tell(
        self,
        code: str,
        context: ExchangeContext,
        *,
        fixed: Mapping[str, str] | None = None,
        values: Values | None = None,
    ) -> Message:
        """Send what changes something, once, as of the moment of the exchange."""
        message = self.requests.build(
            code, context.at, fixed=fixed, values=values, context=context, pin=context.pin
        )
        return self.exchange(message, timeout_s=self.budget(context).left_s, changes=True)

    def ask(
        self,
        code: str,
        budget: Budget,
        *,
        fixed: Mapping[str, str] | None = None,
        values: Values | None = None,
        pin: str | None = None,
    ) -> Message:
        """Send what changes nothing."""
        message = self.requests.build(code, self.now(), fixed=fixed, values=values, pin=pin)
        return self.exchange(message, timeout_s=budget.left_s, changes=False)

    def _take_status(self, answer: Message) -> None:
        self.status = to_wire(answer)
        bx = answer.get("BX")
        self.answered = find_requests(self.settings, bx=bx)
        found = find_capabilities(self.settings, bx=bx)
        if found != self.capabilities:
            self.capabilities = found
            _log.info("ils.capabilities_changed", institution=self.institution_id, total=len(found))
