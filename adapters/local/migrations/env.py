"""Run the migrations of the embedded ILS on the connection that the caller opened."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from adapters.local.tables import METADATA


def run(connection: Connection) -> None:
    """Run in the caller's own transaction, so that two processes cannot both upgrade."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=True,
        transactional_ddl=True,
    )
    context.run_migrations()


run(context.config.attributes["connection"])
