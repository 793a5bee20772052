"""Any sequence of loans, returns, outages, lost answers, desks, restarts and worker rounds.

Whatever happens: when the library system is back and the worker has had its rounds, it and the ledger say
the same about every item, unless a person was told; no place in the quota is leaked; nothing is told twice.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connector.domain.ids import Barcode, PatronId
from connector.domain.loan import LoanState
from connector.testing.fake_ils import FakeIls, Fault, FaultKind
from tests.support.world import Kiosk, World

CODES = ("KOHA-A", "SIP-C")
CARDS = ("S1", "S2")
ITEMS = {"KOHA-A": ("A1", "A2"), "SIP-C": ("C1",)}
HOME = {barcode: code for code, barcodes in ITEMS.items() for barcode in barcodes}
LIMIT = 2
SILENT = (FaultKind.NO_ANSWER, FaultKind.DONE_NO_ANSWER, FaultKind.DONE_LATER_NO_ANSWER)

codes = st.sampled_from(CODES)
cards = st.sampled_from(CARDS)
barcodes = st.sampled_from(tuple(HOME))


class Dies(BaseException):
    """The process ends here."""


class Away(RuleBasedStateMachine):
    """Two libraries, two pupils, three books."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="onecard-away-model-"))
        self.world = self.open()
        self.people: dict[str, PatronId] = {
            card: self.world.add_pupil(card, at=CODES) for card in CARDS
        }
        for code, held in ITEMS.items():
            self.world.add_items(code, *held)
        self.kiosks: dict[str, Kiosk] = {}
        self.down: set[str] = set()

    def open(self, before: World | None = None) -> World:
        return World(
            self.folder,
            f"sqlite:///{self.folder}/onecard.db",
            clock=before.clock if before else None,
            adapters={str(code): each for code, each in before.adapters.items()}
            if before
            else None,
            policy=f"max_items = {LIMIT}",
            library='[libraries.away]\ncheckouts = "permit"\nitems = 1\nhours = 1000',
        )

    def teardown(self) -> None:
        try:
            self.settle()
            self.agree()
        finally:
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def ils(self, code: str) -> FakeIls:
        return self.world.ils(code)

    def kiosk(self, code: str) -> Kiosk:
        if code not in self.kiosks:
            self.kiosks[code] = self.world.kiosk(code)
        return self.kiosks[code]

    # -- what happens ------------------------------------------------------------------------------

    @rule(card=cards, barcode=barcodes)
    def check_out(self, card: str, barcode: str) -> None:
        self.kiosk(HOME[barcode]).checkout(card, barcode)
        self.world.clock.advance(minutes=3)

    @rule(barcode=barcodes)
    def check_in(self, barcode: str) -> None:
        self.kiosk(HOME[barcode]).checkin(barcode)
        self.world.clock.advance(minutes=3)

    @rule(card=cards, code=codes)
    def look(self, card: str, code: str) -> None:
        self.kiosk(code).information(card)

    @rule(code=codes)
    def go_away(self, code: str) -> None:
        self.ils(code).set_down()
        self.down.add(code)

    @rule(code=codes)
    def come_back(self, code: str) -> None:
        self.ils(code).set_down(down=False)
        self.down.discard(code)

    @rule(
        code=codes, operation=st.sampled_from(("checkout", "checkin")), kind=st.sampled_from(SILENT)
    )
    def lose_an_answer(self, code: str, operation: str, kind: FaultKind) -> None:
        fault = Fault(kind, lands_after=timedelta(seconds=60))
        self.ils(code).fail(operation, fault)

    @rule(barcode=barcodes)
    def check_in_at_the_desk(self, barcode: str) -> None:
        self.ils(HOME[barcode]).desk_checkin(barcode)
        self.world.clock.advance(minutes=3)

    @rule()
    def work(self) -> None:
        self.world.app.settlement.run_once()
        self.world.app.replay.run_all()
        self.world.clock.advance(seconds=15)

    @rule(
        code=codes,
        method=st.sampled_from(("lease_next", "mark_sent", "finish")),
        after=st.booleans(),
    )
    def be_killed_while_telling(self, code: str, method: str, *, after: bool) -> None:
        """The process dies at a commit of the replay and is started again."""
        deferred = self.world.app.store.deferred
        real = getattr(deferred, method)

        def die(*arguments: object, **more: object) -> None:
            if after:
                real(*arguments, **more)
            raise Dies

        setattr(deferred, method, die)
        try:
            self.world.app.replay.run_library(self.world.ils(code).institution_id)
        except Dies:
            pass
        finally:
            delattr(deferred, method)
        self.restart()

    @rule()
    def restart(self) -> None:
        before = self.world
        before.close()
        self.kiosks = {}
        self.world = self.open(before)

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def the_limit_holds(self) -> None:
        for patron in self.people.values():
            assert len(self.world.app.store.ledger.list_unclosed(patron)) <= LIMIT

    def settle(self) -> None:
        """Everything is back, and the worker has its rounds."""
        for code in CODES:
            self.ils(code).script = type(self.ils(code).script)()
            self.ils(code).set_down(down=False)
        self.world.clock.advance(minutes=20)
        for _ in range(30):
            self.world.app.settlement.run_once()
            self.world.app.replay.run_all()
            self.world.clock.advance(seconds=30)
        for code in CODES:
            for card in CARDS:
                self.kiosk(code).information(card)

    def agree(self) -> None:
        store = self.world.app.store
        left = store.deferred.list_unresolved()
        assert not [work for work in left if work.state.value == "waiting"], left
        listed = {work.item.barcode for work in left}
        for card, patron in self.people.items():
            ours = {
                loan.item.barcode: loan
                for loan in store.ledger.list_unclosed(patron)
                if loan.item.barcode not in listed
            }
            assert {loan.state for loan in ours.values()} <= {LoanState.OPEN, LoanState.DISPUTED}
            lists = {
                barcode
                for barcode, loan in ours.items()
                if loan.lender == "KOHA-A" or self.theirs(barcode) == card
            }
            theirs = {
                barcode
                for barcode in HOME
                if self.theirs(barcode) == card and barcode not in listed
            }
            assert lists == theirs, (card, ours, theirs)
        for code in CODES:
            assert all(loan.renewals == 0 for loan in self.ils(code).stock.loans.values())
        assert store.audit.verify()[0]

    def theirs(self, barcode: str) -> str:
        loan = self.ils(HOME[barcode]).stock.loans.get(Barcode(barcode))
        return "" if loan is None else loan.patron


Away.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAway = Away.TestCase
