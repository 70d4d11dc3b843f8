"""Index the ranges that are not done, which each claim looks through."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = {
    "ix_work_ranges_lease_until": ["lease_until"],
    "ix_work_ranges_open": ["list_id", "first_index"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        op.create_index(name, "work_ranges", columns, postgresql_where=sa.text("done_at IS NULL"))


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="work_ranges")
