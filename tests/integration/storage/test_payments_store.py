"""Payments on both databases: one row per payment, whoever asks how often."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from connector.domain.ids import IlsPatronId, InstitutionId, TerminalId
from connector.ports.ils import FeePayment
from connector.ports.payments import (
    AskPayment,
    PaymentAsked,
    PaymentRepeated,
    PaymentState,
    SettledBy,
)
from connector.ports.tasks import TaskKind
from connector.storage.store import Store
from tests.support.store import TickingClock

A = InstitutionId("A")


@pytest.fixture
def request_of(clock: TickingClock):
    def make(amount: str = "1.00", transaction: str = "T1", **more) -> AskPayment:
        fee = FeePayment(Decimal(amount), "CNY", "01", "00", transaction_id=transaction)
        values = {
            "institution": A,
            "terminal": TerminalId("kiosk1"),
            "payer": IlsPatronId("S1"),
            "patron_id": None,
            "fee": fee,
            "expires_at": clock() + timedelta(seconds=20),
            "repeat_within": timedelta(minutes=2),
        }
        return AskPayment(**(values | more))

    return make


def tasks(store: Store) -> int:
    return len(store.tasks.list_tasks(A, kind=TaskKind.UNKNOWN_PAYMENT))


def test_the_same_payment_is_found_while_it_runs_and_when_it_is_paid(
    store: Store, request_of, clock: TickingClock
) -> None:
    first = store.payments.ask(request_of())
    assert isinstance(first, PaymentAsked)
    again = store.payments.ask(request_of("1.0"))
    assert again == PaymentRepeated(first.payment), "1.0 is 1.00"
    store.payments.record(first.payment.payment_id, PaymentState.PAID, transaction_id="ILS-7")
    clock.advance(days=3)
    repeated = store.payments.ask(request_of())
    assert isinstance(repeated, PaymentRepeated)
    assert (repeated.payment.state, repeated.payment.transaction_id) == (
        PaymentState.PAID,
        "ILS-7",
    )


@pytest.mark.parametrize(
    "other",
    [
        {"amount": "2.00"},
        {"transaction": "T2"},
        {"payer": IlsPatronId("S2")},
        {"terminal": TerminalId("kiosk2")},
        {"institution": InstitutionId("B")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_differs_is_another_payment(store: Store, request_of, other) -> None:
    store.payments.ask(request_of())
    assert isinstance(store.payments.ask(request_of(**other)), PaymentAsked)


def test_without_a_transaction_id_minutes_decide(
    store: Store, request_of, clock: TickingClock
) -> None:
    paid = store.payments.ask(request_of(transaction=""))
    store.payments.record(paid.payment.payment_id, PaymentState.PAID)
    clock.advance(seconds=110)
    assert isinstance(store.payments.ask(request_of(transaction="")), PaymentRepeated)
    clock.advance(seconds=15)
    assert isinstance(store.payments.ask(request_of(transaction="")), PaymentAsked)


def test_what_the_kiosk_never_heard_of_is_told_once_however_late(
    store: Store, request_of, clock: TickingClock
) -> None:
    paid = store.payments.ask(request_of(transaction=""))
    store.payments.record(paid.payment.payment_id, PaymentState.PAID, by=SettledBy.ILS_LATE)
    clock.advance(hours=1)
    assert isinstance(store.payments.ask(request_of(transaction="")), PaymentRepeated)
    assert isinstance(store.payments.ask(request_of(transaction="")), PaymentAsked)


@pytest.mark.parametrize("transaction", ["T1", ""])
def test_an_unknown_one_bars_its_repeats_until_a_person_has_looked(
    store: Store, request_of, clock: TickingClock, transaction: str
) -> None:
    asked = store.payments.ask(request_of(transaction=transaction))
    payment_id = asked.payment.payment_id
    store.payments.record(payment_id, PaymentState.UNKNOWN)
    assert tasks(store) == 1
    clock.advance(days=2)
    for again in (True, False):
        repeated = store.payments.ask(request_of(transaction=transaction, again=again))
        assert isinstance(repeated, PaymentRepeated)
        assert repeated.payment.state is PaymentState.UNKNOWN
    settled = store.payments.settle(
        payment_id, PaymentState.NOT_PAID, reason="not_in_ils", actor="cli:li"
    )
    assert settled is not None
    assert (settled.state, settled.settled_by) == (PaymentState.NOT_PAID, "cli:li")
    assert tasks(store) == 0
    assert store.payments.settle(payment_id, PaymentState.PAID, reason="", actor="x") is None
    assert isinstance(store.payments.ask(request_of(transaction=transaction)), PaymentAsked)


def test_one_that_outlives_its_time_becomes_unknown_with_one_task(
    store: Store, request_of, clock: TickingClock
) -> None:
    asked = store.payments.ask(request_of())
    assert store.payments.expire_asked(clock()) == 0
    clock.advance(seconds=21)
    assert store.payments.expire_asked(clock()) == 1
    assert store.payments.expire_asked(clock()) == 0
    (found,) = store.payments.list_payments()
    assert (found.payment_id, found.state) == (asked.payment.payment_id, PaymentState.UNKNOWN)
    assert tasks(store) == 1
    late = store.payments.record(found.payment_id, PaymentState.PAID, by=SettledBy.ILS_LATE)
    assert late.state is PaymentState.PAID
    assert tasks(store) == 0
    assert store.payments.list_payments() == ()
    assert len(store.payments.list_payments(settled=True)) == 1


def test_a_repeat_that_comes_first_makes_it_unknown_too(
    store: Store, request_of, clock: TickingClock
) -> None:
    store.payments.ask(request_of())
    clock.advance(seconds=21)
    repeated = store.payments.ask(request_of())
    assert isinstance(repeated, PaymentRepeated)
    assert repeated.payment.state is PaymentState.UNKNOWN
    assert tasks(store) == 1


def test_a_refused_one_may_be_sent_again(store: Store, request_of) -> None:
    asked = store.payments.ask(request_of())
    store.payments.record(asked.payment.payment_id, PaymentState.REFUSED, code="bad_amount")
    assert isinstance(store.payments.ask(request_of()), PaymentAsked)


def test_where_the_ils_hears_every_repeat_a_paid_one_is_asked_anew(
    store: Store, request_of
) -> None:
    asked = store.payments.ask(request_of())
    store.payments.record(asked.payment.payment_id, PaymentState.PAID)
    assert isinstance(store.payments.ask(request_of(again=True)), PaymentAsked)


def test_many_repeats_at_once_are_one_payment(store: Store, request_of) -> None:
    answers: list[object] = []
    gate = threading.Barrier(8)
    one = request_of()

    def ask() -> None:
        gate.wait(10)
        answers.append(store.payments.ask(replace(one)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 8
    assert sum(isinstance(answer, PaymentAsked) for answer in answers) == 1


def test_the_payer_is_nowhere_in_clear(store: Store, request_of) -> None:
    store.payments.ask(request_of(payer=IlsPatronId("500230201503010015")))
    store.payments.ask(request_of(payer=IlsPatronId("S77777777")))
    rows = str(store.database.fetch("SELECT * FROM payment", ()))
    audited = str(store.database.fetch("SELECT * FROM audit", ()))
    for number in ("500230201503010015", "S77777777"):
        assert number not in rows
        assert number not in audited
