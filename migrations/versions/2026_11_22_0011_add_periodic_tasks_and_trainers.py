"""Add the status of periodic tasks and of trainers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0011'
down_revision: str | None = '0010'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text('clock_timestamp()')


def upgrade() -> None:
    op.create_table(
        'duties',
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('last_succeeded_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('every_seconds', sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_duties')),
    )
    op.create_table(
        'workers',
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('started_at', sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column('heartbeat_at', sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'draining', 'unhealthy')", name=op.f('ck_workers_state')
        ),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_workers')),
    )
