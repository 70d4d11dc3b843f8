"""Base models from a hub: of a pinned commit, and only as that commit records them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.catalog import CatalogModel
from tests.live_server import run_server
from worker.model_cache import ModelUnavailable
from worker.model_sources import materialize

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = b"weights" * 100


class Hub:
    """A hub with one repository. `served` replaces what the commit records."""

    def __init__(self) -> None:
        self.recorded = {
            "config.json": json.dumps({"model_type": "llama"}).encode(),
            "model.safetensors": WEIGHTS,
            "modeling_evil.py": b"raise SystemExit",
        }
        self.served: dict[str, bytes] = {}
        self.revisions: set[str] = set()

    def tree(self, request: Request) -> Response:
        self.revisions.add(request.path_params["revision"])
        return JSONResponse([self._entry(*item) for item in self.recorded.items()])

    def file(self, request: Request) -> Response:
        self.revisions.add(request.path_params["revision"])
        name = request.path_params["name"]
        content = self.served.get(name, self.recorded[name])
        headers = {"ETag": f'"{_git_sha1(content)}"', "X-Repo-Commit": COMMIT}
        return Response(content, headers=headers)

    def _entry(self, name: str, content: bytes) -> dict[str, object]:
        entry = {"type": "file", "path": name, "size": len(content), "oid": _git_sha1(content)}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 1}
        return entry


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    routes = [
        Route("/api/models/owner/name/tree/{revision}", hub.tree),
        Route("/owner/name/resolve/{revision}/{name}", hub.file),
    ]
    with run_server(Starlette(routes=routes)) as url:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@pytest.fixture
def model(tiny_model: CatalogModel) -> CatalogModel:
    return replace(tiny_model, source=f"hf:owner/name@{COMMIT}")


def test_a65_the_pinned_commit_is_fetched_without_python_code(
    hub: Hub, model: CatalogModel, tmp_path: Path
) -> None:
    folder = materialize(model, tmp_path)
    assert hub.revisions == {COMMIT}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert list(folder.rglob("*.py")) == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a65_a_file_that_differs_from_the_commit_is_refused(
    hub: Hub, model: CatalogModel, tmp_path: Path, name: str
) -> None:
    """Of the same length, as a flipped bit or an exchanged file would be."""
    content = hub.recorded[name]
    hub.served[name] = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    with pytest.raises(ModelUnavailable, match=rf"not fetched as owner/name has it.*{name}"):
        materialize(model, tmp_path)
    hub.served.clear()
    assert (materialize(model, tmp_path) / name).read_bytes() == content, "the next try succeeds"


def test_a65_a_source_without_a_commit_is_refused(tiny_model: CatalogModel, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="names no commit"):
        materialize(replace(tiny_model, source="hf:owner/name"), tmp_path)
