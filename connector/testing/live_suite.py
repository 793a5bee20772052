"""The contract suite with an adapter from outside; only ``live`` runs it."""

from __future__ import annotations

import pytest

from connector.ports.ils import IlsAdapter
from connector.testing.ils_contract import IlsAdapterContract, Seed


class TestLiveIls(IlsAdapterContract):
    """Whatever adapter ``live`` was given."""

    @pytest.fixture
    def adapter(self, live_adapter: IlsAdapter) -> IlsAdapter:
        """Return the live adapter."""
        return live_adapter

    @pytest.fixture
    def seed(self, live_seed: Seed) -> Seed:
        """Return what makes throw-away patrons and items there."""
        return live_seed
