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
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import InstitutionId
from connector.domain.patron import StandingState
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.provisioning import ActivationOutcome, ProvisioningService
from connector.storage.store import Store
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.busy_ils import BusyIls
from tests.support.crash import LIBRARY, open_application
from tests.support.open_cards import seed_approved

ROOT = Path(__file__).parents[2]
COUNTY = InstitutionId("FD")
PUPILS = 2000


class Naps:
    """Stands for sleeping: says how long it would have been, and lets no time pass."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, seconds: float) -> None:
        with self._lock:
            self.taken.append(seconds)


def busy_ils() -> BusyIls:
    """Return the ILS of scenario 29; the numbers are those of its creates."""
    faults = {
        300: Fault(FaultKind.UNEXPECTED),
        500: Fault(FaultKind.DONE_NO_ANSWER),
        501: Fault(FaultKind.NO_ANSWER),
        900: Fault(FaultKind.DONE_LATER_NO_ANSWER),
        1500: Fault(FaultKind.DONE_NO_ANSWER),
    }
    limited = frozenset(range(700, 712))
    return BusyIls("FD", faults=faults, limited=limited, token_ends_at=1200)


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
def test_s29_two_thousand_cards_with_faults_make_one_account_each(store: Store) -> None:
    applications = seed_approved(store, COUNTY, PUPILS)
    ils, naps = busy_ils(), Naps()
    given: dict[str, list[str]] = {}
    began = time.monotonic()
    results = provisioning(store, ils, naps).activate(
        applications,
        actor="librarian",
        on_result=lambda result: given.setdefault(result.card, []).append(result.pin),
    )
    took = time.monotonic() - began
    ils.land()
    assert Counter(result.outcome for result in results) == {ActivationOutcome.ACTIVATED: PUPILS}
    accounts = ils.stock.patrons.values()
    assert len({account.external_id for account in accounts}) == PUPILS
    assert len(accounts) == PUPILS == ils.accounts_made
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
    assert took < 60


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


def _read(pins: Path) -> dict[str, str]:
    """Return card → PIN of the lines that are whole."""
    if not pins.exists():
        return {}
    text = pins.read_text(encoding="utf-8")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))[1:]
    return {line[1]: line[2] for line in lines}
