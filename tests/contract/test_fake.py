"""The fake ILSs keep the contract of the port, each within what it claims."""

from __future__ import annotations

import pytest

from connector.testing.fake_ils import folio_b, koha_a, sip_c
from connector.testing.fake_seed import FakeSeed
from connector.testing.ils_contract import IlsAdapterContract


class TestKohaA(IlsAdapterContract):
    @pytest.fixture
    def adapter(self):
        return koha_a()


class TestFolioB(IlsAdapterContract):
    @pytest.fixture
    def adapter(self):
        return folio_b()


class TestSipC(IlsAdapterContract):
    @pytest.fixture
    def adapter(self):
        return sip_c()

    @pytest.fixture
    def seed(self, adapter):
        return FakeSeed(adapter)
