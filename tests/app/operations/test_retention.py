"""Retention: what is deleted leaves the database too, and what has ended does not stay forever."""

from sqlalchemy import func, select, text, update

from app.db.session import SessionMaker, transaction
from app.db.tables import (
    File,
    FineTunedModel,
    JobEvent,
    ModelTrafficHour,
    Prediction,
    Upload,
    UploadState,
)
from app.files import service
from app.jobs import events
from app.jobs.events import NewEvent
from app.operations import retention
from app.operations.retention import RetentionPolicy
from tests.factories import make_file, make_job, make_project

SECRET = "patients-of-ward-7"
DESCRIPTION = {
    "filename": f"{SECRET}.jsonl",
    "status_details": f"Line 1: '{SECRET}' is not a role.",
    "validation_errors": {"count": 1, "first": [{"reason": SECRET}]},
    "summary": {"labels": {SECRET: 3}},
}


def test_a63_a_deleted_file_leaves_no_name_label_or_quoted_error(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        file = make_file(session, project, **DESCRIPTION)
        session.add(_upload(project.id, file_id=file.id))
        session.flush()
        service.delete(session, project.id, file.id)
    assert SECRET not in _dump(sessions)


def test_a63_files_that_an_older_version_deleted_are_erased_too(
    sessions: SessionMaker,
) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        kept = make_file(session, project, **DESCRIPTION)
        for _ in range(3):
            make_file(session, project, **DESCRIPTION, deleted_at=func.now())
    retention.sweep(sessions, RetentionPolicy())
    with transaction(sessions) as session:
        named = select(File.id).where(File.filename != service.ERASED_FILENAME)
        assert session.scalars(named).all() == [kept.id]


def test_a63_traffic_of_a_deleted_model_is_deleted(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        job = make_job(session)
        for name, deleted in (("ft:gone", True), ("ft:kept", False)):
            session.add(
                FineTunedModel(
                    name=name,
                    project_id=job.project_id,
                    job_id=job.id,
                    base_model="base",
                    storage_prefix="p",
                    deleted_at=text("now() - interval '2 hours'") if deleted else None,
                )
            )
            session.add(ModelTrafficHour(model=name, hour=func.now(), counts={}))
            session.add(
                Prediction(request_id=name, model=name, predicted_labels=[], true_labels=[])
            )
    retention.sweep(sessions, RetentionPolicy())
    with transaction(sessions) as session:
        assert session.scalars(select(ModelTrafficHour.model)).all() == ["ft:kept"]
        assert session.scalars(select(Prediction.model)).all() == ["ft:kept"]


def test_a63_ended_uploads_and_events_have_a_retention(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        session.add(_upload(project.id, id="old", created_at=text("now() - interval '8 days'")))
        session.add(_upload(project.id, id="new"))
        job = make_job(session, project, state="failed")
        events.append(session, job, [NewEvent("a", "message")])
        session.execute(update(type(job)).values(finished_at=text("now() - interval '8 days'")))
    retention.sweep(sessions, RetentionPolicy(upload_days=0, job_event_days=0))
    assert _count(sessions, Upload) == 2
    assert _count(sessions, JobEvent) == 1
    retention.sweep(sessions, RetentionPolicy(upload_days=7, job_event_days=7))
    assert _count(sessions, Upload) == 1
    assert _count(sessions, JobEvent) == 0


def test_a63_a_sweep_is_bounded_and_the_next_continues(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
        for number in range(retention.BATCH_SIZE + 1):
            session.add(
                _upload(project.id, id=f"u{number}", created_at=text("now() - interval '8 days'"))
            )
    with transaction(sessions) as session:
        assert retention.delete_ended_uploads(session, 7) == retention.BATCH_SIZE
    retention.sweep(sessions, RetentionPolicy())
    assert _count(sessions, Upload) == 0


def _upload(project_id: str, **changes: object) -> Upload:
    values = {
        "id": "upload",
        "project_id": project_id,
        "filename": f"{SECRET}.jsonl",
        "purpose": "fine-tune",
        "bytes": 1,
        "state": UploadState.COMPLETED,
        "expires_at": func.now(),
    }
    return Upload(**values | changes)


def _count(sessions: SessionMaker, table: type) -> int:
    with transaction(sessions) as session:
        return session.query(table).count()


def _dump(sessions: SessionMaker) -> str:
    with transaction(sessions) as session:
        rows = [
            session.scalars(text(f"SELECT row_to_json(t)::text FROM {table} t")).all()
            for table in ("files", "uploads")
        ]
    return str(rows)
