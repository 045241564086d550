"""what is before the cameras, and what was heard as an answer"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Until now the latest one counted by a camera was taken for the one in its view. Only a ledger has cameras.
_IN_VIEW = """
INSERT INTO in_view (run_id, camera, label, sighting_id)
SELECT s.run_id, s.camera, s.label, s.id FROM sightings s JOIN surgeries r ON r.id = s.run_id
WHERE r.state = 'running' AND s.id = (
    SELECT t.id FROM sightings t
    WHERE t.run_id = s.run_id AND t.camera = s.camera AND t.outcome IN ('booked', 'asked', 'merged')
    ORDER BY t.started_at DESC LIMIT 1
)
"""


def upgrade() -> None:
    op.create_table(
        "in_view",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("camera", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("sighting_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["surgeries.id"], name=op.f("fk_in_view_run_id_surgeries")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_in_view_sighting_id_sightings")),
        sa.PrimaryKeyConstraint("run_id", "camera", "label", name=op.f("pk_in_view")),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_IN_VIEW)
    op.add_column("confirmations", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("confirmations", sa.Column("asr_text", sa.String(length=500), nullable=True))
    op.add_column("confirmations", sa.Column("asr_provider", sa.String(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("confirmations", "asr_provider")
    op.drop_column("confirmations", "asr_text")
    op.drop_column("confirmations", "attempts")
    op.drop_table("in_view")
