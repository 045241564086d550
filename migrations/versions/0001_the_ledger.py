"""the ledger"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "surgeries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("surgery_id", sa.String(length=6), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('starting', 'running', 'ended', 'failed')", name=op.f("ck_surgeries_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surgeries")),
    )
    op.create_index(op.f("ix_surgeries_surgery_id"), "surgeries", ["surgery_id"], unique=False)
    op.create_index(
        "uq_surgeries_active",
        "surgeries",
        ["surgery_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('starting', 'running')"),
        postgresql_where=sa.text("state IN ('starting', 'running')"),
    )

    op.create_table(
        "camera_holds",
        sa.Column("camera", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_camera_holds_run_id_surgeries")),
        sa.PrimaryKeyConstraint("camera", name=op.f("pk_camera_holds")),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_outbox_run_id_surgeries")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_run_seq", "outbox", ["run_id", "seq"], unique=False)

    op.create_table(
        "sightings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("camera", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("peak", sa.Float(), nullable=False),
        sa.Column("top", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(outcome = 'merged') = (merged_into IS NOT NULL)", name=op.f("ck_sightings_merged_into")),
        sa.CheckConstraint("outcome IN ('booked', 'asked', 'ignored', 'merged')", name=op.f("ck_sightings_outcome")),
        sa.ForeignKeyConstraint(["merged_into"], ["sightings.id"], name=op.f("fk_sightings_merged_into_sightings")),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_sightings_run_id_surgeries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sightings")),
    )
    op.create_index("ix_sightings_run_label", "sightings", ["run_id", "label", "started_at"], unique=False)

    op.create_table(
        "postings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("item_id", sa.String(length=200), nullable=False),
        sa.Column("item_name", sa.String(length=200), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.Column("doctor_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sighting_id", sa.Uuid(), nullable=True),
        sa.Column("confirmation_id", sa.Uuid(), nullable=True),
        sa.Column("voids", sa.Uuid(), nullable=True),
        sa.CheckConstraint("kind <> 'void' OR voids IS NOT NULL", name=op.f("ck_postings_void_names_its_posting")),
        sa.CheckConstraint("kind IN ('consumption', 'placeholder', 'void')", name=op.f("ck_postings_kind")),
        sa.CheckConstraint("qty = 1", name=op.f("ck_postings_qty")),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_postings_run_id_surgeries")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_postings_sighting_id_sightings")),
        sa.ForeignKeyConstraint(["voids"], ["postings.id"], name=op.f("fk_postings_voids_postings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_postings")),
        sa.UniqueConstraint("sighting_id", "kind", name="uq_postings_sighting_kind"),
        sa.UniqueConstraint("voids", name=op.f("uq_postings_voids")),
    )
    op.create_index(op.f("ix_postings_run_id"), "postings", ["run_id"], unique=False)

    op.create_table(
        "confirmations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("sighting_id", sa.Uuid(), nullable=False),
        sa.Column("placeholder_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("prompt_text", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("model_top1_label", sa.String(length=200), nullable=False),
        sa.Column("model_top1_confidence", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.String(length=64), nullable=True),
        sa.Column("chosen_label", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "(state = 'confirmed') = (chosen_label IS NOT NULL)", name=op.f("ck_confirmations_chosen_label")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'confirmed', 'rejected', 'unresolved')", name=op.f("ck_confirmations_state")
        ),
        sa.ForeignKeyConstraint(
            ["placeholder_id"], ["postings.id"], name=op.f("fk_confirmations_placeholder_id_postings")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_confirmations_run_id_surgeries")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_confirmations_sighting_id_sightings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmations")),
        sa.UniqueConstraint("placeholder_id", name=op.f("uq_confirmations_placeholder_id")),
        sa.UniqueConstraint("sighting_id", name=op.f("uq_confirmations_sighting_id")),
    )
    op.create_index("ix_confirmations_queue", "confirmations", ["run_id", "state", "created_at"], unique=False)


def downgrade() -> None:
    for table in ("confirmations", "postings", "sightings", "outbox", "camera_holds", "surgeries"):
        op.drop_table(table)
