"""The embedded ILS as a plugin: it offers its adapter and serves the demonstration."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.local import demonstration
from adapters.local.adapter import SPEC
from connector.plugins.hookspecs import DemoContext, DemoIls, DemoIlsContext, hookimpl
from connector.ports.ils import AdapterSpec

__all__ = ["open_demonstration_ils", "register_ils_adapters", "seed_demonstration"]


@hookimpl
def register_ils_adapters() -> Sequence[AdapterSpec]:
    """Offer the embedded ILS."""
    return (SPEC,)


@hookimpl
def seed_demonstration(context: DemoContext) -> None:
    """Add the sample stock to an embedded ILS whose settings allow it; what is there stays."""
    demonstration.seed(context)


@hookimpl
def open_demonstration_ils(context: DemoIlsContext) -> DemoIls:
    """Serve an embedded ILS of its own over SIP2, filled with the sample stock."""
    return demonstration.open_ils(context)
