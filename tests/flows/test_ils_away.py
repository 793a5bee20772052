"""Scenarios 15 and 16, as far as one library goes: returns and loans while the ILS cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import CirculationStatus
from connector.domain.loan import LoanOrigin, LoanState
from connector.ports.deferred import DeferredState, DeferredWork
from connector.ports.ils import Capability
from connector.ports.tasks import StaffTask, TaskKind
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.world import World

KOHA = InstitutionId("KOHA-A")
SIP = InstitutionId("SIP-C")
LENDING = '[libraries.away]\ncheckouts = "permit"\nitems = 2\nhours = 24'
REFUSING = '[libraries.away]\nreturns = "refuse"'


def work_of(world: World, code: str = "KOHA-A") -> list[DeferredWork]:
    return list(world.app.store.deferred.list_unresolved(InstitutionId(code)))


def states_of(world: World) -> list[str]:
    return [str(row["state"]) for row in world.rows("deferred")]


def conflicts_of(world: World, code: str = "KOHA-A") -> list[StaffTask]:
    return list(world.app.store.tasks.list_tasks(InstitutionId(code), kind=TaskKind.AWAY_CONFLICT))


def verbs_of(world: World, table: str = "circulation_fact") -> list[str]:
    return [str(row["verb"]) for row in world.rows(table)]


@pytest.fixture
def lending(make_world: Callable[..., World]) -> World:
    return make_world(library=LENDING)


def test_s15_a_return_while_the_ils_is_down_frees_the_place_and_keeps_its_time(
    world: World,
) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.set_local("2026-12-21 19:00")  # the last evening of the loan
    ils.set_down()
    answer = kiosk.checkin("B1")
    assert (answer.fixed["ok"], answer.fixed["resensitize"]) == ("1", "Y")
    assert "成功" in answer.get("AF")
    returned_at = world.clock()
    assert world.app.store.ledger.list_unclosed(patron) == ()
    (loan,) = world.rows("loan")
    assert (loan["state"], loan["closed_at"]) == ("returned", returned_at)
    world.clock.set_local("2026-12-22 09:00")
    assert world.app.replay.run_all().away == 1
    assert "B1" in ils.stock.loans
    ils.set_down(down=False)
    assert world.app.replay.run_all().done == 1
    assert ils.stock.returned[Barcode("B1")] == returned_at
    assert states_of(world) == ["done"]
    assert verbs_of(world) == ["checkout", "checkin"]
    assert kiosk.charged("S1") == []


def test_s15_the_read_of_the_returned_loan_does_not_adopt_it_again(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    assert kiosk.charged("S1") == [], "the ILS has not heard of the return"
    assert kiosk.checkout("S1", "B2").fixed["ok"] == "1"
    assert [loan.item.barcode for loan in world.app.store.ledger.list_unclosed(patron)] == ["B2"]
    world.app.replay.run_all()
    assert kiosk.charged("S1") == ["B2"]
    assert verbs_of(world) == ["checkout", "checkin", "checkout"]


def test_s15_an_ils_that_only_counts_counts_the_return_too(world: World) -> None:
    world.add_pupil("S1", at=("SIP-C",))
    ils, kiosk = world.ils("SIP-C"), world.kiosk("SIP-C")
    world.add_items("SIP-C", *(f"C{n}" for n in range(9)))
    for n in range(8):
        assert kiosk.checkout("S1", f"C{n}").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.set_down()
    assert kiosk.checkin("C0").fixed["ok"] == "1"
    ils.set_down(down=False)
    assert kiosk.checkout("S1", "C8").fixed["ok"] == "1", "the place is free at once"
    world.app.replay.run_all()
    assert kiosk.checkout("S1", "C0").fixed["ok"] == "0", "eight are out"


def test_s15_a_stranger_s_return_is_kept_without_a_person(world: World) -> None:
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.new_patron("ADULT-1")
    world.add_items("KOHA-A", "B1")
    ils.desk_checkout("ADULT-1", "B1")
    world.clock.advance(hours=1)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    (work,) = work_of(world)
    assert (work.loan_id, work.patron_id) == (None, None)
    assert "ADULT-1" not in str(world.rows("deferred") + world.rows("event"))
    ils.set_down(down=False)
    world.app.replay.run_all()
    assert "B1" not in ils.stock.loans


def test_a_repeated_return_is_one_return(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.set_down()
    first = world.clock()
    for _ in range(3):
        assert kiosk.checkin("B1").fixed["ok"] == "1"
        world.clock.advance(minutes=1)
    ils.set_down(down=False)
    world.app.replay.run_all()
    assert ils.stock.returned[Barcode("B1")] == first
    assert verbs_of(world) == ["checkout", "checkin"]
    assert len(world.rows("deferred")) == 1


def test_a_library_may_refuse_returns_meanwhile(make_world: Callable[..., World]) -> None:
    world = make_world(library=REFUSING)
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.ils("KOHA-A").set_down()
    answer = kiosk.checkin("B1")
    assert answer.fixed["ok"] == "0"
    assert answer.get("AF")
    assert world.rows("deferred") == []


@pytest.mark.parametrize("mode", ["observe", "bypass"])
def test_in_other_modes_the_ils_is_not_stood_in_for(
    make_world: Callable[..., World], mode: str
) -> None:
    world = make_world(library=LENDING, modes={"KOHA-A": mode})
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    world.ils("KOHA-A").set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "0"
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    assert world.rows("deferred") == []


def test_s18_whose_book_it_is_is_not_guessed_without_the_ils(world: World) -> None:
    world.add_pupil("S1", at=("FOLIO-B",))
    world.add_items("FOLIO-B", "0001234")
    assert world.kiosk("FOLIO-B").checkout("S1", "0001234").fixed["ok"] == "1"
    world.ils("KOHA-A").set_down()
    answer = world.kiosk("KOHA-A").checkin("0001234")
    assert answer.fixed["ok"] == "0"
    assert "工作人员" in answer.get("AF")
    assert world.rows("deferred") == []


def test_nobody_is_told_yes_when_the_return_cannot_be_kept(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    world.ils("KOHA-A").set_down()
    database = world.app.store.database
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE deferred RENAME TO gone")
    try:
        assert kiosk.checkin("B1").fixed["ok"] == "0"
        assert world.rows("loan")[0]["state"] == "open", "both or none"
    finally:
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO deferred")
    assert kiosk.checkin("B1").fixed["ok"] == "1"


# --- scenario 16: the item changed meanwhile


@pytest.mark.parametrize("code", ["KOHA-A", "SIP-C"])
def test_s16_renewed_meanwhile_is_skipped_and_listed(world: World, code: str) -> None:
    patron = world.add_pupil("S1", at=(code,))
    world.add_items(code, "B1")
    ils, kiosk = world.ils(code), world.kiosk(code)
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(days=3)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(hours=2)
    ils.desk_renew("B1")
    ils.set_down(down=False)
    assert world.app.replay.run_all().conflicts == 1
    assert "B1" in ils.stock.loans, "the ILS was not told"
    (task,) = conflicts_of(world, code)
    assert task.detail["reason"] == "renewed"
    assert task.detail["occurred_at"] < task.detail["ils_due"]  # type: ignore[operator]
    assert task.patron_id is None
    assert states_of(world) == ["skipped"]
    world.clock.advance(minutes=1)
    kiosk.information("S1")
    assert world.app.store.ledger.list_unclosed(patron) == (), "never silently reopened"


def test_s16_marked_lost_meanwhile_is_skipped_and_listed(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(days=3)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    ils.stock.items[Barcode("B1")].status = CirculationStatus.LOST
    del ils.stock.loans[Barcode("B1")]
    ils.set_down(down=False)
    before = ils.count_calls("checkin")
    world.app.replay.run_all()
    assert ils.count_calls("checkin") == before
    assert [task.detail["ils_status"] for task in conflicts_of(world)] == ["lost"]


@pytest.mark.parametrize("enrolled", [True, False])
def test_s16_lent_to_another_meanwhile_stays_with_the_other(
    world: World, *, enrolled: bool
) -> None:
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    other = world.add_pupil("S2")
    world.add_items("KOHA-A", "B1")
    if enrolled:
        world.add_pupil("S1")
        assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    else:
        ils.new_patron("ADULT-1")
        ils.desk_checkout("ADULT-1", "B1")
    world.clock.advance(days=3)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.desk_checkin("B1")
    ils.desk_checkout("S2", "B1")
    ils.set_down(down=False)
    assert world.app.replay.run_all().conflicts == 1
    assert ils.stock.loans[Barcode("B1")].patron == "S2"
    assert kiosk.charged("S2") == ["B1"]
    assert [loan.origin for loan in world.app.store.ledger.list_unclosed(other)] == [
        LoanOrigin.DESK
    ]


def test_s16_returned_at_the_desk_meanwhile_is_simply_done(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(days=3)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.desk_checkin("B1")
    ils.set_down(down=False)
    before = ils.count_calls("checkin")
    assert world.app.replay.run_all().done == 1
    assert ils.count_calls("checkin") == before


def test_s16_a_person_ends_a_conflict(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(days=3)
    ils.set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    world.clock.advance(hours=2)
    ils.desk_renew("B1")
    ils.set_down(down=False)
    world.app.replay.run_all()
    (work,) = work_of(world)
    deferred = world.app.store.deferred
    assert not deferred.resolve(work.seq + 1, DeferredState.DONE, actor="staff", reason="x")
    assert deferred.resolve(work.seq, DeferredState.DROPPED, actor="staff", reason="has_it")
    assert conflicts_of(world) == []
    world.clock.advance(minutes=1)
    assert kiosk.charged("S1") == ["B1"], "the ILS was right: the pupil has it"
    assert len(world.app.store.ledger.list_unclosed(patron)) == 1
    assert not deferred.resolve(work.seq, DeferredState.DONE, actor="staff", reason="x")


# --- returns without an answer


@pytest.mark.parametrize("kind", [FaultKind.NO_ANSWER, FaultKind.DONE_NO_ANSWER])
def test_a_return_without_an_answer_is_taken_and_asked_about(world: World, kind: FaultKind) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.fail("checkin", Fault(kind))
    ils.fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    returned_at = world.clock()
    for _ in range(16):
        world.app.replay.run_all()
        world.clock.advance(seconds=15)
    assert ils.stock.returned[Barcode("B1")] == returned_at
    assert states_of(world) == ["done"]
    assert ils.count_calls("checkin") == (2 if kind is FaultKind.NO_ANSWER else 1)


def test_what_was_sent_is_not_sent_again_before_its_time(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.fail("checkin", Fault(FaultKind.DONE_LATER_NO_ANSWER, lands_after=timedelta(seconds=60)))
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    for _ in range(16):
        world.app.replay.run_all()
        world.clock.advance(seconds=15)
    assert ils.count_calls("checkin") == 1
    assert states_of(world) == ["done"]


@pytest.mark.parametrize("kind", [FaultKind.NO_ANSWER, FaultKind.DONE_LATER_NO_ANSWER])
def test_where_returns_are_refused_an_unanswered_one_is_only_asked_about(
    make_world: Callable[..., World], kind: FaultKind
) -> None:
    world = make_world(library=REFUSING)
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.fail("checkin", Fault(kind, lands_after=timedelta(seconds=60)))
    assert kiosk.checkin("B1").fixed["ok"] == "0"
    returned_at = world.clock()
    for _ in range(16):
        world.app.replay.run_all()
        world.clock.advance(seconds=15)
    assert ils.count_calls("checkin") == 1, "only asked"
    if kind is FaultKind.NO_ANSWER:
        assert states_of(world) == ["dropped"]
        assert len(world.app.store.ledger.list_unclosed(patron)) == 1
    else:
        assert states_of(world) == ["done"]
        (loan,) = world.rows("loan")
        assert (loan["state"], loan["closed_at"]) == ("returned", returned_at)


# --- loans


def due_local(world: World, moment: object) -> str:
    assert isinstance(moment, datetime)
    return moment.astimezone(world.app.libraries[KOHA].zone).strftime("%Y-%m-%d")


def test_loans_are_made_within_the_allowance_and_told_later(lending: World) -> None:
    world = lending
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2", "B3")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    lent_at = world.clock()
    first = kiosk.checkout("S1", "B1")
    assert (first.fixed["ok"], first.fixed["desensitize"]) == ("1", "Y")
    assert first.get("AH")[:8] == "20261221"
    again = kiosk.checkout("S1", "B1")
    assert (again.fixed["ok"], again.get("AH")) == ("1", first.get("AH")), "the same checkout"
    assert kiosk.checkout("S1", "B2").fixed["ok"] == "1"
    refused = kiosk.checkout("S1", "B3")
    assert refused.fixed["ok"] == "0"
    assert "2" in refused.get("AF")
    loans = world.app.store.ledger.list_unclosed(patron)
    assert [loan.origin for loan in loans] == [LoanOrigin.OFFLINE] * 2
    world.clock.advance(hours=3)
    ils.set_down(down=False)
    assert world.app.replay.run_all().done == 2
    assert ils.stock.loans[Barcode("B1")].lent_at == lent_at
    assert kiosk.charged("S1") == ["B1", "B2"]
    assert kiosk.checkout("S1", "B3").fixed["ok"] == "1", "the allowance is for what is untold"
    assert verbs_of(world) == ["checkout"] * 3


def test_another_due_date_of_the_ils_is_recorded(make_world: Callable[..., World]) -> None:
    world = make_world(library=LENDING)
    patron = world.add_pupil("S1", at=("FOLIO-B",))
    world.add_items("FOLIO-B", "B1")
    ils, kiosk = world.ils("FOLIO-B"), world.kiosk("FOLIO-B")
    ils.loan_days = 21
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    world.app.replay.run_all()
    (loan,) = world.app.store.ledger.list_unclosed(patron)
    assert loan.due == ils.stock.loans[Barcode("B1")].due
    assert loan.due_mismatch


def test_a_read_before_the_replay_does_not_close_the_loan(lending: World) -> None:
    world = lending
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    world.clock.advance(minutes=1)
    assert kiosk.charged("S1") == ["B1"]
    (loan,) = world.app.store.ledger.list_unclosed(patron)
    assert (loan.state, loan.origin) == (LoanState.OPEN, LoanOrigin.OFFLINE)
    world.app.replay.run_all()
    assert Barcode("B1") in ils.stock.loans


def test_the_policy_holds_meanwhile(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    world.add_items("KOHA-A", *(f"B{n}" for n in range(10)))
    for n in range(7):
        assert kiosk.checkout("S1", f"B{n}").fixed["ok"] == "1"
    ils.set_down()
    assert kiosk.checkout("S1", "B7").fixed["ok"] == "1"
    ninth = kiosk.checkout("S1", "B8")
    assert (ninth.fixed["ok"], "8" in ninth.get("AF")) == ("0", True)


def test_strangers_renewals_and_always_asked_pins_are_refused(
    make_world: Callable[..., World],
) -> None:
    world = make_world(library=LENDING, terminal='pin = "always"')
    world.add_pupil("S1", pin="2468")
    world.add_items("KOHA-A", "B1", "B2")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.new_patron("ADULT-1")
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    assert kiosk.checkout("ADULT-1", "B2").fixed["ok"] == "0"
    assert kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert world.rows("deferred") == []
    assert world.rows("loan") == []
    assert "ADULT-1" not in str(world.rows("event"))


def test_after_too_long_nothing_more_is_lent(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(hours=25)
    assert kiosk.checkout("S1", "B2").fixed["ok"] == "0"
    ils.set_down(down=False)
    assert kiosk.checkout("S1", "B2").fixed["ok"] == "1"


def test_a_barred_card_borrows_nothing(lending: World) -> None:
    world = lending
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    from connector.domain.patron import StandingState

    world.app.store.people.set_state(patron, StandingState.BLOCKED)
    world.ils("KOHA-A").set_down()
    assert world.kiosk().checkout("S1", "B1").fixed["ok"] == "0"
    assert world.rows("deferred") == []


def test_a_loan_that_the_ils_refuses_is_listed_and_stays(lending: World) -> None:
    world = lending
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    ils.fail("checkout", Fault(FaultKind.REFUSED, code="not_for_loan"))
    assert world.app.replay.run_all().conflicts == 1
    assert [task.detail["reason"] for task in conflicts_of(world)] == ["not_for_loan"]
    world.clock.advance(minutes=1)
    assert kiosk.charged("S1") == ["B1"], "the child has the book"
    (work,) = work_of(world)
    world.app.store.deferred.resolve(work.seq, DeferredState.WAITING, actor="staff", reason="again")
    assert world.app.replay.run_all().done == 1
    assert conflicts_of(world) == []
    assert len(world.app.store.ledger.list_unclosed(patron)) == 1


def test_a_loan_of_what_another_has_is_a_conflict(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.new_patron("ADULT-1")
    ils.desk_checkout("ADULT-1", "B1")
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    assert world.app.replay.run_all().conflicts == 1
    assert ils.stock.loans[Barcode("B1")].patron == "ADULT-1"
    assert "ADULT-1" not in str(conflicts_of(world))


@pytest.mark.parametrize(
    "kind", [FaultKind.NO_ANSWER, FaultKind.DONE_NO_ANSWER, FaultKind.DONE_LATER_NO_ANSWER]
)
@pytest.mark.parametrize("code", ["KOHA-A", "SIP-C"])
def test_a_replayed_checkout_is_never_told_twice_blindly(
    lending: World, code: str, kind: FaultKind
) -> None:
    """SIP-C renews at a second checkout: told twice, it would eat a renewal."""
    world = lending
    world.add_pupil("S1", at=(code,))
    world.add_items(code, "B1")
    ils, kiosk = world.ils(code), world.kiosk(code)
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    ils.fail("checkout", Fault(kind, lands_after=timedelta(seconds=60)))
    for _ in range(18):
        world.app.replay.run_all()
        world.clock.advance(seconds=15)
    assert states_of(world) == ["done"]
    assert ils.stock.loans[Barcode("B1")].renewals == 0
    assert ils.count_calls("checkout") == (2 if kind is FaultKind.NO_ANSWER else 1)


def test_a_whole_chain_of_one_book_is_told_in_order(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    second = world.add_pupil("S2")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    for card in ("S1", "S2"):
        assert kiosk.checkout(card, "B1").fixed["ok"] == "1"
        world.clock.advance(minutes=10)
        if card == "S1":
            assert kiosk.checkin("B1").fixed["ok"] == "1"
            world.clock.advance(minutes=10)
    world.clock.advance(hours=1)
    ils.set_down(down=False)
    assert world.app.replay.run_all().done == 3
    assert [(change.kind, change.patron) for change in ils.stock.changes] == [
        ("checkout", "S1"),
        ("checkin", "S1"),
        ("checkout", "S2"),
    ]
    assert kiosk.charged("S1") == []
    assert kiosk.charged("S2") == ["B1"]
    assert len(world.app.store.ledger.list_unclosed(second)) == 1


def test_what_happens_to_an_item_waits_for_what_is_untold(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    world.add_pupil("S2")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    ils.set_down()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    world.clock.advance(minutes=5)
    assert kiosk.checkin("B1").fixed["ok"] == "1", "queued behind the checkout"
    assert kiosk.checkout("S2", "B1").fixed["ok"] == "0", "in a moment"
    assert ils.count_calls("checkin") == 0
    world.app.replay.run_all()
    assert ils.count_calls("checkin") == 1
    assert kiosk.checkout("S2", "B1").fixed["ok"] == "1"
    assert ils.stock.loans[Barcode("B1")].patron == "S2"


def test_a_broken_row_holds_up_its_own_item_only(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", "B2")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    for barcode in ("B1", "B2"):
        assert kiosk.checkout("S1", barcode).fixed["ok"] == "1"
    world.clock.advance(hours=1)
    ils.set_down()
    for barcode in ("B1", "B2"):
        assert kiosk.checkin(barcode).fixed["ok"] == "1"
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down(down=False)
    ils.fail("checkin", Fault(FaultKind.UNEXPECTED))
    report = world.app.replay.run_all()
    assert (report.done, report.put_off) == (1, 1)
    assert list(ils.stock.loans) == ["B1"]
    assert ils.count_calls("checkout") == 2, "the later checkout of B1 waits"
    for _ in range(16):
        world.clock.advance(seconds=15)
        world.app.replay.run_all()
    assert set(states_of(world)) == {"done"}
    assert ils.stock.loans[Barcode("B1")].patron == "S1"
    assert len(ils.stock.changes) == 5


def test_an_ils_that_cannot_be_asked_is_told_once(make_world: Callable[..., World]) -> None:
    world = make_world(library=LENDING)
    ils = world.ils("SIP-C")
    ils.capabilities -= {Capability.FETCH_ITEM_LOAN, Capability.FETCH_ITEM}
    world.add_items("SIP-C", "B1", "B2")
    kiosk = world.kiosk("SIP-C")
    ils.new_patron("ADULT-1")
    for barcode in ("B1", "B2"):
        ils.desk_checkout("ADULT-1", barcode)
    world.clock.advance(hours=1)
    ils.set_down()
    for barcode in ("B1", "B2"):
        assert kiosk.checkin(barcode).fixed["ok"] == "1"
    ils.set_down(down=False)
    ils.fail("checkin", Fault(FaultKind.DONE_NO_ANSWER))
    for _ in range(4):
        world.app.replay.run_all()
        world.clock.advance(minutes=1)
    assert ils.count_calls("checkin") == 2 + 2, "two while it was away"
    assert sorted(states_of(world)) == ["conflict", "done"]
    assert [task.detail["reason"] for task in conflicts_of(world, "SIP-C")] == ["cannot_ask"]


def test_the_queue_is_kept_per_item_and_owner(world: World) -> None:
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    world.ils("KOHA-A").set_down()
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert kiosk.checkin("CN-FOLIO-B:X1").fixed["ok"] == "1"
    (backlog,) = world.app.away.list_backlogs()
    assert backlog.owners == {"FOLIO-B": 1, "KOHA-A": 1}
    assert backlog.waiting == 2
    assert world.app.away.is_waiting(
        world.app.libraries[KOHA], ItemId(InstitutionId("FOLIO-B"), Barcode("X1"))
    )


def test_a_machine_is_shown_the_pupil_while_it_may_lend(lending: World) -> None:
    world = lending
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils, kiosk = world.ils("KOHA-A"), world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    ils.set_down()
    shown = kiosk.information("S1")
    assert (shown.get("BL"), shown.get_all("AU"), shown.get("CB")) == ("Y", ["B1"], "0008")
    assert shown.fixed["patron_status"].strip() == ""
    world.clock.advance(hours=25)
    assert kiosk.information("S1").get("BL") == "N", "it does not lend any more"


def test_a_machine_hears_what_is_taken_meanwhile(lending: World, world: World) -> None:
    for each, checkout_ok in ((lending, "Y"), (world, "N")):
        kiosk = each.kiosk()
        each.ils("KOHA-A").set_down()
        answer = kiosk.ask("99", {"status_code": "0", "protocol_version": "2.00"})
        fixed = answer.fixed
        assert (fixed["online"], fixed["checkin_ok"]) == ("N", "Y")
        assert fixed["checkout_ok"] == checkout_ok
