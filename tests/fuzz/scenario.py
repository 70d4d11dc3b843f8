"""Seed data for generated requests: an object of each kind; and a fake engine."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import Job, Project
from app.organization import projects
from app.wire.sampling import Usage
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_server import FakeEngine
from tests.openapi_routes import CURSOR_KINDS, ID_KINDS
from tests.tenants import Tenant, make_tenant

MESSAGES = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
FILE = b"".join(
    json.dumps({"messages": [*MESSAGES, {"role": "user", "content": str(n)}, MESSAGES[1]]}).encode()
    + b"\n"
    for n in range(12)
)
JOBS_PATH = "/v1/fine_tuning/jobs"
UPLOAD_PATH = "/v1/uploads/{upload_id}"
# Routes that also accept a base model.
BASE_MODEL_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", JOBS_PATH)
USAGE = Usage.of(1, 1).model_dump(mode="json")
# A public address without a receiver.
RECEIVER_URL = "https://192.0.43.10/hook"


class DocumentedEngine(FakeEngine):
    """A fake engine whose every route responds as the API documents it."""

    def app(self) -> FastAPI:
        app = FastAPI()
        # Before the fake engine's own routes, which respond with less.
        app.add_api_route("/v1/completions", self.completions, methods=["POST"])
        app.add_api_route("/v1/embeddings", self.embed, methods=["POST"])
        app.add_api_route("/models/{model:path}", self.infer, methods=["POST"])
        app.include_router(super().app().router)
        return app

    async def chat(self, request: Request) -> Response:
        response = await super().chat(request)
        if response.status_code != 200 or not isinstance(response, JSONResponse):
            return response
        return JSONResponse(json.loads(response.body) | {"usage": USAGE})

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        choice = {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}
        return _engine_response("text_completion", body["model"], choices=[choice], usage=USAGE)

    async def embed(self, request: Request) -> Response:
        body = await request.json()
        vector = {"object": "embedding", "index": 0, "embedding": [1.0]}
        return _engine_response("list", body["model"], data=[vector])

    async def classify(self, request: Request) -> Response:
        body = await request.json()
        item = {"index": 0, "label": "a", "probs": [1.0], "num_classes": 1}
        return _engine_response("list", body["model"], data=[item], labels=["a"])

    async def infer(self, request: Request) -> Response:
        return JSONResponse([[{"label": "a", "score": 1.0}]])


def _engine_response(kind: str, model: str, **rest: Any) -> JSONResponse:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"id": "x", "object": kind, "created": 1, "model": model, "usage": usage}
    return JSONResponse(body | rest)


def make_seeds(session: Session, url: str) -> tuple[Tenant, Mapping[str, Any]]:
    """Create the seed data: the requesting tenant, and values by parameter for `hooks`."""
    tenant, deletable_tenant = (
        make_tenant(session, "acme", name) for name in ("lasting", "deletable")
    )
    project = session.get_one(Project, tenant.ids["project"])
    job = session.get_one(Job, tenant.ids["job"])
    deletable_model = make_model(session, job, f"ft:base:acme::{ids.model_tag()}")
    jobs = {
        verb: make_job(session, project, base_model="base", state=state).id
        for verb, state in (("cancel", "queued"), ("pause", "running"), ("resume", "paused"))
    }
    archived = projects.create(session, project.organization_id, "archived").id
    session.commit()
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {tenant.secret}"}, timeout=60
    ) as http:
        lasting = {**tenant.ids, **_create_upload_with_part(http), "file": _upload_file(http)}
        deletable = {
            **deletable_tenant.ids,
            "file": _upload_file(http),
            "webhook_endpoint": _create_endpoint(http),
        }
        by_operation = {
            f"POST {UPLOAD_PATH}/parts": {"upload_id": [_create_upload(http)]},
            f"POST {UPLOAD_PATH}/cancel": {"upload_id": [_create_upload(http)]},
        }
    by_operation |= {
        f"POST {JOBS_PATH}/{{job_id}}/{verb}": {"job_id": [id_]} for verb, id_ in jobs.items()
    }
    by_operation |= {
        f"POST {path}": {"model": ["base", tenant.ids["model"]]} for path in BASE_MODEL_PATHS
    }
    by_operation["POST /v1/organization/projects/{project_id}/archive"] = {"project_id": [archived]}
    # No trainer runs here: the export of a fine-tuned model would never be made.
    by_operation["GET /v1/models/{model}/export"] = {"model": ["base"]}
    by_operation["DELETE /v1/models/{model}"] = {"model": [deletable_model.name]}
    return tenant, {
        "lasting": _by_parameter(lasting),
        "deletable": _by_parameter(deletable),
        "by_operation": by_operation,
        "cursors": {path: [lasting[kind]] for path, kind in CURSOR_KINDS.items()},
    }


def _by_parameter(by_kind: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [by_kind[kind]] for name, kind in ID_KINDS.items()}


def _upload_file(http: httpx.Client) -> str:
    response = http.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", FILE)}
    )
    return str(response.raise_for_status().json()["id"])


def _create_upload(http: httpx.Client) -> str:
    """Create an upload without parts; its id."""
    body = {"filename": "a.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload = http.post("/v1/uploads", json={**body, "bytes": len(FILE)}).raise_for_status()
    return str(upload.json()["id"])


def _create_upload_with_part(http: httpx.Client) -> dict[str, str]:
    upload_id = _create_upload(http)
    path = f"/v1/uploads/{upload_id}/parts"
    part = http.post(path, files={"data": ("a.jsonl", FILE)}).raise_for_status()
    return {"upload": upload_id, "part": part.json()["id"]}


def _create_endpoint(http: httpx.Client) -> str:
    events = ["fine_tuning.job.succeeded"]
    body = {"name": "ends", "url": RECEIVER_URL, "event_types": events}
    response = http.post("/v1/webhook_endpoints", json=body).raise_for_status()
    return str(response.json()["id"])
