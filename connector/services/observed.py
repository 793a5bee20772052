"""An adapter that tells how long its ILS took and whether it answered.

Nothing here knows an ILS or a protocol; everything is handed on to the adapter within. Rule: what
is not an operation of the port, ``capabilities`` say, is the adapter's own attribute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from connector.domain.ids import InstitutionId
from connector.errors import AdapterUnavailable, OutcomeUnknown, UnsupportedOperation
from connector.ports.ils import IlsAdapter
from connector.ports.watch import ILS_TIME, Watch

__all__ = ["OPERATIONS", "observe_adapter", "observe_adapters"]

OPERATIONS: Final = frozenset(
    name
    for part in IlsAdapter.__mro__
    for name, value in vars(part).items()
    if callable(value) and not name.startswith("_") and name != "close"
)
"""What is timed: every method of the port but ``close``."""

_PIN_CHECKS: Final = frozenset({"fetch_patron", "verify_pin"})


def observe_adapters(
    adapters: Mapping[InstitutionId, IlsAdapter], watch: Watch
) -> dict[InstitutionId, IlsAdapter]:
    """Return the adapters, each watched."""
    return {code: observe_adapter(adapter, code, watch) for code, adapter in adapters.items()}


def observe_adapter(adapter: IlsAdapter, institution: InstitutionId, watch: Watch) -> IlsAdapter:
    """Return the adapter with its operations timed; it costs about a microsecond per call."""
    return cast("IlsAdapter", _Observed(adapter, institution, watch))


class _Observed:
    """Looks everything up in the adapter at each call, so that it may change underneath."""

    __slots__ = ("_adapter", "_institution", "_watch")

    def __init__(self, adapter: IlsAdapter, institution: InstitutionId, watch: Watch) -> None:
        self._adapter = adapter
        self._institution = institution
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        return self._timed(name, found) if name in OPERATIONS else found

    def _timed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            outcome = "failed"
            started = time.perf_counter()
            try:
                result = call(*args, **kwargs)
                outcome = "answered"
            except AdapterUnavailable as err:
                outcome = "answered" if err.answered else "unavailable"
                raise
            except OutcomeUnknown:
                outcome = "unknown"
                raise
            except UnsupportedOperation:
                outcome = "unsupported"
                raise
            finally:
                took_s = time.perf_counter() - started
                ILS_TIME.seconds += took_s
                self._watch.note_ils(self._institution, operation, outcome, took_s)
            if operation in _PIN_CHECKS and _is_wrong_pin(result):
                self._watch.note_wrong_pin(self._institution)
            return result

        return timed


def _is_wrong_pin(result: Any) -> bool:
    """``verify_pin`` answers False, ``fetch_patron`` facts with ``pin_valid`` False."""
    return (result if isinstance(result, bool) else getattr(result, "pin_valid", None)) is False
