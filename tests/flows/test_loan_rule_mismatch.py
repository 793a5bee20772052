"""Scenario 31: an ILS that lends by other rules than the policy is found, and its dates mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from connector.cli.serve import _check_loan_rules
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.ports.ils import API_CAPABILITIES, Capability
from connector.testing.fake_ils import FakeIls, Fault, FaultKind
from tests.support.world import SteppingClock, World

CODE = InstitutionId("A")
TOLD = API_CAPABILITIES - {Capability.SET_DUE_DATE}
SILENT = TOLD - {Capability.LOAN_RULES, Capability.CHANGE_DUE_DATE}


def make(
    make_world: Callable[..., World],
    capabilities: frozenset[Capability],
    choice: str,
    days: int = 21,
) -> World:
    clock = SteppingClock()
    ils = FakeIls("A", capabilities=capabilities, now=clock, loan_days=days)
    world = make_world(adapters={"A": ils}, clock=clock, library=f'rule_mismatch = "{choice}"')
    world.add_pupil("S1", at=("A",))
    world.add_items("A", "B1", "B2")
    return world


@pytest.mark.parametrize(("choice", "starts"), [("warn", True), ("refuse", False)])
def test_s31_rules_that_are_told_are_compared_at_the_start(make_world, choice, starts) -> None:
    world = make(make_world, TOLD, choice)
    report = world.app.loan_rules.check(CODE)
    assert report.is_told
    assert "loan_days" in {mismatch.setting for mismatch in report.mismatches}
    if starts:
        _check_loan_rules(world.app)
    else:
        with pytest.raises(ConfigurationError, match="other rules"):
            _check_loan_rules(world.app)


def test_s31_an_ils_that_tells_nothing_is_known_by_its_due_dates(make_world) -> None:
    world = make(make_world, SILENT, "refuse")
    _check_loan_rules(world.app)
    assert world.kiosk("A").checkout("S1", "B1").fixed["ok"] == "1"
    report = world.app.loan_rules.check(CODE)
    assert (report.is_told, report.loans, report.differing) == (False, 1, 1)
    with pytest.raises(ConfigurationError):
        _check_loan_rules(world.app)
    world.clock.advance(days=31)
    assert world.app.loan_rules.check(CODE).loans == 0


def test_s31_due_dates_are_corrected_where_the_ils_can(make_world) -> None:
    world = make(make_world, TOLD, "correct")
    answer = world.kiosk("A").checkout("S1", "B1")
    assert answer.get("AH")[:8] == "20261221"
    loan = world.ils("A").stock.loans["B1"]
    assert loan.due is not None
    assert loan.due.date() - world.clock.moment.date() == timedelta(days=30)
    assert world.app.loan_rules.check(CODE).differing == 0


def test_s31_a_date_that_cannot_be_corrected_is_told_as_it_is(make_world) -> None:
    world = make(make_world, TOLD, "correct")
    world.ils("A").fail("change_due_date", Fault(FaultKind.NO_ANSWER))
    assert world.kiosk("A").checkout("S1", "B1").get("AH")[:8] == "20261212"
    (row,) = world.rows("loan")
    assert row["due_mismatch"]
    assert world.kiosk("A").checkout("S1", "B2").get("AH")[:8] == "20261221"


def test_s31_an_ils_out_of_reach_does_not_keep_the_others_from_starting(make_world) -> None:
    world = make(make_world, TOLD, "refuse")
    world.ils("A").set_down()
    _check_loan_rules(world.app)
