"""Runs the history on the database that `daemon.storage.migrate` names."""

import sqlalchemy as sa
from alembic import context

from daemon.storage.schema import metadata

engine = sa.create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    # SQLite alters tables by copying them: batch mode writes that copy.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
