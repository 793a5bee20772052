"""The clock as a port, so that no rule reads hidden time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "utc_now"]

Clock = Callable[[], datetime]
"""Returns the moment as aware UTC."""


def utc_now() -> datetime:
    """Return the moment as aware UTC."""
    return datetime.now(UTC)
