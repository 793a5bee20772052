"""The connector is killed while the library system is away, or while it is being told, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from connector.bootstrap import Application
from connector.domain.loan import LoanState
from connector.ports.ils import ExchangeContext
from tests.support.away_crash import BACK_AT, STEPS, act, open_away
from tests.support.crash import BARCODE, CARD, LIBRARY, NOW, seed

ROOT = Path(__file__).parents[2]


def kill_at(folder: Path, store_url: str, action: str, step: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.away_crash", str(folder), store_url, action, step],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


def settle(folder: Path, store_url: str) -> Application:
    """Start again when the library system is back, and let the worker do its rounds."""
    moment = BACK_AT
    app = open_away(folder, store_url, lambda: moment)
    for _ in range(8):
        app.settlement.run_once()
        app.replay.run_all()
        moment += timedelta(seconds=61)
    return app


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("step", STEPS["checkout"])
def test_killed_while_lending_without_the_system(tmp_path: Path, store_url: str, step: str) -> None:
    app = open_away(tmp_path, store_url, lambda: NOW)
    patron_id = seed(app)
    app.close()
    kill_at(tmp_path, store_url, "checkout", step)
    app = settle(tmp_path, store_url)
    try:
        loans = app.store.ledger.list_unclosed(patron_id)
        in_ils = app.adapters[LIBRARY].fetch_patron(CARD).loans
        kept = step == "ledger.record_open:after"
        assert [loan.item.barcode for loan in loans] == ([BARCODE] if kept else [])
        assert [loan.barcode for loan in in_ils] == ([BARCODE] if kept else [])
        assert app.store.deferred.list_unresolved() == ()
        assert app.store.audit.verify()[0]
    finally:
        app.close()


@pytest.mark.parametrize("step", STEPS["checkin"])
def test_killed_while_taking_back_without_the_system(
    tmp_path: Path, store_url: str, step: str
) -> None:
    app = open_away(tmp_path, store_url, lambda: NOW)
    patron_id = seed(app)
    app.adapters[LIBRARY].checkout(CARD, BARCODE, ExchangeContext(at=NOW - timedelta(days=3)))
    app.close()
    kill_at(tmp_path, store_url, "checkin", step)
    app = settle(tmp_path, store_url)
    try:
        kept = step == "ledger.record_return:after"
        on_loan = app.adapters[LIBRARY].fetch_item_loan(BARCODE) is not None
        assert on_loan is not kept, "the reader was told neither, or it is done"
        assert app.store.ledger.list_unclosed(patron_id) == ()
        assert app.store.deferred.list_unresolved() == ()
    finally:
        app.close()


TOLD = [(step, last) for step in STEPS["replay"] for last in ("checkout", "checkin")]
TOLD.remove(("ils.checkin:after", "checkout"))


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("step", "last"), TOLD)
def test_killed_while_telling_the_system(
    tmp_path: Path, store_url: str, step: str, last: str
) -> None:
    """Both are told once; the second process finishes what the first began."""
    app = open_away(tmp_path, store_url, lambda: NOW)
    patron_id = seed(app)
    assert act(app, "checkout")
    app.close()
    if last == "checkin":
        later = NOW + timedelta(minutes=30)
        app = open_away(tmp_path, store_url, lambda: later)
        assert act(app, "checkin")
        app.close()
    kill_at(tmp_path, store_url, "replay", step)
    app = settle(tmp_path, store_url)
    try:
        adapter = app.adapters[LIBRARY]
        changes = [change.kind for change in adapter.fetch_changes(NOW - timedelta(days=1))]
        assert changes == (["checkout"] if last == "checkout" else ["checkout", "checkin"])
        states = [loan.state for loan in app.store.ledger.list_unclosed(patron_id)]
        assert states == ([LoanState.OPEN] if last == "checkout" else [])
        assert [loan.renewals for loan in adapter.fetch_patron(CARD).loans] == [0] * len(states)
        assert app.store.deferred.list_unresolved() == ()
        assert app.store.audit.verify()[0]
    finally:
        app.close()
