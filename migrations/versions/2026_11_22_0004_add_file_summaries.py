"""Add dataset summaries of files and evaluation files of jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0004'
down_revision: str | None = '0003'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column('files', sa.Column('summary', postgresql.JSONB(astext_type=sa.Text())))
    op.add_column('jobs', sa.Column('evaluation_file_id', sa.String()))
    op.create_foreign_key(
        op.f('fk_jobs_evaluation_file_id'), 'jobs', 'files', ['evaluation_file_id'], ['id']
    )


def downgrade() -> None:
    op.drop_column('jobs', 'evaluation_file_id')
    op.drop_column('files', 'summary')
