"""Figures over HTTP: what is counted, and that a kiosk cannot make up series."""

from prometheus_client import generate_latest

from connector.domain.circulation import Reason
from connector.sip2.metrics import Sip2Metrics


def page(metrics):
    return generate_latest(metrics.registry).decode()


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


def test_reasons_operations_and_libraries_are_the_only_labels():
    metrics = Sip2Metrics()
    metrics.note_refusal("KOHA-A", Reason.ITEM_LIMIT, enforced=True)
    metrics.note_refusal("KOHA-A", Reason.ITEM_LIMIT, enforced=False)
    metrics.note_refusal("KOHA-A", "张三 said so", enforced=True)
    metrics.note_ils("KOHA-A", "checkout", "answered", 0.3)
    metrics.note_ils("KOHA-A", "张三", "answered", 0.3)
    metrics.note_wrong_pin("KOHA-A")
    metrics.refuse_connection("address_limit")
    text = page(metrics)
    counted = 'onecard_policy_refusals_total{library="KOHA-A",mode="%s",reason="%s"} 1.0'
    assert counted % ("enforced", "item_limit") in text
    assert counted % ("would", "item_limit") in text
    assert counted % ("enforced", "other") in text
    assert 'onecard_ils_seconds_count{library="KOHA-A",operation="checkout"} 1.0' in text
    assert 'onecard_ils_seconds_count{library="KOHA-A",operation="other"} 1.0' in text
    assert 'onecard_wrong_pins_total{library="KOHA-A"} 1.0' in text
    assert 'onecard_sip2_connections_refused_total{reason="address_limit"} 1.0' in text
    assert "张三" not in text


def test_an_ils_is_up_when_it_answered_last():
    metrics = Sip2Metrics()
    assert "onecard_ils_up{" not in page(metrics)
    for outcome, up in (
        ("answered", "1.0"),
        ("unavailable", "0.0"),
        ("failed", "0.0"),  # a bug of the adapter tells nothing
        ("answered", "1.0"),
        ("unknown", "0.0"),
    ):
        metrics.note_ils("KOHA-A", "ping", outcome, 0.1)
        assert f'onecard_ils_up{{library="KOHA-A"}} {up}' in page(metrics)
    assert 'onecard_ils_failures_total{library="KOHA-A",outcome="unknown"} 1.0' in page(metrics)


def test_connections_of_every_listener_are_added_up():
    metrics = Sip2Metrics()
    metrics.count_connections_of(lambda: 2)
    metrics.count_connections_of(lambda: 3)
    assert "onecard_sip2_connections 5.0" in page(metrics)
