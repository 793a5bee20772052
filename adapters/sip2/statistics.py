"""What a channel counts: exchanges by request code, for metrics.

Nothing here knows what was exchanged, or with whom.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.sip2.breaker import BreakerState

__all__ = ["ChannelStatistics", "ExchangeCounts", "MessageStatistics"]


@dataclass(slots=True)
class MessageStatistics:
    """Exchanges of one request code; ``seconds`` is the sum over all of them."""

    count: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What the channel has done so far, for metrics."""

    messages: Mapping[str, MessageStatistics]
    breaker: BreakerState
    connections: int
    idle: int
    limit: int
    opened: int


class ExchangeCounts:
    """Counts exchanges; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, MessageStatistics] = defaultdict(MessageStatistics)

    def add(self, code: str, seconds: float, *, failed: bool) -> None:
        """Count one exchange."""
        with self._lock:
            one = self._messages[code]
            one.count += 1
            one.failed += failed
            one.seconds += seconds

    def copy(self) -> dict[str, MessageStatistics]:
        """Return the counts so far, by request code."""
        with self._lock:
            return {
                code: MessageStatistics(one.count, one.failed, one.seconds)
                for code, one in self._messages.items()
            }
