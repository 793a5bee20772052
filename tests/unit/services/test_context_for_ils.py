"""What goes to the ILS of a terminal's own message when the patron is enrolled."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from connector.domain.patron import PinRule
from connector.domain.wire import WireMessage
from connector.ports.ils import ExchangeContext
from connector.ports.ledger import Place
from connector.services.desk import Exchange, context_for_ils

AT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
PLACE = Place("LIB", AT, date(2026, 11, 21))


def exchange(request=None, **more):
    context = ExchangeContext(at=AT, pin="1234", request=request)
    return Exchange("LIB", PLACE, context, "B1", **more)


@pytest.mark.parametrize("said", ["Y", "N"])
def test_no_ils_may_renew_by_a_checkout(said):
    request = WireMessage("11", {"sc_renewal_policy": said, "no_block": "N"}, (("XX", "1"),))
    sent = context_for_ils(exchange(request)).request
    assert sent.fixed == {"sc_renewal_policy": "N", "no_block": "N"}
    assert sent.fields == (("XX", "1"),)


def test_other_messages_go_on_as_they_are():
    request = WireMessage("29", {"third_party_allowed": "Y"}, ())
    assert context_for_ils(exchange(request)).request is request
    assert context_for_ils(exchange()).request is None


def test_a_pin_that_nobody_asked_for_stays_here():
    assert context_for_ils(exchange(pin_rule=PinRule.NEVER)).pin is None
    assert context_for_ils(exchange()).pin == "1234"
