"""Repeats and pauses of many requests to one ILS, without sleeping."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from connector.errors import AdapterError, AdapterUnavailable, OutcomeUnknown, UnexpectedResponse
from connector.services.pacing import Pacing

AWAY = AdapterUnavailable("fake", "FD", "down")
LIMITED = AdapterUnavailable("fake", "FD", "429", retry_after_s=7.0)
SERVER = UnexpectedResponse("fake", "FD", "POST /patrons 503")
SHAPE = UnexpectedResponse("fake", "FD", "GET /patrons/15031 200")
UNKNOWN = OutcomeUnknown("fake", "FD")


class Naps:
    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def failing(*errors: AdapterError) -> Callable[[], str]:
    """Return a call that fails so, one after the other, and then answers."""
    left = iter(errors)

    def call() -> str:
        err = next(left, None)
        if err is not None:
            raise err
        return "done"

    return call


def pacing(naps: Naps) -> Pacing:
    return Pacing(sleep=naps, jitter=lambda: 1.0)


@pytest.mark.parametrize("error", [AWAY, SERVER])
def test_what_was_not_done_is_repeated_each_time_later(error):
    naps = Naps()
    assert pacing(naps).ask(failing(error, error, error), may_repeat=lambda: True) == "done"
    assert naps.taken == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("error", [AWAY, SERVER])
def test_repeats_end(error):
    naps = Naps()
    with pytest.raises(AdapterError):
        pacing(naps).ask(failing(*[error] * 4), may_repeat=lambda: True)
    assert len(naps.taken) == 3


@pytest.mark.parametrize("error", [SHAPE, UNKNOWN])
def test_what_may_have_been_done_is_not_repeated(error):
    naps = Naps()
    with pytest.raises(type(error)):
        pacing(naps).ask(failing(error), may_repeat=lambda: True)
    assert naps.taken == []


def test_a_question_without_answer_is_asked_again():
    naps = Naps()
    asked = pacing(naps).ask(failing(UNKNOWN), may_repeat=lambda: True, is_question=True)
    assert (asked, naps.taken) == ("done", [0.5])


def test_nothing_is_repeated_against_the_callers_will():
    naps = Naps()
    with pytest.raises(AdapterUnavailable):
        pacing(naps).ask(failing(AWAY), may_repeat=lambda: False)
    assert len(naps.taken) == 1


def test_the_ils_says_how_long_to_wait():
    naps = Naps()
    assert pacing(naps).ask(failing(*[LIMITED] * 6), may_repeat=lambda: True) == "done"
    assert naps.taken == [7.5] * 6


def test_an_ils_that_wants_an_hour_is_away():
    naps = Naps()
    error = AdapterUnavailable("fake", "FD", "429", retry_after_s=3600.0)
    with pytest.raises(AdapterUnavailable):
        pacing(naps).ask(failing(error), may_repeat=lambda: True)
    assert naps.taken == []


def test_workers_that_met_the_same_refusal_pause_together():
    met = threading.Barrier(4)
    naps = Naps()
    gate = pacing(naps)

    def ask() -> str:
        first = [True]

        def call() -> str:
            if first.pop() if first else False:
                met.wait(10)
                raise LIMITED
            return "done"

        return gate.ask(call, may_repeat=lambda: True)

    with ThreadPoolExecutor(4) as pool:
        assert [f.result(10) for f in [pool.submit(ask) for _ in range(4)]] == ["done"] * 4
    assert naps.taken == [7.5]


def test_a_stopped_run_neither_waits_nor_repeats():
    gate = Pacing()
    gate.stop()
    with pytest.raises(AdapterUnavailable):
        gate.ask(failing(LIMITED), may_repeat=lambda: True)


def test_stopping_ends_a_pause_that_has_begun():
    gate = Pacing()
    began = threading.Event()

    def call() -> str:
        began.set()
        raise LIMITED

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gate.ask, call, may_repeat=lambda: True)
        assert began.wait(5)
        gate.stop()
        with pytest.raises(AdapterUnavailable):
            asked.result(5)
