"""jobs of the retina back end, and what is owed to webhooks"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _kinds("'pathology', 'fundus', 'retina'")
    op.create_table(
        "imaging_deliveries",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.String(length=128), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("ready_at", _AT, nullable=True),
        sa.Column("next_at", _AT, nullable=False),
        sa.Column("ended_at", _AT, nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'delivered', 'given_up')", name=op.f("ck_imaging_deliveries_state")
        ),
        sa.CheckConstraint(
            "(state = 'ready') = (body IS NOT NULL)", name=op.f("ck_imaging_deliveries_ready_has_a_body")
        ),
        sa.CheckConstraint(
            "(state IN ('delivered', 'given_up')) = (ended_at IS NOT NULL)", name=op.f("ck_imaging_deliveries_ended")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["imaging_jobs.id"], name=op.f("fk_imaging_deliveries_job_id_imaging_jobs")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_imaging_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_imaging_deliveries_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_imaging_deliveries_job_id"), "imaging_deliveries", ["job_id"])
    op.create_index("ix_imaging_deliveries_line", "imaging_deliveries", ["line", "number"])
    op.create_index("ix_imaging_deliveries_state_next", "imaging_deliveries", ["state", "next_at"])


def downgrade() -> None:
    op.drop_table("imaging_deliveries")
    for table in ("imaging_accesses", "imaging_files"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM imaging_jobs WHERE kind = 'retina')")  # noqa: S608
    op.execute("DELETE FROM imaging_jobs WHERE kind = 'retina'")
    _kinds("'pathology', 'fundus'")


def _kinds(names: str) -> None:
    with op.batch_alter_table("imaging_jobs") as table:
        table.drop_constraint(op.f("ck_imaging_jobs_kind"), type_="check")
        table.create_check_constraint(op.f("ck_imaging_jobs_kind"), f"kind IN ({names})")
