"""Make terminal job states final, by a trigger."""

from collections.abc import Sequence

from alembic import op

revision: str = '0002'
down_revision: str | None = '0001'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The services' moves already leave ended jobs alone. This holds for whatever else writes here too:
# a console, an older or newer version, a mistake.
FUNCTION = """
CREATE FUNCTION jobs_terminal_states_absorb() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % has % and cannot become %', OLD.id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_terminal_states_absorb';
END
$$
"""
TRIGGER = """
CREATE TRIGGER jobs_terminal_states_absorb
BEFORE UPDATE ON jobs FOR EACH ROW
WHEN (
    OLD.state IN ('succeeded', 'failed', 'cancelled')
    AND (OLD.state, OLD.epoch) IS DISTINCT FROM (NEW.state, NEW.epoch)
)
EXECUTE FUNCTION jobs_terminal_states_absorb()
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute(TRIGGER)
