"""Going live (decision 18): a mode is switched while kiosks work, and falls back by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector.domain.ids import InstitutionId
from connector.domain.library import Mode
from connector.ports.modes import ModeSwitch
from connector.services import modes as service
from tests.flows.test_store_down import broken
from tests.support.world import World

LIB = InstitutionId("KOHA-A")


def switch(world: World, mode: Mode | None, *, hours: float | None = None) -> None:
    until = None if hours is None else world.clock() + timedelta(hours=hours)
    world.app.libraries.switch(LIB, mode, reason="test", until=until, actor="cli:li")


def lend(world: World, *barcodes: str) -> list[str]:
    kiosk = world.kiosk()
    world.clock.advance(seconds=1)
    return [kiosk.checkout("S1", barcode).fixed["ok"] for barcode in barcodes]


@pytest.fixture
def full(world: World) -> World:
    """A pupil with eight loans, as many as he may have; the kiosk works on."""
    world.patron = world.add_pupil("S1")  # type: ignore[attr-defined]
    world.add_items("KOHA-A", *(f"B{number}" for number in range(1, 12)))
    assert lend(world, *(f"B{number}" for number in range(1, 9))) == ["1"] * 8
    return world


def test_a_bypass_holds_at_once_and_falls_back_by_itself(full: World) -> None:
    assert lend(full, "B9") == ["0"]
    switch(full, Mode.BYPASS, hours=2)
    assert lend(full, "B9") == ["1"]
    full.clock.advance(hours=2)
    assert lend(full, "B10") == ["0"]


def test_what_was_lent_in_a_bypass_is_taken_over_at_the_next_exchange(full: World) -> None:
    switch(full, Mode.BYPASS)
    assert lend(full, "B9", "B10") == ["1", "1"]
    ledger = full.app.store.ledger
    patron = full.patron  # type: ignore[attr-defined]
    assert len(ledger.list_unclosed(patron)) == 8
    full.ils("KOHA-A").desk_checkin("B1")
    switch(full, Mode.ENFORCE)
    full.clock.advance(minutes=1)
    assert lend(full, "B11") == ["0"]
    barcodes = {loan.item.barcode for loan in ledger.list_unclosed(patron)}
    assert barcodes == {f"B{number}" for number in range(2, 11)}


def test_observing_counts_and_refuses_nothing(full: World) -> None:
    switch(full, Mode.OBSERVE)
    assert lend(full, "B9") == ["1"]
    events = [row["verb"] for row in full.rows("event")]
    assert events.count("would_refuse") == 1
    switch(full, None)
    assert lend(full, "B10") == ["0"], "back to the settings"


def test_another_process_switches_and_the_kiosks_follow(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.app.store.modes.record_switch(
        ModeSwitch(LIB, Mode.BYPASS, full.clock(), None, "cli:li", "elsewhere")
    )
    real = service.time.monotonic
    monkeypatch.setattr(service.time, "monotonic", lambda: real() + 2.1)
    assert lend(full, "B9") == ["1"]


def test_other_libraries_are_not_touched(full: World) -> None:
    switch(full, Mode.BYPASS)
    assert full.app.libraries[InstitutionId("FOLIO-B")].mode is Mode.ENFORCE


def test_what_was_switched_holds_on_while_the_database_is_down(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(full, Mode.BYPASS, hours=2)
    real = service.time.monotonic
    monkeypatch.setattr(service.time, "monotonic", lambda: real() + 60)
    with broken(full, "mode_switch", "identifier"):
        assert lend(full, "B9") == ["1"]
    assert full.app.libraries[LIB].mode is Mode.BYPASS
