"""Add model traffic, predictions and drift baselines."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0010'
down_revision: str | None = '0009'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSONB = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    op.add_column('jobs', sa.Column('reference', JSONB))
    op.create_table(
        'model_hours',
        sa.Column('model', sa.String(), nullable=False),
        sa.Column('hour', sa.DateTime(timezone=True), nullable=False),
        sa.Column('counts', JSONB, nullable=False),
        sa.PrimaryKeyConstraint('model', 'hour', name=op.f('pk_model_hours')),
    )
    op.create_index(op.f('ix_model_hours_hour'), 'model_hours', ['hour'])
    op.create_table(
        'predictions',
        sa.Column('request_id', sa.String(), nullable=False),
        sa.Column('model', sa.String(), nullable=False),
        sa.Column('answer_id', sa.String(), nullable=True),
        sa.Column('found', JSONB, nullable=False),
        sa.Column('truth', JSONB, nullable=False),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('request_id', name=op.f('pk_predictions')),
    )
    op.create_index(
        op.f('ix_predictions_model_created_at'), 'predictions', ['model', 'created_at']
    )
    op.create_index(op.f('ix_predictions_answer_id'), 'predictions', ['answer_id'])
    op.create_index(op.f('ix_predictions_created_at'), 'predictions', ['created_at'])
