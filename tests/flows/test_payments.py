"""Payments at a kiosk (37): recorded before they are sent, and never sent twice."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from connector.domain.ids import IlsPatronId, PatronId
from connector.ports.payments import PaymentState
from connector.ports.tasks import TaskKind
from connector.sip2.codec import Message
from connector.testing.faults import Fault, FaultKind
from tests.flows.test_store_down import broken
from tests.support.world import World

CODES = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}


class Counter:
    """A kiosk that takes money, and what the ILS has booked."""

    def __init__(self, world: World, *, enrolled: bool = True) -> None:
        self.world, self.ils = world, world.ils("KOHA-A")
        self.patron: PatronId | None = None
        if enrolled:
            self.patron = world.add_pupil("S1")
        else:
            self.ils.new_patron("S1")
        self.ils.charge_fee(IlsPatronId("S1"), Decimal("5.00"))
        self.kiosk = world.kiosk()

    def pay(self, amount: str = "1.00", transaction: str = "") -> Message:
        self.world.clock.advance(seconds=1)  # the same frame again would be a retransmission
        fields = [("AA", "S1"), ("AC", ""), ("BV", amount)]
        if transaction:
            fields.append(("BK", transaction))
        return self.kiosk.ask("37", CODES, *fields)

    @property
    def owed(self) -> Decimal:
        return sum((fee.amount for fee in self.ils.stock.fees_of(IlsPatronId("S1"))), Decimal(0))

    @property
    def states(self) -> list[object]:
        return [row["state"] for row in self.world.rows("payment")]

    @property
    def sent(self) -> int:
        return self.ils.count_calls("pay_fee")


@pytest.fixture(params=[True, False], ids=["enrolled", "not enrolled"])
def counter(world: World, request: pytest.FixtureRequest) -> Counter:
    return Counter(world, enrolled=request.param)


def accepted(answer: Message) -> bool:
    assert answer.code == "38"
    return answer.fixed["payment_accepted"] == "Y"


@pytest.mark.parametrize("transaction", ["T-1", "T-S1-0042", ""])
def test_a_repeat_of_a_payment_that_was_made_gets_the_first_answer(
    counter: Counter, transaction: str
) -> None:
    first, again = counter.pay(transaction=transaction), counter.pay(transaction=transaction)
    assert accepted(first)
    assert accepted(again)
    assert first.get("BK") == again.get("BK") == transaction
    assert (counter.sent, counter.owed) == (1, Decimal("4.00"))
    assert counter.states == ["paid"]


def test_without_a_transaction_id_an_equal_payment_minutes_later_is_a_new_one(
    counter: Counter,
) -> None:
    assert accepted(counter.pay())
    counter.world.clock.advance(minutes=3)
    assert accepted(counter.pay())
    assert (counter.sent, counter.owed) == (2, Decimal("3.00"))


@pytest.mark.parametrize("transaction", ["T-1", ""])
@pytest.mark.parametrize("kind", [FaultKind.DONE_NO_ANSWER, FaultKind.NO_ANSWER])
def test_one_without_an_answer_is_never_sent_again(
    counter: Counter, kind: FaultKind, transaction: str
) -> None:
    counter.ils.fail("pay_fee", Fault(kind))
    first = counter.pay(transaction=transaction)
    assert not accepted(first)
    assert "尚未确认" in first.get("AF")
    for minutes in (0, 1, 10, 600):
        counter.world.clock.advance(minutes=minutes)
        counter.world.app.settlement.run_once()
        again = counter.pay(transaction=transaction)
        assert not accepted(again)
        assert "尚未确认" in again.get("AF")
    assert counter.sent == 1
    assert counter.states == ["unknown"]
    (task,) = counter.world.app.store.tasks.list_tasks(
        counter.ils.institution_id, kind=TaskKind.UNKNOWN_PAYMENT
    )
    assert task.patron_id == counter.patron


def test_after_staff_have_seen_that_it_was_not_booked_it_may_be_paid(counter: Counter) -> None:
    counter.ils.fail("pay_fee", Fault(FaultKind.NO_ANSWER))
    assert not accepted(counter.pay(transaction="T-1"))
    (row,) = counter.world.rows("payment")
    store = counter.world.app.store
    store.payments.settle(
        str(row["payment_id"]), PaymentState.NOT_PAID, reason="not_in_ils", actor="cli:li"
    )
    assert accepted(counter.pay(transaction="T-1"))
    assert (counter.sent, counter.owed) == (2, Decimal("4.00"))
    assert counter.states.count("paid") == 1


def test_after_staff_have_seen_that_it_was_booked_its_repeat_is_told_so(counter: Counter) -> None:
    counter.ils.fail("pay_fee", Fault(FaultKind.DONE_NO_ANSWER))
    assert not accepted(counter.pay(transaction="T-1"))
    (row,) = counter.world.rows("payment")
    store = counter.world.app.store
    store.payments.settle(
        str(row["payment_id"]), PaymentState.PAID, reason="seen_in_ils", actor="cli:li"
    )
    assert accepted(counter.pay(transaction="T-1"))
    assert (counter.sent, counter.owed) == (1, Decimal("4.00"))


@pytest.mark.parametrize(
    "fault",
    [Fault(FaultKind.NOT_SENT), Fault(FaultKind.AUTH_FAILED), Fault(FaultKind.REFUSED)],
    ids=lambda fault: fault.kind,
)
def test_one_that_was_refused_or_not_sent_may_be_sent_again(counter: Counter, fault: Fault) -> None:
    counter.ils.fail("pay_fee", fault)
    assert not accepted(counter.pay(transaction="T-1"))
    assert counter.states == ["refused"]
    assert accepted(counter.pay(transaction="T-1"))
    assert counter.owed == Decimal("4.00")


def test_whatever_else_an_adapter_raises_counts_as_sent(counter: Counter) -> None:
    counter.ils.fail("pay_fee", Fault(FaultKind.UNEXPECTED))
    assert not accepted(counter.pay(transaction="T-1"))
    assert counter.states == ["unknown"]


def test_killed_while_the_ils_was_asked_it_is_found_and_never_sent_again(
    counter: Counter,
) -> None:
    counter.ils.fail("pay_fee", Fault(FaultKind.DONE_NO_ANSWER))
    counter.pay(transaction="T-1")
    with counter.world.app.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE payment SET state = 'asked'")
        connection.exec_driver_sql("DELETE FROM task")
    counter.world.clock.advance(minutes=1)
    assert counter.world.app.settlement.run_once().payments == 1
    assert counter.states == ["unknown"]
    assert not accepted(counter.pay(transaction="T-1"))
    assert counter.sent == 1


@pytest.mark.parametrize("amount", ["1E+30", "0.0000000000001", "-1.00", "0.00", "NaN", ""])
def test_nonsense_is_neither_written_nor_sent(counter: Counter, amount: str) -> None:
    assert not accepted(counter.pay(amount))
    assert (counter.sent, counter.states) == (0, [])


def test_nothing_of_a_payer_who_is_not_enrolled_is_stored(world: World) -> None:
    counter = Counter(world, enrolled=False)
    assert accepted(counter.pay(transaction="T-S1-0042"))
    (row,) = world.rows("payment")
    assert row["person_id"] is None
    assert row["transaction_id"] == "T-**-0042", "a machine made it of the card's number"
    assert "S1" not in str(row)


def test_a_payment_that_cannot_be_recorded_is_refused(counter: Counter) -> None:
    with broken(counter.world, "payment"):
        refused = counter.pay(transaction="T-1")
    assert not accepted(refused)
    assert refused.get("AF")
    assert counter.sent == 0
    assert accepted(counter.pay(transaction="T-1"))


def test_where_the_outcome_cannot_be_written_the_truth_is_told_and_it_is_not_sent_again(
    counter: Counter,
) -> None:
    with broken(counter.world, "audit"):
        counter.pay(transaction="T-0")
    assert counter.sent == 0, "the row and its audit are one"
    original = counter.ils.pay_fee

    def pay_and_lose_the_database(*arguments: object) -> object:
        result = original(*arguments)  # type: ignore[arg-type]
        with counter.world.app.store.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE audit RENAME TO gone")
        return result

    counter.ils.pay_fee = pay_and_lose_the_database  # type: ignore[assignment, method-assign]
    assert accepted(counter.pay(transaction="T-1"))
    with counter.world.app.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO audit")
    counter.world.clock.advance(minutes=1)
    assert not accepted(counter.pay(transaction="T-1")), "staff look; it is not sent again"
    assert (counter.sent, counter.states) == (1, ["unknown"])


@pytest.mark.parametrize("mode", ["observe", "bypass"])
def test_where_the_ils_decides_alone_it_hears_every_repeat_but_of_an_unknown_one(
    make_world: Callable[..., World], mode: str
) -> None:
    counter = Counter(make_world(modes={"KOHA-A": mode}))
    assert accepted(counter.pay())
    assert accepted(counter.pay())
    assert (counter.sent, counter.owed) == (2, Decimal("3.00"))
    counter.ils.fail("pay_fee", Fault(FaultKind.NO_ANSWER))
    assert not accepted(counter.pay())
    assert not accepted(counter.pay())
    assert counter.sent == 3
    with broken(counter.world, "payment"):
        assert accepted(counter.pay("0.50"))
    assert counter.sent == 4
