"""What Alembic runs: on the connection, and within the transaction, that :func:`migrate` opened."""

from alembic import context

from headway.storage.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
