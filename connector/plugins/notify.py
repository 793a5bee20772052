"""Calls a hook so that a plugin that raises hurts nobody else.

Nothing here knows a particular hook. Rule: the text of a plugin's exception is not logged, since it
may quote data; its class and place are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

from connector.errors import PluginError
from connector.log import get_logger

__all__ = ["call_each", "notify"]

_log = get_logger(__name__)


def call_each(
    manager: pluggy.PluginManager, hook: str, arguments: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Call one hook in every plugin; return (plugin name, result) of those that did not raise.

    The order is pluggy's: last registered first, ``tryfirst`` and ``trylast`` obeyed.
    """
    results: list[tuple[str, Any]] = []
    for implementation in reversed(getattr(manager.hook, hook).get_hookimpls()):
        given = [arguments[name] for name in implementation.argnames]
        try:
            results.append((implementation.plugin_name, implementation.function(*given)))
        except Exception as err:  # noqa: BLE001 - a plugin may raise anything
            problem = PluginError(implementation.plugin_name, type(err).__name__)
            _log.error(
                "plugin.failed", plugin=problem.plugin, hook=hook, code=problem.code, exc_info=err
            )
    return results


def notify(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> None:
    """Tell every plugin; never raises for a plugin's fault."""
    call_each(manager, hook, arguments)
