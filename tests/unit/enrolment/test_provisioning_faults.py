"""Whatever goes wrong with the ILS, in whatever order: one account each, and the PIN that was given."""

import contextlib
import random
from dataclasses import replace

import pytest

from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.patron import StandingState
from connector.services.provisioning import ActivationOutcome
from connector.testing.fake_ils import Fault, FaultKind
from connector.testing.faults import Script
from tests.support.open_cards import seed_approved

UPSERT = (
    FaultKind.NONE,
    FaultKind.NOT_SENT,
    FaultKind.NO_ANSWER,
    FaultKind.DONE_NO_ANSWER,
    FaultKind.DONE_LATER_NO_ANSWER,
    FaultKind.UNEXPECTED,
)
QUESTION = (FaultKind.NONE, FaultKind.NONE, FaultKind.NOT_SENT, FaultKind.NO_ANSWER)


class Killed(BaseException):
    """Stands for SIGKILL."""


def script_faults(world, dice):
    """Let the next requests fail at random, some with a code that is worth a repeat."""
    world.ils.script = Script()
    for operation, kinds in (
        ("upsert_patron", UPSERT),
        ("find_patron", QUESTION),
        ("verify_pin", QUESTION),
    ):
        faults = [
            Fault(dice.choice(kinds), code=dice.choice(("ils_says_no", "POST 500")))
            for _ in range(12)
        ]
        world.ils.fail(operation, *faults)


@pytest.mark.parametrize("seed", range(25))
def test_faults_and_kills_in_any_order(world, seed):
    dice = random.Random(seed)
    applications = seed_approved(world.store, world.library, 5, now=world.time[0])
    withdrawn = applications[dice.randrange(5)]
    given = {}

    def write(result):
        if dice.random() < 0.1:
            raise Killed
        if result.outcome is ActivationOutcome.ACTIVATED:
            given[result.application.patron_id] = result.pin

    def run():
        with contextlib.suppress(Killed):
            world.provisioning.activate(applications, actor="x", on_result=write)
        world.ils.script = Script()
        world.pass_time(minutes=3)
        world.ils.land()

    world.provisioning = replace(world.provisioning, workers=dice.randint(1, 4))
    for round_ in range(4):
        script_faults(world, dice)
        run()
        if round_ == dice.randrange(4):
            world.store.enrolment.withdraw_consent(
                withdrawn.patron_id, ConsentScope.CARD, actor="x", now=world.time[0]
            )
    dice.random = lambda: 1.0
    run()

    accounts = world.ils.stock.patrons.values()
    assert len({account.external_id for account in accounts}) == len(accounts)
    for application in applications:
        consents = world.store.enrolment.list_consents(application.patron_id)
        state = world.state_of(application)
        if not any(consent.holds for consent in consents) and state is not ApplicationState.ACTIVE:
            standing = world.store.people.find_standing(application.patron_id, world.library)
            assert standing.state is not StandingState.ACTIVE
            continue
        assert state is ApplicationState.ACTIVE
        (account,) = (a for a in accounts if a.external_id == application.patron_id)
        # Without a PIN it says so, and the desk sets one: nobody could confirm it.
        assert given[application.patron_id] in {account.pin, ""}
    assert sum(bool(pin) for pin in given.values()) >= 3
