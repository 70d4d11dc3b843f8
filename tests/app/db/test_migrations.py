"""Schema migrations: one history, no drift from the tables, expand and contract, downtime."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, make_url, text

from app.db.base import Base
from app.db.client_name import Client
from app.db.clients import list_clients
from app.db.migrate import ROOT, DowntimeRequired, upgrade

MIGRATIONS = ROOT / "migrations"
BEFORE_RENAMES = "0015"

# A database of the version before the renames, with the values that they change.
OLD_ROWS = """
INSERT INTO organizations (id, slug) VALUES ('org', 'acme');
INSERT INTO projects (id, organization_id, name) VALUES ('proj', 'org', 'one');
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, storage_key, status, faults)
VALUES ('file', 'proj', 'a', 'fine-tune', 1, '', '', 'error', '{"count": 1}');
INSERT INTO jobs (id, project_id, state, epoch, base_model, training_file_id, method,
    hyperparameters, resolved, micro_batch, tuned_model, reference, seed, user_metadata)
VALUES ('job', 'proj', 'succeeded', 3, 'base', 'file', 'supervised', '{}', '{"n_epochs": 2}', 4,
    'ft:a', '{"many": true, "lengths": {"1": 2}, "labels": ["x"]}', 1, '{"team": "a"}');
INSERT INTO job_leases (job_id, epoch, worker, lease_until) VALUES ('job', 3, 'w', now());
INSERT INTO job_attempts (job_id, epoch, worker) VALUES ('job', 3, 'w');
INSERT INTO tuned_models (name, project_id, job_id, base_model, storage_prefix)
VALUES ('ft:a', 'proj', 'job', 'base', 'p');
INSERT INTO usage (job_id, project_id, base_model, trained_tokens) VALUES ('job', 'proj', 'b', 7);
INSERT INTO duties VALUES ('ring_again', now(), 30), ('prune_outbox', now(), 600);
INSERT INTO workers (name, state) VALUES ('w', 'active');
INSERT INTO repeats (project_id, key, request_sha256, status, answer)
VALUES ('proj', 'k', 's', 201, '{"id": "x"}');
INSERT INTO model_hours VALUES ('ft:a', now(), '{"requests": {"answered": 2, "left": 1},
    "sums": {"texts": 3, "right": 1}, "seconds": {"0": 2}, "labels": {"1": 1}}'),
    ('ft:b', now(), '{}');
INSERT INTO predictions (request_id, model, answer_id, found, truth)
VALUES ('req', 'ft:a', 'resp', '[[1]]', '[null]');
INSERT INTO outbox (kind, payload) VALUES ('bell', '{"task": "train"}'), ('delete_blobs', '{}');
"""
MIGRATED_ROWS = {
    "SELECT attempt, resolved_hyperparameters, micro_batch_size, fine_tuned_model FROM jobs": [
        (3, {"n_epochs": 2}, 4, "ft:a")
    ],
    "SELECT drift_baseline FROM jobs": [
        ({"multi_label": True, "text_lengths": {"1": 2}, "labels": ["x"]},)
    ],
    "SELECT validation_errors FROM files": [({"count": 1},)],
    "SELECT attempt, trainer FROM job_leases": [(3, "w")],
    "SELECT attempt, trainer FROM job_attempts": [(3, "w")],
    "SELECT job_id, value FROM job_metadata": [("job", "a")],
    "SELECT name FROM fine_tuned_models": [("ft:a",)],
    "SELECT trained_tokens FROM training_usage": [(7,)],
    "SELECT name, interval_seconds FROM periodic_tasks ORDER BY name": [
        ("prune_outbox", 600.0),
        ("renotify_queued_jobs", 30.0),
    ],
    "SELECT name, state FROM trainers": [("w", "active")],
    "SELECT owner_id, response_status, response_body FROM idempotency_keys": [
        ("proj", 201, {"id": "x"})
    ],
    "SELECT counts FROM model_traffic_hourly ORDER BY model": [
        (
            {
                "requests": {"succeeded": 2, "client_disconnected": 1},
                "sums": {"texts": 3, "correct": 1},
                "duration_seconds": {"0": 2},
                "labels": {"1": 1},
            },
        ),
        ({},),
    ],
    "SELECT response_id, predicted_labels, true_labels FROM predictions": [("resp", [[1]], [None])],
    "SELECT kind FROM outbox ORDER BY id": [("notify",), ("delete_blobs",)],
}


@pytest.fixture
def empty_database(database_url: str) -> Iterator[Engine]:
    """An empty database in addition to the migrated one."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    engine = create_engine(url.set(database="empty"))
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE empty WITH (FORCE)"))
    server.dispose()


def get_url(engine: Engine) -> str:
    url = engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def migrate_to(engine: Engine, revision: str, *, down: bool = False) -> None:
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def has_table(engine: Engine, name: str) -> bool:
    return inspect(engine).has_table(name)


def list_constraints_and_indexes(connection: Connection, schema: str) -> set[str]:
    names = """
        SELECT table_class.relname || ' ' || conname FROM pg_constraint
        JOIN pg_class AS table_class ON table_class.oid = conrelid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = :schema AND contype NOT IN ('n', 't')
        UNION
        SELECT tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = :schema
    """
    return set(connection.scalars(text(names), {"schema": schema}))


def test_there_is_one_head() -> None:
    heads = ScriptDirectory(MIGRATIONS).get_heads()
    assert len(heads) == 1, f"two migrations have the same parent: {heads}"


def test_migrations_create_what_the_tables_declare(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_and_indexes_have_the_declared_names(empty_database: Engine) -> None:
    upgrade(get_url(empty_database))
    with empty_database.connect() as connection:
        migrated = list_constraints_and_indexes(connection, "public") - {
            "alembic_version alembic_version_pkc"
        }
        connection.execute(text("CREATE SCHEMA declared"))
        connection.execute(text("SET search_path TO declared"))
        Base.metadata.create_all(connection)
        assert migrated == list_constraints_and_indexes(connection, "declared")


class TestRenames:
    def test_rows_keep_their_values(self, empty_database: Engine) -> None:
        migrate_to(empty_database, BEFORE_RENAMES)
        with empty_database.begin() as connection:
            connection.exec_driver_sql(OLD_ROWS)
        upgrade(get_url(empty_database))
        with empty_database.connect() as connection:
            for query, rows in MIGRATED_ROWS.items():
                assert [tuple(row) for row in connection.execute(text(query))] == rows, query
            rejected_update = text("UPDATE jobs SET attempt = attempt + 1")
            with pytest.raises(Exception, match="cannot become"):
                connection.execute(rejected_update)

    def test_a_downgrade_restores_the_old_names_and_values(self, empty_database: Engine) -> None:
        migrate_to(empty_database, BEFORE_RENAMES)
        with empty_database.begin() as connection:
            connection.exec_driver_sql(OLD_ROWS)
            before = connection.execute(text("SELECT * FROM model_hours ORDER BY model")).all()
            names = list_constraints_and_indexes(connection, "public")
        migrate_to(empty_database, "head")
        migrate_to(empty_database, BEFORE_RENAMES, down=True)
        with empty_database.connect() as connection:
            after = connection.execute(text("SELECT * FROM model_hours ORDER BY model")).all()
            assert after == before
            assert list_constraints_and_indexes(connection, "public") == names

    def test_they_are_rejected_while_the_previous_version_may_run(
        self, empty_database: Engine
    ) -> None:
        migrate_to(empty_database, BEFORE_RENAMES)
        with pytest.raises(DowntimeRequired, match=r"Stop all processes .* without --expand"):
            upgrade(get_url(empty_database), contract=False)
        assert has_table(empty_database, "duties")
        upgrade(get_url(empty_database))
        assert has_table(empty_database, "periodic_tasks")
        upgrade(get_url(empty_database), contract=False)

    def test_an_empty_database_needs_no_downtime(self, empty_database: Engine) -> None:
        upgrade(get_url(empty_database), contract=False)
        assert has_table(empty_database, "periodic_tasks")


def test_machines_that_migrate_at_once_wait_for_each_other(empty_database: Engine) -> None:
    """The waiting one has no snapshot, for which an index built concurrently would wait."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as machines:
        for migrated in [machines.submit(upgrade, get_url(empty_database)) for _ in range(2)]:
            migrated.result()
    with empty_database.connect() as connection:
        head = ScriptDirectory(MIGRATIONS).get_current_head()
        assert MigrationContext.configure(connection).get_current_revision() == head
        is_invalid = text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert connection.scalar(is_invalid) == 0


def test_an_interrupted_build_of_an_index_is_repeated(empty_database: Engine) -> None:
    upgrade(get_url(empty_database), revision="0019")
    with empty_database.begin() as connection:
        connection.execute(text("CREATE INDEX ix_jobs_finished_at ON jobs (id)"))
    upgrade(get_url(empty_database))
    with empty_database.connect() as connection:
        definition = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_jobs_finished_at'")
        assert "(finished_at)" in str(connection.scalar(definition))


def test_parts_of_open_uploads_are_counted(empty_database: Engine) -> None:
    url = get_url(empty_database)
    upgrade(url, revision="0021")
    with empty_database.begin() as connection:
        connection.exec_driver_sql("""
            INSERT INTO organizations (id, slug) VALUES ('org', 'acme');
            INSERT INTO projects (id, organization_id, name) VALUES ('proj', 'org', 'one');
            INSERT INTO uploads (id, project_id, filename, purpose, bytes, state, expires_at)
            VALUES ('upload', 'proj', 'a', 'fine-tune', 9, 'pending', now());
            INSERT INTO upload_parts (id, upload_id, bytes, sha256, storage_key) VALUES
            ('1', 'upload', 3, 'a', '1'), ('2', 'upload', 3, 'a', '2'),
            ('3', 'upload', 2, NULL, '3')
        """)
    upgrade(url)
    totals = "SELECT part_count, part_bytes, unique_part_bytes FROM uploads"
    with empty_database.begin() as connection:
        assert connection.execute(text(totals)).one() == (3, 8, 5)
        # As a process of the previous version adds them.
        connection.exec_driver_sql("""
            INSERT INTO upload_parts (id, upload_id, bytes, sha256, storage_key) VALUES
            ('4', 'upload', 3, 'a', '4'), ('5', 'upload', 1, 'b', '5')
        """)
        assert connection.execute(text(totals)).one() == (5, 12, 6)


class TestExpandAndContract:
    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        """A history of two tables, of which a contracting migration drops the first."""
        shutil.copy(MIGRATIONS / "env.py", tmp_path)
        (tmp_path / "versions").mkdir()
        create = "def upgrade():\n    op.execute('CREATE TABLE {} ()')\n"
        drop = "contracting = True\ndef upgrade():\n    op.drop_table('a')\n"
        write_migration(tmp_path, "1", None, create.format("a"))
        write_migration(tmp_path, "2", "1", create.format("b"))
        write_migration(tmp_path, "3", "2", drop)
        return tmp_path

    def test_what_the_previous_version_needs_is_dropped_only_on_request(
        self, empty_database: Engine, migrations: Path
    ) -> None:
        url = get_url(empty_database)
        upgrade(url, contract=False, migrations=migrations)
        assert has_table(empty_database, "a")
        assert has_table(empty_database, "b")
        upgrade(url, migrations=migrations)
        assert not has_table(empty_database, "a")
        upgrade(url, contract=False, migrations=migrations)
        assert not has_table(empty_database, "a"), "expanding restores nothing"

    def test_a_later_addition_ends_the_wait_of_a_contracting_migration(
        self, empty_database: Engine, migrations: Path
    ) -> None:
        write_migration(migrations, "4", "3", "def upgrade():\n    pass\n")
        upgrade(get_url(empty_database), contract=False, migrations=migrations)
        assert not has_table(empty_database, "a")


class TestRunningProcesses:
    """Processes that a migration would break are seen by the names of their connections."""

    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        shutil.copy(MIGRATIONS / "env.py", tmp_path)
        (tmp_path / "versions").mkdir()
        write_migration(
            tmp_path, "0001", None, "def upgrade():\n    op.execute('CREATE TABLE a ()')\n"
        )
        return tmp_path

    @pytest.mark.parametrize(
        ("flag", "revision", "is_refused"),
        [
            ("requires_downtime", "0001", True),
            ("requires_downtime", "0002", False),
            ("contracting", "0001", True),
            ("contracting", "0002", False),
            ("additive", "0001", False),
        ],
    )
    def test_a_migration_that_breaks_them_waits_for_their_end(
        self,
        empty_database: Engine,
        migrations: Path,
        flag: str,
        revision: str,
        is_refused: bool,
    ) -> None:
        url = get_url(empty_database)
        upgrade(url, migrations=migrations)
        body = f"{flag} = True\ndef upgrade():\n    op.execute('CREATE TABLE b ()')\n"
        write_migration(migrations, "0002", "0001", body)
        name = f"luthier {revision} pid 7 on elsewhere"
        other = create_engine(
            empty_database.url, connect_args={"application_name": name}, poolclass=NullPool
        )
        with other.connect() as connection:
            connection.execute(text("SELECT 1"))
            if is_refused:
                with pytest.raises(DowntimeRequired, match="pid 7 on elsewhere"):
                    upgrade(url, migrations=migrations)
                assert not has_table(empty_database, "b")
        # Postgres may take a moment to end the session.
        deadline = time.monotonic() + 60
        while is_refused and not has_table(empty_database, "b"):
            with suppress(DowntimeRequired):
                upgrade(url, migrations=migrations)
            assert time.monotonic() < deadline
        upgrade(url, migrations=migrations)
        assert has_table(empty_database, "b")

    def test_own_connections_have_such_a_name(self, database: Engine) -> None:
        with database.connect() as connection:
            name = connection.scalar(text("SHOW application_name"))
            assert list_clients(connection) == []
        client = Client.parse(str(name))
        assert client is not None
        assert client.revision == ScriptDirectory(MIGRATIONS).get_current_head()


def write_migration(folder: Path, revision: str, parent: str | None, body: str) -> None:
    head = (
        f'"""migration {revision}"""\nfrom alembic import op\n'
        f"revision = {revision!r}\ndown_revision = {parent!r}\n"
    )
    (folder / "versions" / f"{revision}.py").write_text(head + body, encoding="utf-8")
