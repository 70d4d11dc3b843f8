"""Deduplicate upload parts that are sent again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0014'
down_revision: str | None = '0013'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column('upload_parts', sa.Column('sha256', sa.String()))


def downgrade() -> None:
    op.drop_column('upload_parts', 'sha256')
