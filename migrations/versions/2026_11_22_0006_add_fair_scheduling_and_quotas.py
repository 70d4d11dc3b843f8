"""Add fair scheduling between projects and their job limits."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0006'
down_revision: str | None = '0005'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

AT_WORK = "state IN ('validating_files', 'running', 'pausing', 'finalizing')"


def upgrade() -> None:
    op.add_column('projects', sa.Column('last_served_at', sa.DateTime(timezone=True)))
    op.add_column('projects', sa.Column('max_running_jobs', sa.Integer()))
    op.add_column('projects', sa.Column('max_queued_jobs', sa.Integer()))
    op.create_index(
        'ix_jobs_queued',
        'jobs',
        ['project_id', sa.text('priority DESC'), 'created_at', 'id'],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        'ix_jobs_at_work', 'jobs', ['project_id', 'state'], postgresql_where=sa.text(AT_WORK)
    )
    # Nothing is ordered over all projects any more.
    op.drop_index('ix_jobs_claim', 'jobs')
