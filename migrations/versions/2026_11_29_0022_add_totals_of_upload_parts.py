"""Add the totals of an upload's parts, kept by a trigger."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = '0022'
down_revision: str | None = '0021'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A trigger, since processes of the previous version add parts too. The transaction that adds one
# holds the lock of its upload.
FUNCTION = """
CREATE FUNCTION upload_parts_add_to_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE uploads SET
        part_count = part_count + 1,
        part_bytes = part_bytes + NEW.bytes,
        unique_part_bytes = unique_part_bytes + CASE WHEN EXISTS (
            SELECT 1 FROM upload_parts
            WHERE upload_id = NEW.upload_id AND sha256 = NEW.sha256 AND id <> NEW.id
        ) THEN 0 ELSE NEW.bytes END
    WHERE id = NEW.upload_id;
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER upload_parts_add_to_totals
AFTER INSERT ON upload_parts
FOR EACH ROW EXECUTE FUNCTION upload_parts_add_to_totals()
"""
# Of the uploads that are open now. The trigger waits for parts that are being added, and those that
# come wait for it: each is counted once.
FILL = """
UPDATE uploads SET
    part_count = totals.parts,
    part_bytes = totals.bytes,
    unique_part_bytes = totals.unique_bytes
FROM (
    SELECT upload_id, sum(copies) AS parts, sum(copies * bytes) AS bytes, sum(bytes) AS unique_bytes
    FROM (
        SELECT upload_id, max(bytes) AS bytes, count(*) AS copies
        FROM upload_parts GROUP BY upload_id, coalesce(sha256, id)
    ) AS contents
    GROUP BY upload_id
) AS totals
WHERE uploads.id = totals.upload_id
"""


def upgrade() -> None:
    op.add_column(
        'uploads', sa.Column('part_count', sa.Integer(), server_default='0', nullable=False)
    )
    for column in ('part_bytes', 'unique_part_bytes'):
        op.add_column(
            'uploads', sa.Column(column, sa.BigInteger(), server_default='0', nullable=False)
        )
    op.execute(FUNCTION)
    op.execute(TRIGGER)
    op.execute(FILL)
    # Parts are deleted when their upload ends, so there are few.
    op.create_index('ix_upload_parts_upload_id_sha256', 'upload_parts', ['upload_id', 'sha256'])
    op.drop_index('ix_upload_parts_upload_id', table_name='upload_parts')


def downgrade() -> None:
    op.create_index('ix_upload_parts_upload_id', 'upload_parts', ['upload_id'])
    op.drop_index('ix_upload_parts_upload_id_sha256', table_name='upload_parts')
    op.execute('DROP TRIGGER upload_parts_add_to_totals ON upload_parts')
    op.execute('DROP FUNCTION upload_parts_add_to_totals()')
    for column in ('part_count', 'part_bytes', 'unique_part_bytes'):
        op.drop_column('uploads', column)
