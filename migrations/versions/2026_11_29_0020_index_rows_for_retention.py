"""Index what retention looks for, and the foreign keys to the rows that it deletes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic import op

revision: str = '0020'
down_revision: str | None = '0019'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# (table, column, only the rows in which it is not null)
INDEXES = (
    ('jobs', 'finished_at', True),
    ('jobs', 'training_file_id', False),
    ('jobs', 'validation_file_id', True),
    ('jobs', 'result_file_id', True),
    ('jobs', 'evaluation_file_id', True),
    ('job_metadata', 'job_id', False),
    ('fine_tuned_models', 'job_id', False),
    ('fine_tuned_models', 'deleted_at', True),
    ('checkpoints', 'deleted_at', True),
    ('files', 'deleted_at', True),
    ('uploads', 'file_id', True),
)


def upgrade() -> None:
    with outside_transaction():
        for table, column, only_set in INDEXES:
            # An interrupted build leaves an invalid index.
            drop_index(table, column)
            where = f' WHERE {column} IS NOT NULL' if only_set else ''
            op.execute(
                f'CREATE INDEX CONCURRENTLY ix_{table}_{column} ON {table} ({column}){where}'
            )


def downgrade() -> None:
    with outside_transaction():
        for table, column, _ in INDEXES:
            drop_index(table, column)


def drop_index(table: str, column: str) -> None:
    op.execute(f'DROP INDEX CONCURRENTLY IF EXISTS ix_{table}_{column}')


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Leave the transaction: building an index concurrently keeps no one from writing.

    It waits for transactions that are older, and while it does nobody waits for it.
    """
    with op.get_context().autocommit_block():
        op.execute('SET lock_timeout = 0')
        try:
            yield
        finally:
            op.execute("SET lock_timeout = '5s'")
