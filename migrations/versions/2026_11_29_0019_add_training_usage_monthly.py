"""Add the training usage of months whose jobs retention has deleted."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0019'
down_revision: str | None = '0018'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        'training_usage_monthly',
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('base_model', sa.String(), nullable=False),
        sa.Column('month', sa.Date(), nullable=False),
        sa.Column('jobs', sa.BigInteger(), nullable=False),
        sa.Column('trained_tokens', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name='fk_training_usage_monthly_project_id'
        ),
        sa.PrimaryKeyConstraint(
            'project_id', 'base_model', 'month', name='pk_training_usage_monthly'
        ),
    )


def downgrade() -> None:
    op.drop_table('training_usage_monthly')
