"""Which mode holds (decision 18): switches, their ends, and a database that is down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import InstitutionId
from connector.domain.library import Library, Mode
from connector.errors import StorageUnavailable
from connector.ports.modes import ModeSwitch
from connector.services import modes
from connector.services.modes import LibraryModes

A = InstitutionId("A")
START = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


class Switches:
    """The store of a test: a list, which may be out of reach."""

    def __init__(self) -> None:
        self.rows: list[ModeSwitch] = []
        self.is_down = False
        self.reads = 0

    def list_switches(self, institution=None, *, limit=None) -> tuple[ModeSwitch, ...]:
        return tuple(reversed(self.rows))

    def list_in_force(self, now: datetime) -> tuple[ModeSwitch, ...]:
        self.reads += 1
        if self.is_down:
            raise StorageUnavailable("down")
        return tuple(switch for switch in reversed(self.rows) if switch.holds(now))

    def record_switch(self, switch: ModeSwitch) -> None:
        self.rows.append(switch)


class Scene:
    def __init__(self) -> None:
        self.now = START
        self.store = Switches()
        zone = ZoneInfo("Asia/Shanghai")
        library = Library(A, "A", zone, mode=Mode.OBSERVE)
        self.libraries = LibraryModes({A: library}, self.store, lambda: self.now)

    def switch(self, mode: Mode | None, hours: float | None = None) -> None:
        until = None if hours is None else self.now + timedelta(hours=hours)
        self.libraries.switch(A, mode, reason="test", until=until, actor="test")

    @property
    def mode(self) -> Mode:
        return self.libraries[A].mode

    def pass_time(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        ahead = modes.time.monotonic() + seconds
        monkeypatch.setattr(modes.time, "monotonic", lambda: ahead)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_without_a_switch_the_settings_hold(scene: Scene) -> None:
    assert scene.mode is Mode.OBSERVE
    assert scene.libraries.describe(A).switch is None


def test_a_switch_wins_over_the_settings_until_it_is_switched_back(scene: Scene) -> None:
    scene.switch(Mode.ENFORCE)
    assert scene.mode is Mode.ENFORCE
    scene.now += timedelta(days=400)
    assert scene.mode is Mode.ENFORCE
    scene.switch(None)
    assert scene.mode is Mode.OBSERVE


def test_a_switch_with_an_end_falls_back_to_what_held_before(scene: Scene) -> None:
    scene.switch(Mode.ENFORCE)
    scene.switch(Mode.BYPASS, hours=2)
    assert scene.mode is Mode.BYPASS
    described = scene.libraries.describe(A)
    assert (described.mode, described.then) == (Mode.BYPASS, Mode.ENFORCE)
    scene.now += timedelta(hours=1, minutes=59)
    assert scene.mode is Mode.BYPASS
    scene.now += timedelta(minutes=1)
    assert scene.mode is Mode.ENFORCE, "by itself, without a new read"


def test_a_shorter_switch_falls_back_to_a_longer_one(scene: Scene) -> None:
    scene.switch(Mode.BYPASS, hours=3)
    scene.switch(Mode.ENFORCE, hours=1)
    scene.now += timedelta(hours=2)
    assert scene.mode is Mode.BYPASS
    scene.now += timedelta(hours=2)
    assert scene.mode is Mode.OBSERVE


def test_what_was_last_known_holds_on_while_the_database_is_down(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.switch(Mode.BYPASS, hours=2)
    scene.store.is_down = True
    scene.pass_time(monkeypatch, 60)
    assert scene.mode is Mode.BYPASS
    reads = scene.store.reads
    assert [scene.mode for _ in range(20)] == [Mode.BYPASS] * 20
    assert scene.store.reads == reads, "a database that is down is not asked at every exchange"
    scene.now += timedelta(hours=3)
    assert scene.mode is Mode.OBSERVE, "it still runs out"


def test_another_process_is_followed_within_two_seconds(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.mode is Mode.OBSERVE
    scene.store.record_switch(ModeSwitch(A, Mode.ENFORCE, scene.now, None, "other", ""))
    reads = scene.store.reads
    assert [scene.mode for _ in range(20)] == [Mode.OBSERVE] * 20
    assert scene.store.reads == reads, "not at every exchange"
    scene.pass_time(monkeypatch, 2.1)
    assert scene.mode is Mode.ENFORCE


def test_an_event_loop_never_waits_for_the_database(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.pass_time(monkeypatch, 60)
    reads = scene.store.reads

    async def look() -> Mode:
        return scene.mode

    assert asyncio.run(look()) is Mode.OBSERVE
    assert scene.store.reads == reads


def test_everything_but_the_mode_stays(scene: Scene) -> None:
    before = scene.libraries[A]
    scene.switch(Mode.ENFORCE)
    after = scene.libraries[A]
    assert (after.name, after.zone, after.code) == (before.name, before.zone, before.code)
    assert len(scene.libraries) == 1
    assert list(scene.libraries) == [A]
