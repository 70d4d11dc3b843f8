"""Add the test file of a job, its results, and the answers to its rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = '0024'
down_revision: str | None = '0023'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = 'ix_jobs_test_file_id'


def upgrade() -> None:
    op.add_column('jobs', sa.Column('test_file_id', sa.String(), nullable=True))
    op.create_foreign_key(
        'fk_jobs_test_file_id', 'jobs', 'files', ['test_file_id'], ['id']
    )
    op.add_column(
        'jobs',
        sa.Column(
            'test_metrics',
            postgresql.JSONB(astext_type=sa.Text()),
            server_default='[]',
            nullable=False,
        ),
    )
    op.add_column(
        'jobs', sa.Column('test_results', postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.create_table(
        'job_test_answers',
        sa.Column('job_id', sa.String(), nullable=False),
        sa.Column('model', sa.String(), nullable=False),
        sa.Column('row', sa.Integer(), nullable=False, autoincrement=False),
        sa.Column('text', sa.String(), nullable=False),
        sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name='fk_job_test_answers_job_id'),
        sa.PrimaryKeyConstraint('job_id', 'model', 'row', name='pk_job_test_answers'),
    )
    with outside_transaction():
        # An interrupted build leaves an invalid index.
        op.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {INDEX}')
        op.execute(
            f'CREATE INDEX CONCURRENTLY {INDEX} ON jobs (test_file_id) '
            'WHERE test_file_id IS NOT NULL'
        )


def downgrade() -> None:
    op.drop_table('job_test_answers')
    op.drop_index(INDEX, table_name='jobs')
    op.drop_column('jobs', 'test_results')
    op.drop_column('jobs', 'test_metrics')
    op.drop_column('jobs', 'test_file_id')


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Leave the transaction: building an index concurrently keeps no one from writing."""
    with op.get_context().autocommit_block():
        op.execute('SET lock_timeout = 0')
        try:
            yield
        finally:
            op.execute("SET lock_timeout = '5s'")
