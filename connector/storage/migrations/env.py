"""What Alembic runs to reach our tables: always within the transaction of ``storage.schema``.

Nothing here opens a database; ``alembic`` is not run from the command line but by ``onecard db``.
"""

from __future__ import annotations

from alembic import context

from connector.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
context.run_migrations()
