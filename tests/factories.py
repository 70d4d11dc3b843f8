"""Factories of rows that tests start from: a project with files and a job, in any state."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import File, Job, Organization, Project
from app.storage import file_key


def make_project(session: Session) -> Project:
    organization = session.scalars(select(Organization)).one_or_none()
    if organization is None:
        organization = Organization(id=ids.organization_id(), slug="acme")
        session.add(organization)
        session.flush()
    project = Project(id=ids.project_id(), organization_id=organization.id, name="default")
    session.add(project)
    session.flush()
    return project


def make_file(session: Session, project: Project, **changes: Any) -> File:
    """Make a training file as an upload leaves it; its bytes are not in any store."""
    file_id = ids.file_id()
    values: dict[str, Any] = {
        "id": file_id,
        "project_id": project.id,
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "bytes": 0,
        "sha256": file_id,
        "storage_key": file_key(project.id, file_id),
        "status": "processed",
        "format": "chat",
        "examples": 12,
    }
    file = File(**values | changes)
    session.add(file)
    session.flush()
    return file


def make_job(session: Session, project: Project | None = None, **changes: Any) -> Job:
    project = project or make_project(session)
    values: dict[str, Any] = {
        "id": ids.job_id(),
        "project_id": project.id,
        "state": "queued",
        "base_model": "smollm2-135m-instruct",
        "method": "supervised",
        "hyperparameters": {"n_epochs": "auto"},
        "seed": 7,
    }
    if "training_file_id" not in changes:
        values["training_file_id"] = make_file(session, project).id
    job = Job(**values | changes)
    session.add(job)
    session.flush()
    return job
