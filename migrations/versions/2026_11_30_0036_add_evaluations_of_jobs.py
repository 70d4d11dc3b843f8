"""Add the evals by which a job's model is compared with its base model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0036'
down_revision: str | None = '0035'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = 'ix_jobs_open_evaluations'


def upgrade() -> None:
    op.add_column(
        'jobs', sa.Column('evaluations', postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column('jobs', sa.Column('evaluations_ended_at', sa.DateTime(timezone=True)))
    with outside_transaction():
        # An interrupted build leaves an invalid index.
        op.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {INDEX}')
        op.execute(
            f'CREATE INDEX CONCURRENTLY {INDEX} ON jobs (finished_at) WHERE state = '
            "'succeeded' AND evaluations IS NOT NULL AND evaluations_ended_at IS NULL"
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name='jobs')
    op.drop_column('jobs', 'evaluations_ended_at')
    op.drop_column('jobs', 'evaluations')


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Leave the transaction: building an index concurrently keeps no one from writing."""
    with op.get_context().autocommit_block():
        op.execute('SET lock_timeout = 0')
        try:
            yield
        finally:
            op.execute("SET lock_timeout = '5s'")
