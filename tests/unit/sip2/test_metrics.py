"""Figures over HTTP: what is counted, and that a kiosk cannot make up series."""

import socket
from urllib.request import urlopen

import pytest

from connector.errors import ConfigurationError
from connector.sip2.metrics import Sip2Metrics


def page(metrics):
    with (
        metrics.served("127.0.0.1", 0) as port,
        urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return answer.read().decode()


def test_exchanges_are_counted_by_request_and_outcome():
    metrics = Sip2Metrics()
    metrics.observe("11", "ok", 0.02)
    metrics.observe("11", "ok", 0.03)
    metrics.observe("11", "refused", 0.01)
    text = page(metrics)
    assert 'onecard_sip2_exchanges_total{outcome="ok",request="11"} 2.0' in text
    assert 'onecard_sip2_exchanges_total{outcome="refused",request="11"} 1.0' in text
    assert 'onecard_sip2_exchange_seconds_count{request="11"} 3.0' in text


def test_unknown_codes_are_counted_together():
    metrics = Sip2Metrics()
    for code in ("ZZ", "张三", "QQ"):
        metrics.observe(code, "silence", 0.0)
    text = page(metrics)
    assert 'onecard_sip2_exchanges_total{outcome="silence",request="other"} 3.0' in text
    assert "张三" not in text


def test_address_that_is_taken_is_a_matter_of_settings():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=str(port)),
            Sip2Metrics().served("127.0.0.1", port),
        ):
            pass


def test_port_is_free_again_afterwards():
    metrics = Sip2Metrics()
    with metrics.served("127.0.0.1", 0) as port:
        pass
    with metrics.served("127.0.0.1", port) as again:
        assert again == port
