"""The embedded ILS as an adapter: every operation of the port, on one SQLite file.

Nothing here holds logic; the parts do (``patrons``, ``circulation``, ``returns``, ``holds``,
``catalogue``). It serves a book corner without an ILS, the demonstration and the tests, and knows
nothing of the connector's policy.
"""

from __future__ import annotations

from pathlib import Path

from adapters.local.catalogue import LocalCatalogue
from adapters.local.circulation import LocalCirculation
from adapters.local.engine import NAME, Database
from adapters.local.holds import LocalHolds
from adapters.local.patrons import LocalPatrons
from adapters.local.settings import LocalSettings
from connector.domain.wire import WireMessage
from connector.errors import UnsupportedOperation
from connector.ports.ils import (
    API_CAPABILITIES,
    AdapterContext,
    AdapterSpec,
    Capability,
    ExchangeContext,
)

__all__ = ["CAPABILITIES", "SPEC", "LocalAdapter", "build_adapter"]

CAPABILITIES = API_CAPABILITIES
"""Everything but handing on SIP2 messages: it is called, not spoken to."""


class LocalAdapter(LocalPatrons, LocalCirculation, LocalHolds, LocalCatalogue):
    """One library's embedded ILS; safe to call from several threads."""

    capabilities: frozenset[Capability] = CAPABILITIES

    def forward(self, message: WireMessage, context: ExchangeContext) -> WireMessage | None:
        """Not possible: it is called, not spoken to."""
        del message, context
        raise UnsupportedOperation(self.name, self.institution_id, Capability.FORWARD.value)

    def ping(self) -> None:
        """Open the file and read from it."""
        with self.database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar_one()

    def close(self) -> None:
        """Close the file."""
        self.database.close()


def build_adapter(settings: LocalSettings, context: AdapterContext) -> LocalAdapter:
    """Make the adapter of one library; the file is opened at the first use."""
    path = Path(context.data_dir) / (settings.path or f"local-{context.institution_id}.db")
    return LocalAdapter(settings, context, Database(path, context.institution_id))


SPEC = AdapterSpec(
    name=NAME, version="1.0", capabilities=CAPABILITIES, settings=LocalSettings, build=build_adapter
)
