"""The only place that builds things: settings → storage, plugins, adapters, services, gateway.

Nothing here has rules of its own.
"""

from __future__ import annotations

from connector.bootstrap.application import Application, build
from connector.bootstrap.edges import build_adapter

__all__ = ["Application", "build", "build_adapter"]
