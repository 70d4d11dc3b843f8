"""A pytest plugin for the SDK's own tests: inserts the rows whose ids they use before each test.

Those tests were written against a mock server that responds to anything. Ours has state, so a test
that pauses a job must find it running, and one that resumes it must find it paused.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.base import Base
from app.db.session import create_database_engine
from app.db.tables import (
    AdminKey,
    ApiKey,
    AuditActor,
    AuditEvent,
    AuditLog,
    Batch,
    CheckpointPermission,
    Conversation,
    ConversationItem,
    Eval,
    EvalOutputItem,
    EvalRun,
    File,
    FineTunedModel,
    Job,
    Organization,
    Project,
    StoredCompletion,
    StoredResponse,
    Upload,
    UploadPart,
    WorkList,
)
from app.evals.items import Sample
from app.responses.context import describe_items
from app.responses.schemas import CreateResponse
from app.responses.serializers import new_response
from app.settings import Settings
from app.storage import ObjectStore, file_key, open_store, upload_part_key

# As in the SDK's tests/conftest.py.
API_KEY = "My API Key"
ADMIN_API_KEY = "My Admin API Key"
PROJECT_ID = "proj_sdk"
# Projects that the tests share a checkpoint with, or filter permissions by.
OTHER_PROJECT_IDS = ("string", "project_id")
BASE_MODEL = "base"
JOB_ID = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
FILE_IDS = ("file_id", "file-abc123")
UPLOAD_ID = "upload_abc123"
PART_ID = "string"
BATCH_ID, BATCH_INPUT_ID = "batch_id", "input_file_id"
CHECKPOINT = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd"
# The generated tests also use a job id in place of a checkpoint's name.
# The last is the judge of an eval.
MODEL_NAMES = ("ft:gpt-4o-mini:acemeco:suffix:abc123", CHECKPOINT, JOB_ID, "model")
EVAL_ID, RUN_ID, OUTPUT_ITEM_ID = "eval_id", "run_id", "output_item_id"
COMPLETION_ID = "completion_id"
# The second is the one whose input items are listed.
RESPONSE_IDS = ("resp_677efb5139a88190b512bc3fef8e535d", "response_id")
PERMISSION_ID = "cp_zc4Q7MP6XxulcVzj4MZdwsAB"
CONTENT = b"Example data"


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def database() -> Iterator[Engine]:
    engine = create_database_engine(os.environ["DATABASE_URL"], pool_size=1)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(autouse=True)
def _insert_rows(request: pytest.FixtureRequest, database: Engine, store: ObjectStore) -> None:
    test = request.node.nodeid
    for file_id in FILE_IDS:
        store.put(file_key(PROJECT_ID, file_id), CONTENT)
    store.put(upload_part_key(PROJECT_ID, UPLOAD_ID, PART_ID), CONTENT)
    with Session(database) as session, session.begin():
        # The API writes what the last test stored in the background.
        session.execute(text("LOCK TABLE stored_completions"))
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        for row in (
            *_make_organization(test),
            *_make_files(),
            _make_job(test),
            *_make_upload(test),
            *_make_models(),
            *_make_batch(),
            _make_stored_completion(),
            *map(_make_response, RESPONSE_IDS),
            *_make_eval(),
            *_make_conversation(),
            _make_audit_log(),
        ):
            session.add(row)
            # One by one: without relationships the ORM does not know their order.
            session.flush()


def _make_organization(test: str) -> list[Base]:
    organization = Organization(id="org-sdk", slug="org")
    projects = [
        Project(id=id, organization_id=organization.id, name=id)
        for id in (PROJECT_ID, *OTHER_PROJECT_IDS)
    ]
    columns = secrets.build_key_columns(API_KEY, name="sdk", expires_in=None)
    if "usage" in test or "audit_logs" in test:
        columns = secrets.build_key_columns(ADMIN_API_KEY, name="sdk", expires_in=None)
        return [organization, *projects, AdminKey(organization_id=organization.id, **columns)]
    # Permissions need an admin key.
    if "permissions" in test:
        return [organization, *projects, AdminKey(organization_id=organization.id, **columns)]
    return [organization, *projects, ApiKey(project_id=PROJECT_ID, **columns)]


def _make_conversation() -> list[Base]:
    part = {"type": "input_text", "text": "Hi"}
    item = {
        "id": "msg_abc",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [part],
    }
    body = orjson.dumps(item)
    row = Conversation(
        id="conv_123",
        project_id=PROJECT_ID,
        user_metadata={},
        last_number=1,
        items=1,
        bytes=len(body),
    )
    return [
        row,
        ConversationItem(
            conversation_id=row.id, number=1, id="msg_abc", body=body, bytes=len(body)
        ),
    ]


def _make_audit_log() -> Base:
    return AuditLog(
        id="audit_log-sdk",
        organization_id="org-sdk",
        project_id=PROJECT_ID,
        event=AuditEvent.PROJECT_CREATED,
        actor=AuditActor.API_KEY,
        actor_id="key_sdk",
        resource_id=PROJECT_ID,
        details={"data": {"name": "sdk", "title": "sdk"}},
    )


def _make_files() -> list[Base]:
    return [*(_make_file(id) for id in FILE_IDS), _make_file(BATCH_INPUT_ID, purpose="batch")]


def _make_file(id: str, *, purpose: str = "fine-tune") -> Base:
    return File(
        id=id,
        project_id=PROJECT_ID,
        filename="train.jsonl",
        purpose=purpose,
        bytes=len(CONTENT),
        sha256="",
        storage_key=file_key(PROJECT_ID, id),
        status="processed",
        format="chat",
        examples=12,
    )


def _make_job(test: str) -> Base:
    return Job(
        id=JOB_ID,
        project_id=PROJECT_ID,
        state="paused" if "resume" in test else "running",
        base_model=BASE_MODEL,
        method="supervised",
        hyperparameters={},
        seed=1,
        # Not the file that tests delete.
        training_file_id=FILE_IDS[1],
    )


def _make_upload(test: str) -> list[Base]:
    """A pending upload; or, for the test whose md5 does not match the content, an upload that was
    already completed with that md5, so that the request is repeated successfully."""
    is_completed = "complete_with_all_params" in test
    takes_part = "test_parts" in test
    upload = Upload(
        id=UPLOAD_ID,
        project_id=PROJECT_ID,
        filename="filename",
        purpose="assistants",
        bytes=1024 if takes_part else len(CONTENT),
        state="completed" if is_completed else "pending",
        part_ids=[PART_ID] if is_completed else None,
        md5="md5" if is_completed else None,
        file_id=FILE_IDS[0] if is_completed else None,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    part = UploadPart(
        id=PART_ID,
        upload_id=UPLOAD_ID,
        bytes=len(CONTENT),
        storage_key=upload_part_key(PROJECT_ID, UPLOAD_ID, PART_ID),
    )
    return [upload] if is_completed or takes_part else [upload, part]


def _make_batch() -> list[Base]:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    batch = Batch(
        id=BATCH_ID,
        project_id=PROJECT_ID,
        state="in_progress",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        # Not the file that tests delete.
        input_file_id=FILE_IDS[1],
        expires_at=expires_at,
    )
    work = WorkList(
        id=BATCH_ID, project_id=PROJECT_ID, kind="batch", phase="running", expires_at=expires_at
    )
    return [work, batch]


def _make_stored_completion() -> Base:
    """The SDK's type of a stored message knows no other role than the assistant's."""
    message = {"role": "assistant", "content": "Hi", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    answer = {"id": COMPLETION_ID, "object": "chat.completion", "created": 1, "model": BASE_MODEL}
    return StoredCompletion(
        id=COMPLETION_ID,
        project_id=PROJECT_ID,
        model=BASE_MODEL,
        user_metadata={},
        request=orjson.dumps({"messages": [message]}),
        response=orjson.dumps(answer | {"choices": [choice]}),
        bytes=0,
    )


def _make_response(id: str) -> Base:
    """A finished response that was made in the background: only those can be streamed again."""
    request = CreateResponse(model=BASE_MODEL, input="Hi", background=True)
    response = new_response(request, id, model=BASE_MODEL, created_at=1, is_stored=True)
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    return StoredResponse(
        id=id,
        project_id=PROJECT_ID,
        state="completed",
        is_background=True,
        model=BASE_MODEL,
        input=orjson.dumps(describe_items(request.input or (), {}, id)),
        body=orjson.dumps(response | {"status": "completed", "output": [message]}),
        bytes=0,
    )


def _make_models() -> list[Base]:
    models = [
        FineTunedModel(
            name=name,
            project_id=PROJECT_ID,
            job_id=JOB_ID,
            base_model=BASE_MODEL,
            storage_prefix=f"projects/{PROJECT_ID}/jobs/{JOB_ID}/attempt-1/step-{number}",
        )
        for number, name in enumerate(MODEL_NAMES)
    ]
    permission = CheckpointPermission(
        id=PERMISSION_ID, model_name=CHECKPOINT, project_id=OTHER_PROJECT_IDS[0]
    )
    return [*models, permission]


def _make_eval() -> list[Base]:
    schema = {"type": "object", "properties": {"item": {}}, "required": ["item"]}
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {}}]}}
    parent = Eval(
        id=EVAL_ID,
        project_id=PROJECT_ID,
        name="",
        data_source_config={"type": "custom", "schema": schema},
        testing_criteria=[],
    )
    run = EvalRun(
        id=RUN_ID,
        eval_id=EVAL_ID,
        project_id=PROJECT_ID,
        state="completed",
        name="",
        model="",
        data_source=source,
    )
    content = orjson.dumps({"item": {}, "results": [], "sample": Sample().model_dump()})
    item = EvalOutputItem(
        id=OUTPUT_ITEM_ID,
        run_id=RUN_ID,
        project_id=PROJECT_ID,
        index=0,
        status="pass",
        content=content,
        bytes=len(content),
    )
    return [parent, run, item]
