"""Add the weights and prompts that answers to test files were generated with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0027'
down_revision: str | None = '0026'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Empty for answers that a trainer of the previous version stores: those are generated again.
    op.add_column(
        'job_test_answers', sa.Column('origin', sa.String(), server_default='', nullable=False)
    )


def downgrade() -> None:
    op.drop_column('job_test_answers', 'origin')
