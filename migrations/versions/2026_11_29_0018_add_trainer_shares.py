"""Add the trained time of projects and jobs, and requests to yield a trainer."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0018'
down_revision: str | None = '0017'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table, column in (
        ('projects', 'virtual_time'),
        ('projects', 'virtual_start'),
        ('jobs', 'trained_seconds'),
    ):
        op.add_column(table, sa.Column(column, sa.Float(), server_default='0', nullable=False))
    op.add_column(
        'job_leases', sa.Column('yield_requested_at', sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    op.drop_column('job_leases', 'yield_requested_at')
    op.drop_column('jobs', 'trained_seconds')
    op.drop_column('projects', 'virtual_start')
    op.drop_column('projects', 'virtual_time')
