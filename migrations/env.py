"""Runs the history on the database that `daemon.storage.migrate` names: all of it or nothing, one program at a time."""

from typing import Any

import sqlalchemy as sa
from alembic import context

from daemon.storage.schema import metadata

# Any number will do, as long as it stays the same.
_LOCK = 7_306_087


def _leave_transactions_to_us(connection: Any, _record: object) -> None:
    # Python's driver begins none before DDL: a history that breaks half way would leave half of it.
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


engine = sa.create_engine(context.config.attributes["url"], hide_parameters=True)
if engine.dialect.name == "sqlite":
    sa.event.listen(engine, "connect", _leave_transactions_to_us)
    sa.event.listen(engine, "begin", _begin)
try:
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            # Two servers that share an archive may be brought up to date at the same time.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        # SQLite alters tables by copying them: batch mode writes that copy.
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
finally:
    engine.dispose()
