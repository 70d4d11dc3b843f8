"""Add the time of ended attempts that their project was not charged for yet."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0021'
down_revision: str | None = '0020'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # 0 for attempts that a process of the previous version ends: its trainer charges them.
    op.add_column(
        'job_attempts',
        sa.Column('uncharged_seconds', sa.Float(), server_default='0', nullable=False),
    )
    # Cheap to build: no row is in it yet.
    op.create_index(
        'ix_job_attempts_uncharged',
        'job_attempts',
        ['job_id'],
        postgresql_where=sa.text('uncharged_seconds > 0'),
    )


def downgrade() -> None:
    op.drop_column('job_attempts', 'uncharged_seconds')
