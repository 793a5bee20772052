"""Looking at the database: remembered for a while, and never waited for."""

from __future__ import annotations

import threading

import pytest

from connector.domain.ids import InstitutionId
from connector.errors import StorageUnavailable
from connector.ports.operations import OpenCount, StoreState
from connector.services.health import StoreProbe

GOOD = StoreState(is_current=True, open=(OpenCount(InstitutionId("A"), "loan", "asked", 1),))


class Scripted:
    def __init__(self) -> None:
        self.looks = 0
        self.gate = threading.Event()
        self.gate.set()
        self.raises: Exception | None = None

    def read_state(self) -> StoreState:
        self.looks += 1
        assert self.gate.wait(30)
        if self.raises is not None:
            raise self.raises
        return GOOD


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database() -> Scripted:
    return Scripted()


def test_a_look_is_good_for_a_while(database: Scripted) -> None:
    time = Time()
    probe = StoreProbe(database, monotonic=time)
    assert probe.look(10) == GOOD
    time.now += 10
    assert probe.look(10) == GOOD
    assert database.looks == 1
    assert probe.look(2) == GOOD
    assert database.looks == 2


@pytest.mark.parametrize("error", [StorageUnavailable("gone"), ZeroDivisionError()])
def test_a_database_that_fails_is_away_and_comes_back(database: Scripted, error) -> None:
    time = Time()
    probe = StoreProbe(database, monotonic=time)
    database.raises = error
    assert probe.look(10) is None
    assert probe.look(10) is None
    assert database.looks == 1  # nor is it asked again and again while it is away
    database.raises = None
    time.now += 11
    assert probe.look(10) == GOOD


def test_a_database_that_hangs_keeps_nobody_waiting_and_is_asked_once(database: Scripted) -> None:
    probe = StoreProbe(database, patience_s=0.05)
    database.gate.clear()
    assert probe.look(10) is None
    assert probe.look(10) is None
    assert database.looks == 1
    database.gate.set()
    probe._running.join(10)
    assert probe.look(10) == GOOD
