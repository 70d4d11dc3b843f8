"""Backup and restore: round trips, damage, interruptions, deletions meanwhile, retention."""

import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, make_url, select, text
from sqlalchemy.orm import Session

from app.backup import create, object_copy
from app.backup.create import create_backup
from app.backup.errors import BackupError, CorruptBackup, TargetInUse
from app.backup.folder import BackupFolder
from app.backup.restore import restore_backup, verify_backup
from app.db import outbox
from app.db.migrate import upgrade
from app.db.session import SessionMaker, one_off_transaction, transaction
from app.db.tables import (
    ApiKey,
    AttemptOutcome,
    Checkpoint,
    CheckpointKind,
    File,
    FineTunedModel,
    Job,
    JobAttempt,
    JobLease,
    JobMetadata,
    JobState,
    Outbox,
)
from app.operations import outbox_dispatch, storage_identity
from app.operations.orphaned_objects import OrphanCollector
from app.organization import api_keys
from app.storage import (
    LocalStore,
    ObjectStore,
    StorageUnavailable,
    checkpoint_prefix,
    join_key,
    read_marker,
)
from tests.factories import make_file, make_job, make_project


def ignore(_text: str) -> None:
    """Echo nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> BackupFolder:
    return BackupFolder(tmp_path / "backups")


@pytest.fixture
def new_database(database_url: str) -> Iterator[str]:
    """URL of an empty database to restore into."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE restored"))
    restored = url.set(database="restored", drivername="postgresql")
    yield restored.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE restored WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def new_store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "restored")


def put_file(session: Session, store: ObjectStore, data: bytes) -> File:
    """Make a file with its object; the caller commits."""
    project = make_project(session)
    sha256 = hashlib.sha256(data).hexdigest()
    file = make_file(session, project, bytes=len(data), sha256=sha256)
    store.put(file.storage_key, data)
    return file


def put_checkpoint(session: Session, store: ObjectStore, job: Job, *, step: int) -> str:
    """Make a checkpoint with two files and their manifest; its prefix."""
    prefix = checkpoint_prefix(job.project_id, job.id, job.attempt, step)
    files = {"adapter_model.safetensors": os.urandom(5000), "adapter_config.json": b"{}"}
    entries = {}
    for name, data in files.items():
        store.put(join_key(prefix, name), data)
        entries[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = json.dumps({"files": entries}).encode()
    store.put(join_key(prefix, "manifest.json"), manifest)
    session.add(
        Checkpoint(
            id=f"ftckpt-{job.id}-{step}",
            job_id=job.id,
            attempt=job.attempt,
            step=step,
            kind=CheckpointKind.USER,
            storage_prefix=prefix,
            manifest_sha256=hashlib.sha256(manifest).hexdigest(),
            bytes=5002,
            metrics={"loss": 0.1, "text": "tab\t, newline\n, \\. and \\N"},
        )
    )
    session.flush()
    return prefix


def read_all(store: ObjectStore) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.list("")}


def dump_rows(database_url: str) -> dict[str, list[str]]:
    """All rows as JSON, by table."""
    with one_off_transaction(database_url) as session:
        tables = session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        return {
            name: sorted(session.scalars(text(f"SELECT to_jsonb(t)::text FROM {name} t")).all())
            for name in tables
        }


class TestF45RoundTrip:
    def test_rows_and_objects_are_restored_exactly(
        self,
        database_url: str,
        session: Session,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
    ) -> None:
        file = put_file(session, store, b"one example\n" * 1000)
        job = make_job(session, state=JobState.SUCCEEDED, user_metadata={"team": "ä\t\\"})
        prefix = put_checkpoint(session, store, job, step=3)
        session.add(
            FineTunedModel(
                name="ft:a",
                project_id=job.project_id,
                job_id=job.id,
                base_model="b",
                storage_prefix=prefix,
            )
        )
        make_file(session, make_project(session), deleted_at=text("now()"))
        session.execute(text("UPDATE files SET bytes = 0 WHERE id <> :id"), {"id": file.id})
        empty = hashlib.sha256(b"").hexdigest()
        for other in session.scalars(select(File).where(File.id != file.id)):
            other.sha256 = empty
            store.put(other.storage_key, b"")
        session.commit()
        create_backup(database_url, store, folder, ignore)
        before = dump_rows(database_url)
        manifest = restore_backup(new_database, new_store, folder, folder.find(None), ignore)
        after = dump_rows(new_database)
        # Written when the backup was complete.
        before.pop("periodic_tasks")
        after.pop("periodic_tasks")
        assert after == before
        assert manifest.damaged == ()
        restored = read_all(new_store)
        assert len(restored) == 5
        assert restored.items() <= read_all(store).items()

    def test_new_rows_get_new_numbers_and_triggers_work(
        self,
        database_url: str,
        sessions: SessionMaker,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
    ) -> None:
        with transaction(sessions) as session:
            job = make_job(session, state=JobState.SUCCEEDED)
            outbox.enqueue_blob_deletion(session, "projects/a/files/b")
        restore_into(database_url, store, folder, new_database, new_store)
        with one_off_transaction(new_database) as session:
            outbox.enqueue_blob_deletion(session, "projects/a/files/c")
            make_job(session, user_metadata={"a": "b"})
        with one_off_transaction(new_database) as session:
            assert len(set(session.scalars(select(Outbox.id)))) == 2
            assert session.scalars(select(JobMetadata.key)).all() == ["a"]
        with (
            pytest.raises(Exception, match="cannot become"),
            one_off_transaction(new_database) as session,
        ):
            session.execute(text("UPDATE jobs SET state = 'queued' WHERE id = :id"), {"id": job.id})

    def test_a_key_works_after_a_restore(
        self,
        database_url: str,
        sessions: SessionMaker,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
    ) -> None:
        with transaction(sessions) as session:
            key, _ = api_keys.create(session, make_project(session).id, "laptop")
        restore_into(database_url, store, folder, new_database, new_store)
        with one_off_transaction(new_database) as session:
            assert session.get_one(ApiKey, key.id).secret_sha256 == key.secret_sha256

    def test_a_running_job_is_queued_and_loses_no_attempt(
        self,
        database_url: str,
        sessions: SessionMaker,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
    ) -> None:
        with transaction(sessions) as session:
            job = make_job(session, state=JobState.RUNNING, attempt=2, no_progress_attempts=2)
            session.add(JobLease(job_id=job.id, attempt=2, trainer="t", lease_until=text("now()")))
            session.add(JobAttempt(job_id=job.id, attempt=2, trainer="t"))
            put_checkpoint(session, store, job, step=4)
        restore_into(database_url, store, folder, new_database, new_store)
        with one_off_transaction(new_database) as session:
            restored = session.get_one(Job, job.id)
            assert (restored.state, restored.no_progress_attempts) == (JobState.QUEUED, 0)
            # Above all numbers that the old service may have used in the same bucket since.
            assert restored.attempt > 1000
            assert session.scalars(select(JobLease)).all() == []
            (attempt,) = session.scalars(select(JobAttempt))
            assert attempt.outcome == AttemptOutcome.LOST

    def test_a_backup_of_an_older_schema_is_migrated(
        self,
        database_url: str,
        sessions: SessionMaker,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Its rows are loaded into the schema of then; migrations after it do the rest."""
        with one_off_transaction(new_database) as session:
            session.execute(text("CREATE TABLE notes (id int)"))
        upgrade(new_database, revision="0016")
        with one_off_transaction(new_database) as session:
            make_old_rows(session)
        create_backup(new_database, store, folder, ignore)
        manifest = restore_backup(
            new_database, new_store, folder, folder.find(None), ignore, replace=True
        )
        assert manifest.revision == "0016"
        with one_off_transaction(new_database) as session:
            head = session.scalar(text("SELECT version_num FROM alembic_version"))
            assert session.scalars(select(File.filename)).all() == ["old.jsonl"]
        with one_off_transaction(database_url) as session:
            assert head == session.scalar(text("SELECT version_num FROM alembic_version"))


def make_old_rows(session: Session) -> None:
    """Rows in the oldest schema that can be backed up."""
    session.execute(text("INSERT INTO organizations (id, slug) VALUES ('org', 'acme')"))
    session.execute(
        text("INSERT INTO projects (id, organization_id, name) VALUES ('proj', 'org', 'one')")
    )
    session.execute(
        text(
            "INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, storage_key,"
            " status) VALUES ('file', 'proj', 'old.jsonl', 'fine-tune', 1, '',"
            " 'projects/proj/files/file', 'processed')"
        )
    )


def restore_into(
    database_url: str,
    store: ObjectStore,
    folder: BackupFolder,
    new_database: str,
    new_store: ObjectStore,
) -> None:
    create_backup(database_url, store, folder, ignore)
    restore_backup(new_database, new_store, folder, folder.find(None), ignore)


@pytest.fixture
def file(session: Session, store: ObjectStore) -> File:
    """A committed file with its object."""
    file = put_file(session, store, b"example\n")
    session.commit()
    return file


class TestF45Damage:
    @pytest.mark.parametrize("victim", ["object", "table", "index", "manifest"])
    @pytest.mark.parametrize("kind", ["bit flipped", "truncated", "missing"])
    def test_a_corrupt_backup_is_refused_before_anything_is_changed(
        self,
        database_url: str,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
        victim: str,
        kind: str,
    ) -> None:
        path, _ = create_backup(database_url, store, folder, ignore)
        damage(
            {
                "object": folder.object_path(file.sha256),
                "table": path / "tables/files.copy.gz",
                "index": path / "objects.jsonl.gz",
                "manifest": path / "manifest.json",
            }[victim],
            kind,
        )
        with pytest.raises(CorruptBackup if victim != "manifest" else BackupError):
            restore_backup(new_database, new_store, folder, folder.find(path.name), ignore)
        assert dump_rows(new_database) == {}
        assert read_all(new_store) == {}

    @pytest.mark.parametrize("how", ["missing", "changed"])
    def test_an_object_damaged_in_storage_is_named_and_the_rest_is_saved(
        self,
        database_url: str,
        session: Session,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
        how: str,
    ) -> None:
        other = put_file(session, store, b"damaged")
        session.commit()
        if how == "missing":
            store.delete(other.storage_key)
        else:
            store.put(other.storage_key, b"demaged")
        output: list[str] = []
        _, manifest = create_backup(database_url, store, folder, output.append)
        assert [damaged.key for damaged in manifest.damaged] == [other.storage_key]
        assert any(other.storage_key in line for line in output)
        restore_backup(new_database, new_store, folder, folder.find(None), ignore)
        assert list(read_all(new_store)) == [file.storage_key]

    def test_damage_keeps_the_earlier_backups(
        self, database_url: str, file: File, store: ObjectStore, folder: BackupFolder
    ) -> None:
        path, _ = create_backup(database_url, store, folder, ignore)
        store.put(file.storage_key, b"demaged\n")
        folder.object_path(file.sha256).rename(folder.path / "elsewhere")
        _, manifest = create_backup(database_url, store, folder, ignore, keep=1)
        assert manifest.damaged
        assert path in folder.complete()

    def test_another_storage_is_no_storage_without_objects(
        self,
        database_url: str,
        sessions: SessionMaker,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_store: LocalStore,
    ) -> None:
        """As where a file system is not mounted: an empty backup would push out good ones."""
        storage_identity.ensure_marker(sessions, store)
        with pytest.raises(StorageUnavailable, match="not the one that the database belongs to"):
            create_backup(database_url, new_store, folder, ignore)
        assert folder.complete() == []

    def test_a_restored_database_knows_the_new_storage(
        self,
        database_url: str,
        sessions: SessionMaker,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
    ) -> None:
        storage_identity.ensure_marker(sessions, store)
        restore_into(database_url, store, folder, new_database, new_store)
        with one_off_transaction(new_database) as session:
            assert storage_identity.find_marker(session) == read_marker(new_store)
        assert read_marker(new_store) != read_marker(store)


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(data[:-3])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


class TestF45Interruption:
    @pytest.mark.parametrize("moment", ["objects", "manifest"])
    def test_an_interrupted_backup_is_no_backup_and_the_next_one_goes_on(
        self,
        database_url: str,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        monkeypatch: pytest.MonkeyPatch,
        moment: str,
    ) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if moment == "objects":
                patch.setattr(create, "copy_objects", interrupt)
            else:
                patch.setattr(create.Manifest, "write", interrupt)
            with pytest.raises(KeyboardInterrupt):
                create_backup(database_url, store, folder, ignore)
        with pytest.raises(BackupError, match="no complete backup"):
            folder.find(None)
        path, _ = create_backup(database_url, store, folder, ignore)
        assert list(folder.backups.iterdir()) == [path]
        verify_backup(folder, path, ignore)

    def test_an_interrupted_restore_can_be_repeated(
        self,
        database_url: str,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path, _ = create_backup(database_url, store, folder, ignore)
        with monkeypatch.context() as patch:
            patch.setattr("app.backup.table_copy._set_triggers", interrupt_at("ENABLE"))
            with pytest.raises(KeyboardInterrupt):
                restore_backup(new_database, new_store, folder, path, ignore)
        restore_backup(new_database, new_store, folder, path, ignore)
        with one_off_transaction(new_database) as session:
            assert session.scalars(select(File.id)).all() == [file.id]


def interrupt_at(action: str) -> Callable[..., None]:
    def set_triggers(_connection: object, _tables: object, given: str) -> None:
        if given == action:
            raise KeyboardInterrupt

    return set_triggers


class TestF45Concurrency:
    def test_objects_deleted_during_the_backup_are_in_it(
        self,
        database_url: str,
        sessions: SessionMaker,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The row is deleted after the snapshot, and dispatchers try to delete the object."""
        orphans = OrphanCollector(sessions, store)
        copy_objects = create.copy_objects

        def delete_first(*arguments: object) -> object:
            with transaction(sessions) as session:
                session.execute(text("UPDATE files SET deleted_at = now()"))
                outbox.enqueue_blob_deletion(session, file.storage_key)
            outbox_dispatch.dispatch_pending(sessions, lambda *_: True, store)
            assert orphans.collect() + orphans.collect() == 0
            return copy_objects(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(create, "copy_objects", delete_first)
        _, manifest = create_backup(database_url, store, folder, ignore)
        assert manifest.damaged == ()
        assert folder.object_path(file.sha256).read_bytes() == b"example\n"
        outbox_dispatch.dispatch_pending(sessions, lambda *_: True, store)
        assert read_all(store) == {}, "the deletion was not made up for after the backup"

    def test_all_tables_are_of_one_moment(
        self,
        database_url: str,
        sessions: SessionMaker,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        new_database: str,
        new_store: LocalStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Between the export of the files and that of the jobs, a file and its job are made."""
        export_table = create.table_copy.export_table

        def export_slowly(connection: Connection, name: str, path: Path) -> object:
            if name == "jobs":
                with transaction(sessions) as session:
                    make_job(session)
            return export_table(connection, name, path)

        with monkeypatch.context() as patch:
            patch.setattr(create.table_copy, "export_table", export_slowly)
            create_backup(database_url, store, folder, ignore)
        restore_backup(new_database, new_store, folder, folder.find(None), ignore)
        with one_off_transaction(new_database) as session:
            assert session.scalars(select(File.id)).all() == [file.id]
            assert session.scalars(select(Job.id)).all() == []

    def test_notifications_are_sent_during_a_backup(
        self,
        database_url: str,
        sessions: SessionMaker,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sent: list[str] = []

        def notify_first(*arguments: object) -> object:
            with transaction(sessions) as session:
                outbox.enqueue_notification(session, "train", "job-1")  # type: ignore[arg-type]
            outbox_dispatch.dispatch_pending(
                sessions, lambda _task, job: sent.append(job) is None, store
            )
            return object_copy.copy_objects(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(create, "copy_objects", notify_first)
        create_backup(database_url, store, folder, ignore)
        assert sent == ["job-1"]

    def test_a_second_backup_at_a_time_is_refused(
        self, database_url: str, file: File, store: ObjectStore, folder: BackupFolder
    ) -> None:
        with folder.lock(), pytest.raises(BackupError, match="Another command is using"):
            create_backup(database_url, store, folder, ignore)

    def test_a_database_with_rows_is_not_overwritten(
        self, database_url: str, file: File, store: ObjectStore, folder: BackupFolder
    ) -> None:
        path, _ = create_backup(database_url, store, folder, ignore)
        with pytest.raises(TargetInUse, match=r"not empty: .*files"):
            restore_backup(database_url, store, folder, path, ignore)


class TestF45Retention:
    def test_a_second_backup_copies_new_objects_only(
        self,
        database_url: str,
        session: Session,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
    ) -> None:
        output: list[str] = []
        create_backup(database_url, store, folder, ignore)
        put_file(session, store, b"new")
        session.commit()
        create_backup(database_url, CountingStore(store, output), folder, ignore)
        assert output == [key for key in output if store.get(key) == b"new"]
        assert len(output) == 1

    def test_old_backups_are_removed_with_the_objects_that_only_they_need(
        self,
        database_url: str,
        session: Session,
        file: File,
        store: ObjectStore,
        folder: BackupFolder,
    ) -> None:
        create_backup(database_url, store, folder, ignore)
        new = put_file(session, store, b"new")
        session.execute(text("UPDATE files SET deleted_at = now() WHERE id = :id"), {"id": file.id})
        session.commit()
        path, _ = create_backup(database_url, store, folder, ignore, keep=1)
        assert folder.complete() == [path]
        assert [p.name for p in folder.objects.glob("??/*")] == [new.sha256]
        verify_backup(folder, path, ignore)

    def test_backups_are_readable_by_their_owner_only(
        self, database_url: str, file: File, store: ObjectStore, folder: BackupFolder
    ) -> None:
        create_backup(database_url, store, folder, ignore)
        for path in folder.path.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


class CountingStore:
    """A store that records the keys that are read."""

    def __init__(self, store: ObjectStore, read: list[str]) -> None:
        self._store, self._read = store, read

    def chunks(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        self._read.append(key)
        return self._store.chunks(key, start=start)


def test_f45_rows_are_in_the_documented_format(
    database_url: str, file: File, store: ObjectStore, folder: BackupFolder
) -> None:
    path, manifest = create_backup(database_url, store, folder, ignore)
    table = next(table for table in manifest.tables if table.name == "files")
    with gzip.open(path / table.file.path, "rt") as rows:
        (row,) = rows
    values = dict(zip(table.columns, row.rstrip("\n").split("\t"), strict=True))
    assert (values["id"], values["bytes"], values["deleted_at"]) == (file.id, "8", "\\N")
