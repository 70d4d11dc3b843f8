"""Store idempotent responses of any owner and status."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0005'
down_revision: str | None = '0004'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_constraint(op.f('fk_repeats_project_id'), 'repeats', type_='foreignkey')
    op.add_column(
        'repeats', sa.Column('status', sa.Integer(), server_default='200', nullable=False)
    )
