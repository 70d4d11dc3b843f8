"""Something of each kind for made-up requests to name, and an engine that answers as engines do."""

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
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_server import FakeEngine
from tests.openapi_routes import CURSOR_KINDS, ID_KINDS
from tests.tenants import Tenant, make_tenant

ROW = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
FILE = b"".join(
    json.dumps({"messages": [*ROW, {"role": "user", "content": str(n)}, ROW[1]]}).encode() + b"\n"
    for n in range(12)
)
JOBS = "/v1/fine_tuning/jobs"
UPLOADS = "/v1/uploads/{upload_id}"
# Routes on which a base model can be asked too.
ASKED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", JOBS)
# No receiver, but an address that webhooks may have.
RECEIVER = "https://192.0.43.10/hook"


class Answering(FakeEngine):
    """An engine whose every route answers with what the API says that engines answer."""

    def app(self) -> FastAPI:
        app = FastAPI()
        # Before the double's own, which answer with less.
        app.add_api_route("/v1/completions", self.completions, methods=["POST"])
        app.add_api_route("/v1/embeddings", self.embed, methods=["POST"])
        app.add_api_route("/models/{model:path}", self.infer, methods=["POST"])
        app.include_router(super().app().router)
        return app

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        choice = {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}
        return _answer("text_completion", body["model"], choices=[choice])

    async def embed(self, request: Request) -> Response:
        body = await request.json()
        vector = {"object": "embedding", "index": 0, "embedding": [1.0]}
        return _answer("list", body["model"], data=[vector])

    async def classify(self, request: Request) -> Response:
        body = await request.json()
        item = {"index": 0, "label": "a", "probs": [1.0], "num_classes": 1}
        return _answer("list", body["model"], data=[item], labels=["a"])

    async def infer(self, request: Request) -> Response:
        return JSONResponse([[{"label": "a", "score": 1.0}]])


def _answer(kind: str, model: str, **rest: Any) -> JSONResponse:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"id": "x", "object": kind, "created": 1, "model": model, "usage": usage}
    return JSONResponse(body | rest)


def make(session: Session, url: str) -> tuple[Tenant, Mapping[str, Any]]:
    """Who asks, and what `tests.fuzz.hooks` reads: values by the parameters that they are of."""
    party, other = (make_tenant(session, "acme", name) for name in ("asking", "doomed"))
    project = session.get_one(Project, party.ids["project"])
    job = session.get_one(Job, party.ids["job"])
    doomed_model = make_model(session, job, f"ft:base:acme::{ids.model_tag()}")
    jobs = {
        verb: make_job(session, project, base_model="base", state=state).id
        for verb, state in (("cancel", "queued"), ("pause", "running"), ("resume", "paused"))
    }
    archived = projects.create(session, project.organization_id, "archived").id
    session.commit()
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {party.secret}"}, timeout=60
    ) as http:
        named = {**party.ids, **_upload(http), "file": _file(http)}
        doomed = {**other.ids, "file": _file(http), "webhook_endpoint": _endpoint(http)}
        own = {
            f"POST {UPLOADS}/parts": {"upload_id": [_begin(http)]},
            f"POST {UPLOADS}/cancel": {"upload_id": [_begin(http)]},
        }
    own |= {f"POST {JOBS}/{{job_id}}/{verb}": {"job_id": [id_]} for verb, id_ in jobs.items()}
    own |= {f"POST {path}": {"model": ["base", party.ids["model"]]} for path in ASKED}
    own["POST /v1/organization/projects/{project_id}/archive"] = {"project_id": [archived]}
    own["DELETE /v1/models/{model}"] = {"model": [doomed_model.name]}
    return party, {
        "named": _by_parameter(named),
        "doomed": _by_parameter(doomed),
        "own": own,
        "cursors": {path: [named[kind]] for path, kind in CURSOR_KINDS.items()},
    }


def _by_parameter(by_kind: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [by_kind[kind]] for name, kind in ID_KINDS.items()}


def _file(http: httpx.Client) -> str:
    answer = http.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", FILE)}
    )
    return str(answer.raise_for_status().json()["id"])


def _begin(http: httpx.Client) -> str:
    """An upload without parts."""
    asked = {"filename": "a.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload = http.post("/v1/uploads", json={**asked, "bytes": len(FILE)}).raise_for_status()
    return str(upload.json()["id"])


def _upload(http: httpx.Client) -> dict[str, str]:
    upload_id = _begin(http)
    path = f"/v1/uploads/{upload_id}/parts"
    part = http.post(path, files={"data": ("a.jsonl", FILE)}).raise_for_status()
    return {"upload": upload_id, "part": part.json()["id"]}


def _endpoint(http: httpx.Client) -> str:
    events = ["fine_tuning.job.succeeded"]
    asked = {"name": "ends", "url": RECEIVER, "event_types": events}
    answer = http.post("/v1/webhook_endpoints", json=asked).raise_for_status()
    return str(answer.json()["id"])
