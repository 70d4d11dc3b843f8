"""Add stored responses, whose bytes count as the project's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0037"
down_revision: str | None = "0036"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

STATES = "'queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled'"
# As those of stored completions.
USAGE_FUNCTION = """
CREATE FUNCTION responses_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        VALUES (OLD.project_id, -OLD.bytes, 0);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO storage_usage (project_id, bytes, files) VALUES (NEW.project_id, NEW.bytes, 0);
    END IF;
    RETURN NULL;
END
$$
"""
USAGE_TRIGGER = """
CREATE TRIGGER responses_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF bytes ON responses
FOR EACH ROW EXECUTE FUNCTION responses_record_storage_usage()
"""
# Deleted texts stay on the disk until a vacuum: not only once a fifth of a large table is deleted.
VACUUM_SOON = """
ALTER TABLE responses SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 200
)
"""


def upgrade() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String()),
        sa.Column("previous_id", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("is_background", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("engine_request", sa.LargeBinary()),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(f"state IN ({STATES})", name="state"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_responses_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_project_id", "responses", ["project_id"])
    op.create_index("ix_responses_created_at", "responses", ["created_at"])
    op.execute(USAGE_FUNCTION)
    op.execute(USAGE_TRIGGER)
    op.execute(VACUUM_SOON)


def downgrade() -> None:
    op.drop_table("responses")
    op.execute("DROP FUNCTION responses_record_storage_usage()")
