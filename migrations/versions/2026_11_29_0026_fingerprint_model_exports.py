"""Add the fingerprint of what an export's archive was made of."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0026'
down_revision: str | None = '0025'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Null for archives that the previous version made: of which weights is not known, so that they
    # are made again when somebody asks for them.
    op.add_column('model_exports', sa.Column('fingerprint', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('model_exports', 'fingerprint')
