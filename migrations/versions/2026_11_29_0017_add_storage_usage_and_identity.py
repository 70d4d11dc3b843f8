"""Add stored bytes per project, kept by triggers, and the identity of the storage."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0017'
down_revision: str | None = '0016'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Triggers, since processes of the previous version write these tables too. They append rows and
# update none, so that the transactions of a project neither wait for each other nor deadlock. The
# rows that exist are counted by the first recount (`app.files.quota`), without any lock.
OWNERS = {
    'files': 'SELECT {row}.project_id AS project_id',
    'upload_parts': 'SELECT project_id FROM uploads WHERE id = {row}.upload_id',
    'checkpoints': 'SELECT project_id FROM jobs WHERE id = {row}.job_id',
}
IS_STORED = {
    'files': '{row}.deleted_at IS NULL',
    'upload_parts': 'true',
    'checkpoints': '{row}.deleted_at IS NULL',
}
COLUMNS = {
    'files': 'project_id, bytes, deleted_at',
    'upload_parts': 'upload_id, bytes',
    'checkpoints': 'job_id, bytes, deleted_at',
}
FUNCTION = """
CREATE FUNCTION {table}_record_storage_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND {old_is_stored} THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        SELECT owner.project_id, -OLD.bytes, -{files} FROM ({old_owner}) AS owner;
    END IF;
    IF TG_OP <> 'DELETE' AND {new_is_stored} THEN
        INSERT INTO storage_usage (project_id, bytes, files)
        SELECT owner.project_id, NEW.bytes, {files} FROM ({new_owner}) AS owner;
    END IF;
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER {table}_record_storage_usage
AFTER INSERT OR DELETE OR UPDATE OF {columns} ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_record_storage_usage()
"""


def upgrade() -> None:
    op.create_table(
        'storage_usage',
        sa.Column('id', sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('bytes', sa.BigInteger(), nullable=False),
        sa.Column('files', sa.BigInteger(), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ['project_id'],
            ['projects.id'],
            name='fk_storage_usage_project_id',
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name='pk_storage_usage'),
    )
    op.create_index('ix_storage_usage_project_id', 'storage_usage', ['project_id'])
    op.create_table(
        'storage_identity',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('marker', sa.String(), nullable=False),
        sa.Column(
            'created_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.CheckConstraint('id = 1', name='single_row'),
        sa.PrimaryKeyConstraint('id', name='pk_storage_identity'),
    )
    for column in ('max_storage_bytes', 'max_files', 'max_open_uploads'):
        op.add_column('projects', sa.Column(column, sa.BigInteger()))
    for table in OWNERS:
        owner, is_stored = OWNERS[table], IS_STORED[table]
        op.execute(
            FUNCTION.format(
                table=table,
                files=1 if table == 'files' else 0,
                old_owner=owner.format(row='OLD'),
                new_owner=owner.format(row='NEW'),
                old_is_stored=is_stored.format(row='OLD'),
                new_is_stored=is_stored.format(row='NEW'),
            )
        )
        op.execute(TRIGGER.format(table=table, columns=COLUMNS[table]))


def downgrade() -> None:
    for table in OWNERS:
        op.execute(f'DROP TRIGGER {table}_record_storage_usage ON {table}')
        op.execute(f'DROP FUNCTION {table}_record_storage_usage()')
    for column in ('max_storage_bytes', 'max_files', 'max_open_uploads'):
        op.drop_column('projects', column)
    op.drop_table('storage_identity')
    op.drop_table('storage_usage')

