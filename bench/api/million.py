"""A table of jobs as years of many teams leave it, made by the database itself."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import File, Project
from app.organization import api_keys
from app.storage import file_key

PROJECTS = 4
EVENTS_EACH = 30
# Most jobs belong to the first project, whose lists are the ones that are measured.
FILL = """
INSERT INTO jobs (id, project_id, created_at, state, base_model, training_file_id, method,
    hyperparameters, resolved_hyperparameters, seed, suffix, user_metadata, trained_tokens, started_at,
    finished_at, fine_tuned_model, error_code, error_message)
SELECT 'ftjob-' || left(md5(n::text), 24),
    (cast(:projects AS text[]))[CASE WHEN n % 10 < 7 THEN 1 ELSE n % 10 - 5 END],
    timestamptz '2024-01-01' + n * interval '60 seconds',
    state, 'smollm2-135m-instruct',
    (cast(:files AS text[]))[CASE WHEN n % 10 < 7 THEN 1 ELSE n % 10 - 5 END],
    'supervised', '{"n_epochs": "auto"}',
    '{"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}', n, 'bench',
    CASE WHEN n % 2 = 0 THEN
        jsonb_build_object('team', 'team-' || n / 10 % 20, 'run', 'run-' || n,
            'owner', 'owner-' || n % 10) END,
    100000 + n, timestamptz '2024-01-01' + n * interval '60 seconds',
    timestamptz '2024-01-01' + n * interval '60 seconds' + interval '9 minutes',
    CASE WHEN state = 'succeeded' THEN 'ft:smollm2-135m-instruct:acme:bench:' || n END,
    CASE WHEN state = 'failed' THEN 'invalid_training_file' END,
    CASE WHEN state = 'failed' THEN 'The training file has 12 faults.' END
FROM (
    SELECT n, CASE WHEN n % 100 < 90 THEN 'succeeded' WHEN n % 100 < 96 THEN 'failed'
        ELSE 'cancelled' END AS state
    FROM generate_series(1, :count) AS n
) AS numbered
"""
# What the table's trigger does, which the filling leaves asleep.
PAIRS = """
INSERT INTO job_metadata (project_id, key, value, created_at, job_id)
SELECT project_id, key, value, created_at, id FROM jobs, jsonb_each_text(user_metadata)
WHERE jsonb_typeof(user_metadata) = 'object'
"""
TELL = """
INSERT INTO job_events (id, job_id, seq, attempt, dedupe_key, level, type, message, data)
SELECT 'ftevent-' || left(md5(job.id || n), 24), job.id, n, 1, n::text, 'info', 'metrics',
    'Step ' || n || '/30: training loss=0.71', '{"step": 1, "train_loss": 0.71}'
FROM (SELECT id FROM jobs WHERE project_id = :project ORDER BY created_at DESC LIMIT 1000) AS job,
    generate_series(1, :each) AS n
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """Where to look: the key and the id of the largest project, and some ids of its jobs.

    `spread` are of any age and `latest` the newest, which have events.
    """

    key: str
    project_id: str
    spread: list[str]
    latest: list[str]


def fill(session: Session, organization: str, *, jobs: int) -> Filled:
    """So many jobs in some projects, analyzed."""
    # Of this transaction only. The rows are sound by the way they are made.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL session_replication_role = replica"))
    first = api_keys.ensure_default_project(session, organization)
    owners = [first, *(_project(session, first.organization_id) for _ in range(PROJECTS - 1))]
    files = [make_file(session, owner) for owner in owners]
    given = {"projects": [owner.id for owner in owners], "files": files, "count": jobs}
    session.execute(text(FILL), given)
    session.execute(text(PAIRS))
    session.execute(text(TELL), {"project": first.id, "each": EVENTS_EACH})
    session.execute(text("ANALYZE"))
    return Filled(
        key=api_keys.create(session, first.id, "bench")[1],
        project_id=first.id,
        spread=_some(session, first.id, "id"),
        latest=_some(session, first.id, "created_at DESC"),
    )


def _project(session: Session, organization_id: str) -> Project:
    project = Project(id=ids.project_id(), organization_id=organization_id, name="bench")
    session.add(project)
    session.flush()
    return project


def make_file(session: Session, owner: Project) -> str:
    """The id of a file that jobs can name, without content."""
    file_id = ids.file_id()
    file = File(
        id=file_id,
        project_id=owner.id,
        filename="train.jsonl",
        purpose="fine-tune",
        bytes=1,
        sha256=file_id,
        storage_key=file_key(owner.id, file_id),
        status="processed",
    )
    session.add(file)
    session.flush()
    return file_id


def _some(session: Session, project_id: str, order: str) -> list[str]:
    """A thousand ids of a project's jobs; hashes of numbers as they are, those by id are of any
    age."""
    statement = f"SELECT id FROM jobs WHERE project_id = :project ORDER BY {order} LIMIT 1000"
    return list(session.scalars(text(statement), {"project": project_id}))
