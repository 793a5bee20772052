"""Structured logging with a list of allowed keys.

Nothing here knows who a patron is: ``patron_ref`` is made by ``connector.storage.crypto``. Rules —

- an event is ``noun.verb_past``; there is one line per SIP2 exchange, row batch or search;
- a key without a value (None) is left out;
- a key that is not in ``ALLOWED_KEYS`` is dropped, and raises under pytest: personal data must not
  slip in under a new name; no frame, request body or record is ever a value;
- an exception is logged by the class and place of each step, never by its text.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import structlog

__all__ = ["ALLOWED_KEYS", "LogOptions", "configure", "get_logger"]

ALLOWED_KEYS = frozenset(
    {
        # what structlog puts there itself
        "event", "level", "timestamp", "module", "exception",
        # where
        "institution", "branch", "terminal", "peer", "host", "port", "adapter", "plugin", "hook",
        "process", "thread",
        "library", "school", "file", "path", "database", "revision", "version",
        # what
        "action", "verb", "code", "reason", "outcome", "state", "status", "mode", "kind", "name",
        "role",
        "request", "response", "sequence", "checksum", "message_id", "dialect", "encoding",
        "repaired",
        "error", "remedy",
        "policy_version", "capability", "operation", "setting", "signal", "detail",
        # ids that are ours, and references that nobody can turn back
        "patron_ref", "loan_id", "batch", "application_id", "task_id", "event_id", "exchange_id",
        "row", "column",
        # numbers
        "count", "total", "limit", "attempt", "retries", "bytes", "ms", "duration_ms", "ils_ms",
        "timeout_s",
        "retry_after_s", "connections", "open", "closed", "created", "updated", "unchanged",
        "invalid", "held",
        "duplicate", "conflict", "needs_guardian", "rows", "failed", "adopted", "settled",
        "pending",
    }
)  # fmt: skip
"""Every key that a log line may have."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LogOptions(Protocol):
    """What ``configure`` needs to know; ``Settings.log`` has it."""

    @property
    def level(self) -> str:
        """debug, info, warning or error."""

    @property
    def format(self) -> str:
        """auto, json or console."""


def configure(options: LogOptions | None = None, *, stream: TextIO | None = None) -> None:
    """Set up logging for the process; may be called again.

    Args:
        options: level and format; without them, ``info`` and ``auto`` = readable on a terminal,
            JSON elsewhere.
        stream: where to write; standard output by default (standard error where that carries
            ``--json``).
    """
    out = stream or sys.stdout
    level = options.level if options else "info"
    style = options.format if options else "auto"
    if style == "auto":
        style = "console" if out.isatty() else "json"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if style == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            _describe_exception,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger; ``name`` is the module's ``__name__``."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(module=name))


def _keep_allowed(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop keys that are not allowed; under pytest raise, so that the author sees it."""
    del logger, method
    unknown = sorted(event.keys() - ALLOWED_KEYS)
    if unknown and "PYTEST_CURRENT_TEST" in os.environ:
        raise KeyError(f"log keys that are not in connector.log.ALLOWED_KEYS: {', '.join(unknown)}")
    for key in unknown + [key for key, value in event.items() if value is None]:
        del event[key]
    return event


def _describe_exception(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace ``exc_info`` by classes and places: texts of foreign exceptions may quote data."""
    del logger, method
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()[1]
    elif isinstance(given, tuple):
        given = given[1]
    if isinstance(given, BaseException):
        event["exception"] = _outline(given)
    return event


def _outline(error: BaseException) -> str:
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < 5:
        frames = traceback.extract_tb(link.__traceback__)[-3:]
        places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        parts.append(f"{type(link).__name__} at {places}" if places else type(link).__name__)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " <- ".join(parts)
