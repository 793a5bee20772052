"""Events for plugins and for other systems: ids and codes only, never names or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

__all__ = ["Event", "EventSink", "NoEvents"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        name: ``noun.verb_past``, such as ``loan.opened``.
        data: ids and codes.
    """

    name: str
    at: datetime
    institution: str
    data: Mapping[str, str | int | bool | None] = field(default_factory=dict)


class EventSink(Protocol):
    """Takes events after they are committed."""

    def track(self, event: Event) -> None:
        """Hand on one event; never raises."""
        ...


class NoEvents:
    """Nobody listens."""

    def track(self, event: Event) -> None:
        """Drop the event."""
        del event
