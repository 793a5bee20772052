"""Three pages over HTTP for operators and their machines: /metrics, /healthz and /readyz.

Nothing here counts or looks by itself. Rules: GET and HEAD only; a handful of requests at a time,
each within seconds, whatever the other side does; codes and numbers only, never a person; the port
has no password, so it belongs on the inner network.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.services.health import StoreProbe

__all__ = ["Readiness", "StoreCollector", "serve_status"]

_METRICS_AGE_S = 10.0
_READY_AGE_S = 2.0
_REQUEST_S = 5.0
_AT_ONCE = 8
_Page = tuple[HTTPStatus, str, bytes]

_FIGURES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("onecard_permits_open", "Checkouts that an ILS has been asked for.", "loan", ("asked",)),
    ("onecard_unknown_outcomes", "Checkouts with an unknown outcome.", "loan", ("unknown",)),
    (
        "onecard_deferred",
        "What happened while an ILS was away and is still to do.",
        "deferred",
        ("waiting", "conflict"),
    ),
    (
        "onecard_payments_unsettled",
        "Payments whose outcome nobody has settled.",
        "payment",
        ("asked", "unknown"),
    ),
)
"""Name, text, kind and states; where there are several states they are a label."""


@dataclass(slots=True)
class Readiness:
    """Whether kiosks may be sent here.

    Attributes:
        listening: every port of the settings is open; None where this process serves no kiosks.
        draining: the process has been told to end.
        ils_up: by library; an ILS that is away makes nothing unready, since returns are still
            taken and every kiosk gets its answer.
    """

    probe: StoreProbe
    ils_up: Callable[[], Mapping[InstitutionId, bool]]
    listening: bool | None = None
    draining: bool = False

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Return whether it is ready, and each check."""
        state = self.probe.look(_READY_AGE_S)
        store = "away" if state is None else "ok" if state.is_current else "wrong_revision"
        checks: dict[str, Any] = {
            "listening": {None: "off", True: "ok", False: "not_yet"}[self.listening],
            "store": store,
            "draining": self.draining,
        }
        is_ready = self.listening is not False and store == "ok" and not self.draining
        ils = {code: "ok" if up else "away" for code, up in sorted(self.ils_up().items())}
        return is_ready, {"ready": is_ready, "checks": checks, "ils": ils}


class StoreCollector(Collector):
    """The figures that only the database knows; absent while it does not answer.

    Args:
        libraries: those that are shown with 0 when nothing is open, so that absent means unknown.
    """

    def __init__(self, probe: StoreProbe, libraries: Collection[InstitutionId] = ()) -> None:
        self._probe = probe
        self._libraries = libraries

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is read when the collector is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what stands open, as of the last seconds."""
        state = self._probe.look(_METRICS_AGE_S)
        yield GaugeMetricFamily(
            "onecard_store_up", "Whether our own database answers.", float(state is not None)
        )
        if state is None:
            return
        counts = {(row.kind, row.institution, row.state): row.count for row in state.open}
        libraries = sorted({*self._libraries, *(row.institution for row in state.open)})
        for name, text, kind, states in _FIGURES:
            labels = ("library", "state")[: min(len(states), 2)]
            family = GaugeMetricFamily(name, text, labels=labels)
            for library in libraries:
                for each in states:
                    count = counts.get((kind, library, each), 0)
                    family.add_metric((library, each)[: len(labels)], count)
            yield family


@contextmanager
def serve_status(
    host: str, port: int, registry: CollectorRegistry, readiness: Readiness
) -> Iterator[int]:
    """Answer the three pages; give the port (0 takes a free one).

    Raises:
        ConfigurationError: the address is taken or does not exist.
    """
    pages: dict[str, Callable[[], _Page]] = {
        "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/healthz": lambda: (HTTPStatus.OK, "text/plain", b"ok\n"),
        "/readyz": lambda: _show_readiness(readiness),
    }
    try:
        server = _Server((host, port), pages)
    except (OSError, OverflowError) as err:
        raise ConfigurationError(
            f"Metrics cannot listen on {host}:{port} ({type(err).__name__}).",
            "Change host or port in [metrics], or stop what uses it.",
        ) from err
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="status", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _show_readiness(readiness: Readiness) -> _Page:
    is_ready, document = readiness.check()
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(document).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Callable[[], _Page]]) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take the request when there is a place, else close: a scraper asks again."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back, however it ends; whoever drips his request is cut off."""
        cut = threading.Timer(_REQUEST_S, _hang_up, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is nobody's business; standard error gets no traceback."""


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout: ClassVar[float] = _REQUEST_S
    server_version = "onecard"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a page."""
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self._answer((HTTPStatus.NOT_FOUND, "text/plain", b"not found\n"))
        else:
            self._answer(page())

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in one line; nothing of the request is repeated."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self._answer((status, "text/plain", status.phrase.lower().encode() + b"\n"))

    def _answer(self, page: _Page) -> None:
        status, kind, body = page
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: machines ask every few seconds."""
