"""What operators see of a gateway at work: figures, the log line of each exchange, the database."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import structlog
from prometheus_client import generate_latest

import connector.log
from connector.cli.status_page import StoreCollector
from connector.domain.ids import IlsPatronId
from connector.domain.patron import Fee
from connector.services.health import StoreProbe
from connector.testing.faults import Fault, FaultKind
from tests.support.world import Kiosk, World

CODE = "KOHA-A"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    connector.log.configure(stream=stream)
    yield stream
    structlog.reset_defaults()


def canonical(stream: io.StringIO, request: str) -> dict[str, object]:
    """Return the last line of an exchange with this request."""
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [
        line
        for line in found
        if line["event"] == "sip2.exchange_done" and line["request"] == request
    ][-1]


def figures(world: World) -> str:
    return generate_latest(world.app.metrics.registry).decode()


def test_policy_refusals_are_counted_by_library_and_reason(world: World) -> None:
    world.add_pupil("S1")
    world.add_items(CODE, *(f"B{n}" for n in range(9)))
    kiosk = world.kiosk()
    assert [kiosk.checkout("S1", f"B{n}").fixed["ok"] for n in range(9)] == ["1"] * 8 + ["0"]
    text = figures(world)
    line = 'onecard_policy_refusals_total{library="KOHA-A",mode="enforced",reason="item_limit"} 1.0'
    assert line in text
    assert 'onecard_sip2_exchanges_total{outcome="refused",request="11"} 1.0' in text
    assert 'onecard_ils_seconds_count{library="KOHA-A",operation="checkout"} 8.0' in text
    assert 'onecard_ils_up{library="KOHA-A"} 1.0' in text
    assert "onecard_sip2_connections 1.0" in text


def test_would_be_refusals_of_observe_mode_are_told_apart(make_world) -> None:
    world: World = make_world(modes={CODE: "observe"})
    world.add_pupil("S1")
    world.add_items(CODE, *(f"B{n}" for n in range(9)))
    kiosk = world.kiosk()
    assert [kiosk.checkout("S1", f"B{n}").fixed["ok"] for n in range(9)] == ["1"] * 9
    line = 'onecard_policy_refusals_total{library="KOHA-A",mode="would",reason="item_limit"} 1.0'
    assert line in figures(world)
    assert 'mode="enforced"' not in figures(world)


def test_wrong_pins_and_refused_logins_are_counted(world: World) -> None:
    world.add_pupil("S1", pin="2468")
    world.add_items(CODE, "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1", pin="9999").fixed["ok"] == "0"
    assert kiosk.client.login("kiosk-KOHA-A", "wrong") is False
    text = figures(world)
    assert 'onecard_wrong_pins_total{library="KOHA-A"} 1.0' in text
    assert 'onecard_sip2_exchanges_total{outcome="refused",request="93"} 1.0' in text


def test_an_ils_that_goes_and_comes_back_is_seen(world: World) -> None:
    world.add_pupil("S1")
    kiosk = world.kiosk()
    world.ils(CODE).set_down()
    kiosk.information("S1")
    assert 'onecard_ils_up{library="KOHA-A"} 0.0' in figures(world)
    assert 'onecard_ils_failures_total{library="KOHA-A",outcome="unavailable"}' in figures(world)
    world.ils(CODE).set_down(down=False)
    kiosk.information("S1")
    assert 'onecard_ils_up{library="KOHA-A"} 1.0' in figures(world)


def test_what_stands_open_is_counted_and_a_lost_database_is_seen(world: World) -> None:
    world.add_pupil("S1")
    world.add_items(CODE, "B1")
    ils = world.ils(CODE)
    ils.fail("checkout", Fault(FaultKind.NO_ANSWER))
    ils.fail("fetch_item_loan", *[Fault(FaultKind.NOT_SENT)] * 5)
    assert world.kiosk().checkout("S1", "B1").fixed["ok"] == "0"
    seconds = iter(range(0, 10**9, 1000))
    probe = StoreProbe(world.app.store.operations, monotonic=lambda: next(seconds))
    world.app.metrics.registry.register(StoreCollector(probe))
    text = figures(world)
    assert "onecard_store_up 1.0" in text
    assert 'onecard_unknown_outcomes{library="KOHA-A"} 1.0' in text
    with world.app.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE alembic_version RENAME TO gone")
    text = figures(world)
    assert "onecard_store_up 0.0" in text
    assert "onecard_unknown_outcomes{" not in text
    with world.app.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO alembic_version")
    assert 'onecard_unknown_outcomes{library="KOHA-A"} 1.0' in figures(world)


def test_a_revision_of_yesterday_is_not_ready(world: World) -> None:
    assert world.app.store.operations.read_state().is_current
    with world.app.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    assert not world.app.store.operations.read_state().is_current


def test_the_line_of_an_exchange_tells_all_but_values(world: World, lines: io.StringIO) -> None:
    world.add_pupil("S1", pin="2468")
    world.add_items(CODE, "B1")
    kiosk: Kiosk = world.kiosk()
    kiosk.checkout("S1", "B1")
    line = canonical(lines, "11")
    assert (line["outcome"], line["terminal"], line["institution"]) == (
        "accepted",
        "kiosk-KOHA-A",
        CODE,
    )
    assert 0 < line["ils_ms"] <= line["duration_ms"]
    assert not {"reason", "checksum", "repaired"} & set(line)
    kiosk.checkout("S1", "B1", pin="9999")
    assert canonical(lines, "11")["reason"] == "pin_wrong"
    kiosk.client.exchange_raw(b"17AO|ABB1|")
    assert canonical(lines, "17")["repaired"] == "no_fixed_part"
    kiosk.client.exchange_raw(b"9900802.00AY1AZ0000")
    line = canonical(lines, "99")
    assert (line["outcome"], line["checksum"]) == ("asked_again", "bad")
    kiosk.client.exchange_raw(b"97")
    assert canonical(lines, "97")["outcome"] == "resent"
    assert "peer" not in canonical(lines, "11")
    assert kiosk.client.login("kiosk-KOHA-A", "wrong") is False
    line = canonical(lines, "93")
    assert (line["outcome"], line.get("terminal"), line["peer"]) == ("refused", None, "127.0.0.1")
    for value in ("S1", "B1", "2468", "9999", "0000", "wrong"):
        assert f'"{value}' not in lines.getvalue()


def test_a_library_whose_ils_hangs_keeps_no_other_waiting(make_world) -> None:
    """Every thread of the one is taken; the other's kiosks are answered all the same."""
    world: World = make_world(sip2="workers = 2\nmax_connections_per_terminal = 20")
    gate = threading.Event()
    for number in range(6):
        world.add_pupil(f"S{number}", at=(CODE, "FOLIO-B"))
        world.add_items(CODE, f"A{number}")
        world.add_items("FOLIO-B", f"B{number}")
    world.ils(CODE).script.set_always("*", Fault(gate=gate))
    hung = [world.kiosk() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(one.checkout, f"S{n}", f"A{n}") for n, one in enumerate(hung)]
        other = world.kiosk("FOLIO-B")
        for number in range(6):
            assert other.item(f"B{number}").fixed["circulation_status"] == "03"
            assert other.checkin(f"B{number}").fixed["ok"] == "1"
        assert not any(one.done() for one in waiting)
        world.ils(CODE).script.set_always("*", None)
        gate.set()
        assert [one.result().fixed["ok"] for one in waiting] == ["1"] * 6


def test_returns_and_payments_that_wait_are_counted(world: World) -> None:
    card = IlsPatronId("S1")
    world.add_pupil("S1")
    world.add_items(CODE, "B1")
    ils = world.ils(CODE)
    ils.stock.fees["1"] = (card, Fee("1", Decimal("2.50")))
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.fail("pay_fee", Fault(FaultKind.NO_ANSWER))
    paid = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}
    kiosk.ask("37", paid, ("AA", "S1"), ("BV", "2.50"), ("BK", "t1"))
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.app.metrics.registry.register(StoreCollector(StoreProbe(world.app.store.operations)))
    text = figures(world)
    assert 'onecard_payments_unsettled{library="KOHA-A",state="unknown"} 1.0' in text
    assert 'onecard_deferred{library="KOHA-A",state="waiting"} 1.0' in text
