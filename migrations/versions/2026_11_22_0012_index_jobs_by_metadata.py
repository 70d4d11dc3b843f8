"""Index jobs by their metadata."""

from collections.abc import Sequence

from alembic import op

revision: str = '0012'
down_revision: str | None = '0011'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        'ix_jobs_metadata',
        'jobs',
        ['user_metadata'],
        postgresql_using='gin',
        postgresql_ops={'user_metadata': 'jsonb_path_ops'},
    )


def downgrade() -> None:
    op.drop_index('ix_jobs_metadata', table_name='jobs')
