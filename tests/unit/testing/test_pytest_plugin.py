"""The plugin as an adapter's author uses it: in a project of his own."""

from __future__ import annotations

import os
import subprocess
import sys

SUITE = """
import pytest
from connector.testing.fake_ils import FakeIls
from connector.testing.ils_contract import IlsAdapterContract

def test_three_fakes(koha_ils, folio_ils, sip_ils):
    assert [ils.institution_id for ils in (koha_ils, folio_ils, sip_ils)] == ["KOHA-A", "FOLIO-B", "SIP-C"]

class RefusesReturns(FakeIls):
    def checkin(self, barcode, context, *, returned_at=None):
        from connector.ports.ils import CheckinResult
        return CheckinResult(ok=False, code="no_returns")

class TestMine(IlsAdapterContract):
    @pytest.fixture
    def adapter(self):
        return RefusesReturns()
"""


def test_it_works_in_a_project_of_its_own(tmp_path):
    (tmp_path / "test_mine.py").write_text(SUITE, encoding="utf-8")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "connector.testing.pytest_plugin"),
            *("-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"),
            *("-q", "-k", "three_fakes or not_on_loan_is_accepted", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in ran.stdout
    assert "where False = CheckinResult(ok=False" in ran.stdout
