"""Add a table of metadata pairs, in the order of job pages."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0013'
down_revision: str | None = '0012'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# By the database: a service of the version before, which knows nothing of these rows, still makes
# jobs while this one starts.
FUNCTION = """
CREATE FUNCTION jobs_list_metadata() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_metadata (project_id, key, value, created_at, job_id)
    SELECT NEW.project_id, key, value, NEW.created_at, NEW.id
    FROM jsonb_each_text(NEW.user_metadata);
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER jobs_list_metadata
AFTER INSERT ON jobs FOR EACH ROW
WHEN (jsonb_typeof(NEW.user_metadata) = 'object')
EXECUTE FUNCTION jobs_list_metadata()
"""
FILL = """
INSERT INTO job_metadata (project_id, key, value, created_at, job_id)
SELECT project_id, key, value, created_at, id
FROM jobs, jsonb_each_text(user_metadata)
WHERE jsonb_typeof(user_metadata) = 'object'
"""


def upgrade() -> None:
    op.create_table(
        'job_metadata',
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('key', sa.String(), nullable=False),
        sa.Column('value', sa.String(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('job_id', sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ['job_id'], ['jobs.id'], name=op.f('fk_job_metadata_job_id_jobs')
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name=op.f('fk_job_metadata_project_id_projects')
        ),
        sa.PrimaryKeyConstraint(
            'project_id', 'key', 'value', 'created_at', 'job_id', name=op.f('pk_job_metadata')
        ),
    )
    # The trigger waits for jobs that are being made, and those that come wait for it: none is in
    # neither of the two.
    op.execute(FUNCTION)
    op.execute(TRIGGER)
    op.execute(FILL)
    op.create_index(
        'ix_jobs_without_metadata',
        'jobs',
        ['project_id', sa.literal_column('created_at DESC'), sa.literal_column('id DESC')],
        postgresql_where=sa.text("user_metadata IS NULL OR user_metadata = '{}'"),
    )


def downgrade() -> None:
    op.drop_index('ix_jobs_without_metadata', table_name='jobs')
    op.execute('DROP TRIGGER jobs_list_metadata ON jobs')
    op.execute('DROP FUNCTION jobs_list_metadata')
    op.drop_table('job_metadata')
