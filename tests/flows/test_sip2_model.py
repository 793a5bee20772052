"""Any sequence of kiosks, desks, late answers, lost requests, outages and worker rounds at SIP2-only libraries.

Whatever happens: when everything is back and the worker has had its rounds, the ILSs and the ledger say
the same, unless a person was told; no renewal was made twice by kiosks; the limit held at kiosks.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connector.domain.ids import Barcode, IlsPatronId, PatronId
from connector.domain.loan import LoanState
from connector.errors import AdapterUnavailable
from connector.ports.ils import ExchangeContext
from tests.support.sip2_world import Sip2World
from tests.support.world import Kiosk

CODES = ("SIP-A", "SIP-B")
CARDS = ("S1", "S2")
LIMIT = 3
ITEMS = {"SIP-A": ("A1", "A2", "A3"), "SIP-B": ("B1", "B2")}
HOME = {barcode: code for code, barcodes in ITEMS.items() for barcode in barcodes}
ANSWER_S = 2.0
CHANGES = ("11", "09", "29")

libraries = st.sampled_from(CODES)
cards = st.sampled_from(CARDS)
barcodes = st.sampled_from(tuple(HOME))


class Sip2Only(RuleBasedStateMachine):
    """Two SIP2-only libraries, two pupils, five books."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="onecard-sip2-model-"))
        self.net = Sip2World(
            self.folder,
            f"sqlite:///{self.folder}/onecard.db",
            codes=CODES,
            ils={
                "answer_s": ANSWER_S,
                "connect_s": ANSWER_S,
                "failures": 1000,
                "renews_on_checkout": True,
            },
            policy=f"max_items = {LIMIT}",
            library='[libraries.away]\ncheckouts = "permit"\nitems = 1',
            sip2="answer_deadline_s = 4\nils_deadline_s = 2",
        )
        self.people: dict[str, PatronId] = {
            card: self.net.add_pupil(card, at=CODES) for card in CARDS
        }
        for code, held in ITEMS.items():
            self.net.add_items(code, *held)
        self.kiosks: dict[str, Kiosk] = {code: self.net.kiosk(code) for code in CODES}
        self.away: set[str] = set()
        self.desk_loans = 0

    def teardown(self) -> None:
        try:
            self.recover()
            self.agree()
        finally:
            self.net.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- what readers do ---------------------------------------------------------------------------

    @rule(card=cards, barcode=barcodes)
    def check_out(self, card: str, barcode: str) -> None:
        code = HOME[barcode]
        before = self.renewals_of(barcode)
        answer = self.kiosks[code].checkout(card, barcode)
        told_by_ils = code not in self.away and not self.is_deferred(barcode)
        if answer.fixed["ok"] == "1" and told_by_ils:
            loan = self.net.ils_loan(code, barcode)
            assert loan is not None, "told yes, and the ILS has no loan"
            assert loan.patron == card
        assert self.renewals_of(barcode) in {before, 0, None}, "a checkout renewed"

    @rule(barcode=barcodes)
    def check_in(self, barcode: str) -> None:
        code = HOME[barcode]
        answer = self.kiosks[code].checkin(barcode)
        if answer.fixed["ok"] == "1" and code not in self.away:
            loan = self.net.ils_loan(code, barcode)
            assert loan is None or self.is_deferred(barcode), "told yes, and it is still on loan"

    @rule(card=cards, barcode=barcodes)
    def renew(self, card: str, barcode: str) -> None:
        self.kiosks[HOME[barcode]].renew(card, barcode)

    # -- what the ILS's own staff do ---------------------------------------------------------------

    @rule(card=cards, barcode=barcodes)
    def lend_at_desk(self, card: str, barcode: str) -> None:
        desk = self.net.desk(HOME[barcode])
        if desk.checkout(IlsPatronId(card), Barcode(barcode), self.context()).ok:
            self.desk_loans += 1

    @rule(barcode=barcodes)
    def return_at_desk(self, barcode: str) -> None:
        self.net.desk(HOME[barcode]).checkin(Barcode(barcode), self.context())

    # -- what goes wrong ---------------------------------------------------------------------------

    @rule(code=libraries, message=st.sampled_from(CHANGES), carried_out=st.booleans())
    def lose_an_answer(self, code: str, message: str, *, carried_out: bool) -> None:
        """The next such message is carried out or not, and the line is cut."""
        answers = self.net.sites[code].server.answers
        act = answers[message]

        def once(*arguments: Any) -> Any:
            answers[message] = act
            if carried_out:
                act(*arguments)
            raise AdapterUnavailable("local", code, "hangs up")

        answers[message] = once

    @rule(code=libraries)
    @precondition(lambda self: len(self.away) < len(CODES))
    def go_away(self, code: str) -> None:
        if code not in self.away:
            self.net.stop_ils(code)
            self.away.add(code)

    @rule(code=libraries)
    @precondition(lambda self: self.away)
    def come_back(self, code: str) -> None:
        if code in self.away:
            self.net.start_ils(code)
            self.away.discard(code)

    # -- time --------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from((1, 5, 60)))
    def wait(self, minutes: int) -> None:
        self.net.clock.advance(minutes=minutes)

    @rule()
    def work(self) -> None:
        self.net.clock.advance(seconds=200)
        self.net.app.settlement.run_once()
        self.net.app.replay.run_all()

    # -- what holds --------------------------------------------------------------------------------

    @invariant()
    def the_limit_holds(self) -> None:
        if self.desk_loans:
            return
        for patron in self.people.values():
            assert len(self.net.app.store.ledger.list_unclosed(patron)) <= LIMIT

    def recover(self) -> None:
        for code in tuple(self.away):
            self.come_back(code)
        for _ in range(5):
            self.net.clock.advance(minutes=30)
            self.net.app.settlement.run_once()
            self.net.app.replay.run_all()
        for kiosk in self.kiosks.values():
            for card in CARDS:
                kiosk.information(card)

    def agree(self) -> None:
        told = {(row["barcode"]) for row in self.net.rows("deferred") if row["state"] == "conflict"}
        told |= {row["barcode"] for row in self.net.rows("loan") if row["state"] == "disputed"}
        ours = {
            (loan.item.barcode, card, loan.state)
            for card, patron in self.people.items()
            for loan in self.net.app.store.ledger.list_unclosed(patron)
        }
        assert LoanState.UNKNOWN not in {state for _, _, state in ours}, "open silently"
        theirs = {
            (barcode, loan.patron)
            for barcode, code in HOME.items()
            if (loan := self.net.ils_loan(code, barcode)) is not None
        }
        differing = {(barcode, card) for barcode, card, _ in ours} ^ theirs
        silent = {pair for pair in differing if pair[0] not in told}
        assert silent == set(), (silent, ours, theirs)

    # -- help --------------------------------------------------------------------------------------

    def context(self) -> ExchangeContext:
        return ExchangeContext(at=self.net.clock())

    def renewals_of(self, barcode: str) -> int | None:
        loan = self.net.ils_loan(HOME[barcode], barcode)
        return None if loan is None else loan.renewals

    def is_deferred(self, barcode: str) -> bool:
        return any(
            row["barcode"] == barcode and row["state"] == "waiting"
            for row in self.net.rows("deferred")
        )


TestSip2Only = Sip2Only.TestCase
TestSip2Only.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
