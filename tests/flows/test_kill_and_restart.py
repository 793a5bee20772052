"""Scenario 14: the connector is killed at every step of a checkout and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from connector.domain.loan import LoanState
from connector.storage import tables
from tests.support.crash import (
    BARCODE,
    CARD,
    LIBRARY,
    NOW,
    STEPS,
    exchange,
    open_application,
    seed,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("step", STEPS)
def test_s14_killed_at_any_step_ends_with_one_loan(
    tmp_path: Path, store_url: str, step: str
) -> None:
    app = open_application(tmp_path, store_url, lambda: NOW)
    patron_id = seed(app)
    app.close()

    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.crash", str(tmp_path), store_url, step],
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    moment = NOW + timedelta(minutes=5)
    app = open_application(tmp_path, store_url, lambda: moment)
    try:
        app.settlement.run_once()
        moment += timedelta(minutes=4)
        app.settlement.run_once()
        answer = app.circulation.checkout(exchange(app))
        assert answer.ok
        assert answer.due is not None
        (loan,) = app.store.ledger.list_unclosed(patron_id)
        assert (loan.state, loan.renewals) == (LoanState.OPEN, 0)
        in_ils = app.adapters[LIBRARY].fetch_patron(CARD).loans
        assert [(one.barcode, one.renewals) for one in in_ils] == [(BARCODE, 0)]
        assert in_ils[0].due == loan.due == answer.due
        with app.store.database.read() as connection:
            facts = connection.execute(select(tables.circulation_fact.c.verb)).scalars().all()
            sent = connection.execute(select(tables.outbox.c.topic, tables.outbox.c.payload)).all()
        assert facts == ["checkout"]
        opened = [row for row in sent if loan.loan_id in row.payload]
        assert len(opened) == 1, sent
        valid, _ = app.store.audit.verify()
        assert valid
    finally:
        app.close()
