"""Add conversations, whose bytes count as the project's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0033"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# As those of stored completions. The row of a conversation has the bytes of its items.
USAGE_FUNCTION = """
CREATE FUNCTION conversations_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER conversations_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF bytes ON conversations
FOR EACH ROW EXECUTE FUNCTION conversations_record_storage_usage()
"""
# Deleted texts stay on the disk until a vacuum: not only once a fifth of a large table is deleted.
VACUUM_SOON = """
ALTER TABLE conversation_items SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 200
)
"""


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_conversations_project_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_project_id", "conversations", ["project_id"])
    op.create_index("ix_conversations_updated_at", "conversations", ["updated_at"])
    op.create_table(
        "conversation_items",
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name="fk_conversation_items_conversation_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("conversation_id", "number", name="pk_conversation_items"),
        sa.UniqueConstraint(
            "conversation_id", "id", name="uq_conversation_items_conversation_id_id"
        ),
    )
    op.execute(USAGE_FUNCTION)
    op.execute(USAGE_TRIGGER)
    op.execute(VACUUM_SOON)


def _time(name: str) -> sa.Column[sa.DateTime]:
    default = sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=False)


def downgrade() -> None:
    op.drop_table("conversation_items")
    op.drop_table("conversations")
    op.execute("DROP FUNCTION conversations_record_storage_usage()")
