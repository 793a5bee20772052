"""What pytest must know about this package: readable assertions, and fake libraries as fixtures.

Nothing here asserts. Load it with ``pytest_plugins = ["connector.testing.pytest_plugin"]``.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "connector.testing.contract_patrons",
    "connector.testing.contract_circulation",
    "connector.testing.contract_catalogue",
    "connector.testing.ils_contract",
)

from connector.testing.fake_ils import FakeIls, folio_b, koha_a, sip_c  # noqa: E402 -- after the line above

__all__ = ["folio_ils", "koha_ils", "sip_ils"]


@pytest.fixture
def koha_ils() -> FakeIls:
    """Return ``KOHA-A``: every capability."""
    return koha_a()


@pytest.fixture
def folio_ils() -> FakeIls:
    """Return ``FOLIO-B``: no settable due date, a clock in UTC."""
    return folio_b()


@pytest.fixture
def sip_ils() -> FakeIls:
    """Return ``SIP-C``: SIP2 only, loans counted but not listed."""
    return sip_c()
