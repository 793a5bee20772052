"""The circuit breaker, with a clock of the test's own."""

from __future__ import annotations

import pytest

from adapters.sip2.breaker import CircuitBreaker


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(
        failures=3, open_s=2, max_open_s=10, clock=lambda: clock[0], jitter=lambda _low, high: high
    )


def test_it_opens_after_so_many_failures_in_a_row(breaker):
    assert [breaker.fail(), breaker.fail()] == [False, False]
    breaker.succeed()
    assert [breaker.fail(), breaker.fail(), breaker.fail()] == [False, False, True]
    assert breaker.state == "open"
    assert breaker.admit().wait_s == 2


def test_what_fails_while_it_is_open_changes_nothing(breaker, clock):
    for _ in range(10):
        breaker.fail()
    clock[0] += 2
    assert breaker.state == "half_open"


def test_each_probe_that_fails_doubles_the_time_up_to_the_longest(breaker, clock):
    for _ in range(3):
        breaker.fail()
    waits = []
    for _ in range(4):
        wait_s = breaker.admit().wait_s
        waits.append(wait_s)
        clock[0] += wait_s
        assert breaker.admit().is_probe
        assert breaker.fail() is True
    assert waits == [2, 4, 8, 10]


def test_success_after_a_probe_forgets_how_often_it_was_open(breaker, clock):
    for _ in range(3):
        breaker.fail()
    clock[0] += 2
    breaker.admit()
    breaker.fail()
    clock[0] += 4
    breaker.admit()
    assert breaker.succeed() is True
    assert breaker.succeed() is False
    assert breaker.state == "closed"
    for _ in range(3):
        breaker.fail()
    assert breaker.admit().wait_s == 2


def test_reaching_it_closes_the_circuit_but_does_not_forget(breaker, clock):
    for _ in range(3):
        breaker.fail()
    clock[0] += 2
    breaker.admit()
    assert breaker.reach() is True
    assert breaker.reach() is False
    assert breaker.admit() == (None, False, False)
    for _ in range(3):
        breaker.fail()
    assert breaker.admit().wait_s == 4


def test_reaching_it_forgets_no_failure_of_a_closed_circuit(breaker):
    breaker.fail()
    breaker.fail()
    breaker.reach()
    assert breaker.fail() is True


def test_one_probe_at_a_time_and_a_released_one_is_followed_by_another(breaker, clock):
    for _ in range(3):
        breaker.fail()
    clock[0] += 2
    assert breaker.admit().is_probe
    assert breaker.admit().wait_s is not None
    breaker.release()
    assert breaker.admit().is_probe


def test_a_late_success_of_others_does_not_close_it(breaker):
    for _ in range(3):
        breaker.fail()
    breaker.succeed()
    assert breaker.state == "open"


def test_a_refused_login_opens_it_at_once(breaker, clock):
    breaker.refuse_login(300)
    assert breaker.admit() == (300, False, True)
    clock[0] += 300
    assert breaker.admit().is_probe
    breaker.succeed()
    assert breaker.admit().login_refused is False


def test_the_time_is_jittered_downwards():
    seen = []
    breaker = CircuitBreaker(
        failures=1,
        open_s=8,
        max_open_s=8,
        clock=lambda: 0.0,
        jitter=lambda low, high: seen.append((low, high)) or low,
    )
    breaker.fail()
    assert seen == [(6, 8)]
    assert breaker.admit().wait_s == 6
