"""what the archive, corrections and objects need"""

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state IN ('starting', 'running')")
# SQLite alters a table by copying it; AUTOINCREMENT is not seen by the reflection that the copy is made from.
_OUTBOX = {"sqlite_autoincrement": True}


def upgrade() -> None:
    op.create_table(
        "ledgers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledgers")),
    )
    _name_the_ledger_of_each_surgery()
    _give_each_fact_an_id()
    with op.batch_alter_table("postings") as table:
        table.add_column(sa.Column("reason", sa.String(length=500), nullable=True))
        table.add_column(sa.Column("request_key", sa.String(length=128), nullable=True))
        table.create_check_constraint(
            op.f("ck_postings_correction_has_a_reason"), "source <> 'correction' OR reason IS NOT NULL"
        )
        table.create_unique_constraint(op.f("uq_postings_run_id_request_key"), ["run_id", "request_key"])
    op.create_table(
        "objects",
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content_type", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("sighting_id", sa.Uuid(), nullable=True),
        sa.Column("confirmation_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=False),
        sa.CheckConstraint("kind IN ('picture', 'clip', 'question', 'answer')", name=op.f("ck_objects_kind")),
        sa.CheckConstraint("state IN ('waiting', 'stored', 'lost', 'expired')", name=op.f("ck_objects_state")),
        sa.CheckConstraint(
            "state <> 'stored' OR (size IS NOT NULL AND sha256 IS NOT NULL)", name=op.f("ck_objects_stored_is_known")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_objects_run_id_surgeries")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_objects_sighting_id_sightings")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_objects")),
    )
    op.create_index(op.f("ix_objects_run_id"), "objects", ["run_id"], unique=False)
    op.create_index("ix_objects_state_created", "objects", ["state", "created_at"], unique=False)


def downgrade() -> None:
    op.drop_table("objects")
    with op.batch_alter_table("postings") as table:
        table.drop_constraint(op.f("uq_postings_run_id_request_key"), type_="unique")
        table.drop_constraint(op.f("ck_postings_correction_has_a_reason"), type_="check")
        table.drop_column("request_key")
        table.drop_column("reason")
    with op.batch_alter_table("outbox", table_kwargs=_OUTBOX) as table:
        table.drop_constraint(op.f("uq_outbox_id"), type_="unique")
        table.drop_column("id")
    op.drop_index("uq_surgeries_active", "surgeries")
    with op.batch_alter_table("surgeries") as table:
        table.drop_constraint(op.f("fk_surgeries_ledger_id_ledgers"), type_="foreignkey")
        table.drop_column("ledger_id")
    op.create_index(
        "uq_surgeries_active",
        "surgeries",
        ["surgery_id"],
        unique=True,
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )
    op.drop_table("ledgers")


def _name_the_ledger_of_each_surgery() -> None:
    """What is here already belongs to one ledger: until now there was no other."""
    connection = op.get_bind()
    with op.batch_alter_table("surgeries") as table:
        table.add_column(sa.Column("ledger_id", sa.Uuid(), nullable=True))
    surgeries = sa.table("surgeries", sa.column("ledger_id", sa.Uuid()))
    if connection.execute(sa.select(sa.func.count()).select_from(surgeries)).scalar_one():
        ledgers = sa.table(
            "ledgers",
            sa.column("id", sa.Uuid()),
            sa.column("host", sa.String()),
            sa.column("created_at", sa.DateTime(timezone=True)),
        )
        ledger_id = uuid4()
        connection.execute(sa.insert(ledgers).values(id=ledger_id, host="", created_at=datetime.now(UTC)))
        connection.execute(sa.update(surgeries).values(ledger_id=ledger_id))
    op.drop_index("uq_surgeries_active", "surgeries")
    with op.batch_alter_table("surgeries") as table:
        table.alter_column("ledger_id", existing_type=sa.Uuid(), nullable=False)
        table.create_foreign_key(op.f("fk_surgeries_ledger_id_ledgers"), "ledgers", ["ledger_id"], ["id"])
    op.create_index(
        "uq_surgeries_active",
        "surgeries",
        ["ledger_id", "surgery_id"],
        unique=True,
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )


def _give_each_fact_an_id() -> None:
    connection = op.get_bind()
    with op.batch_alter_table("outbox", table_kwargs=_OUTBOX) as table:
        table.add_column(sa.Column("id", sa.Uuid(), nullable=True))
    outbox = sa.table("outbox", sa.column("seq", sa.BigInteger()), sa.column("id", sa.Uuid()))
    for (seq,) in connection.execute(sa.select(outbox.c.seq)).all():
        connection.execute(sa.update(outbox).where(outbox.c.seq == seq).values(id=uuid4()))
    with op.batch_alter_table("outbox", table_kwargs=_OUTBOX) as table:
        table.alter_column("id", existing_type=sa.Uuid(), nullable=False)
        table.create_unique_constraint(op.f("uq_outbox_id"), ["id"])
