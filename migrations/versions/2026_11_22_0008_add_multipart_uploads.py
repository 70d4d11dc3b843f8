"""Add multipart uploads and their parts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0008'
down_revision: str | None = '0007'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        'uploads',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('filename', sa.String(), nullable=False),
        sa.Column('purpose', sa.String(), nullable=False),
        sa.Column('bytes', sa.BigInteger(), nullable=False),
        sa.Column('expires_after_seconds', sa.Integer()),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('claim', sa.String()),
        sa.Column('claimed_until', sa.DateTime(timezone=True)),
        sa.Column('part_ids', postgresql.JSONB(astext_type=sa.Text())),
        sa.Column('md5', sa.String()),
        sa.Column('file_id', sa.String()),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'completing', 'completed', 'cancelled', 'expired')",
            name=op.f('ck_uploads_state'),
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name=op.f('fk_uploads_project_id')
        ),
        sa.ForeignKeyConstraint(['file_id'], ['files.id'], name=op.f('fk_uploads_file_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_uploads')),
    )
    op.create_index(
        'ix_uploads_open',
        'uploads',
        ['expires_at'],
        postgresql_where=sa.text("state IN ('pending', 'completing')"),
    )
    op.create_index(op.f('ix_uploads_project_id'), 'uploads', ['project_id'])
    op.create_table(
        'upload_parts',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('upload_id', sa.String(), nullable=False),
        sa.Column('bytes', sa.BigInteger(), nullable=False),
        sa.Column('storage_key', sa.String(), nullable=False),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ['upload_id'], ['uploads.id'], name=op.f('fk_upload_parts_upload_id')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_upload_parts')),
        sa.UniqueConstraint('storage_key', name=op.f('uq_upload_parts_storage_key')),
    )
    op.create_index(op.f('ix_upload_parts_upload_id'), 'upload_parts', ['upload_id'])


def downgrade() -> None:
    op.drop_table('upload_parts')
    op.drop_table('uploads')
