from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from connector.errors import (
    AdapterAuthFailed,
    AdapterUnavailable,
    OutcomeUnknown,
    UnexpectedResponse,
    UnsupportedOperation,
)
from connector.ports.ils import Capability, ExchangeContext, IlsAdapter
from connector.testing.fake_ils import Call, Fault, FaultKind, folio_b, koha_a, sip_c

AT = ExchangeContext(at=datetime(2026, 9, 7, 2, 0, tzinfo=UTC))


class Clock:
    def __init__(self):
        self.now = AT.at

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ils(clock):
    made = koha_a(now=clock)
    made.new_patron("P1")
    made.new_item("B1")
    return made


@pytest.mark.parametrize(
    ("kind", "error", "done_at_once", "done_later"),
    [
        (FaultKind.NOT_SENT, AdapterUnavailable, False, False),
        (FaultKind.AUTH_FAILED, AdapterAuthFailed, False, False),
        (FaultKind.UNEXPECTED, UnexpectedResponse, False, False),
        (FaultKind.NO_ANSWER, OutcomeUnknown, False, False),
        (FaultKind.DONE_NO_ANSWER, OutcomeUnknown, True, True),
        (FaultKind.DONE_LATER_NO_ANSWER, OutcomeUnknown, False, True),
    ],
)
def test_a_fault_raises_its_error_and_leaves_its_effect(ils, kind, error, done_at_once, done_later):
    ils.fail("checkout", Fault(kind))
    with pytest.raises(error):
        ils.checkout("P1", "B1", AT)
    assert (ils.fetch_item_loan("B1") is not None) is done_at_once
    ils.land()
    assert (ils.fetch_item_loan("B1") is not None) is done_later
    assert ils.count_calls("checkout") == 1


@pytest.mark.parametrize(
    ("kind", "done_later"), [(FaultKind.REFUSED, False), (FaultKind.REFUSED_DONE_LATER, True)]
)
def test_a_refusal_may_be_done_all_the_same(ils, kind, done_later):
    ils.fail("checkout", Fault(kind, code="busy", message="再试一次"))
    result = ils.checkout("P1", "B1", AT)
    assert (result.ok, result.code, result.message) == (False, "busy", "再试一次")
    assert ils.fetch_item_loan("B1") is None
    assert ils.land() == int(done_later)
    assert (ils.fetch_item_loan("B1") is not None) is done_later


def test_an_effect_lands_by_the_clock(ils, clock):
    late = Fault(FaultKind.REFUSED_DONE_LATER, lands_after=timedelta(seconds=60))
    ils.fail("checkout", late)
    ils.checkout("P1", "B1", AT)
    clock.now += timedelta(seconds=59)
    assert ils.fetch_item_loan("B1") is None
    clock.now += timedelta(seconds=1)
    assert ils.fetch_item_loan("B1").patron == "P1"


@pytest.mark.parametrize("after", [False, True])
def test_a_slow_ils_waits_for_its_gate_before_or_after_the_effect(ils, after):
    gate, results = threading.Event(), []
    ils.fail("checkout", Fault(gate=gate, gate_after=after))
    worker = threading.Thread(target=lambda: results.append(ils.checkout("P1", "B1", AT)))
    worker.start()
    while ils.count_calls("checkout") == 0 or (after and ils.fetch_item_loan("B1") is None):
        worker.join(0.01)
    assert results == []
    assert (ils.fetch_item_loan("B1") is not None) is after
    gate.set()
    worker.join(30)
    assert results[0].ok


def test_a_gate_that_never_opens_is_an_error(ils):
    ils.fail("checkout", Fault(gate=threading.Event(), patience_s=0.01))
    with pytest.raises(TimeoutError):
        ils.checkout("P1", "B1", AT)


def test_faults_come_once_in_order_and_any_operation_is_a_star(ils):
    ils.fail("fetch_item", Fault(FaultKind.NOT_SENT), Fault(), Fault(FaultKind.NO_ANSWER))
    with pytest.raises(AdapterUnavailable):
        ils.fetch_item("B1")
    assert ils.fetch_item("B1") is not None
    with pytest.raises(OutcomeUnknown):
        ils.fetch_item("B1")
    assert ils.fetch_item("B1") is not None
    ils.fail("*", Fault(FaultKind.NOT_SENT))
    with pytest.raises(AdapterUnavailable):
        ils.fetch_patron("P1")


def test_a_fault_may_stay(ils):
    ils.script.set_always("*", Fault(FaultKind.NO_ANSWER))
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            ils.fetch_item("B1")
    ils.script.set_always("*", None)
    assert ils.fetch_item("B1") is not None


def test_down_is_down_for_everything(ils):
    ils.set_down()
    for ask in (ils.ping, lambda: ils.fetch_patron("P1"), lambda: ils.checkout("P1", "B1", AT)):
        with pytest.raises(AdapterUnavailable):
            ask()
    ils.set_down(down=False)
    ils.ping()
    assert ils.checkout("P1", "B1", AT).ok


def test_calls_are_kept_without_personal_data(ils):
    ils.fetch_patron("P1", "2580")
    ils.checkout("P1", "B1", AT)
    assert ils.calls == [Call("fetch_patron", "P1"), Call("checkout", "P1", "B1")]
    assert "2580" not in repr(ils.calls)


def test_a_script_for_what_cannot_be_refused_is_a_mistake_of_the_test(ils):
    ils.fail("fetch_item", Fault(FaultKind.REFUSED))
    with pytest.raises(ValueError, match="cannot refuse"):
        ils.fetch_item("B1")


def test_sip_c_counts_loans_and_does_not_list_them():
    ils = sip_c()
    ils.new_patron("P1")
    ils.new_item("B1")
    ils.desk_checkout("P1", "B1")
    facts = ils.fetch_patron("P1")
    assert (facts.loans, facts.loans_complete, facts.counts.charged) == ((), False, 1)
    with pytest.raises(UnsupportedOperation):
        ils.loan_rules()


def test_sip_c_renews_on_a_second_checkout():
    ils = sip_c()
    ils.new_patron("P1")
    ils.new_item("B1")
    ils.checkout("P1", "B1", AT)
    assert ils.checkout("P1", "B1", AT).renewed is True
    assert ils.stock.loans["B1"].renewals == 1
    told = ils.fetch_item_loan("B1")
    assert (told.patron, told.renewals, told.checked_out_at) == ("P1", None, None)


def test_folio_b_ignores_the_due_date_and_counts_days_in_utc():
    ils = folio_b()
    ils.new_patron("P1")
    ils.new_item("B1")
    wanted = AT.at + timedelta(days=3)
    given = ils.checkout("P1", "B1", AT, due=wanted).due
    assert Capability.SET_DUE_DATE not in ils.capabilities
    assert given == datetime(2026, 10, 7, 23, 59, 59, tzinfo=UTC)


def test_the_desk_lends_renews_and_takes_back_past_the_connector(ils):
    due = AT.at + timedelta(days=1)
    ils.desk_checkout("P1", "B1", due=due)
    assert ils.fetch_item_loan("B1").due == due
    ils.desk_renew("B1")
    assert ils.fetch_item_loan("B1").renewals == 1
    ils.desk_checkin("B1")
    assert ils.fetch_item_loan("B1") is None
    assert ils.count_calls("checkout") == 0
    with pytest.raises(ValueError, match="unknown_patron"):
        ils.desk_checkout("NOBODY", "B1")


def test_a_fake_is_an_adapter(ils):
    def take(adapter: IlsAdapter):
        return adapter.name

    assert take(ils) == "koha"
