"""The tables. Alembic's history in `migrations/` must give exactly these; a test compares the two.

The constraints make a wrong state impossible: one active run per surgery_id, one active run per camera, one
placeholder per question, at most one void per posting.

The same tables stand in the archive (PostgreSQL), where the ledgers of several servers meet: every run says whose it
is, and what is unique in a ledger is unique per ledger there. `camera_holds`, `in_view` and what is of imaging stay
empty in an archive.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes in and out, UTC in the database. SQLite keeps no zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive datetime must not reach the database"
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert isinstance(value, datetime)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ACTIVE = "state IN ('starting', 'running')"

# A ledger holds one row, itself; an archive one for each ledger that archives there, with how far it has come.
ledgers = sa.Table(
    "ledgers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("archived_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("archived_at", UtcDateTime),
)

surgeries = sa.Table(
    "surgeries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("ledger_id", sa.Uuid, sa.ForeignKey("ledgers.id"), nullable=False),
    sa.Column("surgery_id", sa.String(6), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("cameras", sa.JSON, nullable=False),
    sa.Column("candidates", sa.JSON, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("state IN ('starting', 'running', 'ended', 'failed')", name="state"),
    sa.Index(
        "uq_surgeries_active",
        "ledger_id",
        "surgery_id",
        unique=True,
        sqlite_where=sa.text(_ACTIVE),
        postgresql_where=sa.text(_ACTIVE),
    ),
)

# A row stands for as long as the run holds the camera; the primary key is the reservation.
camera_holds = sa.Table(
    "camera_holds",
    metadata,
    sa.Column("camera", sa.String(64), primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False),
)

sightings = sa.Table(
    "sightings",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False),
    sa.Column("camera", sa.String(64), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("decided_at", UtcDateTime, nullable=False),
    sa.Column("peak", sa.Float, nullable=False),
    sa.Column("top", sa.JSON, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("merged_into", sa.Uuid, sa.ForeignKey("sightings.id")),
    sa.CheckConstraint("outcome IN ('booked', 'asked', 'ignored', 'merged')", name="outcome"),
    sa.CheckConstraint("(outcome = 'merged') = (merged_into IS NOT NULL)", name="merged_into"),
    sa.Index("ix_sightings_run_label", "run_id", "label", "started_at"),
)

# What was counted and is still before the camera: what a restart finds there is not counted again.
in_view = sa.Table(
    "in_view",
    metadata,
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), primary_key=True),
    sa.Column("camera", sa.String(64), primary_key=True),
    sa.Column("label", sa.String(200), primary_key=True),
    sa.Column("sighting_id", sa.Uuid, sa.ForeignKey("sightings.id"), nullable=False),
)

postings = sa.Table(
    "postings",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("item_id", sa.String(200), nullable=False),
    sa.Column("item_name", sa.String(200), nullable=False),
    sa.Column("qty", sa.Integer, nullable=False),
    sa.Column("doctor_id", sa.String(64), nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("timestamp", UtcDateTime, nullable=False),
    sa.Column("posted_at", UtcDateTime, nullable=False),
    sa.Column("sighting_id", sa.Uuid, sa.ForeignKey("sightings.id")),
    sa.Column("confirmation_id", sa.Uuid),
    sa.Column("voids", sa.Uuid, sa.ForeignKey("postings.id"), unique=True),
    sa.Column("reason", sa.String(500)),
    sa.Column("request_key", sa.String(128)),
    sa.CheckConstraint("kind IN ('consumption', 'placeholder', 'void')", name="kind"),
    sa.CheckConstraint("kind <> 'void' OR voids IS NOT NULL", name="void_names_its_posting"),
    # One recognition or one confirmation is one posting of quantity 1.
    sa.CheckConstraint("qty = 1", name="qty"),
    sa.CheckConstraint("source <> 'correction' OR reason IS NOT NULL", name="correction_has_a_reason"),
    sa.UniqueConstraint("sighting_id", "kind", name="uq_postings_sighting_kind"),
    # A correction that is sent twice is one posting.
    sa.UniqueConstraint("run_id", "request_key"),
)

confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False),
    sa.Column("sighting_id", sa.Uuid, sa.ForeignKey("sightings.id"), nullable=False, unique=True),
    sa.Column("placeholder_id", sa.Uuid, sa.ForeignKey("postings.id"), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("prompt_text", sa.Text, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("model_top1_label", sa.String(200), nullable=False),
    sa.Column("model_top1_confidence", sa.Float, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("settled_by", sa.String(64)),
    sa.Column("chosen_label", sa.String(200)),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("asr_text", sa.String(500)),
    sa.Column("asr_provider", sa.String(32)),
    sa.CheckConstraint("state IN ('pending', 'confirmed', 'rejected', 'unresolved')", name="state"),
    sa.CheckConstraint("(state = 'confirmed') = (chosen_label IS NOT NULL)", name="chosen_label"),
    sa.Index("ix_confirmations_queue", "run_id", "state", "created_at"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.Uuid, nullable=False, unique=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("ix_outbox_run_seq", "run_id", "seq"),
    sqlite_autoincrement=True,
)

# What is kept beside the ledger: evidence pictures and clips, questions and answers as sound.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("surgeries.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("content_type", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("sha256", sa.String(64)),
    sa.Column("sighting_id", sa.Uuid, sa.ForeignKey("sightings.id")),
    sa.Column("confirmation_id", sa.Uuid),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("why", sa.String(500), nullable=False),
    sa.CheckConstraint("kind IN ('picture', 'clip', 'question', 'answer')", name="kind"),
    sa.CheckConstraint("state IN ('waiting', 'stored', 'lost', 'expired')", name="state"),
    sa.CheckConstraint("state <> 'stored' OR (size IS NOT NULL AND sha256 IS NOT NULL)", name="stored_is_known"),
    sa.Index("ix_objects_state_created", "state", "created_at"),
)

imaging_jobs = sa.Table(
    "imaging_jobs",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("step", sa.String(64), nullable=False),
    sa.Column("is_begun", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("polls", sa.Integer, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("message", sa.String(1000), nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("outputs", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.String(32)),
    sa.Column("error_code", sa.String(64), nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
    sa.Column("request_key", sa.String(128), unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("step_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("kind IN ('pathology', 'fundus', 'retina')", name="kind"),
    sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
    sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="failed_says_why"),
    sa.CheckConstraint("(state = 'done') = (result IS NOT NULL)", name="done_has_a_result"),
    sa.CheckConstraint("(state IN ('done', 'failed', 'cancelled')) = (ended_at IS NOT NULL)", name="ended"),
    sa.Index("ix_imaging_jobs_state_next", "state", "next_at"),
    sa.Index("ix_imaging_jobs_created", "created_at", "id"),
)

imaging_files = sa.Table(
    "imaging_files",
    metadata,
    sa.Column("job_id", sa.Uuid, sa.ForeignKey("imaging_jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("path", sa.String(4096), nullable=False),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64)),
    sa.Column("key", sa.String(400), unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.CheckConstraint("state IN ('waiting', 'stored', 'expired')", name="state"),
    sa.Index("ix_imaging_files_state", "state"),
)

# Who did what with which job, and what came of it; no row is ever changed.
imaging_accesses = sa.Table(
    "imaging_accesses",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("caller", sa.String(64), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    # Not a foreign key: what was refused has no job.
    sa.Column("job_id", sa.Uuid, index=True),
    sa.Column("outcome", sa.String(64), nullable=False),
    sqlite_autoincrement=True,
)

# What is owed to webhooks; number is the order in which they were asked for.
imaging_deliveries = sa.Table(
    "imaging_deliveries",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.Uuid, nullable=False, unique=True),
    sa.Column("job_id", sa.Uuid, sa.ForeignKey("imaging_jobs.id"), nullable=False, index=True),
    sa.Column("line", sa.String(128), nullable=False),
    sa.Column("url", sa.String(2048), nullable=False),
    sa.Column("body", sa.Text),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.String(500), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ready_at", UtcDateTime),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint("state IN ('waiting', 'ready', 'delivered', 'given_up')", name="state"),
    sa.CheckConstraint("(state = 'ready') = (body IS NOT NULL)", name="ready_has_a_body"),
    sa.CheckConstraint("(state IN ('delivered', 'given_up')) = (ended_at IS NOT NULL)", name="ended"),
    sa.Index("ix_imaging_deliveries_line", "line", "number"),
    sa.Index("ix_imaging_deliveries_state_next", "state", "next_at"),
    sqlite_autoincrement=True,
)
