"""Any sequence of imports, reviews, consents, withdrawals, faults, kills and restarts.

Whatever happens: nobody without a valid consent is active, and no child has two accounts.

A kill is an exception that no code catches, at any commit of our database or any request to the
ILS, before it or after it; then everything is built anew over the same files. The ILS lives on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connector.bootstrap import Application, build
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.settings import Settings, parse_settings
from connector.storage.migrate import upgrade_database
from connector.testing.fake_ils import Fault, FaultKind, koha_a
from tests.support.world import SteppingClock, prepare_store, with_store

LIBRARY = InstitutionId("KOHA-A")
SCHOOLS = ("s1", "s2")
CHILDREN = {
    "500230201503010015": "张小江",
    "50023020160615007X": "李知夏",
    "500230202002290017": "周青禾",
}
NUMBERS = tuple(CHILDREN)
FAULTS = (FaultKind.NOT_SENT, FaultKind.NO_ANSWER, FaultKind.DONE_NO_ANSWER, FaultKind.UNEXPECTED)
OPERATIONS = ("upsert_patron", "find_patron", "fetch_patron", "block_patron", "close_patron")
ACTOR = "staff"
KILLS = st.none() | st.integers(0, 20)
"""How many steps a process lives; None = it is not killed."""


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Burns at every step that leaves the process, and kills at the end."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Killed


class Fused:
    """An ILS whose every request burns the fuse, before and after."""

    def __init__(self, real: Any, fuse: Fuse) -> None:
        self._real, self._fuse = real, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in OPERATIONS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse.burn()
            result = found(*args, **kwargs)
            self._fuse.burn()
            return result

        return call


def fuse_commits(app: Application, fuse: Fuse) -> None:
    """Let every unit of work burn the fuse before it commits, and after."""
    begin = app.store.work.begin

    @contextmanager
    def fused() -> Iterator[Any]:
        with begin() as unit:
            yield unit
            fuse.burn()
        fuse.burn()

    app.store.work.begin = fused  # type: ignore[method-assign]


class Enrolment(RuleBasedStateMachine):
    """One library, two schools, three children."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="onecard-model-"))
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.clock = SteppingClock()
        self.fuse = Fuse()
        self.ils = koha_a(now=self.clock)
        self.settings = make_settings(self.folder)
        self.consent: dict[str, bool | None] = dict.fromkeys(NUMBERS, False)
        self.app = self.open()
        for code in SCHOOLS:
            self.app.enrolment.save_school(LIBRARY, code, code)

    def open(self) -> Application:
        adapters: Any = {LIBRARY: Fused(self.ils, self.fuse)}
        app = build(self.settings, now=self.clock, adapters=adapters)
        fuse_commits(app, self.fuse)
        return app

    def teardown(self) -> None:
        self.fuse.left = None
        self.app.close()
        shutil.rmtree(self.folder)

    def run(self, work: Callable[[], object], fuse: int | None) -> bool:
        """Do something; when it is killed, start again. Say whether it ended."""
        self.clock.advance(minutes=3)
        self.fuse.left = fuse
        try:
            work()
        except Killed:
            self.app.close()
            self.app = self.open()
            return False
        finally:
            self.fuse.left = None
        return True

    def applications(self, number: str | None = None) -> tuple[Any, ...]:
        found = self.app.enrolment.store.list_applications(LIBRARY)
        if number is None:
            return found
        person = self.person(number)
        return tuple(each for each in found if each.patron_id == person)

    def person(self, number: str) -> PatronId | None:
        return self.app.store.people.find_person([Identifier("id_card", number)])

    # --- what people do

    @initialize(agreed=st.sets(st.sampled_from(NUMBERS)), opened=st.booleans())
    def begin_the_year(self, agreed: set[str], opened: bool) -> None:
        self.import_roster(SCHOOLS[0], set(NUMBERS), None)
        self.review_and_approve(None)
        for number in sorted(agreed):
            self.consent_given(number, None)
        if opened:
            self.activate(None)

    @rule(operation=st.sampled_from(OPERATIONS), kind=st.sampled_from(FAULTS))
    def disturb_the_ils(self, operation: str, kind: FaultKind) -> None:
        self.ils.fail(operation, Fault(kind))

    @rule(
        school=st.sampled_from(SCHOOLS),
        numbers=st.sets(st.sampled_from(NUMBERS), min_size=1),
        fuse=KILLS,
    )
    def import_roster(self, school: str, numbers: set[str], fuse: int | None) -> None:
        lines = ["身份证号,姓名,联系电话"]
        lines += [f"{number},{CHILDREN[number]},13900000001" for number in sorted(numbers)]
        file = self.folder / "roster.csv"
        file.write_text("\n".join(lines), "utf-8")
        found = self.app.enrolment.find_school(LIBRARY, school)
        self.run(lambda: self.app.enrolment.import_roster(file, found, actor=ACTOR), fuse)

    @rule(fuse=KILLS)
    def review_and_approve(self, fuse: int | None) -> None:
        self.run(lambda: self.app.enrolment.review(self.applications(), actor=ACTOR), fuse)
        self.run(lambda: self.app.enrolment.approve(self.applications(), actor=ACTOR), fuse)

    @rule(number=st.sampled_from(NUMBERS), fuse=KILLS)
    def consent_given(self, number: str, fuse: int | None) -> None:
        chosen = self.applications(number)
        done: list[int] = []

        def record() -> None:
            report = self.app.consents.record(
                chosen, [ConsentScope.CARD], evidence="folder 7", actor=ACTOR
            )
            done.append(report.done)

        ended = self.run(record, fuse)
        if not ended and chosen and not self.consent[number]:
            self.consent[number] = None
        elif ended and done[0]:
            self.consent[number] = True

    @rule(number=st.sampled_from(NUMBERS), fuse=KILLS)
    def consent_refused(self, number: str, fuse: int | None) -> None:
        done: list[int] = []
        chosen = self.applications(number)
        ended = self.run(
            lambda: done.append(self.app.consents.refuse(chosen, actor=ACTOR).done), fuse
        )
        if (ended and done[0]) or (not ended and chosen and self.person(number) is None):
            self.consent[number] = False

    @rule(number=st.sampled_from(NUMBERS), fuse=KILLS)
    def consent_withdrawn(self, number: str, fuse: int | None) -> None:
        chosen = self.applications(number)
        ended = self.run(
            lambda: self.app.consents.withdraw(chosen, ConsentScope.CARD, actor=ACTOR), fuse
        )
        if ended and chosen:
            self.consent[number] = False
        elif not ended and chosen:
            self.consent[number] = None

    @rule(fuse=KILLS)
    def activate(self, fuse: int | None) -> None:
        provisioning = self.app.provisioning(LIBRARY)
        object.__setattr__(provisioning, "workers", 1)
        self.run(lambda: provisioning.activate(self.applications(), actor=ACTOR), fuse)

    @rule(fuse=KILLS)
    def sweep(self, fuse: int | None) -> None:
        self.clock.advance(hours=7)
        self.run(lambda: self.app.closing.sweep(LIBRARY), fuse)

    # --- what always holds

    @invariant()
    def nobody_without_consent_is_active(self) -> None:
        for number, agreed in self.consent.items():
            person = self.person(number)
            if person is None:
                continue
            standing = self.app.store.people.find_standing(person, LIBRARY)
            if standing is not None and standing.state is StandingState.ACTIVE:
                assert agreed is not False, "active without consent"

    @invariant()
    def no_child_has_two_accounts(self) -> None:
        names = [patron.name for patron in self.ils.stock.patrons.values() if not patron.closed]
        assert len(names) == len(set(names)), "two accounts of one child"

    @invariant()
    def no_child_has_two_applications(self) -> None:
        ended = {ApplicationState.REFUSED, ApplicationState.WITHDRAWN}
        people = [each.patron_id for each in self.applications() if each.state not in ended]
        assert len(people) == len(set(people))

    @rule()
    def settle_everything(self) -> None:
        """Without faults and kills the ILS and our register come to agree."""
        self.ils.script = type(self.ils.script)()
        for _ in range(3):
            self.clock.advance(hours=7)
            self.app.closing.sweep(LIBRARY)
        for patron in self.ils.stock.patrons.values():
            if patron.closed:
                continue
            number = next(key for key, name in CHILDREN.items() if name == patron.name)
            if self.consent[number] is False:
                assert patron.blocks, "an account without consent can still borrow"
        intact, _ = self.app.store.audit.verify()[:2]
        assert intact


def make_settings(folder: Path) -> Settings:
    parsed = parse_settings(
        '[store]\nkey_file = "onecard.key"\n[sip2]\nport = 0\n'
        f'[library]\ncode = "{LIBRARY}"\nname = "图书馆"\n'
        "[policy.student]\neffective_from = 2026-09-01\n"
        "[enrolment]\nask_again_after_refusal = true\nprovisioning_workers = 1\n",
        base_dir=folder,
    )
    return with_store(parsed, f"sqlite:///{folder / 'store.db'}")


@pytest.mark.slow
def test_no_account_without_consent_and_none_twice(tmp_path: Path) -> None:
    prepared = make_settings(tmp_path)
    prepare_store(prepared)
    upgrade_database(prepared.store.url)
    model = type("Prepared", (Enrolment,), {"template": tmp_path})
    run = model.TestCase  # type: ignore[attr-defined]
    run.settings = settings(
        max_examples=25,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run("runTest").runTest()
