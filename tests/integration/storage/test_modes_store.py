"""Switches of mode on both databases."""

from __future__ import annotations

from datetime import timedelta

from connector.domain.ids import InstitutionId
from connector.domain.library import Mode
from connector.ports.modes import ModeSwitch
from connector.storage.store import Store
from tests.support.store import TickingClock

A, B = InstitutionId("A"), InstitutionId("B")


def put(
    store: Store, clock: TickingClock, code: InstitutionId, mode: Mode | None, hours: float = 0
) -> ModeSwitch:
    now = clock()
    until = now + timedelta(hours=hours) if hours else None
    switch = ModeSwitch(code, mode, now, until, "cli:li", "考试周")
    store.modes.record_switch(switch)
    return switch


def test_what_is_in_force_is_the_latest_that_has_not_run_out(
    store: Store, clock: TickingClock
) -> None:
    put(store, clock, A, Mode.OBSERVE)
    enforce = put(store, clock, A, Mode.ENFORCE)
    other = put(store, clock, B, Mode.BYPASS, hours=1)
    put(store, clock, A, Mode.OBSERVE, hours=0.5)
    bypass = put(store, clock, A, Mode.BYPASS, hours=2)
    clock.advance(minutes=31)
    assert store.modes.list_in_force(clock()) == (bypass, other, enforce)
    clock.advance(hours=3)
    assert store.modes.list_in_force(clock()) == (enforce,)
    settings = put(store, clock, A, None)
    assert store.modes.list_in_force(clock()) == (settings,)


def test_every_switch_stays_and_is_audited_without_its_words(
    store: Store, clock: TickingClock
) -> None:
    put(store, clock, A, Mode.ENFORCE)
    last = put(store, clock, A, Mode.BYPASS, hours=2)
    put(store, clock, B, None)
    assert len(store.modes.list_switches()) == 3
    assert store.modes.list_switches(A, limit=1) == (last,)
    rows = store.database.fetch(
        "SELECT actor, subject, detail FROM audit WHERE action = 'library.mode_switched' "
        "ORDER BY seq",
        (),
    )
    assert [(row[0], row[1]) for row in rows] == [("cli:li", code) for code in (A, A, B)]
    assert all("考试周" not in str(row[2]) for row in rows)
