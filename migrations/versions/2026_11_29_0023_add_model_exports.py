"""Add exports of fine-tuned models."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0023'
down_revision: str | None = '0022'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    now = sa.text('clock_timestamp()')
    op.create_table(
        'model_exports',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('model_name', sa.String(), nullable=False),
        sa.Column('format', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('attempt', sa.BigInteger(), server_default='0', nullable=False),
        sa.Column('failures', sa.Integer(), server_default='0', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column('wanted_at', sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column('started_at', sa.DateTime(timezone=True)),
        sa.Column('lease_until', sa.DateTime(timezone=True)),
        sa.Column('storage_key', sa.String()),
        sa.Column('bytes', sa.BigInteger()),
        sa.Column('sha256', sa.String()),
        sa.Column('error', sa.String()),
        sa.CheckConstraint(
            "format IN ('peft', 'merged', 'gguf', 'hf', 'onnx')", name='format'
        ),
        sa.CheckConstraint("state IN ('queued', 'running', 'ready', 'failed')", name='state'),
        sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name='fk_model_exports_project_id'),
        sa.PrimaryKeyConstraint('id', name='pk_model_exports'),
        sa.UniqueConstraint('model_name', 'format', name='uq_model_exports_model_name_format'),
    )
    op.create_index('ix_model_exports_project_id', 'model_exports', ['project_id'])


def downgrade() -> None:
    op.drop_table('model_exports')
