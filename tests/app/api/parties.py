"""Projects with one of everything, as each of them must see its own and nobody else's."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import ids
from app.db.models import Checkpoint, CheckpointPermission, JobEvent, Project, Upload, UploadPart
from app.services import admin_keys, keys, moves, projects, service_accounts
from app.storage.keys import part_key
from tests.app.api.test_jobs import make_model
from tests.rows import make_file, make_job


@dataclass(frozen=True)
class Party:
    """A project, its secrets, and the ids of what belongs to it, by kind."""

    organization_id: str
    secret: str
    admin_secret: str
    ids: Mapping[str, str]


def make_party(session: Session, organization: str, name: str) -> Party:
    """A new project of an organization. Its keys among `ids` are not those of its secrets."""
    owner = keys.ensure_organization(session, organization)
    project = projects.create(session, owner.id, name)
    made = _files_and_jobs(session, project, organization)
    account = service_accounts.create(session, project.id, "account")
    made |= {
        "project": project.id,
        "service_account": account.id,
        "key": keys.create(session, project.id, name)[0].id,
        "admin_key": admin_keys.create(session, owner.id, name)[0].id,
    }
    party = Party(
        organization_id=owner.id,
        secret=keys.create(session, project.id, "asks")[1],
        admin_secret=admin_keys.create(session, owner.id, "asks")[1],
        ids=made,
    )
    session.commit()
    return party


def _files_and_jobs(session: Session, project: Project, organization: str) -> dict[str, str]:
    file = make_file(session, project, sha256=project.id)
    job = make_job(session, project, base_model="base", training_file_id=file.id)
    model = make_model(session, job, f"ft:base:{organization}::{ids.model_tag()}")
    event = JobEvent(
        id=ids.event_id(),
        job_id=job.id,
        seq=0,
        epoch=0,
        dedupe_key="made",
        level="info",
        type="message",
        message="made",
    )
    checkpoint = Checkpoint(
        id=ids.checkpoint_id(),
        job_id=job.id,
        epoch=0,
        step=1,
        kind="user",
        storage_prefix="",
        manifest_sha256="",
        bytes=0,
        metrics={},
    )
    permission = CheckpointPermission(
        id=ids.permission_id(), model_name=model.name, project_id=project.id
    )
    session.add_all([event, checkpoint, permission])
    session.flush()
    return _upload(session, project) | {
        "file": file.id,
        "job": job.id,
        "model": model.name,
        "event": event.id,
        "checkpoint": checkpoint.id,
        "permission": permission.id,
    }


def _upload(session: Session, project: Project) -> dict[str, str]:
    upload = Upload(
        id=ids.upload_id(),
        project_id=project.id,
        filename="a.jsonl",
        purpose="fine-tune",
        bytes=2,
        state="pending",
        expires_at=moves.in_seconds(3600),
    )
    part_id = ids.part_id()
    key = part_key(project.id, upload.id, part_id)
    part = UploadPart(id=part_id, upload_id=upload.id, bytes=1, storage_key=key)
    session.add(upload)
    session.flush()
    session.add(part)
    session.flush()
    return {"upload": upload.id, "part": part.id}
