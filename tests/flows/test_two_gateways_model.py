"""The model of SIP2-only libraries with two gateways on one store, repeats on new connections and staff who settle.

Two gateways know nothing of each other but what stands in the store; a kiosk that lost its connection sends
the very same bytes again, to either of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from connector.bootstrap import build
from connector.domain.loan import LoanState
from connector.errors import AdapterUnavailable
from connector.services.open_outcomes import OpenKind, Verdict
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, decode, encode
from tests.flows.test_sip2_model import CODES, HOME, Sip2Only, barcodes, cards, libraries
from tests.support.world import PASSWORD, SHANGHAI, BackgroundServer, Kiosk

gateways = st.sampled_from((0, 1))


class TwoGateways(Sip2Only):
    """As ``Sip2Only``; every kiosk speaks with one gateway after the other."""

    def __init__(self) -> None:
        super().__init__()
        net = self.net
        self.second = build(net.settings, now=net.clock, adapters=net.adapters)
        net._stack.callback(self.second.close)
        server = net._stack.enter_context(BackgroundServer(self.second))
        self.apps = (net.app, self.second)
        self.ports = (net.server.port, server.port)
        self.at = ({code: self.kiosks[code] for code in CODES}, {})
        for code in CODES:
            self.at[1][code] = Kiosk(self.log_in(code, 1), net.clock, SHANGHAI)
        self.last: tuple[str, bytes, Message] | None = None
        self.to_come: list[tuple[datetime, Callable[[], object]]] = []

    # -- an ILS that acts after it has hung up -----------------------------------------------------

    @rule(code=libraries, message=st.sampled_from(("11", "29")))
    def act_a_minute_later(self, code: str, message: str) -> None:
        """The next such message gets no answer, and is carried out a minute later all the same."""
        answers = self.net.sites[code].server.answers
        act = answers[message]

        def later(*arguments: Any) -> Any:
            answers[message] = act
            moment = self.net.clock() + timedelta(seconds=60)
            self.to_come.append((moment, lambda: act(*arguments)))
            raise AdapterUnavailable("local", code, "hangs up")

        answers[message] = later

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what an ILS still does, it does in its own minute."""
        until = self.net.clock() + timedelta(seconds=seconds)
        for moment, act in sorted(self.to_come, key=lambda one: one[0]):
            if moment <= until:
                self.net.clock.moment = max(self.net.clock(), moment)
                act()
        self.to_come = [one for one in self.to_come if one[0] > until]
        self.net.clock.moment = until

    @rule(minutes=st.sampled_from((1, 5, 60)))
    def wait(self, minutes: int) -> None:
        self.pass_time(minutes * 60)

    @rule()
    def work(self) -> None:
        self.work_at(0)

    def log_in(self, code: str, gateway: int) -> Sip2Client:
        client = self.net._stack.enter_context(
            Sip2Client("127.0.0.1", self.ports[gateway], timeout_s=30)
        )
        assert client.login(f"kiosk-{code}", PASSWORD)
        return client

    @rule()
    def change_over(self) -> None:
        """The kiosks go to the other gateway."""
        first, second = self.at
        self.kiosks = second if self.kiosks is first else first

    # -- repeats -----------------------------------------------------------------------------------

    @rule(card=cards, barcode=barcodes, gateway=gateways)
    def check_out_by_bytes(self, card: str, barcode: str, gateway: int) -> None:
        kiosk = self.at[gateway][HOME[barcode]]
        self.send(barcode, kiosk.checkout_request(card, barcode), gateway)

    @rule(barcode=barcodes, gateway=gateways)
    def check_in_by_bytes(self, barcode: str, gateway: int) -> None:
        stamp = self.at[gateway][HOME[barcode]].stamp()
        fixed = {"no_block": "N", "transaction_date": stamp, "return_date": stamp}
        fields = [("AP", ""), ("AO", ""), ("AB", barcode), ("AC", "")]
        self.send(barcode, Message("09", fixed, fields), gateway)

    @rule(card=cards, barcode=barcodes, gateway=gateways)
    def renew_by_bytes(self, card: str, barcode: str, gateway: int) -> None:
        stamp = self.at[gateway][HOME[barcode]].stamp()
        fixed = {"third_party_allowed": "N", "no_block": "N", "transaction_date": stamp}
        self.send(
            barcode, Message("29", fixed, [("AO", ""), ("AA", card), ("AB", barcode)]), gateway
        )

    def send(self, barcode: str, request: Message, gateway: int) -> None:
        profile = self.at[0][HOME[barcode]].client.profile
        raw = encode(request, profile, sequence="4", error_detection=True)
        self.last = (barcode, raw, self.exchange(barcode, raw, gateway))
        self.repeat_at_once(gateway)

    def exchange(self, barcode: str, raw: bytes, gateway: int) -> Message:
        with Sip2Client("127.0.0.1", self.ports[gateway], timeout_s=30) as client:
            assert client.login(f"kiosk-{HOME[barcode]}", PASSWORD)
            frame = decode(client.exchange_raw(raw), client.profile)
        assert frame.message is not None
        return frame.message

    def repeat_at_once(self, gateway: int) -> None:
        assert self.last is not None
        barcode, raw, answer = self.last
        before = self.renewals_of(barcode)
        again = self.exchange(barcode, raw, gateway)
        assert again.fixed == answer.fixed, "the same gateway, the same bytes, another answer"
        assert self.renewals_of(barcode) == before, "done twice"

    @rule()
    @precondition(lambda self: self.last is not None)
    def repeat_at_the_other_gateway(self) -> None:
        """A gateway that knows the bytes no more does what they say, within the policy."""
        assert self.last is not None
        barcode, raw, _ = self.last
        for gateway in (0, 1):
            before = self.renewals_of(barcode)
            answer = self.exchange(barcode, raw, gateway)
            if answer.code == "12":
                assert self.renewals_of(barcode) in {before, 0, None}, "a checkout renewed"

    # -- people ------------------------------------------------------------------------------------

    @rule(gateway=gateways)
    def work_at(self, gateway: int) -> None:
        self.pass_time(200)
        self.apps[gateway].settlement.run_once()
        self.apps[gateway].replay.run_all()

    @rule(code=libraries, gateway=gateways, says_yes=st.booleans())
    def settle_by_hand(self, code: str, gateway: int, *, says_yes: bool) -> None:
        """Somebody says what became of something; while the ILS is away, only what is true."""
        app = self.apps[gateway]
        for found in app.open_outcomes.list_open(None):
            loan = found.loan
            if found.institution != code or loan is None or loan.state is LoanState.ASKED:
                continue
            now_with = self.net.ils_loan(code, loan.item.barcode)
            has_it = now_with is not None and now_with.patron == loan.ils_patron
            if found.kind is OpenKind.RENEWAL:
                renewed = now_with is not None and (now_with.renewals or 0) > loan.renewals
                yes = renewed if code in self.away else says_yes
                verdict = Verdict.RENEWED if yes else Verdict.NOT_RENEWED
            else:
                yes = has_it if code in self.away else says_yes
                verdict = Verdict.LENT if yes else Verdict.NOT_LENT
            app.open_outcomes.settle(loan, verdict, reason="seen", actor="staff")

    def recover(self) -> None:
        self.pass_time(600)
        super().recover()
        for kiosks in self.at:
            for kiosk in kiosks.values():
                for card in self.people:
                    kiosk.information(card)


TestTwoGateways = TwoGateways.TestCase
TestTwoGateways.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
