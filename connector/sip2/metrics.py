"""Figures of the SIP2 server for Prometheus: exchanges by message and outcome, and their time.

Nothing here knows a patron or an item. Rule: labels come from short fixed sets, so that a kiosk
cannot make up new time series.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from connector.errors import ConfigurationError
from connector.sip2.spec import SPECS

__all__ = ["Sip2Metrics"]

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Sip2Metrics:
    """Counts what the server's observer is told; one instance per process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._exchanges = Counter(
            "onecard_sip2_exchanges",
            "SIP2 exchanges by request code and outcome.",
            ("request", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "onecard_sip2_exchange_seconds",
            "Seconds from the request to its answer.",
            ("request",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    def observe(self, request: str, outcome: str, seconds: float) -> None:
        """Count one exchange; an unknown message code is counted as ``other``."""
        code = request if request in SPECS else "other"
        self._exchanges.labels(code, outcome).inc()
        self._seconds.labels(code).observe(seconds)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Answer ``/metrics`` over HTTP; give the port (0 takes a free one).

        Raises:
            ConfigurationError: the address is taken or does not exist.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as err:
            raise ConfigurationError(
                f"Metrics cannot listen on {host}:{port} ({type(err).__name__}).",
                "Change host or port in [metrics], or stop what uses it.",
            ) from err
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
