"""Drop the index that the table of metadata pairs replaced."""

from collections.abc import Sequence

from alembic import op

revision: str = '0015'
down_revision: str | None = '0014'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Processes of the version before look for jobs by it.
contracting = True


def upgrade() -> None:
    # It is not there where its successor came with an early form of the migration before.
    op.drop_index('ix_jobs_metadata', table_name='jobs', if_exists=True)


def downgrade() -> None:
    op.create_index(
        'ix_jobs_metadata',
        'jobs',
        ['user_metadata'],
        postgresql_using='gin',
        postgresql_ops={'user_metadata': 'jsonb_path_ops'},
    )
