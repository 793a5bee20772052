"""Opening thousands of cards: faults of the ILS, and a process that is killed (scenario 29)."""

from __future__ import annotations

import csv
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from connector.domain.card import CardRange
from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import BlockReason
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.provisioning import ActivationOutcome, ProvisioningService
from connector.storage.store import Store
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.busy_ils import BusyIls
from tests.support.crash import LIBRARY, open_application
from tests.support.open_cards import enter_again, seed_approved
from tests.support.world import World

ROOT = Path(__file__).parents[2]
COUNTY = InstitutionId("FD")


class Naps:
    """Stands for sleeping: says how long it would have been, and lets no time pass."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, seconds: float) -> None:
        with self._lock:
            self.taken.append(seconds)


def busy_ils(pupils: int) -> BusyIls:
    """Return the ILS of scenario 29; what goes wrong is spread over its creates."""
    first, second, third, fourth = (int(pupils * part) for part in (0.15, 0.25, 0.45, 0.75))
    faults = {
        first: Fault(FaultKind.UNEXPECTED),
        second: Fault(FaultKind.DONE_NO_ANSWER),
        second + 1: Fault(FaultKind.NO_ANSWER),
        third: Fault(FaultKind.DONE_LATER_NO_ANSWER),
        fourth: Fault(FaultKind.DONE_NO_ANSWER),
    }
    begin = int(pupils * 0.35)
    limited = frozenset(range(begin, begin + 12))
    return BusyIls("FD", faults=faults, limited=limited, token_ends_at=int(pupils * 0.6))


def provisioning(store: Store, ils: BusyIls, naps: Naps) -> ProvisioningService:
    rules = EnrolmentRules(
        institution=COUNTY, zone=ZoneInfo("Asia/Shanghai"), cards=CardRange("FD", 1, 99999)
    )
    return ProvisioningService(
        adapter=ils,
        store=store.enrolment,
        register=store.people,
        rules=rules,
        now=lambda: datetime.now(UTC),
        tasks=store.tasks,
        classes=store.schools,
        workers=4,
        sleep=naps,
    )


@pytest.mark.slow
def test_s29_thousands_of_cards_with_faults_make_one_account_each(
    store: Store, store_url: str
) -> None:
    pupils = 2000 if store_url.startswith("sqlite") else 300
    applications = seed_approved(store, COUNTY, pupils)
    ils, naps = busy_ils(pupils), Naps()
    given: dict[str, list[str]] = {}
    began = time.process_time()
    results = provisioning(store, ils, naps).activate(
        applications,
        actor="librarian",
        on_result=lambda result: given.setdefault(result.card, []).append(result.pin),
    )
    took = time.process_time() - began
    ils.land()
    assert Counter(result.outcome for result in results) == {ActivationOutcome.ACTIVATED: pupils}
    accounts = ils.stock.patrons.values()
    assert len({account.external_id for account in accounts}) == pupils
    assert len(accounts) == pupils == ils.accounts_made
    assert {account.external_id for account in accounts} == {
        application.patron_id for application in applications
    }
    assert {card: [patron.pin] for card, patron in ils.stock.patrons.items()} == given
    states = {a.state for a in store.enrolment.list_applications(COUNTY)}
    assert states == {ApplicationState.ACTIVE}
    standing = store.people.find_standing(applications[-1].patron_id, COUNTY)
    assert standing is not None
    assert standing.state is StandingState.ACTIVE
    assert ils.tokens.refreshed == 1
    assert ils.refused_too_many == 12
    pauses = [nap for nap in naps.taken if nap >= 7.0]
    assert 3 <= len(pauses) <= 12, "workers that met the same refusal paused together"
    assert took < 60, "a card costs some milliseconds"


def test_s29_killed_in_the_middle_ends_with_one_account_and_one_pin_each(tmp_path: Path) -> None:
    url, pins = f"sqlite:///{tmp_path}/onecard.db", tmp_path / "pins.csv"
    app = open_application(tmp_path, url, lambda: datetime.now(UTC))
    seed_approved(app.store, LIBRARY, 120)
    app.close()

    command = [sys.executable, "-m", "tests.support.open_cards", str(tmp_path), url, str(pins)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(_read(pins)) < 40 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    first = _read(pins)
    assert 40 <= len(first) < 120

    app = open_application(tmp_path, url, lambda: datetime.now(UTC) + timedelta(minutes=3))
    try:
        applications = app.store.enrolment.list_applications(LIBRARY)
        second: dict[str, str] = {}
        anew: set[str] = set()

        def note(result) -> None:  # type: ignore[no-untyped-def]
            if result.pin:
                second[result.card] = result.pin
            if result.is_pin_new:
                anew.add(result.card)

        results = app.provisioning(LIBRARY).activate(applications, actor="x", on_result=note)
        assert {result.outcome for result in results} <= {
            ActivationOutcome.ACTIVATED,
            ActivationOutcome.ALREADY_ACTIVE,
        }
        assert set(first) & set(second) <= anew, "a PIN given out twice is said to be new"
        adapter = app.adapters[LIBRARY]
        known = first | second
        cards = [a.card for a in app.store.enrolment.list_applications(LIBRARY)]
        assert len(set(cards)) == 120
        assert all(adapter.verify_pin(card, known[card]) for card in cards)
        states = {a.state for a in app.store.enrolment.list_applications(LIBRARY)}
        assert states == {ApplicationState.ACTIVE}
        with sqlite3.connect(next(tmp_path.rglob("local-*.db"))) as own:
            rows = own.execute("SELECT external_id, count(*) FROM patron GROUP BY 1").fetchall()
        own.close()
        assert sorted(rows) == sorted((a.patron_id, 1) for a in applications)
        intact, _ = app.store.audit.verify()
        assert intact
    finally:
        app.close()


def test_s28_who_leaves_with_a_book_keeps_his_number(tmp_path: Path, store_url: str) -> None:
    world = World(tmp_path, store_url)
    a, b = InstitutionId("KOHA-A"), InstitutionId("FOLIO-B")
    try:
        (application,) = seed_approved(world.app.store, a, 1, now=world.clock())
        (opened,) = world.app.provisioning(a).activate([application], actor="librarian")
        world.add_items("KOHA-A", "A1", "A2")
        world.add_items("FOLIO-B", "B1")
        first, second = world.kiosk("KOHA-A"), world.kiosk("FOLIO-B")
        assert first.checkout(opened.card, "A1").fixed["ok"] == "1"

        patron_id = application.patron_id
        world.clock.advance(days=40)
        world.app.closing.begin(patron_id, ClosingReason.LEFT, actor="librarian")
        world.app.closing.sweep(a)
        assert first.checkout(opened.card, "A2").fixed["ok"] == "0"

        moved = enter_again(world.app.store, patron_id, b, now=world.clock())
        (there,) = world.app.provisioning(b).activate([moved], actor="librarian")
        assert (there.outcome, there.card) == (ActivationOutcome.ACTIVATED, opened.card)
        standing = world.app.store.people.find_standing(patron_id, b)
        assert standing is not None
        assert (standing.state, standing.home) == (StandingState.ACTIVE, b)
        assert second.checkout(opened.card, "B1").fixed["ok"] == "1"
        assert second.charged(opened.card) == ["A1", "B1"]
        assert first.checkin("A1").fixed["ok"] == "1"
        assert second.charged(opened.card) == ["B1"]
        world.app.closing.sweep(a)
        world.app.closing.sweep(b)
        assert world.ils("FOLIO-B").stock.find_patron(IlsPatronId(there.card)) is not None

        there_now = seed_approved(world.app.store, b, 1, first=3, now=world.clock())
        other = next(each for each in there_now if each.batch_row == 3)
        (stranger,) = world.app.provisioning(b).activate([other], actor="librarian")
        assert stranger.outcome is ActivationOutcome.ACTIVATED
        assert stranger.card != opened.card, "a number never goes to another person"
    finally:
        world.close()


def test_s28_who_comes_back_gets_his_account_again(tmp_path: Path, store_url: str) -> None:
    world = World(tmp_path, store_url)
    a = InstitutionId("KOHA-A")
    try:
        (application,) = seed_approved(world.app.store, a, 1, now=world.clock())
        (opened,) = world.app.provisioning(a).activate([application], actor="librarian")
        world.add_items("KOHA-A", "A1", "A2")
        kiosk = world.kiosk("KOHA-A")
        kiosk.checkout(opened.card, "A1")
        world.app.closing.begin(application.patron_id, ClosingReason.LEFT, actor="librarian")
        world.app.closing.sweep(a)
        account = world.ils("KOHA-A").stock.patrons[IlsPatronId(opened.card)]
        assert account.blocks == {BlockReason.CARD_CLOSING}
        account.blocks.add(BlockReason.STAFF)

        again = enter_again(world.app.store, application.patron_id, a, now=world.clock())
        (reopened,) = world.app.provisioning(a).activate([again], actor="librarian")
        assert (reopened.outcome, reopened.card) == (ActivationOutcome.ACTIVATED, opened.card)
        assert (reopened.is_pin_new, reopened.pin) == (True, account.pin)
        assert account.blocks == {BlockReason.STAFF}, "what the staff set is the staff's to lift"
        account.blocks.clear()
        assert kiosk.checkout(opened.card, "A2").fixed["ok"] == "1"
        kiosk.checkin("A1")
        kiosk.checkin("A2")
        world.app.closing.sweep(a)
        assert not account.closed
        assert len(world.ils("KOHA-A").stock.patrons) == 1
        cards = [row["card"] for row in world.rows("application")]
        assert sorted(map(str, cards)) == sorted([opened.card, "None"])
    finally:
        world.close()


def _read(pins: Path) -> dict[str, str]:
    """Return card → PIN of the lines that are whole."""
    if not pins.exists():
        return {}
    text = pins.read_text(encoding="utf-8")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))[1:]
    return {line[1]: line[2] for line in lines}
