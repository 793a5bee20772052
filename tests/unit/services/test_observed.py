"""What a watched adapter tells, and that it changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.errors import AdapterUnavailable, OutcomeUnknown
from connector.ports.ils import Capability, ExchangeContext
from connector.ports.watch import ILS_TIME
from connector.services.observed import OPERATIONS, observe_adapter
from connector.testing.fake_ils import FakeIls
from connector.testing.faults import Fault, FaultKind

LIB = InstitutionId("LIB")
CARD, BOOK = IlsPatronId("P1"), Barcode("B1")
CONTEXT = ExchangeContext(at=datetime(2026, 11, 21, tzinfo=UTC))


class Remembers:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.wrong_pins = 0

    def note_ils(self, institution, operation, outcome, seconds) -> None:
        assert seconds >= 0
        self.calls.append((institution, operation, outcome))

    def note_refusal(self, institution, reason, *, enforced) -> None:
        raise AssertionError("an adapter refuses nothing in the policy's name")

    def note_wrong_pin(self, institution) -> None:
        self.wrong_pins += 1


@pytest.fixture
def ils() -> FakeIls:
    ils = FakeIls(LIB)
    ils.new_patron(CARD, pin="1234")
    ils.new_item(BOOK)
    return ils


def test_every_operation_of_the_port_is_timed_and_nothing_else() -> None:
    methods = {one.value for one in Capability if one.value in OPERATIONS}
    words = {"adopt_patron", "list_loans", "loan_due_dates", "set_due_date"}
    assert methods == {one.value for one in Capability} - words
    assert {"ping"} <= OPERATIONS
    assert "close" not in OPERATIONS
    assert "capabilities" not in OPERATIONS


def test_what_became_of_a_call_is_told(ils: FakeIls) -> None:
    seen = Remembers()
    watched = observe_adapter(ils, LIB, seen)
    assert watched.capabilities == ils.capabilities
    assert watched.checkout(CARD, BOOK, CONTEXT).ok
    ils.fail("checkin", Fault(FaultKind.NOT_SENT), Fault(FaultKind.NO_ANSWER))
    with pytest.raises(AdapterUnavailable):
        watched.checkin(BOOK, CONTEXT)
    with pytest.raises(OutcomeUnknown):
        watched.checkin(BOOK, CONTEXT)
    assert seen.calls == [
        (LIB, "checkout", "answered"),
        (LIB, "checkin", "unavailable"),
        (LIB, "checkin", "unknown"),
    ]


def test_wrong_pins_are_counted_and_missing_ones_are_not(ils: FakeIls) -> None:
    seen = Remembers()
    watched = observe_adapter(ils, LIB, seen)
    watched.fetch_patron(CARD)
    watched.fetch_patron(CARD, "1234")
    assert watched.verify_pin(CARD, "1234")
    assert seen.wrong_pins == 0
    watched.fetch_patron(CARD, "9999")
    assert not watched.verify_pin(CARD, "9999")
    assert seen.wrong_pins == 2


def test_time_is_added_up_for_the_thread_that_waited(ils: FakeIls) -> None:
    watched = observe_adapter(ils, LIB, Remembers())
    ILS_TIME.seconds = 0.0
    watched.ping()
    first = ILS_TIME.seconds
    assert first > 0
    watched.ping()
    assert ILS_TIME.seconds > first


def test_an_operation_that_is_replaced_later_is_called(ils: FakeIls, monkeypatch) -> None:
    watched = observe_adapter(ils, LIB, Remembers())
    monkeypatch.setattr(ils, "verify_pin", lambda *_: True)
    assert watched.verify_pin(CARD, "9999")
