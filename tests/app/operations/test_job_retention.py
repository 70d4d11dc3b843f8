"""Retention of ended jobs, of rows that nothing refers to, and of archived projects."""

from datetime import date, timedelta

import pytest
from sqlalchemy import UniqueConstraint, func, insert, select, text
from sqlalchemy.orm import Session

from app.db import clock
from app.db.base import Base
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    Checkpoint,
    CheckpointPermission,
    File,
    FineTunedModel,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetadata,
    JobMetric,
    JobTestAnswer,
    ModelTrafficHour,
    MonthlyTrainingUsage,
    Outbox,
    Prediction,
    Project,
    SweepTrial,
    TrainingUsage,
)
from app.files import service
from app.jobs import deletion, events
from app.jobs.events import NewEvent
from app.operations import retention
from app.operations.retention import RetentionPolicy
from tests.factories import make_file, make_job, make_project

WEEK = RetentionPolicy(job_days=7)
OF_JOBS = (
    Job,
    JobEvent,
    JobMetric,
    JobAttempt,
    JobTestAnswer,
    JobMetadata,
    Checkpoint,
    FineTunedModel,
)
OF_MODELS = (CheckpointPermission, ModelTrafficHour, Prediction, TrainingUsage)


class TestEndedJobs:
    def test_a_job_without_a_model_leaves_no_row(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            make_trained_job(session, project, name="ft:gone", is_deleted=True)
        retention.sweep(sessions, RetentionPolicy())
        assert count(sessions, Job) == 1
        retention.sweep(sessions, WEEK)
        assert {table.__tablename__: count(sessions, table) for table in OF_JOBS + OF_MODELS} == {
            table.__tablename__: 0 for table in OF_JOBS + OF_MODELS
        }

    def test_every_table_that_refers_to_jobs_or_models_is_among_these(self) -> None:
        """A new one would make the deletion of its jobs fail: add it to the deletion and here."""
        referring = {
            table.name
            for table in Base.metadata.sorted_tables
            for key in table.foreign_keys
            if key.column.table.name in ("jobs", "fine_tuned_models")
        }
        # An ended job has no row in it; deleted all the same. A trial stays, without its job.
        others = {JobLease.__tablename__, SweepTrial.__tablename__}
        assert referring == others | {
            table.__tablename__
            for table in (*OF_JOBS, *OF_MODELS)
            if table not in (Job, ModelTrafficHour, Prediction)
        }

    @pytest.mark.parametrize("target", ["jobs", "files"])
    def test_rows_that_refer_to_it_are_found_by_an_index(self, target: str) -> None:
        """Postgres looks for them each time that a row is deleted."""
        for table in Base.metadata.sorted_tables:
            columns = {index.columns[0].name for index in (*table.indexes, table.primary_key)}
            unique = (c for c in table.constraints if isinstance(c, UniqueConstraint))
            columns |= {constraint.columns[0].name for constraint in unique}
            for key in table.foreign_keys:
                if key.column.table.name == target:
                    assert key.parent.name in columns, f"{table.name}.{key.parent.name}"

    def test_its_checkpoints_and_result_files_leave_storage(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            job = make_trained_job(session, project, name="ft:gone", is_deleted=True)
            make_checkpoint(session, job, step=2, is_deleted=False)
            result = session.get_one(File, job.result_file_id)
            training_file_id, expected = job.training_file_id, {"keys": [result.storage_key]}
        retention.sweep(sessions, WEEK)
        with transaction(sessions) as session:
            payloads = session.scalars(select(Outbox.payload).order_by(Outbox.id)).all()
            assert payloads == [{"prefix": "checkpoint-2/"}, expected]
            kept = select(File.id).where(File.deleted_at.is_(None))
            assert session.scalars(kept).all() == [training_file_id]

    @pytest.mark.parametrize(
        "changes",
        [
            {"finished_at": func.now()},
            {"state": "running", "finished_at": None},
            {"state": "paused", "finished_at": None},
        ],
    )
    def test_others_stay(self, sessions: SessionMaker, changes: dict[str, object]) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            make_trained_job(session, project, name="ft:gone", is_deleted=True, **changes)
        retention.sweep(sessions, WEEK)
        assert [count(sessions, table) for table in (Job, JobEvent, JobMetric)] == [1, 1, 1]

    def test_a_job_stays_as_long_as_one_of_its_models(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            job = make_trained_job(session, project, name="ft:gone", is_deleted=True)
            session.add(build_model(job, "ft:kept", step=1))
        retention.sweep(sessions, WEEK)
        assert [count(sessions, table) for table in (Job, JobEvent, JobMetric)] == [1, 1, 1]

    def test_trained_tokens_are_added_to_their_month(self, sessions: SessionMaker) -> None:
        months = ["2026-01-01 00:30+00", "2026-01-31 23:30+00", "2026-02-01 00:30+00"]
        for tokens, month in enumerate(months, start=1):
            with transaction(sessions) as session:
                project = session.scalars(select(Project)).one_or_none() or make_project(session)
                make_trained_job(
                    session, project, name=month, is_deleted=True, tokens=tokens, used_at=month
                )
            if tokens < 3:
                retention.sweep(sessions, WEEK)
        retention.sweep(sessions, WEEK)
        with transaction(sessions) as session:
            usage = select(
                MonthlyTrainingUsage.month,
                MonthlyTrainingUsage.jobs,
                MonthlyTrainingUsage.trained_tokens,
            ).order_by(MonthlyTrainingUsage.month)
            assert [tuple(row) for row in session.execute(usage)] == [
                (date(2026, 1, 1), 2, 3),
                (date(2026, 2, 1), 1, 3),
            ]

    def test_metrics_are_deleted_in_batches_before_their_job(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            job = make_trained_job(session, make_project(session), name="ft:gone", is_deleted=True)
            rows = [
                {"job_id": job.id, "step": step, "attempt": 1, "values": {}}
                for step in range(2, retention.BATCH_SIZE + 2)
            ]
            session.execute(insert(JobMetric), rows)
        with transaction(sessions) as session:
            limit = retention.BATCH_SIZE
            assert deletion.delete_events(session, days=7, limit=limit) == 1
            assert deletion.delete_metrics(session, days=7, limit=limit) == limit
            assert deletion.delete_jobs(session, days=7, limit=limit) == 0
            assert deletion.delete_metrics(session, days=7, limit=limit) == 1
            assert deletion.delete_jobs(session, days=7, limit=limit) == 1


class TestDeletedRows:
    def test_a_file_that_a_job_names_stays_as_long_as_the_job(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            make_file(session, project, deleted_at=days_ago(2))
            new = make_file(session, project, deleted_at=func.now())
            named = make_file(session, project, deleted_at=days_ago(9))
            make_job(
                session,
                project,
                state="failed",
                finished_at=days_ago(8),
                training_file_id=named.id,
            )
            ids = {new.id, named.id}
        retention.sweep(sessions, RetentionPolicy())
        with transaction(sessions) as session:
            assert set(session.scalars(select(File.id))) == ids
        retention.sweep(sessions, WEEK)
        with transaction(sessions) as session:
            assert set(session.scalars(select(File.id))) == {new.id}

    def test_models_and_checkpoints_of_ended_jobs(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            make_trained_job(session, project, name="ft:ended", is_deleted=True)
            make_trained_job(session, project, name="ft:running", is_deleted=True, state="running")
            make_trained_job(session, project, name="ft:kept", is_deleted=False)
        retention.sweep(sessions, RetentionPolicy())
        with transaction(sessions) as session:
            names = ["ft:kept", "ft:running"]
            for column in (FineTunedModel.name, Checkpoint.model_name):
                assert sorted(filter(None, session.scalars(select(column)))) == names
        assert count(sessions, Job) == 3

    def test_rows_are_kept_forever_on_request(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            make_file(session, make_project(session), deleted_at=days_ago(99))
        retention.sweep(sessions, RetentionPolicy(deleted_row_days=0))
        assert count(sessions, File) == 1


class TestArchivedProjects:
    def test_files_and_models_are_deleted(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            for project in (archive(make_project(session)), make_project(session)):
                make_trained_job(session, project, name=f"ft:{project.id}", is_deleted=False)
            kept = project.id
        retention.sweep(sessions, RetentionPolicy())
        assert set(list_owners(sessions, FineTunedModel)) > {kept}
        retention.sweep(sessions, RetentionPolicy(archived_project_days=7))
        assert set(list_owners(sessions, FineTunedModel)) == {kept}
        assert set(list_owners(sessions, File)) == {kept}

    def test_a_model_stays_as_long_as_another_project_may_use_it(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            owner, user = archive(make_project(session)), make_project(session)
            make_trained_job(session, owner, name="ft:shared", is_deleted=False, user=user)
            user_id = user.id
        policy = RetentionPolicy(archived_project_days=7)
        retention.sweep(sessions, policy)
        assert len(list_owners(sessions, FineTunedModel)) == 1
        with transaction(sessions) as session:
            archive(session.get_one(Project, user_id))
        retention.sweep(sessions, policy)
        assert list_owners(sessions, FineTunedModel) == []


def test_a_rule_that_fails_does_not_stop_the_others(
    sessions: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, file: File) -> None:
        raise ValueError("broken")

    with transaction(sessions) as session:
        project = make_project(session)
        make_file(session, project, filename="a", deleted_at=func.now())
        make_file(session, project, filename=service.ERASED_FILENAME, deleted_at=days_ago(2))
    monkeypatch.setattr(service, "erase_description", fail)
    with pytest.raises(ValueError, match="broken"):
        retention.sweep(sessions, RetentionPolicy())
    assert count(sessions, File) == 1


def make_trained_job(
    session: Session,
    project: Project,
    *,
    name: str,
    is_deleted: bool,
    tokens: int = 7,
    used_at: str = "2026-01-01",
    user: Project | None = None,
    **changes: object,
) -> Job:
    """Make a job that succeeded 8 days ago, with a row in each table that belongs to a job."""
    result = make_file(session, project, purpose="fine-tune-results", format=None, examples=None)
    values = {
        "state": "succeeded",
        "finished_at": days_ago(8),
        "result_file_id": result.id,
        "user_metadata": {"team": "a"},
    }
    job = make_job(session, project, **values | changes)
    events.append(session, job, [NewEvent("a", "message")])
    session.add(JobMetric(job_id=job.id, step=1, attempt=1, values={}))
    session.add(JobTestAnswer(job_id=job.id, model=name, row=1, text="answer"))
    session.add(JobAttempt(job_id=job.id, attempt=1, trainer="t", ended_at=func.now()))
    make_checkpoint(session, job, step=1, is_deleted=is_deleted, model_name=name)
    session.add(build_model(job, name, deleted_at=days_ago(8) if is_deleted else None))
    session.flush()
    permitted = user or project
    session.add(CheckpointPermission(id=name, model_name=name, project_id=permitted.id))
    session.add(ModelTrafficHour(model=name, hour=func.now(), counts={}))
    session.add(Prediction(request_id=name, model=name, predicted_labels=[], true_labels=[]))
    session.add(
        TrainingUsage(
            job_id=job.id,
            project_id=project.id,
            base_model=job.base_model,
            trained_tokens=tokens,
            created_at=text(f"'{used_at}'"),
        )
    )
    session.flush()
    return job


def build_model(job: Job, name: str, **changes: object) -> FineTunedModel:
    values = {
        "name": name,
        "project_id": job.project_id,
        "job_id": job.id,
        "base_model": "base",
        "storage_prefix": name,
    }
    return FineTunedModel(**values | changes)


def make_checkpoint(
    session: Session, job: Job, *, step: int, is_deleted: bool, model_name: str | None = None
) -> None:
    checkpoint = Checkpoint(
        id=f"{job.id}-{step}",
        job_id=job.id,
        attempt=1,
        step=step,
        kind="user" if model_name else "resume",
        storage_prefix=f"checkpoint-{step}",
        manifest_sha256="",
        bytes=1,
        model_name=model_name,
        metrics={},
        deleted_at=days_ago(8) if is_deleted else None,
    )
    session.add(checkpoint)
    session.flush()


def archive(project: Project) -> Project:
    project.archived_at = days_ago(8)
    return project


def days_ago(days: int) -> object:
    return clock.subtract_from_now(timedelta(days=days))


def list_owners(sessions: SessionMaker, table: type[File] | type[FineTunedModel]) -> list[str]:
    """List the projects of what is not deleted."""
    with transaction(sessions) as session:
        owners = select(table.project_id).where(table.deleted_at.is_(None))
        return list(session.scalars(owners))


def count(sessions: SessionMaker, table: type) -> int:
    with transaction(sessions) as session:
        return session.query(table).count()
