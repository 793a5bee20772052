"""The three pages: what they say, to whom, and what they bear."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Self

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from connector.cli.status_page import Readiness, StoreCollector, serve_status
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError, StorageUnavailable
from connector.ports.operations import OpenCount, StoreState
from connector.services.health import StoreProbe
from connector.sip2.metrics import Sip2Metrics

A = InstitutionId("KOHA-A")
OPEN = (
    OpenCount(A, "loan", "asked", 2),
    OpenCount(A, "loan", "unknown", 1),
    OpenCount(A, "deferred", "waiting", 5),
    OpenCount(A, "deferred", "conflict", 1),
    OpenCount(A, "payment", "unknown", 3),
)


class Scripted:
    def __init__(self) -> None:
        self.state: StoreState | None = StoreState(is_current=True, open=OPEN)

    def read_state(self) -> StoreState:
        if self.state is None:
            raise StorageUnavailable("gone")
        return self.state


class Pages:
    """A running page server and what stands behind it."""

    def __init__(self) -> None:
        self.database = Scripted()
        self.metrics = Sip2Metrics()
        seconds = iter(range(0, 10**9, 1000))  # every look is a new one
        self.probe = StoreProbe(self.database, monotonic=lambda: next(seconds))
        self.readiness = Readiness(self.probe, lambda: self.metrics.ils_up, listening=True)
        self.metrics.registry.register(StoreCollector(self.probe))
        self._served = serve_status("127.0.0.1", 0, self.metrics.registry, self.readiness)

    def __enter__(self) -> Self:
        self.port = self._served.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._served.__exit__(*exc)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self) -> tuple[int, dict]:
        status, body = self.get("/readyz")
        return status, json.loads(body)


@pytest.fixture
def pages():
    with Pages() as made:
        yield made


def test_ready_when_listening_and_the_database_answers(pages: Pages) -> None:
    status, document = pages.ready()
    assert status == 200
    assert document == {
        "ready": True,
        "checks": {"listening": "ok", "store": "ok", "draining": False},
        "ils": {},
    }


def test_an_ils_that_is_away_is_named_and_makes_nothing_unready(pages: Pages) -> None:
    pages.metrics.note_ils(A, "ping", "unavailable", 0.1)
    status, document = pages.ready()
    assert (status, document["ils"]) == (200, {"KOHA-A": "away"})


def test_not_ready_before_it_listens_while_it_drains_and_without_its_database(
    pages: Pages,
) -> None:
    pages.readiness.listening = False
    assert pages.ready()[0] == 503
    pages.readiness.listening = True
    pages.readiness.draining = True
    status, document = pages.ready()
    assert (status, document["checks"]["draining"]) == (503, True)
    assert pages.get("/healthz") == (200, "ok\n")
    pages.readiness.draining = False
    pages.database.state = StoreState(is_current=False)
    status, document = pages.ready()
    assert (status, document["checks"]["store"]) == (503, "wrong_revision")
    pages.database.state = None
    status, document = pages.ready()
    assert (status, document["checks"]["store"]) == (503, "away")
    assert pages.get("/healthz") == (200, "ok\n")


def test_a_process_without_kiosks_is_ready_without_listening(pages: Pages) -> None:
    pages.readiness.listening = None
    status, document = pages.ready()
    assert (status, document["checks"]["listening"]) == (200, "off")


def test_what_stands_open_is_shown_by_library(pages: Pages) -> None:
    status, text = pages.get("/metrics")
    assert status == 200
    for line in (
        "onecard_store_up 1.0",
        'onecard_permits_open{library="KOHA-A"} 2.0',
        'onecard_unknown_outcomes{library="KOHA-A"} 1.0',
        'onecard_deferred{library="KOHA-A",state="waiting"} 5.0',
        'onecard_deferred{library="KOHA-A",state="conflict"} 1.0',
        'onecard_payments_unsettled{library="KOHA-A",state="unknown"} 3.0',
    ):
        assert line in text


def test_nothing_open_is_zero_and_not_absent(pages: Pages) -> None:
    registry = CollectorRegistry()
    pages.database.state = StoreState(is_current=True)
    registry.register(StoreCollector(pages.probe, (InstitutionId("KOHA-A"),)))
    text = generate_latest(registry).decode()
    for line in (
        'onecard_permits_open{library="KOHA-A"} 0.0',
        'onecard_unknown_outcomes{library="KOHA-A"} 0.0',
        'onecard_deferred{library="KOHA-A",state="conflict"} 0.0',
        'onecard_payments_unsettled{library="KOHA-A",state="unknown"} 0.0',
    ):
        assert line in text


def test_without_its_database_the_figures_are_absent_and_the_page_is_not(pages: Pages) -> None:
    pages.metrics.observe("99", "answered", 0.01)
    pages.database.state = None
    status, text = pages.get("/metrics")
    assert status == 200
    assert "onecard_store_up 0.0" in text
    assert "onecard_permits_open" not in text
    assert 'onecard_sip2_exchanges_total{outcome="answered",request="99"} 1.0' in text


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/healthz%00"])
def test_there_are_three_pages(pages: Pages, path: str) -> None:
    assert pages.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_reading_is_all_that_can_be_done(pages: Pages, method: str) -> None:
    status, body = pages.get("/healthz", method)
    assert status == 405
    assert method.lower() not in body


def test_head_has_no_body(pages: Pages) -> None:
    assert pages.get("/readyz", "HEAD") == (200, "")


@pytest.mark.parametrize(
    "sent", [b"\x00\xff\r\n\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET\r\n"]
)
def test_garbage_is_answered_or_closed_and_never_repeated(pages: Pages, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", pages.port), timeout=10) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := raw.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    assert b"xxx" not in answer
    assert pages.get("/healthz")[0] == 200


def test_who_holds_connections_open_keeps_the_others_out_for_seconds_only(
    pages: Pages, monkeypatch
) -> None:
    monkeypatch.setattr("connector.cli.status_page._REQUEST_S", 0.2)
    idle = [socket.create_connection(("127.0.0.1", pages.port), timeout=10) for _ in range(12)]
    try:
        for sock in idle:
            assert sock.recv(1) == b""  # closed at once, or after its time
        assert pages.get("/healthz")[0] == 200
    finally:
        for sock in idle:
            sock.close()


def test_address_that_is_taken_is_a_matter_of_settings(pages: Pages) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=str(port)),
            serve_status("127.0.0.1", port, pages.metrics.registry, pages.readiness),
        ):
            pass


def test_port_is_free_again_afterwards(pages: Pages) -> None:
    with serve_status("127.0.0.1", 0, pages.metrics.registry, pages.readiness) as port:
        pass
    with serve_status("127.0.0.1", port, pages.metrics.registry, pages.readiness) as again:
        assert again == port
