"""The ledger against a model of a few dictionaries: whatever is called in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId, ItemId
from connector.domain.item import LanguageClass
from connector.domain.loan import UNCLOSED, LoanState
from connector.domain.patron import StandingState
from connector.ports.ledger import (
    Adoption,
    AlreadyHere,
    Asked,
    AskLoan,
    NoPlace,
    Place,
    Reconciliation,
    TakenByOther,
)
from connector.ports.store import PersonalData
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.storage.store import Store
from tests.support.store import TickingClock

FDX = InstitutionId("FDX")
PATRONS = st.integers(0, 2)
ITEMS = st.integers(0, 5)
LIMIT, FOREIGN_LIMIT = 3, 1


def is_foreign(item: int) -> bool:
    return item % 2 == 1


def language_of(item: int) -> LanguageClass:
    return LanguageClass.FOREIGN if is_foreign(item) else LanguageClass.CHINESE


class LedgerModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="onecard-model-"))
        url = f"sqlite:///{self.folder / 'store.db'}"
        upgrade_database(url)
        self.clock = TickingClock()
        self.store = Store(url, Keyring.generate(), now=self.clock)
        self.ledger = self.store.ledger
        self.patrons = [
            self.store.people.add_person(
                PersonalData(name="张晓明"),
                [Identifier("card", f"S{n}")],
                home=FDX,
                category="student",
                state=StandingState.ACTIVE,
            )
            for n in range(3)
        ]
        self.loans: dict[str, tuple[int, int]] = {}
        self.states: dict[str, LoanState] = {}
        self.counted: set[str] = set()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def place(self) -> Place:
        now = self.clock()
        return Place(FDX, now, now.date())

    def holder(self, item: int) -> str | None:
        found = [
            loan_id
            for loan_id, (_, held) in self.loans.items()
            if held == item and self.states[loan_id] in UNCLOSED
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def held_by(self, patron: int) -> list[int]:
        return [
            item
            for loan_id, (owner, item) in self.loans.items()
            if owner == patron and self.states[loan_id] in UNCLOSED
        ]

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.loans)), label="loan")

    @rule(patron=PATRONS, item=ITEMS, uncounted=st.integers(0, 1))
    def ask(self, patron: int, item: int, uncounted: int) -> None:
        answer = self.ledger.ask(
            AskLoan(
                patron_id=self.patrons[patron],
                item=ItemId(FDX, Barcode(f"B{item}")),
                lender=FDX,
                ils_patron=IlsPatronId(f"S{patron}"),
                language=language_of(item),
                place=self.place(),
                expires_at=self.clock() + timedelta(seconds=5),
                limit=LIMIT,
                foreign_limit=FOREIGN_LIMIT,
                uncounted=uncounted,
            )
        )
        present, held = self.holder(item), self.held_by(patron)
        foreign = sum(map(is_foreign, held))
        if present is not None:
            same = self.loans[present][0] == patron
            assert isinstance(answer, AlreadyHere if same else TakenByOther)
            assert answer.loan.loan_id == present
        elif len(held) + uncounted >= LIMIT:
            assert isinstance(answer, NoPlace)
            assert not answer.foreign
        elif is_foreign(item) and foreign >= FOREIGN_LIMIT:
            assert isinstance(answer, NoPlace)
            assert answer.foreign
        else:
            assert isinstance(answer, Asked)
            self.loans[answer.loan.loan_id] = (patron, item)
            self.states[answer.loan.loan_id] = LoanState.ASKED

    @precondition(lambda self: self.loans)
    @rule(data=st.data(), disputed=st.booleans())
    def open(self, data: st.DataObject, *, disputed: bool) -> None:
        loan_id = self.pick(data)
        loan = self.ledger.record_open(loan_id, self.place(), due=None, disputed=disputed)
        if self.states[loan_id] in {LoanState.ASKED, LoanState.UNKNOWN} or (
            self.states[loan_id] is LoanState.DISPUTED and not disputed
        ):
            self.states[loan_id] = LoanState.DISPUTED if disputed else LoanState.OPEN
            if not disputed:
                self.counted.add(loan_id)
        assert loan.state is self.states[loan_id]

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        loan_id = self.pick(data)
        loan = self.ledger.record_refused(loan_id, self.place(), reason="ils_refused")
        if self.states[loan_id] in {LoanState.ASKED, LoanState.UNKNOWN}:
            self.states[loan_id] = LoanState.REFUSED
        assert loan.state is self.states[loan_id]

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def lose_the_answer(self, data: st.DataObject) -> None:
        loan_id = self.pick(data)
        loan = self.ledger.record_unknown(loan_id)
        if self.states[loan_id] is LoanState.ASKED:
            self.states[loan_id] = LoanState.UNKNOWN
        assert loan.state is self.states[loan_id]

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def supersede(self, data: st.DataObject) -> None:
        loan_id = self.pick(data)
        self.ledger.record_supersede(loan_id, self.place())
        if self.states[loan_id] in UNCLOSED:
            self.states[loan_id] = LoanState.SUPERSEDED

    @rule(item=ITEMS)
    def give_back(self, item: int) -> None:
        answer = self.ledger.record_return(
            ItemId(FDX, Barcode(f"B{item}")), self.place(), returned_at=self.clock()
        )
        present = self.holder(item)
        assert [loan.loan_id for loan in answer.closed] == ([present] if present else [])
        if present:
            self.states[present] = LoanState.RETURNED

    @rule(patron=PATRONS, item=ITEMS)
    def adopt(self, patron: int, item: int) -> None:
        adoption = Adoption(ItemId(FDX, Barcode(f"B{item}")), language_of(item), None, 0, None)
        before = self.holder(item)
        loans = self.ledger.reconcile(
            Reconciliation(
                self.patrons[patron], FDX, IlsPatronId(f"S{patron}"), self.clock(), adopt=[adoption]
            ),
            self.place(),
        )
        if before is not None:
            if self.loans[before][0] == patron or self.states[before] is LoanState.ASKED:
                return
            self.states[before] = LoanState.SUPERSEDED
        (new,) = [loan.loan_id for loan in loans if loan.loan_id not in self.loans]
        self.loans[new] = (patron, item)
        self.states[new] = LoanState.OPEN

    @rule()
    def time_passes(self) -> None:
        self.clock.advance(seconds=6)
        waiting = [key for key, state in self.states.items() if state is LoanState.ASKED]
        assert self.ledger.expire_asked(self.clock()) == len(waiting)
        self.states.update(dict.fromkeys(waiting, LoanState.UNKNOWN))

    @invariant()
    def ledger_agrees_with_the_model(self) -> None:
        stored = dict(self.store.database.fetch("SELECT loan_id, state FROM loan", ()))
        assert stored == {key: state.value for key, state in self.states.items()}
        for number, patron_id in enumerate(self.patrons):
            listed = self.ledger.list_unclosed(patron_id)
            assert sorted(loan.item.barcode for loan in listed) == sorted(
                f"B{item}" for item in self.held_by(number)
            )

    @invariant()
    def every_open_loan_was_counted_once(self) -> None:
        sql = "SELECT COUNT(*) FROM circulation_fact WHERE verb = 'checkout'"
        assert self.store.database.fetch(sql, ())[0][0] == len(self.counted)

    @invariant()
    def messages_are_unique_per_loan_and_topic(self) -> None:
        sql = "SELECT COUNT(*), COUNT(DISTINCT dedupe) FROM outbox"
        total, distinct = self.store.database.fetch(sql, ())[0]
        assert total == distinct

    @invariant()
    def audit_is_whole(self) -> None:
        assert self.store.audit.verify()[0]


TestLedgerModel = LedgerModel.TestCase
TestLedgerModel.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLedgerModel = pytest.mark.timeout(180)(TestLedgerModel)
