"""imaging jobs, their files, and who did what with them"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "imaging_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=64), nullable=False),
        sa.Column("is_begun", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("message", sa.String(length=1000), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.String(length=32), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("request_key", sa.String(length=128), nullable=True),
        sa.Column("created_at", _AT, nullable=False),
        sa.Column("changed_at", _AT, nullable=False),
        sa.Column("step_at", _AT, nullable=False),
        sa.Column("next_at", _AT, nullable=False),
        sa.Column("ended_at", _AT, nullable=True),
        sa.CheckConstraint("kind IN ('pathology', 'fundus')", name=op.f("ck_imaging_jobs_kind")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_imaging_jobs_state")
        ),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_imaging_jobs_failed_says_why")),
        sa.CheckConstraint("(state = 'done') = (result IS NOT NULL)", name=op.f("ck_imaging_jobs_done_has_a_result")),
        sa.CheckConstraint(
            "(state IN ('done', 'failed', 'cancelled')) = (ended_at IS NOT NULL)", name=op.f("ck_imaging_jobs_ended")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imaging_jobs")),
        sa.UniqueConstraint("request_key", name=op.f("uq_imaging_jobs_request_key")),
    )
    op.create_index("ix_imaging_jobs_state_next", "imaging_jobs", ["state", "next_at"])
    op.create_index("ix_imaging_jobs_created", "imaging_jobs", ["created_at", "id"])
    op.create_table(
        "imaging_files",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("path", sa.String(length=4096), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("key", sa.String(length=400), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'stored', 'expired')", name=op.f("ck_imaging_files_state")),
        sa.ForeignKeyConstraint(["job_id"], ["imaging_jobs.id"], name=op.f("fk_imaging_files_job_id_imaging_jobs")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_imaging_files")),
        sa.UniqueConstraint("key", name=op.f("uq_imaging_files_key")),
    )
    op.create_index("ix_imaging_files_state", "imaging_files", ["state"])
    op.create_table(
        "imaging_accesses",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("caller", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_imaging_accesses")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_imaging_accesses_job_id"), "imaging_accesses", ["job_id"])


def downgrade() -> None:
    op.drop_table("imaging_accesses")
    op.drop_table("imaging_files")
    op.drop_table("imaging_jobs")
