"""Add stored chat completions, whose bytes count as the project's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0031'
down_revision: str | None = '0030'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# As those of files: triggers, so that every way of adding and deleting rows is counted.
USAGE_FUNCTION = """
CREATE FUNCTION stored_completions_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER stored_completions_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF bytes ON stored_completions
FOR EACH ROW EXECUTE FUNCTION stored_completions_record_storage_usage()
"""
# Deleted texts stay on the disk until a vacuum: not only once a fifth of a large table is deleted.
VACUUM_SOON = """
ALTER TABLE stored_completions SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 200
)
"""


def upgrade() -> None:
    op.create_table(
        'stored_completions',
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('model', sa.String(), nullable=False),
        sa.Column(
            'user_metadata', postgresql.JSONB(astext_type=sa.Text()), nullable=False
        ),
        sa.Column('request', sa.LargeBinary(), nullable=False),
        sa.Column('response', sa.LargeBinary(), nullable=False),
        sa.Column('bytes', sa.BigInteger(), nullable=False),
        sa.Column('rating', sa.String()),
        sa.Column('correction', sa.String()),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.CheckConstraint("rating IN ('good', 'bad')", name='rating'),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name='fk_stored_completions_project_id'
        ),
        sa.PrimaryKeyConstraint('project_id', 'id', name='pk_stored_completions'),
    )
    op.create_index(
        'ix_stored_completions_project_page',
        'stored_completions',
        ['project_id', 'created_at', 'id'],
    )
    op.create_index(
        'ix_stored_completions_user_metadata',
        'stored_completions',
        ['user_metadata'],
        postgresql_using='gin',
        postgresql_ops={'user_metadata': 'jsonb_path_ops'},
    )
    op.create_index('ix_stored_completions_created_at', 'stored_completions', ['created_at'])
    op.execute(USAGE_FUNCTION)
    op.execute(USAGE_TRIGGER)
    op.execute(VACUUM_SOON)


def downgrade() -> None:
    op.drop_table('stored_completions')
    op.execute('DROP FUNCTION stored_completions_record_storage_usage()')
