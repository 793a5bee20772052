"""Renewals whose outcome nobody knows: none is eaten, none is made twice (decision 7, s12, s20)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.loan import SOMEBODY_ELSE, IlsLoan, LoanState
from connector.ports.ils import API_CAPABILITIES, Capability
from connector.ports.tasks import TaskKind
from connector.services.settlement import SettlementReport
from connector.testing.fake_ils import SIP2_ONLY, FakeIls
from connector.testing.faults import Fault, FaultKind
from tests.support.world import SteppingClock, World

CODES = ["KOHA-A", "SIP-C"]
"""An ILS that counts renewals, and one that tells only due dates."""


class Shelf:
    """One pupil with one loan, ten days old."""

    def __init__(self, world: World, code: str) -> None:
        self.world, self.code = world, code
        self.ils = world.ils(code)
        self.patron = world.add_pupil("S1", at=(code,))
        world.add_items(code, "B1")
        self.kiosk = world.kiosk(code)
        assert self.kiosk.checkout("S1", "B1").fixed["ok"] == "1"
        world.clock.advance(days=10)

    def lose_answer(self, kind: FaultKind) -> None:
        """The answer to the next renewal is lost, and the ILS cannot be asked at once."""
        self.ils.fail("renew", Fault(kind))
        self.ils.fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
        answer = self.kiosk.renew("S1", "B1")
        assert answer.fixed["ok"] == "0"
        assert "尚未确认" in answer.get("AF")

    def settle(self, **step: float):
        self.world.clock.advance(**step)
        return self.world.app.settlement.run_once()

    @property
    def loan(self):
        (loan,) = self.world.app.store.ledger.list_unclosed(self.patron)
        return loan


@pytest.fixture(params=CODES)
def shelf(world: World, request: pytest.FixtureRequest) -> Shelf:
    return Shelf(world, request.param)


def test_a_renewal_that_was_made_is_found_and_dated_with_its_own_time(shelf: Shelf) -> None:
    asked_at = shelf.world.clock()
    before = shelf.loan.due
    shelf.lose_answer(FaultKind.DONE_NO_ANSWER)
    assert shelf.settle(hours=5).renewed == 1
    loan = shelf.loan
    assert loan.renewals == 1
    assert loan.due is not None
    assert before is not None
    assert loan.due > before
    assert abs((loan.renewed_at - asked_at).total_seconds()) < 15
    second = shelf.kiosk.renew("S1", "B1")
    assert (second.fixed["ok"], shelf.ils.count_calls("renew")) == ("0", 1)
    assert "续借过" in second.get("AF")
    assert shelf.settle(seconds=15) == SettlementReport()


def test_a_renewal_that_was_not_made_is_not_eaten(shelf: Shelf) -> None:
    shelf.lose_answer(FaultKind.NO_ANSWER)
    assert shelf.settle(seconds=40).waiting == 1
    assert shelf.settle(seconds=170).waiting == 1
    assert shelf.settle(seconds=15).unrenewed == 1
    assert shelf.loan.renewals == 0
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "1"
    assert (shelf.loan.renewals, shelf.ils.count_calls("renew")) == (1, 2)


def test_until_it_is_settled_no_other_is_made(shelf: Shelf) -> None:
    shelf.lose_answer(FaultKind.NO_ANSWER)
    for seconds in (5, 40, 60):
        shelf.world.clock.advance(seconds=seconds)
        assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert shelf.ils.count_calls("renew") == 1


def test_one_that_the_ils_applies_a_minute_later_is_found(shelf: Shelf) -> None:
    shelf.lose_answer(FaultKind.DONE_LATER_NO_ANSWER)
    assert shelf.settle(seconds=40).waiting == 1
    shelf.world.clock.advance(seconds=60)
    assert shelf.ils.land() == 1
    assert shelf.settle(seconds=15).renewed == 1
    assert (shelf.loan.renewals, shelf.ils.count_calls("renew")) == (1, 1)


def test_an_ils_that_was_away_in_between_makes_the_first_answer_worthless(shelf: Shelf) -> None:
    shelf.lose_answer(FaultKind.NO_ANSWER)
    assert shelf.settle(seconds=40).waiting == 1
    shelf.ils.fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
    assert shelf.settle(seconds=200).unreachable == 1
    assert shelf.settle(seconds=20).waiting == 1
    assert shelf.settle(seconds=200).unrenewed == 1


def test_a_kiosk_that_asks_again_hears_of_the_renewal_that_was_made(shelf: Shelf) -> None:
    shelf.lose_answer(FaultKind.DONE_NO_ANSWER)
    shelf.world.clock.advance(minutes=2)
    again = shelf.kiosk.renew("S1", "B1")
    assert shelf.loan.renewals == 1
    assert shelf.ils.count_calls("renew") == 1
    assert again.fixed["ok"] == "0", "the policy allows one, and it is made"


def test_a_renewal_with_our_database_lost_after_it_is_found(shelf: Shelf) -> None:
    """Killed between the ILS's yes and our writing it: the claim outlives its time."""
    due = shelf.world.clock()
    assert shelf.world.app.store.ledger.ask_renewal(shelf.loan.loan_id, renewals=0, until=due)
    shelf.ils.desk_renew("B1")
    assert shelf.settle(seconds=30).renewed == 1
    assert shelf.loan.renewals == 1


def test_day_zero_without_a_count_is_counted_as_not_made(world: World) -> None:
    """+30 days on the day of the checkout moves nothing: nobody can tell, and nothing was gained."""
    shelf = Shelf(world, "SIP-C")
    world.add_items("SIP-C", "B2")
    assert shelf.kiosk.checkout("S1", "B2").fixed["ok"] == "1"
    shelf.ils.fail("renew", Fault(FaultKind.DONE_NO_ANSWER))
    assert shelf.kiosk.renew("S1", "B2").fixed["ok"] == "0"
    assert shelf.settle(seconds=40).waiting == 1
    assert shelf.settle(seconds=200).unrenewed == 1
    loans = {loan.item.barcode: loan for loan in world.app.store.ledger.list_unclosed(shelf.patron)}
    assert loans[Barcode("B2")].renewals == 0


# --- scenario 20 where an ILS tells only due dates


def test_s20_a_renewal_in_the_opac_shows_by_the_due_date_alone(world: World) -> None:
    shelf = Shelf(world, "SIP-C")
    shelf.ils.desk_renew("B1")
    answer = shelf.kiosk.renew("S1", "B1")
    assert answer.fixed["ok"] == "0"
    assert "续借过" in answer.get("AF")
    assert shelf.ils.count_calls("renew") == 0
    assert shelf.loan.renewals == 1
    assert shelf.loan.due == shelf.ils.stock.loans[Barcode("B1")].due


def test_s20_by_the_due_date_a_policy_with_two_renewals_allows_one_more(
    make_world: Callable[..., World],
) -> None:
    shelf = Shelf(make_world(policy="max_renewals = 2"), "SIP-C")
    shelf.ils.desk_renew("B1")
    shelf.world.clock.advance(days=5)
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "1"
    assert shelf.loan.renewals == 2
    shelf.world.clock.advance(days=5)
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"


def test_s20_a_later_date_of_somebody_else_is_no_renewal(world: World) -> None:
    """Returned at the desk and lent again there: the ILS says no, and nothing is counted."""
    shelf = Shelf(world, "SIP-C")
    shelf.ils.new_patron("X9")
    shelf.ils.desk_checkin("B1")
    shelf.ils.desk_checkout("X9", "B1")
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert shelf.loan.renewals == 0


# --- ILSs that cannot tell


class Vague(FakeIls):
    """An ILS that tells that an item is out, and something else that a test chooses."""

    patron: IlsPatronId | None = None
    tells_dates = True

    def fetch_item_loan(
        self, barcode: Barcode, patron: IlsPatronId | None = None
    ) -> IlsLoan | None:
        found = super().fetch_item_loan(barcode, patron)
        if found is None:
            return None
        vague = replace(found, patron=self.patron, renewals=None)
        return vague if self.tells_dates else replace(vague, due=None)


def vague_world(make_world: Callable[..., World], capabilities=SIP2_ONLY) -> tuple[World, Vague]:
    clock = SteppingClock()
    ils = Vague("SIP-C", now=clock, capabilities=capabilities)
    return make_world(clock=clock, adapters={"SIP-C": ils}), ils


def open_tasks(world: World) -> list[dict[str, object]]:
    code = world.ils("SIP-C").institution_id
    tasks = world.app.store.tasks.list_tasks(code, kind=TaskKind.UNKNOWN_OUTCOME)
    return [dict(task.detail) for task in tasks]


def lose_checkout(world: World, ils: Vague, kind: FaultKind = FaultKind.DONE_NO_ANSWER):
    patron = world.add_pupil("S1", at=("SIP-C",))
    world.add_items("SIP-C", "B1")
    ils.fail("checkout", Fault(kind))
    assert world.kiosk("SIP-C").checkout("S1", "B1").fixed["ok"] == "0"
    return patron


def test_an_item_that_somebody_else_has_was_not_lent_to_this_patron(
    make_world: Callable[..., World],
) -> None:
    world, ils = vague_world(make_world)
    ils.patron = SOMEBODY_ELSE
    patron = lose_checkout(world, ils)
    assert world.app.settlement.run_once().waiting == 1
    world.clock.advance(seconds=200)
    assert world.app.settlement.run_once().released == 1
    assert world.app.store.ledger.list_unclosed(patron) == ()


def test_an_ils_that_does_not_say_who_is_a_task_after_an_hour_and_only_once(
    make_world: Callable[..., World],
) -> None:
    world, ils = vague_world(make_world)
    patron = lose_checkout(world, ils)
    world.clock.advance(minutes=59)
    assert world.app.settlement.run_once().waiting == 1
    assert open_tasks(world) == []
    for _ in range(3):
        world.clock.advance(minutes=5)
        assert world.app.settlement.run_once().by_hand == 1
    (task,) = world.app.store.tasks.list_tasks(ils.institution_id)
    assert (task.kind, task.detail["what"]) == (TaskKind.UNKNOWN_OUTCOME, "checkout")
    (loan,) = world.app.store.ledger.list_unclosed(patron)
    assert loan.state is LoanState.UNKNOWN, "it keeps its place"
    world.app.store.tasks.finish_task(task.task_id, outcome="seen", actor="cli:li")
    world.clock.advance(minutes=5)
    world.app.settlement.run_once()
    assert open_tasks(world) == [], "a person has seen it"


def test_a_task_ends_when_the_loan_is_settled_by_another_way(
    make_world: Callable[..., World],
) -> None:
    world, ils = vague_world(make_world)
    lose_checkout(world, ils)
    world.clock.advance(hours=2)
    world.app.settlement.run_once()
    assert len(open_tasks(world)) == 1
    assert world.kiosk("SIP-C").checkin("B1").fixed["ok"] == "1"
    world.clock.advance(seconds=15)
    world.app.settlement.run_once()
    assert open_tasks(world) == []


def test_an_ils_that_cannot_be_asked_at_all_is_a_task_at_once(
    make_world: Callable[..., World],
) -> None:
    blind = API_CAPABILITIES - {Capability.FETCH_ITEM_LOAN, Capability.LIST_LOANS}
    world, ils = vague_world(make_world, blind)
    patron = lose_checkout(world, ils)
    assert world.app.settlement.run_once().by_hand == 1
    assert [task["what"] for task in open_tasks(world)] == ["checkout"]
    (loan,) = world.app.store.ledger.list_unclosed(patron)
    assert loan.state is LoanState.UNKNOWN


def test_a_renewal_without_dates_and_counts_is_a_task_after_an_hour(
    make_world: Callable[..., World],
) -> None:
    world, ils = vague_world(make_world)
    shelf = Shelf(world, "SIP-C")
    ils.tells_dates = False
    ils.fail("renew", Fault(FaultKind.NO_ANSWER))
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert shelf.settle(minutes=50).waiting == 1
    assert shelf.settle(minutes=15).by_hand == 1
    assert [task["what"] for task in open_tasks(world)] == ["renewal"]
    assert shelf.kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert ils.count_calls("renew") == 1
    world.app.store.ledger.release_renewal(shelf.loan.loan_id)
    shelf.settle(seconds=15)
    assert open_tasks(world) == []
