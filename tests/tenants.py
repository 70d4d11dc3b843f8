"""Tenants: projects with one object of each kind, which no other tenant may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ids
from app.auth import audit_log
from app.auth.audit_log import CommandUser
from app.conversations import service as conversations
from app.db import clock
from app.db.tables import (
    AuditEvent,
    AuditLog,
    Batch,
    Checkpoint,
    Eval,
    EvalOutputItem,
    EvalRun,
    Job,
    JobAttempt,
    JobEvent,
    ModelAlias,
    Project,
    Sweep,
    SweepEvent,
    Upload,
    UploadPart,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.evals.items import Sample
from app.models.permissions import create as permit
from app.organization import admin_keys, api_keys, bootstrap, projects, service_accounts
from app.responses.context import describe_items
from app.responses.schemas import CreateResponse
from app.responses.serializers import new_response
from app.responses.service import save as save_response
from app.settings import Settings
from app.storage.object_keys import upload_part_key
from app.stored_completions.service import save as save_completion
from app.wire.items import Message
from app.work import lists
from tests.app.jobs.test_routes import make_model
from tests.factories import make_file, make_job


@dataclass(frozen=True)
class Tenant:
    """A project, its secrets, and the ids of its objects by kind."""

    organization_id: str
    secret: str
    admin_secret: str
    ids: Mapping[str, str]


def make_tenant(session: Session, organization: str, name: str) -> Tenant:
    """Create a project with one object of each kind. Its secrets are of other keys than in `ids`.

    Each list also has an older object, so that no cursor points at an empty page.
    """
    owner = bootstrap.ensure_organization(session, organization)
    older, project = (projects.create(session, owner.id, name) for _ in range(2))
    made = _files_and_jobs(session, project, organization, older)
    made |= _upload(session, project) | _webhook(session, project)
    made |= _response(session, project)
    made |= _stored_completions(session, project, made["model"])
    made |= _alias(session, project, made["model"])
    made |= _sweep(session, project, made["file"])
    made |= _batch(session, project)
    made |= _eval(session, project)
    made |= _conversation(session, project)
    made |= _audit_log(session, project)
    made |= {
        "project": project.id,
        "service_account": [
            service_accounts.create(session, project.id, "account").id for _ in range(2)
        ][1],
        "key": [api_keys.create(session, project.id, name)[0].id for _ in range(2)][1],
        "admin_key": admin_keys.create(session, owner.id, name)[0].id,
    }
    tenant = Tenant(
        organization_id=owner.id,
        secret=api_keys.create(session, project.id, "asks")[1],
        admin_secret=admin_keys.create(session, owner.id, "asks")[1],
        ids=made,
    )
    session.commit()
    return tenant


def _files_and_jobs(
    session: Session, project: Project, organization: str, other: Project
) -> dict[str, str]:
    make_job(session, project)
    file = make_file(session, project, sha256=project.id)
    job = make_job(session, project, base_model="base", training_file_id=file.id)
    model = make_model(session, job, f"ft:base:{organization}::{ids.model_tag()}")
    # The list of jobs has a filter by the model that they start from.
    make_job(session, project, start_model=model.name, state="succeeded")
    permissions = []
    for number, permitted in enumerate((other, project)):
        event, checkpoint = _event(job, number), _checkpoint(job, number)
        session.add_all([event, checkpoint])
        permissions += permit(session, project.organization_id, model.name, [permitted.id])
    session.add_all(JobAttempt(job_id=job.id, attempt=n, trainer="a trainer") for n in (1, 2))
    return {
        "attempt": f"{job.id}-2",
        "file": file.id,
        "job": job.id,
        "model": model.name,
        "event": event.id,
        "checkpoint": checkpoint.id,
        "permission": permissions[1].id,
    }


def _alias(session: Session, project: Project, model: str) -> dict[str, str]:
    """Each project's has a name of its own, or another's would be found under it."""
    name = f"alias-{project.id[-8:]}"
    session.add(ModelAlias(project_id=project.id, name=name, model_name=model))
    return {"alias": name}


def _sweep(session: Session, project: Project, file_id: str) -> dict[str, str]:
    for _ in range(2):
        sweep = Sweep(
            id=ids.sweep_id(),
            project_id=project.id,
            state="running",
            strategy="grid",
            job={},
            space={},
            max_jobs=1,
            metric="valid_loss",
            seed=1,
            training_file_id=file_id,
            validation_file_id=file_id,
        )
        session.add(sweep)
        session.flush()
    for number in range(2):
        event = SweepEvent(
            id=ids.event_id(), sweep_id=sweep.id, seq=number, level="info", message="", data={}
        )
        session.add(event)
        session.flush()
    return {"sweep": sweep.id, "sweep_event": event.id}


def _batch(session: Session, project: Project) -> dict[str, str]:
    file = make_file(session, project, purpose="batch")
    for _ in range(2):
        batch = Batch(
            id=ids.batch_id(),
            project_id=project.id,
            state="in_progress",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            input_file_id=file.id,
            expires_at=clock.seconds_from_now(3600),
        )
        session.add(batch)
        session.flush()
        lists.create(session, batch.id, kind="batch", project_id=project.id)
    return {"batch": batch.id}


def _eval(session: Session, project: Project) -> dict[str, str]:
    # The list has the oldest first.
    first, _ = (make_eval(session, project) for _ in range(2))
    run, _ = (make_eval_run(session, first) for _ in range(2))
    item, _ = (make_output_item(session, run, index) for index in range(2))
    file = make_file(session, project, purpose="evals")
    return {
        "eval": first.id,
        "eval_run": run.id,
        "output_item": item.id,
        "eval_file": file.id,
    }


def _conversation(session: Session, project: Project) -> dict[str, str]:
    """The newer item's id, since the list begins with it."""
    items = [Message(role="user", content="Hi") for _ in range(2)]
    row = conversations.create(session, Settings(), project.id, items=items, metadata={})
    item_id = conversations.list_context(session, row)[1]["id"]
    return {"conversation": row.id, "conversation_item": item_id}


def _audit_log(session: Session, project: Project) -> dict[str, str]:
    """The middle one of three: there is one after it, and one before it."""
    actor = CommandUser("root", project.organization_id)
    for event in (AuditEvent.PROJECT_CREATED, *[AuditEvent.PROJECT_UPDATED] * 2):
        audit_log.record(session, actor, event, project.id, project_id=project.id)
        session.flush()
    of_project = select(AuditLog.id).where(AuditLog.project_id == project.id)
    return {"audit_log": session.scalars(of_project.order_by(AuditLog.created_at)).all()[1]}


def _response(session: Session, project: Project) -> dict[str, str]:
    """The newer item's id, since the list begins with it."""
    response_id = ids.response_id()
    request = CreateResponse(model="base", input="Hi")
    response = new_response(request, response_id, model="base", created_at=1, is_stored=True)
    items = describe_items([Message(role="user", content="Hi") for _ in range(2)], {}, response_id)
    save_response(session, project.id, response | {"status": "completed"}, items)
    session.flush()
    return {"response": response_id, "response_item": items[1]["id"]}


def make_eval(session: Session, project: Project) -> Eval:
    """An eval of items with any fields, without criteria."""
    schema = {"type": "object", "properties": {"item": {}}, "required": ["item"]}
    row = Eval(
        id=ids.eval_id(),
        project_id=project.id,
        name="",
        data_source_config={"type": "custom", "schema": schema},
        testing_criteria=[],
    )
    session.add(row)
    session.flush()
    return row


def _stored_completions(session: Session, project: Project, model: str) -> dict[str, str]:
    """The older one's ids, since the list begins with it."""
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    request = {"messages": [{"role": "user", "content": "Hi"}] * 2}
    completion_ids = [f"chatcmpl-{ids.random_alphanumeric(24)}" for _ in range(2)]
    for id in completion_ids:
        answer = {
            "id": id,
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
        }
        save_completion(
            session,
            project.id,
            request=orjson.dumps(request),
            response=orjson.dumps(answer),
            answer=answer,
            metadata={},
        )
    return {"stored_completion": completion_ids[0], "stored_message": f"{completion_ids[0]}-0"}


def make_eval_run(session: Session, parent: Eval, **columns: Any) -> EvalRun:
    """A run that has ended, which sampled a model."""
    source = {
        "type": "completions",
        "model": "base",
        "source": {"type": "file_content", "content": [{"item": {}}]},
    }
    values: dict[str, Any] = {
        "state": "completed",
        "name": "",
        "model": "base",
        "data_source": source,
    }
    row = EvalRun(
        id=ids.eval_run_id(),
        eval_id=parent.id,
        project_id=parent.project_id,
        **values | columns,
    )
    session.add(row)
    session.flush()
    return row


def make_output_item(session: Session, run: EvalRun, index: int) -> EvalOutputItem:
    content = orjson.dumps({"item": {}, "results": [], "sample": Sample().model_dump()})
    row = EvalOutputItem(
        id=ids.output_item_id(),
        run_id=run.id,
        project_id=run.project_id,
        index=index,
        status="pass",
        content=content,
        bytes=len(content),
    )
    session.add(row)
    session.flush()
    return row


def _event(job: Job, number: int) -> JobEvent:
    return JobEvent(
        id=ids.event_id(),
        job_id=job.id,
        seq=number,
        attempt=0,
        dedupe_key=f"made:{number}",
        level="info",
        type="message",
        message="made",
    )


def _checkpoint(job: Job, number: int) -> Checkpoint:
    return Checkpoint(
        id=ids.checkpoint_id(),
        job_id=job.id,
        attempt=0,
        step=number,
        kind="user",
        storage_prefix=f"checkpoints/{job.id}/{number}",
        manifest_sha256="",
        bytes=0,
        metrics={},
    )


def _webhook(session: Session, project: Project) -> dict[str, str]:
    for _ in range(2):
        endpoint = WebhookEndpoint(
            id=ids.webhook_endpoint_id(),
            project_id=project.id,
            name="test",
            url="https://hooks.invalid/",
            event_types=["fine_tuning.job.succeeded"],
            secret="",
        )
        session.add(endpoint)
        session.flush()
    for number in range(2):
        delivery = WebhookDelivery(
            id=f"{endpoint.id}-{number}",
            endpoint_id=endpoint.id,
            event_id=str(number),
            event_type="fine_tuning.job.succeeded",
            body="{}",
            state="failed",
        )
        session.add(delivery)
        session.flush()
    return {"webhook_endpoint": endpoint.id, "delivery": delivery.id}


def _upload(session: Session, project: Project) -> dict[str, str]:
    upload = Upload(
        id=ids.upload_id(),
        project_id=project.id,
        filename="a.jsonl",
        purpose="fine-tune",
        bytes=2,
        state="pending",
        expires_at=clock.seconds_from_now(3600),
    )
    part_id = ids.part_id()
    key = upload_part_key(project.id, upload.id, part_id)
    part = UploadPart(id=part_id, upload_id=upload.id, bytes=1, storage_key=key)
    session.add(upload)
    session.flush()
    session.add(part)
    session.flush()
    return {"upload": upload.id, "part": part.id}
