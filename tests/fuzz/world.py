"""Something of each kind for made-up requests to name, and an engine that answers as engines do."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session

from app import ids
from app.db.models import Job
from tests.app.api.parties import Party, make_party
from tests.app.api.serving import Engine
from tests.app.api.surface import CURSORS, IDS
from tests.app.api.test_jobs import make_model

ROW = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
FILE = b"".join(
    json.dumps({"messages": [*ROW, {"role": "user", "content": str(n)}, ROW[1]]}).encode() + b"\n"
    for n in range(12)
)
# Routes on which a base model is asked, and those for which it must be an encoder.
ASKED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/fine_tuning/jobs")
# No receiver, but an address that webhooks may have.
RECEIVER = "https://192.0.43.10/hook"


class Answering(Engine):
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


def make(session: Session, url: str) -> tuple[Party, Mapping[str, Any]]:
    """Who asks, and what `tests.fuzz.hooks` reads: values by the parameters that they are of."""
    party, other = (make_party(session, "acme", name) for name in ("asking", "doomed"))
    job = session.get_one(Job, party.ids["job"])
    doomed_model = make_model(session, job, f"ft:base:acme::{ids.model_tag()}")
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {party.secret}"}, timeout=60
    ) as http:
        named = {**party.ids, **_upload(http), "file": _file(http)}
        doomed = {**other.ids, "file": _file(http), "model": doomed_model.name}
        doomed["webhook_endpoint"] = _endpoint(http)
    models = {"model": ["base", party.ids["model"]]}
    return party, {
        "named": _by_parameter(named),
        "doomed": _by_parameter(doomed),
        "models": models,
        "asked": {path: [] for path in ASKED},
        "cursors": {path: [named[kind]] for path, kind in CURSORS.items()},
    }


def _by_parameter(by_kind: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [by_kind[kind]] for name, kind in IDS.items()}


def _file(http: httpx.Client) -> str:
    answer = http.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", FILE)}
    )
    return str(answer.raise_for_status().json()["id"])


def _upload(http: httpx.Client) -> dict[str, str]:
    asked = {"filename": "a.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload = http.post("/v1/uploads", json={**asked, "bytes": len(FILE)}).raise_for_status()
    path = f"/v1/uploads/{upload.json()['id']}/parts"
    part = http.post(path, files={"data": ("a.jsonl", FILE)}).raise_for_status()
    return {"upload": upload.json()["id"], "part": part.json()["id"]}


def _endpoint(http: httpx.Client) -> str:
    events = ["fine_tuning.job.succeeded"]
    asked = {"name": "ends", "url": RECEIVER, "event_types": events}
    answer = http.post("/v1/webhook_endpoints", json=asked).raise_for_status()
    return str(answer.json()["id"])
