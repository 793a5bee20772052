"""Figures for Prometheus: exchanges, connections, refusals, and how the ILSs answer.

Nothing here knows a patron or an item, reads the database or listens. Rules:

- labels come from short fixed sets (message codes, outcomes, libraries, operations, reasons), so
  that a kiosk cannot make up new time series;
- telling costs microseconds: the series of a set of labels is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from connector.domain.circulation import Reason
from connector.domain.ids import InstitutionId
from connector.services.observed import OPERATIONS
from connector.sip2.spec import SPECS

__all__ = ["Sip2Metrics"]

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_M = TypeVar("_M", Counter, Histogram)

_OTHER: Final = "other"
_REASONS: Final = frozenset(Reason)
_AWAY: Final = frozenset({"unavailable", "unknown"})
_SILENT: Final = frozenset({"failed", "unsupported"})
"""Outcomes that tell nothing of whether the ILS can be reached."""


class Sip2Metrics:
    """Counts what the servers, the adapters and the services tell; one instance per process.

    Attributes:
        registry: for whoever shows the figures; more collectors may be added to it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._up: dict[InstitutionId, bool] = {}
        self._exchanges = _counter(
            self.registry,
            "onecard_sip2_exchanges",
            "SIP2 exchanges by request code and outcome.",
            "request",
            "outcome",
        )
        self._seconds = _histogram(
            self.registry,
            "onecard_sip2_exchange_seconds",
            "Seconds from the request to its answer.",
            "request",
        )
        self._connections = Gauge(
            "onecard_sip2_connections",
            "Kiosks that are connected now.",
            registry=self.registry,
        )
        self._connections.set_function(self._count_connections)
        self._counts: list[Callable[[], int]] = []
        self._refused_connections = _counter(
            self.registry,
            "onecard_sip2_connections_refused",
            "Connections that were closed at once, by reason.",
            "reason",
        )
        self._refusals = _counter(
            self.registry,
            "onecard_policy_refusals",
            "Refusals by the policy; mode would = observe mode, where the ILS decided.",
            "library",
            "reason",
            "mode",
        )
        self._wrong_pins = _counter(
            self.registry,
            "onecard_wrong_pins",
            "PINs that the ILS said are wrong.",
            "library",
        )
        self._ils_seconds = _histogram(
            self.registry,
            "onecard_ils_seconds",
            "Seconds that an ILS took, by operation.",
            "library",
            "operation",
        )
        self._ils_failures = _counter(
            self.registry,
            "onecard_ils_failures",
            "Calls of an ILS without an answer: unavailable = nothing sent, unknown = no answer.",
            "library",
            "outcome",
        )
        self._ils_up = Gauge(
            "onecard_ils_up",
            "Whether the ILS answered when it was asked last.",
            ("library",),
            registry=self.registry,
        )

    # ── what the server tells ────────────────────────────────────────────────────────────────────

    def observe(self, request: str, outcome: str, seconds: float) -> None:
        """Count one exchange; an unknown message code is counted as ``other``."""
        code = request if request in SPECS else _OTHER
        self._exchanges(code, outcome).inc()
        self._seconds(code).observe(seconds)

    def refuse_connection(self, reason: str) -> None:
        """Count a connection that was not taken."""
        self._refused_connections(reason).inc()

    def count_connections_of(self, count: Callable[[], int]) -> None:
        """Add a listener whose connections are counted when somebody looks."""
        self._counts.append(count)

    def _count_connections(self) -> float:
        return float(sum(count() for count in self._counts))

    # ── what the services and the adapters tell (``connector.ports.watch.Watch``) ────────────────

    def note_ils(
        self, institution: InstitutionId, operation: str, outcome: str, seconds: float
    ) -> None:
        """Count one call of an ILS."""
        self._ils_seconds(institution, operation if operation in OPERATIONS else _OTHER).observe(
            seconds
        )
        if outcome in _SILENT:
            return
        is_up = outcome not in _AWAY
        if not is_up:
            self._ils_failures(institution, outcome).inc()
        if self._up.get(institution) is not is_up:
            self._up[institution] = is_up
            self._ils_up.labels(institution).set(is_up)

    def note_refusal(self, institution: InstitutionId, reason: str, *, enforced: bool) -> None:
        """Count one refusal of the policy."""
        known = reason if reason in _REASONS else _OTHER
        self._refusals(institution, known, "enforced" if enforced else "would").inc()

    def note_wrong_pin(self, institution: InstitutionId) -> None:
        """Count one wrong PIN."""
        self._wrong_pins(institution).inc()

    @property
    def ils_up(self) -> Mapping[InstitutionId, bool]:
        """Whether each ILS answered when it was asked last; without those never asked."""
        return dict(self._up)


def _counter(
    registry: CollectorRegistry, name: str, text: str, *labels: str
) -> Callable[..., Counter]:
    """Return what gives the series of these label values, each looked up once."""
    return _remembered(Counter(name, text, labels, registry=registry))


def _histogram(
    registry: CollectorRegistry, name: str, text: str, *labels: str
) -> Callable[..., Histogram]:
    """Like ``_counter``."""
    return _remembered(Histogram(name, text, labels, buckets=BUCKETS_S, registry=registry))


def _remembered(metric: _M) -> Callable[..., _M]:
    known: dict[tuple[str, ...], _M] = {}

    def series(*values: str) -> _M:
        try:
            return known[values]
        except KeyError:
            return known.setdefault(values, metric.labels(*values))

    return series
