"""Index the jobs of a project by state, for lists of those of one."""

from collections.abc import Sequence

from alembic import op

revision: str = '0041'
down_revision: str | None = '0040'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute('SET lock_timeout = 0')
        # An interrupted build leaves an invalid index.
        op.execute('DROP INDEX CONCURRENTLY IF EXISTS ix_jobs_project_state')
        op.execute(
            'CREATE INDEX CONCURRENTLY ix_jobs_project_state'
            ' ON jobs (project_id, state, created_at DESC, id DESC)'
        )
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.drop_index('ix_jobs_project_state', table_name='jobs')
