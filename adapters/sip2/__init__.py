"""An ILS that speaks SIP2 as a plugin: it offers its adapter."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.sip2.adapter import SPEC
from connector.plugins.hookspecs import hookimpl
from connector.ports.ils import AdapterSpec

__all__ = ["register_ils_adapters"]


@hookimpl
def register_ils_adapters() -> Sequence[AdapterSpec]:
    """Offer the channel to any ILS that speaks SIP2."""
    return (SPEC,)
