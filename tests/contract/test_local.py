"""The embedded ILS keeps the contract of the port."""

from __future__ import annotations

import pytest

from adapters.local.adapter import build_adapter
from adapters.local.settings import LocalSettings
from connector.domain.ids import InstitutionId
from connector.ports.clock import utc_now
from connector.ports.ils import AdapterContext
from connector.testing.ils_contract import IlsAdapterContract


class TestLocal(IlsAdapterContract):
    @pytest.fixture
    def adapter(self, tmp_path):
        context = AdapterContext(InstitutionId("LIB"), "Asia/Shanghai", str(tmp_path), utc_now)
        adapter = build_adapter(LocalSettings(), context)
        yield adapter
        adapter.close()
